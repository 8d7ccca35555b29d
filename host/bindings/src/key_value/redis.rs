//! A key-value store in a database of Redis, shared by all hosts, and other programs, that use it.
//!
//! All data has Spin's format, so Spin and Souk can read each other's data: a key of the store is the key in Redis,
//! without a prefix; a value is a string; and a number of `increment` is what INCRBY writes. So all keys of the
//! database belong to the store, and two stores need two databases: the number at the end of the URL.
//!
//! Every operation is one command or one script, which Redis runs atomically. Spin uses WATCH for compare-and-swap;
//! WATCH belongs to a connection, so each handle needs one. Here a script compares a digest of the value: it is small,
//! and all commands share one connection. A digest does not show that a value was changed and changed back, but then a
//! result computed from that value is still right. The digest has 128 bits and a random salt that no guest knows, so
//! nobody can create two values with the same digest.
//!
//! An acknowledged write is in the server's memory. The server's configuration decides which writes survive a crash
//! (`appendfsync always`: all of them) or a failover. A store that must not lose a write belongs into NATS or a file.
//!
//! The next operation replaces a connection that was lost or gives no answer. Operations that only read are repeated at
//! once.

use super::error::StoreError;
use super::types::{
    KEYS_PAGE, MAX_BATCH_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Page, SERVER_TIMEOUT, Swap, Version, Versioned, digits,
    number,
};
use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, Cmd, FromRedisValue, RedisError, RedisResult, Value, cmd};
use anyhow::Context as _;
use parking_lot::Mutex;
use souk_manifest::RedisUrl;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

souk_manifest::fixed_limits! {
    /// The fixed limits of the key-value store in Redis.
    pub(crate) const FIXED_LIMITS = "key-value: Redis";

    /// How long it may take to connect.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
}

/// The values of KEYS; for a value of more than `ARGV[1]` bytes only its size, because other programs may write larger
/// values.
const READ: &str = "
local bytes, values = 0, {}
for i, key in ipairs(KEYS) do
  bytes = bytes + redis.call('STRLEN', key)
  if bytes > tonumber(ARGV[1]) then return bytes end
  values[i] = redis.call('GET', key)
end
return values";

/// The digest of a value, salted with `ARGV[1]`; also the value itself, if `ARGV[2]` gives the most bytes that it may
/// have.
const VERSION: &str = "
local value = redis.call('GET', KEYS[1])
if not value then return false end
if ARGV[2] and #value > tonumber(ARGV[2]) then return #value end
local digest = redis.sha1hex(ARGV[1] .. value):sub(1, 32)
if ARGV[2] then return {digest, value} end
return digest";

/// Sets the key to `ARGV[3]` if its digest is `ARGV[2]` (empty: if there is no such key); otherwise returns the digest.
const SWAP: &str = "
local value = redis.call('GET', KEYS[1])
local digest = value and redis.sha1hex(ARGV[1] .. value):sub(1, 32) or ''
if digest ~= ARGV[2] then return digest end
redis.call('SET', KEYS[1], ARGV[3])
return true";

/// A store in a database.
pub(super) struct Database {
    label: Arc<str>,
    client: Client,
    /// The shared connection, and the number of connections before it.
    current: Mutex<(u64, ConnectionManager)>,
    /// Random bytes that are hashed before each value.
    salt: [u8; 16],
}

impl Database {
    /// Connects to the server.
    ///
    /// # Errors
    /// When it cannot be reached or refuses; the message contains no password.
    pub(super) async fn open(url: &RedisUrl, label: &str) -> anyhow::Result<Self> {
        let client = Client::open(url.connection_info().clone())?;
        let connection = lazily(&client)?;
        // Fails now if the server is missing, wants a password, or has no such database.
        timeout(SERVER_TIMEOUT, cmd("PING").exec_async(&mut connection.clone())).await.context("no answer")??;
        let mut salt = [0; 16];
        souk_manifest::clock::fill_random(&mut salt).context("the system gives no random bytes")?;
        Ok(Database { label: label.into(), client, current: Mutex::new((0, connection)), salt })
    }

