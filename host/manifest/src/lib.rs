//! The manifest: `spin.toml`, `runtime-config.toml` and `.env` become one checked [`Application`].
//!
//! The schema is Spin's manifest version 2, so that an application for Spin's HTTP trigger runs here unchanged. What
//! Souk adds stands under `[application.tool.souk]` and `[component.NAME.tool.souk]`; other tools' tables are left
//! alone. What Spin knows and Souk does not support is refused by name; a key that nobody knows is refused with the
//! nearest known one. What a component can do without (`targets`, `ai_models`) gives a warning. `docs/spin-manifest.md`
//! has every key of Spin's; a test keeps it true.
//!
//! Three steps, so that each mistake is reported once and all of them together:
//! 1. `schema` and `component` read the tables ([`table`]) and report every key, type and name that is wrong;
//! 2. `check` looks at the whole: dangling names, cycles, routes that conflict;
//! 3. only when nothing was wrong so far, [`variables`] asks for values, components that are off are taken out, and the
//!    templates are filled in.
//!
//! The first two are [`read`], the third is [`Manifest::fill_in`]: what the host gives to variables (its URL, secrets that
//! it keeps) is known only when the state folder is, and that may stand in the runtime configuration.
//!
//! Differences from Spin, on purpose: `.env` is read beside the manifest and not in the working directory; relative
//! paths in runtime-config.toml start at its folder; a label of a store or database needs no entry there, it lies in
//! the state folder; two routes of the same shape are an error and not a silent choice; a dependency has a sandbox of its
//! own; an outbound host that is a template and empty once filled in grants nothing and is no mistake.
//!
//! Not checked here: whether a component's `source` exists (`souk build` makes it, the loader looks for it), and
//! whether imports and exports fit (links are checked once the components are compiled).

mod application;
pub mod budget;
mod build;
mod check;
pub mod clock;
mod component;
mod database;
mod database_files;
mod declared;
mod dependencies;
mod draft;
mod durable;
mod error;
mod files;
mod fill_in;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod generated;
mod inherit;
mod key_value;
pub mod keys;
pub mod limits;
mod mongodb;
mod names;
mod nats;
mod nest;
mod one_of;
mod outbound;
mod package;
mod peers;
mod postgres;
mod profile;
mod reach;
mod redis_trigger;
mod release;
mod route;
mod runtime_config;
pub mod schedule;
mod schema;
pub mod secrets;
mod source;
pub mod state;
mod static_files;
mod static_response;
pub mod subject;
mod table;
mod template;
mod triggers;
mod variables;
mod warnings;

#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod tests;

pub use application::{
    Application, Build, BuildPlan, BuildStep, Component, Dependency, Idempotent, Marked, Route, Seed, StaticRoute,
};
pub use database::DatabaseUrl;
pub use declared::Value;
pub use durable::{Delay, DurableDependency};
pub use error::{Diagnostic, ManifestErrors};
pub use files::{FileMount, Files};
pub use generated::HostValues;
pub use ipnet::IpNet;
pub use key_value::{KeyValuePlace, RedisUrl};
pub use mongodb::MongoUrl;
pub use names::{DependencyName, check_component};
pub use nats::{NatsConfig, NatsServer, check_name, server_without_secret};
pub use nest::{Nest, NestError, NestPattern};
pub use outbound::{AllowedHost, HostError, INTERNAL_DOMAIN, SELF_HOSTS, default_port};
pub use package::{PackagePlan, PackagedCode, configured_state_dir, is_inside, load_package};
pub use postgres::{AddressError, MAX_ADDRESS_BYTES, PostgresAddress, SslMode};
pub use redis_trigger::RedisTrigger;
pub use release::Release;
pub use route::{RouteMatch, RoutePattern, Router};
pub use schedule::{Missed, Schedule, Timetable};
pub use source::{Download, is_local_to_a_link, is_loopback};
pub use static_files::StaticFolder;
pub use static_response::StaticResponse;

use draft::Draft;
use error::{Report, Source};
use nats::NatsTable;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use table::File;
use variables::{Origin, Provider};

