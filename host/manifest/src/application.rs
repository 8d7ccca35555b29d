//! An application as its manifest describes it, checked and with values filled in.

use super::{
    AllowedHost, DatabaseUrl, DependencyName, Diagnostic, Download, DurableDependency, Files, IpNet, KeyValuePlace,
    NatsConfig, Nest, RedisTrigger, RoutePattern, Router, Schedule, StaticFolder, StaticResponse, Value,
};
use crate::limits::{ComponentLimits, EdgeLimits};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// An application: the whole content of its manifest, checked, with values filled in. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Application {
    /// The application's name.
    pub name: String,
    /// Its version; empty when the manifest has none.
    pub version: String,
    /// Its description.
    pub description: String,
    /// The folder of the manifest.
    pub dir: PathBuf,
    /// The manifest, as the user named it: for messages.
    pub manifest: PathBuf,
    /// The path that all routes begin with; `/` when the manifest has none.
    pub base_path: String,
    /// HTTP triggers with a component, in the order of the file.
    pub routes: Vec<Route>,
    /// HTTP triggers that the host answers itself.
    pub static_routes: Vec<StaticRoute>,
    /// Redis channels whose messages components get.
    pub redis_triggers: Vec<RedisTrigger>,
    /// Folders whose files the host serves, in the order of the file.
    pub static_folders: Vec<StaticFolder>,
    /// Components by name.
    pub components: BTreeMap<String, Component>,
    /// Limits of the HTTP edge and the process.
    pub limits: EdgeLimits,
    /// The proxies that are trusted to name the client of a connection or a request.
    pub trusted_proxies: Vec<IpNet>,
    /// Where key-value stores are kept, for the labels in the runtime configuration.
    pub key_value_places: BTreeMap<String, KeyValuePlace>,
    /// The files of databases, for the labels in the runtime configuration.
    pub sqlite_paths: BTreeMap<String, PathBuf>,
    /// The state folder, when the runtime configuration names one.
    pub state_dir: Option<PathBuf>,
    /// The command that tests the application, for `souk test`.
    pub test: Option<String>,
    /// The path of the application's OpenAPI document, for the console.
    pub openapi: Option<String>,
    /// Components that are off, each with the variable that is set and turns it off.
    pub off: BTreeMap<String, String>,
    /// All components that a variable can turn off, each with the variable.
    pub conditional: BTreeMap<String, String>,
    /// How to reach other hosts of the application; `None` when there are none.
    pub nats: Option<NatsConfig>,
    /// The secret variables that this host's components use, with their values.
    pub secrets: BTreeMap<String, Value>,
    /// Where the value of each variable comes from, as text for an operator.
    pub variable_places: BTreeMap<String, String>,
    /// The components that run here; `None` when all do. The others run on other hosts.
    pub only: Option<BTreeSet<String>>,
    /// Host names that requests to the administration listener may use, besides its address.
    pub admin_hosts: Vec<String>,
    /// Servers that replace components in tests of other components, by the component's name.
    pub stand_ins: BTreeMap<String, String>,
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
    /// The middleware that a request passes before it comes to `component`, in order.
    pub middleware: Vec<String>,
    /// Whether a part of the limit `request_memory` is reserved for its requests.
    pub reserved: bool,
    /// The line of the trigger.
    pub line: usize,
}

/// One HTTP trigger that the host answers.
#[derive(Debug, Clone)]
pub struct StaticRoute {
    /// The trigger's id, given or made as Spin does.
    pub id: String,
    /// The paths.
    pub pattern: RoutePattern,
    /// The answer.
    pub response: StaticResponse,
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
    /// Its description.
    pub description: String,
    /// The `.wasm` file; it need not exist yet. For a component that is downloaded, the host sets it.
    pub source: PathBuf,
    /// Where the code is downloaded from, if it is not a file of the application.
    pub download: Option<Download>,
    /// The component that it was made for, when the manifest names it only as a dependency or middleware of that one.
    pub part_of: Option<String>,
    /// The component that it is a copy of, if it inherits configuration from the component that it is a part of.
    pub copy_of: Option<String>,
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
    /// The dependencies that durable links answer.
    pub durable: Vec<DurableDependency>,
    /// The dependencies that remote links answer, even if their target runs on the same host.
    pub remote: Vec<Marked>,
    /// Its functions for which a call may be repeated.
    pub idempotent: Vec<Idempotent>,
    /// Exports that no other component depends on; for the generator of its bindings.
    pub exports: Vec<Marked>,
    /// Whether `souk build` leaves it alone while its file is newer than its sources.
    pub is_built_if_changed: bool,
    /// Interfaces of the host that it imports; for the generator of its bindings.
    pub imports: Vec<Marked>,
    /// Its functions that the host calls at certain times.
    pub schedules: Vec<Schedule>,
    /// Its patterns of a NestJS system.
    pub nest: Nest,
    /// Whether the host can be ready while this component cannot serve.
    pub ignored_for_readiness: bool,
    /// Whether traces contain the arguments and results of calls to it.
    pub traces_arguments: bool,
    /// Whether calls into it are recorded, for `souk replay`.
    pub is_recorded: bool,
    /// How it is built.
    pub build: Option<Build>,
    /// The folder of its migrations; it exists.
    pub migrations: Option<PathBuf>,
    /// The numbers of migrations that do not run any more and whose files were removed.
    pub retired: Vec<i32>,
    /// The numbers of migrations with which an older release, which does not have them, can still work.
    pub additive: Vec<i32>,
    /// Example data for its database.
    pub seed: Option<Seed>,
    /// The database that its migrations are for, if the manifest names one.
    pub database: Option<DatabaseUrl>,
    /// Its limits.
    pub limits: ComponentLimits,
}

