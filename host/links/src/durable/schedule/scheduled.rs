//! A schedule of a component of this host, joined to the function that it calls.
//!
//! A call is a durable message. Its id is derived from the schedule and the due time, so every host that makes the call
//! uses the same id. The function may have a parameter `id` for it, and `due` for the due time in milliseconds since
//! 1970; by either it recognises a call that it gets twice.

use crate::durable::contract;
use crate::durable::message::{Key, NewMessage};
use sha2::{Digest as _, Sha256};
use souk_codec::FunctionCodec;
use souk_codec::signature::{digest, signature};
use souk_manifest::Schedule;
use souk_runtime::Pool;
use std::sync::Arc;
use uuid::Uuid;
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, Type};

/// Why a schedule cannot work, and the fix.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    message: String,
    /// The fix.
    pub fix: String,
}

/// A parameter of the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameter {
    Id,
    Due,
}

/// A schedule with its function.
pub struct Scheduled {
    pub(super) schedule: Schedule,
    /// Its name in the application.
    pub(super) id: String,
    key: Key,
    caller: Arc<str>,
    parameters: Vec<Parameter>,
    /// The digest of the function's type.
    digest: Arc<str>,
    codec: FunctionCodec,
}

impl Scheduled {
    /// The schedule of the component whose instances are `pool`.
    ///
    /// # Errors
    /// When the component lacks the function, or a schedule cannot call it.
    pub fn of(schedule: &Schedule, pool: &Pool) -> Result<Self, ScheduleError> {
        let active = pool.active();
        let functions = &active.compiled().exported.functions;
        let meant = |name: &str, interface: &str| name == schedule.function && schedule.interface.covers(interface);
        let Some(function) = functions.iter().find(|function| meant(&function.name, &function.interface)) else {
            let message = format!(
                "the schedule `{}` calls `{}#{}`, which the component does not export",
                schedule.name, schedule.interface, schedule.function
            );
            let offers: Vec<String> = functions
                .iter()
                .filter(|function| contract::is_delivery(&function.ty))
                .map(|function| format!("{}#{}", function.interface, function.name))
                .collect();
            let fix = match offers.as_slice() {
                [] => "export it: a function of a durable contract".to_owned(),
                some => format!("name one of {}", some.join(", ")),
            };
            return Err(ScheduleError { message, fix });
        };
        let parameters = parameters(&function.ty).filter(|_| contract::is_delivery(&function.ty));
        let (Some(parameters), Ok(codec)) = (parameters, FunctionCodec::of(&function.ty)) else {
            let message = format!(
                "the schedule `{}` cannot call `{}#{}`",
                schedule.name,
                function.interface,
                signature(&function.name, &function.ty)
            );
            let fix = "let it take nothing, or `id: string`, or `due: u64`, or both, and return `result<_, E>`, where E is \
                       `variant E { retry(string), reject(string) }`";
            return Err(ScheduleError { message, fix: fix.to_owned() });
        };
        let key = Key {
            target: pool.component().clone(),
            interface: function.interface.as_str().into(),
            function: function.name.as_str().into(),
        };
        let (id, caller) = (schedule.id(pool.component()), format!("schedule {}", schedule.name).into());
        let digest = digest(&function.name, &function.ty).into();
        Ok(Scheduled { schedule: schedule.clone(), id, key, caller, parameters, digest, codec })
    }

    /// A schedule of the component `target`, whose function does not exist.
    #[cfg(test)]
    pub(super) fn for_tests(schedule: Schedule, ty: &ComponentFunc) -> Self {
        let key = Key { target: "target".into(), interface: "n:p/i@1.0.0".into(), function: "f".into() };
        let (id, caller) = (schedule.id("target"), format!("schedule {}", schedule.name).into());
        let (parameters, codec) = (parameters(ty).unwrap_or_default(), FunctionCodec::of(ty).unwrap());
        Scheduled { schedule, id, key, caller, parameters, digest: digest("f", ty).into(), codec }
    }

    pub(super) fn component(&self) -> &Arc<str> {
        &self.key.target
    }

    /// The call for the time `due`. Its id is the same on every host and at any time.
    pub(super) fn message(&self, due: i64) -> Result<(String, NewMessage), String> {
        let id = id(&self.id, due).to_string();
        let values: Vec<Val> = self
            .parameters
            .iter()
            .map(|parameter| match parameter {
                Parameter::Id => Val::String(id.clone()),
                Parameter::Due => Val::U64(u64::try_from(due).unwrap_or_default()),
            })
            .collect();
        let arguments = self.codec.encode_params(&values).map_err(|error| error.to_string())?;
        let message = NewMessage {
            key: self.key.clone(),
            caller: self.caller.clone(),
            trace: id.as_str().into(),
            traceparent: None,
            hops: 1,
            due: None,
            digest: self.digest.clone(),
            arguments: String::from_utf8(arguments).map_err(|error| error.to_string())?,
        };
        Ok((id, message))
    }
}

/// A UUID of version 7 whose time is `due`, so that messages are in the order of their times.
fn id(schedule: &str, due: i64) -> Uuid {
    let digest = Sha256::digest(format!("{schedule}@{due}"));
    let mut random = [0; 10];
    random.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(due).unwrap_or_default(), &random).into_uuid()
}

/// The parameters of the function; `None` when it has one that a schedule cannot fill.
fn parameters(ty: &ComponentFunc) -> Option<Vec<Parameter>> {
    ty.params()
        .map(|(name, ty)| match (name, ty) {
            ("id", Type::String) => Some(Parameter::Id),
            ("due", Type::U64) => Some(Parameter::Due),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_types::{STRING, U64, async_func, result};

    #[test]
    fn an_id_depends_on_schedule_and_due_time_alone_and_sorts_by_time() {
        let first = id("orders/clean", 1_800_000_000_000);
        assert_eq!(first, id("orders/clean", 1_800_000_000_000));
        assert_ne!(first, id("orders/clear", 1_800_000_000_000));
        assert!(first.to_string() < id("orders/clean", 1_800_000_001_000).to_string());
        assert_eq!(first.get_version_num(), 7);
    }

    #[test]
    fn a_function_takes_the_id_and_the_due_time_in_any_order_or_nothing() {
        let takes = |params: &[(&str, wit_types::Ty)]| parameters(&async_func(params, Some(&result(None, None))));
        assert_eq!(takes(&[]), Some(vec![]));
        assert_eq!(takes(&[("due", U64), ("id", STRING)]), Some(vec![Parameter::Due, Parameter::Id]));
        assert_eq!(takes(&[("due", STRING)]), None);
        assert_eq!(takes(&[("id", STRING), ("more", STRING)]), None);
    }
}
