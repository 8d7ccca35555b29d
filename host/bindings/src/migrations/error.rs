//! Why migrations did not run.

use souk_manifest::{Application, Component, Diagnostic};
use std::path::PathBuf;

/// Why migrations did not run. Each names the component and the file.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The folder or a file cannot be read, or a file's name is wrong.
    #[error("component `{component}`: migration {}: {reason}\n  fix: {fix}", path.display())]
    File {
        /// The component.
        component: String,
        /// The folder or the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What would fix it.
        fix: &'static str,
    },
    /// The history and the folder do not agree.
    #[error("component `{component}`: migration {file} of database `{database}` {reason}\n  fix: {fix}")]
    History {
        /// The component.
        component: String,
        /// The label or the address of the database.
        database: String,
        /// The file's name.
        file: String,
        /// What is wrong.
        reason: &'static str,
        /// What would fix it.
        fix: &'static str,
    },
    /// A migration failed; nothing of it remains.
    #[error(
        "component `{component}`: migration {file} of database `{database}` failed and was rolled back: {reason}\n  \
         fix: correct the file; nothing of it remains, so it will run again from its beginning"
    )]
    Failed {
        /// The component.
        component: String,
        /// The label or the address of the database.
        database: String,
        /// The file's name.
        file: String,
        /// The database's reason, with the line where it is known.
        reason: String,
    },
    /// A script of the component's seed failed; nothing of it remains.
    #[error(
        "component `{component}`: the script {} of database `{database}` failed and was rolled back: {reason}\n  fix: \
         correct the script, or bring the database to the newest migrations with `souk migrate`", path.display()
    )]
    Seed {
        /// The component.
        component: String,
        /// The label or the address of the database.
        database: String,
        /// The script.
        path: PathBuf,
        /// The database's reason, with the line where it is known.
        reason: String,
    },
    /// The database does not answer, or not as expected.
    #[error(
        "component `{component}`: the migrations of database `{database}` cannot be read or run: {reason}\n  fix: {fix}"
    )]
    Database {
        /// The component.
        component: String,
        /// The label or the address of the database.
        database: String,
        /// The reason.
        reason: String,
        /// What would fix it.
        fix: &'static str,
    },
    /// The manifest does not say clearly which database the migrations are for.
    #[error("component `{component}` has migrations for SQLite, but {reason}\n  fix: {}", target_fix(component))]
    Target {
        /// The component.
        component: String,
        /// What is wrong.
        reason: String,
    },
}

fn target_fix(component: &str) -> String {
    format!(
        "in [component.{component}] grant it one database under `sqlite_databases`, or one that is named `{component}` or \
         `default`, or write its `database_url` under [component.{component}.tool.souk]"
    )
}

impl MigrationError {
    /// The mistake in `component`, whose files show it.
    pub(super) fn mistake(self, application: &Application, component: &Component) -> Diagnostic {
        match self {
            MigrationError::File { path, reason, fix, .. } => {
                application.mistake(component, format!("migration {}: {reason}", path.display()), fix)
            }
            MigrationError::Target { reason, .. } => {
                let message = format!("has migrations for SQLite, but {reason}");
                application.mistake(component, message, target_fix(&component.name))
            }
            other => application.mistake(component, other.to_string(), "correct its migrations"),
        }
    }
}
