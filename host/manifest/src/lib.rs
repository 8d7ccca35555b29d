//! The manifest: `spin.toml`, `runtime-config.toml` and `.env` become one checked [`Application`].
//!
//! The schema is Spin's manifest version 2, so that an application for Spin's HTTP trigger runs here unchanged. Souk's
//! own keys are under `[application.tool.souk]` and `[component.NAME.tool.souk]`; tables of other tools are ignored. A
//! key of Spin that Souk does not support is refused by name; an unknown key is refused with the nearest known one.
//! Keys that a component can do without (`targets`, `ai_models`) give a warning. `docs/spin-manifest.md` lists every
//! key of Spin, and a test keeps it up to date.
//!
//! Reading has three steps, so that each mistake is reported once, and all mistakes together:
//! 1. `schema` and `component` read the tables ([`table`]) and report every wrong key, type and name;
//! 2. `check` checks the manifest as a whole: dangling names, cycles, routes that conflict;
//! 3. only if nothing was wrong so far, [`variables`] looks up values, components that are off are removed, and the
//!    templates are filled in.
//!
//! [`read`] does the first two, [`Manifest::fill_in`] the third. They are separate because the host itself gives some
//! variables their values (its URL, secrets that it keeps), which needs the state folder, and the runtime configuration
//! may name that folder.
//!
//! Intended differences from Spin: `.env` is read beside the manifest and not in the working directory. Relative paths
//! in runtime-config.toml start at its folder. A label of a store or database needs no entry there: its file is in the
//! state folder. Two routes of the same shape are an error and not a silent choice. A dependency has a sandbox of its
//! own. An outbound host that is a template and is empty once filled in grants nothing, and is not a mistake.
//!
//! Not checked here: whether a component's `source` exists (`souk build` makes it, and the loader checks it), and
//! whether imports and exports fit (links are checked once the components are compiled).

mod allowed;
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
mod download_url;
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
mod outbound;
mod package;
mod peers;
mod postgres;
mod profile;
mod reach;
pub mod readers;
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
pub mod temporary;
mod triggers;
mod variables;
mod warnings;

#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod tests;

pub use application::{
    Application, Build, BuildPlan, BuildStep, Component, Dependency, Idempotent, Marked, NamedContract, Route, Seed,
    StaticRoute,
};
pub use database::DatabaseUrl;
pub use declared::Value;
pub use download_url::{as_ipv4, check_download_url, is_forbidden, is_loopback};
pub use durable::{Delay, DurableDependency};
pub use error::{Diagnostic, ManifestErrors};
pub use files::{FileMount, Files};
pub use generated::{HostValues, OWN_URL};
pub use ipnet::IpNet;
pub use key_value::{KeyValuePlace, RedisUrl};
pub use mongodb::MongoUrl;
pub use names::{DependencyName, check_component, nearest, nearest_first};
pub use nats::{NatsConfig, NatsServer, check_name, server_without_secret};
pub use nest::{Nest, NestError, NestPattern};
pub use outbound::{AllowedHost, HostError, INTERNAL_DOMAIN, SELF_HOSTS, default_port};
pub use package::{PackagePlan, PackagedCode, configured_state_dir, is_inside, load_package};
pub use postgres::{AddressError, MAX_ADDRESS_BYTES, PostgresAddress, SslMode};
pub use redis_trigger::RedisTrigger;
pub use release::Release;
pub use route::{RouteMatch, RoutePattern, Router};
pub use schedule::{Missed, Schedule, Timetable};
pub use source::Download;
pub use static_files::StaticFolder;
pub use static_response::StaticResponse;

use draft::Draft;
use error::{Report, Source};
use nats::NatsTable;
use readers::{Origin, SecretFiles};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use table::File;
use variables::Provider;

/// What to load, and with which values.
#[derive(Default, Clone)]
pub struct LoadOptions {
    /// `spin.toml`, or a folder with one.
    pub manifest: PathBuf,
    /// The runtime configuration; `None` for `runtime-config.toml` beside the manifest, if there is one.
    pub runtime_config: Option<PathBuf>,
    /// The folder of `runtime-config.toml` and `.env`, for an application from a package: the package's own files of
    /// these names are not read then, and all paths in its manifest must be inside its folder. `None` for the
    /// manifest's folder.
    pub operator: Option<PathBuf>,
    /// Environment variables for every component (`--env K=V`); they win over the manifest's.
    pub environment: Vec<(String, String)>,
    /// The process's environment, from which `SPIN_VARIABLE_*` are taken.
    pub process_env: BTreeMap<String, String>,
    /// The NATS servers; empty to use those of the runtime configuration, if it has any.
    pub nats: Vec<NatsServer>,
    /// The credentials file for NATS; `None` to use that of the runtime configuration.
    pub credentials: Option<PathBuf>,
    /// The application's name, if it is not the manifest's: hosts with another name are another application.
    pub name: Option<String>,
    /// The components that run here; empty to run those that the runtime configuration names, or otherwise all.
    pub only: Vec<String>,
    /// The components that `--component-id` selects. Without NATS the other components do not run at all, and have no
    /// routes.
    pub selected: Vec<String>,
    /// Values of variables (`--variable K=V`); they win over all others.
    pub variables: BTreeMap<String, String>,
    /// The files from which some of these values were read.
    pub variable_files: BTreeMap<String, PathBuf>,
}

