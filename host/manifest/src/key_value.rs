//! Where key-value stores are kept: `[key_value_store.LABEL]` of runtime-config.toml.
//!
//! `type = "spin"` is a file on this machine and `type = "redis"` a Redis server, both as in Spin; `type = "nats"` is a
//! JetStream bucket on the application's own connection to NATS; `type = "mongodb"` is a collection of MongoDB. All
//! hosts that name the same server share its data. Other types of Spin are refused by name. The URL of a server may
//! contain a password, so it is never shown.
//!
//! Two labels may name the same place, as in Spin: then they have the same keys. This is seldom intended, so it gives a
//! warning if the two names are equal. One server under two different names is not detected.

use super::Application;
use super::mongodb::{MongoUrl, is_collection};
use super::table::{At, File, Table};
use crate::subject::Subjects;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where one store is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyValuePlace {
    /// A SQLite file.
    File(PathBuf),
    /// A JetStream bucket.
    Nats {
        /// Its name; `None` for the default, which is made from the application and the label.
        bucket: Option<String>,
    },
    /// A database of Redis.
    Redis(Box<RedisUrl>),
    /// A collection of MongoDB.
    Mongo {
        /// Its server and database.
        url: Box<MongoUrl>,
        /// Its name.
        collection: String,
    },
}

impl KeyValuePlace {
    /// Whether its URL has a password.
    pub(super) fn has_login(&self) -> bool {
        match self {
            KeyValuePlace::File(_) | KeyValuePlace::Nats { .. } => false,
            KeyValuePlace::Redis(url) => url.connection_info().redis_settings().password().is_some(),
            KeyValuePlace::Mongo { url, .. } => url.has_login(),
        }
    }
}

/// Where a Redis server is, and how to log in. Shown without user and password.
#[derive(Clone)]
pub struct RedisUrl(ConnectionInfo);

