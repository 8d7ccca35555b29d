//! What each component may reach, opened at start-up: a database or store is opened once and shared by all components
//! that are granted its label; an HTTP client is one component's own.

use rusqlite::ErrorCode;
use souk_bindings::budget::{ApplicationBudget, Budget};
use souk_bindings::http_client::{self, Client, Internal, InternalDispatch};
use souk_bindings::key_value::Store;
use souk_bindings::sqlite::Database;
use souk_bindings::{Grants, files, postgres};
use souk_links::durable::{FileQueue, JetStreamError, JetStreamQueue, Queue, QueueError};
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Component, KeyValuePlace};
use souk_nats::Nats;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something that a component is granted cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// A database.
    #[error("database `{label}` in {} cannot be opened: {}\n  fix: {}", path.display(), reason(error), fix_of(error))]
    Database {
        /// Its label.
        label: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        error: anyhow::Error,
    },
    /// A key-value store.
    #[error("key-value store `{label}` in {} cannot be opened: {}\n  fix: {}", path.display(), reason(error), fix_of(error))]
    KeyValue {
        /// Its label.
        label: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        error: anyhow::Error,
    },
    /// A key-value store on a server.
    #[error("key-value store `{label}` in {place} cannot be opened: {error:#}\n  fix: {fix}")]
    KeyValueServer {
        /// Its label.
        label: String,
        /// Where it is, without a password.
        place: String,
        /// Why.
        error: anyhow::Error,
        /// The fix.
        fix: &'static str,
    },
    /// The queue of durable messages.
    #[error("the queue of messages in {} cannot be opened: {}\n  fix: {}", path.display(), reason(error), fix_of(error))]
    Queue {
        /// Its file.
        path: PathBuf,
        /// Why.
        error: anyhow::Error,
    },
    /// The queue of durable messages on NATS.
    #[error(transparent)]
    JetStream(#[from] JetStreamError),
    /// What an earlier start without NATS has left cannot be read.
    #[error("{error}\n  fix: {}", error.fix())]
    Left {
        /// Why.
        error: QueueError,
    },
    /// The HTTP client.
    #[error("the HTTP client cannot be made: {0:#}")]
    Client(anyhow::Error),
    /// The files of a component.
    #[error(transparent)]
    Files(#[from] files::FilesError),
}

/// The cause itself, without the path and label that its context repeats.
fn reason(error: &anyhow::Error) -> String {
    let cause = error.chain().find(|cause| cause.is::<rusqlite::Error>() || cause.is::<io::Error>());
    cause.map_or_else(|| format!("{error:#}"), ToString::to_string)
}

/// The fix.
fn fix_of(error: &anyhow::Error) -> &'static str {
    let code = error.chain().find_map(|cause| cause.downcast_ref::<rusqlite::Error>()?.sqlite_error_code());
    let kind = error.chain().find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    match (code, kind) {
        (Some(ErrorCode::NotADatabase), _) => {
            "is it a SQLite database? put the right file there, or move this one away, and a new one is made"
        }
        (Some(ErrorCode::DatabaseCorrupt), _) => {
            "put a backup of it there; or move it away, and a new and empty one is made"
        }
        (Some(ErrorCode::DiskFull), _) | (_, Some(io::ErrorKind::StorageFull)) => "make room on the disk",
        (_, Some(io::ErrorKind::IsADirectory)) => "a folder stands where the file must be: move it away",
        (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => {
            "another process uses the file: stop it, or wait until it is done"
        }
        _ => "make the file and its folder readable and writable for the host's user",
    }
}

/// What components share.
#[derive(Clone)]
pub(super) struct Shared {
    sqlite: BTreeMap<String, Arc<Database>>,
    key_value: BTreeMap<String, Arc<Store>>,
    postgres: Arc<postgres::Pools>,
    internal: Internal,
    tls: Arc<tokio_rustls::rustls::ClientConfig>,
    budget: Arc<ApplicationBudget>,
}

impl Shared {
    /// What all instances may take together.
    pub(super) fn budget(&self) -> &ApplicationBudget {
        &self.budget
    }

    /// Opens every database and store that any component of this host is granted. Blocks on the disk.
    pub(super) async fn open(
        application: &Application,
        state: &StateFolder,
        nats: Option<&Nats>,
    ) -> Result<Self, GrantError> {
        let shared = Shared {
            sqlite: BTreeMap::new(),
            key_value: BTreeMap::new(),
            postgres: Arc::default(),
            internal: Internal::default(),
            tls: http_client::tls_config().map_err(GrantError::Client)?,
            budget: Arc::new(ApplicationBudget {
                memory: Budget::new(application.limits.application_memory.as_u64()),
                files: Budget::new(application.limits.open_files),
            }),
        };
        shared.with(application, state, nats).await
    }

    /// The same, and what components of `application` are granted besides: what is open already stays so.
    pub(super) async fn with(
        &self,
        application: &Application,
        state: &StateFolder,
        nats: Option<&Nats>,
    ) -> Result<Self, GrantError> {
        let mut shared = self.clone();
        for label in labels(application, |c| &c.key_value_stores) {
            if let Entry::Vacant(entry) = shared.key_value.entry(label) {
                let place = application.key_value_places.get(entry.key());
                let store = store(place, &state.key_value(), nats, entry.key()).await?;
                entry.insert(Arc::new(store));
            }
        }
        for label in labels(application, |c| &c.sqlite_databases) {
            if let Entry::Vacant(entry) = shared.sqlite.entry(label) {
                let database = database(application, &state.sqlite(), entry.key())?;
                entry.insert(database);
            }
        }
        Ok(shared)
    }

    /// Opens the way for requests between components of the application.
    pub(super) fn internal(&self, dispatch: InternalDispatch) {
        self.internal.set(dispatch);
    }

    /// The database of `label`.
    pub(super) fn database(&self, label: &str) -> Option<&Arc<Database>> {
        self.sqlite.get(label)
    }

    /// The key-value store of `label`.
    pub(super) fn store(&self, label: &str) -> Option<&Arc<Store>> {
        self.key_value.get(label)
    }

    /// What `component` may reach.
    pub(super) fn grants(
        &self,
        component: &Component,
        application: &Application,
        state: &StateFolder,
    ) -> Result<Grants, GrantError> {
        let name: Arc<str> = component.name.as_str().into();
        let client = Client::new(
            name.clone(),
            component.allowed_outbound_hosts.clone().into(),
            component.limits.outbound_requests,
            self.internal.clone(),
            self.tls.clone(),
        );
        Ok(Grants {
            variables: component.variables.iter().map(|(k, v)| (k.clone(), v.expose().to_string())).collect(),
            environment: component.environment.clone().into_iter().collect(),
            files: files::prepare(&application.dir, state.path(), &component.name, &component.files)?,
            key_value: chosen(&self.key_value, &component.key_value_stores),
            sqlite: chosen(&self.sqlite, &component.sqlite_databases).into(),
            postgres: postgres::Granted::new(component.allowed_outbound_hosts.clone(), self.postgres.clone()),
            budget: self.budget.clone(),
            ..Grants::nothing(name, component.limits.clone(), Arc::new(client))
        })
    }
}

/// Opens the queue of durable messages, where a component of this host has a durable link, `events` of another system are
/// to be stored, messages may come for a component here (`receives`), or an earlier manifest has left some: on `nats`,
/// where there is one, or else in the state folder.
pub(super) async fn queue(
    application: &Application,
    state: &StateFolder,
    nats: Option<&Nats>,
    events: bool,
    receives: bool,
) -> Result<Option<Queue>, GrantError> {
    let (path, limit) = (state.messages(), application.limits.durable_bytes.as_u64());
    let sends = application.here().any(|component| !component.durable.is_empty());
    let sent = || application.components.values().any(|component| !component.durable.is_empty());
    let durable = events || sends || (receives && sent());
    let file = if path.exists() || (durable && nats.is_none()) {
        Some(FileQueue::open(&path, limit).map_err(|error| GrantError::Queue { path, error })?)
    } else {
        None
    };
    let Some(nats) = nats else { return Ok(file.map(Queue::File)) };
    if let Some(file) = file {
        let left = file.stats().await.map_err(|error| GrantError::Left { error })?;
        let left = left.waiting + left.dead + left.stranded;
        if left > 0 {
            tracing::warn!(
                "{left} durable messages lie in the state folder, from before this host was on NATS: they stay there; fix: \
                 start it without NATS until `souk events list` has none"
            );
        }
    }
    let (nats, components) = (nats.clone(), application.components.keys().cloned().collect());
    Ok(match (durable, receives) {
        (true, _) => Some(JetStreamQueue::open(nats, limit, components).await?),
        // What an earlier manifest has left. Without durable links it needs no JetStream.
        (false, true) => JetStreamQueue::find(nats, limit, components).await.unwrap_or_else(|error| {
            match error.is_transient() {
                true => tracing::warn!("whether an earlier manifest has left durable messages is not known: {error}"),
                false => tracing::debug!("{error}"),
            }
            None
        }),
        (false, false) => None,
    }
    .map(Queue::JetStream))
}

/// Opens every database that any component is granted; `folder` is where those lie that are not placed elsewhere.
pub(super) fn databases(
    application: &Application,
    folder: &Path,
) -> Result<BTreeMap<String, Arc<Database>>, GrantError> {
    let labels = labels(application, |c| &c.sqlite_databases).into_iter();
    labels.map(|label| database(application, folder, &label).map(|database| (label, database))).collect()
}

fn database(application: &Application, folder: &Path, label: &str) -> Result<Arc<Database>, GrantError> {
    let path = place(&application.sqlite_paths, folder, label);
    Database::open(&path, label).map_err(|error| GrantError::Database { label: label.to_owned(), path, error })
}

/// Opens the key-value store `label`; `folder` is where it lies when it is not placed elsewhere.
async fn store(
    place: Option<&KeyValuePlace>,
    folder: &Path,
    nats: Option<&Nats>,
    label: &str,
) -> Result<Store, GrantError> {
    let failed = |place: String, error, fix| GrantError::KeyValueServer { label: label.to_owned(), place, error, fix };
    let path = match (place, nats) {
        (Some(KeyValuePlace::Nats { bucket }), Some(nats)) => {
            let opened = Store::in_nats(nats, bucket.as_deref(), label).await;
            return opened.map_err(|error| failed("NATS".to_owned(), error, NATS_FIX));
        }
        // The manifest was refused.
        (Some(KeyValuePlace::Nats { .. }), None) => {
            return Err(failed("NATS".to_owned(), anyhow::anyhow!("NATS is not configured"), NATS_FIX));
        }
        (Some(KeyValuePlace::Redis(url)), _) => {
            let opened = Store::in_redis(url, label).await;
            return opened.map_err(|error| failed(url.to_string(), error, REDIS_FIX));
        }
        (Some(KeyValuePlace::File(path)), _) => path.clone(),
        (None, _) => folder.join(format!("{label}.db")),
    };
    Store::open(&path, label).map_err(|error| GrantError::KeyValue { label: label.to_owned(), path, error })
}

const NATS_FIX: &str = "give the servers JetStream (`nats-server -js`) with room for the bucket, and let there be as many \
    as `replicas` under [nats] of runtime-config.toml says";
const REDIS_FIX: &str = "start the server, or correct `url` of its [key_value_store] in runtime-config.toml: host and port, \
    user and password, `rediss://` for TLS, the number of a database at the end";

/// Every label that any component of this host has in its list.
fn labels(application: &Application, list: fn(&Component) -> &Vec<String>) -> BTreeSet<String> {
    application.here().flat_map(list).cloned().collect()
}

fn place(placed: &BTreeMap<String, PathBuf>, folder: &Path, label: &str) -> PathBuf {
    placed.get(label).cloned().unwrap_or_else(|| folder.join(format!("{label}.db")))
}

fn chosen<T>(all: &BTreeMap<String, Arc<T>>, labels: &[String]) -> BTreeMap<String, Arc<T>> {
    labels.iter().filter_map(|label| Some((label.clone(), all.get(label)?.clone()))).collect()
}
