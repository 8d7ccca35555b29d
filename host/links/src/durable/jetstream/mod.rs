//! The queue of messages that the hosts of an application share: streams of NATS JetStream.
//!
//! | stream | holds |
//! |---|---|
//! | `souk_APP_durable` | the messages, each until it is delivered or given up (a work queue) |
//! | `souk_APP_dead` | the dead letters, until an operator retries or drops them |
//! | `souk_APP_notes` | why and until when a message waits that has failed |
//!
//! **Stored** is a message when the stream has acknowledged it. Where no acknowledgement comes it is sent again with the
//! same `Nats-Msg-Id`, which the stream knows, until [`PUBLISH_TIMEOUT`] is over; then the caller is told to try again.
//! Such a message may have been stored all the same. Nothing is kept in the memory of the host instead.
//!
//! **Delivered** it is by whichever host runs its target and has room: one consumer a component, of which each host pulls
//! as many messages as it delivers at one time ([`deliver`]). A host that dies stops saying that it is at work, and
//! [`ACK_WAIT`] later the message goes to another.
//!
//! **A server that is killed** may come back with messages that had ended, and with less of what was under way:
//! [`sweep`] delivers what it would keep for good.
//!
//! **A full stream** takes no more messages; it drops none ([`StreamCapacity`]). So does that of the dead letters, whose messages
//! then stay where they are.

pub(super) mod deliver;
mod delivery;
mod message;
mod note;
mod operator;
mod schedules;
mod streams;
mod sweep;

#[cfg(test)]
mod tests;

pub(super) use schedules::Schedules;
pub use streams::JetStreamError;

use super::MAX_REASON_BYTES;
use super::queue::{NewMessage, Published, QueueError};
use async_nats::HeaderMap;
use async_nats::jetstream::context::{Context, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, ErrorCode};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use message::Stored;
use note::Notes;
use souk_manifest::limits::FixedLimit;
use souk_nats::stream_capacity::{StreamCapacity, header_bytes};
use souk_nats::{Nats, Outage};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How an operator fixes it.
pub(super) const FIX: &str = "see that nats-server runs with JetStream, that most servers of its cluster are up, and that \
                              this host's user may publish to `$JS.API.>` and `$JS.ACK.>`";

souk_manifest::fixed_limits! {
    /// The fixed limits of publishing.
    pub(crate) const FIXED_LIMITS = "durable: NATS";

    /// How long a message is sent again and again before its caller is told that it is not stored: a cluster may be
    /// electing a leader.
    const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
    /// The part of the server's `max_payload` that a message leaves free, besides that for a reason: a dead letter has
    /// more headers.
    const DEAD_LETTER_HEADROOM_BYTES: usize = 256, bytes;
    /// How long the server may take to acknowledge a message before it is sent again.
    const ACK_TIMEOUT: Duration = Duration::from_secs(2);
    /// The pause before a message is sent again; it doubles each time.
    const MIN_RETRY_INTERVAL: Duration = Duration::from_millis(25);
    /// Once NATS has been away for so long, messages are refused at once.
    const OUTAGE_TIMEOUT: Duration = Duration::from_secs(2);
    /// How long a host may be silent about a delivery before the server delivers the message again, perhaps to another
    /// host. A running delivery reports progress three times in that time.
    pub(super) const ACK_WAIT: Duration = Duration::from_secs(15);
    /// The most messages of one component that wait for another attempt, or are under way; new ones wait behind them.
    /// The server keeps them in memory.
    pub(super) const MAX_ACK_PENDING: i64 = 65_536, "messages";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        FIXED_LIMITS,
        streams::FIXED_LIMITS,
        delivery::FIXED_LIMITS,
        deliver::FIXED_LIMITS,
        sweep::FIXED_LIMITS,
        operator::FIXED_LIMITS,
        schedules::FIXED_LIMITS,
    ]
    .concat()
}

