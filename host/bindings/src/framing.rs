//! Where a guest's HTTP message ends: the host counts the bytes, and only compares the length that the guest declares
//! with the count.
//!
//! Messages of several guests follow each other on one connection. A guest that could say where its message ends, or
//! speak for the connection, could put the rest of it into another guest's message. So every head that leaves a guest
//! passes [`response_head`] or [`request_head`], and every body is counted with [`Count`], wherever it goes: to a
//! client, to another component, to another host over NATS, or to a server outside.
//!
//! A body never has more bytes than were declared. A body of another length is an error: if nothing has been sent yet,
//! the caller gets 500 instead; otherwise the connection or the stream is cut off.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request, response};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use wasmtime_wasi_http::Error;

/// Headers that describe the connection, which only the host may set, and `host`, which comes from the URI.
const CONNECTION_HEADERS: [HeaderName; 8] = [
    CONNECTION,
    HOST,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A false or impossible statement of a guest about its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misframed {
    /// A status that only the host may send, or none at all.
    #[error("the guest answered with the {kind} status {status}; fix: answer with a status from 200 to 599")]
    Status {
        /// The status.
        status: u16,
        /// What is wrong with it.
        kind: &'static str,
    },
    /// A `content-length` that is not a number.
    #[error(
        "the guest's content-length is {0:?}, which is not one number; fix: leave content-length out, the host sets it"
    )]
    NotALength(String),
    /// Fewer bytes than declared.
    #[error(
        "the guest's content-length is {declared}, but its body has {sent} bytes; \
         fix: leave content-length out, the host sets it, or write as many bytes as it says"
    )]
    Short {
        /// The declared length.
        declared: u64,
        /// The body's length.
        sent: u64,
    },
    /// More bytes than declared.
    #[error(
        "the guest's content-length is {declared}, but its body has {sent} bytes or more; \
         fix: leave content-length out, the host sets it, or write as many bytes as it says"
    )]
    Long {
        /// The declared length.
        declared: u64,
        /// The bytes that were written when it was noticed.
        sent: u64,
    },
}

impl Misframed {
    /// The number of the body's bytes, if it is known.
    fn sent(&self) -> Option<u64> {
        match self {
            Misframed::Short { sent, .. } | Misframed::Long { sent, .. } => Some(*sent),
            Misframed::Status { .. } | Misframed::NotALength(_) => None,
        }
    }

    /// The error code of a request.
    pub fn of_request(&self) -> Error {
        Error::HttpRequestBodySize(self.sent())
    }

    /// The error code of a response.
    pub fn of_response(&self) -> Error {
        Error::HttpResponseBodySize(self.sent())
    }
}

/// Counts the bytes of a body against the length that its head declares, if any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    declared: Option<u64>,
    sent: u64,
}

impl Count {
    /// Counts `bytes` more.
    ///
    /// # Errors
    /// When the total is more than was declared: none of these bytes may be sent.
    pub fn add(&mut self, bytes: usize) -> Result<(), Misframed> {
        let sent = self.sent.saturating_add(bytes as u64);
        match self.declared {
            Some(declared) if sent > declared => Err(Misframed::Long { declared, sent }),
            _ => {
                self.sent = sent;
                Ok(())
            }
        }
    }

    /// Counts a frame. Trailers are the end of the body: a receiver that gets them expects no more bytes.
    ///
    /// # Errors
    /// When the total is more than was declared, or less before trailers: the frame may not be sent.
    pub fn frame(&mut self, frame: &Frame<Bytes>) -> Result<(), Misframed> {
        match frame.is_trailers() {
            true => self.end(),
            false => self.add(frame.data_ref().map_or(0, Bytes::len)),
        }
    }

    /// Checks the count at the end of the body.
    ///
    /// # Errors
    /// When more was declared.
    pub fn end(&self) -> Result<(), Misframed> {
        match self.declared {
            Some(declared) if declared != self.sent => Err(Misframed::Short { declared, sent: self.sent }),
            _ => Ok(()),
        }
    }

    /// Whether as many bytes were counted as were declared.
    pub fn is_complete(&self) -> bool {
        self.declared == Some(self.sent)
    }

