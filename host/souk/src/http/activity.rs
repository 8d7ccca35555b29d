//! Tracks what a connection is doing, so that an inactive one can be closed.
//!
//! hyper has one timeout for both "between requests" and "inside the headers of a request", but the two need different
//! values: a load balancer keeps idle connections for a minute, while a client must not take that long to send headers.
//! hyper has no timeout for a response that nobody reads. So each connection records here what happens on it, and one
//! timer per connection checks the record.
//!
//! A request that makes no progress for too long is ended. With HTTP/2 only that request ends, because a proxy's
//! connection also carries requests of others.

use super::budget::{Account, EdgeBudget, End, Full, Owner, Stream};
use parking_lot::{Mutex, MutexGuard};
use souk_manifest::limits::EdgeLimits;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of tracking connections.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// How much of a request's head may arrive before it is charged to its peer.
    const MAX_UNCHARGED_HEAD_BYTES: u64 = 8 * 1024, bytes;
}

/// The recorded activity of one connection.
pub struct Activity {
    notes: Mutex<Notes>,
    header_read: Duration,
    idle: Duration,
    /// Cancelled when the connection must be closed, whatever it is doing.
    ended: CancellationToken,
}

struct Notes {
    requests: Vec<RequestInProgress>,
    next_id: u64,
    /// When the last response ended; initially when the connection started.
    quiet_since: Instant,
    /// When the first byte of a request with an incomplete head arrived.
    arriving_since: Option<Instant>,
    /// How much of that request's head has arrived, which hyper buffers until the head is complete.
    arriving: u64,
    /// The account of that head, once it is large enough to be charged.
    arriving_account: Option<Arc<Account>>,
    served: bool,
    http2: bool,
}

/// A request in progress.
struct RequestInProgress {
    id: u64,
    /// When it will have made no progress for too long.
    due: Instant,
    /// When the host began to wait for the client; `None` while the client waits for the host.
    waiting: Option<Instant>,
    /// Its HTTP/2 stream.
    stream: Option<Stream>,
}