/// The queue; cheap to clone.
#[derive(Clone)]
pub struct JetStreamQueue {
    shared: Arc<Shared>,
}

struct Shared {
    nats: Nats,
    context: Context,
    durable: Stream<()>,
    dead: Stream<()>,
    notes: Notes,
    /// Of the application, as this host knows it.
    components: BTreeSet<String>,
    limit: u64,
    /// How full the stream of messages is.
    capacity: StreamCapacity,
    /// How full the stream of dead letters is.
    dead_capacity: StreamCapacity,
}

/// What became of a message that was sent to a stream.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Stored,
    Full,
    TooLarge,
}

impl JetStreamQueue {
    /// The queue of an application of these `components` on `nats`, for at most `limit` bytes of messages and as many of
    /// dead letters. Its streams are made where they are missing, and changed where they are not as they should be.
    ///
    /// # Errors
    /// When JetStream is not there, or the streams cannot be what they must be.
    pub async fn open(nats: Nats, limit: u64, components: BTreeSet<String>) -> Result<Self, JetStreamError> {
        let (queue, start) = (Self::on(nats, limit, components).await?, Instant::now());
        queue.make_streams(streams::START_TIMEOUT).await.map_err(|error| error.or_denied(queue.denied(start)))?;
        Ok(queue)
    }

