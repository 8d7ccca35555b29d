//! Where each component's data lives, in words that show no user, password or value.
//!
//! What is compared is the place and not the server behind it: two names of one server are two places. A file is of one
//! host, so a database that migrations are for is named with the state folder of its host, and a second host with a file of
//! its own is another database. Files without migrations (a cache, a store that each host has for itself) are alike on all
//! hosts.

use souk_manifest::{Application, Component, DatabaseUrl, KeyValuePlace};
use std::collections::BTreeMap;

/// How much of a state folder's id is shown.
const SHOWN_ID_DIGITS: usize = 8;

/// For each component of this host, where its stores and databases are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(pub(super) BTreeMap<String, BTreeMap<String, String>>);

impl Places {
    /// The places of the components that run at this host, whose state folder has this id.
    pub fn of(application: &Application, state_id: &str) -> Self {
        let here =
            application.here().map(|component| (component.name.clone(), places(application, component, state_id)));
        Places(here.filter(|(_, places)| !places.is_empty()).collect())
    }
}

fn places(application: &Application, component: &Component, state_id: &str) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    let own_file = || {
        let id: String = state_id.chars().take(SHOWN_ID_DIGITS).collect();
        format!("a file of the host with state folder {id}")
    };
    let migrated = |label: &String| match &component.database {
        Some(DatabaseUrl::Sqlite(database)) => database == label,
        Some(DatabaseUrl::Postgres(_)) => false,
        None => component.migrations.is_some(),
    };
    if let Some(DatabaseUrl::Postgres(address)) = &component.database {
        places.insert("database".to_owned(), address.to_string());
    }
    for label in component.sqlite_databases.iter().filter(|label| migrated(label)) {
        places.insert("database".to_owned(), format!("SQLite `{label}`, {}", own_file()));
    }
    for label in &component.key_value_stores {
        let place = match application.key_value_places.get(label) {
            None | Some(KeyValuePlace::File(_)) => "a file of each host".to_owned(),
            Some(KeyValuePlace::Nats { bucket: None }) => "NATS".to_owned(),
            Some(KeyValuePlace::Nats { bucket: Some(bucket) }) => format!("NATS, bucket `{bucket}`"),
            Some(KeyValuePlace::Redis(url)) => url.to_string(),
            Some(KeyValuePlace::Mongo { url, collection }) => format!("{url}, collection `{collection}`"),
        };
        places.insert(format!("key-value store `{label}`"), place);
    }
    places
}
