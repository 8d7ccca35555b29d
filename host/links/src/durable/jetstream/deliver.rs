//! Deliveries from JetStream: the worker of a component runs one task for each message that the component may get at
//! the same time. A task pulls one message from the consumer, delivers it, acknowledges it, and pulls again.
//!
//! So no message waits on a busy host while another is idle. During a delivery the host reports progress to the server
//! [three times](PROGRESS_INTERVAL) in each [`ACK_WAIT`]. A host that dies reports nothing, and its messages go to
//! other hosts.
//!
//! **Attempts.** The server counts how often it has delivered each message. A message's note says how many of those
//! deliveries were no attempts: the host gave the message back when it stopped, its function did not exist here, or the
//! message came before it was due. The last happens because a server that restarts, or a new leader of a cluster, has
//! forgotten until when a message waits.
//!
//! **Acknowledgements.** The host repeats the acknowledgement of a delivery until the server confirms it, however long
//! NATS is away. A dead letter is acknowledged only after the dead-letter stream has stored its copy. If a host dies
//! before the server has its acknowledgement, the message is delivered again.

use super::delivery::{Delivery, premature};
use super::message::Stored;
use super::note::State;
use super::{ACK_WAIT, JetStreamQueue, PUBLISH_TIMEOUT, Sent, failed, sweep};
use crate::durable::deliver::{DeliveryOutcome, DeliveryWorker, RETRY_INTERVAL};
use crate::durable::log_throttle::LogThrottle;
use crate::durable::message::{Message as QueuedMessage, QueueError, kept};
use crate::durable::{millis, now};
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::{self, BatchConfig};
use async_nats::{Message, Request, StatusCode, Subject, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use souk_nats::{Outage, stream_capacity::header_bytes};
use souk_runtime::vital;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use uuid::Uuid;

souk_manifest::fixed_limits! {
    /// The fixed limits of delivery.
    pub(crate) const FIXED_LIMITS = "durable: NATS";

    /// How often a host reports progress of a delivery to the server.
    const PROGRESS_INTERVAL: Duration = Duration::from_secs(ACK_WAIT.as_secs() / 3);
    /// How long a pull request waits at the server. After that it is sent again, since a new leader forgets it.
    const PULL_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long after the pull timeout an answer may still arrive.
    const PULL_SLACK: Duration = Duration::from_secs(1);
    /// The pause before a message that no function on this host takes is delivered again, perhaps to a host that has
    /// one.
    const STRANDED_RETRY_INTERVAL: Duration = Duration::from_secs(60);
    /// How long a worker that stops waits for a message that is on its way to it.
    const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
}

/// Starts the tasks of `workers` in `tasks`, until `stop`.
pub(in crate::durable) async fn start(
    queue: &JetStreamQueue,
    workers: Vec<DeliveryWorker>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    for worker in workers {
        let consumer = queue.consumer(worker.pool.component()).await?;
        let (component, deadline) = (worker.pool.component().clone(), worker.call_deadline);
        tasks.spawn(vital("a sweep of durable messages", sweep::run(queue.clone(), component, deadline, stop.clone())));
        let concurrency = worker.deliveries();
        let (log_throttle, recreating) = (LogThrottle::default(), tokio::sync::Mutex::default());
        let runner = Arc::new(Runner { queue: queue.clone(), worker, consumer, log_throttle, recreating });
        for _ in 0..concurrency {
            tasks.spawn(vital("a delivery worker", runner.clone().work(stop.clone())));
        }
    }
    Ok(())
}

/// A worker with its consumer; each of its tasks pulls and delivers one message at a time.
struct Runner {
    queue: JetStreamQueue,
    worker: DeliveryWorker,
    consumer: Consumer<pull::Config>,
    log_throttle: LogThrottle,
    /// Held by the task that recreates the streams and the consumer when the server has lost them.
    recreating: tokio::sync::Mutex<()>,
}

/// Where the messages of one task arrive.
struct Inbox {
    subject: Subject,
    messages: Subscriber,
    /// Whether an abandoned request may still be answered here.
    stale: bool,
}

impl Runner {
    async fn work(self: Arc<Self>, stop: CancellationToken) {
        let Some(mut inbox) = self.inbox(&stop).await else { return };
        while !stop.is_cancelled() {
            match self.next(&mut inbox, &stop).await {
                Ok(Some(message)) => {
                    self.log_recovery();
                    self.deliver(message, &stop).await;
                }
                Ok(None) => {}
                Err(error) => {
                    self.on_error(&error).await;
                    if stop.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL)).await.is_none() {
                        break;
                    }
                }
            }
        }
        self.close(inbox, &stop).await;
    }

    /// The longest time that a message waits for its next delivery.
    fn longest_wait(&self) -> Duration {
        self.worker.backoff.longest().max(STRANDED_RETRY_INTERVAL)
    }

    fn component(&self) -> &Arc<str> {
        self.worker.pool.component()
    }

    async fn inbox(&self, stop: &CancellationToken) -> Option<Inbox> {
        let client = self.queue.shared.nats.client();
        loop {
            let subject = Subject::from(client.new_inbox());
            match client.subscribe(subject.clone()).await {
                Ok(messages) => return Some(Inbox { subject, messages, stale: false }),
                Err(error) => self.log_failure(&failed(error)),
            }
            stop.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL)).await?;
        }
    }

    /// Asks for a message. `None` when there is none now, when NATS was away meanwhile, or when it is time to stop.
    async fn next(&self, inbox: &mut Inbox, stop: &CancellationToken) -> Result<Option<Message>, QueueError> {
        // A late answer to an earlier request.
        while let Some(received) = inbox.messages.next().now_or_never() {
            match received {
                Some(message) if message.status.is_none() => return Ok(Some(message)),
                Some(_) => {}
                None => return Err(QueueError::Stopped),
            }
        }
        if inbox.stale {
            // With a second request at the same inbox, two messages could arrive, and nobody would deliver the second.
            // The server drops a request whose inbox has no subscriber.
            match self.inbox(stop).await {
                Some(fresh) => {
                    // A message may have arrived at the old inbox meanwhile.
                    if let Some(Some(message)) = inbox.messages.next().now_or_never()
                        && message.status.is_none()
                    {
                        return Ok(Some(message));
                    }
                    *inbox = fresh;
                }
                None => return Ok(None),
            }
        }
        let mut outage = self.queue.shared.nats.outage();
        let there = stop.run_until_cancelled(outage.wait_for(|now| *now == Outage::None)).await.map(|now| now.is_ok());
        match there {
            None => return Ok(None),
            Some(false) => return Err(QueueError::Stopped),
            Some(true) => {}
        }
        let one = BatchConfig { batch: 1, expires: Some(PULL_TIMEOUT), ..BatchConfig::default() };
        self.consumer.request_batch(one, inbox.subject.clone()).await.map_err(failed)?;
        let message = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            message = inbox.messages.next() => message.ok_or(QueueError::Stopped)?,
            // The server may or may not have dropped the request with the connection.
            _ = outage.changed() => {
                inbox.stale = true;
                return Ok(None);
            }
            // Nobody has answered: the server has lost the request, or the consumer does not exist any more.
            () = tokio::time::sleep(PULL_TIMEOUT + PULL_SLACK) => {
                inbox.stale = true;
                self.consumer.get_info().await.map_err(failed)?;
                return Ok(None);
            }
        };
        match message.status {
            None | Some(StatusCode::OK) => Ok(Some(message)),
            // No message arrived in time.
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND | StatusCode::IDLE_HEARTBEAT) => {
                self.log_recovery();
                Ok(None)
            }
            Some(StatusCode::NO_RESPONDERS) => Err(failed("no server has the consumer")),
            Some(status) => Err(failed(format_args!(
                "the consumer: {} ({status})",
                message.description.as_deref().unwrap_or("no reason given")
            ))),
        }
    }

    /// Closes the inbox, and gives back messages that are on their way to it.
    async fn close(&self, mut inbox: Inbox, stop: &CancellationToken) {
        if inbox.messages.drain().await.is_err() {
            return;
        }
        while let Ok(Some(message)) = tokio::time::timeout(DRAIN_TIMEOUT, inbox.messages.next()).await {
            if message.status.is_none() {
                // `stop` is cancelled, so this gives the message back.
                self.deliver(message, stop).await;
            }
        }
    }

    async fn deliver(&self, message: Message, stop: &CancellationToken) {
        let Some(mut delivery) = Delivery::read(message, &self.queue.shared.context) else { return };
        // Not ours: our messages have their id in the subject.
        if Uuid::try_parse(&delivery.stored.id).is_err() {
            tracing::error!(
                component = %self.component(),
                "a message that no host of the application has sent was taken out of the stream; fix: let nobody else publish \
                 to `{}`",
                self.queue.shared.nats.subjects().durable_all()
            );
            self.retry_until_ok(|| self.confirm(&delivery.reply, AckKind::Term)).await;
            return;
        }
        let _progress = AbortOnDropHandle::new(tokio::spawn(progress(self.queue.clone(), delivery.reply.clone())));
        let mut reason = delivery.stored.reason.clone();
        if delivery.times > 1 {
            let note = self.retry_until_ok(|| self.queue.shared.notes.get(&delivery.stored.id)).await;
            let premature = note.as_ref().and_then(|note| premature(note, now(), millis(self.longest_wait())));
            reason = delivery.apply_note(note);
            if let Some((state, due)) = premature {
                return self.give_back(&delivery, state, reason, due).await;
            }
        }
        // The message is delayed, but a restarted server delivers it at once.
        if let Some(due) = delivery.stored.waits_until(now()) {
            return self.give_back(&delivery, State::Waiting, reason, due).await;
        }
        if stop.is_cancelled() {
            return self.give_back(&delivery, State::Waiting, reason, now()).await;
        }
        if delivery.times > 1 {
            // For the operator, and for the next attempt if the host dies during this one.
            let note = delivery.note(State::Delivering, reason.clone(), None);
            delivery.noted |= self.queue.shared.notes.put(&delivery.stored.id, &note).await.is_ok();
            // An operator's deletion reads the note after it has deleted the message, so one of the two sees the other.
            if matches!(self.queue.is_there(delivery.sequence).await, Ok(false)) {
                return;
            }
        }
        let message = delivery.stored.message(delivery.attempt(), reason);
        let outcome = loop {
            match self.worker.deliver(&message).await {
                DeliveryOutcome::RetryLater { reason, uncounted: true } => {
                    // The target was not called. This host keeps the message and goes on reporting progress. If the
                    // host ends meanwhile, this was no attempt.
                    let pause = self.worker.backoff.pause(message.attempt);
                    let note =
                        delivery.uncounted_note(State::Held, Some(kept(&reason)), now().saturating_add(millis(pause)));
                    delivery.noted |= self.queue.shared.notes.put(&delivery.stored.id, &note).await.is_ok();
                    let again = async {
                        tokio::time::sleep(pause).await;
                        // From here on it counts as an attempt, or a message that kills its host would be delivered
                        // forever.
                        let note = delivery.note(State::Delivering, Some(kept(&reason)), None);
                        self.retry_until_ok(|| self.queue.shared.notes.put(&delivery.stored.id, &note)).await;
                    };
                    if stop.run_until_cancelled(again).await.is_none() {
                        return self.give_back(&delivery, State::Waiting, Some(reason), now()).await;
                    }
                }
                outcome => break outcome,
            }
        };
        self.acknowledge(&delivery, &message, &outcome).await;
    }

    /// Acknowledges a delivery according to its `outcome`, until the server has confirmed it.
    async fn acknowledge(&self, delivery: &Delivery, message: &QueuedMessage, outcome: &DeliveryOutcome) {
        let id = delivery.stored.id.clone();
        let notes = &self.queue.shared.notes;
        match outcome {
            DeliveryOutcome::Delivered => {
                self.retry_until_ok(|| self.confirm(&delivery.reply, AckKind::Ack)).await;
                self.queue.shared.capacity.refresh_if_full();
                if delivery.noted {
                    // One that stays is of no harm, and goes with time.
                    let _ = notes.delete(&id).await;
                }
            }
            DeliveryOutcome::DeadLetter(reason) if self.dead_lettered(delivery, reason).await => {
                self.retry_until_ok(|| self.confirm(&delivery.reply, AckKind::Term)).await;
                self.queue.shared.capacity.refresh_if_full();
                if delivery.noted {
                    let _ = notes.delete(&id).await;
                }
                self.worker.log_recorded(message, outcome);
            }
            DeliveryOutcome::RetryLater { reason, .. } | DeliveryOutcome::DeadLetter(reason) => {
                let pause = self.worker.backoff.pause(delivery.attempt());
                let due = now().saturating_add(millis(pause));
                let note = delivery.note(State::Waiting, Some(kept(reason)), Some(due));
                self.retry_until_ok(|| notes.put(&id, &note)).await;
                self.retry_until_ok(|| self.confirm(&delivery.reply, AckKind::Nak(Some(pause)))).await;
            }
            DeliveryOutcome::Stranded(reason) => {
                let due = now().saturating_add(millis(STRANDED_RETRY_INTERVAL));
                self.give_back(delivery, State::Stranded, Some(reason.clone()), due).await;
                self.worker.log_recorded(message, outcome);
            }
        }
    }

    /// Gives a message back without an attempt, for any host: it is delivered again when it is `due`.
    async fn give_back(&self, delivery: &Delivery, state: State, reason: Option<String>, due: i64) {
        let note = delivery.uncounted_note(state, reason.as_deref().map(kept), due);
        self.retry_until_ok(|| self.queue.shared.notes.put(&delivery.stored.id, &note)).await;
        let pause = u64::try_from(due.saturating_sub(now())).ok().filter(|pause| *pause > 0).map(Duration::from_millis);
        self.retry_until_ok(|| self.confirm(&delivery.reply, AckKind::Nak(pause))).await;
    }

    /// Stores the message as a dead letter; `false` when there is no room for it, and the message stays where it is.
    async fn dead_lettered(&self, delivery: &Delivery, reason: &str) -> bool {
        let attempts = delivery.attempt();
        let dead = Stored { attempts, reason: Some(reason.to_owned()), ..delivery.stored.clone() };
        let subject = dead.dead_subject(self.queue.shared.nats.subjects());
        // When the message becomes a dead letter again after a retry, it is a new message of the stream.
        let headers = dead.headers(&format!("{}.{}", dead.id, delivery.sequence));
        let shared = &self.queue.shared;
        let size = header_bytes(&headers);
        let send = || {
            let until = Instant::now() + PUBLISH_TIMEOUT;
            self.queue.send(subject.clone(), headers.clone(), dead.arguments.clone(), until)
        };
        let sent = match shared.dead_capacity.reserve(&shared.dead, &subject, size, dead.arguments.len()).await {
            Some(_reservation) => self.retry_until_ok(send).await,
            None => Sent::Full,
        };
        if sent != Sent::Stored {
            tracing::error!(
                component = %self.component(),
                "dead letter {} ({}) cannot be set aside, because their stream is full (limit `durable_bytes`): it stays \
                 among the messages and comes again; fix: look at `souk events list --dead`, and retry or drop them",
                dead.id,
                kept(reason)
            );
        }
        sent == Sent::Stored
    }

    /// Sends the acknowledgement `kind` to `reply`, and waits until the server confirms it.
    async fn confirm(&self, reply: &Subject, kind: AckKind) -> Result<(), QueueError> {
        let request = Request::new().payload(kind.into()).timeout(Some(super::ACK_TIMEOUT));
        self.queue.shared.nats.client().send_request(reply.clone(), request).await.map(|_| ()).map_err(failed)
    }

    /// Repeats `action` until it succeeds; waits while NATS is away.
    async fn retry_until_ok<T, F: Future<Output = Result<T, QueueError>> + Send>(&self, action: impl Fn() -> F) -> T {
        let mut outage = self.queue.shared.nats.outage();
        loop {
            let _ = outage.wait_for(|now| *now == Outage::None).await;
            tokio::select! {
                done = action() => match done {
                    Ok(value) => return value,
                    Err(error) => self.on_error(&error).await,
                },
                // The answer cannot come any more.
                _ = outage.changed() => {}
            }
            tokio::time::sleep(RETRY_INTERVAL / 4).await;
        }
    }

    /// Logs the error, and recreates the streams and the consumer, which the server may have lost. Does nothing while
    /// NATS is away: another part of the host logs that.
    async fn on_error(&self, error: &QueueError) {
        let away = *self.queue.shared.nats.outage().borrow() != Outage::None;
        if away {
            return;
        }
        self.log_failure(error);
        let Ok(_recreating) = self.recreating.try_lock() else { return };
        let made = match self.queue.make_streams(Duration::ZERO).await {
            Ok(()) => self.queue.consumer(self.component()).await.map(|_| ()),
            Err(error) => Err(failed(error)),
        };
        if let Err(error) = made {
            tracing::debug!(component = %self.component(), "{error}");
        }
    }

    fn log_recovery(&self) {
        self.log_throttle.recovered(|| tracing::info!(component = %self.component(), "deliveries resume"));
    }

    fn log_failure(&self, error: &QueueError) {
        self.log_throttle.failed(|_| {
            tracing::error!(component = %self.component(), "deliveries wait: {error}; fix: {}", error.fix());
        });
    }
}

/// Tells the server that a message is being delivered, until this is dropped.
async fn progress(queue: JetStreamQueue, reply: Subject) {
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.tick().await;
    loop {
        tick.tick().await;
        // If this fails, the worst case is one more delivery.
        let _ = queue.shared.nats.client().publish(reply.clone(), AckKind::Progress.into()).await;
    }
}
