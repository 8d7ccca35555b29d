//! `souk store copy`: copies a key-value store or a database to another place.

use super::{AppArgs, default_url, fill_in, output};
use crate::moving::{self, store_place};
use crate::url_file;
use clap::{Args, Subcommand};
use souk_bindings::key_value::{Store as KeyValue, open_at};
use souk_bindings::migrations::sqlite_label;
use souk_bindings::moving::{Move, Owner, copy as copy_database};
use souk_manifest::state::{self, StateFolder};
use souk_manifest::{Application, Component, DatabaseUrl, KeyValuePlace, MongoUrl, PostgresAddress, RedisUrl};
use souk_nats::Nats;
use std::process::ExitCode;

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
    /// Copy a key-value store, or a component's SQLite database to PostgreSQL; then compare
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
    /// The label of a key-value store, or the component that owns the database
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
        let said = match (component, &to) {
            (Some(component), Named::Postgres(address)) => {
                self.database(&application, &state, component, from, address).await?
            }
            (Some(component), Named::Configured) if !is_label => match &component.database {
                Some(DatabaseUrl::Postgres(address)) => {
                    self.database(&application, &state, component, from, address).await?
                }
                _ => anyhow::bail!(
                    "the database of `{0}` is configured as SQLite\n  fix: set its `database_url` to PostgreSQL, or \
                     name a PostgreSQL database: --to postgres://USER:PASSWORD@HOST/DATABASE",
                    self.name
                ),
            },
            _ if is_label => self.key_value(&application, &state, from, to).await?,
            _ => anyhow::bail!(
                "`{}` is neither the label of a key-value store nor a component with migrations that is copied to \
                 PostgreSQL\n  fix: name one: {}",
                self.name,
                names(&application)
            ),
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
        let nats =
            match (&application.nats, [&from, &to].map(|place| matches!(place, Some(KeyValuePlace::Nats { .. })))) {
                (Some(config), places) if places.contains(&true) => {
                    Some(Nats::connect(config, &application.name).await?)
                }
                _ => None,
            };
        let from: KeyValue = open_at(from.as_ref(), &folder, nats.as_ref(), &self.name).await?;
        let to: KeyValue = open_at(to.as_ref(), &folder, nats.as_ref(), &self.name).await?;
        let resumed = moving::begin(state, &self.name, &from_shown, &to_shown)?;
        let copied = moving::copy(&from, &to, resumed, |keys| output::note(&format!("  {keys} keys"))).await;
        if let Err(moving::CopyError::NotEmpty) = &copied {
            moving::end(state, &self.name, &to_shown)?;
        }
        let keys = copied?;
        moving::end(state, &self.name, &to_shown)?;
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
        let by_itself = || state.sqlite().join(format!("{label}.db"));
        let file = match from {
            Named::State => by_itself(),
            Named::Configured => application.sqlite_paths.get(label).cloned().unwrap_or_else(by_itself),
            Named::KeyValue(KeyValuePlace::File(path)) => path,
            Named::KeyValue(_) | Named::Postgres(_) => anyhow::bail!(
                "a database is copied from SQLite\n  fix: write `--from state`, or `--from file:PATH`; between two servers \
                 of PostgreSQL, pg_dump and pg_restore copy"
            ),
        };
        let sharing = application.components.values().filter(|one| sqlite_label(one).is_ok_and(|other| other == label));
        let owner = |one: &Component| {
            let (retired, additive) = (one.retired.clone(), one.additive.clone());
            Some(Owner { name: one.name.clone(), migrations: one.migrations.clone()?, retired, additive })
        };
        let components: Vec<Owner> = sharing.filter_map(owner).collect();
        let (from_shown, to_shown) = (file.display().to_string(), to.to_string());
        let resumed = moving::begin(state, &self.name, &from_shown, &to_shown)?;
        let the = Move { components: &components, from: &file, to, resumed };
        let progress = |table: &str, rows: u64| output::note(&format!("  {table}: {rows} rows"));
        let copied = copy_database(the, progress).await;
        if copied.as_ref().is_err_and(souk_bindings::moving::MoveError::came_before_any_row) && !resumed {
            moving::end(state, &self.name, &to_shown)?;
        }
        let copied = copied?;
        moving::end(state, &self.name, &to_shown)?;
        let rows: u64 = copied.iter().map(|table| table.rows).sum();
        let tables = copied.len();
        Ok(format!(
            "{}: {rows} rows of {tables} tables copied from {from_shown} to {to_shown}, and compared",
            self.name
        ))
    }
}

fn names(application: &Application) -> String {
    let labels = application.components.values().flat_map(|one| &one.key_value_stores).map(String::as_str);
    let components = application.components.values().filter(|one| one.migrations.is_some());
    let mut names: Vec<&str> = labels.chain(components.map(|one| one.name.as_str())).collect();
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
