//! Requests to components that answer them as plain values (`souk:http/handler`, in `wit/http`).
//!
//! `wasi:http` represents a request as a resource, with another resource for its fields, two streams, three futures and
//! a task. A component that reads its whole body and writes its whole answer at once needs none of them, but pays for
//! all. So it may also export a function from one record to another. Everything around the call is the same: version,
//! instance, deadline, boundary, framing, errors.
//!
//! Only a caller that has the complete request can use it; the caller decides this ([`Plain`]). The response must fit too;
//! the guest decides this: with the status 0 it refuses to answer a request as plain values, and gets it by `wasi:http`.

use super::error::{CallError, Failure};
use super::http::RequestMeasurement;
use super::panic;
use super::plain_interface::{INTERFACE, PlainRequest, PlainResponse};
use super::pool::{InUse, Lease, Pool};
use super::recorded;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use souk_bindings::call::CallContext;
use souk_bindings::trace::Span;
use souk_bindings::{MAX_LARGE_HEADERS_BYTES, framing};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use wasmtime::Result;
use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

/// The status of a response that does not fit into the interface.
const DOES_NOT_FIT: u16 = 0;

/// A version of a component, chosen for one request, which it can answer as plain values.
pub struct Plain {
    pool: Arc<Pool>,
    version: InUse,
}

impl Pool {
    /// The version for a request with this draw, if it answers requests as plain values.
    pub fn plain(self: &Arc<Self>, draw: u16) -> Option<Plain> {
        let version = self.choose(draw);
        version.0.compiled.plain.is_some().then(|| Plain { pool: self.clone(), version })
    }

    fn refused(&self, why: impl std::fmt::Display) -> CallError {
        self.error(Failure::Trapped, why)
    }
}

impl Plain {
    /// Lets the component answer `request`, in the caller's task. Dropping the future ends the call. Returns `None` if the
    /// response does not fit into plain values: the caller then sends the request through [`Pool::handle`].
    ///
    /// # Errors
    /// When no instance was available, the guest trapped or returned an invalid response, or `context`'s deadline
    /// passed.
    pub async fn handle(
        self,
        request: &mut http::Request<Bytes>,
        mut context: CallContext,
    ) -> std::result::Result<Option<http::Response<Bytes>>, CallError> {
        let Plain { pool, version } = self;
        let measurement = RequestMeasurement::begin(&version, &mut context);
        let tape = version.0.record_plain(request, &mut context);
        let mut answer = pin!(pool.answer_plain(version, request, context));
        let answered = match answer.as_mut().await {
            Ok(response) if response.body().is_none() => {
                measurement.end_uncounted();
                return Ok(None);
            }
            answered => measurement.end(answered).map(whole).transpose(),
        };
        if let (Some(tape), Some(answered)) = (tape, &answered) {
            recorded::end_plain(&tape, answered);
        }
        answered.transpose()
    }
}

/// A response with its body, if it fits into plain values.
fn whole(response: http::Response<Option<Bytes>>) -> Option<http::Response<Bytes>> {
    let (head, body) = response.into_parts();
    Some(http::Response::from_parts(head, body?))
}

impl Pool {
    /// Returns a response without a body if the guest's response does not fit into plain values.
    async fn answer_plain(
        self: &Arc<Self>,
        version: InUse,
        request: &http::Request<Bytes>,
        context: CallContext,
    ) -> std::result::Result<http::Response<Option<Bytes>>, CallError> {
        let (deadline, trace) = (context.deadline, context.trace.clone());
        let mut run = pin!(self.run_plain(version, request, context));
        let (response, rest) = match tokio::time::timeout_at(deadline, run.as_mut()).await {
            Ok(returned) => returned?,
            Err(_) => return Err(self.late()),
        };
        if let Some(lease) = rest {
            self.clone().go_on(lease, deadline, trace);
        }
        match response.status {
            DOES_NOT_FIT => Ok(http::Response::new(None)),
            _ => Ok(self.response(response)?.map(Some)),
        }
    }

    /// Calls the guest until it returns. Returns the lease if the guest still works after its return.
    async fn run_plain(
        self: &Arc<Self>,
        version: InUse,
        request: &http::Request<Bytes>,
        context: CallContext,
    ) -> std::result::Result<(PlainResponse, Option<Lease>), CallError> {
        let mut lease = self.lease(version, context).await?;
        match invoke(&mut lease, request).await {
            Ok((response, true)) => {
                lease.give_back();
                Ok((response, None))
            }
            Ok((response, false)) => Ok((response, Some(lease))),
            Err(error) => Err(self.trapped(&error, &mut lease).await),
        }
    }

    /// A guest's response, checked like a response through `wasi:http`.
    fn response(&self, response: PlainResponse) -> std::result::Result<http::Response<Bytes>, CallError> {
        let PlainResponse { status, fields, body } = response;
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = StatusCode::from_u16(status)
            .map_err(|_| self.refused(format_args!("the guest answered with the invalid status {status}")))?;
        head.headers = headers(fields).map_err(|why| self.refused(why))?;
        let count = framing::response_head(&mut head, false).map_err(|misframed| self.refused(misframed))?;
        count.whole(body.len()).map_err(|misframed| self.refused(misframed))?;
        Ok(http::Response::from_parts(head, body))
    }
}

