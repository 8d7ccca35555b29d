//! Bodies that are complete in memory, with their trailers.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use std::convert::Infallible;
use wasmtime_wasi_http::Error;

/// The trailers of a request or response whose body is plain bytes. They are kept in its extensions.
#[derive(Debug, Clone)]
pub struct Trailers(pub HeaderMap);

impl Trailers {
    /// Takes the trailers out of the extensions of a request or response.
    pub fn take(extensions: &mut http::Extensions) -> Option<HeaderMap> {
        extensions.remove().map(|Trailers(trailers)| trailers)
    }

    /// Puts `trailers`, if there are any, into the `extensions`.
    pub fn put(extensions: &mut http::Extensions, trailers: Option<HeaderMap>) {
        if let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) {
            extensions.insert(Trailers(trailers));
        }
    }
}

/// A body that is complete already, for a component.
pub type Whole = UnsyncBoxBody<Bytes, Error>;

/// The body of these bytes and trailers.
pub fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Whole {
    let never = |never: Infallible| match never {};
    let body = http_body_util::Full::new(bytes);
    match trailers {
        None => body.map_err(never).boxed_unsync(),
        Some(trailers) => {
            let trailers = std::future::ready(Some(Ok(trailers)));
            body.with_trailers(trailers).map_err(never).boxed_unsync()
        }
    }
}
