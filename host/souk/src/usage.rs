//! How much of each budget is in use, as the control socket reports it and `souk limits` prints it.

use crate::app::App;
use serde::{Deserialize, Serialize};
use souk_manifest::budget::Use;
use souk_manifest::limits::LimitValue;
use std::time::Duration;

/// The use of a budget.
#[derive(Debug, Serialize, Deserialize)]
pub struct Used {
    /// The manifest's key of the limit, or a description of the budget.
    pub name: String,
    /// The amount in use.
    pub taken: u64,
    /// The limit.
    pub most: u64,
    /// The unit of both numbers.
    pub unit: String,
    /// Both numbers as text.
    pub text: String,
}

impl From<Use> for Used {
    fn from(budget: Use) -> Self {
        let number = |value| match value {
            LimitValue::Bytes(size) => (size.as_u64(), "bytes"),
            LimitValue::Duration(duration) => (milliseconds(duration), "milliseconds"),
            LimitValue::Count(count, unit) => (count, unit),
        };
        let ((taken, unit), (most, _)) = (number(budget.taken), number(budget.most));
        let text = match budget.taken {
            LimitValue::Count(count, _) => format!("{count} of {}", budget.most),
            taken => format!("{taken} of {}", budget.most),
        };
        Used { name: budget.name, taken, most, unit: unit.to_owned(), text }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The use of each budget of `app`.
pub(crate) fn of(app: &App) -> Vec<Used> {
    app.uses().into_iter().map(Used::from).collect()
}