impl Component {
    /// The folders that belong to it completely, and the key that names each: a package takes them along, and must not
    /// name one elsewhere.
    pub(crate) fn folders(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let migrations = self.migrations.as_deref().map(|folder| ("migrations", folder));
        migrations.into_iter().chain(self.seed.as_ref().map(|seed| ("seed.folder", seed.folder.as_path())))
    }

    /// The names of the components that it calls.
    pub fn called(&self) -> BTreeSet<String> {
        self.dependencies.iter().map(|dependency| dependency.component.clone()).collect()
    }
}

/// Example data of a component, which `souk seed` adds and removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The folder of its scripts; it exists.
    pub folder: PathBuf,
    /// Whether the first start adds it to a new database.
    pub at_first_start: bool,
}

/// A link as the manifest declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The import, or a package for all imports from it.
    pub name: DependencyName,
    /// The component that answers.
    pub component: String,
    /// The export that answers, if its name differs from that of the import.
    pub export: Option<String>,
    /// The line of the dependency.
    pub line: usize,
}

/// An interface in a list of the manifest: a dependency that is marked for one kind of link, or an entry of `exports` or
/// `imports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The interface, or a package for all imports from it.
    pub name: DependencyName,
    /// Its line in the manifest.
    pub line: usize,
}

/// An exported function, or interface, whose calls may be repeated: a second call changes nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotent {
    /// The interface; never a whole package.
    pub interface: DependencyName,
    /// The function; `None` for all functions of the interface.
    pub function: Option<String>,
    /// Its line in the manifest.
    pub line: usize,
}

impl Idempotent {
    /// Whether this covers the function `name` of the export `interface`.
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
    /// The folder in which they run; by default that of the manifest.
    pub workdir: PathBuf,
    /// Paths and patterns, relative to `workdir`; a change of such a file requires a new build.
    pub watch: Vec<String>,
}

/// What `souk build` needs to know. It needs no values of variables.
#[derive(Debug)]
pub struct BuildPlan {
    /// The folder of the manifest.
    pub dir: PathBuf,
    /// The manifest, as the user named it: for messages.
    pub manifest: PathBuf,
    /// Every component by name, including those without a build command.
    pub components: BTreeMap<String, BuildStep>,
    /// Where the manifest names contracts whose WIT the application has.
    pub contracts: Vec<NamedContract>,
    /// The command that tests the application, for `souk test`.
    pub test: Option<String>,
    /// Things that are legal but most likely not intended.
    pub warnings: Vec<Diagnostic>,
}

/// A contract where the manifest names it: as a dependency on another component of the application, or in `exports` or
/// `imports`. A dependency on code from elsewhere is none: that code may bring its own WIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContract {
    /// The interface, or a package for all imports from it.
    pub name: DependencyName,
    /// The component whose table names it.
    pub component: String,
    /// The line.
    pub line: usize,
}

/// One component to build.
#[derive(Debug)]
pub struct BuildStep {
    /// The file that the build creates.
    pub source: PathBuf,
    /// Where the code is downloaded from, if it is not a file of the application.
    pub download: Option<Download>,
    /// Whether it is left alone while its file is newer than its sources.
    pub is_built_if_changed: bool,
    /// How it is built; `None` when the manifest has no build command.
    pub build: Option<Build>,
    /// What it imports: from other components, and its own `imports`.
    pub imports: Vec<DependencyName>,
    /// What it exports: what other components depend on, and its own `exports`.
    pub exports: Vec<DependencyName>,
    /// The line of the component.
    pub line: usize,
}
