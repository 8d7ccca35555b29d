//! Where each component's data is stored, as text without a user, password or value of a variable.
//!
//! The comparison uses the place, not the server behind it: two names of one server are two places. A file belongs to
//! one host. So the place of a file database with migrations includes the id of its host's state folder: the file of a
//! second host is a different database. Files without migrations (a cache, a store that each host has for itself) count
//! as the same on all hosts.

use souk_manifest::{Application, Component, DatabaseUrl, KeyValuePlace};
use std::collections::BTreeMap;

/// How many digits of a state folder's id are shown.
const SHOWN_ID_DIGITS: usize = 8;

/// The places of the stores and databases of each component on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(pub(super) BTreeMap<String, BTreeMap<String, String>>);

impl Places {
    /// The places of the components that run on this host, whose state folder has this id.
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
