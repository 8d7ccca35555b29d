//! Converts the database's errors into those of the contracts.

use crate::bindings::orders::Error;
use crate::bindings::payment_events::DeliveryError;

impl From<souk_database::Error> for Error {
    fn from(error: souk_database::Error) -> Error {
        match error {
            souk_database::Error::Unavailable => Error::Unavailable("the orders' database does not answer".into()),
            souk_database::Error::Internal => {
                Error::Internal("the orders' database does not have the expected schema".into())
            }
        }
    }
}

impl From<souk_database::Error> for DeliveryError {
    /// Another delivery helps in either case: once the database answers, or once somebody has fixed what the log
    /// reports. No payment may be lost because of an error on our side.
    fn from(error: souk_database::Error) -> DeliveryError {
        DeliveryError::Retry(match error {
            souk_database::Error::Unavailable => "the orders' database does not answer".into(),
            souk_database::Error::Internal => "the orders' database does not have the expected schema".into(),
        })
    }
}
