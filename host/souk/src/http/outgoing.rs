//! Counts a response's bytes until they are written to the client.
//!
//! hyper takes a body's chunks before it can send them: an HTTP/2 stream without a window buffers one chunk, and so
//! does a connection that nobody reads. So a chunk is charged to its request's account until its last byte has been
//! written, and until then the request is in progress.
//!
//! An HTTP/2 stream gets a large response in pieces (`unsent`), so a stream that nobody reads can be reset without its
//! connection.

use super::activity::UnderWay;
use super::budget::{Account, End};
use super::pace::Pace;
use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A response that is being sent.
pub struct Outgoing {
    under_way: UnderWay,
    account: Arc<Account>,
    end: End,
    /// How long the client may stall it.
    max_stall: Duration,
    sending: Mutex<Sending>,
}

struct Sending {
    /// Bytes that hyper has taken but not written.
    outstanding: u64,
    /// Since when it has waited for the client, while some bytes are outstanding.
    since: Instant,
    pace: Pace,
    /// When the call that writes the body ends.
    call_until: Instant,
}

impl Outgoing {
    /// A response of the request `under_way`. Its call may run until `call_until`; `pace` limits how long the client
    /// may keep it waiting.
    pub fn new(under_way: UnderWay, account: Arc<Account>, end: End, pace: Pace, call_until: Instant) -> Arc<Self> {
        let sending = Sending { outstanding: 0, since: Instant::now(), pace, call_until };
        Arc::new(Outgoing { under_way, account, end, max_stall: pace.left(), sending: Mutex::new(sending) })
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock()
    }

    /// Keeps `bytes` to pass them on in [`pieces`](Self::piece()), if they are large and the response has an HTTP/2 stream;
    /// otherwise gives them back.
    pub fn keep(&self, bytes: Bytes) -> Result<(), Bytes> {
        match &self.end {
            End::Stream(stream, _) => stream.state.unsent.keep(bytes),
            End::Task(_) | End::Connection(_) => Err(bytes),
        }
    }

    /// Passes on the next piece of what it keeps; `None` when the request was ended in the meantime.
    pub fn piece(self: &Arc<Self>) -> Option<Chunk> {
        match &self.end {
            End::Stream(stream, _) => stream.state.unsent.piece().map(|piece| self.chunk(piece)),
            End::Task(_) | End::Connection(_) => None,
        }
    }

    /// Frees what it keeps.
    pub fn free(&self) {
        if let End::Stream(stream, _) = &self.end {
            stream.state.unsent.free();
        }
    }

    /// Charges `bytes` that the response holds or is about to pass on.
    pub fn charge(&self, bytes: usize) {
        self.account.force(bytes as u64);
    }

    /// Gives back the charge for bytes that are not sent after all.
    pub fn discharge(&self, bytes: usize) {
        self.account.give_back(bytes as u64);
    }

    /// Passes on `bytes`, which were charged before.
    pub fn chunk(self: &Arc<Self>, bytes: Bytes) -> Chunk {
        let mut sending = self.sending();
        if sending.outstanding == 0 {
            sending.since = Instant::now();
            self.account.waits(self.end.clone());
            self.under_way.waits_until(sending.since + sending.pace.left());
        }
        sending.outstanding += bytes.len() as u64;
        drop(sending);
        Chunk { bytes, outgoing: Some(self.clone()) }
    }

    /// `bytes` have been written, or dropped.
    fn sent(&self, bytes: u64) {
        let mut sending = self.sending();
        let now = Instant::now();
        let waited = now.saturating_duration_since(sending.since);
        sending.pace.used(waited, bytes);
        sending.since = now;
        sending.outstanding = sending.outstanding.saturating_sub(bytes);
        let waiting = sending.outstanding > 0;
        self.account.sent(bytes, waiting);
        if waiting {
            self.under_way.waits_until(now + sending.pace.left());
        } else {
            self.under_way.works_until(sending.call_until.max(now) + self.max_stall);
        }
    }
}

/// A part of a response.
pub struct Chunk {
    bytes: Bytes,
    outgoing: Option<Arc<Outgoing>>,
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(outgoing) = &self.outgoing
            && count > 0
        {
            outgoing.sent(count as u64);
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Chunk { bytes, outgoing: None }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(outgoing) = &self.outgoing
            && !self.bytes.is_empty()
        {
            outgoing.sent(self.bytes.len() as u64);
        }
    }
}
