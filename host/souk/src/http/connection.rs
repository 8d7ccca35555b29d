//! Serves one connection, from its first byte to its last.

use super::activity::Watched;
use super::budget::Owner;
use super::connections::Connection;
use super::edge::Edge;
use super::request::Caller;
use super::streams::StreamExecutor;
use super::upload::UPLOAD_WINDOW_BYTES;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of connections.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The most concurrent requests on one HTTP/2 connection.
    const MAX_HTTP2_STREAMS: u32 = 128, "streams";
    /// How many connections of one peer may have that many concurrent requests.
    const MAX_CONNECTIONS_OF_MANY_STREAMS: usize = 32, "connections";
    /// The most concurrent requests on each further HTTP/2 connection of the peer: each request's state takes memory
    /// before the host knows anything else about it.
    const MAX_FURTHER_HTTP2_STREAMS: u32 = 16, "streams";
    /// How much the requests of an HTTP/2 connection may send together before the host reads it.
    const HTTP2_WINDOW_BYTES: u32 = 1024 * 1024, bytes;
    /// How much of an unread response the host buffers for one HTTP/2 request.
    const MAX_HTTP2_SEND_BUFFER_BYTES: usize = 64 * 1024, bytes;
    /// How long a connection stays open at shutdown for a request that is already on its way. A client learns about the
    /// shutdown only from the next response; this time covers a network round trip and a busy client.
    const LINGER_TIME: Duration = Duration::from_millis(500);
}

/// hyper's settings, created once for all connections, by protocol and by the number of the peer's connections.
pub(super) struct Builders {
    /// For a peer's first connections.
    first: Protocols,
    /// For a peer's further connections.
    further: Protocols,
}

struct Protocols {
    /// The protocol is detected from the client's first bytes.
    any: Builder<StreamExecutor>,
    http1: Builder<StreamExecutor>,
    http2: Builder<StreamExecutor>,
}

impl Builders {
    /// The settings of `edge`.
    pub(super) fn new(edge: &Edge) -> Self {
        Builders {
            first: Protocols::new(edge, MAX_HTTP2_STREAMS),
            further: Protocols::new(edge, MAX_FURTHER_HTTP2_STREAMS),
        }
    }

    /// The settings for a connection whose protocol was agreed on in its TLS handshake, which is then the only one
    /// allowed (RFC 9113, section 3.2). Without an agreement the client chooses. Its peer has `of_peer` connections.
    pub(super) fn agreed(&self, protocol: Option<&[u8]>, of_peer: usize) -> &Builder<StreamExecutor> {
        let many = of_peer > MAX_CONNECTIONS_OF_MANY_STREAMS;
        let protocols = if many { &self.further } else { &self.first };
        match protocol {
            Some(b"h2") => &protocols.http2,
            Some(b"http/1.1") => &protocols.http1,
            _ => &protocols.any,
        }
    }
}

impl Protocols {
    fn new(edge: &Edge, streams: u32) -> Self {
        let any = builder(edge, streams);
        Protocols { http1: any.clone().http1_only(), http2: any.clone().http2_only(), any }
    }
}

fn builder(edge: &Edge, streams: u32) -> Builder<StreamExecutor> {
    let headers = edge.limits().request_headers.as_u64();
    let mut builder = Builder::new(StreamExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Activity` has two timeouts instead.
        .header_read_timeout(None)
        .max_buf_size(usize::try_from(headers).unwrap_or(usize::MAX).max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .initial_stream_window_size(UPLOAD_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .max_send_buf_size(MAX_HTTP2_SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(headers).unwrap_or(u32::MAX));
    builder
}

/// Returns some time after `shutdown` was cancelled, so that requests on their way can arrive.
pub(super) async fn lingered(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(LINGER_TIME).await;
}

/// Serves `stream` until it ends, is inactive for too long, or must make room for another, or until `shutdown` is
/// cancelled and its requests are finished.
pub(super) async fn serve<S>(
    stream: S,
    place: &Connection,
    caller: Caller,
    edge: Arc<Edge>,
    builder: &Builder<StreamExecutor>,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = caller.peer.address;
    let activity = place.activity().clone();
    let owner = Owner::of(&caller, &caller.peer, false);
    let watched = TokioIo::new(Watched::new(stream, activity.clone(), edge.budget().clone(), owner));
    // One reference count for everything that a request needs of its connection.
    let shared = Arc::new((edge, caller, shutdown.clone()));
    let service = service_fn({
        let activity = activity.clone();
        move |request: Request<Incoming>| {
            let (shared, under_way) = (shared.clone(), activity.request(&request));
            async move {
                let (edge, caller, shutdown) = &*shared;
                let http2 = request.version() == Version::HTTP_2;
                // Boxed, so that a stream that waits for its task takes less memory.
                let mut response = Box::pin(edge.answer(request, caller, under_way)).await;
                // HTTP/2 announces this in its own way.
                if shutdown.is_cancelled() && !http2 {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(watched, service));
    let (mut stopping, mut in_the_way) = (false, false);
    loop {
        tokio::select! {
            // The connection comes first: a request that has arrived is served, whatever else is due.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, "connection ended: {error}");
                }
                return;
            }
            () = activity.ended().cancelled() => {
                tracing::debug!(%peer, "connection closed: it made no progress, and others needed its memory");
                return;
            }
            () = activity.expired() => {
                tracing::debug!(%peer, "connection closed: it was idle for too long");
                return;
            }
            () = lingered(&shutdown), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = place.closed().cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // A request that arrives at the same moment is still answered.
            () = lingered(place.closed()), if !in_the_way => {
                in_the_way = true;
                if activity.idle_since().is_some() {
                    tracing::debug!(%peer, "connection closed: it was idle, and other connections needed its place");
                    return;
                }
            }
        }
    }
}
