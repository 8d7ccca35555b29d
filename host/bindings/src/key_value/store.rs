//! A key-value store as components see it, whether it is kept in a local file, in NATS, in Redis or in MongoDB.
//!
//! The limits on keys, values and batches are the same for every kind, and are checked here before anything is sent.
//! All kinds promise this: a write is acknowledged once it is stored; a read sees every write that was acknowledged
//! before it, on any host; increment and compare-and-swap are atomic across all hosts. A number of `increment`, read as
//! a value, is decimal digits; the other form, which release 0.1.0 wrote, is still read (see `types::number`).
//!
//! The kinds differ in this, because their servers do:
//!
//! | | file | NATS | Redis | MongoDB |
//! |---|---|---|---|---|
//! | a batch of writes | all or none | one after the other | all or none | one after the other |
//! | a listing while others write | in order, each key once | in the order of writing; a key that is written may come twice | in no order; a key may come twice | in order, each key once |
//! | how long it is kept | for good | as the bucket's replicas are | as the server is configured | as most of the set's members have it |
//!
//! A store on a server that is away fails with an error that names it, within [`SERVER_TIMEOUT`](super::SERVER_TIMEOUT)
//! (on NATS, whose servers may be about to elect a leader, a little longer), and works again by itself.

use super::error::StoreError;
use super::file::File;
#[cfg(feature = "mongodb")]
use super::mongodb::Collection;
use super::nats::Bucket;
use super::redis::Database;
use super::types::{MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_KEY_BYTES, MAX_VALUE_BYTES, Page, Swap, Version, Versioned};
use crate::boundary::{Boundaries, Boundary};
use crate::call::CallContext;
use crate::tape::{self, Tape};
use crate::trace::Span;
use serde::Serialize;
use serde::de::DeserializeOwned;
#[cfg(feature = "mongodb")]
use souk_manifest::MongoUrl;
use souk_manifest::RedisUrl;
use souk_nats::Nats;
use std::path::Path;
use std::sync::Arc;

/// One open store; shared by all instances of all components that it is granted to.
pub struct Store {
    kind: Arc<Kind>,
    boundary: Boundary,
    label: Arc<str>,
    /// The span of the call that runs the operations.
    span: Span,
    /// The tape of that call, if it is recorded or replayed.
    tape: Option<Arc<Tape>>,
}

enum Kind {
    File(File),
    Nats(Box<Bucket>),
    Redis(Box<Database>),
    #[cfg(feature = "mongodb")]
    Mongo(Box<Collection>),
}

impl Store {
    fn of(kind: Kind) -> Self {
        let (kind, boundary, span) = (Arc::new(kind), Boundary::off(), Span::default());
        Store { kind, boundary, label: "".into(), span, tape: None }
    }

    /// The same store, with the boundary that its operations cross.
    pub fn crossing(self, boundaries: &Boundaries, label: &str) -> Self {
        let system = match &*self.kind {
            Kind::File(_) => "sqlite",
            Kind::Nats(_) => "nats",
            Kind::Redis(_) => "redis",
            #[cfg(feature = "mongodb")]
            Kind::Mongo(_) => "mongodb",
        };
        Store { boundary: boundaries.key_value(label, system), label: label.into(), ..self }
    }

    /// The store for the host's own operations, which appear in no metric and no trace.
    pub fn unmeasured(&self) -> Self {
        let (kind, label) = (self.kind.clone(), self.label.clone());
        Store { kind, boundary: Boundary::off(), label, span: Span::default(), tape: None }
    }

    /// The store for the operations of `call`.
    pub(super) fn within(self: &Arc<Self>, call: &CallContext) -> Arc<Self> {
        let CallContext { span, tape, .. } = call;
        if !span.is_recorded() && tape.is_none() {
            return self.clone();
        }
        let Store { kind, boundary, label, .. } = &**self;
        let (kind, boundary, label) = (kind.clone(), boundary.clone(), label.clone());
        Arc::new(Store { kind, boundary, label, span: span.clone(), tape: tape.clone() })
    }

