//! One connection, from its first byte to its last.

use super::activity::{Activity, Watched};
use super::edge::Edge;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// Streams that one HTTP/2 connection may have open.
const HTTP2_STREAMS: u32 = 128;

/// hyper's settings, made once for all connections.
pub fn builder(edge: &Edge) -> Builder<TokioExecutor> {
    let headers = edge.limits().request_headers;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Activity has two timeouts in its place.
        .header_read_timeout(None)
        .max_buf_size(usize::try_from(headers).unwrap_or(usize::MAX).max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(headers).unwrap_or(u32::MAX));
    builder
}

/// Serves `stream` until it ends, stands still for too long, or `shutdown` is cancelled and its requests are done.
pub async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    scheme: http::uri::Scheme,
    edge: Arc<Edge>,
    builder: &Builder<TokioExecutor>,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new(edge.limits());
    let watched = TokioIo::new(Watched::new(stream, activity.clone()));
    let service = service_fn({
        let activity = activity.clone();
        move |request| {
            let (edge, under_way, scheme) = (edge.clone(), activity.request(&request), scheme.clone());
            async move {
                let mut response = edge.answer(request, scheme, peer).await;
                response.body_mut().keep(under_way);
                Ok::<_, Infallible>(response)
            }
        }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(watched, service));
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, "connection ended: {error}");
                }
                return;
            }
            () = activity.expired() => {
                tracing::debug!(%peer, "connection closed: nothing happened for too long");
                return;
            }
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
