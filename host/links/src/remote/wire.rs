//! Writes and reads the headers of calls and answers; no other module does, except for those of a trace
//! ([`trace_headers`]).
//!
//! Anyone who may publish on the application's subjects can send anything, so no header is trusted: numbers are
//! bounded, and a trace that could forge a line in the log is replaced.

use super::MAX_CLOCK_SKEW;
use crate::trace_headers;
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use souk_bindings::call::{CallContext, DRAWS, MAX_HOPS};
use souk_bindings::trace::Parent;
use souk_runtime::Failure;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CALL: HeaderName = HeaderName::from_static("Souk-Call");
const TIMEOUT: HeaderName = HeaderName::from_static("Souk-Timeout");
const DEADLINE: HeaderName = HeaderName::from_static("Souk-Deadline");
const TRACE: HeaderName = HeaderName::from_static("Souk-Trace");
const HOPS: HeaderName = HeaderName::from_static("Souk-Hops");
const DRAW: HeaderName = HeaderName::from_static("Souk-Draw");
const CALLER: HeaderName = HeaderName::from_static("Souk-Caller");
const WORKING: HeaderName = HeaderName::from_static("Souk-Working");

souk_manifest::fixed_limits! {
    /// The fixed limits of headers.
    pub(crate) const FIXED_LIMITS = "remote";

    /// The longest id, trace or name that is accepted in a message.
    const MAX_NAME_BYTES: usize = 128, bytes;
}

/// What a message of a call has besides its payload.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The call's id; `None` for a call that is sent by hand.
    pub id: Option<String>,
    /// The component that calls.
    pub caller: String,
    /// Its deadline, trace and hops, after this host's checks.
    pub context: CallContext,
    /// Its place in the trace of requests.
    pub parent: Option<Parent>,
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = souk_manifest::clock::since_epoch();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A text as a header's value; empty if it has a line break, which NATS cannot escape.
fn value(text: &str) -> HeaderValue {
    text.parse().unwrap_or_default()
}

/// The headers of the call `id`, made by `caller` with `context`.
pub(super) fn call(id: &str, caller: &str, context: &CallContext) -> HeaderMap {
    let left = millis(context.remaining());
    let mut headers = HeaderMap::new();
    headers.insert(CALL, value(id));
    headers.insert(TIMEOUT, HeaderValue::from(left));
    headers.insert(DEADLINE, HeaderValue::from(now().saturating_add(left)));
    headers.insert(TRACE, value(&context.trace));
    headers.insert(HOPS, HeaderValue::from(u64::from(context.hops)));
    headers.insert(DRAW, HeaderValue::from(u64::from(context.draw)));
    headers.insert(CALLER, value(caller));
    trace_headers::write(&context.span, &mut headers);
    headers
}

/// Reads the headers of a call to a component whose calls may take `most`.
///
/// # Errors
/// Why the call must not be started, and a text about it for the log.
pub(super) fn read(headers: Option<&HeaderMap>, most: Duration) -> Result<Envelope, (Failure, String)> {
    let empty = HeaderMap::new();
    let headers = headers.unwrap_or(&empty);
    let text = |name: HeaderName| headers.get(name).map(HeaderValue::as_str);
    let number = |name: HeaderName| match text(name.clone()).map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err((Failure::Mismatch, format!("the header {name} is not a number"))),
    };
    let (timeout, deadline, hops) = (number(TIMEOUT)?, number(DEADLINE)?, number(HOPS)?.unwrap_or(1));
    let hops = u8::try_from(hops).ok().filter(|hops| *hops <= MAX_HOPS);
    let Some(hops) = hops else { return Err((Failure::TooManyHops, String::new())) };
    if timeout == Some(0) || deadline.is_some_and(|deadline| deadline.saturating_add(millis(MAX_CLOCK_SKEW)) < now()) {
        return Err((Failure::Deadline, "it had passed when the call arrived".to_owned()));
    }
    let timeout = timeout.map_or(most, |left| most.min(Duration::from_millis(left)));
    let trace = text(TRACE).filter(|trace| is_plain(trace)).map(Arc::from);
    let trace = trace.unwrap_or_else(|| format!("nats-{}", Uuid::now_v7().simple()).into());
    let drawn = CallContext::new(trace, timeout);
    let draw = number(DRAW)?.and_then(|draw| u16::try_from(draw).ok()).map_or(drawn.draw, |draw| draw % DRAWS);
    Ok(Envelope {
        id: text(CALL).filter(|id| is_plain(id)).map(str::to_owned),
        caller: text(CALLER).filter(|name| is_plain(name)).unwrap_or("-").to_owned(),
        context: CallContext { hops, draw, ..drawn },
        parent: trace_headers::read(headers),
    })
}

