//! Fuzz target: any bytes as a message of another host: the headers of a call, a request, a response.

use super::{http, wire};
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use std::time::Duration;

/// The longest that a call may take here.
const MAX_CALL_TIME: Duration = Duration::from_secs(30);

/// Headers as `Name: value` lines up to an empty one, then a payload.
///
/// # Panics
/// When a call could last longer than calls may here, or a text of it could start a new line in the log.
pub fn message(data: &[u8]) {
    let end = data.windows(2).position(|window| window == b"\n\n").unwrap_or(data.len());
    let (head, payload) = data.split_at(end);
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(head).lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
    if let Ok(envelope) = wire::read(Some(&headers), MAX_CALL_TIME) {
        assert!(envelope.context.remaining() <= MAX_CALL_TIME, "longer than a call here may take");
        assert!(!envelope.context.trace.chars().any(char::is_control), "a trace with a control character");
        assert!(!envelope.caller.chars().any(char::is_control), "a name with a control character");
    }
    let payload = Bytes::copy_from_slice(payload.get(2..).unwrap_or_default());
    let _ = wire::id(&payload);
    let _ = http::read_request(payload.clone());
    let _ = http::read_response(payload.clone(), true);
    let _ = http::read_response(payload, false);
}
