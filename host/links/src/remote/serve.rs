//! The callee's side: the components of this host as NATS services.
//!
//! Each call runs in a task of its own, which ends when its caller cancels it. What may be taken at one time is bounded
//! before anything is read of a call ([`memory_budget`](super::memory_budget)).
//!
//! **Why not `async_nats::service`'s own endpoints.** A host that stops must leave the queue groups and still answer
//! what NATS has given it by then. When an endpoint is stopped, and also when a subscription is drained, that client
//! forgets the subscription before the server has heard of it, and drops what arrives until then: at a thousand calls a
//! second and a millisecond to the server, a call at each stop. So the subscriptions are our own, and leave as [`leave`]
//! says; the API that makes a service visible is in [`super::micro`], with that crate's types.

use super::call::at;
use super::memory_budget::{MemoryBudget, Reservation};
use super::micro::{self, Announcing};
use super::others::{Callee, Others, Own};
use super::running::Running;
use super::types::CalledFunction;
use super::{MAX_CALL_MEMORY_KIB, WORKING_INTERVAL, http, wire};
use ::http::Method;
use async_nats::header::HeaderMap;
use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use souk_bindings::call::CallContext;
use souk_manifest::subject::is_reserved;
use souk_nats::{Nats, NatsError, Outage};
use souk_runtime::{CallError, CallerType, Failure, Pool, vital};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

souk_manifest::fixed_limits! {
    /// The fixed limits of serving.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How long NATS may take to confirm that a host which stops takes no more calls.
    const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
    /// The most refusals that wait to be sent; a call beyond them gets no answer.
    pub(super) const MAX_PENDING_REFUSALS: usize = 1024, "answers";
}

/// The services of this host, while they take calls.
pub struct Serving {
    host: Arc<Host>,
    intakes: TaskTracker,
    stop: CancellationToken,
    /// End with the last answers: a call can be cancelled until then.
    _cancels: Vec<AbortOnDropHandle<Option<()>>>,
}

/// What the calls of this host share.
struct Host {
    nats: Nats,
    budget: MemoryBudget,
    refusals: Arc<Semaphore>,
    running: Running,
    tasks: TaskTracker,
}

/// One subject that calls arrive on.
pub(super) struct Endpoint {
    pub(super) pool: Arc<Pool>,
    pub(super) kind: Kind,
    pub(super) public: Arc<micro::Endpoint>,
    pub(super) subject: String,
}

pub(super) enum Kind {
    Function {
        position: usize,
        /// The type that its callers are built for.
        caller: CallerType,
    },
    Http,
}

impl Serving {
    /// Takes calls for the components of `pools` until `stop`: of each function whose values can cross a link, and HTTP.
    /// `version` is the application's.
    ///
    /// # Errors
    /// When the connection has been closed.
    pub async fn start<'a>(
        nats: &Nats,
        pools: impl Iterator<Item = &'a Arc<Pool>>,
        version: &str,
        stop: CancellationToken,
    ) -> Result<Self, NatsError> {
        let client = nats.client();
        let host = Arc::new(Host {
            nats: nats.clone(),
            budget: MemoryBudget::new(),
            refusals: Arc::new(Semaphore::new(MAX_PENDING_REFUSALS)),
            running: Running::default(),
            tasks: TaskTracker::new(),
        });
        let intakes = Intakes { host: host.clone(), tasks: TaskTracker::new(), stop: stop.clone() };
        let (mut cancels, mut services, mut callees) = (Vec::new(), Vec::new(), Vec::new());
        for pool in pools {
            let (endpoints, functions) = endpoints(pool, nats);
            if endpoints.is_empty() {
                continue;
            }
            let public = endpoints.iter().map(|endpoint| endpoint.public.clone()).collect();
            let service = micro::Service::new(nats.subjects(), pool.component(), version, public);
            // First, so that no call is taken that could not be cancelled.
            let subscriber = client.subscribe(nats.subjects().cancel(pool.component())).await?;
            cancels.push(AbortOnDropHandle::new(tokio::spawn(vital(
                "an intake of cancellations",
                host.clone().cancel(subscriber),
            ))));
            for endpoint in endpoints {
                intakes.open(endpoint, service.id()).await?;
            }
            let id = service.id().to_owned();
            callees.push(Callee { pool: pool.clone(), id, functions, subjects: BTreeSet::new(), revision: None });
            services.push(service);
        }
        let mut others = Others::new(nats, intakes.clone(), callees);
        others.look_first().await;
        let intakes = intakes.tasks;
        intakes.spawn(vital("a look for other types", others.run(stop.clone())));
        let announcing = Announcing::start(client, services).await?;
        let stopped = stop.clone();
        intakes.spawn(async move {
            stopped.cancelled().await;
            drop(announcing);
        });
        // Whoever is told that this host serves must find it in the queue groups.
        round_trip(client).await;
        Ok(Serving { host, intakes, stop, _cancels: cancels })
    }

    /// Waits until it is stopped; leaves the queue groups, and answers what was taken, for `patience` at most. Returns
    /// whether everything was answered.
    pub async fn finish(self, patience: Duration) -> bool {
        self.stop.cancelled().await;
        let drained = tokio::time::timeout(patience, async {
            self.intakes.close();
            self.intakes.wait().await;
            self.host.tasks.close();
            self.host.tasks.wait().await;
        });
        let drained = drained.await.is_ok();
        // The last answers are with the client yet.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.host.nats.client().flush()).await;
        drained
    }
}