    /// Runs an operation of a guest.
    ///
    /// What asks a server is in a box: otherwise the largest of these futures would give all of them its 14 KB, which
    /// wasmtime moves nine times for each read of a file.
    async fn operation<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        arguments: impl FnOnce() -> String,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut crossing = self.boundary.open(&self.span);
        crossing.name(|| format!("{name} {}", self.label));
        let result = match &self.tape {
            None => work.await,
            Some(tape) => {
                let asked = tape::asked(Some(tape), "key-value", || format!("{} {name} {}", self.label, arguments()));
                // Boxed, because recording is rare and the future of an operation is already large.
                Box::pin(recorded(asked, work)).await
            }
        };
        crossing.close_with(&result, StoreError::name);
        result
    }

    /// Opens the store `label` in the file `path`, and creates the file if it is missing. Blocks, so only for start-up.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a store; the message names the label and the path.
    pub fn open(path: &Path, label: &str) -> anyhow::Result<Self> {
        File::open(path, label).map(|file| Store::of(Kind::File(file)))
    }

    /// Opens the store `label` in a bucket of NATS, and creates the bucket if it is missing; `None` means the bucket
    /// that is named after the application and the label.
    ///
    /// # Errors
    /// When NATS does not answer, has no JetStream, or the bucket is not fit for a store; the message has the fix.
    pub async fn in_nats(nats: &Nats, bucket: Option<&str>, label: &str) -> anyhow::Result<Self> {
        Bucket::open(nats, bucket, label).await.map(|bucket| Store::of(Kind::Nats(Box::new(bucket))))
    }

    /// Opens the store `label` in a database of Redis.
    ///
    /// # Errors
    /// When the server does not answer or refuses; the message has the fix, and no password.
    pub async fn in_redis(url: &RedisUrl, label: &str) -> anyhow::Result<Self> {
        Database::open(url, label).await.map(|database| Store::of(Kind::Redis(Box::new(database))))
    }

    /// Opens the store `label` in a collection of MongoDB, and creates the collection if it is missing.
    ///
    /// # Errors
    /// When the server does not answer or refuses; the message has the fix, and no password.
    #[cfg(feature = "mongodb")]
    pub async fn in_mongodb(url: &MongoUrl, collection: &str, label: &str) -> anyhow::Result<Self> {
        Collection::open(url, collection, label).await.map(|collection| Store::of(Kind::Mongo(Box::new(collection))))
    }

    /// Checks that the server of this store answers; a store in a file always does.
    ///
    /// # Errors
    /// The reason why it does not.
    pub async fn probe(&self) -> Result<(), StoreError> {
        match &*self.kind {
            Kind::File(_) => Ok(()),
            Kind::Nats(bucket) => Box::pin(bucket.get_versioned(PROBED_KEY)).await.map(drop),
            Kind::Redis(database) => Box::pin(database.exists(PROBED_KEY)).await.map(drop),
            #[cfg(feature = "mongodb")]
            Kind::Mongo(collection) => Box::pin(collection.version(PROBED_KEY)).await.map(drop),
        }
    }

    /// The largest value that this store accepts, in bytes: [`MAX_VALUE_BYTES`], or less if the server's messages are
    /// smaller.
    pub fn max_value(&self) -> usize {
        match &*self.kind {
            Kind::Nats(bucket) => bucket.max_value().min(MAX_VALUE_BYTES),
            _ => MAX_VALUE_BYTES,
        }
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// When the key is too long or the store fails. The same is true for every operation below.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_key(key)?;
        self.operation("get", || format!("{key:?}"), async {
            match &*self.kind {
                Kind::File(file) => file.get_versioned(key).map(value),
                Kind::Nats(bucket) => Box::pin(bucket.get_versioned(key)).await.map(value),
                Kind::Redis(database) => Box::pin(database.get(key)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.get_versioned(key)).await.map(value),
            }
        })
        .await
    }

    /// The value of `key` and its version.
    pub async fn get_versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        check_key(key)?;
        self.operation("get-versioned", || format!("{key:?}"), async {
            match &*self.kind {
                Kind::File(file) => file.get_versioned(key),
                Kind::Nats(bucket) => Box::pin(bucket.get_versioned(key)).await,
                Kind::Redis(database) => Box::pin(database.get_versioned(key)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.get_versioned(key)).await,
            }
        })
        .await
    }

    /// Only the version of `key`; `None` when there is no such key.
    pub async fn version(&self, key: &str) -> Result<Option<Version>, StoreError> {
        check_key(key)?;
        self.operation("version", || format!("{key:?}"), async {
            match &*self.kind {
                Kind::File(file) => file.version(key),
                Kind::Nats(bucket) => Ok(Box::pin(bucket.get_versioned(key)).await?.map(|(_, version)| version)),
                Kind::Redis(database) => Box::pin(database.version(key)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.version(key)).await,
            }
        })
        .await
    }

    /// Whether there is such a key.
    pub async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        check_key(key)?;
        match &*self.kind {
            Kind::Redis(database) => {
                self.operation("exists", || format!("{key:?}"), Box::pin(database.exists(key))).await
            }
            _ => Ok(self.version(key).await?.is_some()),
        }
    }

    /// A page of keys: the first one, or the one that begins at `from`.
    ///
    /// A listing of several pages is not a snapshot: it may or may not contain a key that is written meanwhile.
    pub async fn keys(&self, from: Option<&str>) -> Result<Page, StoreError> {
        self.operation("keys", || format!("{from:?}"), async {
            match &*self.kind {
                Kind::File(file) => file.keys(from),
                Kind::Nats(bucket) => Box::pin(bucket.keys(from)).await,
                Kind::Redis(database) => Box::pin(database.keys(from)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.keys(from)).await,
            }
        })
        .await
    }

    /// The values of `keys`, in their order.
    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        check_batch(&keys)?;
        let arguments = if self.tape.is_some() { format!("{keys:?}") } else { String::new() };
        self.operation("get-many", || arguments, async {
            match &*self.kind {
                Kind::File(file) => file.get_many(keys).await,
                Kind::Nats(bucket) => Box::pin(bucket.get_many(keys)).await,
                Kind::Redis(database) => Box::pin(database.get_many(keys)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.get_many(keys)).await,
            }
        })
        .await
    }

    /// Sets `key` to `value`.
    pub async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError> {
        self.set_many(vec![(key, value)]).await
    }

    /// Sets all `entries`; of two entries with the same key, the later one counts.
    pub async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        check_batch_length(entries.len())?;
        for (key, value) in &entries {
            check_key(key)?;
            self.check_value(value)?;
        }
        if entries.iter().map(|(_, value)| value.len()).sum::<usize>() > MAX_BATCH_BYTES {
            return Err(StoreError::BatchTooLarge);
        }
        let arguments = if self.tape.is_some() { shown_entries(&entries) } else { String::new() };
        self.operation("set-many", || arguments, async {
            match &*self.kind {
                Kind::File(file) => file.set_many(entries).await,
                Kind::Nats(bucket) => Box::pin(bucket.set_many(entries)).await,
                Kind::Redis(database) => Box::pin(database.set_many(entries)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.set_many(entries)).await,
            }
        })
        .await
    }

    /// Deletes `keys`; a missing key is not an error.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        check_batch(&keys)?;
        let arguments = if self.tape.is_some() { format!("{keys:?}") } else { String::new() };
        self.operation("delete-many", || arguments, async {
            match &*self.kind {
                Kind::File(file) => file.delete_many(keys).await,
                Kind::Nats(bucket) => Box::pin(bucket.delete_many(keys)).await,
                Kind::Redis(database) => Box::pin(database.delete_many(keys)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.delete_many(keys)).await,
            }
        })
        .await
    }

    /// Adds `delta` to the number under `key`, which is 0 when there is none, and returns the sum.
    pub async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        check_key(&key)?;
        let arguments = if self.tape.is_some() { format!("{key:?} {delta}") } else { String::new() };
        self.operation("increment", || arguments, async {
            match &*self.kind {
                Kind::File(file) => file.increment(key, delta).await,
                Kind::Nats(bucket) => Box::pin(bucket.increment(&key, delta)).await,
                Kind::Redis(database) => Box::pin(database.increment(&key, delta)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.increment(&key, delta)).await,
            }
        })
        .await
    }

    /// Sets `key` to `value` if its version is still `expected` (`None`: if there is still no such key).
    pub async fn swap(&self, key: String, expected: Option<Version>, value: Vec<u8>) -> Result<Swap, StoreError> {
        check_key(&key)?;
        self.check_value(&value)?;
        let arguments = match &self.tape {
            Some(_) => format!("{key:?} {expected:?} {:?}", tape::shown_bytes(&value)),
            None => String::new(),
        };
        self.operation("swap", || arguments, async {
            match &*self.kind {
                Kind::File(file) => file.swap(key, expected, value).await,
                Kind::Nats(bucket) => Box::pin(bucket.swap(&key, expected, value)).await,
                Kind::Redis(database) => Box::pin(database.swap(&key, expected, &value)).await,
                #[cfg(feature = "mongodb")]
                Kind::Mongo(collection) => Box::pin(collection.swap(&key, expected, value)).await,
            }
        })
        .await
    }

    fn check_value(&self, value: &[u8]) -> Result<(), StoreError> {
        let (size, most) = (value.len(), self.max_value());
        if size > most { Err(StoreError::ValueTooLarge { size, most }) } else { Ok(()) }
    }
}

