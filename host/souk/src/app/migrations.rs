//! The components' migrations, run before the first request or by `souk migrate`.
//!
//! What is wrong with them is a mistake of a component, with its line and its fix. Everything that can be tried without
//! changing a database is reported together; a migration that fails while it runs is the last one that runs.

use souk_bindings::migrations::seed::{self, Part, Script};
use souk_bindings::migrations::{self, MigrationError, MigrationState, Status, Target};
use souk_bindings::sqlite::{Database, Databases};
use souk_manifest::state::{StateError, StateFolder};
use souk_manifest::{Application, Component, Diagnostic, ManifestErrors, PostgresAddress};
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Migrations could not be run or read.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A database cannot be opened, or a migration is wrong, was changed, or failed; each with component and line.
    #[error(transparent)]
    Mistakes(#[from] ManifestErrors),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// One of these mistakes, before the manifest has given it a line.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The work was stopped.
    #[error("the migrations were stopped: {0}\n  fix: this is a bug in Souk: please report it")]
    Stopped(#[from] tokio::task::JoinError),
}

impl MigrateError {
    /// The error with the line of `application`'s manifest.
    pub(super) fn of(self, application: &Application) -> Self {
        match self {
            MigrateError::Migration(error) => ManifestErrors(vec![error.mistake(application)]).into(),
            error => error,
        }
    }

    /// The error of a rehearsal of `component`'s migrations as mistakes.
    fn mistakes(self, application: &Application, component: &Component) -> Vec<Diagnostic> {
        match self {
            MigrateError::Mistakes(errors) => errors.0,
            MigrateError::Migration(error) => vec![error.mistake(application)],
            error @ (MigrateError::State(_) | MigrateError::Stopped(_)) => {
                let message = format!("its migrations could not be tried out: {error}");
                vec![application.mistake(component, message, "this is a bug in Souk: please report it")]
            }
        }
    }
}

/// One component's migrations and their database.
struct Job {
    component: String,
    dir: PathBuf,
    retired: Vec<i32>,
    additive: Vec<i32>,
    /// The folder of example data that a new SQLite database gets automatically.
    seed: Option<PathBuf>,
    database: TargetDatabase,
}

/// A component's database.
#[derive(Clone)]
pub(super) enum TargetDatabase {
    Sqlite(Arc<Database>),
    Postgres(PostgresAddress),
}

fn jobs(application: &Application, databases: &Databases) -> Result<Vec<Job>, ManifestErrors> {
    let (mut jobs, mut mistakes) = (Vec::new(), Vec::new());
    for component in application.here() {
        let Some(dir) = &component.migrations else { continue };
        let database = match TargetDatabase::of(component, dir, databases) {
            Ok(Some(database)) => database,
            Ok(None) => continue,
            Err(error) => {
                mistakes.push(error.mistake(application));
                continue;
            }
        };
        let seed = component.seed.as_ref().filter(|seed| seed.at_first_start);
        jobs.push(Job {
            component: component.name.clone(),
            dir: dir.clone(),
            retired: component.retired.clone(),
            additive: component.additive.clone(),
            seed: seed.map(|seed| seed.folder.clone()),
            database,
        });
    }
    ManifestErrors::check(mistakes).map(|()| jobs)
}

impl TargetDatabase {
    fn is_same(&self, other: &TargetDatabase) -> bool {
        match (self, other) {
            (TargetDatabase::Sqlite(one), TargetDatabase::Sqlite(other)) => Arc::ptr_eq(one, other),
            (TargetDatabase::Postgres(one), TargetDatabase::Postgres(other)) => one == other,
            _ => false,
        }
    }

    /// The database of `component`, whose migrations are in `dir`; `None` when it is not open.
    pub(super) fn of(
        component: &Component,
        dir: &Path,
        databases: &Databases,
    ) -> Result<Option<TargetDatabase>, MigrationError> {
        Ok(match migrations::target(component, dir)? {
            Target::Sqlite(label) => databases.get(label).cloned().map(TargetDatabase::Sqlite),
            Target::Postgres(address) => Some(TargetDatabase::Postgres(address.clone())),
        })
    }
}

impl Job {
    async fn run(self) -> Result<(String, usize), MigrateError> {
        let Job { component, dir, retired, additive, seed, database } = self;
        let (component, report) = match &database {
            TargetDatabase::Sqlite(database) => {
                let database = database.clone();
                let run = move || {
                    let report = migrations::sqlite::run(&database, &component, &dir, &retired, &additive);
                    (component, report)
                };
                tokio::task::spawn_blocking(run).await?
            }
            TargetDatabase::Postgres(address) => {
                let report = migrations::postgres::run(address, &component, &dir, &retired, &additive).await;
                (component, report)
            }
        };
        let report = report?;
        // If the host is killed between the two, the database has no examples; `souk seed` adds them.
        if let Some(folder) = seed.filter(|_| report.was_new && matches!(database, TargetDatabase::Sqlite(_))) {
            run_script(&database, &component, &folder, Script::Add).await?;
        }
        Ok((component, report.applied.len()))
    }

    /// Tries out the pending migrations, so that none has run if one of them fails; returns whether there are any.
    async fn prepare(&self) -> Result<bool, MigrateError> {
        let Job { component, dir, retired, additive, database, .. } = self;
        Ok(match database.clone() {
            TargetDatabase::Sqlite(database) => {
                let (component, dir) = (component.clone(), dir.clone());
                let (retired, additive) = (retired.clone(), additive.clone());
                let prepare = move || migrations::sqlite::prepare(&database, &component, &dir, &retired, &additive);
                tokio::task::spawn_blocking(prepare).await??
            }
            TargetDatabase::Postgres(address) => {
                let wait = REHEARSAL_LOCK_WAIT;
                migrations::postgres::prepare(&address, component, dir, retired, additive, wait).await?
            }
        })
    }

    async fn status(self) -> Result<Vec<Status>, MigrateError> {
        let Job { component, dir, retired, database, .. } = self;
        Ok(match database {
            TargetDatabase::Sqlite(database) => {
                let ask = move || migrations::sqlite::status(&database, &component, &dir, &retired);
                tokio::task::spawn_blocking(ask).await??
            }
            TargetDatabase::Postgres(address) => {
                migrations::postgres::status(&address, &component, &dir, &retired).await?
            }
        })
    }
}

/// Runs `script` of the example data in `folder`; returns whether there is one for this kind of database.
pub(super) async fn run_script(
    database: &TargetDatabase,
    component: &str,
    folder: &Path,
    script: Script,
) -> Result<bool, MigrateError> {
    let script = read_script(database, component, folder, script)?;
    if script.is_empty() {
        return Ok(false);
    }
    match database.clone() {
        TargetDatabase::Sqlite(database) => {
            let component = component.to_owned();
            let run = move || seed::run_on_sqlite(&database, &component, &script);
            tokio::task::spawn_blocking(run).await??;
        }
        TargetDatabase::Postgres(address) => seed::run_on_postgres(&address, component, &script).await?,
    }
    Ok(true)
}

/// The script of the example data in `folder` for this database; empty if there is none.
pub(super) fn read_script(
    database: &TargetDatabase,
    component: &str,
    folder: &Path,
    script: Script,
) -> Result<Vec<Part>, MigrationError> {
    let target = match database {
        TargetDatabase::Sqlite(database) => Target::Sqlite(database.label()),
        TargetDatabase::Postgres(address) => Target::Postgres(address),
    };
    seed::read(component, folder, &target, script)
}

impl fmt::Display for TargetDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetDatabase::Sqlite(database) => f.write_str(database.label()),
            TargetDatabase::Postgres(address) => address.fmt(f),
        }
    }
}

