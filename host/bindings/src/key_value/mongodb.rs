//! A key-value store in a collection of MongoDB, shared by all hosts that use it.
//!
//! A key is a document, `{ _id: KEY, value: BINARY, version: BINARY }`. The version is 16 random bytes, new with each
//! write, so a value that was deleted and created again does not count as the old one. Compare-and-swap is one update
//! of the document that has the expected version, or one insertion where there must be none; increment is a
//! compare-and-swap that is tried again until it succeeds. Nothing needs a transaction, because a server outside a
//! replica set has none.
//!
//! A write is acknowledged once most members of the replica set have it on disk, and a read asks the primary for data
//! that most of them have, so an election never undoes what was read. Where the set allows it, the driver repeats a
//! write that got no answer, with a transaction number by which the servers recognise it.
//!
//! This needs one guarantee, which MongoDB gives: an update of one document compares and writes atomically. FerretDB 1
//! with SQLite does not guarantee it.
//!
//! Documents of another shape belong to another program: they are refused, and a swap never overwrites them. A store
//! should have its own collection.

use super::conflicts::Conflicts;
use super::error::{StoreError, Unfit};
use super::types::{
    KEYS_PAGE, MAX_BATCH_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Page, SERVER_TIMEOUT, Swap, Version, Versioned, add,
};
use anyhow::Context as _;
use futures::TryStreamExt as _;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Database};
use souk_manifest::MongoUrl;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;

souk_manifest::fixed_limits! {
    /// The fixed limits of the key-value store in MongoDB.
    pub(crate) const FIXED_LIMITS = "key-value: MongoDB";

    /// How long it may take to connect, and to find a server that accepts writes.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
    /// The most connections of one store.
    const MAX_CONNECTIONS: u32 = 32, "connections";
    /// The most bytes of values in one command of a batch: a command is a document, and servers accept documents of up
    /// to 16 MiB.
    const MAX_COMMAND_BYTES: usize = 4 << 20, bytes;
}

/// The error code: another document has the key.
const DUPLICATE_KEY: i32 = 11000;

/// A store in a collection.
pub(super) struct Collection {
    label: Arc<str>,
    database: Database,
    documents: mongodb::Collection<Document>,
    /// Increments of this host wait here for their turn, so that only hosts compete and no increment starves.
    turns: AsyncMutex<()>,
}

impl Collection {
    /// Connects to the server.
    ///
    /// # Errors
    /// When it cannot be reached or refuses; the message contains no password.
    pub(super) async fn open(url: &MongoUrl, collection: &str, label: &str) -> anyhow::Result<Self> {
        let database = connect(url).await?;
        let documents = database.collection(collection);
        let store = Collection { label: label.into(), database, documents, turns: AsyncMutex::default() };
        // Fails now if the server is missing or wants a password, or if the collection is not a store.
        let any = timeout(SERVER_TIMEOUT, store.documents.find_one(doc! {})).await.context("no answer")??;
        if let Some(any) = any {
            let key = any.get_str("_id").is_ok();
            if !key || parts(any).is_none() {
                let why = format!("collection {collection} has documents that no store has written");
                let fix = "name another `collection` in its [key_value_store] of runtime-config.toml";
                return Err(Unfit { why, fix: fix.to_owned() }.into());
            }
        }
        Ok(store)
    }

