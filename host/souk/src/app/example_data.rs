//! Example data of components: the first start or `souk seed` adds it, and `souk seed --remove` removes it.
//!
//! The host knows no tables. Each component's `keep.sql` decides whether the data may be removed: a component may have
//! stored the id of a row that is in another component's database.

use super::migrations::{self, MigrateError, TargetDatabase, read_script, run_script};
use souk_bindings::migrations::seed::{self, Script};
use souk_bindings::sqlite::Databases;
use souk_manifest::Application;
use souk_manifest::state::StateFolder;
use std::path::{Path, PathBuf};

/// Example data could not be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A database cannot be opened, or a script fails.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A component's own data refers to the examples.
    #[error(
        "the examples stay, because of component `{component}`: {}\n  fix: keep them, or first remove the rows that \
         refer to them",
        reasons.join("; ")
    )]
    InUse {
        /// The component whose data refers to them.
        component: String,
        /// The reasons from its `keep.sql`.
        reasons: Vec<String>,
    },
    /// No component has example data.
    #[error(
        "no component that runs here has a seed\n  fix: give one a [component.NAME.tool.souk.seed] with `folder = \
         \"FOLDER\"`"
    )]
    None,
}

/// Runs all pending migrations, and adds every component's examples; returns the names of the components. It opens
/// files and blocks: nothing else may run.
///
/// # Errors
/// When there are no examples, or a migration or a script fails.
pub async fn add(application: &Application, state: &StateFolder) -> Result<Vec<String>, SeedError> {
    migrations::migrate(application, state).await?;
    let databases = migrations::open(application, &state.sqlite()).map_err(MigrateError::from)?;
    run_all(application, &seeds(application, &databases)?, Script::Add).await
}

/// Removes every component's examples; returns the names of the components. It opens files and blocks: nothing else may
/// run.
///
/// # Errors
/// When there are no examples, a component's data refers to them, or a script fails.
pub async fn remove(application: &Application, state: &StateFolder) -> Result<Vec<String>, SeedError> {
    migrations::migrate(application, state).await?;
    let databases = migrations::open(application, &state.sqlite()).map_err(MigrateError::from)?;
    let seeds = seeds(application, &databases)?;
    for Seeded { component, folder, database } in &seeds {
        let reasons = reasons(database, component, folder).await.map_err(|error| error.of(application))?;
        if !reasons.is_empty() {
            return Err(SeedError::InUse { component: component.clone(), reasons });
        }
    }
    run_all(application, &seeds, Script::Remove).await
}

/// A component with example data.
struct Seeded {
    component: String,
    folder: PathBuf,
    database: TargetDatabase,
}

fn seeds(application: &Application, databases: &Databases) -> Result<Vec<Seeded>, SeedError> {
    let mut seeds = Vec::new();
    for component in application.here() {
        let (Some(dir), Some(seed)) = (&component.migrations, &component.seed) else { continue };
        let database = TargetDatabase::of(component, dir, databases);
        if let Some(database) = database.map_err(|error| MigrateError::from(error).of(application))? {
            seeds.push(Seeded { component: component.name.clone(), folder: seed.folder.clone(), database });
        }
    }
    if seeds.is_empty() { Err(SeedError::None) } else { Ok(seeds) }
}

async fn run_all(application: &Application, seeds: &[Seeded], script: Script) -> Result<Vec<String>, SeedError> {
    let mut done = Vec::new();
    for Seeded { component, folder, database } in seeds {
        if run_script(database, component, folder, script).await.map_err(|error| error.of(application))? {
            done.push(component.clone());
        }
    }
    Ok(done)
}

/// The reasons why the component's data needs the examples.
async fn reasons(database: &TargetDatabase, component: &str, folder: &Path) -> Result<Vec<String>, MigrateError> {
    let script = read_script(database, component, folder, Script::Keep)?;
    Ok(match database.clone() {
        TargetDatabase::Sqlite(database) => {
            let component = component.to_owned();
            let ask = move || seed::reasons_on_sqlite(&database, &component, &script);
            tokio::task::spawn_blocking(ask).await??
        }
        TargetDatabase::Postgres(address) => seed::reasons_on_postgres(&address, component, &script).await?,
    })
}