/// Runs them one after the other, ordered by component name.
async fn run_all(application: &Application, jobs: Vec<Job>) -> Result<Vec<(String, usize)>, MigrateError> {
    let mut done = Vec::new();
    for job in jobs {
        done.push(job.run().await.map_err(|error| error.of(application))?);
    }
    Ok(done)
}

/// Runs the pending migrations; returns how many were applied, per component.
pub(super) async fn run(
    application: &Application,
    databases: &Databases,
) -> Result<Vec<(String, usize)>, MigrateError> {
    let jobs = jobs(application, databases)?;
    Ok(run_all(application, jobs).await?.into_iter().filter(|(_, applied)| *applied > 0).collect())
}

/// As [`run`], but tries out the pending migrations of all components first: if one fails, none has run, and the release
/// before can start again. Where nothing is pending, nothing is tried out, and the database is read once. Reports the
/// mistakes of all components, but waits for one database at most that does not answer.
pub(super) async fn run_tried_out(
    application: &Application,
    databases: &Databases,
) -> Result<Vec<(String, usize)>, MigrateError> {
    let (mut pending, mut mistakes): (Vec<Job>, Vec<Diagnostic>) = (Vec::new(), Vec::new());
    for job in jobs(application, databases)? {
        // It may build on what a component before it makes in the same database, which is not there yet.
        let shared = pending.iter().any(|before| before.database.is_same(&job.database));
        let prepared = if shared { Ok(true) } else { job.prepare().await };
        match prepared {
            Ok(false) => {}
            Ok(true) => pending.push(job),
            Err(MigrateError::Migration(error)) => {
                mistakes.push(error.mistake(application));
                if matches!(error, MigrationError::Database { .. }) {
                    break;
                }
                // So that those after it in the same database are not tried out either.
                pending.push(job);
            }
            Err(error) => return Err(error),
        }
    }
    ManifestErrors::check(mistakes)?;
    Ok(run_all(application, pending).await?.into_iter().filter(|(_, applied)| *applied > 0).collect())
}