/// The id in a cancellation; `None` when the payload is not an id.
pub(super) fn id(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload).ok().filter(|id| is_plain(id))
}

/// Whether a text has only characters of ids and names, so that it cannot start a new line or field in the log.
fn is_plain(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(&b))
}

/// The headers of a message which reports that a call runs.
pub(super) fn working() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(WORKING, HeaderValue::from(1_u64));
    headers
}

/// Whether a message only reports that its call runs.
pub(super) fn is_working(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| headers.get(WORKING).is_some())
}

/// Every failure with its code for NATS's service API. An answer also has the failure's name, because some failures
/// share a code.
const CODES: [(Failure, u64); 11] = [
    (Failure::Overloaded, 503),
    (Failure::Deadline, 504),
    (Failure::Trapped, 500),
    (Failure::Instantiation, 500),
    (Failure::TooManyHops, 508),
    (Failure::NotExported, 404),
    (Failure::Mismatch, 400),
    (Failure::RequestTooLarge, 413),
    (Failure::ResponseTooLarge, 507),
    (Failure::Lost, 502),
    (Failure::Unreachable, 503),
];

/// The code of a failure.
pub(super) fn code(failure: Failure) -> u64 {
    CODES.iter().find(|(known, _)| *known == failure).map_or(500, |(_, code)| *code)
}

/// The headers of the answer to a failed call.
pub(super) fn failed(failure: Failure) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_SERVICE_ERROR, failure.name());
    headers.insert(NATS_SERVICE_ERROR_CODE, HeaderValue::from(code(failure)));
    headers
}

