//! The needs of the components that routes use, from the manifest and from what was opened at the start.

use crate::app::App;
use souk_bindings::postgres::Granted;
use souk_links::durable::Queue;
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Component, DatabaseUrl, KeyValuePlace, PostgresAddress};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How a need is checked.
pub(super) enum Kind {
    /// Free space on the disk of a folder, and permission to write there.
    Disk(PathBuf),
    /// A PostgreSQL server, reached with one component's grants.
    Postgres(Box<(Granted, PostgresAddress)>),
    /// The connection to NATS.
    Nats,
    /// The server of a key-value store.
    Store(String),
    /// The stream of durable messages.
    Queue,
    /// A host that runs a component.
    Host(String),
    /// No other service answers the patterns of a component of this host.
    Patterns(String),
}

/// A need of some components.
pub(super) struct Need {
    /// The description for the report, which everybody may read: no user, password or path.
    pub(super) what: String,
    pub(super) components: Vec<String>,
    pub(super) kind: Kind,
}

/// The needs of all components that a route uses.
pub(super) fn of(app: &App, state: &StateFolder) -> Vec<Need> {
    let application = app.application();
    let mut needs = Needs(BTreeMap::new());
    for name in application.needed_to_be_ready() {
        let Some(component) = application.components.get(&name) else { continue };
        if app.pool(&name).is_some() {
            here(&mut needs, app, component, state);
        } else if application.nats.is_some() {
            needs.add(&name, "NATS".to_owned(), || Kind::Nats);
            needs.add(&name, format!("a host that runs `{name}`"), || Kind::Host(name.clone()));
        }
    }
    needs.0.into_values().collect()
}

/// Needs, by a unique key.
struct Needs(BTreeMap<String, Need>);

impl Needs {
    fn add(&mut self, component: &str, what: String, kind: impl FnOnce() -> Kind) {
        self.add_as(component, what.clone(), what, kind);
    }

    /// The same with a separate `key`, for a description that is not unique.
    fn add_as(&mut self, component: &str, key: String, what: String, kind: impl FnOnce() -> Kind) {
        let need = self.0.entry(key).or_insert_with(|| Need { what, components: Vec::new(), kind: kind() });
        if !need.components.iter().any(|known| known == component) {
            need.components.push(component.to_owned());
        }
    }

    fn disk(&mut self, component: &str, file: &Path, state: &StateFolder) {
        let folder = file.parent().unwrap_or(Path::new("/")).to_path_buf();
        if folder.starts_with(state.path()) {
            return self.add(component, "room on the disk of the state folder".to_owned(), || Kind::Disk(folder));
        }
        let what = match folder.file_name() {
            Some(name) => format!("room on the disk of the folder `{}`", name.to_string_lossy()),
            None => "room on the disk".to_owned(),
        };
        // Folders with the same name can be on different disks.
        self.add_as(component, format!("{what}: {}", folder.display()), what, || Kind::Disk(folder));
    }
}

/// The needs of a component of this host.
fn here(needs: &mut Needs, app: &App, component: &Component, state: &StateFolder) {
    let application = app.application();
    let name = component.name.as_str();
    match &component.database {
        Some(DatabaseUrl::Postgres(address)) => {
            let what = format!("PostgreSQL at {}:{}/{}", address.host(), address.port(), address.database);
            let kind = || Kind::Postgres(Box::new((app.postgres_of(component), address.clone())));
            needs.add_as(name, format!("{what} as {}", address.user), what, kind);
        }
        _ => {
            for label in &component.sqlite_databases {
                let file = application.sqlite_paths.get(label).cloned();
                needs.disk(name, &file.unwrap_or_else(|| state.sqlite().join(label)), state);
            }
        }
    }
    for label in &component.key_value_stores {
        match application.key_value_places.get(label) {
            Some(KeyValuePlace::Nats { .. } | KeyValuePlace::Redis(_) | KeyValuePlace::Mongo { .. }) => {
                let what = format!("the server of the key-value store `{label}`");
                needs.add(name, what, || Kind::Store(label.clone()));
            }
            Some(KeyValuePlace::File(file)) => needs.disk(name, file, state),
            None => needs.disk(name, &state.key_value().join(label), state),
        }
    }
    if !component.durable.is_empty() || !component.schedules.is_empty() {
        match app.queue() {
            Some(Queue::File(_)) => needs.disk(name, &state.messages(), state),
            Some(Queue::JetStream(_)) => {
                needs.add(name, "the durable messages on NATS".to_owned(), || Kind::Queue);
            }
            None => {}
        }
    }
    if !component.nest.serves.is_empty() {
        let what = format!("exclusive use of the patterns of `{name}`");
        needs.add(name, what, || Kind::Patterns(name.to_owned()));
    }
    if uses_nats(&application, component) {
        needs.add(name, "NATS".to_owned(), || Kind::Nats);
    }
}

/// Whether a component of this host makes calls over NATS.
fn uses_nats(application: &Application, component: &Component) -> bool {
    let elsewhere = |name: &str| application.components.contains_key(name) && !application.runs_here(name);
    application.nats.is_some()
        && (component.dependencies.iter().any(|dependency| elsewhere(&dependency.component))
            || !component.remote.is_empty()
            || !component.nest.serves.is_empty()
            || !component.nest.calls.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_outside_the_state_folder_is_checked_though_another_has_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let mut needs = Needs(BTreeMap::new());
        for file in ["/mnt/a/data/one.db", "/mnt/b/data/two.db", "/mnt/b/data/three.db"] {
            needs.disk("shop", Path::new(file), &state);
        }
        for file in [state.sqlite().join("default"), state.key_value().join("default")] {
            needs.disk("shop", &file, &state);
        }
        let disks = needs.0.values().filter(|need| matches!(need.kind, Kind::Disk(_)));
        let named: Vec<&str> = disks.map(|need| need.what.as_str()).collect();
        let data = "room on the disk of the folder `data`";
        assert_eq!(named, [data, data, "room on the disk of the state folder"]);
    }
}
