//! Example data of components: put in by the first start or by `souk seed`, and taken away by `souk seed --remove`.
//!
//! The host knows no table. Whether the data may go it asks each component's `keep.sql`: one of them may have stored the
//! number of a row that is in another component's database.

use super::migrations::{self, MigrateError, Place};
use souk_bindings::migrations::seed::{self, Part, Script};
use souk_bindings::migrations::{MigrationError, Target};
use souk_bindings::sqlite::Databases;
use souk_manifest::Application;
use souk_manifest::state::StateFolder;
use std::path::{Path, PathBuf};

/// Example data was not put in or taken away.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A database cannot be opened, or a script fails.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A component's own data names the examples.
    #[error(
        "the examples stay, because of component `{component}`: {}\n  fix: keep them, or remove what names them first",
        reasons.join("; ")
    )]
    Kept {
        /// The component whose data names them.
        component: String,
        /// What it says.
        reasons: Vec<String>,
    },
    /// Nothing would be done.
    #[error(
        "no component that runs here has a seed\n  fix: give one a [component.NAME.tool.souk.seed] with `folder = \
         \"FOLDER\"`"
    )]
    None,
}

/// Brings the databases to the newest migrations, and puts every component's examples in; the names of the components.
/// Opens files, so it blocks: nothing else may run.
///
/// # Errors
/// When there are none, or a migration or a script fails.
pub async fn add(application: &Application, state: &StateFolder) -> Result<Vec<String>, SeedError> {
    migrations::migrate(application, state).await?;
    let databases = migrations::open(application, &state.sqlite()).map_err(MigrateError::from)?;
    run_all(&seeds(application, &databases)?, Script::Add).await
}

/// Takes every component's examples away; the names of the components. Opens files, so it blocks: nothing else may run.
///
/// # Errors
/// When there are none, a component's data names them, or a script fails.
pub async fn remove(application: &Application, state: &StateFolder) -> Result<Vec<String>, SeedError> {
    migrations::migrate(application, state).await?;
    let databases = migrations::open(application, &state.sqlite()).map_err(MigrateError::from)?;
    let seeds = seeds(application, &databases)?;
    for Seeded { component, folder, database } in &seeds {
        let reasons = reasons(database, component, folder).await?;
        if !reasons.is_empty() {
            return Err(SeedError::Kept { component: component.clone(), reasons });
        }
    }
    run_all(&seeds, Script::Remove).await
}

/// A component with a seed.
struct Seeded {
    component: String,
    folder: PathBuf,
    database: Place,
}

fn seeds(application: &Application, databases: &Databases) -> Result<Vec<Seeded>, SeedError> {
    let mut seeds = Vec::new();
    for component in application.here() {
        let (Some(dir), Some(seed)) = (&component.migrations, &component.seed) else { continue };
        if let Some(database) = Place::of(component, dir, databases).map_err(MigrateError::from)? {
            seeds.push(Seeded { component: component.name.clone(), folder: seed.folder.clone(), database });
        }
    }
    if seeds.is_empty() { Err(SeedError::None) } else { Ok(seeds) }
}

async fn run_all(seeds: &[Seeded], script: Script) -> Result<Vec<String>, SeedError> {
    let mut done = Vec::new();
    for Seeded { component, folder, database } in seeds {
        if run(database, component, folder, script).await? {
            done.push(component.clone());
        }
    }
    Ok(done)
}

/// Runs `script` of the seed in `folder`; whether there is one for this kind of database.
pub(super) async fn run(
    database: &Place,
    component: &str,
    folder: &Path,
    script: Script,
) -> Result<bool, MigrateError> {
    let script = read(database, component, folder, script)?;
    if script.is_empty() {
        return Ok(false);
    }
    match database.clone() {
        Place::Sqlite(database) => {
            let component = component.to_owned();
            let run = move || seed::run_on_sqlite(&database, &component, &script);
            tokio::task::spawn_blocking(run).await??;
        }
        Place::Postgres(address) => seed::run_on_postgres(&address, component, &script).await?,
    }
    Ok(true)
}

/// Why the component's data needs the examples.
async fn reasons(database: &Place, component: &str, folder: &Path) -> Result<Vec<String>, MigrateError> {
    let script = read(database, component, folder, Script::Keep)?;
    Ok(match database.clone() {
        Place::Sqlite(database) => {
            let component = component.to_owned();
            let ask = move || seed::reasons_on_sqlite(&database, &component, &script);
            tokio::task::spawn_blocking(ask).await??
        }
        Place::Postgres(address) => seed::reasons_on_postgres(&address, component, &script).await?,
    })
}

fn read(database: &Place, component: &str, folder: &Path, script: Script) -> Result<Vec<Part>, MigrationError> {
    let target = match database {
        Place::Sqlite(database) => Target::Sqlite(database.label()),
        Place::Postgres(address) => Target::Postgres(address),
    };
    seed::read(component, folder, &target, script)
}