/// Where calls are taken in.
#[derive(Clone)]
pub(super) struct Intakes {
    host: Arc<Host>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Intakes {
    /// Takes what arrives for `endpoint`: as one of the hosts that do, and alone, under the `id` of its service.
    pub(super) async fn open(&self, endpoint: Endpoint, id: &str) -> Result<(), NatsError> {
        let (client, component) = (self.host.nats.client(), endpoint.pool.component().to_string());
        let own = client.subscribe(at(&endpoint.subject, id)).await?;
        let shared = client.queue_subscribe(endpoint.subject.clone(), component).await?;
        let endpoint = Arc::new(endpoint);
        for subscriber in [own, shared] {
            let intake = self.host.clone().intake(endpoint.clone(), subscriber, self.stop.clone());
            self.tasks.spawn(vital("an intake of calls", intake));
        }
        Ok(())
    }
}

/// What the component of `pool` offers, and its functions once more.
fn endpoints(pool: &Arc<Pool>, nats: &Nats) -> (Vec<Endpoint>, Vec<Own>) {
    let (active, component) = (pool.active(), pool.component());
    let exported = &active.compiled().exported;
    let (mut endpoints, mut functions) = (Vec::new(), Vec::new());
    for function in exported.functions.iter().filter(|function| !function.is_http()) {
        let Some(position) = pool.position(&function.interface, &function.name) else { continue };
        // What has handles, as WASI's own interfaces, nobody can be linked to.
        let Ok(caller) = CallerType::of(&function.name, &function.ty) else { continue };
        let caller = caller.within(pool.limits().call_bytes.as_u64());
        let (interface, name) = (&function.interface, &function.name);
        let called = CalledFunction::new(interface, name, &function.ty);
        let subject = nats.subjects().call(component, interface, name, &called.digest);
        let interfaces = exported.functions.iter().map(|function| function.interface.as_str());
        let public_name = micro::endpoint_name(interface, name, interfaces);
        let public = micro::Endpoint::function(subject.clone(), public_name, component, called.clone());
        functions.push(Own { called, position, public: public.clone() });
        let kind = Kind::Function { position, caller };
        endpoints.push(Endpoint { pool: pool.clone(), kind, public, subject });
    }
    if exported.http() {
        let subject = nats.subjects().http(component);
        let public = micro::Endpoint::http(subject.clone(), component);
        endpoints.push(Endpoint { pool: pool.clone(), kind: Kind::Http, public, subject });
    }
    (endpoints, functions)
}

impl Host {
    /// Takes what arrives for `endpoint` until `stop`, and then what NATS had sent by the time that it let this host go.
    async fn intake(self: Arc<Self>, endpoint: Arc<Endpoint>, mut calls: Subscriber, stop: CancellationToken) {
        while let Some(Some(call)) = stop.run_until_cancelled(calls.next()).await {
            self.take(&endpoint, call);
        }
        leave(&mut calls, &self.nats).await;
        while let Some(call) = calls.next().await {
            self.take(&endpoint, call);
        }
    }

