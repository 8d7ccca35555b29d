//! The place of a call in its trace, in the headers of a message on NATS: `traceparent` and `tracestate`, as in HTTP.

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use souk_bindings::trace::{Parent, Span};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Adds the headers, if there is a trace.
pub(crate) fn write(span: &Span, headers: &mut HeaderMap) {
    // Neither has a line break, which is all that NATS refuses.
    let value = |text: &str| text.parse::<HeaderValue>().unwrap_or_default();
    let Some(parent) = span.traceparent() else { return };
    headers.insert(TRACEPARENT, value(&parent));
    if let Some(state) = span.tracestate() {
        headers.insert(TRACESTATE, value(state));
    }
}

/// Reads the headers; `None` if they are missing or invalid.
pub(crate) fn read(headers: &HeaderMap) -> Option<Parent> {
    let parent = headers.get(TRACEPARENT)?.as_str();
    Parent::parse(parent, headers.get(TRACESTATE).map(HeaderValue::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_bindings::trace::Tracer;

    #[test]
    fn a_place_in_a_trace_is_read_as_it_was_written() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for state in [None, Some("vendor=1")] {
            let mut headers = HeaderMap::new();
            write(&Tracer::sampled(1.0, true).joined(Parent::parse(PARENT, state)), &mut headers);
            assert_eq!(read(&headers), Parent::parse(PARENT, state));
        }
        let mut headers = HeaderMap::new();
        write(&Span::default(), &mut headers);
        assert!(headers.is_empty() && read(&headers).is_none());
        headers.insert(TRACEPARENT, HeaderValue::from("00-nonsense"));
        assert!(read(&headers).is_none());
    }
}
