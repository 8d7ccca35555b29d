//! The callee's side: the components of this host as NATS services.
//!
//! Each call runs in a task of its own, which is aborted when its caller cancels the call. A memory budget bounds the
//! calls in progress before anything of a call is read ([`memory_budget`](super::memory_budget)).
//!
//! **Why not the endpoints of `async_nats::service`.** A host that stops must leave the queue groups and still answer
//! the calls that NATS has given it by then. When an endpoint is stopped, and also when a subscription is drained, that
//! client forgets the subscription before the server knows of it, and drops the messages that arrive meanwhile. At a
//! thousand calls a second and a millisecond to the server, it loses a call at each stop. So this module has its own
//! subscriptions, which end as [`leave`] describes; [`super::micro`] has the API that makes a service visible, with
//! that crate's types.

use super::call::{host_subject, trial_subject};
use super::called::CalledFunction;
use super::memory_budget::{MemoryBudget, Reservation};
use super::micro::{self, Announcing};
use super::other_types::{Callee, OtherTypes, Own};
use super::running::Running;
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

    /// How long NATS may take to confirm that a stopping host gets no more calls.
    const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
    /// The most refusals that wait to be sent; a call beyond them gets no answer.
    pub(super) const MAX_PENDING_REFUSALS: usize = 1024, "answers";
}

/// The services of this host, while they take calls.
pub struct Serving {
    host: Arc<Host>,
    intakes: TaskTracker,
    stop: CancellationToken,
    /// The readers of cancellations. They end after the last answer: a call can be cancelled until then.
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
    /// Takes calls for the components of `pools` until `stop`: calls of each function whose values can cross a link,
    /// and HTTP requests. `version` is the application's version.
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
            // Before the calls, so that every call can be cancelled.
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
        let mut others = OtherTypes::new(nats, intakes.clone(), callees);
        others.look_first().await;
        let intakes = intakes.tasks;
        intakes.spawn(vital("the search for other types", others.run(stop.clone())));
        let announcing = Announcing::start(client, services).await?;
        let stopped = stop.clone();
        intakes.spawn(async move {
            stopped.cancelled().await;
            drop(announcing);
        });
        // When other hosts learn that this host serves, it must be in the queue groups already.
        round_trip(client).await;
        Ok(Serving { host, intakes, stop, _cancels: cancels })
    }

    /// Waits until it is stopped. Then leaves the queue groups, and answers the calls that it has, within `timeout`.
    /// Returns whether all of them were answered.
    pub async fn finish(self, timeout: Duration) -> bool {
        self.stop.cancelled().await;
        let drained = tokio::time::timeout(timeout, async {
            self.intakes.close();
            self.intakes.wait().await;
            self.host.tasks.close();
            self.host.tasks.wait().await;
        });
        let drained = drained.await.is_ok();
        // The client may still hold the last answers.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.host.nats.client().flush()).await;
        drained
    }
}

