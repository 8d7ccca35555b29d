//! Slows down attempts that could guess a secret, after many failures (`store:auth/guesses`).
//!
//! The source is the client's address as the host knows it: the other end of the connection, or the address that a
//! trusted proxy names. The host sets the header `spin-client-addr` itself, and drops one that a client has sent.

use crate::bindings::accounts::Error as AccountError;
use crate::bindings::guesses::{self, Counted, Outcome, Refusal};
use crate::http::Request;
use crate::http::error::Error;

/// The header in which the host names the client.
const CLIENT: &str = "spin-client-addr";

/// What an attempt can guess.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Guess<'a> {
    /// The password of the account with this e-mail, which may not exist.
    Password(&'a str),
    /// Whether an account exists; the attempt names no account.
    Existence,
}

/// Makes an attempt with `call`, if its source is allowed to. `account` returns the e-mail of the account that the
/// answer proves.
///
/// # Errors
/// 429 when the source has to wait, 503 when the counters do not answer, and 500 when they fail. An error of `call` is
/// in the inner result.
pub(crate) fn try_once<T>(
    request: &Request<'_>,
    guess: Guess<'_>,
    call: impl FnOnce() -> Result<T, AccountError>,
    account: impl FnOnce(&T) -> Option<&str>,
) -> Result<Result<T, AccountError>, Error> {
    let source = request.header(CLIENT).unwrap_or_default();
    let named = match guess {
        Guess::Password(email) => Some(email),
        Guess::Existence => None,
    };
    let counted = guesses::admit(named, &source).map_err(to_http_error)?;
    let answer = call();
    let (proved, outcome) = match &answer {
        Ok(answer) => match account(answer) {
            Some(email) => (Some(email), Outcome::Right),
            None => (None, Outcome::Neither),
        },
        Err(error) => (None, outcome(error, guess)),
    };
    let recorded = match (named, proved) {
        // The e-mail was changed: the account has it from now on.
        (Some(named), Some(proved)) if named.to_lowercase() != proved.to_lowercase() => {
            guesses::settle(named, &source, counted, Outcome::Neither)
                .and_then(|()| guesses::settle(proved, &source, Counted::Known, Outcome::Right))
        }
        // The account whose counters admitted the attempt or, if it named none, the account that was proved.
        _ => guesses::settle(named.or(proved).unwrap_or_default(), &source, counted, outcome),
    };
    if let Err(error) = recorded {
        // The answer is still returned; the attempt counts as failed until the counter forgets it.
        eprintln!("the outcome of an attempt could not be recorded: {error:?}");
    }
    Ok(answer)
}

/// The outcome of a refused attempt. `invalid` is a wrong password where one was asked for: other malformed requests
/// were refused before.
fn outcome(error: &AccountError, guess: Guess<'_>) -> Outcome {
    match (error, guess) {
        (AccountError::Unauthorized | AccountError::EmailTaken, _) | (AccountError::Invalid(_), Guess::Password(_)) => {
            Outcome::Wrong
        }
        (AccountError::Invalid(_), Guess::Existence)
        | (AccountError::Unavailable(_) | AccountError::Internal(_), _) => Outcome::Neither,
    }
}

fn to_http_error(refusal: Refusal) -> Error {
    match refusal {
        Refusal::TooMany(seconds) => Error::too_many(seconds),
        Refusal::Unavailable(_) => Error::unavailable("The account service"),
        Refusal::Internal(detail) => Error::internal(&detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_as_wrong_and_an_outage_does_not_count() {
        for guess in [Guess::Password("a@b.io"), Guess::Existence] {
            assert_eq!(outcome(&AccountError::Unauthorized, guess), Outcome::Wrong);
            assert_eq!(outcome(&AccountError::EmailTaken, guess), Outcome::Wrong);
            assert_eq!(outcome(&AccountError::Unavailable("down".into()), guess), Outcome::Neither);
        }
        assert_eq!(
            outcome(&AccountError::Invalid("the password is wrong".into()), Guess::Password("a@b.io")),
            Outcome::Wrong
        );
        assert_eq!(outcome(&AccountError::Invalid("too long".into()), Guess::Existence), Outcome::Neither);
    }

    #[test]
    fn an_attempt_too_many_is_429_with_the_time_to_wait() {
        let reply = to_http_error(Refusal::TooMany(64)).into_reply();
        assert_eq!((reply.status, reply.retry_after), (429, Some(64)));
        assert_eq!(
            String::from_utf8(reply.body).unwrap(),
            r#"{"status":429,"message":"Too many attempts, please try again in 64 seconds"}"#
        );
        assert_eq!(to_http_error(Refusal::Unavailable("worker 7".into())).into_reply().status, 503);
    }
}