/// What to load, and with which values.
#[derive(Default, Clone)]
pub struct LoadOptions {
    /// `spin.toml`, or a folder with one.
    pub manifest: PathBuf,
    /// The runtime configuration; `None` for `runtime-config.toml` beside the manifest, if there is one.
    pub runtime_config: Option<PathBuf>,
    /// The folder of `runtime-config.toml` and `.env`, for an application out of a package: its own are not read then, and
    /// what its manifest names must lie in its folder. `None` for the manifest's folder.
    pub operator: Option<PathBuf>,
    /// Environment variables for every component (`--env K=V`); they win over the manifest's.
    pub environment: Vec<(String, String)>,
    /// The process's environment, from which `SPIN_VARIABLE_*` are taken.
    pub process_env: BTreeMap<String, String>,
    /// Servers of NATS; none for those of the runtime configuration, if it has any.
    pub nats: Vec<NatsServer>,
    /// The credentials file for them; `None` for that of the runtime configuration.
    pub credentials: Option<PathBuf>,
    /// The application's name, where it is not the manifest's: hosts of another name are another application.
    pub name: Option<String>,
    /// The components that run here; none for those that the runtime configuration names, or else all.
    pub only: Vec<String>,
    /// The components that run at all (`--component-id`); without NATS there are no others, and no routes to them.
    pub selected: Vec<String>,
    /// Values of variables (`--variable K=V`); they win over all others.
    pub variables: BTreeMap<String, String>,
}

/// A loaded application and what is odd about it.
#[derive(Debug)]
pub struct Loaded {
    /// The application.
    pub application: Application,
    /// What is legal and most likely not meant.
    pub warnings: Vec<Diagnostic>,
}

/// A manifest that is right as far as that can be known before its variables have values.
pub struct Manifest {
    draft: Draft,
    source: Source,
    providers: Vec<Provider>,
    environment: Vec<(String, String)>,
    process_env: BTreeMap<String, String>,
    report: Report,
}

/// Reads and checks an application, without the values of its variables. Reads files; meant for start-up.
///
/// # Errors
/// All mistakes in the manifest, the runtime configuration and `.env`, each with file, line and fix.
pub fn read(options: &LoadOptions) -> Result<Manifest, ManifestErrors> {
    let report = Report::default();
    let Some((mut draft, source)) = read_file(&options.manifest, &report) else { return fail(report) };
    let manifest = File { source: &source, report: &report };

    if options.operator.is_some() {
        package::check(&draft.application, manifest);
    }
    let beside = |name: &str| match &options.operator {
        Some(folder) => Origin { path: folder.join(name), shown: folder.join(name) },
        None => Origin { path: draft.application.dir.join(name), shown: source.path.with_file_name(name) },
    };
    let default_config = beside("runtime-config.toml");
    let config = match &options.runtime_config {
        Some(path) => Some(runtime_config::read(path, path, &report)),
        None if default_config.path.is_file() => {
            Some(runtime_config::read(&default_config.path, &default_config.shown, &report))
        }
        None => None,
    };
    let file = beside(".env");
    let dotenv = variables::read_dotenv(&file.path, &file.shown, false, &report);
    variables::warn_of_strays(&draft.declared, options.process_env.keys().chain(dotenv.keys()), manifest);

    let mut providers = Vec::new();
    variables::check_given(&options.variables, &draft.declared, &report);
    if let Some((config, config_source)) = config {
        check::labels(&draft.application, &config.labels, File { source: &config_source, report: &report });
        draft.application.key_value_places = config.key_value_places;
        draft.application.sqlite_paths = config.sqlite_paths;
        draft.application.state_dir = config.state_dir;
        draft.application.admin_hosts = config.admin_hosts;
        providers = config.providers;
        nats::apply_nats_config(
            &mut draft.application,
            options,
            config.nats,
            File { source: &config_source, report: &report },
        );
        key_value::check(&draft.application, &config.labels, File { source: &config_source, report: &report });
    } else {
        nats::apply_nats_config(&mut draft.application, options, NatsTable::default(), manifest);
    }
    providers.insert(0, Provider::CommandLine { values: options.variables.clone() });
    providers.push(Provider::Environment { prefix: declared::PREFIX.to_owned(), dotenv, file });
    providers.iter().for_each(|provider| provider.warn_of_readers(&draft.declared, &report));
    if report.has_errors() {
        return fail(report);
    }
    let (environment, process_env) = (options.environment.clone(), options.process_env.clone());
    Ok(Manifest { draft, source, providers, environment, process_env, report })
}

impl Manifest {
    /// The state folder, when the runtime configuration names one.
    pub fn state_dir(&self) -> Option<&Path> {
        self.draft.application.state_dir.as_deref()
    }

    /// The application's name, and how to reach its other hosts, if there are any.
    pub fn nats(&self) -> Option<(&str, &NatsConfig)> {
        Some((self.draft.application.name.as_str(), self.draft.application.nats.as_ref()?))
    }

    /// The names of its components.
    pub fn components(&self) -> impl Iterator<Item = &String> {
        self.draft.application.components.keys()
    }