    /// The queue, if a host has made it; nothing is made or changed.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn find(nats: Nats, limit: u64, components: BTreeSet<String>) -> Result<Option<Self>, JetStreamError> {
        let (queue, start) = (Self::on(nats, limit, components).await?, Instant::now());
        let found = queue.has_streams().await.map_err(|error| error.or_denied(queue.denied(start)))?;
        Ok(found.then_some(queue))
    }

    async fn on(nats: Nats, limit: u64, components: BTreeSet<String>) -> Result<Self, JetStreamError> {
        let mut context = nats.jetstream();
        context.set_timeout(ACK_TIMEOUT);
        let stream = |what: &str| context.get_stream_no_info(nats.subjects().stream(what));
        let found = futures::try_join!(stream(streams::DURABLE), stream(streams::DEAD), stream(streams::NOTES));
        let (durable, dead, notes) = found.map_err(|error| JetStreamError::new(&error))?;
        let notes = Notes::new(context.clone(), notes, nats.subjects().clone());
        Ok(JetStreamQueue {
            shared: Arc::new(Shared {
                nats,
                context,
                durable,
                dead,
                notes,
                components,
                limit,
                capacity: StreamCapacity::new(Some(limit)),
                dead_capacity: StreamCapacity::new(Some(limit)),
            }),
        })
    }

    /// What the server has refused this host since `since`, as [`Nats::denied`] says it.
    pub fn denied(&self, since: Instant) -> Option<String> {
        self.shared.nats.denied(since)
    }

    /// The most bytes of messages.
    pub fn limit(&self) -> u64 {
        self.shared.limit
    }

    /// Stores a message, if that is done by `deadline`.
    ///
    /// # Errors
    /// When no stream has acknowledged it by then.
    pub async fn publish(&self, message: NewMessage, deadline: Instant) -> Result<Published, QueueError> {
        self.publish_as(Uuid::now_v7().to_string(), message, deadline).await
    }

    /// As [`JetStreamQueue::publish`], under an `id` by which the stream knows it for two minutes.
    async fn publish_as(&self, id: String, message: NewMessage, deadline: Instant) -> Result<Published, QueueError> {
        let stored = Stored::new(id.clone(), message);
        let until = deadline.min(Instant::now() + PUBLISH_TIMEOUT);
        let subject = stored.durable_subject(self.shared.nats.subjects());
        let (arguments, headers) = (stored.arguments.clone(), stored.headers(&id));
        // What is taken must fit as a dead letter too, with the reason.
        let most =
            self.shared.nats.client().max_payload().saturating_sub(MAX_REASON_BYTES + DEAD_LETTER_HEADROOM_BYTES);
        if arguments.len() + header_bytes(&headers) > most {
            return Ok(Published::TooLarge(most));
        }
        if let Outage::Since(since) = *self.shared.nats.outage().borrow()
            && since.elapsed() >= OUTAGE_TIMEOUT
        {
            return Err(failed("NATS is gone"));
        }
        let size = header_bytes(&headers);
        let reservation = self.shared.capacity.reserve(&self.shared.durable, &subject, size, arguments.len());
        let reservation = tokio::time::timeout_at(until, reservation).await;
        let Some(_reservation) = reservation.map_err(|_| failed("JetStream gives no answer"))? else {
            return Ok(Published::Full);
        };
        Ok(match self.send(subject, headers, arguments, until).await? {
            Sent::Stored => Published::Stored(id),
            Sent::Full => Published::Full,
            Sent::TooLarge => Published::TooLarge(most),
        })
    }

    /// Sends a message until a stream has acknowledged it, or `until`.
    async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        until: Instant,
    ) -> Result<Sent, QueueError> {
        let mut outage = self.shared.nats.outage();
        let pauses = ExponentialBuilder::new().with_min_delay(MIN_RETRY_INTERVAL).with_max_delay(ACK_TIMEOUT);
        let mut pauses = pauses.without_max_times().build();
        loop {
            let state = *outage.borrow_and_update();
            let failure = match state {
                Outage::Since(since) if since.elapsed() >= OUTAGE_TIMEOUT => return Err(failed("NATS is gone")),
                Outage::Since(since) => {
                    // It may be back in a moment.
                    let end = until.min(since + OUTAGE_TIMEOUT);
                    let _ = tokio::time::timeout_at(end, outage.wait_for(|now| *now == Outage::None)).await;
                    failed("NATS is gone")
                }
                Outage::None => {
                    let message = PublishMessage::build().payload(payload.clone()).headers(headers.clone());
                    let sent = tokio::select! {
                        sent = self.acknowledged(subject.clone(), message) => Some(sent),
                        // The acknowledgement cannot come any more.
                        _ = outage.changed() => None,
                    };
                    match sent {
                        None => failed("NATS is gone"),
                        Some(Ok(())) => return Ok(Sent::Stored),
                        Some(Err(error)) => match refused(&error) {
                            Refusal::Full => return Ok(Sent::Full),
                            Refusal::TooLarge => return Ok(Sent::TooLarge),
                            Refusal::Final => return Err(failed(error)),
                            Refusal::Perhaps => failed(error),
                        },
                    }
                }
            };
            let pause = pauses.next().unwrap_or(ACK_TIMEOUT);
            if Instant::now() + pause >= until {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn acknowledged(&self, subject: String, message: PublishMessage) -> Result<(), PublishError> {
        // A second acknowledgement of the same message says that it is a duplicate: it is there.
        self.shared.context.send_publish(subject, message).await?.await.map(|_| ())
    }
}

/// Why a message was not stored.
enum Refusal {
    Full,
    TooLarge,
    /// Sending it again does not help.
    Final,
    /// It may.
    Perhaps,
}

fn refused(error: &PublishError) -> Refusal {
    if error.kind() == PublishErrorKind::MaxPayloadExceeded {
        return Refusal::TooLarge;
    }
    let Some(answer) = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()) else {
        return Refusal::Perhaps;
    };
    match answer.error_code() {
        // "maximum bytes exceeded"; other failures of the store have the same code.
        ErrorCode::STREAM_STORE_FAILED if answer.to_string().contains("maximum") => Refusal::Full,
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Refusal::TooLarge,
        ErrorCode::STREAM_SEALED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => Refusal::Final,
        _ => Refusal::Perhaps,
    }
}

fn failed(cause: impl Display) -> QueueError {
    QueueError::Nats(cause.to_string().into())
}
