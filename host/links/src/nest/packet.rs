//! The packets of `@nestjs/microservices`, as its clients and servers write them on NATS.
//!
//! | packet | JSON |
//! |---|---|
//! | request | `{"pattern":...,"data":...,"id":"..."}`, with a subject for the replies |
//! | event | `{"pattern":...,"data":...}` |
//! | reply | `{"response":...,"isDisposed":true,"id":"..."}` |
//! | error | `{"err":...,"isDisposed":true,"id":"..."}` |
//!
//! This is as lenient as Nest: `pattern` may be absent, unknown keys are ignored, and JSON that is not a packet is the
//! data of an event, or the only reply, of a program that does not use Nest. Input that is not JSON would end a Nest
//! service; here it is refused.
//!
//! Data, responses and errors stay text: the codec or the component reads them.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// `null`, the data of a packet without data.
const NULL: &str = "null";

/// A message to a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming<'a> {
    /// The data as JSON.
    pub data: &'a str,
    /// The id that the reply must repeat, as JSON; an event has none.
    pub id: Option<&'a str>,
}

/// A message to a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    /// The id of the request, if the reply has one.
    pub id: Option<String>,
    /// The response or error that it carries.
    pub outcome: Option<Outcome<'a>>,
    /// Whether it is the last one.
    pub last: bool,
}

/// The content of a reply, as JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    Response(&'a str),
    Error(&'a str),
}

#[derive(Deserialize)]
struct IncomingWire<'a> {
    #[serde(default)]
    pattern: Present,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReplyWire<'a> {
    #[serde(borrow, default)]
    err: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_disposed: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Whether a key is present, with any value.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(input).map(|_| Present(true))
    }
}

/// Reads a present `null` as `Some`, in contrast to an absent key.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(input: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(input).map(Some)
}

impl<'a> Incoming<'a> {
    /// Reads a message to a server; `None` when it is not JSON.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let whole = whole(bytes)?;
        let external = Some(Incoming { data: whole, id: None });
        if !whole.starts_with('{') {
            return external;
        }
        let wire: IncomingWire<'a> = serde_json::from_str(whole).ok()?;
        if !wire.pattern.0 && wire.data.is_none() {
            return external;
        }
        Some(Incoming { data: wire.data.map_or(NULL, RawValue::get), id: wire.id.map(RawValue::get) })
    }
}

impl<'a> Reply<'a> {
    /// Reads a message to a client; `None` when it is not JSON.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let whole = whole(bytes)?;
        let external = || Some(Reply { id: None, outcome: Some(Outcome::Response(whole)), last: true });
        if !whole.starts_with('{') {
            return external();
        }
        let wire: ReplyWire<'a> = serde_json::from_str(whole).ok()?;
        // As in JavaScript, the falsy values `false`, `0` and "" are no error and do not end a stream.
        let truthy = |value: &&RawValue| !matches!(value.get(), "false" | "0" | "\"\"");
        let (err, last) = (wire.err.filter(truthy), wire.is_disposed.filter(truthy).is_some());
        if wire.err.is_none() && wire.response.is_none() && wire.is_disposed.is_none() {
            return external();
        }
        let id = match wire.id.map(|id| serde_json::from_str(id.get())) {
            Some(Ok(serde_json::Value::String(id))) => Some(id),
            Some(Ok(other)) => Some(other.to_string()),
            _ => None,
        };
        let last = last || err.is_some();
        let outcome = match err {
            Some(err) => Some(Outcome::Error(err.get())),
            None => wire.response.map(|response| Outcome::Response(response.get())),
        };
        Some(Reply { id: id.filter(|id| !id.is_empty()), outcome, last })
    }
}

/// The single JSON value in `bytes`, without surrounding whitespace.
fn whole(bytes: &[u8]) -> Option<&str> {
    serde_json::from_slice::<&RawValue>(bytes).ok().map(RawValue::get)
}

/// A request, or an event if there is no id. `pattern` is the subject, and `data` is JSON.
pub(super) fn message(pattern: &str, data: &str, id: Option<&str>) -> String {
    // The subject of an object pattern is its JSON.
    let json = if pattern.starts_with('{') && whole(pattern.as_bytes()).is_some() {
        pattern.to_owned()
    } else {
        text(pattern)
    };
    match id {
        Some(id) => format!(r#"{{"pattern":{json},"data":{data},"id":{}}}"#, text(id)),
        None => format!(r#"{{"pattern":{json},"data":{data}}}"#),
    }
}

/// The reply to a request; `id` is the request's id, unchanged.
pub(super) fn reply(outcome: &Outcome<'_>, id: Option<&str>) -> String {
    let (key, value) = match outcome {
        Outcome::Response(json) => ("response", json),
        Outcome::Error(json) => ("err", json),
    };
    match id {
        Some(id) => format!(r#"{{"{key}":{value},"isDisposed":true,"id":{id}}}"#),
        None => format!(r#"{{"{key}":{value},"isDisposed":true}}"#),
    }
}

/// A text as JSON.
pub(super) fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
