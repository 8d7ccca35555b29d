//! A key-value store in a bucket of NATS JetStream, shared by all hosts that use it.
//!
//! A bucket is a stream that keeps the last message of each subject; a value's version is its message's number in the
//! stream. Compare-and-swap is one message that the server accepts only while the last message of its subject is the
//! expected one. Increment is a compare-and-swap that is tried again until it succeeds.
//!
//! This is not enough on a stream with replicas: older servers (such as 2.9) compare when the leader accepts a message,
//! not when it is stored. So two messages that arrive at almost the same time are both stored, and the first is lost.
//! Therefore every write to such a stream, also a plain write or a deletion, names the message that it replaces in its
//! `Nats-Msg-Id`: a server stores only the first of several messages with the same id, and reports the others as
//! duplicates. Where nothing is replaced, old servers compare when they store, too.
//!
//! Reads ask the stream's leader, which has every acknowledged write; a follower that lacks the latest writes could
//! answer the faster "direct get". While a cluster elects a new leader, nobody can answer. So reads, and writes that
//! reached no leader, are tried again until [`ELECTION_TIMEOUT`] is over.
//!
//! A deleted key leaves nothing behind: its subject is purged, because deletion markers would stay for ever and fill
//! the bucket. Deletion markers of other programs are understood.
//!
//! Nothing is written for which the bucket has no [room](StreamCapacity): the server would delete the oldest values. A
//! deletion, or a value that replaces one of the same size or larger, needs no room.
//!
//! Nothing is sent while there is no connection: the client would buffer the write, and send it long after the caller
//! was told that it failed.

use super::conflicts::Conflicts;
use super::error::StoreError;
use super::types::{KEYS_PAGE, MAX_BATCH_BYTES, Page, SERVER_TIMEOUT, Swap, Version, Versioned, add};
use super::{bucket, names};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, ErrorCode, kv};
use async_nats::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use souk_nats::stream_capacity::{StreamCapacity, header_bytes};
use souk_nats::{Nats, Outage};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{sleep, timeout};

souk_manifest::fixed_limits! {
    /// The fixed limits of the key-value store in NATS.
    pub(crate) const FIXED_LIMITS = "key-value: NATS";

    /// How long one request may take; then it is sent again if that does no harm.
    const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
    /// How long a cluster may take to elect the leader of a bucket. After a leader was killed, it can take nine seconds
    /// or more until a server answers.
    pub const ELECTION_TIMEOUT: Duration = Duration::from_secs(12);
    /// The pause before a request is sent again.
    const RETRY_INTERVAL: Duration = Duration::from_millis(100);
    /// How long requests wait for a lost connection; after that they fail at once. Usually another server of the
    /// cluster accepts the connection immediately.
    const OUTAGE_GRACE: Duration = Duration::from_secs(2);
    /// The most requests of one batch that are in progress at the same time.
    const MAX_CONCURRENT_REQUESTS: usize = 16, "requests";
    /// The part of the server's `max_payload` that is left free for a message's headers, which hold the key's name.
    const HEADERS_HEADROOM_BYTES: usize = 1024, bytes;
}

/// A store in a bucket.
pub(super) struct Bucket {
    label: Arc<str>,
    nats: Nats,
    jetstream: jetstream::Context,
    bucket: kv::Store,
    /// Whether every write must name the message that it replaces.
    replicated: bool,
    capacity: StreamCapacity,
    /// Increments of this host wait here for their turn, so that only hosts compete and no increment starves.
    turns: AsyncMutex<()>,
}

/// The state of a key: a value with its revision, or no value, with revision 0 or the revision of a deletion marker.
struct Entry {
    value: Option<Vec<u8>>,
    revision: u64,
}

impl Entry {
    /// Whether a bucket does not grow when `value` replaces this entry.
    fn is_as_large(&self, value: &Bytes) -> bool {
        self.value.as_ref().is_some_and(|there| there.len() >= value.len())
    }

    fn version(&self) -> Option<Version> {
        self.value.as_ref().map(|_| Version(self.revision.into()))
    }
}

