//! Reads rows: from a file with one JSON object per line, a SQLite file, PostgreSQL, or MongoDB.

use super::{Kind, System};
use anyhow::Context as _;
use souk_bindings::moving::{read_postgres, read_sqlite};
use souk_manifest::{MongoUrl, PostgresAddress};
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of reading rows for an import.
    pub(crate) const FIXED_LIMITS = "imports";

    /// The longest row in a file.
    const MAX_LINE_BYTES: u64 = 8 << 20, bytes;
    /// How long a MongoDB server may take to answer.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// How many rows are read ahead.
    const MAX_READ_AHEAD: usize = 2_000, "rows";
}

/// The start of a SQLite file.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Where the rows are.
#[derive(Clone)]
pub(crate) enum Place {
    Lines(PathBuf),
    Sqlite(PathBuf),
    Postgres(PostgresAddress),
    Mongo(MongoUrl),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Lines(path) | Place::Sqlite(path) => path.display().fmt(f),
            Place::Postgres(address) => address.fmt(f),
            Place::Mongo(url) => url.fmt(f),
        }
    }
}

impl Place {
    /// Parses the place from the command line: a URL, a file, or `@FILE` with a URL.
    ///
    /// # Errors
    /// When it is neither; the message does not repeat a URL, which may hold a password.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Place> {
        if let Some(path) = text.strip_prefix('@') {
            let url = std::fs::read_to_string(path)
                .with_context(|| format!("{path} cannot be read\n  fix: name a file that holds the URL"))?;
            return Place::of_url(url.trim());
        }
        if text.contains("://") {
            return Place::of_url(text);
        }
        let path = PathBuf::from(text);
        let mut head = Vec::new();
        let file = std::fs::File::open(&path);
        let read = file.and_then(|file| file.take(SQLITE.len() as u64).read_to_end(&mut head));
        read.with_context(|| format!("{text} cannot be read\n  fix: name a file, or a URL of PostgreSQL or MongoDB"))?;
        Ok(if head == SQLITE { Place::Sqlite(path) } else { Place::Lines(path) })
    }

    fn of_url(url: &str) -> anyhow::Result<Place> {
        if PostgresAddress::is_meant(url) {
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
                let known: Vec<String> = kind.sources.iter().map(|one| format!("{:?}", one.system)).collect();
                format!(
                    "{} cannot be read from there\n  fix: name {}, or a file with one JSON object per line",
                    kind.name,
                    known.join(" or ")
                )
            })
        };
        let (sender, receiver) = mpsc::channel(MAX_READ_AHEAD);
        let task = match self {
            Place::Lines(path) => tokio::task::spawn_blocking(move || lines(&path, &sender)),
            Place::Sqlite(path) => {
                let query = read(System::Sqlite)?;
                tokio::task::spawn_blocking(move || Ok(read_sqlite(&path, &query, &sender)?))
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

/// The lines of a file. mongoexport writes one object per line, and with `--jsonArray` brackets and commas around them.
fn lines(path: &Path, to: &Sender<String>) -> anyhow::Result<()> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut reader = BufReader::new(file);
    for number in 1.. {
        let mut line = Vec::new();
        let read = reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line);
        if read.with_context(|| path.display().to_string())? == 0 {
            break;
        }
        anyhow::ensure!(
            line.len() as u64 <= MAX_LINE_BYTES,
            "{}: line {number} is longer than {MAX_LINE_BYTES} bytes\n  fix: write one object per line",
            path.display()
        );
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_start_matches('\u{feff}').trim();
        let text = text.strip_prefix('[').unwrap_or(text);
        let text = text.strip_suffix(']').filter(|_| !text.starts_with(']')).unwrap_or(text);
        let text = text.trim_end_matches(',').trim();
        if text.is_empty() || text == "]" {
            continue;
        }
        if to.blocking_send(text.to_owned()).is_err() {
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
    let failed =
        |error: mongodb::error::Error| anyhow::anyhow!("{url}: {error}\n  fix: correct the URL, and start the server");
    let mut options = mongodb::options::ClientOptions::parse(url.expose()).await.map_err(|_| {
        anyhow::anyhow!("{url}: the URL has an option that the driver does not support\n  fix: leave it out")
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
