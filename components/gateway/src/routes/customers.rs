//! Who the customers of orders are, for administrators.

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

/// Customers by their numbers; empty for those who may not know.
#[derive(Default)]
pub(super) struct Customers(Option<BTreeMap<String, User>>);

impl Customers {
    /// Asks for those with these numbers.
    ///
    /// # Errors
    /// 503 when the accounts cannot say.
    pub(super) fn find<'a>(numbers: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        let numbers: Vec<String> = numbers.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect();
        if numbers.is_empty() {
            return Ok(Customers(Some(BTreeMap::new())));
        }
        let found = directory::users(&numbers).map_err(refused)?;
        Ok(Customers(Some(found.into_iter().map(|user| (user.id.clone(), user)).collect())))
    }

    /// The customer with this number, as an administrator sees them.
    pub(super) fn view<'a>(&'a self, number: Option<&'a str>) -> Option<CustomerView<'a>> {
        let (known, id) = (self.0.as_ref()?, number?);
        let user = known.get(id);
        Some(CustomerView {
            id,
            name: user.map(|user| user.name.as_str()),
            email: user.map(|user| user.email.as_str()),
        })
    }

    /// Name and e-mail of the customer with this number; empty texts when they are gone.
    pub(super) fn name_and_email(&self, number: &str) -> (&str, &str) {
        let user = self.0.as_ref().and_then(|known| known.get(number));
        user.map_or(("", ""), |user| (&user.name, &user.email))
    }
}

fn refused(error: accounts::Error) -> Error {
    match error {
        accounts::Error::Unavailable(_) => Error::unavailable("The account service"),
        accounts::Error::Internal(detail) => Error::internal(&detail),
        other => Error::internal(&format!("the directory answered {other:?}")),
    }
}
