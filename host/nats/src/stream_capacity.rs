//! Tracks how full a stream is, so that this host refuses a message before the server's own bound is reached. It
//! protects the streams of durable messages and the buckets of key-value stores from losing messages.
//!
//! The server's own bound is not safe. With `discard: new`, nats-server 2.9 checks a smaller size than it stores
//! (without the subject and the record's overhead). When the stream then exceeds the bound, the server deletes the
//! oldest messages, although they were acknowledged. So a stream's own bound is [`SLACK_BYTES`] above the limit; in a
//! stream without a limit of ours, up to a quarter of its bound is kept free. Messages that other hosts send unseen
//! must fit into this free space. So each host asks the server for the size of the stream after a second, and after it
//! has sent a [share](MAX_FILLING_HOSTS) of the free space.

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
    /// How many hosts may fill one stream at the same time: each may send one such part of the free space before it
    /// asks again.
    const MAX_FILLING_HOSTS: u64 = 16, "hosts";
    /// How long the server's answer about a stream is used; what this host has sent since is added.
    const INFO_TTL: Duration = Duration::from_secs(1);
    /// How long to remember that a stream is full, so that not every refusal asks the server again.
    const FULL_TTL: Duration = Duration::from_millis(100);
    /// How long the server may take to say how full a stream is.
    const INFO_TIMEOUT: Duration = Duration::from_secs(2);
    /// The size that a stored message counts for besides its headers, subject and payload.
    const RECORD_OVERHEAD_BYTES: usize = 64, bytes;
}

/// How full one stream is, as far as this host knows.
pub struct StreamCapacity {
    limit: Option<u64>,
    known: Mutex<Known>,
    /// Held while the server is asked: callers that arrive meanwhile use the same answer. If no answer comes, each
    /// caller asks in turn, within its own deadline.
    asking: tokio::sync::Mutex<()>,
}

/// What is known of a stream.
#[derive(Default)]
struct Known {
    /// When the server was asked.
    asked: Option<Instant>,
    /// The bytes in it, including those that this host has sent or is sending.
    held: u64,
    /// The most bytes that it may hold.
    limit: u64,
    /// How much this host may send before it asks again.
    share: u64,
    /// How much it has sent since it asked.
    sent: u64,
    /// The bytes that it is sending now: the server may or may not have counted them.
    in_flight: u64,
    /// All bytes that it has ever sent.
    total: u64,
    /// Whether a message did not fit when the server was last asked.
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
        known.in_flight = known.in_flight.saturating_sub(self.bytes);
    }
}

impl StreamCapacity {
    /// The capacity of a stream that may hold `limit` bytes, and whose own bound is [`SLACK_BYTES`] above that. `None`
    /// for a stream whose bound the host has not set.
    pub fn new(limit: Option<u64>) -> Self {
        StreamCapacity { limit, known: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Reserves space in `stream` for one more message; `None` when the stream is full. When the server does not answer
    /// how full it is, the message may be sent anyway: that fails with the reason.
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
            known.total.saturating_sub(known.in_flight)
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

    /// Updates `known` from the server's answer. The server has counted the `before` bytes that were sent before it was
    /// asked, and perhaps more.
    fn learn(&self, known: &mut Known, info: &Info, before: u64) {
        let bound = u64::try_from(info.config.max_bytes).ok().filter(|bound| *bound > 0);
        let slack = bound.map_or(SLACK_BYTES, slack);
        *known = Known {
            asked: Some(Instant::now()),
            held: info.state.bytes.saturating_add(known.total.saturating_sub(before)),
            limit: self.limit.unwrap_or_else(|| bound.map_or(u64::MAX, |bound| bound - slack)),
            share: slack / MAX_FILLING_HOSTS,
            sent: 0,
            in_flight: known.in_flight,
            total: known.total,
            full: false,
        };
    }

    fn count(&self, mut known: MutexGuard<'_, Known>, bytes: u64) -> Reservation<'_> {
        known.held = known.held.saturating_add(bytes);
        known.sent = known.sent.saturating_add(bytes);
        known.total = known.total.saturating_add(bytes);
        known.in_flight = known.in_flight.saturating_add(bytes);
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

/// The bytes that are kept free below a stream's own `bound`.
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