    /// The application with the values of its variables; those that nobody sets come from `host`, which may make
    /// secrets and keep them.
    ///
    /// # Errors
    /// Variables without a value, and everything that is wrong with the values that there are.
    pub fn fill_in(self, host: &HostValues) -> Result<Loaded, ManifestErrors> {
        let Manifest { mut draft, source, providers, environment, process_env, report } = self;
        let file = File { source: &source, report: &report };
        let here = fill_in::variables_here(&draft);
        let shared = here.is_some() || draft.application.nats.is_some();
        let used = |name: &str| here.as_ref().is_none_or(|here| here.contains(name));
        let secrets: Vec<String> = draft
            .declared
            .iter()
            .filter(|(name, declared)| declared.secret && used(name))
            .map(|(name, _)| name.clone())
            .collect();
        let values = variables::resolve(&draft.declared, &providers, &process_env, host, here.as_ref(), shared, file);
        one_of::check(&draft.declared, &values, file);
        warnings::report(&draft.declared, &values, file);
        fill_in::turn_off(&mut draft, &values, file);
        fill_in::fill_in(&mut draft, &values, file);
        let mut application = draft.application;
        let secret = |name: String| values.get(&name).cloned().map(|value| (name, value));
        application.secrets = secrets.into_iter().filter_map(secret).collect();
        for component in application.components.values_mut() {
            component.environment.extend(environment.iter().cloned());
        }
        let warnings = report.finish()?;
        Ok(Loaded { application, warnings })
    }
}

/// Reads only what `souk build` needs: no variable needs a value, and runtime-config.toml and `.env` are not read.
///
/// # Errors
/// All mistakes in the manifest that do not depend on a value.
pub fn load_build_only(manifest: &Path) -> Result<BuildPlan, ManifestErrors> {
    let report = Report::default();
    let Some((draft, source)) = read_file(manifest, &report) else { return fail(report) };
    check::build_folders(&draft.application, File { source: &source, report: &report });
    let warnings = report.finish()?;
    let application = draft.application;
    let mut exports = exports(&application);
    let step = |(name, component): (String, Component)| {
        let exports = exports.remove(&name).unwrap_or_default();
        let imports = component.dependencies.into_iter().map(|dependency| dependency.name).collect();
        (
            name,
            BuildStep {
                source: component.source,
                download: component.download,
                build: component.build,
                imports,
                exports,
                line: component.line,
            },
        )
    };
    let components = application.components.into_iter().map(step).collect();
    Ok(BuildPlan { dir: application.dir, components, test: application.test, warnings })
}

/// What each component exports, as far as the manifest says: what others depend on, and its own `exports`.
fn exports(application: &Application) -> BTreeMap<String, Vec<DependencyName>> {
    let mut exports: BTreeMap<String, Vec<DependencyName>> = BTreeMap::new();
    let own = application.components.values().flat_map(|c| c.exports.iter().map(|name| (&c.name, name.clone())));
    let linked = application.components.values().flat_map(|c| &c.dependencies).map(|dependency| {
        let renamed = dependency.export.as_deref().and_then(|export| DependencyName::parse(export).ok());
        (&dependency.component, renamed.unwrap_or_else(|| dependency.name.clone()))
    });
    for (component, name) in own.chain(linked) {
        let names = exports.entry(component.clone()).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    exports
}

/// The prefixes of the environment variables that hold values of the application's variables: `SPIN_VARIABLE`, and those
/// of the providers in the runtime configuration. Mistakes in that file are not reported here.
pub fn environment_prefixes(manifest: &Path, runtime_config: Option<&Path>) -> Vec<String> {
    let beside = manifest.with_file_name("runtime-config.toml");
    let path = runtime_config.unwrap_or(&beside);
    let mut prefixes = vec![declared::PREFIX.to_owned()];
    if path.is_file() {
        let (config, _) = runtime_config::read(path, path, &Report::default());
        prefixes.extend(config.providers.into_iter().filter_map(Provider::into_prefix));
    }
    prefixes
}

/// Steps 1 and 2; `None` when there is nothing to go on with.
fn read_file(manifest: &Path, report: &Report) -> Option<(Draft, Source)> {
    let shown = if manifest.is_dir() { manifest.join("spin.toml") } else { manifest.to_owned() };
    let text = std::path::absolute(&shown).and_then(|path| Ok((std::fs::read_to_string(&path)?, path)));
    let (text, path) = match text {
        Ok(found) => found,
        Err(error) => {
            let source = Source::new(shown, "");
            let message = format!("cannot be read: {error}");
            let fix = "run in the folder of spin.toml, or name it with `-f`";
            report.error(File { source: &source, report }.diagnostic(None, None, message, fix));
            return None;
        }
    };
    let source = Source::new(shown, &text);
    let file = File { source: &source, report };
    let root = file.parse(&text)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let draft = schema::read(file, root.get_ref(), dir)?;
    check::whole(&draft, file);
    Some((draft, source))
}

/// The errors in `report`, which holds some.
fn fail<T>(report: Report) -> Result<T, ManifestErrors> {
    match report.finish() {
        Err(errors) => Err(errors),
        Ok(warnings) => Err(ManifestErrors(warnings)),
    }
}
