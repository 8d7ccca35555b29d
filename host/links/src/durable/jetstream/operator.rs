//! The operator's commands on the streams: list, show, retry and drop messages.
//!
//! JetStream does not store a state for each message, so the host derives it. A message is stranded if its component is
//! not in the application, and pending if its consumer has not delivered it yet. Otherwise it is being delivered,
//! unless its note says that it waits or that no version takes it. When a host dies, its messages stay "delivering"
//! until [`ACK_WAIT`](super::ACK_WAIT) is over and another host takes them.
//!
//! Messages are read one at a time, and listings keep no arguments: all arguments of a stream may not fit in memory.
//!
//! To retry a message, the host sends a copy before it deletes the old one: an interruption leaves two copies, never
//! none.

use super::message::Stored;
use super::note::{Note, State};
use super::{JetStreamQueue, PUBLISH_TIMEOUT, Sent, failed};
use crate::durable::event::{Event, FoundEvents, Selection};
use crate::durable::message::{QueueError, Stats};
use crate::durable::now;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DeleteMessageErrorKind, LastRawMessageErrorKind, RawMessageError, Stream};
use async_nats::jetstream::{Error as Answer, ErrorCode};
use bytes::Bytes;
use chrono::{DateTime, Datelike as _, Timelike as _};
use futures::TryStreamExt as _;
use serde_json::value::RawValue;
use souk_manifest::subject;
use souk_nats::stream_capacity::header_bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

souk_manifest::fixed_limits! {
    /// The fixed limits of `souk events`.
    pub(crate) const FIXED_LIMITS = "durable: NATS";

    /// The number of messages that `souk events` reads, and then retries or drops, in one batch.
    pub(super) const PAGE: usize = 256, "messages";
}

/// A message with its place in the stream and its state.
pub(super) struct Entry {
    /// Without its arguments.
    pub(super) stored: Stored,
    /// The length of its arguments.
    bytes: u64,
    sequence: u64,
    state: &'static str,
    /// Whether a host keeps it until its target is not overloaded any more.
    held: bool,
    /// Whether its consumer had delivered it to a host.
    last_delivered: bool,
    attempts: u32,
    reason: Option<String>,
    due: Option<i64>,
}

impl Entry {
    pub(super) fn event(&self) -> Event {
        let Stored { id, key, caller, trace, stored, .. } = &self.stored;
        Event {
            id: id.clone(),
            state: self.state.to_owned(),
            attempts: self.attempts,
            caller: caller.clone(),
            component: key.target.to_string(),
            interface: key.interface.to_string(),
            function: key.function.to_string(),
            trace: trace.clone(),
            bytes: self.bytes,
            reason: self.reason.clone(),
            stored_at: time(*stored),
            due_at: self.due.map(time),
            arguments: None,
        }
    }
}

/// What an operator does with messages.
#[derive(Clone, Copy)]
enum Action {
    Retry,
    Drop,
}

/// For each component, the sequence of the last message that its consumer has delivered to a host.
type LastDelivered = BTreeMap<Arc<str>, u64>;

impl JetStreamQueue {
    /// All messages, or all dead letters; the answer contains up to `most` of them.
    pub async fn list(&self, dead: bool, most: usize) -> Result<FoundEvents, QueueError> {
        let mut entries = self.dead_letters(most).await?;
        let mut total = self.shared.dead.get_info().await.map_err(failed)?.state.messages;
        if !dead {
            entries.extend(self.waiting(most).await?);
            total += self.shared.durable.get_info().await.map_err(failed)?.state.messages;
        }
        entries.sort_by(|one, other| one.stored.id.cmp(&other.stored.id));
        entries.truncate(most);
        let events: Vec<Event> = entries.iter().map(Entry::event).collect();
        // Messages come and go between the two requests.
        let named = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let total = if events.len() < most { named } else { total.max(named) };
        Ok(FoundEvents { events, total })
    }

    /// One message with its arguments.
    pub async fn show(&self, id: &str) -> Result<Option<Event>, QueueError> {
        Ok(self.find_message(id).await?.map(|(entry, arguments)| {
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            Event { arguments: RawValue::from_string(arguments).ok(), ..entry.event() }
        }))
    }

    /// Makes one message or all dead letters due now; a dead letter starts again with its first attempt. A message that
    /// is being delivered is not changed. Returns up to `most` of the messages as they were.
    pub async fn retry_now(&self, which: &Selection, most: usize) -> Result<FoundEvents, QueueError> {
        self.each(which, most, Action::Retry).await
    }