    /// The value of `key`.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.run_repeatable(script(READ, &[key]).arg(MAX_VALUE_BYTES)).await? {
            Value::Array(values) => Ok(values.into_iter().next().and_then(bytes)),
            other => Err(self.too_large(&other)),
        }
    }

    /// The value of `key` and its version.
    pub(super) async fn get_versioned(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        match self.run_repeatable(script(VERSION, &[key]).arg(&self.salt).arg(MAX_VALUE_BYTES)).await? {
            Value::Nil => Ok(None),
            Value::Array(found) => {
                let mut found = found.into_iter();
                let digest = found.next().map_or(Ok(None), |digest| self.digest(digest))?;
                Ok(found.next().and_then(bytes).zip(digest))
            }
            other => Err(self.too_large(&other)),
        }
    }

    /// Only the version of `key`.
    pub(super) async fn version(&self, key: &str) -> Result<Option<Version>, StoreError> {
        let digest = self.run_repeatable(script(VERSION, &[key]).arg(&self.salt)).await?;
        self.digest(digest)
    }

    /// Whether there is such a key.
    pub(super) async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        self.run_repeatable(cmd("EXISTS").arg(key)).await
    }

    /// The values of `keys`, in their order.
    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        match self.run_repeatable(script(READ, &keys).arg(MAX_BATCH_BYTES)).await? {
            Value::Array(values) => Ok(keys.into_iter().zip(values.into_iter().map(bytes)).collect()),
            _ => Err(StoreError::BatchTooLarge),
        }
    }

    /// Sets all `entries`, or none.
    pub(super) async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut set = cmd("MSET");
        for (key, value) in &entries {
            set.arg(key).arg(value);
        }
        self.run_once(&set).await
    }

    /// Deletes `keys`, all or none; a missing key is not an error.
    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.run_once(cmd("DEL").arg(&keys)).await
    }

    /// Adds `delta` to the number under `key`, and returns the sum.
    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        match self.run_once(cmd("INCRBY").arg(key).arg(delta)).await {
            Err(StoreError::NotANumber) if self.write_as_digits(key).await? => {
                self.run_once(cmd("INCRBY").arg(key).arg(delta)).await
            }
            done => done,
        }
    }

    /// Replaces a number that was copied from another store of release 0.1.0 by its digits; returns whether INCRBY is
    /// worth another attempt.
    async fn write_as_digits(&self, key: &str) -> Result<bool, StoreError> {
        let Some((value, version)) = self.get_versioned(key).await? else { return Ok(true) };
        match number(&value).map(digits).filter(|digits| *digits != value) {
            Some(digits) => self.swap(key, Some(version), &digits).await.map(|_| true),
            // INCRBY has found another value, or this one is no number.
            None => Ok(number(&value).is_some()),
        }
    }

    /// Sets `key` to `value` if its version is still `expected` (`None`: if there is still no such key).
    pub(super) async fn swap(&self, key: &str, expected: Option<Version>, value: &[u8]) -> Result<Swap, StoreError> {
        let expected = expected.map_or_else(String::new, |Version(digest)| format!("{digest:032x}"));
        match self.run_once(script(SWAP, &[key]).arg(&self.salt).arg(expected).arg(value)).await? {
            Value::Int(_) => Ok(Swap::Done),
            digest => Ok(Swap::Stale(self.digest(digest)?)),
        }
    }

    /// Some keys, from SCAN's cursor `from` on, without keys that no guest could name.
    pub(super) async fn keys(&self, from: Option<&str>) -> Result<Page, StoreError> {
        let mut cursor: u64 = from.map_or(Ok(0), str::parse).map_err(|_| StoreError::Cursor)?;
        loop {
            let scan: (u64, Vec<Vec<u8>>) =
                self.run_repeatable(cmd("SCAN").arg(cursor).arg("COUNT").arg(KEYS_PAGE)).await?;
            cursor = scan.0;
            let keys = scan.1.into_iter().filter(|key| key.len() <= MAX_KEY_BYTES);
            // One answer may contain a key twice.
            let keys: BTreeSet<String> = keys.filter_map(|key| String::from_utf8(key).ok()).collect();
            if cursor == 0 || !keys.is_empty() {
                return Ok(Page { keys: keys.into_iter().collect(), next: (cursor != 0).then(|| cursor.to_string()) });
            }
        }
    }

    /// Runs a command that may run twice.
    async fn run_repeatable<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        match self.attempt(command).await {
            Err(Failure::Lost(_)) => self.run_once(command).await,
            done => done.map_err(|failure| self.error(failure)),
        }
    }

    /// Runs a command that must not run twice.
    async fn run_once<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.attempt(command).await.map_err(|failure| self.error(failure))
    }

    async fn attempt<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let (number, mut connection) = self.current.lock().clone();
        let failure = match timeout(SERVER_TIMEOUT, command.query_async(&mut connection)).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) if error.is_timeout() => Failure::NoAnswer,
            Ok(Err(error)) if error.is_unrecoverable_error() => Failure::Lost(error),
            Ok(Err(error)) => return Err(Failure::Refused(error)),
            Err(_) => Failure::NoAnswer,
        };
        self.renew(number);
        Err(failure)
    }

    /// Makes the next operation connect, unless connection `number` has already been replaced.
    fn renew(&self, number: u64) {
        let mut current = self.current.lock();
        // Creating a connection without connecting it does not fail.
        if let (true, Ok(fresh)) = (current.0 == number, lazily(&self.client)) {
            *current = (number + 1, fresh);
        }
    }

    fn error(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::NoAnswer => self.unavailable(format!("no answer within {SERVER_TIMEOUT:?}")),
            Failure::Lost(error) => self.unavailable(error.to_string()),
            Failure::Refused(error) => {
                let said = error.to_string();
                if said.contains("not an integer") {
                    StoreError::NotANumber
                } else if said.contains("would overflow") {
                    StoreError::Overflow
                } else if error.code() == Some("OOM") {
                    StoreError::Full
                } else {
                    self.unavailable(said)
                }
            }
        }
    }

    fn unavailable(&self, cause: String) -> StoreError {
        StoreError::Server { label: self.label.clone(), cause }
    }

    /// The version in a script's answer; an empty or missing digest means that there is no such key.
    fn digest(&self, digest: Value) -> Result<Option<Version>, StoreError> {
        let text = bytes(digest).and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        let digest = u128::from_str_radix(&text, 16).map_err(|error| self.unavailable(error.to_string()))?;
        Ok(Some(Version(digest)))
    }

    /// The error for a value of `size` bytes.
    fn too_large(&self, size: &Value) -> StoreError {
        match size {
            Value::Int(size) => {
                StoreError::ValueTooLarge { size: usize::try_from(*size).unwrap_or(usize::MAX), most: MAX_VALUE_BYTES }
            }
            other => self.unavailable(format!("an answer that none of its scripts gives: {other:?}")),
        }
    }
}

/// Why an operation failed.
enum Failure {
    /// The connection was lost, or there was none.
    Lost(RedisError),
    /// The server gave no answer.
    NoAnswer,
    /// The server refused the command.
    Refused(RedisError),
}

/// A connection that connects when it is first used.
fn lazily(client: &Client) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        // The waiting operation learns of the failure at once; the next operation tries again.
        .set_number_of_retries(0)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(SERVER_TIMEOUT));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// A command that runs the script `text` on `keys`; its arguments follow. Redis caches the compiled script.
fn script(text: &str, keys: &[impl AsRef<str>]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(keys.len());
    for key in keys {
        command.arg(key.as_ref());
    }
    command
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