/// Starts the subscriptions for calls.
#[derive(Clone)]
pub(super) struct Intakes {
    host: Arc<Host>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Intakes {
    /// Takes the calls for `endpoint`: on the subject that all hosts share in a queue group, on the host's own subject,
    /// which has the `id` of its service, and on that of the version that this host tries out.
    pub(super) async fn open(&self, endpoint: Endpoint, id: &str) -> Result<(), NatsError> {
        let (client, component) = (self.host.nats.client(), endpoint.pool.component().to_string());
        let own = client.subscribe(host_subject(&endpoint.subject, id)).await?;
        let shared = client.queue_subscribe(endpoint.subject.clone(), component.clone()).await?;
        let mut subscribers = vec![own, shared];
        if let Some(id) = endpoint.pool.trial_notice().here() {
            // A queue group, because this host's next `Serving` begins before this one ends.
            let subject = trial_subject(&endpoint.subject, &id);
            subscribers.push(client.queue_subscribe(subject, component).await?);
        }
        let endpoint = Arc::new(endpoint);
        for subscriber in subscribers {
            let intake = self.host.clone().intake(endpoint.clone(), subscriber, self.stop.clone());
            self.tasks.spawn(vital("an intake of calls", intake));
        }
        Ok(())
    }
}

/// The endpoints of the component of `pool`, and its functions.
fn endpoints(pool: &Arc<Pool>, nats: &Nats) -> (Vec<Endpoint>, Vec<Own>) {
    let (active, component) = (pool.active(), pool.component());
    let exported = &active.compiled().exported;
    let (mut endpoints, mut functions) = (Vec::new(), Vec::new());
    for function in exported.functions.iter().filter(|function| !function.is_http()) {
        let Some(position) = pool.position(&function.interface, &function.name) else { continue };
        // Functions with handles, such as those of WASI, cannot be linked.
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
    /// Takes the calls for `endpoint` until `stop`, and then those that NATS had sent before this host left the queue
    /// group.
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
        // Without a reply subject, or with a reserved one, no answer can be sent.
        let Some(reply) = call.reply.clone().filter(|reply| !is_reserved(reply)) else { return };
        let (host, endpoint) = (self.clone(), endpoint.clone());
        let Some(reservation) = self.budget.reserve(call.payload.len()) else {
            // Beyond the bound, a call gets no answer at all: for its caller it is lost.
            if let Ok(refusal) = self.refusals.clone().try_acquire_owned() {
                self.tasks.spawn(async move {
                    host.refuse(&endpoint, reply).await;
                    drop(refusal);
                });
            }
            return;
        };
        let mut read = wire::read(call.headers.as_ref(), endpoint.pool.call_deadline());
        if let Ok(envelope) = &mut read {
            endpoint.leave_out_trial(&call.subject, &mut envelope.context);
        }
        let id = read.as_ref().ok().and_then(|envelope| envelope.id.clone());
        let (payload, own_id) = (call.payload, id.clone());
        let spawn = || {
            let task = self.tasks.spawn(async move {
                // Created inside the task: a runtime that is shutting down drops the task within `spawn`, while the
                // lock is held.
                let _end = EndOnDrop { host: host.clone(), id: own_id };
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

    /// Aborts calls whose callers have cancelled them.
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

    /// Makes the call, and reports that it runs as long as it does.
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
        // A host that stood still reports it once, not once for each missed tick.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                outcome = &mut call => return outcome,
                _ = tick.tick() => {
                    // Without a connection the client would only buffer it, and delay the call.
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
    /// Keeps a call that did not come on the subject of the trial from the version that is tried out here: its caller
    /// does not know of the trial, or cannot reach it, and sends other calls of the tree to hosts without that version.
    fn leave_out_trial(&self, subject: &str, context: &mut CallContext) {
        let Some(id) = self.pool.trial_notice().here() else { return };
        if let Some((_, share)) = self.pool.canary()
            && subject != trial_subject(&self.subject, &id)
        {
            context.draw = context.draw.max(share);
        }
    }

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

/// Logs a failure at the callee; a local link logs it at the caller.
fn log(error: &CallError, trace: &str, caller: &str) {
    let (component, version) = (&error.component, error.version);
    match error.failure {
        // There may be thousands, and each caller gets its own error.
        Failure::Overloaded => tracing::debug!(%component, version, trace, caller, "{error}"),
        // The operator must change a setting of the server.
        Failure::ResponseTooLarge => tracing::error!(%component, version, trace, caller, "{error}"),
        _ => tracing::warn!(%component, version, trace, caller, "{error}"),
    }
}

/// Removes its call from the running ones when it is dropped, however the call ended.
struct EndOnDrop {
    host: Arc<Host>,
    id: Option<String>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.host.running.end(id);
        }
    }
}

/// Leaves the queue group of `calls` without losing a message: afterwards the subscription yields the messages that
/// NATS sent before it ended the subscription, and then ends.
///
/// A client can ask the server to end a subscription after a number of messages. With a number that is too large for
/// the server (NATS reads at most nine digits, and treats more as none), the server ends the subscription at once, but
/// the client still accepts messages that are on their way. After a round trip all of them have arrived. A server that
/// did accept the number would go on until the subscription is closed; then no more is lost than with an ordinary
/// unsubscribe.
pub(crate) async fn leave(calls: &mut Subscriber, nats: &Nats) {
    if *nats.outage().borrow() == Outage::None && calls.unsubscribe_after(u64::MAX).await.is_ok() {
        round_trip(nats.client()).await;
    }
    let _ = calls.unsubscribe().await;
}

/// Waits until the server has handled everything that was sent to it before, and everything that it sent by then has
/// arrived.
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