    /// The bytes still to come, where their number was declared.
    pub fn remaining(&self) -> Option<u64> {
        self.declared.map(|declared| declared.saturating_sub(self.sent))
    }

    /// Checks a complete body of `length` bytes.
    ///
    /// # Errors
    /// When another length was declared.
    pub fn whole(mut self, length: usize) -> Result<(), Misframed> {
        self.add(length)?;
        self.end()
    }
}

/// Whether a response of this status has no content, even if the guest writes some (RFC 9110, sections 15.3.5, 15.3.6
/// and 15.4.5).
pub fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Checks the head of a guest's response and removes the headers that only the host may set. Returns the counter for
/// its body; an answer to HEAD, or a status without content, has no declared length to compare.
///
/// # Errors
/// When the status or the length is not allowed.
pub fn response_head(head: &mut response::Parts, to_head: bool) -> Result<Count, Misframed> {
    let kind = match head.status.as_u16() {
        ..200 => Some("informational"),
        200..=599 => None,
        _ => Some("unknown"),
    };
    if let Some(kind) = kind {
        return Err(Misframed::Status { status: head.status.as_u16(), kind });
    }
    let declared = clean(&mut head.headers)?;
    if head.status == StatusCode::NO_CONTENT || head.status == StatusCode::RESET_CONTENT {
        // RFC 9110, section 8.6: a 204 must not have a `content-length`. A 205 is always empty and needs none.
        head.headers.remove(CONTENT_LENGTH);
        return Ok(Count::default());
    }
    let counted = !to_head && !has_no_content(head.status);
    Ok(Count { declared: declared.filter(|_| counted), sent: 0 })
}

/// Removes the headers of a guest's request that only the host may set, and returns the counter for its body.
///
/// `te: trailers` is kept: it is the one connection header that HTTP/2 has (RFC 9113, section 8.2.2), gRPC servers
/// require it, and the host's client accepts trailers.
///
/// # Errors
/// When the declared length is not a number.
pub fn request_head(head: &mut request::Parts) -> Result<Count, Misframed> {
    let takes_trailers = names(&head.headers, TE).any(|name| name.eq_ignore_ascii_case("trailers"));
    let declared = clean(&mut head.headers)?;
    if takes_trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(Count { declared, sent: 0 })
}

/// Removes trailers that a receiver would treat as a part of the head.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = trailers.keys().filter(|name| !may_trail(name)).cloned().collect();
    for name in forged {
        trailers.remove(name);
    }
}

/// The value of the header `trailer` that announces these trailers; `None` when there are none.
pub fn announce(trailers: &HeaderMap) -> Option<HeaderValue> {
    join(trailers.keys().map(HeaderName::as_str))
}

/// Whether a frame has no bytes. HTTP/2 would still send a frame for it, and clients close a connection with many empty
/// frames, together with all its streams.
pub fn is_empty(frame: &Frame<Bytes>) -> bool {
    frame.data_ref().is_some_and(Bytes::is_empty)
}

fn may_trail(name: &HeaderName) -> bool {
    *name != CONTENT_LENGTH && *name != TRAILER && !CONNECTION_HEADERS.contains(name)
}

/// Removes the headers that belong to the connection. Reduces `content-length` to at most one number, and `trailer` to
/// names that may be trailers.
fn clean(headers: &mut HeaderMap) -> Result<Option<u64>, Misframed> {
    for name in CONNECTION_HEADERS {
        headers.remove(name);
    }
    if headers.contains_key(TRAILER) {
        let announced: Vec<_> = names(headers, TRAILER).filter_map(|name| HeaderName::try_from(name).ok()).collect();
        headers.remove(TRAILER);
        if let Some(announced) = join(announced.iter().filter(|name| may_trail(name)).map(HeaderName::as_str)) {
            headers.insert(TRAILER, announced);
        }
    }
    let declared = declared(headers)?;
    if let Some(length) = declared {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(declared)
}

/// The length that a head declares: only digits, and the same number if it is declared more than once (RFC 9110,
/// section 8.6).
fn declared(headers: &HeaderMap) -> Result<Option<u64>, Misframed> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = String::from_utf8_lossy(value.as_bytes());
        for part in text.split(',').map(|part| part.trim_matches([' ', '\t'])) {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let length = if is_number { part.parse::<u64>().ok() } else { None };
            match (length, declared) {
                (Some(length), None) => declared = Some(length),
                (Some(length), Some(before)) if length == before => {}
                _ => return Err(Misframed::NotALength(all_values(headers))),
            }
        }
    }
    Ok(declared)
}