impl Activity {
    /// The activity of a connection that was just opened.
    pub fn new(limits: &EdgeLimits) -> Arc<Self> {
        Arc::new(Activity {
            notes: Mutex::new(Notes {
                requests: Vec::new(),
                next_id: 0,
                quiet_since: Instant::now(),
                arriving_since: None,
                arriving: 0,
                arriving_account: None,
                served: false,
                http2: false,
            }),
            header_read: limits.header_read_timeout,
            idle: limits.idle_timeout,
            ended: CancellationToken::new(),
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock()
    }

    /// Records a request whose headers are complete; it is in progress until the guard is dropped.
    pub fn request<B>(self: &Arc<Self>, request: &http::Request<B>) -> UnderWay {
        let due = Instant::now() + self.idle;
        let mut notes = self.notes();
        let id = notes.next_id;
        notes.next_id += 1;
        notes.requests.push(RequestInProgress { id, due, waiting: None, stream: None });
        notes.served = true;
        (notes.arriving_since, notes.arriving) = (None, 0);
        let arrived = notes.arriving_account.take();
        notes.http2 |= request.version() == http::Version::HTTP_2;
        drop((notes, arrived));
        UnderWay { activity: self.clone(), id }
    }

    /// Cancelled when the connection must be closed, whatever it is doing.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Records that `bytes` have arrived. Those of an HTTP/1.1 head are charged to `owner`.
    fn bytes_arrived(&self, bytes: u64, budget: &Arc<EdgeBudget>, owner: &Owner) -> Result<(), Full> {
        let (arriving, account) = {
            let mut notes = self.notes();
            // An HTTP/2 connection also carries pings and window updates between requests.
            if !notes.requests.is_empty() || notes.http2 {
                return Ok(());
            }
            notes.arriving_since.get_or_insert_with(Instant::now);
            notes.arriving += bytes;
            (notes.arriving, notes.arriving_account.clone())
        };
        if let Some(account) = account {
            account.moved();
            account.take(bytes)?;
        } else if arriving > MAX_UNCHARGED_HEAD_BYTES {
            let account = budget.open(owner.clone(), arriving)?;
            account.waits(End::Connection(self.ended.clone()));
            self.notes().arriving_account = Some(account);
        }
        Ok(())
    }

    /// When the connection will have been inactive for too long, if nothing more happens on it.
    fn deadline(&self) -> Instant {
        let notes = self.notes();
        // The earliest deadline decides: a client that leaves one response unread must not survive by sending more
        // requests.
        match (notes.requests.iter().map(|noted| noted.due).min(), notes.arriving_since) {
            (Some(due), _) => due,
            (None, Some(since)) => since + self.header_read,
            (None, None) if notes.served => notes.quiet_since + self.idle,
            (None, None) => notes.quiet_since + self.header_read,
        }
    }

    /// When the last request ended; `None` while one is in progress.
    pub fn idle_since(&self) -> Option<Instant> {
        let notes = self.notes();
        notes.requests.is_empty().then_some(notes.quiet_since)
    }

    /// Since when all its requests have waited for the client; `None` while the host works on one.
    pub fn still_since(&self) -> Option<Instant> {
        let notes = self.notes();
        let moments: Option<Vec<_>> = notes.requests.iter().map(|noted| noted.waiting).collect();
        moments?.into_iter().max()
    }

    /// Ends the streams that are due; returns whether there were any. A stream that is still there after another idle
    /// timeout ends its connection.
    fn end_streams(&self, now: Instant) -> bool {
        let mut notes = self.notes();
        let mut ended = Vec::new();
        for noted in notes.requests.iter_mut().filter(|noted| noted.due <= now) {
            if let Some(stream) = noted.stream.take()
                && !stream.state.done.load(Ordering::Acquire)
            {
                noted.due = now + self.idle;
                ended.push(stream.abort);
            } else {
                return false;
            }
        }
        drop(notes);
        ended.iter().for_each(|stream| stream.abort());
        !ended.is_empty()
    }

    /// Returns when the connection has been inactive for too long.
    pub async fn expired(&self) {
        loop {
            let (now, deadline) = (Instant::now(), self.deadline());
            if deadline <= now {
                if self.end_streams(now) {
                    continue;
                }
                return;
            }
            // What begins in the meantime may have an earlier deadline, but not earlier than the shorter of the two
            // limits from now.
            let look_again = now + self.header_read.min(self.idle);
            tokio::time::sleep_until(deadline.min(look_again)).await;
        }
    }
}

/// A request in progress; dropping it ends the record.
pub struct UnderWay {
    activity: Arc<Activity>,
    id: u64,
}

impl UnderWay {
    /// How to end the request: its stream or its connection. `of_many` says that the connection carries requests of
    /// many clients. Call it in the task that serves the request.
    pub fn end(&self, of_many: bool) -> End {
        let connection = self.activity.ended.clone();
        match super::streams::current() {
            Some(stream) => {
                self.note(|noted| noted.stream = Some(stream.clone()));
                End::Stream(stream, (!of_many).then_some(connection))
            }
            None => End::Connection(connection),
        }
    }

    /// Records that the host waits for the client until `due`.
    pub fn waits_until(&self, due: Instant) {
        let now = Instant::now();
        self.note(|noted| (noted.due, noted.waiting) = (due, Some(now)));
    }

    /// Records that the client waits for the host until `due`.
    pub fn works_until(&self, due: Instant) {
        self.note(|noted| (noted.due, noted.waiting) = (due, None));
    }

    /// The call of this request may take until `deadline`; after that, only the rest of its response can stall.
    pub fn call_until(&self, deadline: Instant) {
        self.works_until(deadline + self.activity.idle);
    }

    fn note(&self, change: impl FnOnce(&mut RequestInProgress)) {
        if let Some(noted) = self.activity.notes().requests.iter_mut().find(|noted| noted.id == self.id) {
            change(noted);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut notes = self.activity.notes();
        notes.requests.retain(|noted| noted.id != self.id);
        notes.quiet_since = Instant::now();
    }
}

/// A connection's stream that records arriving bytes.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    budget: Arc<EdgeBudget>,
    owner: Owner,
}

impl<S> Watched<S> {
    /// Watches `stream`; bytes of a request's head are charged to `owner`.
    pub(super) fn new(stream: S, activity: Arc<Activity>, budget: Arc<EdgeBudget>, owner: Owner) -> Self {
        Watched { stream, activity, budget, owner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        let arrived = buf.filled().len().saturating_sub(before) as u64;
        if poll.is_ready() && arrived > 0 {
            let full = |Full| io::Error::other("its peer has used its share of memory");
            self.activity.bytes_arrived(arrived, &self.budget, &self.owner).map_err(full)?;
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
    use crate::http::peer::Share;
    use crate::http::streams::StreamExecutor;
    use hyper::rt::Executor as _;

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
        drop(unread);
        assert_eq!(activity.deadline(), start + Duration::from_secs(60) + activity.idle);
        drop(others);
        assert!(activity.deadline() <= Instant::now() + activity.idle);
    }

    #[tokio::test]
    async fn a_stream_that_stands_still_ends_without_its_connection() {
        let activity = Activity::new(&EdgeLimits::default());
        let (still, other) = (activity.request(&http::Request::new(())), activity.request(&http::Request::new(())));
        let (send, stands) = tokio::sync::oneshot::channel();
        StreamExecutor.execute(async move {
            assert!(matches!(still.end(false), End::Stream(..)));
            still.waits_until(Instant::now());
            send.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        stands.await.unwrap();
        assert!(activity.end_streams(Instant::now()));
        while activity.notes().requests.len() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(!activity.ended().is_cancelled());
        // A request without a stream of its own ends with its connection.
        other.waits_until(Instant::now());
        assert!(!activity.end_streams(Instant::now()));
    }

    #[test]
    fn a_header_that_begins_to_arrive_has_less_time_than_a_quiet_connection() {
        let activity = Activity::new(&EdgeLimits::default());
        drop(activity.request(&http::Request::new(())));
        let quiet = activity.deadline();
        let budget = EdgeBudget::new(&EdgeLimits::default());
        let share = Share::of([10, 0, 0, 1].into());
        let owner = Owner { connection: Some(1), share, reserved: false };
        let arrive = |bytes| activity.bytes_arrived(bytes, &budget, &owner).unwrap();
        arrive(1);
        let arriving = activity.deadline();
        assert!(arriving < quiet);
        arrive(1);
        assert_eq!(activity.deadline(), arriving, "each byte bought more time");
        let taken = || budget.uses()[0].taken;
        let nothing = taken();
        arrive(MAX_UNCHARGED_HEAD_BYTES);
        assert_ne!(taken(), nothing, "a long head counts for its peer");
        drop(activity.request(&http::Request::new(())));
        assert_eq!(taken(), nothing, "a request has an account of its own");
    }
}
