//! The queue of messages that the hosts of an application share: streams of NATS JetStream.
//!
//! | stream | holds |
//! |---|---|
//! | `souk_APP_durable` | the messages, each until it is delivered or becomes a dead letter (a work queue) |
//! | `souk_APP_dead` | the dead letters, until an operator retries or drops them |
//! | `souk_APP_notes` | for each failed message, why it failed and until when it waits |
//! | `souk_APP_schedules` | how far each schedule has come ([`schedules`]) |
//!
//! **Storing.** A message is stored when the stream has acknowledged it. Without an acknowledgement, the host sends it
//! again with the same `Nats-Msg-Id`, by which the stream recognises duplicates, until [`PUBLISH_TIMEOUT`] is over.
//! Then the caller is told to try again, although the message may have been stored. The host keeps no message in memory
//! instead.
//!
//! **Delivery.** Any host that runs the target and has a free slot delivers a message: each component has one consumer,
//! from which each host pulls as many messages as it delivers at the same time ([`deliver`]). A host that dies stops
//! reporting progress, and [`ACK_WAIT`] later the message goes to another host.
//!
//! **A server that is killed** may come back with messages that had ended, and may have forgotten some deliveries in
//! progress. [`sweep`] finds the messages that would otherwise stay for good, and they are delivered again.
//!
//! **A full stream** accepts no more messages and drops none ([`StreamCapacity`]). When the stream of dead letters is
//! full, a rejected message stays in the stream of messages.

pub(super) mod deliver;
mod delivery;
mod message;
mod note;
mod operator;
mod pending;
mod schedules;
mod streams;
mod sweep;

#[cfg(test)]
mod tests;

pub(super) use schedules::Schedules;
pub use streams::JetStreamError;

use super::MAX_REASON_BYTES;
use super::message::{NewMessage, Published, QueueError};
use super::now;
use async_nats::HeaderMap;
use async_nats::jetstream::context::{Context, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, ErrorCode};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use message::Stored;
use note::Notes;
use parking_lot::RwLock;
use pending::Pending;
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
    /// Once NATS has been away for this long, messages are refused at once.
    const OUTAGE_TIMEOUT: Duration = Duration::from_secs(2);
    /// How long a host may be silent about a delivery before the server delivers the message again, perhaps to another
    /// host. A running delivery reports progress three times in that time.
    pub(super) const ACK_WAIT: Duration = Duration::from_secs(15);
    /// The most messages of one component that wait for another attempt or are being delivered; new ones wait behind
    /// them. The server keeps them in memory.
    pub(super) const MAX_ACK_PENDING: i64 = 65_536, "messages";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        FIXED_LIMITS,
        pending::FIXED_LIMITS,
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
    /// The components of the application, as this host knows them.
    components: RwLock<BTreeSet<String>>,
    limit: u64,
    /// How full the stream of messages is.
    capacity: StreamCapacity,
    /// How full the stream of dead letters is.
    dead_capacity: StreamCapacity,
    /// How many messages of each component have been delivered and have not ended.
    pending: Pending,
}

/// What became of a message that was sent to a stream.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Stored,
    Full,
    TooLarge,
}

impl JetStreamQueue {
    /// Opens the queue of an application with these `components` on `nats`, for at most `limit` bytes of messages and
    /// as many bytes of dead letters. Creates missing streams, and updates those whose configuration differs.
    ///
    /// # Errors
    /// When JetStream does not answer, or a stream cannot be created or updated.
    pub async fn open(nats: Nats, limit: u64, components: BTreeSet<String>) -> Result<Self, JetStreamError> {
        let (queue, start) = (Self::on(nats, limit, components).await?, Instant::now());
        queue.make_streams(streams::START_TIMEOUT).await.map_err(|error| error.or_denied(queue.denied(start)))?;
        Ok(queue)
    }

