//! How a host takes calls from NATS: the subscriptions, the task of each call, and its answer.

use super::call::{host_subject, trial_subject};
use super::memory_budget::{MemoryBudget, Reservation};
use super::queue_group::leave;
use super::running::Running;
use super::{MAX_CALL_MEMORY_KIB, WORKING_INTERVAL, http, micro, wire};
use ::http::Method;
use async_nats::header::HeaderMap;
use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use souk_bindings::call::CallContext;
use souk_manifest::subject::is_reserved;
use souk_nats::{Nats, NatsError, Outage};
use souk_runtime::{CallError, CallerType, Failure, Pool, vital};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

souk_manifest::fixed_limits! {
    /// The fixed limits of taking calls.
    pub(crate) const FIXED_LIMITS = "remote";

    /// The most refusals that wait to be sent; a call beyond them gets no answer.
    const MAX_PENDING_REFUSALS: usize = 1024, "answers";
}

/// What the calls of this host share.
pub(super) struct Host {
    pub(super) nats: Nats,
    budget: MemoryBudget,
    refusals: Arc<Semaphore>,
    running: Running,
    pub(super) tasks: TaskTracker,
}

/// One subject that calls arrive on.
pub(super) struct Endpoint {
    pub(super) pool: Arc<Pool>,
    pub(super) kind: Kind,
    pub(super) public: Arc<micro::Endpoint>,
    pub(super) subject: String,
}

/// What its calls are.
pub(super) enum Kind {
    Function {
        position: usize,
        /// The type that its callers are built for.
        caller: CallerType,
    },
    Http,
}

/// Starts the subscriptions for calls.
#[derive(Clone)]
pub(super) struct Intakes {
    pub(super) host: Arc<Host>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
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

impl Host {
    pub(super) fn new(nats: &Nats) -> Arc<Self> {
        Arc::new(Host {
            nats: nats.clone(),
            budget: MemoryBudget::new(),
            refusals: Arc::new(Semaphore::new(MAX_PENDING_REFUSALS)),
            running: Running::default(),
            tasks: TaskTracker::new(),
        })
    }

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
    pub(super) async fn cancel(self: Arc<Self>, mut ids: Subscriber) {
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
                    // While the connection stalls, answers wait here.
                    false if reservation.hold_answer(answer.len()) => Ok(answer),
                    false => Err(not_held(component)),
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
        let call = endpoint.call(payload, reservation, context, self.nats.client().max_payload());
        // Beside the call, so that a report that a stalled connection does not take delays no call.
        tokio::select! {
            biased;
            outcome = call => outcome,
            never = self.report(reply) => match never {},
        }
    }

    /// Reports that a call runs, until this is dropped.
    async fn report(&self, reply: &Subject) -> Infallible {
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + WORKING_INTERVAL, WORKING_INTERVAL);
        // A host that stood still reports it once, not once for each missed tick.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // Without a connection the client would only buffer it.
            if *self.nats.outage().borrow() == Outage::None {
                self.publish(reply, Some(wire::working()), Bytes::new()).await;
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

/// The call was done, but its answer cannot wait to be sent.
fn not_held(component: &Arc<str>) -> CallError {
    let detail = format!("its answer is dropped: the calls of this host hold {MAX_CALL_MEMORY_KIB} KiB already");
    CallError::new(component, Failure::Lost, detail)
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
