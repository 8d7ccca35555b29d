//! The manifest: `spin.toml`, `runtime-config.toml` and `.env` become one checked [`Application`].
//!
//! The schema is Spin's manifest version 2, so that an application for Spin's HTTP trigger runs here unchanged. What
//! Souk adds stands under `[application.tool.souk]` and `[component.NAME.tool.souk]`; other tools' tables are left
//! alone. What Spin knows and Souk does not support is refused by name; a key that nobody knows is refused with the
//! nearest known one. Nothing is ignored, with one exception: `targets` only tells Spin's tools what to check, and
//! gives a warning.
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
//! the state folder; two routes of the same shape are an error and not a silent choice; `self` is no outbound host, as
//! components are called by `NAME.spin.internal`; an outbound host that is a template and empty once filled in grants
//! nothing and is no mistake.
//!
//! Not checked here: whether a component's `source` exists (`souk build` makes it, the loader looks for it), and
//! whether imports and exports fit (links are checked once the components are compiled).

mod check;
mod component;
mod database;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod generated;
mod key_value;
pub mod keys;
pub mod limits;
mod names;
mod nats;
mod nest;
mod outbound;
mod postgres;
mod reach;
mod route;
mod runtime_config;
mod schema;
pub mod secrets;
pub mod state;
pub mod subject;
mod table;
mod template;
mod variables;
mod warnings;

#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod tests;

pub use database::DatabaseUrl;
pub use error::{Diagnostic, ManifestErrors};
pub use files::{FileMount, Files};
pub use generated::HostValues;
pub use key_value::{KeyValuePlace, RedisUrl};
pub use names::{DependencyName, check_component};
pub use nats::{NatsConfig, NatsServer, server_without_secret};
pub use nest::{Nest, NestError, NestPattern};
pub use outbound::{AllowedHost, HostError, INTERNAL_DOMAIN, default_port};
pub use postgres::{AddressError, MAX_ADDRESS_BYTES, PostgresAddress, SslMode};
pub use route::{RouteMatch, RoutePattern, Router};
pub use variables::Value;

use crate::limits::{ComponentLimits, EdgeLimits};
use error::{Report, Source};
use nats::NatsTable;
use schema::Draft;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
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
    /// Environment variables for every component (`--env K=V`); they win over the manifest's.
    pub environment: Vec<(String, String)>,
    /// The process's environment, from which `SPIN_VARIABLE_*` are taken.
    pub process_env: BTreeMap<String, String>,
    /// Servers of NATS; none for those of the runtime configuration, if it has any.
    pub nats: Vec<NatsServer>,
    /// The credentials file for them; `None` for that of the runtime configuration.
    pub credentials: Option<PathBuf>,
    /// The components that run here; none for those that the runtime configuration names, or else all.
    pub only: Vec<String>,
}

/// A loaded application and what is odd about it.
#[derive(Debug)]
pub struct Loaded {
    /// The application.
    pub application: Application,
    /// What is legal and most likely not meant.
    pub warnings: Vec<Diagnostic>,
}

/// An application: everything that the manifest says, checked, with values filled in. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Application {
    /// The application's name.
    pub name: String,
    /// Its version; empty when the manifest has none.
    pub version: String,
    /// What it is.
    pub description: String,
    /// The folder of the manifest.
    pub dir: PathBuf,
    /// The manifest, as the user named it: for messages.
    pub manifest: PathBuf,
    /// HTTP triggers in the order of the file.
    pub routes: Vec<Route>,
    /// Components by name.
    pub components: BTreeMap<String, Component>,
    /// Limits of the HTTP edge and the process.
    pub limits: EdgeLimits,
    /// Where a key-value store is kept, for labels that the runtime configuration places.
    pub key_value_places: BTreeMap<String, KeyValuePlace>,
    /// Where a database lies, for labels that the runtime configuration places.
    pub sqlite_paths: BTreeMap<String, PathBuf>,
    /// The state folder, when the runtime configuration names one.
    pub state_dir: Option<PathBuf>,
    /// The command that tests the application, for `souk test`.
    pub test: Option<String>,
    /// Components that take no part, each with the variable that is set and turns it off.
    pub off: BTreeMap<String, String>,
    /// Components that take no part while a variable is set, each with the variable: those that are off, and others.
    pub conditional: BTreeMap<String, String>,
    /// How to reach other hosts of the application; `None` when there are none.
    pub nats: Option<NatsConfig>,
    /// The components that run here; `None` when all do. The others run on other hosts.
    pub only: Option<BTreeSet<String>>,
}

impl Application {
    /// Whether the component `name` runs on this host.
    pub fn runs_here(&self, name: &str) -> bool {
        self.components.contains_key(name) && self.only.as_ref().is_none_or(|only| only.contains(name))
    }

    /// The components that run on this host.
    pub fn here(&self) -> impl Iterator<Item = &Component> {
        self.components.values().filter(|component| self.runs_here(&component.name))
    }

    /// The router for the public routes; each leads to the name of its component.
    pub fn router(&self) -> Router<String> {
        Router::new(self.routes.iter().filter_map(|route| Some((route.pattern.clone()?, route.component.clone()))))
    }
}

/// One HTTP trigger.
#[derive(Debug, Clone)]
pub struct Route {
    /// The trigger's id, given or made as Spin does.
    pub id: String,
    /// The paths; `None` for a private route, which only components of the application reach.
    pub pattern: Option<RoutePattern>,
    /// The component that answers.
    pub component: String,
    /// The line of the trigger.
    pub line: usize,
}

