//! `souk store copy`: copies a key-value store or a database to another place.

use super::{AppArgs, default_url, fill_in, output};
use crate::moving::{self, store_place};
use crate::url_file;
use clap::{Args, Subcommand};
use souk_bindings::key_value::{Store as KeyValue, open_at};
use souk_bindings::migrations::sqlite_label;
use souk_bindings::moving::{self as databases, Move, Moved, Owner, copy_file};
use souk_manifest::state::{self, StateFolder};
use souk_manifest::{Application, Component, DatabaseUrl, KeyValuePlace, MongoUrl, PostgresAddress, RedisUrl};
use souk_nats::Nats;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Begins the name of a SQLite database: a key-value store may have the same label.
const SQLITE: &str = "sqlite/";

/// The arguments of `souk store`. Here `--from` is the place of the data, and the manifest is `-f` alone.
#[derive(Debug, Args)]
#[command(mut_arg("manifest", |manifest| manifest.long(None::<&'static str>)))]
pub(super) struct Store {
    #[command(flatten)]
    app: AppArgs,
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Copy a key-value store, or a SQLite database to another file or to PostgreSQL; then compare
    Copy(Copy),
}

#[derive(Debug, Args)]
#[command(
    after_help = "PLACE is `configured` (the place in runtime-config.toml and the manifest), `state` (the state folder),\n\
                  `file:PATH`, `nats` or `nats:BUCKET`, `redis://HOST/NUMBER`, `mongodb://HOST/DATABASE#COLLECTION`,\n\
                  `postgres://USER:PASSWORD@HOST/DATABASE`, or `@FILE`, a file that contains one of these (`@-`: the standard\n\
                  input): other users of this machine can see a password on the command line.\n\n\
                  No host may run on the state folder, or write to either place from elsewhere. If a copy is interrupted,\n\
                  run it again: it continues. The original data stays where it is.\n\n\
                  Example: souk store copy auth --from state --to configured"
)]
struct Copy {
    /// The label of a key-value store, the component whose migrations made the database, or `sqlite/LABEL` for any
    /// SQLite database
    name: String,
    /// Where the data is
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Where the data goes
    #[arg(long, value_name = "PLACE", default_value = "configured")]
    to: String,
}

impl Store {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let StoreCommand::Copy(copy) = self.command;
        copy.run(&self.app).await
    }
}

/// A parsed PLACE.
enum Named {
    Configured,
    State,
    KeyValue(KeyValuePlace),
    Postgres(PostgresAddress),
}

impl Copy {
    async fn run(self, app: &AppArgs) -> anyhow::Result<ExitCode> {
        let manifest = app.read()?;
        let state_dir = app.state_dir(manifest.state_dir());
        // No secrets are used, so none is created.
        let application = fill_in(manifest, default_url(), state::secrets_of(&state_dir))?;
        let state = StateFolder::open(&state_dir)?;
        let (from, to) = (named(&self.from, &self.name)?, named(&self.to, &self.name)?);
        for warning in [&self.from, &self.to].into_iter().filter_map(|place| url_file::warning(place)) {
            output::note(&format!("warning: {warning}"));
        }
        let component = application.components.get(&self.name).filter(|one| one.migrations.is_some());
        let is_label = application.components.values().any(|one| one.key_value_stores.contains(&self.name));
        let label = self.name.strip_prefix(SQLITE).filter(|label| {
            application.components.values().any(|one| one.sqlite_databases.iter().any(|known| known == *label))
        });
        let said = match (component, &to) {
            (Some(component), Named::Postgres(address)) => {
                self.database(&application, &state, component, from, address).await?
            }
            (Some(component), Named::Configured) if !is_label => match &component.database {
                Some(DatabaseUrl::Postgres(address)) => {
                    self.database(&application, &state, component, from, address).await?
                }
                _ => self.file(&application, &state, sqlite_label(component)?, from, to).await?,
            },
            _ if is_label => self.key_value(&application, &state, from, to).await?,
            (Some(component), _) => self.file(&application, &state, sqlite_label(component)?, from, to).await?,
            _ => match label {
                Some(label) => self.file(&application, &state, label, from, to).await?,
                None => anyhow::bail!(
                    "`{}` is neither the label of a key-value store, nor a component with migrations, nor `sqlite/` \
                     and the label of a database\n  fix: name one: {}",
                    self.name,
                    names(&application)
                ),
            },
        };
        output::line(&said);
        Ok(ExitCode::SUCCESS)
    }

