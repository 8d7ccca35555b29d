//! What the manifest grants: databases by label. Each database is opened once and shared by all components that have
//! the label.

use super::{Database, Share};
use crate::binding::{Binding, labels};
use crate::storage::why_not_opened;
use souk_manifest::{Application, Component, Diagnostic};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The binding.
pub const BINDING: Binding = Binding {
    name: "sqlite",
    interfaces: &["spin:sqlite/", "fermyon:spin/sqlite@"],
    key: "sqlite_databases",
    // A component that can use either kind of database imports both; its `database_url` chooses one.
    is_missing: |component| component.sqlite_databases.is_empty() && component.database.is_none(),
    describe: |component| component.sqlite_databases.clone(),
    fixed_limits: super::fixed_limits,
    add_to_linker: super::add_to_linker,
};

/// The open databases of an application.
#[derive(Debug, Clone, Default)]
pub struct Databases(BTreeMap<String, Arc<Database>>);

impl Databases {
    /// Opens the databases that components of this host are granted and that are not open yet. Databases without a
    /// place in the runtime configuration are files in `folder`. Blocks on the disk. Returns the databases that cannot
    /// be opened.
    #[must_use]
    pub fn open(&mut self, application: &Application, folder: &Path) -> Vec<Diagnostic> {
        let mut mistakes = Vec::new();
        for (label, component) in labels(application, |component| &component.sqlite_databases) {
            if self.0.contains_key(label) {
                continue;
            }
            let placed = application.sqlite_paths.get(label).cloned();
            let path = placed.unwrap_or_else(|| folder.join(format!("{label}.db")));
            match Database::open(&path, label, application.limits.database_bytes.as_u64()) {
                Ok(database) => drop(self.0.insert(label.to_owned(), database)),
                Err(error) => {
                    let (why, fix) = why_not_opened(&error);
                    let message = format!("database `{label}` in {} cannot be opened: {why}", path.display());
                    mistakes.push(application.mistake(component, message, fix));
                }
            }
        }
        mistakes
    }

    /// All open databases.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.0.values()
    }

    /// The database of `label`.
    pub fn get(&self, label: &str) -> Option<&Arc<Database>> {
        self.0.get(label)
    }

    /// The databases that `component` is granted.
    pub fn grant(&self, component: &Component) -> Granted {
        let labels = component.sqlite_databases.iter();
        labels.filter_map(|label| Some((label.clone(), self.get(label)?.clone()))).collect::<BTreeMap<_, _>>().into()
    }
}

/// The databases that a component is granted, by label, and its share of them.
#[derive(Debug, Default)]
pub struct Granted {
    databases: BTreeMap<String, Arc<Database>>,
    share: Share,
}

impl Granted {
    /// The database `label`, if it was granted.
    pub fn get(&self, label: &str) -> Option<&Arc<Database>> {
        self.databases.get(label)
    }

    /// The component's share of its databases.
    pub fn share(&self) -> &Share {
        &self.share
    }
}

impl From<BTreeMap<String, Arc<Database>>> for Granted {
    fn from(databases: BTreeMap<String, Arc<Database>>) -> Self {
        Granted { databases, share: Share::default() }
    }
}