/// One component and what it is granted.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// The line of its table.
    pub line: usize,
    /// What it is.
    pub description: String,
    /// The `.wasm` file; it need not exist yet.
    pub source: PathBuf,
    /// Variables for `spin:variables`, templates filled in.
    pub variables: BTreeMap<String, Value>,
    /// Environment variables of its sandbox.
    pub environment: BTreeMap<String, String>,
    /// Files that it may read.
    pub files: Files,
    /// Network destinations that it may reach.
    pub allowed_outbound_hosts: Vec<AllowedHost>,
    /// Labels of the key-value stores that it may open.
    pub key_value_stores: Vec<String>,
    /// Labels of the databases that it may open.
    pub sqlite_databases: Vec<String>,
    /// Links: which component answers its imports.
    pub dependencies: Vec<Dependency>,
    /// Which of its imports are answered by durable links; each is of a dependency.
    pub durable: Vec<Marked>,
    /// Which of its imports are answered by remote links wherever their target runs; each is of a dependency.
    pub remote: Vec<Marked>,
    /// Which of its functions other components may call twice.
    pub idempotent: Vec<Idempotent>,
    /// What it exports beyond what other components depend on; for the generator of its bindings.
    pub exports: Vec<DependencyName>,
    /// What it has to do with a NestJS system.
    pub nest: Nest,
    /// How it is built.
    pub build: Option<Build>,
    /// The folder of its migrations; it exists.
    pub migrations: Option<PathBuf>,
    /// The database that its migrations are for, where the manifest says so.
    pub database: Option<DatabaseUrl>,
    /// Its limits.
    pub limits: ComponentLimits,
}

/// A link as the manifest declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The import, or the package whose imports are all meant.
    pub name: DependencyName,
    /// The component that answers.
    pub component: String,
    /// The export that answers, when it is called otherwise than the import.
    pub export: Option<String>,
    /// The line of the dependency.
    pub line: usize,
}

/// A dependency that is marked as of one kind of link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The import, or the package whose imports are all meant.
    pub name: DependencyName,
    /// Its line in the manifest.
    pub line: usize,
}

/// What a component exports and may be called twice: a second call changes nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotent {
    /// The interface; always one, and not a package.
    pub interface: DependencyName,
    /// The function; `None` for all of the interface.
    pub function: Option<String>,
    /// Its line in the manifest.
    pub line: usize,
}

impl Idempotent {
    /// Whether the function `name` of the export `interface` is meant.
    pub fn covers(&self, interface: &str, name: &str) -> bool {
        self.interface.covers(interface) && self.function.as_deref().is_none_or(|function| function == name)
    }
}

impl fmt::Display for Idempotent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.interface.fmt(f)?;
        self.function.iter().try_for_each(|function| write!(f, "#{function}"))
    }
}

/// How a component is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Commands for the shell, run one after the other.
    pub commands: Vec<String>,
    /// Where they run; the folder of the manifest when it does not say.
    pub workdir: PathBuf,
    /// Paths and patterns, from `workdir`, whose change calls for a new build.
    pub watch: Vec<String>,
}

/// What `souk build` needs to know; made without any variable's value.
#[derive(Debug)]
pub struct BuildPlan {
    /// The folder of the manifest.
    pub dir: PathBuf,
    /// Every component by name, those without a build command too.
    pub components: BTreeMap<String, BuildStep>,
    /// The command that tests the application, for `souk test`.
    pub test: Option<String>,
    /// What is legal and most likely not meant.
    pub warnings: Vec<Diagnostic>,
}

/// One component to build.
#[derive(Debug)]
pub struct BuildStep {
    /// The file that the build makes.
    pub source: PathBuf,
    /// How; `None` when the manifest has no build command.
    pub build: Option<Build>,
    /// What it imports from other components.
    pub imports: Vec<DependencyName>,
    /// What it exports: what other components depend on, and what its own table adds.
    pub exports: Vec<DependencyName>,
    /// The line of the component.
    pub line: usize,
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

    let default_config = draft.application.dir.join("runtime-config.toml");
    let config = match &options.runtime_config {
        Some(path) => Some(runtime_config::read(path, path, &report)),
        None if default_config.is_file() => {
            let shown = source.path.with_file_name("runtime-config.toml");
            Some(runtime_config::read(&default_config, &shown, &report))
        }
        None => None,
    };
    let file = Origin { path: draft.application.dir.join(".env"), shown: source.path.with_file_name(".env") };
    let dotenv = variables::read_dotenv(&file.path, &file.shown, false, &report);
    variables::warn_of_strays(&draft.declared, options.process_env.keys().chain(dotenv.keys()), manifest);

    let mut providers = Vec::new();
    if let Some((config, config_source)) = config {
        check::labels(&draft.application, &config.labels, File { source: &config_source, report: &report });
        draft.application.key_value_places = config.key_value_places;
        draft.application.sqlite_paths = config.sqlite_paths;
        draft.application.state_dir = config.state_dir;
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
    providers.push(Provider::Environment { prefix: variables::PREFIX.to_owned(), dotenv, file });
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
        let here = component::variables_here(&draft);
        let shared = here.is_some() || draft.application.nats.is_some();
        let values = variables::resolve(&draft.declared, &providers, &process_env, host, here.as_ref(), shared, file);
        warnings::report(&draft.declared, &values, file);
        component::turn_off(&mut draft, &values, file);
        component::fill_in(&mut draft, &values, file);
        let mut application = draft.application;
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
        (name, BuildStep { source: component.source, build: component.build, imports, exports, line: component.line })
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
    let mut prefixes = vec![variables::PREFIX.to_owned()];
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
    check::whole(&draft.application, file);
    Some((draft, source))
}

/// The errors in `report`, which holds some.
fn fail<T>(report: Report) -> Result<T, ManifestErrors> {
    match report.finish() {
        Err(errors) => Err(errors),
        Ok(warnings) => Err(ManifestErrors(warnings)),
    }
}
