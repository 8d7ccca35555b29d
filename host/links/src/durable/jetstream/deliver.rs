//! Deliveries from JetStream: for each component as many workers as it takes messages at one time. A worker asks its
//! consumer for one message, delivers it, says how that ended, and asks again.
//!
//! So no message lies on a host that has no room for it while another is idle. While one is delivered, the server hears
//! [three times](PROGRESS) in each [`ACK_WAIT`] that it is; a host that dies is not heard, and its messages go to others.
//!
//! **Attempts** are counted by the server, which says of each message how often it has handed it out. What was handed
//! out and not tried (given back at a stop, or of a function that is not here) is taken off again, by the message's note.
//! So is what was handed out before its time: until when a message waits, a server that is started again has forgotten, and
//! so has the next leader of a cluster.
//!
//! **The end** of a delivery is said until the server confirms it, however long NATS is away meanwhile. Of a dead letter
//! the dead-letter stream has acknowledged its copy before. Where the end is lost all the same, with its host, the
//! message comes once more.

use super::handed::{Handed, early};
use super::message::Stored;
use super::note::State;
use super::{ACK_WAIT, JetStreamQueue, PATIENCE, Sent, failed, sweep};
use crate::durable::complaint::Complaint;
use crate::durable::deliver::{AGAIN, End, Lane};
use crate::durable::now;
use crate::durable::queue::{QueueError, kept};
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::{self, BatchConfig};
use async_nats::{Message, Request, StatusCode, Subject, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use souk_manifest::limits::millis;
use souk_nats::{Outage, room};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use uuid::Uuid;

/// Between two words about a message that is being delivered.
const PROGRESS: Duration = Duration::from_secs(ACK_WAIT.as_secs() / 3);
/// How long a request for a message waits at the server. One that the server forgets (its leader has changed) is made
/// again after so long.
const PULL: Duration = Duration::from_secs(5);
/// How long after that its answer may come.
const SLACK: Duration = Duration::from_secs(1);
/// When a message whose function is not here is handed out again, perhaps to a host that has it.
const ELSEWHERE: Duration = Duration::from_secs(60);
/// How long a worker that stops waits for a message that is on its way to it.
const LATE: Duration = Duration::from_secs(1);

/// Starts the workers of `lanes` in `tasks`, until `stop`.
pub(in crate::durable) async fn start(
    queue: &JetStreamQueue,
    lanes: Vec<Lane>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    for lane in lanes {
        let consumer = queue.consumer(lane.pool.component()).await?;
        let (component, deadline) = (lane.pool.component().clone(), lane.pool.call_deadline());
        tasks.spawn(sweep::run(queue.clone(), component, deadline, stop.clone()));
        let workers = lane.deliveries();
        let (complaint, mending) = (Complaint::default(), tokio::sync::Mutex::default());
        let runner = Arc::new(Runner { queue: queue.clone(), lane, consumer, complaint, mending });
        for _ in 0..workers {
            tasks.spawn(runner.clone().work(stop.clone()));
        }
    }
    Ok(())
}

/// A lane with its consumer.
struct Runner {
    queue: JetStreamQueue,
    lane: Lane,
    consumer: Consumer<pull::Config>,
    complaint: Complaint,
    /// Held by the worker that makes anew what the server has lost.
    mending: tokio::sync::Mutex<()>,
}

/// Where a worker's messages come in.
struct Inbox {
    subject: Subject,
    messages: Subscriber,
    /// A request that nobody waits for any more may be answered here.
    stale: bool,
}

impl Runner {
    async fn work(self: Arc<Self>, stop: CancellationToken) {
        let Some(mut inbox) = self.inbox(&stop).await else { return };
        while !stop.is_cancelled() {
            match self.next(&mut inbox, &stop).await {
                Ok(Some(message)) => {
                    self.go_on();
                    self.deliver(message, &stop).await;
                }
                Ok(None) => {}
                Err(error) => {
                    self.trouble(&error).await;
                    if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                        break;
                    }
                }
            }
        }
        self.close(inbox, &stop).await;
    }

    /// The longest that a message waits, in milliseconds.
    fn longest(&self) -> i64 {
        self.lane.backoff.most().max(i64::try_from(ELSEWHERE.as_millis()).unwrap_or(i64::MAX))
    }

    fn component(&self) -> &Arc<str> {
        self.lane.pool.component()
    }

    async fn inbox(&self, stop: &CancellationToken) -> Option<Inbox> {
        let client = self.queue.shared.nats.client();
        loop {
            let subject = Subject::from(client.new_inbox());
            match client.subscribe(subject.clone()).await {
                Ok(messages) => return Some(Inbox { subject, messages, stale: false }),
                Err(error) => self.complain(&failed(error)),
            }
            stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await?;
        }
    }

    /// Asks for a message. `None`: there is none now, NATS was away meanwhile, or it is time to stop.
    async fn next(&self, inbox: &mut Inbox, stop: &CancellationToken) -> Result<Option<Message>, QueueError> {
        // An answer to an earlier request, which came late.
        while let Some(came) = inbox.messages.next().now_or_never() {
            match came {
                Some(message) if message.status.is_none() => return Ok(Some(message)),
                Some(_) => {}
                None => return Err(QueueError::Stopped),
            }
        }
        if inbox.stale {
            // Two requests would bring two messages, one of which nobody would look after. Where nobody listens, the server
            // forgets.
            match self.inbox(stop).await {
                Some(fresh) => {
                    // The last moment in which one may have come to the old.
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
        let one = BatchConfig { batch: 1, expires: Some(PULL), ..BatchConfig::default() };
        self.consumer.request_batch(one, inbox.subject.clone()).await.map_err(failed)?;
        let message = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            message = inbox.messages.next() => message.ok_or(QueueError::Stopped)?,
            // The server may or may not have forgotten the request with the connection.
            _ = outage.changed() => {
                inbox.stale = true;
                return Ok(None);
            }
            // Nobody has answered: the server has forgotten the request, or there is no consumer to make it of.
            () = tokio::time::sleep(PULL + SLACK) => {
                inbox.stale = true;
                self.consumer.get_info().await.map_err(failed)?;
                return Ok(None);
            }
        };
        match message.status {
            None | Some(StatusCode::OK) => Ok(Some(message)),
            // Nothing came within the time.
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND | StatusCode::IDLE_HEARTBEAT) => {
                self.go_on();
                Ok(None)
            }
            Some(StatusCode::NO_RESPONDERS) => Err(failed("no server has the consumer")),
            Some(status) => Err(failed(format_args!(
                "the consumer: {} ({status})",
                message.description.as_deref().unwrap_or("no reason given")
            ))),
        }
    }

    /// Gives back what is on its way.
    async fn close(&self, mut inbox: Inbox, stop: &CancellationToken) {
        if inbox.messages.drain().await.is_err() {
            return;
        }
        while let Ok(Some(message)) = tokio::time::timeout(LATE, inbox.messages.next()).await {
            if message.status.is_none() {
                // It is stopped, so nothing is called.
                self.deliver(message, stop).await;
            }
        }
    }

    async fn deliver(&self, message: Message, stop: &CancellationToken) {
        let Some(mut handed) = Handed::read(message, &self.queue.shared.context) else { return };
        // Not ours: our messages have their id in the subject.
        if Uuid::try_parse(&handed.stored.id).is_err() {
            tracing::error!(
                component = %self.component(),
                "a message that no host of the application has sent was taken out of the stream; fix: let nobody else publish \
                 to `{}`",
                self.queue.shared.nats.subjects().durable_all()
            );
            self.insist(|| self.confirm(&handed.reply, AckKind::Term)).await;
            return;
        }
        let _progress = AbortOnDropHandle::new(tokio::spawn(progress(self.queue.clone(), handed.reply.clone())));
        let mut reason = handed.stored.reason.clone();
        if handed.times > 1 {
            let note = self.insist(|| self.queue.shared.notes.get(&handed.stored.id)).await;
            let early = note.as_ref().and_then(|note| early(note, now(), self.longest()));
            reason = handed.recall(note);
            if let Some((state, due)) = early {
                return self.give_back(&handed, state, reason, due).await;
            }
        }
        if stop.is_cancelled() {
            return self.give_back(&handed, State::Waiting, reason, now()).await;
        }
        if handed.times > 1 {
            // For the operator, and for the next attempt, should this be the host's last.
            let note = handed.note(State::Delivering, reason.clone(), None);
            handed.noted |= self.queue.shared.notes.put(&handed.stored.id, &note).await.is_ok();
            // Who deletes a message looks at its note afterwards: one of the two sees the other.
            if matches!(self.queue.is_there(handed.sequence).await, Ok(false)) {
                return;
            }
        }
        let message = handed.stored.message(handed.attempt(), reason);
        let end = loop {
            match self.lane.deliver(&message).await {
                End::Later { reason, uncounted: true } => {
                    // Nothing was started. It is held here, and the server goes on hearing of it; should the host end
                    // meanwhile, it was no attempt.
                    let pause = self.lane.backoff.pause(message.attempt);
                    let note = handed.given_back(State::Held, Some(kept(&reason)), now().saturating_add(pause));
                    handed.noted |= self.queue.shared.notes.put(&handed.stored.id, &note).await.is_ok();
                    let again = async {
                        tokio::time::sleep(millis(u64::try_from(pause).unwrap_or_default())).await;
                        // From here on it is one, or a message that ends its host would be delivered without end.
                        let note = handed.note(State::Delivering, Some(kept(&reason)), None);
                        self.insist(|| self.queue.shared.notes.put(&handed.stored.id, &note)).await;
                    };
                    if stop.run_until_cancelled(again).await.is_none() {
                        return self.give_back(&handed, State::Waiting, Some(reason), now()).await;
                    }
                }
                end => break end,
            }
        };
        self.settle(&handed, end).await;
    }

    /// Says how a delivery has ended, until the server has heard it.
    async fn settle(&self, handed: &Handed, end: End) {
        let id = handed.stored.id.clone();
        let notes = &self.queue.shared.notes;
        match end {
            End::Delivered => {
                self.insist(|| self.confirm(&handed.reply, AckKind::Ack)).await;
                self.queue.shared.room.forget();
                if handed.noted {
                    // One that stays is of no harm, and goes with time.
                    let _ = notes.delete(&id).await;
                }
            }
            End::Dead(reason) if self.buried(handed, &reason).await => {
                self.insist(|| self.confirm(&handed.reply, AckKind::Term)).await;
                self.queue.shared.room.forget();
                if handed.noted {
                    let _ = notes.delete(&id).await;
                }
            }
            End::Later { reason, .. } | End::Dead(reason) => {
                let pause = self.lane.backoff.pause(handed.attempt());
                let due = now().saturating_add(pause);
                let note = handed.note(State::Waiting, Some(kept(&reason)), Some(due));
                self.insist(|| notes.put(&id, &note)).await;
                let pause = millis(u64::try_from(pause).unwrap_or_default());
                self.insist(|| self.confirm(&handed.reply, AckKind::Nak(Some(pause)))).await;
            }
            End::Stranded => {
                let due = now().saturating_add(i64::try_from(ELSEWHERE.as_millis()).unwrap_or_default());
                self.give_back(handed, State::Stranded, Some("its function is not there".to_owned()), due).await;
            }
        }
    }

    /// Leaves a message to another host, or to the next one, without an attempt: at once, or when it is `due`.
    async fn give_back(&self, handed: &Handed, state: State, reason: Option<String>, due: i64) {
        let note = handed.given_back(state, reason.as_deref().map(kept), due);
        self.insist(|| self.queue.shared.notes.put(&handed.stored.id, &note)).await;
        let pause = u64::try_from(due.saturating_sub(now())).ok().filter(|pause| *pause > 0).map(millis);
        self.insist(|| self.confirm(&handed.reply, AckKind::Nak(pause))).await;
    }

    /// Stores a dead letter; `false` when there is no room for it, and it stays where it is.
    async fn buried(&self, handed: &Handed, reason: &str) -> bool {
        let attempts = handed.attempt();
        let dead = Stored { attempts, reason: Some(reason.to_owned()), ..handed.stored.clone() };
        let subject = dead.dead_subject(self.queue.shared.nats.subjects());
        // Dying once more, after a retry, it is another message of the stream.
        let headers = dead.headers(&format!("{}.{}", dead.id, handed.sequence));
        let shared = &self.queue.shared;
        let size = room::size(&headers);
        let send = || {
            let until = Instant::now() + PATIENCE;
            self.queue.send(subject.clone(), headers.clone(), dead.arguments.clone(), until)
        };
        let sent = match shared.dead_room.take(&shared.dead, &subject, size, dead.arguments.len()).await {
            Some(_room) => self.insist(send).await,
            None => Sent::Full,
        };
        if sent != Sent::Stored {
            tracing::error!(
                component = %self.component(),
                "dead letter {} cannot be set aside, because their stream is full (limit `durable_bytes`): it stays among \
                 the messages and comes again; fix: look at `souk events list --dead`, and retry or drop them",
                dead.id
            );
        }
        sent == Sent::Stored
    }

    /// Says `kind` of the message at `reply`, and waits until the server has heard it.
    async fn confirm(&self, reply: &Subject, kind: AckKind) -> Result<(), QueueError> {
        let request = Request::new().payload(kind.into()).timeout(Some(super::TRY));
        self.queue.shared.nats.client().send_request(reply.clone(), request).await.map(|_| ()).map_err(failed)
    }

    /// Does `deed` until it succeeds, when NATS is there.
    async fn insist<T, F: Future<Output = Result<T, QueueError>> + Send>(&self, deed: impl Fn() -> F) -> T {
        let mut outage = self.queue.shared.nats.outage();
        loop {
            let _ = outage.wait_for(|now| *now == Outage::None).await;
            tokio::select! {
                done = deed() => match done {
                    Ok(value) => return value,
                    Err(error) => self.trouble(&error).await,
                },
                // The answer cannot come any more.
                _ = outage.changed() => {}
            }
            tokio::time::sleep(AGAIN / 4).await;
        }
    }

    /// Something failed. Unless NATS is away, which is said elsewhere, it is told, and what the server may have lost is
    /// made anew.
    async fn trouble(&self, error: &QueueError) {
        let away = *self.queue.shared.nats.outage().borrow() != Outage::None;
        if away {
            return;
        }
        self.complain(error);
        let Ok(_mending) = self.mending.try_lock() else { return };
        let made = match self.queue.make_streams(Duration::ZERO).await {
            Ok(()) => self.queue.consumer(self.component()).await.map(|_| ()),
            Err(error) => Err(failed(error)),
        };
        if let Err(error) = made {
            tracing::debug!(component = %self.component(), "{error}");
        }
    }

    fn go_on(&self) {
        self.complaint.ended(|| tracing::info!(component = %self.component(), "deliveries go on"));
    }

    fn complain(&self, error: &QueueError) {
        self.complaint.happened(|_| {
            tracing::error!(component = %self.component(), "deliveries wait: {error}; fix: {}", error.fix());
        });
    }
}

/// Tells the server that a message is being delivered, until this is dropped.
async fn progress(queue: JetStreamQueue, reply: Subject) {
    let mut tick = tokio::time::interval(PROGRESS);
    tick.tick().await;
    loop {
        tick.tick().await;
        // What is not heard means one delivery more.
        let _ = queue.shared.nats.client().publish(reply.clone(), AckKind::Progress.into()).await;
    }
}