impl Bucket {
    /// Opens the bucket `bucket`, or the one named after the application and `label`; creates it if it is missing.
    ///
    /// # Errors
    /// When NATS has no JetStream or cannot keep such a bucket, and when the bucket's settings do not suit a store; the
    /// message has the fix.
    pub(super) async fn open(nats: &Nats, bucket: Option<&str>, label: &str) -> anyhow::Result<Self> {
        let name = bucket.map_or_else(|| nats.subjects().bucket(label), str::to_owned);
        let bucket = bucket::open(nats, &name).await?;
        let replicated = bucket.stream.cached_info().config.num_replicas > 1;
        Ok(Bucket {
            label: label.into(),
            nats: nats.clone(),
            jetstream: nats.jetstream(),
            bucket,
            replicated,
            capacity: StreamCapacity::new(None),
            turns: AsyncMutex::default(),
        })
    }

    /// The largest value that fits into a message, in bytes.
    pub(super) fn max_value(&self) -> usize {
        self.nats.client().max_payload().saturating_sub(HEADERS_HEADROOM_BYTES)
    }

    /// The value of `key` and its version.
    pub(super) async fn get_versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let entry = self.within(self.entry(key)).await?;
        let version = entry.version();
        Ok(entry.value.zip(version))
    }

    /// The values of `keys`, in their order.
    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        let gets = keys.into_iter().map(|key| async move {
            let value = self.entry(&key).await?.value;
            Ok::<_, StoreError>((key, value))
        });
        let work = async {
            let (mut bytes, mut found) = (0, Vec::new());
            let mut answers = stream::iter(gets).buffered(MAX_CONCURRENT_REQUESTS);
            while let Some((key, value)) = answers.try_next().await? {
                bytes += value.as_ref().map_or(0, Vec::len);
                if bytes > MAX_BATCH_BYTES {
                    return Err(StoreError::BatchTooLarge);
                }
                found.push((key, value));
            }
            Ok(found)
        };
        self.within(work).await
    }

    /// Sets all `entries`, one after the other: an error may come after some of them.
    pub(super) async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        // Several writes are in progress at the same time, so no key may occur twice.
        let entries: BTreeMap<String, Vec<u8>> = entries.into_iter().collect();
        let puts = entries.into_iter().map(|(key, value)| async move {
            let value = Bytes::from(value);
            let (mut replaced, mut conflicts) = (self.replaced(&key).await?, Conflicts::default());
            while self.publish(&key, value.clone(), replaced, HeaderMap::new()).await?.is_none() {
                conflicts.again(&self.label).await?;
                replaced = self.replaced(&key).await?;
            }
            Ok(())
        });
        self.within(stream::iter(puts).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect()).await
    }

    /// Deletes `keys`, one after the other: an error may come after some of them.
    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let deletes = keys.into_iter().map(|key| async move {
            let purge = self.bucket.stream.purge().filter(self.subject(&key));
            if !self.replicated {
                let purged = purge.await.map(drop).map_err(|error| self.failed(&error));
                self.capacity.refresh_if_full();
                return purged;
            }
            // A purge cannot compare revisions, but writing a deletion marker can. Then the marker is purged, but
            // nothing that came after it.
            let mut conflicts = Conflicts::default();
            loop {
                let revision = self.entry(&key).await?.revision;
                if revision == 0 {
                    return Ok(());
                }
                if let Some(mark) = self.publish(&key, Bytes::new(), Some(revision), deletion()).await? {
                    let purged = purge.sequence(mark + 1).await.map(drop).map_err(|error| self.failed(&error));
                    self.capacity.refresh_if_full();
                    return purged;
                }
                conflicts.again(&self.label).await?;
            }
        });
        self.within(stream::iter(deletes).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect()).await
    }

    /// Adds `delta` to the number under `key`, and returns the sum.
    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        self.within(async {
            let _turn = self.turns.lock().await;
            let mut conflicts = Conflicts::default();
            loop {
                let now = self.entry(key).await?;
                let (sum, stored) = add(now.value, delta)?;
                if self.update(key, stored.into(), now.revision).await? {
                    return Ok(sum);
                }
                conflicts.again(&self.label).await?;
            }
        })
        .await
    }

    /// Sets `key` to `value` if its version is still `expected` (`None`: if there is still no such key).
    pub(super) async fn swap(&self, key: &str, expected: Option<Version>, value: Vec<u8>) -> Result<Swap, StoreError> {
        let value = Bytes::from(value);
        self.within(async {
            // If no value is expected, there is usually no message at all.
            let mut revision = expected.map_or(0, |Version(revision)| u64::try_from(revision).unwrap_or(u64::MAX));
            let mut conflicts = Conflicts::default();
            while !self.update(key, value.clone(), revision).await? {
                let now = self.entry(key).await?;
                if expected.is_some() || now.value.is_some() {
                    return Ok(Swap::Stale(now.version()));
                }
                conflicts.again(&self.label).await?;
                revision = now.revision;
            }
            Ok(Swap::Done)
        })
        .await
    }

    /// A page of keys in the order in which they were written, from the message with the sequence number `from`.
    ///
    /// A temporary consumer of the stream sends the messages from there on, without the values.
    pub(super) async fn keys(&self, from: Option<&str>) -> Result<Page, StoreError> {
        let mut next = Some(from.map_or(Ok(1), str::parse).map_err(|_| StoreError::Cursor)?);
        self.within(async {
            let mut keys = Vec::new();
            while let Some(from) = next.filter(|_| keys.is_empty()) {
                next = self.scan(from, &mut keys).await.map_err(|error| self.failed(&*error))?;
            }
            Ok(Page { keys, next: next.map(|next| next.to_string()) })
        })
        .await
    }

    /// Adds the keys of some messages from `from` on to `keys`; returns where the next messages begin, if there are
    /// more.
    async fn scan(&self, from: u64, keys: &mut Vec<String>) -> Result<Option<u64>, async_nats::Error> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ack_policy: AckPolicy::None,
            headers_only: true,
            // The server removes the consumer after this time, if this function never gets to delete it.
            inactive_threshold: SERVER_TIMEOUT,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let consumer = self.bucket.stream.create_consumer(config).await?;
        let mut next = None;
        if consumer.cached_info().num_pending > 0 {
            let mut messages = consumer.fetch().max_messages(KEYS_PAGE).messages().await?;
            while let Some(message) = messages.try_next().await? {
                let info = message.info()?;
                next = (info.pending > 0).then_some(info.stream_sequence + 1);
                let deleted = message.headers.as_ref().is_some_and(is_deletion);
                let name = message.subject.strip_prefix(&self.bucket.prefix);
                keys.extend(name.and_then(names::decode).filter(|_| !deleted));
                if next.is_none() {
                    break;
                }
            }
        }
        self.bucket.stream.delete_consumer(&consumer.cached_info().name).await?;
        Ok(next)
    }

    fn subject(&self, key: &str) -> String {
        format!("{}{}", self.bucket.prefix, names::encode(key))
    }

    /// The leader's entry for `key`.
    async fn entry(&self, key: &str) -> Result<Entry, StoreError> {
        let subject = self.subject(key);
        loop {
            let answer =
                match timeout(REQUEST_TIMEOUT, self.bucket.stream.get_last_raw_message_by_subject(&subject)).await {
                    Ok(answer) => answer,
                    // There is no leader, so nothing is written either; any server that has the bucket may answer.
                    Err(_) => {
                        match timeout(REQUEST_TIMEOUT, self.bucket.stream.direct_get_last_for_subject(&subject)).await {
                            Ok(Ok(message)) => Ok(message),
                            _ => continue,
                        }
                    }
                };
            let error = match answer {
                Ok(message) if is_deletion(&message.headers) => {
                    return Ok(Entry { value: None, revision: message.sequence });
                }
                Ok(message) => return Ok(Entry { value: Some(message.payload.into()), revision: message.sequence }),
                Err(error) => error,
            };
            match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => return Ok(Entry { value: None, revision: 0 }),
                LastRawMessageErrorKind::Other => {}
                LastRawMessageErrorKind::JetStream(said) if said.error_code() == ErrorCode::CLUSTER_NOT_AVAILABLE => {}
                _ => return Err(self.failed(&error)),
            }
            tracing::debug!(label = %self.label, %error, "retrying a request to a key-value store in NATS");
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Sets `key` to `value` if `revision` is its last one; returns whether it did.
    async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<bool, StoreError> {
        Ok(self.publish(key, value, Some(revision), HeaderMap::new()).await?.is_some())
    }

    /// The revision that a write to `key` replaces, if the write must name it.
    async fn replaced(&self, key: &str) -> Result<Option<u64>, StoreError> {
        Ok(if self.replicated { Some(self.entry(key).await?.revision) } else { None })
    }

    /// Publishes the new message of `key`, if `replaced` is `None` or the last revision. Returns the new revision, or
    /// `None` if another one is the last.
    ///
    /// It is tried again while no server accepts messages for the bucket, because nothing was stored then.
    async fn publish(
        &self,
        key: &str,
        value: Bytes,
        replaced: Option<u64>,
        mut headers: HeaderMap,
    ) -> Result<Option<u64>, StoreError> {
        if let Some(revision) = replaced {
            headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(revision));
            // Every new key has revision 0; all other revisions are unique.
            if self.replicated && revision > 0 {
                headers.insert(header::NATS_MESSAGE_ID, format!("{}:{revision}", names::encode(key)));
            }
        }
        let subject = self.subject(key);
        let size = header_bytes(&headers);
        let reservation = self.capacity.reserve(&self.bucket.stream, &subject, size, value.len()).await;
        if reservation.is_none() && !is_deletion(&headers) && !self.entry(key).await?.is_as_large(&value) {
            return Err(StoreError::Full);
        }
        loop {
            let sent = self.jetstream.publish_with_headers(subject.clone(), headers.clone(), value.clone()).await;
            let stored = match sent {
                Ok(acknowledgement) => acknowledgement.await,
                Err(error) => Err(error),
            };
            let error = match stored {
                Ok(stored) => return Ok((!stored.duplicate).then_some(stored.sequence)),
                Err(error) => error,
            };
            match jetstream_error(&error).map(|error| (error.error_code(), error.to_string())) {
                _ if error.kind() == PublishErrorKind::StreamNotFound => sleep(RETRY_INTERVAL).await,
                Some((code, _)) if CONFLICTS.contains(&code) => return Ok(None),
                Some((code, _)) if FULL.contains(&code) => return Err(StoreError::Full),
                Some((ErrorCode::STREAM_STORE_FAILED, text)) if text.contains("maximum") => {
                    return Err(StoreError::Full);
                }
                _ => return Err(self.failed(&error)),
            }
        }
    }

    /// Runs `work` once there is a connection, and gives up after [`ELECTION_TIMEOUT`].
    async fn within<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let bounded = timeout(ELECTION_TIMEOUT, async {
            self.connected().await?;
            work.await
        });
        bounded.await.unwrap_or_else(|_| Err(self.unavailable(format!("no answer within {ELECTION_TIMEOUT:?}"))))
    }

    async fn connected(&self) -> Result<(), StoreError> {
        let mut outage = self.nats.outage();
        let Outage::Since(since) = *outage.borrow_and_update() else { return Ok(()) };
        let back = timeout(OUTAGE_GRACE.saturating_sub(since.elapsed()), outage.wait_for(|now| *now == Outage::None));
        match back.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.unavailable(format!("NATS has been away for {:.0?}", since.elapsed()))),
        }
    }

    /// Turns a failed request into the error for the guest and the log.
    fn failed(&self, error: &(dyn Error + 'static)) -> StoreError {
        // Its text includes the texts of its causes.
        self.unavailable(error.to_string())
    }

    fn unavailable(&self, cause: String) -> StoreError {
        StoreError::Server { label: self.label.clone(), cause }
    }
}

/// Whether a message is a deletion marker, as other programs write it.
fn is_deletion(headers: &HeaderMap) -> bool {
    let operation = headers.get("KV-Operation").map(|operation| operation.as_str());
    matches!(operation, Some("DEL" | "PURGE")) || headers.get("Nats-Marker-Reason").is_some()
}

/// The headers of a deletion marker.
fn deletion() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("KV-Operation", "DEL");
    headers
}

/// The error codes: another revision is the last one.
const CONFLICTS: [ErrorCode; 2] =
    [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT];

/// The error codes: the account or the server has no room.
const FULL: [ErrorCode; 2] = [ErrorCode::ACCOUNT_RESOURCES_EXCEEDED, ErrorCode::INSUFFICIENT_RESOURCES];

/// The error of JetStream itself, among the causes of `error`.
fn jetstream_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e jetstream::Error> {
    let mut chain = std::iter::successors(Some(error), |cause| (*cause).source());
    chain.find_map(|cause| cause.downcast_ref())
}
