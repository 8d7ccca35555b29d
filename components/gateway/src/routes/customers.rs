//! Names and e-mails of the customers of orders, for administrators.

use crate::bindings::accounts::{self, User};
use crate::bindings::directory;
use crate::http::error::Error;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Who made an order. Only administrators see it.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Customer))]
pub(super) struct CustomerView<'a> {
    /// Their number.
    id: &'a str,
    /// What to call them; may be empty. Null when they have deleted their account.
    #[cfg_attr(test, schema(required = true))]
    name: Option<&'a str>,
    /// Null when they have deleted their account.
    #[cfg_attr(test, schema(required = true))]
    email: Option<&'a str>,
}

/// Customers by id; `None` when the caller may not see them, which is everyone but a logged-in administrator.
#[derive(Default)]
pub(super) struct Customers(Option<BTreeMap<String, User>>);

impl Customers {
    /// Looks up the customers with these ids.
    ///
    /// # Errors
    /// 503 when the account service does not answer.
    pub(super) fn find<'a>(ids: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        let ids: Vec<String> = ids.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect();
        if ids.is_empty() {
            return Ok(Customers(Some(BTreeMap::new())));
        }
        let found = directory::users(&ids).map_err(to_http_error)?;
        Ok(Customers(Some(found.into_iter().map(|user| (user.id.clone(), user)).collect())))
    }

    /// The customer with this id, as an administrator sees them.
    pub(super) fn view<'a>(&'a self, id: Option<&'a str>) -> Option<CustomerView<'a>> {
        let (known, id) = (self.0.as_ref()?, id?);
        let user = known.get(id);
        Some(CustomerView {
            id,
            name: user.map(|user| user.name.as_str()),
            email: user.map(|user| user.email.as_str()),
        })
    }

    /// Name and e-mail of the customer with this id; empty texts when they are gone.
    pub(super) fn name_and_email(&self, id: &str) -> (&str, &str) {
        let user = self.0.as_ref().and_then(|known| known.get(id));
        user.map_or(("", ""), |user| (&user.name, &user.email))
    }
}

fn to_http_error(error: accounts::Error) -> Error {
    match error {
        accounts::Error::Unavailable(_) => Error::unavailable("The account service"),
        accounts::Error::Internal(detail) => Error::internal(&detail),
        other => Error::internal(&format!("the directory answered {other:?}")),
    }
}
