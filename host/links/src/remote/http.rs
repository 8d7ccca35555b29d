//! HTTP requests and responses as messages: a head as one line of JSON, and the body's bytes.
//!
//! ```text
//! {"method":"GET","uri":"http://localhost/api/x","headers":[["host","localhost"]]}
//! ```
//!
//! The URI is absolute, as in `wasi:http`. Each byte of a header's value is written as the character with that code
//! (ISO 8859-1), so that no byte is changed. The HTTP edge has already added the client's address to the headers.
//! Bodies are sent as a whole, so a response that never ends fails at the call's deadline. Trailers are known when the
//! head is written, and are in the head as `trailers`, if there are any. A message is refused if the body does not have
//! the length that the head declares ([`framing`]).

use super::whole_body::{Trailers, Whole, whole};
use super::{Remote, Target};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use souk_bindings::call::CallContext;
use souk_bindings::framing::{self, has_no_content};
use souk_runtime::{CallError, Failure, ResponseBody};
use std::sync::Arc;

souk_manifest::fixed_limits! {
    /// The fixed limits of HTTP requests between hosts.
    pub(crate) const FIXED_LIMITS = "remote";

    /// The part of a message that is reserved for its NATS headers.
    pub const HEADROOM_BYTES: usize = 1024, bytes;
    /// The most bytes of the head of a request: twice the most that the HTTP edge can be configured to accept. Once
    /// read, it takes many times as much memory.
    pub const MAX_HEAD_BYTES: usize = 2 << 20, bytes;
    /// The most headers of a request or a response; each takes many times its bytes in memory.
    pub(super) const MAX_HEADERS: usize = 1024, "headers";
}

/// Why a message is not a valid request or response.
#[derive(Debug, thiserror::Error)]
#[error("is invalid: {0}")]
pub struct Malformed(String);