    async fn key_value(
        &self,
        application: &Application,
        state: &StateFolder,
        from: Named,
        to: Named,
    ) -> anyhow::Result<String> {
        let configured = || application.key_value_places.get(&self.name).cloned();
        let place = |named| match named {
            Named::Configured => Ok(configured()),
            Named::State => Ok(None),
            Named::KeyValue(place) => Ok(Some(place)),
            Named::Postgres(_) => Err(anyhow::anyhow!(
                "a key-value store cannot be in PostgreSQL\n  fix: name a file, NATS, Redis or MongoDB"
            )),
        };
        let (from, to) = (place(from)?, place(to)?);
        let folder = state.key_value();
        let shown = |place: &Option<KeyValuePlace>| {
            store_place(place.as_ref(), &application.name, &self.name, &folder).shown().to_owned()
        };
        let (from_shown, to_shown) = (shown(&from), shown(&to));
        if from_shown == to_shown {
            anyhow::bail!("both places are {from_shown}\n  fix: name another with --to, or change runtime-config.toml");
        }
        // Opening it would create it.
        let file = match &from {
            None => Some(folder.join(format!("{}.db", self.name))),
            Some(KeyValuePlace::File(path)) => Some(path.clone()),
            Some(_) => None,
        };
        if file.is_some_and(|file| !file.exists()) {
            anyhow::bail!("there is no store in {from_shown}\n  fix: name the place of the data with --from");
        }
        let nats =
            match (&application.nats, [&from, &to].map(|place| matches!(place, Some(KeyValuePlace::Nats { .. })))) {
                (Some(config), places) if places.contains(&true) => {
                    Some(Nats::connect(config, &application.name).await?)
                }
                _ => None,
            };
        let from: KeyValue = open_at(from.as_ref(), &folder, nats.as_ref(), &self.name).await?;
        let to: KeyValue = open_at(to.as_ref(), &folder, nats.as_ref(), &self.name).await?;
        // Before it counts as begun: otherwise a copy that stops here would continue over other data.
        if !moving::is_begun(state, &self.name, &from_shown, &to_shown)? {
            moving::must_be_empty(&to).await?;
        }
        let resumed = moving::begin(state, &self.name, &from_shown, &to_shown)?;
        let copied = moving::copy(&from, &to, resumed, |keys| output::note(&format!("  {keys} keys"))).await;
        if let Err(moving::CopyError::NotEmpty) = &copied {
            moving::end(state, &self.name, &to_shown)?;
        }
        let keys = copied?;
        moving::finish(state, &self.name, &to_shown)?;
        Ok(format!("{}: {keys} keys copied from {from_shown} to {to_shown}, and compared", self.name))
    }

    async fn database(
        &self,
        application: &Application,
        state: &StateFolder,
        component: &Component,
        from: Named,
        to: &PostgresAddress,
    ) -> anyhow::Result<String> {
        let label = sqlite_label(component)?;
        let file = sqlite_file(from, application, state, label)?;
        let sharing = application.components.values().filter(|one| sqlite_label(one).is_ok_and(|other| other == label));
        let owner = |one: &Component| {
            let (retired, additive) = (one.retired.clone(), one.additive.clone());
            Some(Owner { name: one.name.clone(), migrations: one.migrations.clone()?, retired, additive })
        };
        let components: Vec<Owner> = sharing.filter_map(owner).collect();
        let (from_shown, to_shown) = (file.display().to_string(), to.to_string());
        // As above.
        if !moving::is_begun(state, &self.name, &from_shown, &to_shown)? {
            databases::must_be_empty(&file, to).await?;
        }
        let resumed = moving::begin(state, &self.name, &from_shown, &to_shown)?;
        let the = Move { components: &components, from: &file, to, resumed };
        let progress = |table: &str, rows: u64| output::note(&format!("  {table}: {rows} rows"));
        let copied = databases::copy(the, progress).await;
        if copied.as_ref().is_err_and(databases::MoveError::came_before_any_row) && !resumed {
            moving::end(state, &self.name, &to_shown)?;
        }
        let copied = copied?;
        for owner in &components {
            moving::finish(state, &owner.name, &to_shown)?;
        }
        moving::finish(state, &self.name, &to_shown)?;
        Ok(self.done(&copied, &from_shown, &to_shown))
    }

