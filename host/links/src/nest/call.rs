//! From a component to a Nest service: an import whose functions are patterns.
//!
//! Each request has an inbox of its own, as with Nest's clients, because a service may answer in several packets: the
//! last response counts. The caller gets the contract's `unavailable` at once when nobody subscribes to the pattern,
//! when the connection to NATS is gone, or when the message or the answer is too large. It gets `unavailable` at its
//! deadline when the service is late. The details are in the log.
//!
//! An event gets no answer, so `ok` means that NATS has delivered it once to the current subscribers. When nobody
//! subscribes or NATS is gone, the caller gets the contract's `retry`; so a durable link before it keeps the event for
//! a service that is away. An event that can never be sent gives `reject`.

use super::direction::Direction;
use super::function::Function;
use super::packet::{self, Outcome, Reply};
use super::{MAX_PACKET_BYTES, NestError};
use crate::LinkError;
use crate::answers::{Answer, Answers};
use crate::check::{LinkTypeError, Mismatch};
use crate::durable::{is_delivery, reject};
use crate::taped::define;
use crate::trace_headers;
use crate::unavailable::Unavailable;
use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use souk_bindings::boundary::{Boundaries, Boundary};
use souk_bindings::call::CallContext;
use souk_bindings::trace::Span;
use souk_bindings::{Ctx, brief, printable};
use souk_manifest::NestPattern;
use souk_nats::{Nats, Outage};
use std::sync::Arc;
use tokio::sync::Semaphore;
use uuid::Uuid;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, Val};

/// A component that calls Nest services, with its patterns.
pub struct Caller<'a> {
    /// The engine of the component.
    pub engine: &'a wasmtime::Engine,
    /// Its code.
    pub importer: &'a Component,
    /// Its name.
    pub name: &'a Arc<str>,
    /// Its patterns.
    pub patterns: &'a [NestPattern],
    /// Bounds its requests in progress.
    pub slots: &'a Arc<Semaphore>,
    /// The connection.
    pub nats: &'a Nats,
    /// The boundaries of the application.
    pub boundaries: &'a Boundaries,
}

/// The target of these calls in metrics: which service answers a pattern is not known. No component has this name.
const TARGET: &str = "NestJS";

/// More than the headers of a trace take, which NATS counts as part of a message.
const TRACE_BYTES: usize = 1 << 10;

/// Connects `interface`, an import of `caller`, to the services that its patterns name. Returns the functions whose
/// contract has no error for an unavailable service, as `interface#name`.
///
/// # Errors
/// When a function has no pattern, or its type is not one that packets can carry.
pub fn link(linker: &mut Linker<Ctx>, caller: &Caller<'_>, interface: &str) -> Result<Vec<String>, NestError> {
    let patterns: Vec<&NestPattern> = caller.patterns.iter().filter(|p| p.interface.covers(interface)).collect();
    let line = patterns.first().map_or(1, |pattern| pattern.line);
    let wrong = |line: usize, function: &str, mismatch: Mismatch| NestError {
        line,
        error: LinkTypeError::new(interface, function, mismatch).into(),
    };
    let refused = |error: &wasmtime::Error| NestError {
        line,
        error: LinkError::Linker { interface: interface.into(), message: format!("{error:#}") },
    };
    let component_type = caller.importer.component_type();
    let import = component_type.get_import(caller.engine, interface).map(|import| import.ty);
    let Some(ComponentItem::ComponentInstance(import)) = import else { return Ok(Vec::new()) };
    let mut instance = linker.instance(interface).map_err(|error| refused(&error))?;
    let (mut functions_without_unavailable, mut known) = (Vec::new(), Vec::new());
    for (name, item) in import.exports(caller.engine) {
        let ty = match item.ty {
            ComponentItem::ComponentFunc(ty) => ty,
            ComponentItem::Type(_) => continue,
            _ => return Err(NestError { line, error: LinkTypeError::not_a_function(interface, name).into() }),
        };
        known.push(name.to_owned());
        let mut own = patterns.iter().filter(|pattern| pattern.function == name);
        let Some(first) = own.next() else {
            let fix = format!("add a pattern for \"{interface}#{name}\" to `calls`, or write an adapter");
            return Err(wrong(line, name, Mismatch::new("is answered by no pattern", fix)));
        };
        let direction = if is_delivery(&ty) { Direction::Event } else { Direction::Outbound };
        let function =
            Function::of(first, &ty, direction).map_err(|e| NestError { line: first.line, error: e.into() })?;
        let subjects: Vec<String> = patterns.iter().filter(|p| p.function == name).map(|p| p.subject.clone()).collect();
        if let (Some(second), false) = (own.next(), function.takes_any_pattern()) {
            let problem = format!("is used for `{}` already", first.subject);
            return Err(wrong(second.line, name, Mismatch::new(problem, "keep one pattern for each function")));
        }
        let unavailable = Unavailable::of(&ty);
        if unavailable.is_none() {
            functions_without_unavailable.push(format!("{interface}#{name}"));
        }
        let link = Arc::new(Link {
            caller: caller.name.clone(),
            subjects,
            function,
            event: direction == Direction::Event,
            unavailable,
            slots: caller.slots.clone(),
            nats: caller.nats.clone(),
            boundary: caller.boundaries.links(caller.name, TARGET, &format!("{interface}#{name}")),
        });
        define(&mut instance, interface, name, &ty, link).map_err(|error| refused(&error))?;
    }
    if let Some(pattern) = patterns.iter().find(|pattern| !known.contains(&pattern.function)) {
        let fix = format!("it imports {}; name one of these", known.join(", "));
        return Err(wrong(pattern.line, &pattern.function, Mismatch::new("is not imported", fix)));
    }
    Ok(functions_without_unavailable)
}

