//! The format of a durable message in a stream: the payload has the arguments, and subject and headers the rest.
//!
//! | part | content |
//! |---|---|
//! | `souk.APP.durable.COMPONENT.INTERFACE.FUNCTION.ID` | what it calls, and its id; `dead` in place of `durable` for a dead letter |
//! | `Nats-Msg-Id` | the id by which the stream recognises a message that is sent twice |
//! | `Souk-Caller` | the component that made the call |
//! | `Souk-Trace`, `Souk-Hops` | trace id and hops of that call |
//! | `traceparent`, `tracestate` | the place of that call in its trace, if it has one |
//! | `Souk-Type` | the digest of the function type that the arguments were written for; absent in messages of release 0.1.0 |
//! | `Souk-Stored` | when it was stored first, in milliseconds since 1970 |
//! | `Souk-Due` | for a delayed message: when it is delivered first, in milliseconds since 1970 |
//! | `Souk-Attempts`, `Souk-Reason` | for a dead letter, or a message that was sent again: earlier attempts, and why the last one failed |
//!
//! The id is in the subject so that an operator's command can find a message by its id. A part that cannot be read is
//! taken as empty, so a foreign message in the stream becomes a message for a function that does not exist.

use crate::durable::message::{Key, Message, NewMessage, kept};
use crate::durable::now;
use async_nats::header::{HeaderName, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use souk_manifest::subject::{self, Subjects};

const CALLER: &str = "Souk-Caller";
const TRACE: &str = "Souk-Trace";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const HOPS: &str = "Souk-Hops";
const TYPE: &str = "Souk-Type";
const STORED: &str = "Souk-Stored";
const DUE: &str = "Souk-Due";
const ATTEMPTS: &str = "Souk-Attempts";
const REASON: &str = "Souk-Reason";

/// A message in a stream.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) key: Key,
    pub(super) caller: String,
    pub(super) trace: String,
    pub(super) traceparent: Option<String>,
    pub(super) hops: u8,
    /// The digest of the function type that the arguments were written for.
    pub(super) digest: Option<String>,
    /// Milliseconds since 1970.
    pub(super) stored: i64,
    /// When a delayed message is delivered first.
    pub(super) due: Option<i64>,
    /// Attempts before this copy was stored in the stream.
    pub(super) attempts: u32,
    pub(super) reason: Option<String>,
    pub(super) arguments: Bytes,
}

impl Stored {
    /// A message that is stored now.
    pub(super) fn new(id: String, message: NewMessage) -> Self {
        let NewMessage { key, caller, trace, traceparent, hops, due, digest, arguments } = message;
        Stored {
            id,
            key,
            caller: caller.to_string(),
            trace: trace.to_string(),
            traceparent,
            hops,
            digest: Some(digest.to_string()),
            stored: now(),
            due,
            attempts: 0,
            reason: None,
            arguments: arguments.into(),
        }
    }

    /// Reads a message of a stream.
    pub(super) fn read(subject: &str, headers: &HeaderMap, arguments: Bytes) -> Self {
        let text = |name| headers.get(name).map(|value| value.as_str().to_owned());
        let called = subject::called(subject).unwrap_or_default();
        Stored {
            id: called.id,
            key: Key {
                target: called.component.into(),
                interface: called.interface.into(),
                function: called.function.into(),
            },
            caller: text(CALLER).unwrap_or_default(),
            trace: text(TRACE).unwrap_or_default(),
            traceparent: text(TRACEPARENT).map(|parent| match text(TRACESTATE) {
                Some(state) => format!("{parent} {state}"),
                None => parent,
            }),
            hops: number(headers, HOPS),
            digest: text(TYPE),
            stored: number(headers, STORED),
            due: headers.get(DUE).and_then(|due| due.as_str().parse().ok()),
            attempts: number(headers, ATTEMPTS),
            reason: text(REASON),
            arguments,
        }
    }

