//! What the kinds of key-value stores and [`Store`](super::Store), which is one of them, share: bounds, and what
//! operations take and give.

use super::error::StoreError;
use std::time::Duration;

/// The longest key, in bytes of UTF-8; Spin documents the same bound.
pub const MAX_KEY_BYTES: usize = 255;
/// The largest value in bytes; Spin documents 1 MB. It also bounds what an inline read costs.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most keys that one batch call may name.
pub const MAX_BATCH_KEYS: usize = 1_000;
/// The most bytes of values that one batch call may carry in or out: they are held in the host's memory at once.
pub const MAX_BATCH_BYTES: usize = 16 << 20;
/// How many keys one page of a listing holds, about: at most 64 KiB, read in well under a millisecond from a file.
pub const KEYS_PAGE: usize = 256;
/// The most that a store in a file may hold on disk, in bytes. Redis has a bound of its own (`maxmemory`).
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// The same of a bucket that is made here. JetStream keeps so much, and
/// [`SLACK_BYTES`](souk_nats::stream_capacity::SLACK_BYTES), free on each server of the bucket from the start; for
/// another bound the operator makes the bucket, or changes it.
pub const MAX_BUCKET_BYTES: u64 = 256 << 20;
/// How long an operation waits for a server. A call that has less time left ends at its own deadline.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Which write made a value: what a compare-and-swap compares in place of the value. It means nothing beyond this
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub(super) u128);

/// A value with the version to compare in a later [`Store::swap`](super::Store::swap).
pub type Versioned = (Vec<u8>, Version);

/// What a compare-and-swap did.
#[derive(Debug, PartialEq, Eq)]
pub enum Swap {
    /// The value was replaced.
    Done,
    /// Somebody else wrote the key first; this is its version now (`None`: the key is gone).
    Stale(Option<Version>),
}

/// A part of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Some keys; none only at the end.
    pub keys: Vec<String>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Adds to a number as the file's and NATS' stores keep it, as Spin does: 8 bytes, little endian.
pub(super) fn add(number: Option<Vec<u8>>, delta: i64) -> Result<i64, StoreError> {
    let number = match number {
        Some(bytes) => i64::from_le_bytes(bytes.try_into().map_err(|_| StoreError::NotANumber)?),
        None => 0,
    };
    number.checked_add(delta).ok_or(StoreError::Overflow)
}