/// One function of one link.
struct Link {
    caller: Arc<str>,
    /// The patterns that it can send to: one, or for an adapter all those that it may name.
    subjects: Vec<String>,
    function: Function,
    event: bool,
    unavailable: Option<Unavailable>,
    slots: Arc<Semaphore>,
    nats: Nats,
    /// Measures and traces the calls.
    boundary: Boundary,
}

/// Why a service has not answered.
struct NoAnswer {
    /// The text for the caller and the log, after "the service of `PATTERN`".
    what: &'static str,
    /// For the log only.
    detail: String,
    /// Whether sending the same message later cannot help.
    permanent: bool,
}

impl NoAnswer {
    fn new(what: &'static str, detail: impl std::fmt::Display) -> Self {
        NoAnswer { what, detail: detail.to_string(), permanent: false }
    }

    fn permanent(what: &'static str, detail: impl std::fmt::Display) -> Self {
        NoAnswer { permanent: true, ..NoAnswer::new(what, detail) }
    }
}

impl Answers for Link {
    fn answer<'a>(self: Arc<Self>, context: CallContext, params: &'a [Val], results: &'a mut [Val]) -> Answer<'a> {
        Box::new(async move { self.call(context, params, results).await })
    }
}

impl Link {
    async fn call(&self, mut context: CallContext, params: &[Val], results: &mut [Val]) -> wasmtime::Result<()> {
        let mut crossing = self.boundary.open(&context.span);
        crossing.enter(&mut context);
        let first = self.subjects.first().map(String::as_str).unwrap_or_default();
        let (subject, outcome) = match self.function.message(params) {
            Ok((None, data)) => (first.to_owned(), self.send(first, &data, &context).await),
            Ok((Some(named), data)) if self.subjects.contains(&named) => {
                let outcome = self.send(&named, &data, &context).await;
                (named, outcome)
            }
            Ok((Some(named), _)) => {
                let detail = format!("fix: add '{named}' to `calls` of `{}`", self.caller);
                (named, Err(NoAnswer::permanent("is not one that this component may call", detail)))
            }
            Err(error) => (first.to_owned(), Err(NoAnswer::permanent("cannot be sent this message", error))),
        };
        match outcome {
            Ok(values) => {
                crossing.close(None);
                for (slot, value) in results.iter_mut().zip(values) {
                    *slot = value;
                }
                Ok(())
            }
            Err(NoAnswer { what, detail, permanent }) => {
                let message = format!("the service of `{}` {what}", printable(&subject));
                tracing::warn!(component = %self.caller, trace = %context.trace, "{message}: {}", brief(&detail));
                crossing.fails(|| format!("{message}: {detail}"));
                crossing.close(Some(if permanent { "refused" } else { "unavailable" }));
                match (&self.unavailable, results.first_mut()) {
                    (_, Some(slot)) if self.event && permanent => {
                        *slot = reject(message);
                        Ok(())
                    }
                    (Some(unavailable), Some(slot)) => {
                        *slot = unavailable.value(&message);
                        Ok(())
                    }
                    _ => Err(wasmtime::Error::msg(message)),
                }
            }
        }
    }