    /// Its headers, with `message_id` as `Nats-Msg-Id`.
    pub(super) fn headers(&self, message_id: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut add = |name: HeaderName, value: &str| {
            // A header cannot contain a line break, and none of these values has one.
            if let Ok(value) = value.parse::<HeaderValue>() {
                headers.insert(name, value);
            }
        };
        add(NATS_MESSAGE_ID, message_id);
        add(HeaderName::from_static(CALLER), &self.caller);
        add(HeaderName::from_static(TRACE), &self.trace);
        if let Some(carried) = &self.traceparent {
            let (parent, state) = carried.split_once(' ').unwrap_or((carried, ""));
            add(HeaderName::from_static(TRACEPARENT), parent);
            if !state.is_empty() {
                add(HeaderName::from_static(TRACESTATE), state);
            }
        }
        add(HeaderName::from_static(HOPS), &self.hops.to_string());
        if let Some(digest) = &self.digest {
            add(HeaderName::from_static(TYPE), digest);
        }
        add(HeaderName::from_static(STORED), &self.stored.to_string());
        if let Some(due) = self.due {
            add(HeaderName::from_static(DUE), &due.to_string());
        }
        if self.attempts > 0 {
            add(HeaderName::from_static(ATTEMPTS), &self.attempts.to_string());
        }
        if let Some(reason) = &self.reason {
            add(HeaderName::from_static(REASON), &kept(reason));
        }
        headers
    }

    /// Its subject in the stream of messages to deliver.
    pub(super) fn durable_subject(&self, subjects: &Subjects) -> String {
        let Key { target, interface, function } = &self.key;
        format!("{}.{}", subjects.durable(target, interface, function), self.id)
    }

    /// Its subject as a dead letter.
    pub(super) fn dead_subject(&self, subjects: &Subjects) -> String {
        let Key { target, interface, function } = &self.key;
        format!("{}.{}", subjects.dead(target, interface, function), self.id)
    }

    /// Until when a delayed message still waits.
    pub(super) fn waits_until(&self, now: i64) -> Option<i64> {
        self.due.filter(|due| *due > now)
    }

    /// The message as [`DeliveryWorker`](crate::durable::deliver::DeliveryWorker) takes it, for attempt number
    /// `attempt`.
    pub(super) fn message(&self, attempt: u32, reason: Option<String>) -> Message {
        Message {
            id: self.id.clone(),
            key: self.key.clone(),
            caller: self.caller.clone(),
            trace: self.trace.clone(),
            traceparent: self.traceparent.clone(),
            hops: self.hops,
            attempt,
            reason,
            digest: self.digest.clone(),
            arguments: String::from_utf8_lossy(&self.arguments).into_owned(),
        }
    }
}

fn number<T: std::str::FromStr + Default>(headers: &HeaderMap, name: &str) -> T {
    headers.get(name).and_then(|value| value.as_str().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let key = Key { target: "or_ders".into(), interface: "n:p/i@1.0.0-rc.1".into(), function: "mark-paid".into() };
        let new = NewMessage {
            key: key.clone(),
            caller: "webhook".into(),
            trace: "t-1".into(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 vendor=1".to_owned()),
            hops: 3,
            due: Some(7),
            digest: "d1".into(),
            arguments: r#"{"n":1}"#.to_owned(),
        };
        let subjects = Subjects::of("My store");
        let written = Stored {
            attempts: 7,
            reason: Some("two\nlines, and a bell \u{7}".to_owned()),
            ..Stored::new("0198-a".to_owned(), new)
        };
        for subject in [written.durable_subject(&subjects), written.dead_subject(&subjects)] {
            let read = Stored::read(&subject, &written.headers("m"), written.arguments.clone());
            assert_eq!((&read.id, &read.key, &read.caller), (&written.id, &key, &written.caller));
            assert_eq!((&read.trace, read.hops, read.stored, read.due), (&written.trace, 3, written.stored, Some(7)));
            assert_eq!(read.traceparent, written.traceparent);
            assert_eq!(read.digest.as_deref(), Some("d1"));
            assert_eq!((read.attempts, read.reason), (7, written.reason.as_deref().map(kept)));
            assert_eq!(read.arguments, written.arguments);
        }
    }

    #[test]
    fn a_foreign_message_is_read_as_a_message_for_no_function() {
        let read = Stored::read("souk.a.durable.x", &HeaderMap::new(), Bytes::from_static(b"\xff"));
        assert_eq!((read.id.as_str(), &*read.key.target, read.attempts, read.hops), ("", "", 0, 0));
    }
}
