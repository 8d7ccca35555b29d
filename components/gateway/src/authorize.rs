//! Who makes a request, and what they may do.
//!
//! The gateway asks the account service whose token it is. The other services decide what that user may do with their
//! data; only checks that need no data are here. As in the NestJS system, they run after the route is found and the
//! body is parsed, and before the body is validated.
//!
//! The variable `open_access` turns all of it off, for clients of the NestJS system, which had no authorization: every
//! caller is then [`Caller::Anyone`], even with a token, so that the owner of an order does not depend on a header that
//! some clients send. Access never opens by accident: any value but exactly `true` keeps it closed, `TRUE` too, because
//! `spin.toml` warns of exactly `true`.

use crate::bindings::accounts::{self, Role, User, UserId};
use crate::http::Request;
use crate::http::error::Error;
use souk_variables as variables;
use std::sync::OnceLock;

/// Who makes a request.
#[derive(Debug)]
pub(crate) enum Caller {
    /// Nobody in particular: access is open.
    Anyone,
    /// A user who proved it.
    User(User),
}

impl Caller {
    /// Finds out who makes the request.
    ///
    /// # Errors
    /// 401 when the request has no token or an invalid one; 503 when the account service does not answer.
    pub(crate) fn of(request: &Request<'_>) -> Result<Self, Error> {
        if open_access() {
            return Ok(Caller::Anyone);
        }
        let header = request.header("authorization");
        let session = accounts::verify(token(header.as_deref())?).map_err(token_error)?;
        Ok(Caller::User(session.user))
    }

    fn is_admin(&self) -> bool {
        match self {
            Caller::Anyone => true,
            Caller::User(user) => user.role == Role::Admin,
        }
    }
}

/// Requires an administrator, and returns their id; `None` under open access.
///
/// # Errors
/// As [`Caller::of`], and 403 for everyone else.
pub(crate) fn require_admin(request: &Request<'_>) -> Result<Option<UserId>, Error> {
    match Caller::of(request)? {
        caller if !caller.is_admin() => Err(Error::forbidden().hint("an administrator may do this")),
        Caller::User(user) => Ok(Some(user.id)),
        Caller::Anyone => Ok(None),
    }
}

/// The token of an `Authorization` header. As in the NestJS system, exactly one space follows `Bearer`; unlike there,
/// the case of `Bearer` does not matter (RFC 9110).
pub(crate) fn bearer(header: Option<&str>) -> Option<&str> {
    let mut words = header?.split(' ');
    words.next()?.eq_ignore_ascii_case("bearer").then(|| words.next()).flatten().filter(|token| !token.is_empty())
}

/// The token of an `Authorization` header.
///
/// # Errors
/// 401 when there is none; a header that has none gets a hint.
pub(crate) fn token(header: Option<&str>) -> Result<&str, Error> {
    bearer(header).ok_or_else(|| match header {
        Some(header) if !header.is_empty() => {
            Error::no_token().hint("send the header as `Authorization: Bearer TOKEN`")
        }
        _ => Error::no_token(),
    })
}

/// Converts an error of a token check to an HTTP error.
pub(crate) fn token_error(error: accounts::Error) -> Error {
    match error {
        accounts::Error::Unauthorized | accounts::Error::Invalid(_) => Error::unauthorized(),
        accounts::Error::Unavailable(_) => Error::unavailable("The account service"),
        accounts::Error::Internal(detail) => Error::internal(&detail),
        accounts::Error::EmailTaken => Error::internal("the account service answered `email-taken` to a token check"),
    }
}

/// Whether the application runs with open access. The variable is read once by each instance, when first needed.
fn open_access() -> bool {
    static OPEN: OnceLock<bool> = OnceLock::new();
    if let Some(open) = OPEN.get() {
        return *open;
    }
    match variables::get("open_access") {
        Ok(value) => *OPEN.get_or_init(|| is_open(&value)),
        Err(e) => {
            eprintln!("variable `open_access` cannot be read, access stays closed: {e}");
            false
        }
    }
}

fn is_open(value: &str) -> bool {
    if !matches!(value, "true" | "false") {
        eprintln!("variable `open_access` must be `true` or `false`, in these letters: access stays closed");
    }
    value == "true"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(role: Role) -> Caller {
        Caller::User(User { id: "1".into(), email: "a@example.com".into(), name: String::new(), role })
    }

    fn sent(error: accounts::Error) -> (u16, String) {
        let reply = token_error(error).into_reply();
        (reply.status, String::from_utf8(reply.body).unwrap())
    }

    #[test]
    fn a_bearer_token_is_read_as_recorded() {
        assert_eq!(bearer(Some("Bearer abc")), Some("abc"));
        assert_eq!(bearer(Some("Bearer abc def")), Some("abc"));
        assert_eq!(bearer(Some("bearer abc")), Some("abc"));
        assert_eq!(bearer(Some("BEARER abc")), Some("abc"));
        for none in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Bearer  abc"), Some("abc")] {
            assert_eq!(bearer(none), None, "{none:?}");
        }
    }

    #[test]
    fn administrators_and_under_open_access_everyone_may_administrate() {
        assert!(user(Role::Admin).is_admin());
        assert!(!user(Role::Customer).is_admin());
        assert!(Caller::Anyone.is_admin());
    }

    #[test]
    fn access_is_open_only_when_the_variable_says_exactly_so() {
        assert!(is_open("true"));
        for closed in ["false", "", "TRUE", "1", "yes", " true"] {
            assert!(!is_open(closed), "{closed:?}");
        }
    }

    #[test]
    fn a_bad_token_is_401_and_an_outage_503() {
        let unauthorized = (401, r#"{"message":"Unauthorized","statusCode":401}"#.to_owned());
        assert_eq!(sent(accounts::Error::Unauthorized), unauthorized);
        assert_eq!(sent(accounts::Error::Invalid("too long".into())), unauthorized);
        let outage = r#"{"status":503,"message":"The account service is unavailable, please try again"}"#;
        assert_eq!(sent(accounts::Error::Unavailable("worker 7 died".into())), (503, outage.to_owned()));
        let internal = r#"{"statusCode":500,"message":"Internal server error"}"#;
        assert_eq!(sent(accounts::Error::Internal("secret".into())), (500, internal.to_owned()));
    }
}