/// A loaded application and its warnings.
#[derive(Debug)]
pub struct Loaded {
    /// The application.
    pub application: Application,
    /// Things that are legal but most likely not intended.
    pub warnings: Vec<Diagnostic>,
}

/// A manifest without mistakes, as far as they can be found before its variables have values.
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
    let config_file = match &options.runtime_config {
        Some(path) => Some(Origin { path: path.clone(), shown: path.clone() }),
        None => default_config.path.is_file().then_some(default_config),
    };
    let config = config_file.map(|file| (runtime_config::read(&file.path, &file.shown, &report), file));
    let mut secret_files = SecretFiles::default();
    let file = beside(".env");
    let dotenv = variables::read_dotenv(&file.path, &file.shown, false, &report);
    variables::warn_of_strays(&draft.declared, options.process_env.keys().chain(dotenv.keys()), manifest);

    let mut providers = Vec::new();
    variables::check_given(&options.variables, &draft.declared, &report);
    if let Some(((config, config_source), file)) = config {
        secret_files.add(&file, config.secrets());
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
    let (values, files) = (options.variables.clone(), options.variable_files.clone());
    providers.insert(0, Provider::CommandLine { values, files });
    providers.push(Provider::Environment { prefix: declared::PREFIX.to_owned(), dotenv, file });
    providers.iter().for_each(|provider| provider.add_files(&draft.declared, &mut secret_files));
    if let Some(path) = draft.application.nats.as_ref().and_then(|nats| nats.credentials.clone()) {
        secret_files.add(&Origin { path: path.clone(), shown: path }, ["the credentials for NATS".to_owned()]);
    }
    secret_files.warn(&report);
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

    /// Fills in the values of the variables. Values that are not set come from `host`, which may generate secrets and
    /// keep them.
    ///
    /// # Errors
    /// Variables without a value, and all mistakes in values.
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
        let variables::Resolved { values, places } =
            variables::resolve(&draft.declared, &providers, &process_env, host, here.as_ref(), shared, file);
        allowed::check(&draft.declared, &values, file);
        warnings::report(&draft.declared, &values, file);
        fill_in::turn_off(&mut draft, &values, file);
        fill_in::fill_in(&mut draft, &values, file);
        let mut application = draft.application;
        let secret = |name: String| values.get(&name).cloned().map(|value| (name, value));
        application.variable_places = places;
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
    let (mut exports, contracts) = (exports(&application), named_contracts(&application));
    let step = |(name, component): (String, Component)| {
        let exports = exports.remove(&name).unwrap_or_default();
        let linked = component.dependencies.into_iter().map(|dependency| dependency.name);
        let imports = linked.chain(component.imports.into_iter().map(|entry| entry.name)).collect();
        (
            name,
            BuildStep {
                source: component.source,
                download: component.download,
                is_built_if_changed: component.is_built_if_changed,
                build: component.build,
                imports,
                exports,
                line: component.line,
            },
        )
    };
    let components = application.components.into_iter().map(step).collect();
    let (dir, manifest) = (application.dir, application.manifest);
    Ok(BuildPlan { dir, manifest, components, contracts, test: application.test, warnings })
}

/// Where the manifest names contracts, except in dependencies on code from elsewhere.
fn named_contracts(application: &Application) -> Vec<NamedContract> {
    let is_own = |dependency: &&Dependency| {
        let target = application.components.get(&dependency.component);
        target.is_none_or(|target| target.part_of.is_none() || target.copy_of.is_some())
    };
    let mut contracts = Vec::new();
    for component in application.components.values() {
        let mut add = |name: &DependencyName, line| {
            contracts.push(NamedContract { name: name.clone(), component: component.name.clone(), line });
        };
        for dependency in component.dependencies.iter().filter(is_own) {
            add(&dependency.name, dependency.line);
            if let Some(export) = renamed(dependency) {
                add(&export, dependency.line);
            }
        }
        component.exports.iter().chain(&component.imports).for_each(|entry| add(&entry.name, entry.line));
    }
    contracts
}

/// The export that answers a dependency, if its name differs from that of the import.
fn renamed(dependency: &Dependency) -> Option<DependencyName> {
    dependency.export.as_deref().and_then(|export| DependencyName::parse(export).ok())
}

/// The exports of each component that the manifest names: what other components depend on, and its own `exports`.
fn exports(application: &Application) -> BTreeMap<String, Vec<DependencyName>> {
    let mut exports: BTreeMap<String, Vec<DependencyName>> = BTreeMap::new();
    let own = application.components.values().flat_map(|c| c.exports.iter().map(|entry| (&c.name, entry.name.clone())));
    let linked = application.components.values().flat_map(|c| &c.dependencies).map(|dependency| {
        let export = renamed(dependency).unwrap_or_else(|| dependency.name.clone());
        (&dependency.component, export)
    });
    for (component, name) in own.chain(linked) {
        let names = exports.entry(component.clone()).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    exports
}

/// The prefixes of the environment variables that hold values of the application's variables: `SPIN_VARIABLE`, and
/// those of the providers in the runtime configuration. Mistakes in that file are not reported here.
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

/// Steps 1 and 2; `None` when the rest cannot be checked.
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

/// The errors in `report`, which must have some.
fn fail<T>(report: Report) -> Result<T, ManifestErrors> {
    match report.finish() {
        Err(errors) => Err(errors),
        Ok(warnings) => Err(ManifestErrors(warnings)),
    }
}