    /// The value of `key` and its version.
    pub(super) async fn get_versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let found = self.within(self.documents.find_one(doc! { "_id": key })).await?;
        let Some((value, version)) = found.map(|found| self.parts(found)).transpose()? else { return Ok(None) };
        if value.len() > MAX_VALUE_BYTES {
            return Err(StoreError::ValueTooLarge { size: value.len(), most: MAX_VALUE_BYTES });
        }
        Ok(Some((value, version)))
    }

    /// Only the version of `key`.
    pub(super) async fn version(&self, key: &str) -> Result<Option<Version>, StoreError> {
        let find = self.documents.find_one(doc! { "_id": key }).projection(doc! { "version": 1 });
        let Some(found) = self.within(find).await? else { return Ok(None) };
        found.get("version").and_then(version).map(Some).ok_or_else(|| self.foreign())
    }

    /// The values of `keys`, in their order.
    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let distinct: BTreeSet<&String> = keys.iter().collect();
        let filter = doc! { "_id": { "$in": distinct.into_iter().collect::<Vec<_>>() } };
        let work = async {
            let mut found = BTreeMap::new();
            let mut bytes = 0;
            let mut cursor = self.documents.find(filter).await?;
            while let Some(document) = cursor.try_next().await? {
                let key = document.get_str("_id").unwrap_or_default().to_owned();
                let Some((value, _)) = parts(document) else { return Ok(Err(self.foreign())) };
                bytes += value.len();
                if bytes > MAX_BATCH_BYTES {
                    return Ok(Err(StoreError::BatchTooLarge));
                }
                found.insert(key, value);
            }
            Ok(Ok(found))
        };
        let found = self.within(work).await??;
        // A key that is requested twice counts twice.
        if keys.iter().filter_map(|key| found.get(key)).map(Vec::len).sum::<usize>() > MAX_BATCH_BYTES {
            return Err(StoreError::BatchTooLarge);
        }
        Ok(keys.into_iter().map(|key| (key.clone(), found.get(&key).cloned())).collect())
    }

    /// Sets all `entries`, one after the other: an error may come after some of them.
    pub(super) async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        let entries: BTreeMap<String, Vec<u8>> = entries.into_iter().collect();
        let (mut updates, mut bytes) = (Vec::new(), 0);
        for (key, value) in entries {
            if bytes + value.len() > MAX_COMMAND_BYTES && !updates.is_empty() {
                self.update(std::mem::take(&mut updates)).await?;
                bytes = 0;
            }
            bytes += value.len();
            let replacement = doc! { "_id": &key, "value": binary(value), "version": self.draw()?.1 };
            updates.push(doc! { "q": { "_id": key }, "u": replacement, "upsert": true });
        }
        if updates.is_empty() { Ok(()) } else { self.update(updates).await }
    }

    /// Sends `updates` as one command. If two commands insert the same key, the server may refuse one of them; it is
    /// sent again, as an update.
    async fn update(&self, mut updates: Vec<Document>) -> Result<(), StoreError> {
        let mut conflicts = Conflicts::default();
        loop {
            let command = doc! {
                "update": self.documents.name(),
                "updates": &updates,
                "ordered": false,
                // The client's own settings do not apply to a complete command.
                "writeConcern": {
                    "w": "majority",
                    "j": true,
                    "wtimeout": i64::try_from(SERVER_TIMEOUT.as_millis()).unwrap_or(i64::MAX),
                },
            };
            let answer = self.within(async { self.database.run_command(command).await }).await?;
            if let Ok(unsure) = answer.get_document("writeConcernError") {
                return Err(self.unavailable(unsure.get_str("errmsg").unwrap_or("writeConcernError")));
            }
            let Ok(refused) = answer.get_array("writeErrors") else { return Ok(()) };
            let refused: Vec<&Document> = refused.iter().filter_map(Bson::as_document).collect();
            if refused.is_empty() {
                return Ok(());
            }
            let mut again = Vec::new();
            for error in refused {
                let code = error.get_i32("code").unwrap_or_default();
                let index = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
                match index.and_then(|index| updates.get(index)).filter(|_| code == DUPLICATE_KEY) {
                    Some(update) => again.push(update.clone()),
                    None => return Err(self.refused(code, error.get_str("errmsg").unwrap_or("a write error"))),
                }
            }
            updates = again;
            conflicts.again(&self.label).await?;
        }
    }

    /// Deletes `keys`, one after the other; a missing key is not an error.
    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.within(self.documents.delete_many(doc! { "_id": { "$in": keys } })).await.map(drop)
    }

    /// Adds `delta` to the number under `key`, and returns the sum.
    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        let _turn = self.turns.lock().await;
        let mut conflicts = Conflicts::default();
        loop {
            let (number, expected) = self.get_versioned(key).await?.unzip();
            let (sum, stored) = add(number, delta)?;
            match self.swap(key, expected, stored).await? {
                Swap::Done => return Ok(sum),
                Swap::Stale(_) => conflicts.again(&self.label).await?,
            }
        }
    }

    /// Sets `key` to `value` if its version is still `expected` (`None`: if there is still no such key).
    pub(super) async fn swap(&self, key: &str, expected: Option<Version>, value: Vec<u8>) -> Result<Swap, StoreError> {
        let (_, drawn) = self.draw()?;
        let done = match expected {
            Some(Version(expected)) => {
                let expected = binary(expected.to_be_bytes().to_vec());
                let change = doc! { "$set": { "value": binary(value), "version": drawn } };
                let update = self.documents.update_one(doc! { "_id": key, "version": expected }, change);
                self.within(update).await?.matched_count > 0
            }
            None => {
                let insert = self.documents.insert_one(doc! { "_id": key, "value": binary(value), "version": drawn });
                let inserted = async {
                    match insert.await {
                        Err(error) if code(&error) == Some(DUPLICATE_KEY) => Ok(false),
                        done => done.map(|_| true),
                    }
                };
                self.within(inserted).await?
            }
        };
        Ok(if done { Swap::Done } else { Swap::Stale(self.version(key).await?) })
    }

    /// A page of keys in their order, those after `from`.
    pub(super) async fn keys(&self, from: Option<&str>) -> Result<Page, StoreError> {
        let filter = from.map_or_else(Document::new, |from| doc! { "_id": { "$gt": from } });
        let most = i64::try_from(KEYS_PAGE).unwrap_or(i64::MAX);
        let work = async {
            let find = self.documents.find(filter).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
            let documents: Vec<Document> = find.limit(most).await?.try_collect().await?;
            Ok(documents)
        };
        let found = self.within(work).await?;
        let next = match found.last() {
            Some(last) if found.len() == KEYS_PAGE => Some(last.get_str("_id").map_err(|_| self.foreign())?.to_owned()),
            _ => None,
        };
        // No guest could name a longer key.
        let keys = found.iter().filter_map(|document| document.get_str("_id").ok());
        Ok(Page { keys: keys.filter(|key| key.len() <= MAX_KEY_BYTES).map(str::to_owned).collect(), next })
    }

    /// A new version for a write.
    fn draw(&self) -> Result<(Version, Bson), StoreError> {
        let mut bytes = [0; 16];
        souk_manifest::clock::fill_random(&mut bytes).map_err(|error| self.unavailable(&error.to_string()))?;
        Ok((Version(u128::from_be_bytes(bytes)), binary(bytes.to_vec())))
    }

    /// Runs `work` within the time limit of an operation.
    async fn within<T>(&self, work: impl IntoFuture<Output = Result<T, Error>>) -> Result<T, StoreError> {
        match timeout(SERVER_TIMEOUT, work.into_future()).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(match code(&error) {
                Some(code) => self.refused(code, &error.to_string()),
                None => self.unavailable(&error.to_string()),
            }),
            Err(_) => Err(self.unavailable(&format!("no answer within {SERVER_TIMEOUT:?}"))),
        }
    }

    fn refused(&self, code: i32, said: &str) -> StoreError {
        if is_full(code, said) { StoreError::Full } else { self.unavailable(said) }
    }

    fn unavailable(&self, cause: &str) -> StoreError {
        StoreError::Server { label: self.label.clone(), cause: cause.to_owned() }
    }

    fn parts(&self, document: Document) -> Result<Versioned, StoreError> {
        parts(document).ok_or_else(|| self.foreign())
    }

    fn foreign(&self) -> StoreError {
        self.unavailable("the collection has a document of another shape, which no store has written")
    }
}