impl Malformed {
    fn new(error: impl ToString) -> Self {
        Malformed(error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct RequestHead {
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct ResponseHead {
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(String, String)>,
}

/// The trailers in `extensions`, for a head.
fn trailer_texts(extensions: &http::Extensions) -> Vec<(String, String)> {
    extensions.get::<Trailers>().map(|Trailers(trailers)| texts(trailers)).unwrap_or_default()
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn headers(texts: Vec<(String, String)>) -> Result<HeaderMap, Malformed> {
    if texts.len() > MAX_HEADERS {
        return Err(Malformed::new(format_args!("it has more than {MAX_HEADERS} headers")));
    }
    let mut headers = HeaderMap::new();
    for (name, text) in texts {
        let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        let value = HeaderValue::from_maybe_shared(Bytes::from(bytes.map_err(Malformed::new)?));
        let name = HeaderName::try_from(name).map_err(Malformed::new)?;
        headers.try_append(name, value.map_err(Malformed::new)?).map_err(Malformed::new)?;
    }
    Ok(headers)
}

fn join(head: &impl Serialize, body: &[u8]) -> Bytes {
    // Strings and numbers can always be written as JSON.
    let head = serde_json::to_vec(head).unwrap_or_default();
    let mut message = BytesMut::with_capacity(head.len() + 1 + body.len());
    message.put_slice(&head);
    message.put_u8(b'\n');
    message.put_slice(body);
    message.freeze()
}

fn split<H: serde::de::DeserializeOwned>(mut message: Bytes) -> Result<(H, Bytes), Malformed> {
    let end = message.iter().take(MAX_HEAD_BYTES + 1).position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| Malformed::new(format_args!("it has no head of {MAX_HEAD_BYTES} bytes at most")))?;
    let head = message.split_to(end);
    let body = message.split_off(1);
    Ok((serde_json::from_slice(&head).map_err(Malformed::new)?, body))
}

fn write_request(request: &Request<Bytes>) -> Bytes {
    let head = RequestHead {
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        headers: texts(request.headers()),
        trailers: trailer_texts(request.extensions()),
    };
    join(&head, request.body())
}

/// Reads the request in a message.
pub(super) fn read_request(message: Bytes) -> Result<Request<Whole>, Malformed> {
    let (head, body): (RequestHead, Bytes) = split(message)?;
    let length = body.len();
    let trailers = headers(head.trailers)?;
    let mut request = Request::new(whole(body, (!trailers.is_empty()).then_some(trailers)));
    *request.method_mut() = Method::from_bytes(head.method.as_bytes()).map_err(Malformed::new)?;
    *request.uri_mut() = Uri::try_from(head.uri).map_err(Malformed::new)?;
    *request.headers_mut() = headers(head.headers)?;
    let (mut head, body) = request.into_parts();
    // `request_head` must not check this one: the HTTP edge has set it to an accepted value.
    let host = head.headers.remove(HOST);
    framing::request_head(&mut head).and_then(|count| count.whole(length)).map_err(Malformed::new)?;
    if let Some(host) = host {
        head.headers.insert(HOST, host);
    }
    Ok(Request::from_parts(head, body))
}

/// Reads the component's response to its end, up to `most` bytes, and writes it as a message. When a response has no
/// content by definition (an answer to HEAD, 204, 304), its body is not read, even if its head announces a length.
pub(super) async fn write_whole(
    response: Response<ResponseBody>,
    to_head: bool,
    most: usize,
    component: &Arc<str>,
) -> Result<Bytes, CallError> {
    let failed = |failure, detail: String| CallError::new(component, failure, detail);
    let (head, mut body) = response.into_parts();
    let mut response_head =
        ResponseHead { status: head.status.as_u16(), headers: texts(&head.headers), trailers: Vec::new() };
    if has_no_content(head.status) || to_head && head.headers.contains_key(CONTENT_LENGTH) {
        body.detach();
        return Ok(join(&response_head, &[]));
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(Failure::Trapped, format!("the body broke off: {error}")))?;
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => {
                response_head.trailers = other.into_trailers().map(|trailers| texts(&trailers)).unwrap_or_default();
                continue;
            }
        };
        if bytes.len() + data.len() > most {
            let detail = format!(
                "the response has more than {most} bytes, and a message may not; raise `max_payload` of the NATS server, or \
                 run the component on the hosts that clients reach"
            );
            return Err(failed(Failure::ResponseTooLarge, detail));
        }
        bytes.put(data);
    }
    Ok(join(&response_head, &bytes))
}

/// Reads the response in a message.
pub(super) fn read_response(message: Bytes, to_head: bool) -> Result<Response<Bytes>, Malformed> {
    let (head, body): (ResponseHead, Bytes) = split(message)?;
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(Malformed::new)?;
    *response.headers_mut() = headers(head.headers)?;
    let mut trailers = headers(head.trailers)?;
    let (mut head, body) = response.into_parts();
    // The other host has checked it already, but this one does not rely on that.
    framing::response_head(&mut head, to_head).and_then(|count| count.whole(body.len())).map_err(Malformed::new)?;
    framing::clean_trailers(&mut trailers);
    if trailers.is_empty() {
        head.headers.remove(TRAILER);
    }
    let mut response = Response::from_parts(head, body);
    Trailers::put(response.extensions_mut(), Some(trailers));
    Ok(response)
}

/// A component on another host, reached by HTTP.
#[derive(Clone)]
pub struct Handler {
    remote: Remote,
    /// For requests that may be sent again when it is unknown whether they were done.
    idempotent: Target,
    /// For all other requests.
    once: Target,
}

impl Handler {
    /// A handler for `component`.
    pub fn new(remote: &Remote, component: &str) -> Self {
        let component = component.into();
        let target = |idempotent| Target::http(remote, &component, idempotent);
        Handler { remote: remote.clone(), idempotent: target(true), once: target(false) }
    }

    /// The component.
    pub fn component(&self) -> &Arc<str> {
        &self.once.component
    }

    /// The most bytes of a request, with head and body.
    pub fn max_request_bytes(&self) -> usize {
        self.remote.max_payload().saturating_sub(HEADROOM_BYTES)
    }

    /// Sends `request` of `caller` to the component. Dropping the future cancels the request.
    ///
    /// # Errors
    /// As [`Remote::call`]; also when a body or a response is larger than a message may be.
    pub async fn handle(
        &self,
        request: &Request<Bytes>,
        caller: &str,
        context: &CallContext,
    ) -> Result<Response<Bytes>, CallError> {
        // RFC 9110, section 9.2.1.
        let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let target = if safe { &self.idempotent } else { &self.once };
        let answer = self.remote.call(target, caller, write_request(request), context).await?;
        read_response(answer, *request.method() == Method::HEAD)
            .map_err(|error| CallError::new(&target.component, Failure::Mismatch, format_args!("the response {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Headers with unknown names only, because connection headers do not cross.
    fn any_headers() -> impl Strategy<Value = HeaderMap> {
        let value = proptest::collection::vec(prop_oneof![Just(9_u8), 32..=126_u8, 128..=255_u8], 0..20);
        proptest::collection::vec(("x[a-z0-9-]{0,10}", value), 0..8).prop_map(|pairs| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(&value).unwrap());
            }
            headers
        })
    }

    /// The body of a request, and its trailers.
    async fn body(request: Request<Whole>) -> (Bytes, Option<HeaderMap>) {
        let body = request.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned();
        (body.to_bytes(), trailers)
    }

    proptest! {
        #[test]
        fn a_request_arrives_byte_for_byte(
            method in "[A-Z]{1,8}", path in "/[a-z0-9/?=&%20]{0,20}", headers in any_headers(),
            trailers in any_headers(), sent: Vec<u8>,
        ) {
            let mut request = Request::new(Bytes::from(sent));
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            let Ok(uri) = Uri::try_from(format!("http://shop.test:3000{path}")) else { return Ok(()) };
            *request.uri_mut() = uri;
            *request.headers_mut() = headers;
            Trailers::put(request.extensions_mut(), Some(trailers.clone()));
            let read = read_request(write_request(&request)).unwrap();
            prop_assert_eq!(read.method(), request.method());
            prop_assert_eq!(read.uri(), request.uri());
            prop_assert_eq!(read.headers(), request.headers());
            let (body, arrived) = futures::executor::block_on(body(read));
            prop_assert_eq!(&body, request.body());
            prop_assert_eq!(arrived.unwrap_or_default(), trailers);
        }

        #[test]
        fn a_response_arrives_byte_for_byte(
            status in 200_u16..600, headers in any_headers(), trailers in any_headers(), sent: Vec<u8>,
        ) {
            let head = ResponseHead { status, headers: texts(&headers), trailers: texts(&trailers) };
            let mut read = read_response(join(&head, &sent), false).unwrap();
            prop_assert_eq!(read.status().as_u16(), status);
            prop_assert_eq!(read.headers(), &headers);
            prop_assert_eq!(&read.body()[..], &sent[..]);
            prop_assert_eq!(Trailers::take(read.extensions_mut()).unwrap_or_default(), trailers);
        }

        #[test]
        fn no_message_can_do_harm(message: Vec<u8>) {
            let _ = read_request(message.clone().into());
            let _ = read_response(message.into(), false);
        }
    }

    #[test]
    fn a_message_never_speaks_for_the_callers_connection() {
        let message = "{\"status\":200,\"headers\":[[\"connection\",\"close\"],[\"transfer-encoding\",\"chunked\"],\
                       [\"content-length\",\"2\"],[\"trailer\",\"x-sum\"]]}\nhi";
        let read = read_response(Bytes::from_static(message.as_bytes()), false).unwrap();
        let names: Vec<_> = read.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!((names.as_slice(), &read.body()[..]), (&["content-length"][..], &b"hi"[..]));
        // A length without content is right only in an answer to HEAD.
        let message = Bytes::from_static(b"{\"status\":200,\"headers\":[[\"content-length\",\"10\"]]}\n");
        assert!(read_response(message.clone(), false).is_err());
        assert_eq!(read_response(message, true).unwrap().headers()["content-length"], "10");

        let message = b"{\"method\":\"POST\",\"uri\":\"http://a/\",\"headers\":[[\"content-length\",\"3\"]]}\nhi";
        assert!(read_request(Bytes::from_static(message)).is_err());
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let headers: Vec<_> = (0..40_000).map(|n| format!("[\"h{n}\",\"\"]")).collect();
        let long = format!("{{\"status\":200,\"headers\":[]{}}}\n", " ".repeat(MAX_HEAD_BYTES));
        let many = format!("{{\"status\":200,\"headers\":[{}]}}\n", headers.join(","));
        for message in [
            "",
            "{}",
            "{}\n",
            "{\"status\":99,\"headers\":[]}\n",
            "{\"status\":200,\"headers\":[[\"a b\",\"\"]]}\n",
            "{\"status\":200,\"headers\":[[\"a\",\"\\n\"]]}\n",
            "{\"status\":200,\"headers\":[[\"a\",\"\u{100}\"]]}\n",
            "{\"status\":101,\"headers\":[]}\n",
            "{\"status\":200,\"headers\":[[\"content-length\",\"3\"]]}\nhi",
            "{\"status\":200,\"headers\":[[\"content-length\",\"1\"]]}\nhi",
            "{\"status\":200,\"headers\":[[\"content-length\",\"2\"],[\"content-length\",\"3\"]]}\nhi",
            many.as_str(),
            long.as_str(),
        ] {
            assert!(read_response(Bytes::copy_from_slice(message.as_bytes()), false).is_err(), "{message:.60}");
        }
    }
}
