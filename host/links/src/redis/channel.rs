//! A channel with the component that gets its messages, and the channels of one connection.

use crate::durable::LogThrottle;
use redis::{Msg, Value};
use souk_bindings::budget::{ApplicationBudget, HeldMemory};
use souk_bindings::call::CallContext;
use souk_bindings::printable;
use souk_bindings::trace::SharedRedaction;
use souk_manifest::{RedisTrigger, RedisUrl};
use souk_runtime::{Exported, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wasmtime::component::{Type, Val};

souk_manifest::fixed_limits! {
    /// The fixed limits of messages.
    pub(crate) const FIXED_LIMITS = "redis triggers";

    /// The largest message that a component gets; a larger one is dropped as it comes. As a value of the component model
    /// it takes about forty times as much memory.
    pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 20, bytes;
}

/// The interfaces for messages that a component may export, the newer one first.
const HANDLERS: [&str; 2] = ["spin:redis/inbound-redis@3", "fermyon:spin/inbound-redis"];
/// Their function.
const HANDLE: &str = "handle-message";

/// A channel and the component that gets its messages.
#[derive(Clone)]
pub struct Channel {
    pub(super) server: RedisUrl,
    pub(super) name: Arc<str>,
    /// The line of the trigger.
    pub(super) line: usize,
    pool: Arc<Pool>,
    /// The position of the function in the component's pool.
    function: usize,
    /// Bounds the concurrent calls; all channels of a component share it.
    slots: Arc<Semaphore>,
    /// Cancelled when the component gets no more messages of it.
    ended: CancellationToken,
}

impl Channel {
    /// The channel of `trigger`, for the component of `pool`, whose channels share `slots`. `None` when the component
    /// exports no function for messages.
    pub fn of(trigger: &RedisTrigger, pool: &Arc<Pool>, slots: &Arc<Semaphore>) -> Option<Self> {
        Some(Channel {
            server: trigger.address.clone(),
            name: trigger.channel.as_str().into(),
            line: trigger.line,
            function: handler_position(pool)?,
            pool: pool.clone(),
            slots: slots.clone(),
            ended: CancellationToken::new(),
        })
    }

    /// Whether `other` is the same channel for the same component.
    pub fn is_same(&self, other: &Channel) -> bool {
        self.server.is_same(&other.server) && self.name == other.name && Arc::ptr_eq(&self.pool, &other.pool)
    }

    /// Gives the component no more messages of the channel.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Its component.
    pub(super) fn component(&self) -> Arc<str> {
        self.pool.component().clone()
    }

    /// The budget of its application.
    pub(super) fn application(&self) -> Arc<ApplicationBudget> {
        self.pool.active().grants().budget.clone()
    }

    /// Calls the component with one message.
    async fn deliver(&self, payload: Vec<u8>, _held: Held) {
        let Ok(_slot) = self.slots.acquire().await else { return };
        let message = Val::List(payload.into_iter().map(Val::U8).collect());
        let trace: Arc<str> = Uuid::now_v7().to_string().into();
        let span = self.pool.tracer().root(None);
        let context = CallContext { span, ..CallContext::new(trace.clone(), self.pool.call_deadline()) };
        let (component, channel) = (self.pool.component(), &self.name);
        match self.pool.call(self.function, &[message], context).await {
            Ok(values) => {
                if let Some(Val::Result(Err(error))) = values.first() {
                    let hidden = self.pool.hidden();
                    let error = error.as_ref().map_or_else(|| "an error".to_owned(), |error| error_line(error, hidden));
                    tracing::error!(
                        %component, %trace, %channel,
                        "component `{component}` answered a message of the channel `{channel}` with {error}"
                    );
                }
            }
            Err(error) => tracing::error!(
                %component, %trace, %channel,
                "a message of the channel `{channel}` is lost: {error}"
            ),
        }
    }
}

/// A guest's error as one short line for the log, without what is `hidden`.
fn error_line(error: &Val, hidden: &SharedRedaction) -> String {
    let text = match error {
        Val::Enum(case) | Val::Variant(case, None) => case.clone(),
        Val::Variant(case, Some(value)) => match &**value {
            Val::String(text) => format!("{case}: {text}"),
            _ => case.clone(),
        },
        _ => "an error".to_owned(),
    };
    let text = hidden.beginning(&text, 200);
    printable(&text.chars().take(200).collect::<String>().replace('\n', " "))
}

/// The exported interface whose function gets a component's messages.
pub fn message_handler(exported: &Exported) -> Option<&str> {
    Some(exported.functions.get(handler(exported)?)?.interface.as_str())
}

/// The position of the function for messages in the component's pool.
fn handler_position(pool: &Pool) -> Option<usize> {
    let active = pool.active();
    let exported = &active.compiled().exported;
    let function = exported.functions.get(handler(exported)?)?;
    pool.position(&function.interface, &function.name)
}

/// The index of the function for messages among the exports.
fn handler(exported: &Exported) -> Option<usize> {
    HANDLERS.iter().find_map(|interface| {
        exported.functions.iter().position(|function| {
            let takes_bytes = || {
                let mut params = function.ty.params();
                matches!((params.next(), params.next()), (Some((_, Type::List(list))), None) if list.ty() == Type::U8)
            };
            function.interface.starts_with(interface) && function.name == HANDLE && takes_bytes()
        })
    })
}

/// The channels of one connection; all connections share `memory_kib` and `messages`.
pub(super) struct Served {
    /// The memory for messages, with one permit per KiB.
    pub(super) memory_kib: Arc<Semaphore>,
    /// Messages in progress, each a task.
    pub(super) messages: TaskTracker,
    /// The components that get the messages of each channel.
    pub(super) channels: BTreeMap<Arc<str>, Vec<Channel>>,
    /// The memory for what is read ahead.
    pub(super) _held: HeldMemory,
}

impl Served {
    /// The channels of which components still get messages.
    pub(super) fn names(&self) -> BTreeSet<Arc<str>> {
        let current = self.channels.iter().filter(|(_, all)| all.iter().any(|channel| !channel.ended.is_cancelled()));
        current.map(|(name, _)| name.clone()).collect()
    }

    /// Waits until all channels have ended.
    pub(super) fn all_ended(&self) -> impl Future<Output = ()> + use<> {
        let ends: Vec<_> = self.channels.values().flatten().map(|channel| channel.ended.clone()).collect();
        async move {
            for end in ends {
                end.cancelled().await;
            }
        }
    }

    /// Starts the delivery of a message to every component of its channel; waits for none.
    pub(super) fn take(&self, message: &Msg, dropped: &LogThrottle) {
        let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
        let Some(channels) = self.channels.get(channel) else { return };
        let too_large = too_large(message);
        for target in channels.iter().filter(|target| !target.ended.is_cancelled()) {
            let component = target.pool.component();
            if let Some(length) = too_large {
                tracing::error!(
                    %component,
                    "a message of {length} bytes of the channel `{channel}` is lost: at most {MAX_MESSAGE_BYTES} are taken; \
                     put what is large into a store, and its key into the message",
                );
                continue;
            }
            let held = match self.hold(target, payload.len()) {
                Ok(held) => held,
                Err(why) => {
                    dropped.failed(|more| {
                        let lost = more + 1;
                        tracing::error!(
                            %component,
                            "{lost} messages of the channel `{channel}` are lost: {why}"
                        );
                    });
                    continue;
                }
            };
            let (target, payload) = (target.clone(), payload.to_vec());
            self.messages.spawn(async move { target.deliver(payload, held).await });
        }
    }
}

/// The memory that a message counts for, for all messages and for the application; free again when this is dropped.
struct Held {
    _messages: OwnedSemaphorePermit,
    _application: HeldMemory,
}

impl Served {
    /// Takes memory for a message of `length` bytes until it is delivered to `target`.
    fn hold(&self, target: &Channel, length: usize) -> Result<Held, String> {
        let bytes = length * (1 + size_of::<Val>());
        let kib = u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        let slow = || {
            let component = target.pool.component();
            format!("`{component}` is slower than they come; raise its limit `instances`")
        };
        let messages = self.memory_kib.clone().try_acquire_many_owned(kib).map_err(|_| slow())?;
        let application = target.application().hold(bytes as u64);
        let application = application
            .ok_or_else(|| "the application has no memory for them (limit `application_memory`)".to_owned())?;
        Ok(Held { _messages: messages, _application: application })
    }
}

/// The length of a message that is too large: [`Inflow`](super::inflow::Inflow) has replaced its bytes by it.
fn too_large(message: &Msg) -> Option<i64> {
    if !message.get_payload_bytes().is_empty() {
        return None;
    }
    match message.get_payload() {
        Ok(Value::Int(length)) => Some(length),
        _ => None,
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
