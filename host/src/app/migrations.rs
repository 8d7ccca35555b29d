//! The components' migrations, run before the first request or by `souk migrate`.

use super::grants::{GrantError, Shared, databases};
use crate::bindings::sqlite::Database;
use crate::manifest::{Application, Component};
use crate::migrations::{self, MigrationError, Standing};
use crate::state::{StateError, StateFolder};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Migrations could not be run or read.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A database cannot be opened.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A migration was changed, or failed.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The work was stopped.
    #[error("the migrations were stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// One component's migrations and the database that they are for.
struct Job {
    component: String,
    dir: PathBuf,
    database: Arc<Database>,
}

fn jobs<'a>(
    application: &Application,
    database: impl Fn(&str) -> Option<&'a Arc<Database>>,
) -> Result<Vec<Job>, MigrationError> {
    let mut jobs = Vec::new();
    for component in application.components.values() {
        let Some(dir) = &component.migrations else { continue };
        let Component { name, sqlite_databases, .. } = component;
        let label = migrations::target_label(name, sqlite_databases.iter().map(String::as_str))?;
        if let Some(database) = database(label) {
            jobs.push(Job { component: name.clone(), dir: dir.clone(), database: database.clone() });
        }
    }
    Ok(jobs)
}

fn run_all(jobs: Vec<Job>) -> Result<Vec<(String, usize)>, MigrationError> {
    let mut done = Vec::new();
    for job in jobs {
        let report = migrations::run(&job.database, &job.component, &job.dir)?;
        done.push((job.component, report.applied.len()));
    }
    Ok(done)
}

/// Runs what is pending; how many were applied, by component.
pub(super) async fn run(application: &Application, shared: &Shared) -> Result<Vec<(String, usize)>, MigrateError> {
    let jobs = jobs(application, |label| shared.database(label))?;
    let done = tokio::task::spawn_blocking(move || run_all(jobs)).await??;
    Ok(done.into_iter().filter(|(_, applied)| *applied > 0).collect())
}

/// Runs what is pending without starting the application. Blocks.
///
/// # Errors
/// When a database cannot be opened, or a migration was changed or fails.
pub fn migrate(application: &Application, state: &StateFolder) -> Result<Vec<(String, usize)>, MigrateError> {
    let databases = databases(application, &state.sqlite())?;
    Ok(run_all(jobs(application, |label| databases.get(label))?)?)
}

/// Where every migration stands, as text, and whether nothing is wrong with any. Blocks. Works beside a running host.
///
/// # Errors
/// When a database or a migration cannot be read.
pub fn migration_status(application: &Application, state_dir: &Path) -> Result<(String, bool), MigrateError> {
    let databases = databases(application, &crate::state::sqlite_folder(state_dir)?)?;
    let (mut text, mut clean) = (String::new(), true);
    for job in jobs(application, |label| databases.get(label))? {
        let _ = writeln!(text, "{} (database `{}`)", job.component, job.database.label());
        for status in migrations::status(&job.database, &job.component, &job.dir)? {
            let standing = match status.standing {
                Standing::Applied(when) => format!("applied {when}"),
                Standing::Pending => "pending".into(),
                wrong => {
                    clean = false;
                    format!("{wrong:?}").to_uppercase()
                }
            };
            let _ = writeln!(text, "  {:<40} {standing}", status.file);
        }
    }
    Ok((text, clean))
}
