//! Reads rows: from a file with JSON objects, a SQLite file, PostgreSQL, or MongoDB.
//!
//! The standard input (`-`) is written to a temporary file first, since rows are read twice. So a file gets into a
//! container that has no tools, and whose root file system is read-only.

use super::objects::Objects;
use super::{Kind, System};
use crate::url_file;
use anyhow::Context as _;
use souk_bindings::moving::{read_postgres, read_sqlite};
use souk_manifest::{MongoUrl, PostgresAddress};
use std::fmt;
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempPath;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of reading rows for an import.
    pub(crate) const FIXED_LIMITS = "imports";

    /// The longest row in a file.
    const MAX_ROW_BYTES: usize = 8 << 20, bytes;
    /// How long a MongoDB server may take to answer.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// How many rows are read ahead.
    const MAX_READ_AHEAD: usize = 2_000, "rows";
}

/// The start of a SQLite file.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// A file with rows.
#[derive(Clone)]
pub(crate) struct RowsFile {
    path: PathBuf,
    /// A copy of the standard input, which is removed at the end.
    copy: Option<Arc<TempPath>>,
}

impl RowsFile {
    /// The file of this name, or the standard input for `-`; also returns how it begins.
    fn open(name: &str) -> io::Result<(RowsFile, Vec<u8>)> {
        let rows = if name == "-" { RowsFile::of_input()? } else { RowsFile { path: name.into(), copy: None } };
        let mut head = Vec::new();
        std::fs::File::open(&rows.path)?.take(SQLITE.len() as u64).read_to_end(&mut head)?;
        Ok((rows, head))
    }

    /// Copies the standard input.
    fn of_input() -> io::Result<RowsFile> {
        let mut copy = tempfile::NamedTempFile::new()?;
        io::copy(&mut io::stdin(), &mut copy)?;
        let copy = copy.into_temp_path();
        Ok(RowsFile { path: copy.to_path_buf(), copy: Some(Arc::new(copy)) })
    }
}

impl fmt::Display for RowsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.copy.is_some() { f.write_str("the standard input") } else { self.path.display().fmt(f) }
    }
}

/// Where the rows are.
#[derive(Clone)]
pub(crate) enum Place {
    Lines(RowsFile),
    Sqlite(RowsFile),
    Postgres(PostgresAddress),
    Mongo(MongoUrl),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Lines(file) | Place::Sqlite(file) => file.fmt(f),
            Place::Postgres(address) => address.fmt(f),
            Place::Mongo(url) => url.fmt(f),
        }
    }
}

impl Place {
    /// Parses the place from the command line: a URL, a file, or `@FILE` with a URL; `-` and `@-` are the standard input.
    ///
    /// # Errors
    /// When it is neither; the message does not repeat a URL, which may hold a password.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Place> {
        if let Some(path) = text.strip_prefix('@') {
            let url = url_file::read(path).map_err(|error| {
                anyhow::anyhow!("{path} cannot be read: {error}\n  fix: name a file that holds the URL")
            })?;
            return Place::of_url(&url);
        }
        if text.contains("://") {
            return Place::of_url(text);
        }
        let (rows, head) = RowsFile::open(text).map_err(|error| {
            anyhow::anyhow!("{text} cannot be read: {error}\n  fix: name a file, or a URL of PostgreSQL or MongoDB")
        })?;
        Ok(if head == SQLITE { Place::Sqlite(rows) } else { Place::Lines(rows) })
    }

    /// Whether the rows are in the file `path`, by whatever name.
    pub(crate) fn is_in(&self, path: &Path) -> bool {
        let (Place::Lines(rows) | Place::Sqlite(rows)) = self else { return false };
        let file = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        file(path).is_some_and(|refusals| file(&rows.path) == Some(refusals))
    }

    /// Whether no rows means that there are none: a missing table would have been an error.
    pub(crate) fn has_tables(&self) -> bool {
        matches!(self, Place::Sqlite(_) | Place::Postgres(_))
    }

    fn of_url(url: &str) -> anyhow::Result<Place> {
        if PostgresAddress::looks_like_url(url) {
            let address = PostgresAddress::parse(url);
            return address
                .map(Place::Postgres)
                .map_err(|e| anyhow::anyhow!("the URL of PostgreSQL {}\n  fix: {}", e.message, e.fix));
        }
        MongoUrl::parse(url).map(Place::Mongo).map_err(|what| {
            anyhow::anyhow!("the URL {what}\n  fix: write postgres://… or mongodb://HOST:PORT/DATABASE, or name a file")
        })
    }

    /// Reads the rows of this kind. The task ends when all are read, or with an error.
    ///
    /// # Errors
    /// When rows of this kind cannot be read there.
    pub(crate) fn rows(self, kind: &Kind) -> anyhow::Result<(Receiver<String>, JoinHandle<anyhow::Result<()>>)> {
        let read = |system| {
            let source = kind.sources.iter().find(|source| source.system == system);
            source.map(|source| source.read.clone()).with_context(|| {
                let known: Vec<&str> = kind.sources.iter().map(|one| one.system.name()).collect();
                format!(
                    "{} cannot be read from there\n  fix: name {}, or a file with JSON objects, one after the other",
                    kind.name,
                    known.join(" or ")
                )
            })
        };
        let (sender, receiver) = mpsc::channel(MAX_READ_AHEAD);
        let task = match self {
            Place::Lines(file) => tokio::task::spawn_blocking(move || objects(&file, &sender)),
            Place::Sqlite(file) => {
                let query = read(System::Sqlite)?;
                tokio::task::spawn_blocking(move || sqlite(&file, &query, &sender))
            }
            Place::Postgres(address) => {
                let query = read(System::Postgres)?;
                tokio::spawn(async move { Ok(read_postgres(&address, &query, &sender).await?) })
            }
            Place::Mongo(url) => {
                let collection = read(System::Mongodb)?;
                tokio::spawn(async move { documents(&url, &collection, &sender).await })
            }
        };
        Ok((receiver, task))
    }
}

