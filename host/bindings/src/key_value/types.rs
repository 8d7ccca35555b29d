//! What the kinds of key-value stores and [`Store`](super::Store), which is one of them, share: bounds, and what
//! operations take and give.

use super::error::StoreError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of key-value stores.
    pub(crate) const FIXED_LIMITS = "key-value";

    /// The longest key, in UTF-8; Spin documents the same bound.
    pub const MAX_KEY_BYTES: usize = 255, bytes;
    /// The largest value; Spin documents 1 MB. It also bounds how long a read may hold up other calls.
    pub const MAX_VALUE_BYTES: usize = 1 << 20, bytes;
    /// The most keys that one batch call may name.
    pub const MAX_BATCH_KEYS: usize = 1_000, "keys";
    /// The most that the values of one batch call may take together, in or out: the host holds them in memory at once.
    pub const MAX_BATCH_BYTES: usize = 16 << 20, bytes;
    /// The number of keys in one page of a listing: at most 64 KiB, read from a file in well under a millisecond.
    pub const KEYS_PAGE: usize = 256, "keys";
    /// The most that a store in a file may take on disk. Redis has a bound of its own (`maxmemory`).
    pub const MAX_FILE_BYTES: u64 = 1 << 30, bytes;
    /// The most that a bucket which Souk makes in NATS may hold. JetStream keeps so much, and the stream's slack, free
    /// on each server of the bucket from the start; for another bound the operator makes the bucket, or changes it.
    pub const MAX_BUCKET_BYTES: u64 = 256 << 20, bytes;
    /// How long an operation waits for Redis or NATS. A call that has less time left ends at its own deadline.
    pub const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
}

/// Which write made a value: what a compare-and-swap compares in place of the value. It means nothing beyond this
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version(pub(super) u128);

/// A value with the version to compare in a later [`Store::swap`](super::Store::swap).
pub type Versioned = (Vec<u8>, Version);

/// What a compare-and-swap did.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swap {
    /// The value was replaced.
    Done,
    /// Somebody else wrote the key first; this is its version now (`None`: the key is gone).
    Stale(Option<Version>),
}

/// A part of a listing.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
