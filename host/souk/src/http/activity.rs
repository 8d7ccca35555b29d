//! What a connection is doing, so that one that does nothing can be closed.
//!
//! hyper has one timeout for both "between requests" and "inside the headers of a request"; the two need different
//! values (a load balancer keeps quiet connections for a minute, a stranger must not send a header for that long). It
//! has none for a response that nobody reads. So what happens on a connection is noted here, and one timer a connection
//! looks at the notes.
//!
//! A request that stands still for too long is ended; with HTTP/2 it alone, because a proxy's connection carries those of
//! others.

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
    /// The fixed limits of a connection's notes.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// What arrives of a request's head before it counts for its peer.
    const MAX_UNCHARGED_HEAD_BYTES: u64 = 8 * 1024, bytes;
}

/// The notes of one connection.
pub struct Activity {
    notes: Mutex<Notes>,
    header_read: Duration,
    idle: Duration,
    /// Cancelled when the connection must be closed, whatever it is doing.
    ended: CancellationToken,
}

struct Notes {
    requests: Vec<Noted>,
    next_id: u64,
    /// When the last response ended; at first the connection's start.
    quiet_since: Instant,
    /// When the first byte arrived that belongs to no request yet.
    arriving_since: Option<Instant>,
    /// How much has arrived of that request's head, which hyper keeps until it is complete.
    arriving: u64,
    /// Its account, once it is more than a little.
    arriving_account: Option<Arc<Account>>,
    served: bool,
    http2: bool,
}

/// A request under way.
struct Noted {
    id: u64,
    /// The moment after which it has stood still for too long.
    due: Instant,
    /// Since when the host waits for the client; `None` while the client waits for the host.
    waiting: Option<Instant>,
    /// Its stream, with HTTP/2.
    stream: Option<Stream>,
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

    /// Notes a request whose headers are complete; it is under way until the guard is dropped.
    pub fn request<B>(self: &Arc<Self>, request: &http::Request<B>) -> UnderWay {
        let due = Instant::now() + self.idle;
        let mut notes = self.notes();
        let id = notes.next_id;
        notes.next_id += 1;
        notes.requests.push(Noted { id, due, waiting: None, stream: None });
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

    /// Notes `bytes` that have arrived. Those of a head of HTTP/1.1 count for `owner`.
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

    /// When the connection has been still for too long, if nothing more happens on it.
    fn deadline(&self) -> Instant {
        let notes = self.notes();
        // The first that is due decides: a client that leaves one response unread must not live on by asking for more.
        match (notes.requests.iter().map(|noted| noted.due).min(), notes.arriving_since) {
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

    /// Since when all its requests have waited for the client; `None` while one is in the host's hands.
    pub fn still_since(&self) -> Option<Instant> {
        let notes = self.notes();
        let moments: Option<Vec<_>> = notes.requests.iter().map(|noted| noted.waiting).collect();
        moments?.into_iter().max()
    }

    /// Ends the streams that are due, and says whether there was one. It has the time of another pause to go.
    fn end_streams(&self, now: Instant) -> bool {
        let mut notes = self.notes();
        let mut ended = Vec::new();
        for noted in notes.requests.iter_mut().filter(|noted| noted.due <= now) {
            if let Some(stream) = noted.stream.take()
                && !stream.done.load(Ordering::Acquire)
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

    /// Returns when the connection has been still for too long.
    pub async fn expired(&self) {
        loop {
            let (now, deadline) = (Instant::now(), self.deadline());
            if deadline <= now {
                if self.end_streams(now) {
                    continue;
                }
                return;
            }
            // What begins meanwhile may be due sooner, but not sooner than the shorter of the two limits from then on.
            let look_again = now + self.header_read.min(self.idle);
            tokio::time::sleep_until(deadline.min(look_again)).await;
        }
    }
}

/// A request under way.
pub struct UnderWay {
    activity: Arc<Activity>,
    id: u64,
}

impl UnderWay {
    /// How to end the request: its stream, or its connection. To be called in the task that serves it.
    pub fn end(&self) -> End {
        let connection = self.activity.ended.clone();
        match super::streams::current() {
            Some(stream) => {
                self.note(|noted| noted.stream = Some(stream.clone()));
                End::Stream(stream, connection)
            }
            None => End::Connection(connection),
        }
    }

    /// The host waits for the client, until `due`.
    pub fn waits_until(&self, due: Instant) {
        let now = Instant::now();
        self.note(|noted| (noted.due, noted.waiting) = (due, Some(now)));
    }

    /// The client waits for the host, until `due`.
    pub fn works_until(&self, due: Instant) {
        self.note(|noted| (noted.due, noted.waiting) = (due, None));
    }

    /// The call of this request may take until `deadline`: only what is left of its response then can stand still.
    pub fn call_until(&self, deadline: Instant) {
        self.works_until(deadline + self.activity.idle);
    }

    fn note(&self, change: impl FnOnce(&mut Noted)) {
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

/// A connection's stream that notes the bytes which arrive.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    budget: Arc<EdgeBudget>,
    owner: Owner,
}

impl<S> Watched<S> {
    /// Watches `stream`; what arrives of a head is `owner`'s.
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
            let full = |Full| io::Error::other("its peer has its share of memory");
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
            assert!(matches!(still.end(), End::Stream(..)));
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
        // One that is no stream goes with its connection.
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