    /// Copies the SQLite database `label` to another file. Nothing notes that it begins: an interrupted copy leaves the
    /// target as it was.
    async fn file(
        &self,
        application: &Application,
        state: &StateFolder,
        label: &str,
        from: Named,
        to: Named,
    ) -> anyhow::Result<String> {
        let from = sqlite_file(from, application, state, label)?;
        let to = sqlite_file(to, application, state, label)?;
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if real(&from) == real(&to) {
            anyhow::bail!(
                "both places are {}\n  fix: name another with --to, or first configure another: a `path` in \
                 runtime-config.toml, or PostgreSQL as the component's `database_url`",
                from.display()
            );
        }
        let (source, target) = (from.clone(), to.clone());
        let copied = tokio::task::spawn_blocking(move || copy_file(&source, &target)).await??;
        // As the record of places names it.
        let shown = std::path::absolute(&to).unwrap_or_else(|_| to.clone()).display().to_string();
        for component in application.components.values().filter(|one| sqlite_label(one).is_ok_and(|its| its == label)) {
            moving::finish(state, &component.name, &shown)?;
        }
        moving::finish(state, &self.name, &shown)?;
        Ok(self.done(&copied, &from.display().to_string(), &to.display().to_string()))
    }

    fn done(&self, copied: &[Moved], from: &str, to: &str) -> String {
        let (rows, tables) = (copied.iter().map(|table| table.rows).sum::<u64>(), copied.len());
        format!("{}: {rows} rows of {tables} tables copied from {from} to {to}, and compared", self.name)
    }
}

/// The file of the SQLite database `label` at this place.
fn sqlite_file(place: Named, application: &Application, state: &StateFolder, label: &str) -> anyhow::Result<PathBuf> {
    let by_itself = || state.sqlite().join(format!("{label}.db"));
    Ok(match place {
        Named::State => by_itself(),
        Named::Configured => application.sqlite_paths.get(label).cloned().unwrap_or_else(by_itself),
        Named::KeyValue(KeyValuePlace::File(path)) => path,
        Named::KeyValue(_) | Named::Postgres(_) => anyhow::bail!(
            "a database is copied from a SQLite file, to another one or, if migrations make its tables, to \
             PostgreSQL\n  fix: write `state`, or `file:PATH`; between two servers of PostgreSQL, pg_dump and pg_restore copy"
        ),
    })
}

fn names(application: &Application) -> String {
    let labels = application.components.values().flat_map(|one| &one.key_value_stores).cloned();
    let databases = application.components.values().flat_map(|one| &one.sqlite_databases);
    let databases = databases.map(|label| format!("{SQLITE}{label}"));
    let components = application.components.values().filter(|one| one.migrations.is_some());
    let mut names: Vec<String> = labels.chain(databases).chain(components.map(|one| one.name.clone())).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Parses a PLACE. Errors do not repeat it: it may hold a password.
fn named(text: &str, label: &str) -> anyhow::Result<Named> {
    let from_file;
    let text = match text.strip_prefix('@') {
        Some(path) => {
            let read = url_file::read(path);
            from_file = read.map_err(|error| anyhow::anyhow!("{path}: {error}\n  fix: name a file with one place"))?;
            from_file.as_str()
        }
        None => text,
    };
    let wrong =
        |what: String| anyhow::anyhow!("a place {what}\n  fix: see `souk store copy --help` for how to write it");
    if PostgresAddress::looks_like_url(text) {
        return PostgresAddress::parse(text)
            .map(Named::Postgres)
            .map_err(|error| anyhow::anyhow!("a place of PostgreSQL {}\n  fix: {}", error.message, error.fix));
    }
    Ok(match text.split_once(':').unwrap_or((text, "")) {
        ("configured", "") => Named::Configured,
        ("state", "") => Named::State,
        ("file", path) if !path.is_empty() => Named::KeyValue(KeyValuePlace::File(path.into())),
        ("nats", bucket) if !bucket.starts_with("//") => {
            Named::KeyValue(KeyValuePlace::Nats { bucket: Some(bucket.to_owned()).filter(|name| !name.is_empty()) })
        }
        ("redis" | "rediss" | "unix", _) => {
            let url = RedisUrl::parse(text).map_err(|what| wrong(what.to_owned()))?;
            Named::KeyValue(KeyValuePlace::Redis(Box::new(url)))
        }
        ("mongodb" | "mongodb+srv", _) => {
            let (url, collection) = text.split_once('#').unwrap_or((text, ""));
            let collection = if collection.is_empty() { format!("souk_{label}") } else { collection.to_owned() };
            let url = MongoUrl::parse(url).map_err(|what| wrong(what.to_owned()))?;
            Named::KeyValue(KeyValuePlace::Mongo { url: Box::new(url), collection })
        }
        _ => return Err(wrong("is not understood".to_owned())),
    })
}