fn all_values(headers: &HeaderMap) -> String {
    let values = headers.get_all(CONTENT_LENGTH).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let text = values.collect::<Vec<_>>().join(", ");
    text.chars().take(80).collect()
}

/// The names in the lists of all headers `header`.
fn names(headers: &HeaderMap, header: HeaderName) -> impl Iterator<Item = &str> {
    let texts = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let text = names.collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
}

/// Called when a body does not have its declared length.
type Report = Box<dyn FnOnce(&Misframed) + Send>;

/// The body of a guest's request, with its bytes counted.
pub struct Counted<B> {
    body: B,
    count: Count,
    report: Option<Report>,
}

impl<B> Counted<B> {
    /// `body` counted by `count`; `report` is called once when it is not as long as declared.
    pub fn new(body: B, count: Count, report: impl FnOnce(&Misframed) + Send + 'static) -> Self {
        Counted { body, count, report: Some(Box::new(report)) }
    }

    fn fail(&mut self, misframed: &Misframed) -> Error {
        if let Some(report) = self.report.take() {
            report(misframed);
        }
        misframed.of_request()
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) if is_empty(&frame) => {}
                next => break next,
            }
        };
        let Some(frame) = next else {
            // A body that has already failed is not checked again.
            let short = self.count.end().err().filter(|_| self.report.is_some());
            return Poll::Ready(short.map(|misframed| Err(self.fail(&misframed))));
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                // wasmtime also counts, and may report the error first.
                if let (Error::HttpRequestBodySize(sent), Some(declared)) = (&error, self.count.declared) {
                    let sent = sent.unwrap_or(u64::MAX);
                    let short = Misframed::Short { declared, sent };
                    let misframed = if sent > declared { Misframed::Long { declared, sent } } else { short };
                    self.fail(&misframed);
                }
                self.report = None;
                return Poll::Ready(Some(Err(error)));
            }
        };
        if let Err(misframed) = self.count.frame(&frame) {
            return Poll::Ready(Some(Err(self.fail(&misframed))));
        }
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(mut trailers) => {
                clean_trailers(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        // A sender that sees the end here would not poll again, and so miss the error for missing bytes.
        self.count.end().is_ok() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.count.remaining() {
            Some(remaining) => SizeHint::with_exact(remaining),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn response(status: u16, pairs: &[(&'static str, &'static str)]) -> response::Parts {
        let mut head = http::Response::new(()).into_parts().0;
        head.status = StatusCode::from_u16(status).unwrap();
        head.headers = headers(pairs);
        head
    }

    #[test]
    fn headers_of_a_connection_never_leave_a_guest() {
        let forged = [
            ("connection", "close, x-secret"),
            ("host", "elsewhere"),
            ("http2-settings", "AAMAAABk"),
            ("keep-alive", "timeout=99"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip"),
            ("trailer", "content-length, te"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-own", "1"),
        ];
        let mut head = response(200, &forged);
        response_head(&mut head, false).unwrap();
        assert_eq!(head.headers, headers(&[("x-own", "1")]));

        let mut head = http::Request::new(()).into_parts().0;
        head.headers = headers(&forged);
        request_head(&mut head).unwrap();
        assert_eq!(head.headers, headers(&[("x-own", "1")]));
        head.headers = headers(&[("te", "gzip, trailers;q=0.5"), ("te", "Trailers")]);
        request_head(&mut head).unwrap();
        assert_eq!(head.headers, headers(&[("te", "trailers")]));
    }

    #[test]
    fn trailers_are_announced_without_those_that_frame() {
        let mut head = response(200, &[("trailer", "X-Sum, content-length"), ("trailer", "x-more,,two words")]);
        response_head(&mut head, false).unwrap();
        assert_eq!(head.headers, headers(&[("trailer", "x-sum, x-more")]));
        let mut trailers = headers(&[("x-sum", "1"), ("content-length", "5"), ("transfer-encoding", "chunked")]);
        clean_trailers(&mut trailers);
        assert_eq!(trailers, headers(&[("x-sum", "1")]));
        assert_eq!(announce(&trailers), Some(HeaderValue::from_static("x-sum")));
        assert_eq!(announce(&HeaderMap::new()), None);
    }

    #[test]
    fn trailers_are_the_end_of_the_body_and_come_after_as_many_bytes_as_were_declared() {
        let trailers = Frame::trailers(headers(&[("x-sum", "1")]));
        let mut count = Count { declared: Some(2), sent: 1 };
        assert_eq!(count.frame(&trailers), Err(Misframed::Short { declared: 2, sent: 1 }));
        count.frame(&Frame::data(Bytes::from_static(b"b"))).unwrap();
        assert_eq!(count.frame(&trailers), Ok(()));
        assert_eq!(Count::default().frame(&trailers), Ok(()), "nothing was declared");
    }

    #[test]
    fn a_length_is_one_number_or_refused() {
        let declared = |values: &[&'static str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("content-length", *value)).collect();
            let mut head = response(200, &pairs);
            response_head(&mut head, false)
                .map(|count| (count.remaining(), head.headers.get_all(CONTENT_LENGTH).iter().count()))
        };
        assert_eq!(declared(&[]), Ok((None, 0)));
        assert_eq!(declared(&["5"]), Ok((Some(5), 1)));
        assert_eq!(declared(&["005"]), Ok((Some(5), 1)));
        assert_eq!(declared(&["5", "5", "5, 5"]), Ok((Some(5), 1)));
        for wrong in ["5|6", "5, 6", "", "5,", "+5", "-5", "0x5", "5 6", "1e3", "99999999999999999999"] {
            let wrong: Vec<_> = wrong.split('|').collect();
            assert!(matches!(declared(&wrong), Err(Misframed::NotALength(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_status_that_is_not_a_guests_is_refused() {
        for status in [100, 101, 103, 199, 600, 999] {
            let refused = response_head(&mut response(status, &[]), false).unwrap_err();
            assert!(refused.to_string().contains(&status.to_string()), "{refused}");
        }
        for status in [200, 204, 299, 304, 418, 500, 599] {
            response_head(&mut response(status, &[]), false).unwrap();
        }
    }

    #[test]
    fn a_response_without_content_is_not_counted() {
        for (status, to_head, kept) in [(200, true, true), (304, false, true), (204, false, false), (205, false, false)]
        {
            let mut head = response(status, &[("content-length", "10")]);
            let count = response_head(&mut head, to_head).unwrap();
            assert_eq!(count.end(), Ok(()), "{status}");
            assert_eq!(head.headers.contains_key(CONTENT_LENGTH), kept, "{status}");
        }
    }

    fn counted(declared: Option<u64>, chunks: &[usize]) -> (Vec<u8>, Result<(), Error>) {
        let frames: Vec<_> = chunks.iter().map(|n| Ok(Frame::data(Bytes::from(vec![b'x'; *n])))).collect();
        let count = Count { declared, sent: 0 };
        let mut body = Counted::new(StreamBody::new(futures::stream::iter(frames)), count, |_| ());
        let mut sent = Vec::new();
        futures::executor::block_on(async {
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => sent.extend_from_slice(&frame.into_data().unwrap()),
                    Err(error) => return (sent, Err(error)),
                }
            }
            (sent, Ok(()))
        })
    }

    proptest! {
        #[test]
        fn no_more_leaves_than_was_declared_and_less_is_an_error(
            declared in proptest::option::of(0_u64..40), chunks in proptest::collection::vec(0_usize..20, 0..6),
        ) {
            let length = chunks.iter().sum::<usize>();
            let (sent, outcome) = counted(declared, &chunks);
            prop_assert!(declared.is_none_or(|declared| sent.len() as u64 <= declared));
            prop_assert_eq!(outcome.is_ok(), declared.is_none_or(|declared| declared == length as u64));
            prop_assert_eq!(Count { declared, sent: 0 }.whole(length).is_ok(), outcome.is_ok());
        }
    }
}
