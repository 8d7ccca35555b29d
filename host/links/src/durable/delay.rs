//! When a message of a durable link is delivered for the first time: at once, after a delay that the manifest sets, or
//! at a time that the caller chooses.

use super::{millis, now};
use crate::check::{LinkTypeError, Mismatch};
use souk_manifest::Delay;
use souk_manifest::schedule::MAX_DELAY;
use std::time::Duration;
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, Type};

/// The delay of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FunctionDelay {
    /// Delivered at once.
    None,
    /// Delivered after this time.
    After(Duration),
    /// Delivered at the time in the parameter with this index, in milliseconds since 1970.
    Parameter(usize),
}

impl FunctionDelay {
    /// The delay of `function`. When it lacks the parameter that `delay` names, its messages are delivered at once.
    ///
    /// # Errors
    /// When that parameter is not a `u64`.
    pub(super) fn of(
        delay: &Delay,
        interface: &str,
        function: &str,
        ty: &ComponentFunc,
    ) -> Result<FunctionDelay, LinkTypeError> {
        let wanted = match delay {
            Delay::None => return Ok(FunctionDelay::None),
            Delay::After(after) => return Ok(FunctionDelay::After(*after)),
            Delay::Chosen(wanted) => wanted,
        };
        match ty.params().enumerate().find(|(_, (name, _))| name == wanted) {
            None => Ok(FunctionDelay::None),
            Some((position, (_, Type::U64))) => Ok(FunctionDelay::Parameter(position)),
            Some(_) => {
                let problem = format!("has the parameter `{wanted}`, which is no `u64`");
                let fix = "let it be a `u64`, milliseconds since 1970, or remove `deliver_at` from `durable`";
                Err(LinkTypeError::new(interface, function, Mismatch::new(problem, fix)))
            }
        }
    }

    /// When the message of a call with `params` is due; `None` means at once.
    ///
    /// # Errors
    /// When the time is too far in the future. The text is for the caller.
    pub(super) fn due(self, params: &[Val]) -> Result<Option<i64>, String> {
        let now = now();
        match self {
            FunctionDelay::None => Ok(None),
            FunctionDelay::After(after) => Ok(Some(now.saturating_add(millis(after)))),
            FunctionDelay::Parameter(position) => {
                let Some(Val::U64(due)) = params.get(position) else { return Ok(None) };
                let due = i64::try_from(*due).unwrap_or(i64::MAX);
                if due.saturating_sub(now) > millis(MAX_DELAY) {
                    let days = MAX_DELAY.as_secs() / 86_400;
                    return Err(format!(
                        "a call can be delayed by {days} days at most; the time is in milliseconds since 1970"
                    ));
                }
                Ok(Some(due).filter(|due| *due > now))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_types::{STRING, U64, async_func};

    #[test]
    fn a_caller_chooses_a_time_within_a_year_and_the_past_means_at_once() {
        let chosen = Delay::Chosen("deliver-at".to_owned());
        let func = async_func(&[("text", STRING), ("deliver-at", U64)], None);
        let delay = FunctionDelay::of(&chosen, "n:p/i", "f", &func).unwrap();
        assert_eq!(delay, FunctionDelay::Parameter(1));
        let at = |due: i64| delay.due(&[Val::String(String::new()), Val::U64(u64::try_from(due).unwrap())]);
        let soon = now() + 60_000;
        assert_eq!(at(soon), Ok(Some(soon)));
        // A time in seconds, read as milliseconds, is long past.
        assert_eq!((at(0), at(soon / 1000)), (Ok(None), Ok(None)));
        assert!(at(soon + millis(MAX_DELAY)).unwrap_err().contains("366 days"));
        assert!(delay.due(&[Val::String(String::new()), Val::U64(u64::MAX)]).is_err());
    }

    #[test]
    fn a_function_without_the_parameter_is_delivered_at_once_and_one_of_another_type_is_refused() {
        let chosen = Delay::Chosen("deliver-at".to_owned());
        let without = async_func(&[("text", STRING)], None);
        assert_eq!(FunctionDelay::of(&chosen, "n:p/i", "f", &without).unwrap(), FunctionDelay::None);
        let wrong = async_func(&[("deliver-at", STRING)], None);
        let error = FunctionDelay::of(&chosen, "n:p/i", "f", &wrong).unwrap_err();
        assert!(error.to_string().contains("`n:p/i#f`") && error.fix.contains("u64"), "{error}");
    }
}
