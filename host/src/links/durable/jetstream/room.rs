//! How full a stream is, as far as this host knows: it refuses a message itself before the server's own bound is reached.
//!
//! The server cannot be left to do it. With `discard: new` nats-server 2.9 compares less than it stores (not the subject,
//! nor what it adds to a record), and what is over the bound then it makes room for by deleting the oldest messages, which
//! were acknowledged. So a stream's own bound is [`SLACK`] above the limit, which all
//! hosts together would have to send within [`FRESH`] to get there.

use async_nats::jetstream::stream::Stream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How far the server's bound is above the limit, in bytes: what all hosts may send within [`FRESH`].
pub(super) const SLACK: u64 = 64 << 20;
/// How long what the server has said of a stream is gone by, with what this host has sent since.
const FRESH: Duration = Duration::from_secs(1);
/// What a record takes beside its headers, its subject and its payload, and more.
const RECORD: usize = 64;

/// The room of one stream.
pub(super) struct Room {
    limit: u64,
    /// When the server was asked, and the bytes that are in the stream.
    known: Mutex<Option<(Instant, u64)>>,
}

impl Room {
    /// The room of a stream that is to hold at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Room { limit, known: Mutex::new(None) }
    }

    /// Whether `stream` has room for one more message, which is counted if so. Where the server does not say, the
    /// message may be tried: that says why.
    pub(super) async fn has(&self, stream: &Stream<()>, subject: &str, headers: usize, payload: usize) -> bool {
        let bytes = u64::try_from(RECORD + subject.len() + headers + payload).unwrap_or(u64::MAX);
        if self.take(bytes) {
            return true;
        }
        let Ok(info) = stream.get_info().await else { return true };
        *self.known() = Some((Instant::now(), info.state.bytes));
        self.take(bytes)
    }

    fn take(&self, bytes: u64) -> bool {
        match &mut *self.known() {
            Some((when, held)) if when.elapsed() < FRESH && held.saturating_add(bytes) <= self.limit => {
                *held = held.saturating_add(bytes);
                true
            }
            _ => false,
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<(Instant, u64)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of headers as they are sent.
pub(super) fn size(headers: &async_nats::HeaderMap) -> usize {
    let line = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| name.len() + value.as_str().len() + 4).sum::<usize>()
    };
    12 + headers.iter().map(line).sum::<usize>()
}
