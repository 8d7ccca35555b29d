//! Why a component cannot be compiled, and why a call into it failed.
//!
//! The error of a call has two texts: [`CallError::message`] may go to another component or an HTTP client, and names the
//! component and what happened; `detail` (a trap's cause and backtrace, an instantiation error) only goes to the log.

use souk_bindings::brief;
use std::fmt;
use std::sync::Arc;

/// A component could not be compiled or linked.
#[derive(Debug, Clone)]
pub struct CompileError {
    /// The component.
    pub component: String,
    /// The cause.
    pub message: String,
    /// The fix.
    pub fix: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "component `{}`: {}\n  fix: {}", self.component, self.message, self.fix)
    }
}

impl std::error::Error for CompileError {}

/// What happened to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// All instances were busy, and the queue was full or the wait too long. Nothing was started.
    Overloaded,
    /// The call did not finish before its deadline.
    Deadline,
    /// The guest trapped: a panic, an out-of-memory, a host import that failed.
    Trapped,
    /// No instance could be created.
    Instantiation,
    /// The call crossed too many links or internal requests.
    TooManyHops,
    /// The component does not export what was called.
    NotExported,
    /// No host that runs the component could be reached. Nothing was started.
    Unreachable,
    /// The other host that got the call, or should get it, no longer answers. It is unknown whether the call was done.
    Lost,
    /// The arguments do not fit the component's type, or the caller cannot read its answer.
    Mismatch,
    /// The call is larger than a message between hosts may be. Nothing was started.
    RequestTooLarge,
    /// The answer is larger than a message between hosts may be.
    ResponseTooLarge,
}

impl Failure {
    /// Its name in metrics.
    pub fn key(self) -> &'static str {
        match self {
            Failure::Overloaded => "overloaded",
            Failure::Deadline => "deadline",
            Failure::Trapped => "trapped",
            Failure::Instantiation => "instantiation",
            Failure::TooManyHops => "too-many-hops",
            Failure::NotExported => "not-exported",
            Failure::Unreachable => "unreachable",
            Failure::Lost => "lost",
            Failure::Mismatch => "mismatch",
            Failure::RequestTooLarge => "request-too-large",
            Failure::ResponseTooLarge => "response-too-large",
        }
    }

    /// Its name, in logs and between hosts.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Overloaded => "overloaded",
            Failure::Deadline => "deadline passed",
            Failure::Trapped => "trapped",
            Failure::Instantiation => "could not be instantiated",
            Failure::TooManyHops => "too many hops",
            Failure::NotExported => "not exported",
            Failure::Unreachable => "unreachable",
            Failure::Lost => "lost",
            Failure::Mismatch => "mismatch",
            Failure::RequestTooLarge => "request too large",
            Failure::ResponseTooLarge => "response too large",
        }
    }
}

/// A call that failed, with the component that it went to.
#[derive(Debug, Clone)]
pub struct CallError {
    /// The component that was called.
    pub component: Arc<str>,
    /// The number of its version, where one was chosen on this host.
    pub version: Option<u64>,
    /// What happened.
    pub failure: Failure,
    /// Details, only for the log.
    pub detail: String,
}

impl CallError {
    /// An error whose detail is `detail`.
    pub fn new(component: &Arc<str>, failure: Failure, detail: impl fmt::Display) -> Self {
        // A backtrace contains names that the guest has chosen, and an error code its text; they must not be able to
        // forge a log record, or to fill the log.
        let detail = brief(&one_line(&detail.to_string()));
        CallError { component: component.clone(), version: None, failure, detail }
    }

    /// The error of a call to the version with this number.
    pub(super) fn of_version(self, number: u64) -> Self {
        CallError { version: Some(number), ..self }
    }

    /// What happened, with the details.
    pub fn what(&self) -> String {
        match self.detail.as_str() {
            "" => self.failure.name().to_owned(),
            detail => format!("{}: {detail}", self.failure.name()),
        }
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
            Failure::Unreachable => "cannot be reached: no host that runs it answers; try again shortly",
            Failure::Lost => "was lost during the call; whether it did what was asked is not known",
            Failure::Mismatch => "and its caller do not understand each other",
            Failure::RequestTooLarge => "cannot be sent so much at once",
            Failure::ResponseTooLarge => "answered with too much at once",
        };
        format!("{} {what}", self.component)
    }
}

/// Puts a text of several lines on one line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "component `{}`: {}", self.component, self.what())
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detail_is_one_line_of_bounded_length() {
        let component: Arc<str> = "web".into();
        let error = CallError::new(&component, Failure::Trapped, "first\n  second\u{1b}[2J");
        assert_eq!(error.to_string(), "component `web`: trapped: first | second\\u{1b}[2J");
        assert_eq!((error.version, error.clone().of_version(7).version), (None, Some(7)));
        let long = CallError::new(&component, Failure::Trapped, "ä".repeat(17 << 20));
        assert_eq!(long.detail, format!("{}... (35643392 bytes left out)", "ä".repeat(4 << 10)));
    }
}
