//! What a connection is doing, so that one that does nothing can be closed.
//!
//! hyper has one timeout for both "between requests" and "inside the headers of a request"; the two need different
//! values (a load balancer keeps quiet connections for a minute, a stranger must not send a header for that long). So
//! the bytes that arrive while no request is under way are noted here, and one timer a connection looks at the notes.

use crate::limits::{EdgeLimits, millis};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No request has begun to arrive.
const NOTHING: u64 = u64::MAX;

/// The notes of one connection. Times are milliseconds since its start.
pub struct Activity {
    start: Instant,
    under_way: AtomicUsize,
    /// When the last response ended; 0 at the start.
    quiet_since: AtomicU64,
    /// When the first byte arrived that belongs to no request yet.
    arriving_since: AtomicU64,
    served: AtomicBool,
    http2: AtomicBool,
    header_read: Duration,
    idle: Duration,
}

impl Activity {
    /// A connection that has just been opened.
    pub fn new(limits: &EdgeLimits) -> Arc<Self> {
        Arc::new(Activity {
            start: Instant::now(),
            under_way: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            arriving_since: AtomicU64::new(NOTHING),
            served: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            header_read: millis(limits.header_read_timeout),
            idle: millis(limits.idle_timeout),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(NOTHING - 1)
    }

    /// Notes a request whose headers are complete; it is under way until the guard is dropped.
    pub fn request<B>(self: &Arc<Self>, request: &http::Request<B>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.served.store(true, Ordering::Relaxed);
        self.arriving_since.store(NOTHING, Ordering::Relaxed);
        if request.version() == http::Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        UnderWay(self.clone())
    }

    fn bytes_arrived(&self) {
        // An HTTP/2 connection also carries pings and window updates between requests.
        if self.under_way.load(Ordering::Relaxed) == 0 && !self.http2.load(Ordering::Relaxed) {
            let _ = self.arriving_since.compare_exchange(NOTHING, self.now(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Returns when the connection has been still for too long.
    pub async fn expired(&self) {
        loop {
            let since = match self.arriving_since.load(Ordering::Relaxed) {
                NOTHING => self.quiet_since.load(Ordering::Relaxed),
                arriving => arriving,
            };
            let waiting_for_headers =
                self.arriving_since.load(Ordering::Relaxed) != NOTHING || !self.served.load(Ordering::Relaxed);
            let patience = if waiting_for_headers { self.header_read } else { self.idle };
            let deadline = if self.under_way.load(Ordering::Relaxed) > 0 {
                // The call's own deadline holds now.
                Instant::now() + patience
            } else {
                let deadline = self.start + Duration::from_millis(since) + patience;
                if deadline <= Instant::now() {
                    return;
                }
                // A header may begin to arrive before an idle connection expires: look again in time for it.
                deadline.min(Instant::now() + self.header_read)
            };
            tokio::time::sleep_until(deadline.into()).await;
        }
    }
}

/// A request under way.
pub struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.quiet_since.store(self.0.now(), Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's stream that notes the bytes which arrive.
pub struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    /// Watches `stream`.
    pub fn new(stream: S, activity: Arc<Activity>) -> Self {
        Watched { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if poll.is_ready() && buf.filled().len() > before {
            self.activity.bytes_arrived();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
