//! Bounds what the driver buffers for one message of the server.
//!
//! sqlx reads a whole message before it returns it, and a row, like an error's text, may have up to 1 GiB. It makes
//! room for all of it as soon as it knows the length, and has no hook to refuse it. So this asks the allocator after
//! each poll how much more is held than before, and ends the statement when that is too much: by then the room is
//! reserved, but not filled. A relay, as MySQL has it, would cost an order a tenth of its processor time.
//!
//! Only jemalloc counts what each thread allocates; without the feature `jemalloc` a row has no bound but
//! PostgreSQL's until it is complete, when [`MAX_RESULT_BYTES`](super::MAX_RESULT_BYTES) refuses it.

use super::error::{After, Failure, failed};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

souk_manifest::fixed_limits! {
    /// The fixed limits of what the driver buffers.
    pub(crate) const FIXED_LIMITS = "postgres";

    /// The most bytes that the driver may buffer for one row or error; without the allocator jemalloc, a row may need
    /// 1 GiB. Some of them are copies, so that it is several times what a result may have. A larger row ends its
    /// statement and closes the connection.
    pub const MAX_BUFFERED_BYTES: usize = 64 << 20, bytes;
    /// A connection whose buffers grew to more than this is closed after use, because it would keep them.
    pub const MAX_KEPT_BUFFER_BYTES: usize = 1 << 20, bytes;
}

/// The most bytes that a driver held at one time for a message of a statement.
#[derive(Debug, Default)]
pub(super) struct Peak {
    bytes: usize,
    /// What the buffer of parameters may take besides.
    sending: usize,
}

impl Peak {
    /// Counts a row of this size.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.max(bytes);
    }

    /// Allows the driver to hold parameters of this many bytes, in a buffer that doubles as it grows.
    pub(super) fn allow_sending(&mut self, bytes: usize) {
        self.count(bytes);
        self.sending = bytes.saturating_mul(2);
    }

    /// Whether the connection would keep too much.
    pub(super) fn is_large(&self) -> bool {
        self.bytes > MAX_KEPT_BUFFER_BYTES
    }

    /// Waits for one answer of the driver.
    ///
    /// # Errors
    /// When the driver holds more than [`MAX_BUFFERED_BYTES`] for it. Its connection must be closed then.
    pub(super) async fn bound<F: Future>(&mut self, answer: F) -> Result<F::Output, Failure> {
        let mut answer = pin!(answer);
        let mut held = 0;
        // The allocator counts for each thread, and the task may go on in another one.
        poll_fn(|cx| {
            let before = allocated();
            let polled = answer.as_mut().poll(cx);
            held += allocated() - before;
            let bytes = usize::try_from(held).unwrap_or(0);
            self.count(bytes);
            if bytes > MAX_BUFFERED_BYTES.saturating_add(self.sending) {
                return Poll::Ready(Err(Failure { error: too_large(), session: After::Abandoned }));
            }
            polled.map(Ok)
        })
        .await
    }
}

fn too_large() -> super::Error {
    failed(&format!(
        "a row or error is much larger than {} MiB, so its connection was closed, and what the statement changed may be \
         lost; select less of it, for example with substring()",
        super::MAX_RESULT_BYTES >> 20
    ))
}

/// The bytes that this thread has allocated, less those that it has freed.
#[cfg(feature = "jemalloc")]
fn allocated() -> i64 {
    use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

    type Counters = (ThreadLocal<u64>, ThreadLocal<u64>);
    thread_local! {
        static COUNTERS: Option<Counters> = allocatedp::read().ok().zip(deallocatedp::read().ok());
    }
    COUNTERS.with(|counters| {
        counters.map_or(0, |(allocated, freed)| allocated.get().wrapping_sub(freed.get()).cast_signed())
    })
}

#[cfg(not(feature = "jemalloc"))]
fn allocated() -> i64 {
    0
}
