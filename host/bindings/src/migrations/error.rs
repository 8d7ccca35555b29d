//! Why migrations did not run.
//!
//! A start, a reload and a deployment report these errors as mistakes of a component, with its line, together with all
//! others. A caller that has no manifest shows them as they are.

use souk_manifest::{Application, Diagnostic};
use std::fmt;
use std::path::PathBuf;

/// Why migrations did not run. Each names the component and the file.
#[derive(Debug)]
pub enum MigrationError {
    /// The folder or a file cannot be read, or a file's name is wrong.
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
    Target {
        /// The component.
        component: String,
        /// What is wrong.
        reason: String,
    },
}

impl MigrationError {
    /// The mistake in its component, at the line of the component's table.
    pub fn mistake(&self, application: &Application) -> Diagnostic {
        let (component, message, fix) = self.parts();
        Diagnostic {
            file: application.manifest.clone(),
            line: application.components.get(component).map(|component| component.line),
            component: Some(component.to_owned()),
            message,
            fix,
        }
    }

    /// The component, what is wrong, and what fixes it.
    fn parts(&self) -> (&str, String, String) {
        match self {
            MigrationError::File { component, path, reason, fix } => {
                (component.as_str(), format!("migration {}: {reason}", path.display()), (*fix).to_owned())
            }
            MigrationError::History { component, database, file, reason, fix } => {
                (component.as_str(), format!("migration {file} of database `{database}` {reason}"), (*fix).to_owned())
            }
            MigrationError::Failed { component, database, file, reason } => {
                let what = format!("migration {file} of database `{database}` failed and was rolled back: {reason}");
                let fix = "correct the file; nothing of it remains, so it will run again from its beginning";
                (component.as_str(), what, fix.to_owned())
            }
            MigrationError::Seed { component, database, path, reason } => {
                let path = path.display();
                let what = format!("the script {path} of database `{database}` failed and was rolled back: {reason}");
                let fix = "correct the script, or bring the database to the newest migrations with `souk migrate`";
                (component.as_str(), what, fix.to_owned())
            }
            MigrationError::Database { component, database, reason, fix } => {
                let what = format!("the migrations of database `{database}` cannot be read or run: {reason}");
                (component.as_str(), what, (*fix).to_owned())
            }
            MigrationError::Target { component, reason } => {
                let fix = format!(
                    "in [component.{component}] grant it one database under `sqlite_databases`, or one that is named \
                     `{component}` or `default`, or write its `database_url` under [component.{component}.tool.souk]"
                );
                (component.as_str(), format!("has migrations for SQLite, but {reason}"), fix)
            }
        }
    }
}

impl fmt::Display for MigrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (component, message, fix) = self.parts();
        write!(f, "component `{component}`: {message}\n  fix: {fix}")
    }
}

impl std::error::Error for MigrationError {}
