//! What a connection is doing, so that one that does nothing can be closed.
//!
//! hyper has one timeout for both "between requests" and "inside the headers of a request"; the two need different
//! values (a load balancer keeps quiet connections for a minute, a stranger must not send a header for that long). It
//! has none for a response that nobody reads. So what happens on a connection is noted here, and one timer a connection
//! looks at the notes.

use souk_manifest::limits::EdgeLimits;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The notes of one connection.
pub struct Activity {
    notes: Mutex<Notes>,
    header_read: Duration,
    idle: Duration,
}

struct Notes {
    /// Each request under way, with the moment after which it has stood still for too long.
    requests: Vec<(u64, Instant)>,
    next_id: u64,
    /// When the last response ended; at first the connection's start.
    quiet_since: Instant,
    /// When the first byte arrived that belongs to no request yet.
    arriving_since: Option<Instant>,
    served: bool,
    http2: bool,
}

impl Activity {
    /// A connection that has just been opened.
    pub fn new(limits: &EdgeLimits) -> Arc<Self> {
        Arc::new(Activity {
            notes: Mutex::new(Notes {
                requests: Vec::new(),
                next_id: 0,
                quiet_since: Instant::now(),
                arriving_since: None,
                served: false,
                http2: false,
            }),
            header_read: limits.header_read_timeout,
            idle: limits.idle_timeout,
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request whose headers are complete; it is under way until the guard is dropped.
    pub fn request<B>(self: &Arc<Self>, request: &http::Request<B>) -> UnderWay {
        let due = Instant::now() + self.idle;
        let mut notes = self.notes();
        let id = notes.next_id;
        notes.next_id += 1;
        notes.requests.push((id, due));
        notes.served = true;
        notes.arriving_since = None;
        notes.http2 |= request.version() == http::Version::HTTP_2;
        drop(notes);
        UnderWay { activity: self.clone(), id }
    }

    fn bytes_arrived(&self) {
        let mut notes = self.notes();
        // An HTTP/2 connection also carries pings and window updates between requests.
        if notes.requests.is_empty() && !notes.http2 && notes.arriving_since.is_none() {
            notes.arriving_since = Some(Instant::now());
        }
    }

    /// When the connection has been still for too long, if nothing more happens on it.
    fn deadline(&self) -> Instant {
        let notes = self.notes();
        // The first that is due decides: a client that leaves one response unread must not live on by asking for more.
        match (notes.requests.iter().map(|(_, due)| *due).min(), notes.arriving_since) {
            (Some(due), _) => due,
            (None, Some(since)) => since + self.header_read,
            (None, None) if notes.served => notes.quiet_since + self.idle,
            (None, None) => notes.quiet_since + self.header_read,
        }
    }

    /// Since when no request has been under way; `None` while one is.
    pub fn idle_since(&self) -> Option<Instant> {
        let notes = self.notes();
        notes.requests.is_empty().then_some(notes.quiet_since)
    }

    /// Returns when the connection has been still for too long.
    pub async fn expired(&self) {
        loop {
            let (now, deadline) = (Instant::now(), self.deadline());
            if deadline <= now {
                return;
            }
            // What begins meanwhile may be due sooner, but not sooner than the shorter of the two limits from then on.
            let look_again = now + self.header_read.min(self.idle);
            tokio::time::sleep_until(deadline.min(look_again).into()).await;
        }
    }
}

/// A request under way.
pub struct UnderWay {
    activity: Arc<Activity>,
    id: u64,
}

impl UnderWay {
    /// The call of this request may take until `deadline`: only what is left of its response then can stand still.
    pub fn call_until(&self, deadline: Instant) {
        self.extend(deadline);
    }

    /// The client takes its response.
    pub fn progress(&self) {
        self.extend(Instant::now());
    }

    fn extend(&self, from: Instant) {
        let due = from + self.activity.idle;
        if let Some((_, known)) = self.activity.notes().requests.iter_mut().find(|(id, _)| *id == self.id) {
            *known = due.max(*known);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut notes = self.activity.notes();
        notes.requests.retain(|(id, _)| *id != self.id);
        notes.quiet_since = Instant::now();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_that_is_due_first_decides_whatever_else_the_client_asks_for() {
        let activity = Activity::new(&EdgeLimits::default());
        let start = Instant::now();
        let unread = activity.request(&http::Request::new(()));
        unread.call_until(start + Duration::from_secs(30));
        let due = start + Duration::from_secs(30) + activity.idle;
        assert_eq!(activity.deadline(), due);
        let others: Vec<_> = (0..9).map(|_| activity.request(&http::Request::new(()))).collect();
        for other in &others {
            other.call_until(start + Duration::from_secs(60));
        }
        assert_eq!(activity.deadline(), due, "more requests put it off");
        unread.progress();
        assert_eq!(activity.deadline(), due, "progress before the call's end brings nothing forward");
        drop(unread);
        assert_eq!(activity.deadline(), start + Duration::from_secs(60) + activity.idle);
        drop(others);
        assert!(activity.deadline() <= Instant::now() + activity.idle);
    }

    #[test]
    fn a_header_that_begins_to_arrive_has_less_time_than_a_quiet_connection() {
        let activity = Activity::new(&EdgeLimits::default());
        drop(activity.request(&http::Request::new(())));
        let quiet = activity.deadline();
        activity.bytes_arrived();
        let arriving = activity.deadline();
        assert!(arriving < quiet);
        activity.bytes_arrived();
        assert_eq!(activity.deadline(), arriving, "each byte bought more time");
    }
}
