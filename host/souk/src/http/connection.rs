//! One connection, from its first byte to its last.

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

    /// The most requests that one HTTP/2 connection may have under way.
    const MAX_HTTP2_STREAMS: u32 = 128, "streams";
    /// The connections of one peer up to which each may have so many requests under way.
    const MAX_CONNECTIONS_OF_MANY_STREAMS: usize = 32, "connections";
    /// The most requests that each further HTTP/2 connection of the peer may have under way: the state of a request takes
    /// memory before anything else can be known of it.
    const MAX_FURTHER_HTTP2_STREAMS: u32 = 16, "streams";
    /// What the requests of an HTTP/2 connection may send together before the host reads it.
    const HTTP2_WINDOW_BYTES: u32 = 1024 * 1024, bytes;
    /// The most that one HTTP/2 request holds of a response that its client does not read.
    const MAX_HTTP2_SEND_BUFFER_BYTES: usize = 64 * 1024, bytes;
    /// How long a connection stays open at shutdown for a request that is on its way already. A client cannot know of
    /// the shutdown before the next response tells it; a network's round trip and a busy client fit in.
    const LINGER_TIME: Duration = Duration::from_millis(500);
}

/// hyper's settings, made once for all connections, by what a connection may speak, and how many its peer has.
pub(super) struct Builders {
    /// For the first connections of a peer.
    first: Protocols,
    /// For its further ones.
    further: Protocols,
}

struct Protocols {
    /// Either protocol, as the client begins.
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

    /// Those for a connection whose protocol was agreed on in its TLS handshake: it is that one or none (RFC 9113,
    /// section 3.2). Without an agreement it is the client's to choose. Its peer has `of_peer` connections.
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
        // Activity has two timeouts in its place.
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

/// Returns once `shutdown` has been cancelled and requests that were on their way have had time to arrive.
pub(super) async fn lingered(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(LINGER_TIME).await;
}

/// Serves `stream` until it ends, stands still for too long, must make room for another, or `shutdown` is cancelled and
/// its requests are done.
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
    // One count for all that a request needs of its connection.
    let shared = Arc::new((edge, caller, shutdown.clone()));
    let service = service_fn({
        let activity = activity.clone();
        move |request: Request<Incoming>| {
            let (shared, under_way) = (shared.clone(), activity.request(&request));
            async move {
                let (edge, caller, shutdown) = &*shared;
                let http2 = request.version() == Version::HTTP_2;
                // In a box of its own: a stream that waits for its task takes less.
                let mut response = Box::pin(edge.answer(request, caller, under_way)).await;
                // HTTP/2 has its own way to say so.
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
            // The connection first: a request that has arrived is served, whatever else is due.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, "connection ended: {error}");
                }
                return;
            }
            () = activity.ended().cancelled() => {
                tracing::debug!(%peer, "connection closed: it stood still, and others needed what it held");
                return;
            }
            () = activity.expired() => {
                tracing::debug!(%peer, "connection closed: nothing happened for too long");
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
            // A request that came at the same moment is answered.
            () = lingered(place.closed()), if !in_the_way => {
                in_the_way = true;
                if activity.idle_since().is_some() {
                    tracing::debug!(%peer, "connection closed: it was idle, and others needed room");
                    return;
                }
            }
        }
    }
}