/// Why the call failed, read from the headers of its answer; `None` when it did not. An unknown failure, from another
/// version of Souk or another program, counts as a trap of the callee.
pub(super) fn failure(headers: Option<&HeaderMap>) -> Option<Failure> {
    let headers = headers?;
    let code = headers.get(NATS_SERVICE_ERROR_CODE).map(HeaderValue::as_str);
    let text = headers.get(NATS_SERVICE_ERROR).map(HeaderValue::as_str);
    if code.is_none() && text.is_none() {
        return None;
    }
    let named = CODES.iter().find(|(failure, _)| text == Some(failure.name()));
    let code: Option<u64> = code.and_then(|code| code.parse().ok());
    let coded = || CODES.iter().find(|(_, known)| code == Some(*known));
    Some(named.or_else(coded).map_or(Failure::Trapped, |(failure, _)| *failure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX_CALL_TIME: Duration = Duration::from_secs(30);

    fn with(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn a_call_sent_by_hand_without_headers_is_taken_with_the_components_own_deadline() {
        let envelope = read(None, MAX_CALL_TIME).unwrap();
        assert_eq!((envelope.id, envelope.caller.as_str(), envelope.context.hops), (None, "-", 1));
        assert!(envelope.context.remaining() <= MAX_CALL_TIME && envelope.context.remaining() > MAX_CALL_TIME / 2);
        assert!(envelope.context.trace.starts_with("nats-"));
    }

    #[test]
    fn a_call_brings_its_place_in_the_trace_and_what_is_none_is_left_out() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let known = Parent::parse(parent, Some("vendor=1"));
        let span = souk_bindings::trace::Tracer::sampled(1.0, true).joined(known.clone());
        let context = CallContext { span, ..CallContext::new("t", MAX_CALL_TIME) };
        assert_eq!(read(Some(&call("c", "caller", &context)), MAX_CALL_TIME).unwrap().parent, known);
        assert!(
            read(Some(&call("c", "caller", &CallContext::new("t", MAX_CALL_TIME))), MAX_CALL_TIME)
                .unwrap()
                .parent
                .is_none()
        );
        assert!(read(Some(&with(&[("traceparent", "00-nonsense")])), MAX_CALL_TIME).unwrap().parent.is_none());
    }

    #[test]
    fn a_header_that_is_wrong_is_named_and_starts_nothing() {
        let hops = (u64::from(MAX_HOPS) + 1).to_string();
        for (name, text, failure) in [
            ("Souk-Timeout", "soon", Failure::Mismatch),
            ("Souk-Timeout", "-1", Failure::Mismatch),
            ("Souk-Deadline", "1e3", Failure::Mismatch),
            ("Souk-Hops", "", Failure::Mismatch),
            ("Souk-Hops", "99999999999999999999999", Failure::Mismatch),
            ("Souk-Hops", hops.as_str(), Failure::TooManyHops),
            ("Souk-Hops", "4294967297", Failure::TooManyHops),
            ("Souk-Deadline", "1", Failure::Deadline),
            ("Souk-Timeout", "0", Failure::Deadline),
        ] {
            let (found, detail) = read(Some(&with(&[(name, text)])), MAX_CALL_TIME).unwrap_err();
            assert_eq!(found, failure, "{name}: {text}");
            assert!(failure != Failure::Mismatch || detail.contains(name), "{detail}");
        }
    }

    #[test]
    fn the_sooner_of_the_two_limits_counts_and_a_clock_that_is_behind_by_little_is_borne() {
        let left =
            |pairs: &[(&'static str, &str)]| read(Some(&with(pairs)), MAX_CALL_TIME).unwrap().context.remaining();
        assert!(left(&[("Souk-Timeout", "18446744073709551615")]) <= MAX_CALL_TIME);
        assert!(left(&[("Souk-Timeout", "5000")]) <= Duration::from_secs(5));
        let behind = (now() - millis(MAX_CLOCK_SKEW) / 2).to_string();
        assert!(left(&[("Souk-Timeout", "5000"), ("Souk-Deadline", &behind)]) > Duration::from_secs(1));
        let ahead = u64::MAX.to_string();
        assert!(left(&[("Souk-Deadline", &ahead)]) <= MAX_CALL_TIME);
    }

    #[test]
    fn a_trace_or_name_that_could_forge_a_log_line_is_not_taken() {
        for text in ["a b", "a\u{1b}[2J", "ü", "", &"x".repeat(MAX_NAME_BYTES + 1)] {
            let envelope =
                read(Some(&with(&[("Souk-Trace", text), ("Souk-Call", text), ("Souk-Caller", text)])), MAX_CALL_TIME)
                    .unwrap();
            assert!(envelope.context.trace.starts_with("nats-"), "{text}");
            assert_eq!((envelope.id, envelope.caller.as_str()), (None, "-"), "{text}");
        }
    }

    #[test]
    fn every_failure_is_the_same_at_the_other_end() {
        for (failed_with, code) in CODES {
            let headers = failed(failed_with);
            assert_eq!(failure(Some(&headers)), Some(failed_with));
            assert_eq!(headers.get(NATS_SERVICE_ERROR_CODE).unwrap().as_str(), code.to_string());
        }
        assert_eq!(failure(None), None);
        assert_eq!(failure(Some(&HeaderMap::new())), None);
        assert_eq!(failure(Some(&working())), None);
        let of = |pairs: &[(&'static str, &str)]| failure(Some(&with(pairs)));
        assert_eq!(of(&[(NATS_SERVICE_ERROR_CODE, "504")]), Some(Failure::Deadline));
        assert_eq!(of(&[(NATS_SERVICE_ERROR_CODE, "junk"), (NATS_SERVICE_ERROR, "junk")]), Some(Failure::Trapped));
        assert_eq!(of(&[(NATS_SERVICE_ERROR, "junk")]), Some(Failure::Trapped));
    }

    proptest! {
        #[test]
        fn a_calls_context_crosses_with_its_trace_and_hops_and_never_gains_time(
            id in "[a-zA-Z0-9-]{1,40}", trace in "[a-zA-Z0-9_.:+/=-]{1,128}", caller in "[a-z][a-z0-9-]{0,30}",
            hops in 0..=MAX_HOPS, left in 1_000_u64..100_000,
        ) {
            let context = CallContext { hops, ..CallContext::new(trace.as_str(), Duration::from_millis(left)) };
            let read = read(Some(&call(&id, &caller, &context)), MAX_CALL_TIME).unwrap();
            prop_assert_eq!(read.id, Some(id));
            prop_assert_eq!(read.caller, caller);
            prop_assert_eq!(&*read.context.trace, trace.as_str());
            prop_assert_eq!((read.context.hops, read.context.draw), (hops, context.draw));
            prop_assert!(read.context.remaining() <= MAX_CALL_TIME.min(Duration::from_millis(left)));
        }

        #[test]
        fn no_header_can_do_harm(texts in proptest::collection::vec("\\PC*", 6)) {
            let names = ["Souk-Call", "Souk-Timeout", "Souk-Deadline", "Souk-Trace", "Souk-Hops", "Souk-Caller"];
            let pairs: Vec<_> = names.iter().zip(&texts).map(|(name, text)| (*name, text.as_str())).collect();
            let _ = read(Some(&with(&pairs)), MAX_CALL_TIME);
        }
    }
}
