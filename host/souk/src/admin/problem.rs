//! Why a request of the API was not done.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An error of the API: its status, and what was wrong with the fix. Its JSON is that of the public listener's errors.
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

    /// The request is wrong.
    pub fn bad(message: impl fmt::Display) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, message)
    }

    /// What it names is not there.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Problem::new(StatusCode::NOT_FOUND, message)
    }

    /// It may be done later.
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
