//! The caller's side of a durable link: a call that becomes a message.

use super::delay::FunctionDelay;
use super::log_throttle::LogThrottle;
use super::message::{Key, NewMessage, Published};
use super::queue::Queue;
use super::{MAX_ARGUMENTS_BYTES, contract};
use crate::answers::{Answer, Answers};
use crate::check::{LinkTypeError, Mismatch};
use crate::import::{Import, LinkError};
use souk_bindings::Ctx;
use souk_bindings::boundary::{Boundaries, Boundary};
use souk_bindings::call::CallContext;
use souk_bindings::trace::Attribute;
use souk_codec::FunctionCodec;
use souk_codec::signature::digest;
use souk_manifest::Delay;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Linker, Val};

/// Connects `import` of the component `caller` to the queue; messages are delivered after `delay`.
///
/// # Errors
/// When the exporter lacks a function, or a durable link cannot have a function.
pub fn link(
    linker: &mut Linker<Ctx>,
    import: &Import<'_>,
    caller: &Arc<str>,
    queue: &Queue,
    boundaries: &Boundaries,
    delay: &Delay,
) -> Result<(), LinkError> {
    if let Delay::Chosen(parameter) = delay
        && !import.functions()?.iter().any(|function| function.ty.params().any(|(name, _)| name == parameter))
    {
        let message = format!("no function has the parameter `{parameter}`, which says when a call is made");
        let fix = "let `deliver_at` name a parameter of type `u64`, or write `after = \"30m\"`";
        return Err(LinkTypeError::new(import.interface, "*", Mismatch::new(message, fix)).into());
    }
    let log_throttle = Arc::new(LogThrottle::default());
    import.define(linker, |function| {
        contract::check(import.interface, &function.name, &function.ty)?;
        let delay = FunctionDelay::of(delay, import.interface, &function.name, &function.ty)?;
        let codec = FunctionCodec::of(&function.ty)
            .map_err(|error| LinkTypeError::not_json(import.interface, &function.name, &error))?;
        let target = import.target.component();
        let stored = boundaries.stored(caller, target, &format!("{}#{}", import.export, function.name));
        Ok(Link {
            stored,
            key: Key {
                target: target.clone(),
                interface: import.export.into(),
                function: function.name.as_str().into(),
            },
            caller: caller.clone(),
            digest: digest(&function.name, &function.ty).into(),
            codec,
            delay,
            queue: queue.clone(),
            log_throttle: log_throttle.clone(),
        })
    })?;
    Ok(())
}

/// One function of one link.
struct Link {
    key: Key,
    caller: Arc<str>,
    /// The digest of the function's type.
    digest: Arc<str>,
    codec: FunctionCodec,
    delay: FunctionDelay,
    queue: Queue,
    log_throttle: Arc<LogThrottle>,
    /// Measures and traces the storing of messages.
    stored: Boundary,
}

impl Answers for Link {
    fn answer<'a>(self: Arc<Self>, context: CallContext, params: &'a [Val], results: &'a mut [Val]) -> Answer<'a> {
        Box::new(async move {
            let answer = self.call(&context, params).await;
            results.iter_mut().for_each(|slot| slot.clone_from(&answer));
            Ok(())
        })
    }
}

impl Link {
    /// The answer to the caller.
    async fn call(&self, context: &CallContext, params: &[Val]) -> Val {
        let (target, trace) = (&self.key.target, &context.trace);
        // A message does not keep its caller's deadline, but it keeps the count of hops, so that a loop ends.
        let Some(next) = context.next(Duration::ZERO) else {
            tracing::warn!(component = %self.caller, trace = %trace, "too many hops on the way to `{target}`");
            return contract::reject(format!("{target} was reached through too many calls; a loop is likely"));
        };
        let (due, arguments) = match self.delay.due(params).and_then(|due| Ok((due, self.arguments(params)?))) {
            Ok(read) => read,
            Err(message) => {
                tracing::warn!(component = %self.caller, trace = %trace, "a message for `{target}`: {message}");
                return contract::reject(message);
            }
        };
        let mut crossing = self.stored.open(&context.span);
        let message = NewMessage {
            key: self.key.clone(),
            caller: self.caller.clone(),
            trace: trace.clone(),
            traceparent: crossing.place(&context.span).carried(),
            hops: next.hops,
            due,
            digest: self.digest.clone(),
            arguments,
        };
        let published = self.queue.publish(message, context.deadline).await;
        if let Ok(Published::Stored(id)) = &published {
            crossing.note("messaging.message.id", || Attribute::text(id.as_str()));
        }
        crossing.close(match &published {
            Ok(Published::Stored(_)) => None,
            Ok(Published::Full) => Some("full"),
            Ok(Published::TooLarge(_)) => Some("too-large"),
            Err(_) => Some("failed"),
        });
        let (cause, fix) = match published {
            Ok(Published::Stored(id)) => {
                self.log_throttle.recovered(|| tracing::info!(component = %self.caller, "messages are stored again"));
                let function = &self.key.function;
                tracing::debug!(component = %self.caller, trace = %trace, "stored message {id} for `{target}` ({function})");
                return contract::stored();
            }
            Ok(Published::Full) => (
                format!("the queue is full ({} bytes, limit `durable_bytes`)", self.queue.limit()),
                "`souk events list` shows what waits; repair its target, drop messages, or raise the limit",
            ),
            Ok(Published::TooLarge(most)) => {
                tracing::error!(
                    component = %self.caller,
                    trace = %trace,
                    "a message for `{target}` is larger than NATS accepts, which is {most} bytes; fix: raise \
                     `max_payload` of \
                     the NATS servers to 2MB"
                );
                return contract::reject(format!("the message for {target} is too large"));
            }
            Err(error) => (error.to_string(), error.fix()),
        };
        self.log_throttle.failed(|more| {
            tracing::error!(
                component = %self.caller,
                "messages for `{target}` cannot be stored: {cause}; their callers are told to try again ({more} more \
                 since the last such line); fix: {fix}"
            );
        });
        contract::retry(format!("the message for {target} cannot be stored now; try again later"))
    }

    fn arguments(&self, params: &[Val]) -> Result<String, String> {
        let json = self.codec.encode_params(params).map_err(|e| format!("the arguments cannot be stored: {e}"))?;
        if json.len() > MAX_ARGUMENTS_BYTES {
            let length = json.len();
            return Err(format!(
                "the arguments are {length} bytes long as JSON; a message has at most {MAX_ARGUMENTS_BYTES}"
            ));
        }
        String::from_utf8(json).map_err(|e| format!("the arguments cannot be stored: {e}"))
    }
}
