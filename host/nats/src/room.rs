//! How full a stream is, as far as this host knows: it refuses a message itself before the server's own bound is reached.
//! The streams of durable messages and the buckets of key-value stores are kept from losing anything by it.
//!
//! The server cannot be left to do it. With `discard: new` nats-server 2.9 compares less than it stores (not the subject,
//! nor what it adds to a record), and what is over the bound then it makes room for by deleting the oldest messages, which
//! were acknowledged. So a stream's own bound is [`SLACK`] above the limit, or where that is too much, a quarter of it is
//! kept free. What the hosts do not know of each other must stay within that: each asks the server how full the stream is
//! when a second has passed, and when it has sent a [share](SHARES) of what is kept free.

use async_nats::jetstream::stream::{Info, Stream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How far the server's bound is above the limit, in bytes.
pub const SLACK: u64 = 64 << 20;
/// A host sends one part of so many of what is kept free before it asks again: so many hosts may fill a stream at once.
const SHARES: u64 = 16;
/// How long what the server has said of a stream is gone by, with what this host has sent since.
const FRESH: Duration = Duration::from_secs(1);
/// How long it is gone by that a stream is full: each refusal would else be a question too.
const FULL: Duration = Duration::from_millis(100);
/// How long the server is waited for.
const ANSWER: Duration = Duration::from_secs(2);
/// What a record takes beside its headers, its subject and its payload, and more.
const RECORD: usize = 64;

/// The room of one stream.
pub struct Room {
    limit: Option<u64>,
    known: Mutex<Known>,
    /// Held while the server is asked: whoever comes meanwhile goes by the same answer. Where there is none, each asks in its
    /// turn, within the deadline of its caller.
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
    /// Whether something had no room when the server was asked.
    full: bool,
}

/// Room for a message, for as long as it is being sent.
pub struct Taken<'r> {
    room: &'r Room,
    bytes: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut known = self.room.known();
        known.under_way = known.under_way.saturating_sub(self.bytes);
    }
}

impl Room {
    /// The room of a stream that is to hold at most `limit` bytes, and whose own bound is [`SLACK`] above it; or without a
    /// limit, of one that has the bound that somebody gave it.
    pub fn new(limit: Option<u64>) -> Self {
        Room { limit, known: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Takes room in `stream` for one more message; `None` when there is none. Where the server does not say how full it
    /// is, the message may be tried: that says why.
    pub async fn take<I>(
        &self,
        stream: &Stream<I>,
        subject: &str,
        headers: usize,
        payload: usize,
    ) -> Option<Taken<'_>> {
        let bytes = u64::try_from(RECORD + subject.len() + headers + payload).unwrap_or(u64::MAX);
        if let Some(known) = self.take_known(bytes) {
            return known;
        }
        let _asking = self.asking.lock().await;
        if let Some(known) = self.take_known(bytes) {
            return known;
        }
        let before = {
            let known = self.known();
            known.total.saturating_sub(known.under_way)
        };
        let Ok(Ok(info)) = timeout(ANSWER, stream.get_info()).await else {
            return Some(self.count(self.known(), bytes));
        };
        let mut known = self.known();
        self.learn(&mut known, &info, before);
        known.full = !known.has(bytes);
        (!known.full).then(|| self.count(known, bytes))
    }

    /// Something was deleted, or has been delivered: where there was no room, the server is asked again.
    pub fn forget(&self) {
        let mut known = self.known();
        if std::mem::take(&mut known.full) {
            known.asked = None;
        }
    }

    /// Takes room without asking the server, or is told that there is none; `None` where the server is to be asked.
    fn take_known(&self, bytes: u64) -> Option<Option<Taken<'_>>> {
        let known = self.known();
        let age = known.asked?.elapsed();
        match known.has(bytes) {
            true if age < FRESH && known.sent < known.share => Some(Some(self.count(known, bytes))),
            false if known.full && age < FULL => Some(None),
            _ => None,
        }
    }

    /// What the server says, which has counted all that was sent `before` it was asked, and perhaps more.
    fn learn(&self, known: &mut Known, info: &Info, before: u64) {
        let bound = u64::try_from(info.config.max_bytes).ok().filter(|bound| *bound > 0);
        let slack = bound.map_or(SLACK, slack);
        *known = Known {
            asked: Some(Instant::now()),
            held: info.state.bytes.saturating_add(known.total.saturating_sub(before)),
            limit: self.limit.unwrap_or_else(|| bound.map_or(u64::MAX, |bound| bound - slack)),
            share: slack / SHARES,
            sent: 0,
            under_way: known.under_way,
            total: known.total,
            full: false,
        };
    }

    fn count(&self, mut known: MutexGuard<'_, Known>, bytes: u64) -> Taken<'_> {
        known.held = known.held.saturating_add(bytes);
        known.sent = known.sent.saturating_add(bytes);
        known.total = known.total.saturating_add(bytes);
        known.under_way = known.under_way.saturating_add(bytes);
        Taken { room: self, bytes }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn has(&self, bytes: u64) -> bool {
        self.held.saturating_add(bytes) <= self.limit
    }
}

/// What is kept free below a stream's own `bound`.
fn slack(bound: u64) -> u64 {
    SLACK.min(bound / 4)
}

/// The bytes of headers as they are sent.
pub fn size(headers: &async_nats::HeaderMap) -> usize {
    let line = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| name.len() + value.as_str().len() + 4).sum::<usize>()
    };
    12 + headers.iter().map(line).sum::<usize>()
}