impl RedisUrl {
    /// Reads a URL; `redis://`, `rediss://` for TLS, or `unix:` for a socket.
    ///
    /// # Errors
    /// What is wrong with it. The text does not quote the URL, which may contain a password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let info = url.into_connection_info().map_err(|_| "is not the URL of a Redis server")?;
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => Err("asks for TLS without checking certificates"),
            _ => Ok(RedisUrl(info)),
        }
    }

    /// Whether the same connection can serve both URLs.
    pub fn is_same(&self, other: &RedisUrl) -> bool {
        let (ours, theirs) = (self.0.redis_settings(), other.0.redis_settings());
        self.to_string() == other.to_string()
            && (ours.username(), ours.password()) == (theirs.username(), theirs.password())
    }

    /// The connection settings for the client.
    pub fn connection_info(&self) -> &ConnectionInfo {
        &self.0
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &RedisUrl) -> bool {
        self.is_same(other)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.0.redis_settings().db();
        match self.0.addr() {
            ConnectionAddr::Tcp(host, port) => write!(f, "redis://{host}:{port}/{database}"),
            ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{host}:{port}/{database}"),
            ConnectionAddr::Unix(path) => write!(f, "unix:{}, database {database}", path.display()),
            _ => write!(f, "Redis, database {database}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The fix for `type = "spin"` without a path.
pub(super) const MISSING_PATH: &str =
    "write `path = \"...\"`, or remove the table: then the label is a file in the state folder";

/// Types that Spin knows and Souk does not.
const OTHERS: [&str; 2] = ["azure_cosmos", "aws_dynamo"];

/// Reads `[key_value_store.LABEL]` with the `type` `kind`; a relative path starts at `folder`.
pub(super) fn read(entry: &mut Table<'_, '_>, label: &str, kind: &At<String>, folder: &Path) -> Option<KeyValuePlace> {
    match kind.value.as_str() {
        "spin" => Some(KeyValuePlace::File(folder.join(entry.required_string("path", MISSING_PATH)?.value))),
        "nats" => {
            let bucket = entry.string("bucket");
            if let Some(bucket) = bucket.as_ref().filter(|bucket| !is_bucket(&bucket.value)) {
                let message = format!("`{}` cannot be a bucket's name", bucket.value);
                entry.error(bucket.line, message, "name it with letters, digits, `-` and `_`; or leave it out");
                return None;
            }
            Some(KeyValuePlace::Nats { bucket: bucket.map(|bucket| bucket.value) })
        }
        "redis" => {
            let fix = "write `url = \"redis://HOST:6379\"`";
            let url = entry.required_string("url", fix)?;
            match RedisUrl::parse(&url.value) {
                Ok(url) => Some(KeyValuePlace::Redis(Box::new(url))),
                Err(wrong) => {
                    entry.error(
                        url.line,
                        format!("`url` of {} {wrong}", entry.place),
                        "write `redis://HOST:6379/0`, or `rediss://` for TLS",
                    );
                    None
                }
            }
        }
        "mongodb" => read_mongodb(entry, label),
        other => {
            let why = if OTHERS.contains(&other) { "not supported" } else { "unknown" };
            let message = format!("`type = \"{other}\"` is {why}");
            let fix = "write `type = \"spin\"` for data on this machine, \"redis\", \"nats\" or \"mongodb\" for data that hosts share";
            entry.error(kind.line, message, fix);
            None
        }
    }
}

fn read_mongodb(entry: &mut Table<'_, '_>, label: &str) -> Option<KeyValuePlace> {
    const FIX: &str = "write `url = \"mongodb://HOST:27017/DATABASE\"`";
    let url = entry.required_string("url", FIX)?;
    let collection = entry.string("collection");
    if let Some(collection) = collection.as_ref().filter(|name| !is_collection(&name.value)) {
        let message = format!("`{}` cannot be a collection's name", collection.value);
        let fix = "name it with letters, digits, `-`, `_` and `.`; or leave it out";
        entry.error(collection.line, message, fix);
        return None;
    }
    let collection = collection.map_or_else(|| format!("souk_{label}"), |name| name.value);
    match MongoUrl::parse(&url.value) {
        Ok(url) => Some(KeyValuePlace::Mongo { url: Box::new(url), collection }),
        Err(wrong) => {
            entry.error(url.line, format!("`url` of {} {wrong}", entry.place), FIX);
            None
        }
    }
}

/// Whether JetStream accepts it as a bucket's name.
fn is_bucket(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Reports stores that need NATS when there is none, and warns of labels that name the same place.
pub(super) fn check(application: &Application, labels: &[(&'static str, At<String>)], file: File<'_>) {
    let mut places: BTreeMap<String, &str> = BTreeMap::new();
    for (_, label) in labels.iter().filter(|(table, _)| *table == "key_value_store") {
        let store = format!("[key_value_store.{}]", label.value);
        let Some(place) = application.key_value_places.get(&label.value) else { continue };
        if matches!(place, KeyValuePlace::Nats { .. }) && application.nats.is_none() {
            let message = format!("{store} is kept in NATS, and no server is named");
            let fix = "add `[nats]` with `servers = [\"nats://HOST:4222\"]`, or start with `--nats nats://HOST:4222`";
            file.report.error(file.diagnostic(Some(label.line), None, message, fix));
            continue;
        }
        let (what, key, fix) = match place {
            KeyValuePlace::File(path) => ("file", real(path).display().to_string(), "name another `path`"),
            KeyValuePlace::Nats { bucket } => {
                let own = || Subjects::of(&application.name).bucket(&label.value);
                ("bucket", bucket.clone().unwrap_or_else(own), "name another `bucket`, or none")
            }
            KeyValuePlace::Redis(url) => {
                ("database", url.to_string(), "end one `url` in another database's number: `redis://HOST:6379/1`")
            }
            KeyValuePlace::Mongo { url, collection } => {
                ("collection", format!("{url} {collection}"), "name another `collection`, or none")
            }
        };
        if let Some(other) = places.insert(format!("{what} {key}"), &label.value) {
            let message =
                format!("{store} is the same {what} as [key_value_store.{other}]: each holds the other's keys");
            file.report.warning(file.diagnostic(Some(label.line), None, message, fix));
        }
    }
}

/// The canonical path of a file. If the file does not exist yet, only its folder is resolved.
fn real(path: &Path) -> PathBuf {
    let in_folder = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_url_is_shown_without_user_and_password() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://ann:s3cret@10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"),
            ("rediss://:s3cret@cache.example.com", "rediss://cache.example.com:6379/0"),
            ("unix:///run/redis.sock?pass=s3cret", "unix:/run/redis.sock, database 0"),
        ] {
            let url = RedisUrl::parse(url).unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn what_is_no_redis_url_is_not_repeated() {
        for wrong in ["", "localhost", "http://:s3cret@h", "redis://:s3cret@h/first", "rediss://:s3cret@h/#insecure"] {
            let error = RedisUrl::parse(wrong).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
