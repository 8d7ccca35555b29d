//! The cursors of schedules, which all hosts share: a stream of their own keeps the newest message of a subject for
//! each.
//!
//! A message moves a cursor; the server accepts it only if the last message of its subject is the expected one. On a
//! stream with replicas, nats-server 2.9 compares when the leader receives a message and not when it is stored. So the
//! `Nats-Msg-Id` also names the message that is replaced, and of two such messages the server stores only the first.

use super::message::Stored;
use super::operator::one;
use super::{ACK_TIMEOUT, JetStreamQueue, PUBLISH_TIMEOUT, failed};
use crate::durable::message::{NewMessage, Published, QueueError};
use crate::durable::now;
use crate::durable::schedule::Cursor;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use souk_nats::Outage;
use std::error::Error as _;
use std::time::Duration;
use tokio::time::{Instant, timeout};

souk_manifest::fixed_limits! {
    /// The fixed limits of schedules.
    pub(crate) const FIXED_LIMITS = "durable: NATS";

    /// A due time that is older than this may have been stored before the stream forgot its id, so the messages that
    /// wait are looked at too.
    const OLD_AGE: Duration = Duration::from_secs(60);
}

/// The answers of a server when its last message is not the expected one.
const CONFLICTS: [ErrorCode; 2] =
    [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT];

/// The cursors of an application.
pub(in crate::durable) struct Schedules {
    queue: JetStreamQueue,
    stream: Stream<()>,
}

/// A cursor as it is stored.
#[derive(Serialize, Deserialize)]
struct Written {
    fired: i64,
    timetable: String,
}

impl JetStreamQueue {
    /// The cursors of schedules. Creates their stream if it is missing.
    pub(in crate::durable) async fn schedules(&self) -> Result<Schedules, QueueError> {
        self.make_schedules().await.map_err(failed)?;
        let name = self.shared.nats.subjects().stream(super::streams::SCHEDULES);
        let stream = self.shared.context.get_stream_no_info(name).await.map_err(failed)?;
        Ok(Schedules { queue: self.clone(), stream })
    }
}

impl Schedules {
    /// By how many milliseconds the clock `now` is ahead of the servers' clock; negative when it is behind, and 0 when
    /// the network delay may explain the difference.
    pub(in crate::durable) async fn clock_offset(&self, now: impl Fn() -> i64) -> Result<i64, QueueError> {
        let subject = self.queue.shared.nats.subjects().schedule_clock();
        let begin = now();
        self.publish(subject.clone(), HeaderMap::new(), Vec::new()).await?;
        // Another host may have written after it. That message is later, and still before `end`.
        let found = one(self.stream.get_last_raw_message_by_subject(&subject).await)?;
        let end = now();
        let Some(found) = found else { return Err(failed("the stream of schedules has lost a message")) };
        let there = i64::try_from(found.time.unix_timestamp_nanos() / 1_000_000).map_err(failed)?;
        Ok(match () {
            () if there < begin => begin - there,
            () if there > end => end - there,
            () => 0,
        })
    }

    /// The cursor of the schedule `name` of `component`.
    pub(in crate::durable) async fn cursor(&self, component: &str, name: &str) -> Result<Option<Cursor>, QueueError> {
        let subject = self.queue.shared.nats.subjects().schedule(component, name);
        let found = timeout(ACK_TIMEOUT, self.stream.get_last_raw_message_by_subject(&subject)).await;
        let Some(found) = one(found.map_err(|_| failed("JetStream does not answer"))?)? else { return Ok(None) };
        let Written { fired, timetable } = serde_json::from_slice(&found.payload).map_err(|error| {
            QueueError::Cursor(format!("the record of the schedule in {subject} is invalid: {error}").into())
        })?;
        Ok(Some(Cursor { fired, timetable, revision: found.sequence }))
    }

    /// Moves the cursor from `from` to `fired`; `None` when it is not at `from` any more.
    pub(in crate::durable) async fn swap_cursor(
        &self,
        component: &str,
        name: &str,
        from: Option<&Cursor>,
        fired: i64,
        timetable: String,
    ) -> Result<Option<Cursor>, QueueError> {
        let subject = self.queue.shared.nats.subjects().schedule(component, name);
        let revision = from.map_or(0, |cursor| cursor.revision);
        let written = Written { fired, timetable };
        let text = serde_json::to_vec(&written).map_err(failed)?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(revision));
        if revision > 0 {
            headers.insert(NATS_MESSAGE_ID, format!("{subject}:{revision}"));
        }
        let Some(revision) = self.publish(subject, headers, text).await? else { return Ok(None) };
        Ok(Some(Cursor { fired: written.fired, timetable: written.timetable, revision }))
    }

    /// Stores the `message` for the time `due` under `id`, unless it is stored already.
    pub(in crate::durable) async fn store(
        &self,
        id: String,
        message: NewMessage,
        due: i64,
    ) -> Result<Published, QueueError> {
        if now().saturating_sub(due) > crate::durable::millis(OLD_AGE) {
            let (subjects, shared) = (self.queue.shared.nats.subjects(), &self.queue.shared);
            let subject = Stored::new(id.clone(), message.clone()).durable_subject(subjects);
            let dead = subjects.dead_id(&id);
            if one(shared.durable.get_last_raw_message_by_subject(&subject).await)?.is_some()
                || one(shared.dead.get_last_raw_message_by_subject(&dead).await)?.is_some()
            {
                return Ok(Published::Stored(id));
            }
        }
        self.queue.publish_as(id, message, Instant::now() + PUBLISH_TIMEOUT).await
    }

    /// Publishes a message, and returns its sequence in the stream; `None` when another message came first.
    async fn publish(&self, subject: String, headers: HeaderMap, text: Vec<u8>) -> Result<Option<u64>, QueueError> {
        // The client would buffer the message, and send it once NATS is back.
        if *self.queue.shared.nats.outage().borrow() != Outage::None {
            return Err(failed("the connection to NATS is lost"));
        }
        let sent = self.queue.shared.context.publish_with_headers(subject, headers, text.into()).await;
        let stored = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        let error = match stored {
            Ok(stored) => return Ok((!stored.duplicate).then_some(stored.sequence)),
            Err(error) => error,
        };
        let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        match answer {
            _ if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Some(answer) if CONFLICTS.contains(&answer.error_code()) => Ok(None),
            _ => Err(failed(error)),
        }
    }
}