    fn take(self: &Arc<Self>, endpoint: &Arc<Endpoint>, call: Message) {
        // Nobody can be answered.
        let Some(reply) = call.reply.clone().filter(|reply| !is_reserved(reply)) else { return };
        let (host, endpoint) = (self.clone(), endpoint.clone());
        let Some(reservation) = self.budget.reserve(call.payload.len()) else {
            // Whoever floods a host need not be answered: such a call is lost to its caller.
            if let Ok(refusal) = self.refusals.clone().try_acquire_owned() {
                self.tasks.spawn(async move {
                    host.refuse(&endpoint, reply).await;
                    drop(refusal);
                });
            }
            return;
        };
        let read = wire::read(call.headers.as_ref(), endpoint.pool.call_deadline());
        let id = read.as_ref().ok().and_then(|envelope| envelope.id.clone());
        let (payload, noted) = (call.payload, id.clone());
        let spawn = || {
            let task = self.tasks.spawn(async move {
                // Made here: a runtime that ends drops the task within `spawn`, while the lock is held.
                let _noted = Noted { host: host.clone(), id: noted };
                host.answer(&endpoint, read, payload, reply, reservation).await;
            });
            task.abort_handle()
        };
        let Some(id) = id else {
            drop(spawn());
            return;
        };
        if !self.running.begin(&id, spawn) {
            tracing::debug!("call {id} was cancelled by its caller before it was begun");
        }
    }

    /// Ends calls whose callers have gone away.
    async fn cancel(self: Arc<Self>, mut ids: Subscriber) {
        while let Some(message) = ids.next().await {
            let Some(id) = wire::id(&message.payload) else { continue };
            if self.running.cancel(id) {
                tracing::debug!("call {id} was cancelled by its caller");
            }
        }
    }

    async fn refuse(&self, endpoint: &Endpoint, reply: Subject) {
        let held =
            format_args!("the calls that this host has taken hold {MAX_CALL_MEMORY_KIB} KiB already").to_string();
        let error = CallError::new(endpoint.pool.component(), Failure::Overloaded, held);
        endpoint.public.stats.note(Duration::ZERO, Some(error.failure));
        tracing::debug!(component = %error.component, "{error}");
        self.publish(&reply, Some(wire::failed(error.failure)), Bytes::new()).await;
    }

    async fn answer(
        &self,
        endpoint: &Endpoint,
        read: Result<wire::Envelope, (Failure, String)>,
        payload: Bytes,
        reply: Subject,
        mut reservation: Reservation,
    ) {
        let start = Instant::now();
        let component = endpoint.pool.component();
        let mut trace: Arc<str> = "-".into();
        let outcome = match read {
            Ok(envelope) => {
                trace = envelope.context.trace.clone();
                let most = self.nats.client().max_payload();
                let span = endpoint.pool.tracer().joined(envelope.parent);
                let context = CallContext { span, ..envelope.context };
                let outcome = self.perform(endpoint, payload, &mut reservation, context, &reply).await;
                let outcome = outcome.and_then(|answer| match answer.len() > most {
                    false => Ok(answer),
                    true => Err(too_large(component, most)),
                });
                if let Err(error) = &outcome {
                    log(error, &trace, &envelope.caller);
                }
                outcome
            }
            Err((failure, detail)) => {
                let error = CallError::new(component, failure, detail);
                log(&error, &trace, "-");
                Err(error)
            }
        };
        endpoint.public.stats.note(start.elapsed(), outcome.as_ref().err().map(|error| error.failure));
        match outcome {
            Ok(answer) => self.publish(&reply, None, answer).await,
            Err(error) => self.publish(&reply, Some(wire::failed(error.failure)), Bytes::new()).await,
        }
    }

