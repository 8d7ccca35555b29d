//! Why a call into a component did not end with its result.
//!
//! Each error has two texts: [`CallError::message`] may go to another component or an HTTP client, and names the
//! component and what happened; `detail` (a trap's cause and backtrace, an instantiation error) goes to the log alone.

use crate::bindings::printable;
use std::fmt;
use std::sync::Arc;

/// What happened to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// All instances were busy, and the queue was full or the wait too long. Nothing was started.
    Overloaded,
    /// The call did not finish before its deadline.
    Deadline,
    /// The guest trapped: a panic, an out-of-memory, a host import that failed.
    Trapped,
    /// No instance could be made.
    Instantiation,
    /// The call crossed too many links or internal requests.
    TooManyHops,
    /// The component does not export what was called.
    NotExported,
}

/// A call that failed, with the component that it went to.
#[derive(Debug, Clone)]
pub struct CallError {
    /// The component that was called.
    pub component: Arc<str>,
    /// What happened.
    pub failure: Failure,
    /// For the log alone.
    pub detail: String,
}

impl CallError {
    /// An error whose detail is `detail`.
    pub fn new(component: &Arc<str>, failure: Failure, detail: impl fmt::Display) -> Self {
        // A backtrace holds names that the guest has chosen: they must not begin a log record of their own.
        CallError { component: component.clone(), failure, detail: printable(&one_line(&detail.to_string())) }
    }

    /// The text for another component or a client: no internals.
    pub fn message(&self) -> String {
        let what = match self.failure {
            Failure::Overloaded => "is overloaded; try again shortly",
            Failure::Deadline => "did not answer in time",
            Failure::Trapped => "failed",
            Failure::Instantiation => "could not be started",
            Failure::TooManyHops => "was reached through too many calls; a loop is likely",
            Failure::NotExported => "does not offer what was called",
        };
        format!("{} {what}", self.component)
    }
}

/// A text of several lines on one.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "component `{}`: ", self.component)?;
        match self.failure {
            Failure::Overloaded => f.write_str("overloaded")?,
            Failure::Deadline => f.write_str("deadline passed")?,
            Failure::Trapped => f.write_str("trapped")?,
            Failure::Instantiation => f.write_str("could not be instantiated")?,
            Failure::TooManyHops => f.write_str("too many hops")?,
            Failure::NotExported => f.write_str("not exported")?,
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for CallError {}