souk_manifest::fixed_limits! {
    /// The fixed limits of migrations of a new version.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// How long a rehearsed migration may wait for a lock on PostgreSQL, since others wait behind it.
    const REHEARSAL_LOCK_WAIT: Duration = Duration::from_secs(2);
}

/// Tries out the pending migrations of `component`: in a copy of its SQLite database, or in a PostgreSQL transaction
/// that is rolled back. Returns the files.
pub(super) async fn rehearse(
    application: &Application,
    component: &Component,
    databases: &Databases,
) -> Result<Vec<String>, ManifestErrors> {
    let tried = try_out(application, component, databases).await;
    tried.map_err(|error| ManifestErrors(error.mistakes(application, component)))
}

async fn try_out(
    application: &Application,
    component: &Component,
    databases: &Databases,
) -> Result<Vec<String>, MigrateError> {
    let only = BTreeSet::from([component.name.clone()]);
    let mut tried = Vec::new();
    for Job { component, dir, retired, database, .. } in jobs(&application.restricted_to(&only), databases)? {
        tried.extend(match database {
            TargetDatabase::Sqlite(database) => {
                let rehearse = move || migrations::sqlite::rehearse(&database, &component, &dir, &retired);
                tokio::task::spawn_blocking(rehearse).await??
            }
            TargetDatabase::Postgres(address) => {
                migrations::postgres::rehearse(&address, &component, &dir, &retired, REHEARSAL_LOCK_WAIT).await?
            }
        });
    }
    Ok(tried)
}

/// The mistakes that the files of the migrations of `application`'s components show, and those that a rehearsal of the
/// pending ones finds. Waits for one database at most that does not answer.
pub(super) async fn check(application: &Application, databases: &Databases) -> Vec<Diagnostic> {
    let mut mistakes = tokio::task::block_in_place(|| migrations::check(application));
    for component in application.here() {
        let Err(error) = try_out(application, component, databases).await else { continue };
        let is_database = matches!(error, MigrateError::Migration(MigrationError::Database { .. }));
        mistakes.extend(error.mistakes(application, component));
        if is_database {
            break;
        }
    }
    mistakes
}

pub(super) fn open(application: &Application, folder: &Path) -> Result<Databases, ManifestErrors> {
    let mut databases = Databases::default();
    ManifestErrors::check(databases.open(application, folder))?;
    Ok(databases)
}

/// Runs the pending migrations without starting the application. It opens files and blocks: nothing else may run.
///
/// # Errors
/// When a database cannot be opened, or a migration was changed or fails.
pub async fn migrate(application: &Application, state: &StateFolder) -> Result<Vec<(String, usize)>, MigrateError> {
    let mut databases = Databases::default();
    let mut mistakes = databases.open(application, &state.sqlite());
    mistakes.extend(migrations::check(application));
    ManifestErrors::check(mistakes)?;
    run_all(application, jobs(application, &databases)?).await
}

/// The state of every migration as text, and whether all are in order. Works while a host runs. It opens files and
/// blocks: nothing else may run.
///
/// # Errors
/// When a database or a migration cannot be read.
pub async fn migration_status(application: &Application, state_dir: &Path) -> Result<(String, bool), MigrateError> {
    let databases = open(application, &souk_manifest::state::sqlite_folder(state_dir)?)?;
    let (mut text, mut clean) = (String::new(), true);
    for job in jobs(application, &databases)? {
        let _ = writeln!(text, "{} (database `{}`)", job.component, job.database);
        for status in job.status().await.map_err(|error| error.of(application))? {
            let standing = match status.standing {
                MigrationState::Applied(when) => format!("applied {when}"),
                MigrationState::Retired(when) => format!("retired, applied {when}"),
                MigrationState::Newer(when) => format!("of a newer release, applied {when}"),
                MigrationState::Pending => "pending".into(),
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
