//! What the manifest grants: stores by label. Each store is opened once and shared by all components that have the
//! label.

use super::Store;
use super::error::Unfit;
use crate::binding::{Binding, labels};
use crate::boundary::Boundaries;
use crate::storage::why_not_opened;
use souk_manifest::{Application, Component, Diagnostic, KeyValuePlace, MongoUrl};
use souk_nats::Nats;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The binding.
pub const BINDING: Binding = Binding {
    name: "key-value",
    interfaces: &["spin:key-value/", "fermyon:spin/key-value@", "wasi:keyvalue/"],
    key: "key_value_stores",
    is_missing: |component| component.key_value_stores.is_empty(),
    describe: |component| component.key_value_stores.clone(),
    fixed_limits: super::fixed_limits,
    add_to_linker: super::add_to_linker,
};

const NATS_FIX: &str = "enable JetStream at the servers (`nats-server -js`), with room for the bucket; run at least as \
                        many servers as `replicas` under [nats] of runtime-config.toml";
const REDIS_FIX: &str = "start the server, or correct `url` of its [key_value_store] in runtime-config.toml: host and port, \
    user and password, `rediss://` for TLS, the number of a database at the end";

#[cfg(feature = "mongodb")]
const MONGODB_FIX: &str = "start the server, or correct `url` of its [key_value_store] in runtime-config.toml: hosts and \
    ports, user and password, the database after the `/`, `?tls=true` for TLS";

/// The stores that a component is granted, by the label that it uses.
pub type Granted = BTreeMap<String, Arc<Store>>;

/// The open stores of an application.
#[derive(Clone, Default)]
pub struct Stores(Granted);

impl Stores {
    /// Opens the stores that components of this host are granted and that are not open yet. Stores without a place in
    /// the runtime configuration are files in `folder`. Blocks on the disk. Returns the stores that cannot be opened.
    #[must_use]
    pub async fn open(
        &mut self,
        application: &Application,
        folder: &Path,
        nats: Option<&Nats>,
        boundaries: &Boundaries,
    ) -> Vec<Diagnostic> {
        let mut mistakes = Vec::new();
        for (label, component) in labels(application, |component| &component.key_value_stores) {
            if self.0.contains_key(label) {
                continue;
            }
            let place = application.key_value_places.get(label);
            match open(place, folder, nats, label).await {
                Ok(store) => drop(self.0.insert(label.to_owned(), Arc::new(store.crossing(boundaries, label)))),
                Err(NotOpened { place, why, fix }) => {
                    let message = format!("key-value store `{label}` in {place} cannot be opened: {why}");
                    mistakes.push(application.mistake(component, message, fix));
                }
            }
        }
        mistakes
    }

    /// The store of `label`.
    pub fn get(&self, label: &str) -> Option<&Arc<Store>> {
        self.0.get(label)
    }

    /// The stores that `component` is granted.
    pub fn grant(&self, component: &Component) -> Granted {
        let labels = component.key_value_stores.iter();
        labels.filter_map(|label| Some((label.clone(), self.get(label)?.clone()))).collect()
    }
}

/// Opens the store of `label` at `place`, which need not be the configured one; without a place it is a file in
/// `folder`. Blocks on the disk.
///
/// # Errors
/// When it cannot be opened.
pub async fn open_at(
    place: Option<&KeyValuePlace>,
    folder: &Path,
    nats: Option<&Nats>,
    label: &str,
) -> Result<Store, NotOpened> {
    open(place, folder, nats, label).await
}

/// A store that cannot be opened: its place, without a password, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("the key-value store in {place} cannot be opened: {why}\n  fix: {fix}")]
pub struct NotOpened {
    place: String,
    why: String,
    fix: String,
}

impl NotOpened {
    /// A store at `place` on a server; `usual` is the fix for an error that has none of its own.
    fn on_server(place: String, error: &anyhow::Error, usual: &str) -> Self {
        let fix = error.downcast_ref::<Unfit>().map_or(usual, |unfit| unfit.fix.as_str());
        NotOpened { place, why: format!("{error:#}"), fix: fix.to_owned() }
    }
}

async fn open(
    place: Option<&KeyValuePlace>,
    folder: &Path,
    nats: Option<&Nats>,
    label: &str,
) -> Result<Store, NotOpened> {
    let path = match (place, nats) {
        (Some(KeyValuePlace::Nats { bucket }), Some(nats)) => {
            let store = Store::in_nats(nats, bucket.as_deref(), label).await;
            return store.map_err(|error| NotOpened::on_server("NATS".to_owned(), &error, NATS_FIX));
        }
        // Checking the manifest has already refused this.
        (Some(KeyValuePlace::Nats { .. }), None) => {
            let why = "NATS is not configured".to_owned();
            return Err(NotOpened { place: "NATS".to_owned(), why, fix: NATS_FIX.to_owned() });
        }
        (Some(KeyValuePlace::Redis(url)), _) => {
            let store = Store::in_redis(url, label).await;
            return store.map_err(|error| NotOpened::on_server(url.to_string(), &error, REDIS_FIX));
        }
        (Some(KeyValuePlace::Mongo { url, collection }), _) => {
            return in_mongodb(url, collection, label).await;
        }
        (Some(KeyValuePlace::File(path)), _) => path.clone(),
        (None, _) => folder.join(format!("{label}.db")),
    };
    Store::open(&path, label).map_err(|error| {
        let (why, fix) = why_not_opened(&error);
        NotOpened { place: path.display().to_string(), why, fix: fix.to_owned() }
    })
}

#[cfg(feature = "mongodb")]
async fn in_mongodb(url: &MongoUrl, collection: &str, label: &str) -> Result<Store, NotOpened> {
    let store = Store::in_mongodb(url, collection, label).await;
    store.map_err(|error| NotOpened::on_server(format!("{url}, collection {collection},"), &error, MONGODB_FIX))
}

/// For builds without the MongoDB client.
#[cfg(not(feature = "mongodb"))]
#[expect(clippy::unused_async, reason = "the function with the feature awaits")]
async fn in_mongodb(url: &MongoUrl, collection: &str, _: &str) -> Result<Store, NotOpened> {
    Err(NotOpened {
        place: format!("{url}, collection {collection},"),
        why: "this souk was built without MongoDB".to_owned(),
        fix: "build it with `--features mongodb`, or `full`".to_owned(),
    })
}