/// Runs an operation of a call that is recorded or replayed. A recording keeps only the text of an error, because the
/// guest learns no more.
async fn recorded<T: Serialize + DeserializeOwned>(
    asked: Option<tape::Asked<'_>>,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut failed = None;
    let live = async {
        work.await.map_err(|error| {
            let text = error.to_string();
            failed = Some(error);
            text
        })
    };
    match tape::over(asked, live).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(text)) => Err(failed.unwrap_or(StoreError::Recorded(text))),
        Err(differs) => Err(StoreError::Recorded(differs.to_string())),
    }
}

/// The key that [`Store::probe`] asks for to see whether the server answers. It need not exist.
const PROBED_KEY: &str = "souk-readiness";

/// Entries as a recording shows them.
fn shown_entries(entries: &[(String, Vec<u8>)]) -> String {
    let entries: Vec<_> = entries.iter().map(|(key, value)| (key, tape::shown_bytes(value))).collect();
    format!("{entries:?}")
}

fn value(found: Option<Versioned>) -> Option<Vec<u8>> {
    found.map(|(value, _)| value)
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.len() > MAX_KEY_BYTES { Err(StoreError::KeyTooLong(key.len())) } else { Ok(()) }
}

fn check_batch_length(keys: usize) -> Result<(), StoreError> {
    if keys > MAX_BATCH_KEYS { Err(StoreError::BatchTooLong(keys)) } else { Ok(()) }
}

fn check_batch(keys: &[String]) -> Result<(), StoreError> {
    check_batch_length(keys.len())?;
    keys.iter().try_for_each(|key| check_key(key))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