    async fn send(&self, subject: &str, data: &str, context: &CallContext) -> Result<Vec<Val>, NoAnswer> {
        let mut outage = self.nats.outage();
        if *outage.borrow_and_update() != Outage::None {
            return Err(NoAnswer::new("cannot be reached", "there is no connection to NATS"));
        }
        let id = Uuid::new_v4().simple().to_string();
        let packet = packet::message(subject, data, (!self.event).then_some(id.as_str()));
        let most = self.nats.client().max_payload();
        if packet.len() > most {
            let detail = format!("{} bytes, and NATS takes {most}", packet.len());
            return Err(NoAnswer::permanent("cannot be sent a message of this size", detail));
        }
        let answer = async {
            let _slot = self.slots.acquire().await;
            match self.event {
                true => self.publish_event(subject, packet, &context.span).await,
                false => self.request(subject, packet, &id, &context.span).await,
            }
        };
        tokio::select! {
            answer = tokio::time::timeout_at(context.deadline, answer) => match answer {
                Ok(answer) => answer,
                Err(_) => Err(NoAnswer::new("did not answer in time", "the deadline of the call has passed")),
            },
            // A request that was sent before the connection broke gets no answer any more.
            _ = outage.changed() => Err(NoAnswer::new("cannot be reached", "the connection to NATS broke")),
        }
    }

    /// Sends a message, with the call's place in its trace if NATS takes that too.
    async fn publish(&self, subject: &str, reply: String, packet: String, span: &Span) -> Result<(), NoAnswer> {
        let client = self.nats.client();
        let mut headers = HeaderMap::new();
        if packet.len() + TRACE_BYTES <= client.max_payload() {
            trace_headers::write(span, &mut headers);
        }
        let sent = match headers.is_empty() {
            true => client.publish_with_reply(subject.to_owned(), reply, packet.into()).await,
            false => client.publish_with_reply_and_headers(subject.to_owned(), reply, headers, packet.into()).await,
        };
        sent.map_err(unreachable)
    }

    /// Sends an event. With a reply subject, NATS reports at once when there is no subscriber. An empty message that is
    /// sent to that subject afterwards comes back when NATS has handled the event.
    async fn publish_event(&self, subject: &str, packet: String, span: &Span) -> Result<Vec<Val>, NoAnswer> {
        let client = self.nats.client();
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.map_err(unreachable)?;
        self.publish(subject, inbox.clone(), packet, span).await?;
        client.publish(inbox, Bytes::new()).await.map_err(unreachable)?;
        while let Some(message) = replies.next().await {
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(no_subscriber());
            }
            // A subscriber that is not Nest may answer.
            if message.payload.is_empty() {
                return Ok(vec![Val::Result(Ok(None))]);
            }
        }
        Err(closed())
    }

    async fn request(&self, subject: &str, packet: String, id: &str, span: &Span) -> Result<Vec<Val>, NoAnswer> {
        let client = self.nats.client();
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.map_err(unreachable)?;
        self.publish(subject, inbox, packet, span).await?;
        let mut latest = "null".to_owned();
        while let Some(message) = replies.next().await {
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(no_subscriber());
            }
            if message.payload.len() > MAX_PACKET_BYTES {
                let detail = format!("{} bytes, and a packet has at most {MAX_PACKET_BYTES}", message.payload.len());
                return Err(NoAnswer::new("answered with more than is read", detail));
            }
            let Some(reply) = Reply::parse(&message.payload) else {
                return Err(NoAnswer::new("answered with something that is not a packet", "not JSON"));
            };
            if reply.id.as_deref().is_some_and(|other| other != id) {
                continue;
            }
            match reply.outcome {
                Some(Outcome::Response(json)) => json.clone_into(&mut latest),
                Some(error) => return self.read(&error),
                // The end of a stream, or the answer of a handler that returned nothing.
                None => {}
            }
            if reply.last {
                return self.read(&Outcome::Response(&latest));
            }
        }
        Err(closed())
    }

    fn read(&self, outcome: &Outcome<'_>) -> Result<Vec<Val>, NoAnswer> {
        match self.function.results(outcome) {
            Ok(Some(values)) => Ok(values),
            Ok(None) => Err(NoAnswer::new("failed", "its error's status is in no table; fix: add it to `errors`")),
            Err(error) => Err(NoAnswer::new("answered with something that the contract does not have", error)),
        }
    }
}

fn no_subscriber() -> NoAnswer {
    NoAnswer::new("is not there", "nobody subscribes to the pattern; start the service")
}

fn unreachable(error: impl std::fmt::Display) -> NoAnswer {
    NoAnswer::new("cannot be reached", error)
}

fn closed() -> NoAnswer {
    unreachable("the connection to NATS was closed")
}