/// The database that the URL names, with a client whose acknowledged writes are durable and whose reads see them.
async fn connect(url: &MongoUrl) -> anyhow::Result<Database> {
    // The parser's message may repeat a part of the URL that it could not read.
    let mut options = ClientOptions::parse(url.expose()).await.map_err(|error| match *error.kind {
        ErrorKind::InvalidTlsConfig { message, .. } => anyhow::anyhow!(message),
        ErrorKind::DnsResolve { .. } => anyhow::anyhow!("DNS has no servers for this name, or does not answer"),
        _ => anyhow::anyhow!("its `url` has an option that the driver does not know, or a value that it refuses"),
    })?;
    options.app_name.get_or_insert_with(|| "souk".to_owned());
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    options.server_selection_timeout.get_or_insert(CONNECT_TIMEOUT);
    options.max_pool_size.get_or_insert(MAX_CONNECTIONS);
    let write = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).w_timeout(SERVER_TIMEOUT).build();
    options.write_concern = Some(write);
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    Ok(Client::with_options(options)?.database(url.database()))
}

/// Whether the server's disk, or the quota of a hosted server, is full. Atlas has one code for whatever it refuses, a
/// missing right too.
fn is_full(code: i32, said: &str) -> bool {
    match code {
        14031 => true,
        8000 => said.contains("quota"),
        _ => false,
    }
}

fn binary(bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes })
}

/// The value and the version in a store's document.
fn parts(mut document: Document) -> Option<Versioned> {
    let version = document.get("version").and_then(version)?;
    match document.remove("value") {
        Some(Bson::Binary(value)) => Some((value.bytes, version)),
        _ => None,
    }
}

fn version(bson: &Bson) -> Option<Version> {
    match bson {
        Bson::Binary(binary) => binary.bytes.as_slice().try_into().ok().map(u128::from_be_bytes).map(Version),
        _ => None,
    }
}

/// The server's code for the error.
fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Command(error) => Some(error.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_full;

    #[test]
    fn what_atlas_refuses_for_want_of_a_right_is_no_full_store() {
        for (code, said, full) in [
            (14031, "Can't take a write lock while out of disk space", true),
            (8000, "you are over your space quota, using 514 MB of 512 MB", true),
            (8000, "user is not allowed to do action [insert] on [shop.souk_auth]", false),
            (13, "not authorized on shop to execute command", false),
        ] {
            assert_eq!(is_full(code, said), full, "{said}");
        }
    }
}