/// The rows of a query on a SQLite file. Takes the whole value, whose end removes a copy of the standard input.
fn sqlite(rows: &RowsFile, query: &str, to: &Sender<String>) -> anyhow::Result<()> {
    Ok(read_sqlite(&rows.path, query, to)?)
}

/// The objects of a file, in any format of mongoexport but CSV.
fn objects(rows: &RowsFile, to: &Sender<String>) -> anyhow::Result<()> {
    let file = std::fs::File::open(&rows.path).with_context(|| rows.to_string())?;
    let mut objects = Objects::new(BufReader::new(file), MAX_ROW_BYTES);
    for number in 1.. {
        let row = objects.read().map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => anyhow::anyhow!(
                "{rows}: row {number} is longer than {MAX_ROW_BYTES} bytes\n  fix: write one JSON object per line"
            ),
            io::ErrorKind::InvalidData => anyhow::anyhow!(
                "{rows}: row {number} is not UTF-8\n  fix: convert the file, for example with `iconv -f LATIN1 -t UTF-8`"
            ),
            _ => anyhow::anyhow!("{rows}: {error}"),
        })?;
        let Some(row) = row else { break };
        if to.blocking_send(row).is_err() {
            break;
        }
    }
    Ok(())
}

/// The documents of a collection, in mongoexport's format.
#[cfg(feature = "mongodb")]
async fn documents(url: &MongoUrl, collection: &str, to: &Sender<String>) -> anyhow::Result<()> {
    use futures::TryStreamExt as _;
    use mongodb::bson::{Document, doc};
    use mongodb::error::ErrorKind;
    let failed =
        |error: mongodb::error::Error| anyhow::anyhow!("{url}: {error}\n  fix: correct the URL, and start the server");
    let mut options = mongodb::options::ClientOptions::parse(url.expose()).await.map_err(|error| match *error.kind {
        ErrorKind::DnsResolve { .. } => anyhow::anyhow!(
            "{url}: DNS has no servers for this name, or does not answer\n  fix: correct the name; or write the servers \
             out, mongodb://HOST:27017,HOST:27017/DATABASE?tls=true"
        ),
        _ => anyhow::anyhow!("{url}: the URL has an option that the driver does not support\n  fix: leave it out"),
    })?;
    options.server_selection_timeout.get_or_insert(CONNECT_TIMEOUT);
    let database = mongodb::Client::with_options(options).map_err(failed)?.database(url.database());
    let collection = database.collection::<Document>(collection);
    let mut documents = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.map_err(failed)?;
    while let Some(document) = documents.try_next().await.map_err(failed)? {
        // Relaxed Extended JSON: a number stays a number, an ObjectId becomes `{"$oid": …}`.
        if to.send(serde_json::to_string(&document)?).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(not(feature = "mongodb"))]
#[expect(clippy::unused_async, reason = "the other one is")]
async fn documents(_: &MongoUrl, _: &str, _: &Sender<String>) -> anyhow::Result<()> {
    anyhow::bail!(
        "this souk was built without MongoDB\n  fix: build it with `--features mongodb`, or export the collection to a file"
    )
}