/// The headers of a guest's response, which may have as many bytes as one `fields` of `wasi:http`, counted in the same
/// way. So there are far fewer than the number at which a `HeaderMap` panics.
///
/// # Errors
/// When one is invalid, or they are too many.
fn headers(fields: Vec<(String, Bytes)>) -> std::result::Result<HeaderMap, String> {
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len() + size_of::<HeaderValue>()).sum();
    if bytes > MAX_LARGE_HEADERS_BYTES {
        return Err(format!(
            "the guest's response has {bytes} bytes of headers, and may have {MAX_LARGE_HEADERS_BYTES}"
        ));
    }
    let mut headers = HeaderMap::with_capacity(fields.len() + 4);
    for (name, value) in fields {
        let wrong = || format!("the guest's response has an invalid header `{name}`");
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        headers.append(key, HeaderValue::from_maybe_shared(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

/// Calls the guest and waits for its response; returns whether it does nothing after its return.
async fn invoke(lease: &mut Lease, request: &http::Request<Bytes>) -> Result<(PlainResponse, bool)> {
    let instance = &mut lease.instance;
    let Some(handle) = instance.plain else { wasmtime::bail!("{INTERFACE} is not there") };
    let slice = instance.store.data().slice.clone();
    let request = plain(request, &instance.store.data().call.span);
    let call = pin!(instance.store.run_concurrent(async |accessor| {
        let (response,) = handle.call_concurrent(accessor, (request,)).await?;
        let done = std::future::poll_fn(|cx| Poll::Ready(accessor.poll_no_interesting_tasks(cx).is_ready())).await;
        wasmtime::error::Ok((response, done))
    }));
    panic::drive(&slice, call).await?
}

/// Converts `request`, which has this place in a trace, to the interface's type.
fn plain(request: &http::Request<Bytes>, span: &Span) -> PlainRequest {
    let uri = request.uri();
    PlainRequest {
        method: request.method().as_str().to_owned(),
        target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        authority: uri.authority().map_or("", |authority| authority.as_str()).to_owned(),
        fields: fields(request.headers(), span),
        body: request.body().clone(),
    }
}

/// Headers as the lines of a message's head. Those of the trace replace the caller's, as with [`Span::write`], but are
/// neither checked nor hashed.
fn fields(headers: &HeaderMap, span: &Span) -> Vec<u8> {
    let parent = span.traceparent_bytes();
    let state = parent.and_then(|_| span.tracestate());
    let own = [("traceparent", parent.as_ref().map(<[u8; 55]>::as_slice)), ("tracestate", state.map(str::as_bytes))];
    let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let more: usize = own.iter().filter_map(|(name, value)| Some(name.len() + (*value)?.len() + 4)).sum();
    let mut lines = Vec::with_capacity(length + more);
    let mut line = |name: &str, value: &[u8]| {
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value);
        lines.extend_from_slice(b"\r\n");
    };
    for (name, value) in headers.iter().filter(|(name, _)| !DEFAULT_FORBIDDEN_HEADERS.contains(name)) {
        let name = name.as_str();
        if parent.is_none() || name != "traceparent" && name != "tracestate" {
            line(name, value.as_bytes());
        }
    }
    for (name, value) in own {
        if let Some(value) = value {
            line(name, value);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_bindings::trace::{Parent, Tracer};

    #[test]
    fn a_guest_cannot_answer_with_more_headers_than_a_head_can_have() {
        let many =
            |count, value: usize| headers((0..count).map(|n| (format!("h{n}"), vec![b'x'; value].into())).collect());
        assert_eq!(many(2_000, 10).unwrap().len(), 2_000);
        for (count, value) in [(40_000, 0), (1_000_000, 0), (1, 200_000), (100, 2_000)] {
            let error = many(count, value).unwrap_err();
            assert!(error.contains("bytes of headers, and may have 131072"), "{count} {value}: {error}");
        }
        for (name, value) in [("a b", "x"), ("", "x"), ("a", "x\r\ny: z"), ("a", "\0")] {
            let error = headers(vec![(name.to_owned(), Bytes::from_static(value.as_bytes()))]).unwrap_err();
            assert!(error.contains("invalid header"), "{error}");
        }
    }

    #[test]
    fn a_head_is_written_line_by_line_without_what_belongs_to_the_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", "shop"), ("accept", "*/*"), ("x-a", "1"), ("connection", "close")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-a", HeaderValue::from_bytes(b"\xff").unwrap());
        let request = http::Request::get("http://shop:3000/a?b").body(Bytes::from_static(b"{}")).unwrap();
        let (mut head, body) = request.into_parts();
        head.headers = headers;
        let request = plain(&http::Request::from_parts(head, body), &Span::default());
        assert_eq!(&request.fields[..], b"accept: */*\r\nx-a: 1\r\nx-a: \xff\r\n");
        assert_eq!((&*request.method, &*request.target, &*request.authority), ("GET", "/a?b", "shop:3000"));
        assert_eq!(&request.body[..], b"{}");
    }

    #[test]
    fn the_lines_of_a_trace_are_what_the_headers_of_wasi_http_would_be() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let sent = |headers: &[(&'static str, &'static str)]| -> HeaderMap {
            let header = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            headers.iter().map(header).collect()
        };
        let clients = sent(&[("traceparent", "00-mine"), ("accept", "*/*"), ("tracestate", "mine=1"), ("x-a", "1")]);
        let placed = |state| Tracer::sampled(1.0, true).joined(Parent::parse(PARENT, state));
        for (headers, span) in [
            (clients.clone(), Span::default()),
            (clients.clone(), placed(None)),
            (clients, placed(Some("vendor=1"))),
            (sent(&[]), placed(Some("vendor=1"))),
        ] {
            let mut written = headers.clone();
            span.write(&mut written);
            let sorted = |lines: Vec<u8>| {
                let text = String::from_utf8(lines).unwrap();
                let mut lines: Vec<_> = text.split_inclusive("\r\n").map(str::to_owned).collect();
                lines.sort_unstable();
                lines
            };
            assert_eq!(sorted(fields(&headers, &span)), sorted(fields(&written, &Span::default())), "{span:?}");
        }
    }
}