    /// Makes the call, and says that it runs while it does.
    async fn perform(
        &self,
        endpoint: &Endpoint,
        payload: Bytes,
        reservation: &mut Reservation,
        context: CallContext,
        reply: &Subject,
    ) -> Result<Bytes, CallError> {
        let mut call = std::pin::pin!(endpoint.call(payload, reservation, context, self.nats.client().max_payload()));
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + WORKING_INTERVAL, WORKING_INTERVAL);
        // A host that stood still says it once.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                outcome = &mut call => return outcome,
                _ = tick.tick() => {
                    // Without a connection it would only be kept, and hold up the call.
                    if *self.nats.outage().borrow() == Outage::None {
                        self.publish(reply, Some(wire::working()), Bytes::new()).await;
                    }
                }
            }
        }
    }

    async fn publish(&self, reply: &Subject, headers: Option<HeaderMap>, payload: Bytes) {
        let client = self.nats.client();
        let published = match headers {
            Some(headers) => client.publish_with_headers(reply.clone(), headers, payload).await,
            None => client.publish(reply.clone(), payload).await,
        };
        if let Err(error) = published {
            tracing::warn!("an answer could not be sent: {error}");
        }
    }
}

impl Endpoint {
    async fn call(
        &self,
        payload: Bytes,
        reservation: &mut Reservation,
        context: CallContext,
        most: usize,
    ) -> Result<Bytes, CallError> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| {
            CallError::new(self.pool.component(), Failure::Mismatch, format_args!("{what}: {error}"))
        };
        match &self.kind {
            Kind::Function { position, caller } => {
                let codec = caller.codec();
                let params = reservation.read(codec, &payload);
                let params = params.map_err(|(failure, d)| CallError::new(self.pool.component(), failure, d))?;
                reservation.drop_message(payload.len());
                drop(payload);
                let results = self.pool.call_from(caller, *position, &params, context).await?;
                let results = codec.encode_results_within(most, &results);
                let results = results.map_err(|e| wrong("the result cannot be sent", &e))?;
                results.map(Bytes::from).ok_or_else(|| too_large(self.pool.component(), most))
            }
            Kind::Http => {
                let request = http::read_request(payload).map_err(|e| wrong("the request", &e))?;
                let to_head = request.method() == Method::HEAD;
                let response = self.pool.handle(request, context).await?;
                http::write_whole(response, to_head, most, self.pool.component()).await
            }
        }
    }
}

fn too_large(component: &Arc<str>, most: usize) -> CallError {
    let detail = format!(
        "the answer is larger than a message may be, which is {most} bytes; raise `max_payload` of the NATS server, or let \
         it answer in parts"
    );
    CallError::new(component, Failure::ResponseTooLarge, detail)
}

/// Failures at the callee, as a local link logs them at its caller.
fn log(error: &CallError, trace: &str, caller: &str) {
    let component = &error.component;
    match error.failure {
        // There may be thousands of them, and each caller hears of its own.
        Failure::Overloaded => tracing::debug!(component = %component, trace, caller, "{error}"),
        // A server's setting mends it.
        Failure::ResponseTooLarge => tracing::error!(component = %component, trace, caller, "{error}"),
        _ => tracing::warn!(component = %component, trace, caller, "{error}"),
    }
}

/// Takes its call out of those that run when it is dropped, however the call ended.
struct Noted {
    host: Arc<Host>,
    id: Option<String>,
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.host.running.end(id);
        }
    }
}

/// Leaves the queue group of `calls` without losing one: afterwards the subscription holds what NATS has sent before it
/// let go, and then ends.
///
/// A subscription can end by itself after a number of messages. With a number that no server accepts (NATS reads at most
/// nine digits, and takes more for none) the server ends it at once, but the client still takes what is on its way. A
/// round trip later all of it is here. A server that did accept it would go on until the subscription is closed: what
/// is lost then is what an ordinary end loses.
pub(crate) async fn leave(calls: &mut Subscriber, nats: &Nats) {
    if *nats.outage().borrow() == Outage::None && calls.unsubscribe_after(u64::MAX).await.is_ok() {
        round_trip(nats.client()).await;
    }
    let _ = calls.unsubscribe().await;
}

/// Waits until the server has done all that it was told before, and what it had sent by then has arrived.
pub(crate) async fn round_trip(client: &Client) {
    let inbox = client.new_inbox();
    let there_and_back = async {
        let mut messages = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, Bytes::new()).await.ok()?;
        messages.next().await
    };
    if !matches!(tokio::time::timeout(LEAVE_TIMEOUT, there_and_back).await, Ok(Some(_))) {
        tracing::debug!("NATS does not answer");
    }
}