    /// Whether a host of the application may deliver the messages of `component`.
    pub fn delivers_to(&self, component: &str) -> bool {
        self.shared.components.read().contains(component)
    }

    /// Deletes one message or all dead letters. A message that a host delivers, or keeps until its target is not
    /// overloaded any more, is not deleted. Returns up to `most` of the messages as they were.
    ///
    /// # Errors
    /// Also when a delivery of the message began while it was being deleted.
    pub async fn drop(&self, which: &Selection, most: usize) -> Result<FoundEvents, QueueError> {
        self.each(which, most, Action::Drop).await
    }

    /// Whether the stream of messages answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn probe(&self) -> Result<(), QueueError> {
        self.shared.durable.get_info().await.map(drop).map_err(failed)
    }

    /// How full the streams are.
    pub async fn stats(&self) -> Result<Stats, QueueError> {
        let durable = self.shared.durable.get_info().await.map_err(failed)?.state;
        let dead = self.shared.dead.get_info().await.map_err(failed)?.state.messages;
        if durable.messages == 0 {
            return Ok(Stats { dead, ..Stats::default() });
        }
        let stranded = self.stranded().await?.min(durable.messages);
        let oldest = self.oldest().await?;
        Ok(Stats { waiting: durable.messages - stranded, dead, stranded, oldest })
    }

    /// How many messages are for components that are not in the application, by the counts of their consumers. Messages
    /// that wait for a missing function of a present component are not counted: only their notes show that.
    async fn stranded(&self) -> Result<u64, QueueError> {
        let known: BTreeSet<String> = self.shared.components.read().iter().map(|name| subject::token(name)).collect();
        let mut consumers = self.shared.durable.consumers();
        let mut stranded = 0;
        while let Some(consumer) = consumers.try_next().await.map_err(failed)? {
            if !known.contains(&consumer.name) {
                stranded += consumer.num_pending + u64::try_from(consumer.num_ack_pending).unwrap_or_default();
            }
        }
        Ok(stranded)
    }

    /// Since when the oldest message for a component of the application waits, in milliseconds since 1970.
    async fn oldest(&self) -> Result<Option<i64>, QueueError> {
        let mut oldest = None;
        let components = self.shared.components.read().clone();
        for component in &components {
            let subject = self.shared.nats.subjects().durable_of(component);
            // A delayed message counts from its due time.
            let mut from = 1;
            for _ in 0..PAGE {
                let Some(message) = one(self.shared.durable.get_first_raw_message_by_subject(&subject, from).await)?
                else {
                    break;
                };
                from = message.sequence + 1;
                let stored_at = millis(message.time.unix_timestamp_nanos());
                let (stored, _) = read(message);
                oldest = oldest.into_iter().chain(stored.due.or(stored_at)).min();
                if stored.due.is_none() {
                    break;
                }
            }
        }
        Ok(oldest)
    }

    /// Applies `action` to each message that `which` selects, until one fails.
    async fn each(&self, which: &Selection, most: usize, action: Action) -> Result<FoundEvents, QueueError> {
        let mut found = FoundEvents::default();
        let mut next = match which {
            Selection::One(id) => self.find_message(id).await?.into_iter().map(|(entry, _)| entry).collect(),
            Selection::Dead => self.dead_letters(PAGE).await?,
        };
        // Dead letters that arrive during the loop are not included: a retried message that fails again would be
        // retried forever.
        let last = self.shared.dead.get_info().await.map_err(failed)?.state.last_sequence;
        while !next.is_empty() {
            for entry in &next {
                match action {
                    Action::Retry => self.retry(entry).await?,
                    Action::Drop => self.delete_entry(entry).await?,
                }
                found.total += 1;
                if found.events.len() < most {
                    let mut event = entry.event();
                    if entry.held && matches!(action, Action::Drop) {
                        "delivering".clone_into(&mut event.state);
                    }
                    found.events.push(event);
                }
            }
            if matches!(which, Selection::One(_)) {
                break;
            }
            next = self.dead_letters(PAGE).await?;
            next.retain(|entry| entry.sequence <= last);
        }
        Ok(found)
    }

    async fn retry(&self, entry: &Entry) -> Result<(), QueueError> {
        let (attempts, reason) = match entry.state {
            "dead" => (0, None),
            // A version that takes it may serve by now.
            "stranded" if self.delivers_to(&entry.stored.key.target) => (entry.attempts, None),
            // A host that keeps the message would deliver it as well.
            "pending" if (entry.attempts > 0 || entry.stored.waits_until(now()).is_some()) && !entry.held => {
                (entry.attempts, entry.reason.clone())
            }
            // It is due already, or it cannot be retried now.
            _ => return Ok(()),
        };
        let stream = self.stream_of(entry);
        // It may be gone: delivered, or dropped by another operator.
        let Some(message) = one(stream.get_raw_message(entry.sequence).await)? else { return Ok(()) };
        let copy = Stored { attempts, reason, due: None, ..read(message).0 };
        self.resend(copy, &Uuid::now_v7().to_string(), true).await?;
        self.delete(stream, entry.sequence).await
    }

    async fn delete_entry(&self, entry: &Entry) -> Result<(), QueueError> {
        if entry.state == "delivering" || entry.held {
            return Ok(());
        }
        self.delete(self.stream_of(entry), entry.sequence).await?;
        let began = match entry.state {
            "pending" if !entry.last_delivered => self.reached(&entry.stored.key.target).await? >= entry.sequence,
            // A worker writes its note before it checks that the message still exists.
            "pending" | "stranded" => {
                let note = self.shared.notes.get(&entry.stored.id).await?;
                note.is_some_and(|note| matches!(note.state, State::Delivering | State::Held))
            }
            _ => false,
        };
        self.shared.notes.delete(&entry.stored.id).await?;
        if began { Err(QueueError::DeliveryBegan(entry.stored.id.as_str().into())) } else { Ok(()) }
    }

    /// Whether the message is still in the stream; an operator may have deleted it.
    pub(super) async fn is_there(&self, sequence: u64) -> Result<bool, QueueError> {
        Ok(one(self.shared.durable.get_raw_message(sequence).await)?.is_some())
    }

    fn stream_of(&self, entry: &Entry) -> &Stream<()> {
        if entry.state == "dead" { &self.shared.dead } else { &self.shared.durable }
    }

    /// Stores a message again, under a message id that is new to the stream; with `checked`, only if there is room.
    pub(super) async fn resend(&self, copy: Stored, message_id: &str, checked: bool) -> Result<(), QueueError> {
        let subject = copy.durable_subject(self.shared.nats.subjects());
        let headers = copy.headers(message_id);
        let arguments = copy.arguments.clone();
        // A copy that the sweep sends replaces a message that nothing else could end, so it may exceed the limit.
        let _reservation = match checked {
            false => None,
            true => {
                let size = header_bytes(&headers);
                let reservation =
                    self.shared.capacity.reserve(&self.shared.durable, &subject, size, arguments.len()).await;
                Some(reservation.ok_or_else(|| {
                    QueueError::Full(self.shared.nats.subjects().stream(super::streams::DURABLE).into())
                })?)
            }
        };
        // The note about the old message would otherwise count for the copy.
        self.shared.notes.delete(&copy.id).await?;
        match self.send(subject, headers, arguments, Instant::now() + PUBLISH_TIMEOUT).await? {
            Sent::Stored => Ok(()),
            Sent::Full => Err(QueueError::Full(self.shared.nats.subjects().stream(super::streams::DURABLE).into())),
            Sent::TooLarge => Err(failed("the message is larger than the servers' `max_payload`")),
        }
    }

    pub(super) async fn delete(&self, stream: &Stream<()>, sequence: u64) -> Result<(), QueueError> {
        let deleted = stream.delete_message(sequence).await.map_err(|error| (error.kind(), error));
        self.shared.capacity.refresh_if_full();
        self.shared.dead_capacity.refresh_if_full();
        match deleted {
            Ok(_) => Ok(()),
            // It was delivered meanwhile.
            Err((DeleteMessageErrorKind::JetStream(answer), _)) if is_gone(&answer) => Ok(()),
            Err((_, error)) => Err(failed(error)),
        }
    }

    /// The message `id`, and its arguments.
    async fn find_message(&self, id: &str) -> Result<Option<(Entry, Bytes)>, QueueError> {
        // The id becomes a part of a subject, in which `>` would match every message.
        if Uuid::try_parse(id).is_err() {
            return Ok(None);
        }
        let subjects = self.shared.nats.subjects();
        let found = self.shared.durable.get_last_raw_message_by_subject(&subjects.durable_id(id)).await;
        if let Some(message) = one(found)? {
            let arguments = message.payload.clone();
            let entry = self.standing(listed(message), &mut LastDelivered::new()).await?;
            return Ok(Some((entry, arguments)));
        }
        let found = self.shared.dead.get_last_raw_message_by_subject(&subjects.dead_id(id)).await;
        Ok(one(found)?.map(|message| {
            let arguments = message.payload.clone();
            (dead_letter(listed(message)), arguments)
        }))
    }

    pub(super) async fn waiting(&self, most: usize) -> Result<Vec<Entry>, QueueError> {
        let mut last_delivered = LastDelivered::new();
        let mut entries = Vec::new();
        let all = self.shared.nats.subjects().durable_all();
        for listed in walk(&self.shared.durable, &all, most).await? {
            entries.push(self.standing(listed, &mut last_delivered).await?);
        }
        Ok(entries)
    }

    pub(super) async fn dead_letters(&self, most: usize) -> Result<Vec<Entry>, QueueError> {
        let all = self.shared.nats.subjects().dead_all();
        Ok(walk(&self.shared.dead, &all, most).await?.into_iter().map(dead_letter).collect())
    }

    /// Derives the state of a message that is not a dead letter.
    async fn standing(&self, listed: Listed, last_delivered: &mut LastDelivered) -> Result<Entry, QueueError> {
        let Listed { stored, bytes, sequence } = listed;
        let target = &stored.key.target;
        let reached = match last_delivered.get(target) {
            Some(reached) => *reached,
            None => {
                let reached = self.reached(target).await?;
                last_delivered.insert(target.clone(), reached);
                reached
            }
        };
        let (attempts, reason, due) =
            (stored.attempts, stored.reason.clone(), Some(stored.due.unwrap_or(stored.stored)));
        let mut held = false;
        let (state, attempts, reason, due) = if sequence > reached {
            ("pending", attempts, reason, due)
        } else {
            match self.shared.notes.get(&stored.id).await? {
                None => ("delivering", attempts + 1, reason, None),
                Some(Note { state, attempts, reason, due, .. }) => {
                    held = state == State::Held;
                    let state = match state {
                        State::Waiting | State::Held => "pending",
                        State::Delivering => "delivering",
                        State::Stranded => "stranded",
                    };
                    (state, attempts, reason, due)
                }
            }
        };
        let there = self.shared.components.read().contains(&*stored.key.target);
        let (state, due) = if there { (state, due) } else { ("stranded", None) };
        let last_delivered = sequence <= reached;
        Ok(Entry { stored, bytes, sequence, state, held, last_delivered, attempts, reason, due })
    }

    /// The sequence of the last message that the consumer of `component` has delivered to a host; 0 when there is none.
    async fn reached(&self, component: &str) -> Result<u64, QueueError> {
        match self.shared.durable.consumer_info(subject::token(component)).await {
            Ok(info) => Ok(info.delivered.stream_sequence),
            Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }
}

