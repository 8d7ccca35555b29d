//! The database's errors in the words of the contracts.

use crate::bindings::orders::Error;
use crate::bindings::payment_events::DeliveryError;

impl From<souk_database::Error> for Error {
    fn from(error: souk_database::Error) -> Error {
        match error {
            souk_database::Error::Unavailable => Error::Unavailable("the orders' database does not answer".into()),
            souk_database::Error::Internal => {
                Error::Internal("the orders' database is not as the orders need it".into())
            }
        }
    }
}

impl From<souk_database::Error> for DeliveryError {
    /// Delivering again helps in either case: once the database answers, or once someone has mended what the log says.
    /// A payment must not be lost over a fault of ours.
    fn from(error: souk_database::Error) -> DeliveryError {
        DeliveryError::Retry(match error {
            souk_database::Error::Unavailable => "the orders' database does not answer".into(),
            souk_database::Error::Internal => "the orders' database is not as the orders need it".into(),
        })
    }
}
