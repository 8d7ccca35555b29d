//! Why a request of the API failed.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An error of the API: its status, and a message that says what was wrong and how to fix it. Its JSON has the form of
/// the public listener's errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    status: u16,
    message: String,
}

impl Problem {
    /// A problem with this status.
    pub fn new(status: StatusCode, message: impl fmt::Display) -> Self {
        Problem { status: status.as_u16(), message: message.to_string() }
    }

    /// A problem with the request itself.
    pub fn bad(message: impl fmt::Display) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, message)
    }

    /// A problem with a name that does not exist.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Problem::new(StatusCode::NOT_FOUND, message)
    }

    /// A problem that may be gone later.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}