fn dead_letter(Listed { stored, bytes, sequence }: Listed) -> Entry {
    let (attempts, reason) = (stored.attempts, stored.reason.clone());
    Entry { stored, bytes, sequence, state: "dead", held: false, last_delivered: false, attempts, reason, due: None }
}

/// The `most` oldest messages of `stream` on the subjects `all`.
async fn walk(stream: &Stream<()>, all: &str, most: usize) -> Result<Vec<Listed>, QueueError> {
    let (mut found, mut from) = (Vec::new(), 1);
    while found.len() < most
        && let Some(message) = one(stream.get_first_raw_message_by_subject(all, from).await)?
    {
        from = message.sequence + 1;
        found.push(listed(message));
    }
    Ok(found)
}

/// A message in a stream, without its arguments.
struct Listed {
    stored: Stored,
    bytes: u64,
    sequence: u64,
}

fn listed(message: StreamMessage) -> Listed {
    let (stored, sequence) = read(message);
    let bytes = u64::try_from(stored.arguments.len()).unwrap_or(u64::MAX);
    Listed { stored: Stored { arguments: Bytes::new(), ..stored }, bytes, sequence }
}

pub(super) fn read(message: StreamMessage) -> (Stored, u64) {
    (Stored::read(&message.subject, &message.headers, message.payload), message.sequence)
}

/// The message found; `None` when there is none.
pub(super) fn one(found: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, QueueError> {
    match found {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Whether the answer means that the message does not exist. Other failures of the store have the same code.
fn is_gone(answer: &Answer) -> bool {
    let text = answer.to_string();
    answer.error_code() == ErrorCode::STREAM_MESSAGE_DELETE_FAILED
        && ["no message found", "EOF", "deleted"].iter().any(|gone| text.contains(gone))
}

fn millis(nanos: i128) -> Option<i64> {
    i64::try_from(nanos / 1_000_000).ok()
}

/// A time in the format of RFC 3339.
fn time(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    let (date, seconds, millis) = (time.date_naive(), time.num_seconds_from_midnight(), time.timestamp_subsec_millis());
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", date.year(), date.month(), date.day())
}