    /// Opens the queue if a host has created it; creates and changes nothing.
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
                components: RwLock::new(components),
                limit,
                capacity: StreamCapacity::new(Some(limit)),
                dead_capacity: StreamCapacity::new(Some(limit)),
                pending: Pending::default(),
            }),
        })
    }

    /// From now on the application has these components.
    pub fn set_components(&self, components: BTreeSet<String>) {
        *self.shared.components.write() = components;
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
    /// When the stream has not acknowledged it by then.
    pub async fn publish(&self, message: NewMessage, deadline: Instant) -> Result<Published, QueueError> {
        self.publish_as(Uuid::now_v7().to_string(), message, deadline).await
    }

    /// As [`JetStreamQueue::publish`], under an `id` by which the stream recognises duplicates for two minutes.
    async fn publish_as(&self, id: String, message: NewMessage, deadline: Instant) -> Result<Published, QueueError> {
        let stored = Stored::new(id.clone(), message);
        let until = deadline.min(Instant::now() + PUBLISH_TIMEOUT);
        let subject = stored.durable_subject(self.shared.nats.subjects());
        let (arguments, headers) = (stored.arguments.clone(), stored.headers(&id));
        // A message must also fit as a dead letter, with its reason.
        let most =
            self.shared.nats.client().max_payload().saturating_sub(MAX_REASON_BYTES + DEAD_LETTER_HEADROOM_BYTES);
        if arguments.len() + header_bytes(&headers) > most {
            return Ok(Published::TooLarge(most));
        }
        if let Outage::Since(since) = *self.shared.nats.outage().borrow()
            && since.elapsed() >= OUTAGE_TIMEOUT
        {
            return Err(failed("the connection to NATS is lost"));
        }
        if stored.waits_until(now()).is_some() {
            let target = &stored.key.target;
            let takes = self.shared.pending.takes_delayed(&self.shared.durable, target);
            if !tokio::time::timeout_at(until, takes).await.map_err(|_| failed("JetStream does not answer"))? {
                return Err(QueueError::TooManyDelayed(target.clone()));
            }
        }
        let size = header_bytes(&headers);
        let reservation = self.shared.capacity.reserve(&self.shared.durable, &subject, size, arguments.len());
        let reservation = tokio::time::timeout_at(until, reservation).await;
        let Some(_reservation) = reservation.map_err(|_| failed("JetStream does not answer"))? else {
            return Ok(Published::Full);
        };
        Ok(match self.send(subject, headers, arguments, until).await? {
            Sent::Stored => Published::Stored(id),
            Sent::Full => Published::Full,
            Sent::TooLarge => Published::TooLarge(most),
        })
    }

    /// Sends a message repeatedly, until a stream has acknowledged it or `until`.
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
                Outage::Since(since) if since.elapsed() >= OUTAGE_TIMEOUT => {
                    return Err(failed("the connection to NATS is lost"));
                }
                Outage::Since(since) => {
                    // It may be back in a moment.
                    let end = until.min(since + OUTAGE_TIMEOUT);
                    let _ = tokio::time::timeout_at(end, outage.wait_for(|now| *now == Outage::None)).await;
                    failed("the connection to NATS is lost")
                }
                Outage::None => {
                    let message = PublishMessage::build().payload(payload.clone()).headers(headers.clone());
                    let sent = tokio::select! {
                        sent = self.acknowledged(subject.clone(), message) => Some(sent),
                        // The acknowledgement cannot come any more.
                        _ = outage.changed() => None,
                    };
                    match sent {
                        None => failed("the connection to NATS is lost"),
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
        // The acknowledgement of a duplicate is a success too: the message is stored.
        self.shared.context.send_publish(subject, message).await?.await.map(|_| ())
    }
}

/// Why a message was not stored.
enum Refusal {
    Full,
    TooLarge,
    /// Sending it again does not help.
    Final,
    /// Sending it again may help.
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
    QueueError::nats(cause)
}
