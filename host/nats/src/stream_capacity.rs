//! How full a stream is, as far as this host knows: it refuses a message itself before the server's own bound is reached.
//! The streams of durable messages and the buckets of key-value stores are kept from losing anything by it.
//!
//! The server cannot be left to do it. With `discard: new` nats-server 2.9 compares less than it stores (not the subject,
//! nor what it adds to a record), and what is over the bound then it makes room for by deleting the oldest messages, which
//! were acknowledged. So a stream's own bound is [`SLACK_BYTES`] above the limit, or where that is too much, a quarter
//! of it is kept free. What the hosts do not know of each other must stay within that: each asks the server how full
//! the stream is when a second has passed, and when it has sent a [share](MAX_FILLING_HOSTS) of what is kept free.

use async_nats::jetstream::stream::{Info, Stream};
use parking_lot::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::timeout;

souk_manifest::fixed_limits! {
    /// The fixed limits of streams.
    pub(crate) const FIXED_LIMITS = "nats";

    /// How far a stream's size at the server is above the limit that hosts keep themselves.
    pub const SLACK_BYTES: u64 = 64 << 20, bytes;
    /// How many hosts may fill one stream at the same time: each may send this part of the free space before it asks
    /// again.
    const MAX_FILLING_HOSTS: u64 = 16, "hosts";
    /// How long the server's answer about a stream is used, together with what this host has sent since.
    const INFO_TTL: Duration = Duration::from_secs(1);
    /// How long to remember that a stream is full, so that not every refusal asks the server again.
    const FULL_TTL: Duration = Duration::from_millis(100);
    /// How long the server may take to say how full a stream is.
    const INFO_TIMEOUT: Duration = Duration::from_secs(2);
    /// What a stored message counts for besides its headers, its subject and its payload.
    const RECORD_OVERHEAD_BYTES: usize = 64, bytes;
}

/// How full one stream is, as far as this host knows.
pub struct StreamCapacity {
    limit: Option<u64>,
    known: Mutex<Known>,
    /// Held while the server is asked: callers that come meanwhile use the same answer. Without an answer each asks in
    /// its turn, within the deadline of its caller.
    asking: tokio::sync::Mutex<()>,
}

/// What is known of a stream.
#[derive(Default)]
struct Known {
    /// When the server was asked.
    asked: Option<Instant>,
    /// The bytes in it, with what this host has sent or is about to.
    held: u64,
    /// The most that it is to hold.
    limit: u64,
    /// How much this host may send before it asks again.
    share: u64,
    /// How much it has sent since it asked.
    sent: u64,
    /// What it sends now: the server may or may not have counted it.
    under_way: u64,
    /// All that it has ever sent.
    total: u64,
    /// Whether something did not fit when the server was asked.
    full: bool,
}

/// The bytes that are reserved for a message while it is being sent.
pub struct Reservation<'r> {
    capacity: &'r StreamCapacity,
    bytes: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut known = self.capacity.known();
        known.under_way = known.under_way.saturating_sub(self.bytes);
    }
}

impl StreamCapacity {
    /// The capacity of a stream that may hold `limit` bytes, and whose own bound is [`SLACK_BYTES`] above that; without
    /// a limit, of a stream whose bound is somebody else's.
    pub fn new(limit: Option<u64>) -> Self {
        StreamCapacity { limit, known: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Reserves space in `stream` for one more message; `None` when the stream is full. When the server does not say
    /// how full it is, the message may be tried: sending it tells why.
    pub async fn reserve<I>(
        &self,
        stream: &Stream<I>,
        subject: &str,
        headers: usize,
        payload: usize,
    ) -> Option<Reservation<'_>> {
        let bytes = u64::try_from(RECORD_OVERHEAD_BYTES + subject.len() + headers + payload).unwrap_or(u64::MAX);
        if let Some(known) = self.reserve_known(bytes) {
            return known;
        }
        let _asking = self.asking.lock().await;
        if let Some(known) = self.reserve_known(bytes) {
            return known;
        }
        let before = {
            let known = self.known();
            known.total.saturating_sub(known.under_way)
        };
        let Ok(Ok(info)) = timeout(INFO_TIMEOUT, stream.get_info()).await else {
            return Some(self.count(self.known(), bytes));
        };
        let mut known = self.known();
        self.learn(&mut known, &info, before);
        known.full = !known.has(bytes);
        (!known.full).then(|| self.count(known, bytes))
    }

    /// A message was deleted or delivered: if the stream was full, the next reservation asks the server again.
    pub fn refresh_if_full(&self) {
        let mut known = self.known();
        if std::mem::take(&mut known.full) {
            known.asked = None;
        }
    }

    /// Reserves space without asking the server: `Some(None)` when the stream is known to be full, `None` when the
    /// server must be asked.
    fn reserve_known(&self, bytes: u64) -> Option<Option<Reservation<'_>>> {
        let known = self.known();
        let age = known.asked?.elapsed();
        match known.has(bytes) {
            true if age < INFO_TTL && known.sent < known.share => Some(Some(self.count(known, bytes))),
            false if known.full && age < FULL_TTL => Some(None),
            _ => None,
        }
    }

    /// What the server says, which has counted all that was sent `before` it was asked, and perhaps more.
    fn learn(&self, known: &mut Known, info: &Info, before: u64) {
        let bound = u64::try_from(info.config.max_bytes).ok().filter(|bound| *bound > 0);
        let slack = bound.map_or(SLACK_BYTES, slack);
        *known = Known {
            asked: Some(Instant::now()),
            held: info.state.bytes.saturating_add(known.total.saturating_sub(before)),
            limit: self.limit.unwrap_or_else(|| bound.map_or(u64::MAX, |bound| bound - slack)),
            share: slack / MAX_FILLING_HOSTS,
            sent: 0,
            under_way: known.under_way,
            total: known.total,
            full: false,
        };
    }

    fn count(&self, mut known: MutexGuard<'_, Known>, bytes: u64) -> Reservation<'_> {
        known.held = known.held.saturating_add(bytes);
        known.sent = known.sent.saturating_add(bytes);
        known.total = known.total.saturating_add(bytes);
        known.under_way = known.under_way.saturating_add(bytes);
        Reservation { capacity: self, bytes }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

impl Known {
    fn has(&self, bytes: u64) -> bool {
        self.held.saturating_add(bytes) <= self.limit
    }
}

/// What is kept free below a stream's own `bound`.
fn slack(bound: u64) -> u64 {
    SLACK_BYTES.min(bound / 4)
}

/// The size of headers as they are sent, in bytes.
pub fn header_bytes(headers: &async_nats::HeaderMap) -> usize {
    let line = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| name.len() + value.as_str().len() + 4).sum::<usize>()
    };
    12 + headers.iter().map(line).sum::<usize>()
}
