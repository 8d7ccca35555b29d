//! Limits and types that [`Store`](super::Store) and the kinds of key-value stores share.

use super::error::StoreError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of key-value stores.
    pub(crate) const FIXED_LIMITS = "key-value";

    /// The longest key, in UTF-8; Spin documents the same limit.
    pub const MAX_KEY_BYTES: usize = 255, bytes;
    /// The largest value; Spin documents 1 MB. It also limits how long a read may delay other calls.
    pub const MAX_VALUE_BYTES: usize = 1 << 20, bytes;
    /// The most keys in one batch call.
    pub const MAX_BATCH_KEYS: usize = 1_000, "keys";
    /// The most bytes of all values in one batch call, in either direction: the host holds them in memory at the same
    /// time.
    pub const MAX_BATCH_BYTES: usize = 16 << 20, bytes;
    /// The number of keys in one page of a listing: at most 64 KiB, read from a file in well under a millisecond.
    pub const KEYS_PAGE: usize = 256, "keys";
    /// The most bytes of a store in a file on the disk. Redis has its own limit (`maxmemory`).
    pub const MAX_FILE_BYTES: u64 = 1 << 30, bytes;
    /// The most bytes in a bucket that Souk creates in NATS. JetStream reserves this much, plus the stream's slack, on
    /// each server of the bucket from the start. For another limit, create or change the bucket yourself.
    pub const MAX_BUCKET_BYTES: u64 = 256 << 20, bytes;
    /// How long an operation waits for Redis, NATS or MongoDB. A call that has less time left ends at its own deadline.
    pub const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
}

/// Identifies the write that made a value; a compare-and-swap compares it instead of the value. It has no meaning
/// outside this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version(pub(super) u128);

/// A value with the version to compare in a later [`Store::swap`](super::Store::swap).
pub type Versioned = (Vec<u8>, Version);

/// The result of a compare-and-swap.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swap {
    /// The value was replaced.
    Done,
    /// Another write came first; this is the key's version now (`None`: the key is gone).
    Stale(Option<Version>),
}

/// A part of a listing.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Some keys; empty only at the end.
    pub keys: Vec<String>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Adds to a number of `increment`, and returns the sum and the bytes to store.
pub(super) fn add(stored: Option<Vec<u8>>, delta: i64) -> Result<(i64, Vec<u8>), StoreError> {
    let number = match stored {
        Some(bytes) => number(&bytes).ok_or(StoreError::NotANumber)?,
        None => 0,
    };
    let sum = number.checked_add(delta).ok_or(StoreError::Overflow)?;
    Ok((sum, digits(sum)))
}

/// The form in which every store keeps a number: decimal digits, which Redis counts with, and which a guest or another
/// program reads as they are.
pub(super) fn digits(number: i64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// The number in a value: digits, or the 8 bytes, little endian, that release 0.1.0 wrote everywhere but in Redis. Eight
/// bytes that are all digits are digits: as the old form they would be a number beyond 3 * 10^18.
pub(super) fn number(value: &[u8]) -> Option<i64> {
    let read = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    // `+1` and `007` are texts, as for Redis.
    let read = read.filter(|number| digits(*number) == value);
    read.or_else(|| value.try_into().ok().map(i64::from_le_bytes))
}
