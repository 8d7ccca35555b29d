//! `[component.NAME.dependencies]`: what answers a component's imports.
//!
//! Spin composes a dependency into its component. Here it always has a sandbox of its own. A component of the
//! application has one already; for a file, a URL or a version in a registry a component is created (see
//! [`super::inherit`]), which is granted only what `inherit_configuration` names.

use super::Dependency;
use super::names::{DependencyName, nearest};
use super::release;
use super::source::{self, Code};
use super::table::{At, Table};
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::DeValue;

/// The keys of a component's configuration that another component can inherit, as in Spin.
pub(super) const INHERITABLE: [&str; 7] = [
    "ai_models",
    "allowed_outbound_hosts",
    "environment",
    "files",
    "key_value_stores",
    "sqlite_databases",
    "variables",
];

/// What answers an import or a request, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) answer: Answer,
    /// The keys whose configuration it inherits.
    pub(super) inherit: Vec<&'static str>,
    /// More environment variables for it.
    pub(super) environment: BTreeMap<String, String>,
    pub(super) line: usize,
}

/// Whose code answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A component of the application.
    Component(String),
    /// Code for which a component is created.
    Code(Code),
}

/// Reads the dependencies of one component and their providers, in the same order. The `component` of each dependency
/// is still empty: the caller fills it in from the provider.
pub(super) fn read(table: &mut Table<'_, '_>, dir: &Path) -> (Vec<Dependency>, Vec<Provider>) {
    let inherit_all = table.boolean("dependencies_inherit_configuration").is_some_and(|inherit| inherit.value);
    let (mut links, mut providers) = (Vec::new(), Vec::new());
    if let Some(dependencies) = table.table("dependencies") {
        read_table(&dependencies, dir, inherit_all, &mut links, &mut providers);
    }
    (links, providers)
}

/// Reads a table of dependencies into `links` and `providers`; `inherit_all` says whether they inherit all
/// configuration by default.
pub(super) fn read_table(
    dependencies: &Table<'_, '_>,
    dir: &Path,
    inherit_all: bool,
    links: &mut Vec<Dependency>,
    providers: &mut Vec<Provider>,
) {
    for (key, value) in dependencies.entries() {
        let name = match DependencyName::parse(key.value) {
            Ok(name) => name,
            Err(_) if !key.value.contains([':', '/']) => {
                let message = format!("dependency `{}` is not an interface of a package", key.value.escape_debug());
                let fix = "let the component import an interface, `namespace:package/interface@version`: a link joins nothing else";
                dependencies.error(key.line, message, fix);
                continue;
            }
            Err(error) => {
                let message = format!("`{}` is not a dependency's name: {error}", key.value);
                dependencies.error(key.line, message, "write \"namespace:package/interface@version\"");
                continue;
            }
        };
        if value.get_ref().is_str() {
            let message = format!("dependency `{name}` names a version, but no registry");
            dependencies.error(key.line, message, release::FIX);
            continue;
        }
        let Some(mut entry) = dependencies.entry(&key, value) else { continue };
        let export = entry.string("export");
        if let (Some(export), None) = (&export, &name.interface) {
            let message = format!("dependency `{name}` is a whole package and has an `export`");
            entry.error(export.line, message, "name the interface in the dependency, or remove `export`");
        }
        let what = format!("dependency `{name}`");
        let package = Some(name.package.as_str());
        let Some(provider) = read_provider(&mut entry, &what, package, dir, inherit_all) else { continue };
        entry.place = what;
        entry.finish();
        if let Some(other) = links.iter().find(|other| other.name.overlaps(&name)) {
            let message = format!("dependencies `{}` and `{name}` are for the same import", other.name);
            dependencies.error(key.line, message, "keep one of the two");
        } else {
            let export = export.map(|export| export.value);
            links.push(Dependency { name, component: String::new(), export, line: key.line });
            providers.push(Provider { line: key.line, ..provider });
        }
    }
}

/// Reads a provider: `component`, `path`, `url` or a version in a registry, and what it inherits. `what` is its name in
/// messages, and `package` the package that it is for. The caller must finish the table.
pub(super) fn read_provider(
    entry: &mut Table<'_, '_>,
    what: &str,
    package: Option<&str>,
    dir: &Path,
    inherit_all: bool,
) -> Option<Provider> {
    let released = release::is_named(entry).then_some("version");
    let given = ["component", "path", "url"].into_iter().filter(|key| entry.value(key).is_some());
    let given: Vec<_> = given.chain(released).collect();
    if let [one, other, ..] = given.as_slice() {
        let message = format!("{what} has both `{one}` and `{other}`");
        entry.error(entry.line, message, "keep one of the two");
        return None;
    }
    let inherit = read_inherit(entry, inherit_all);
    let environment = read_environment(entry, "environment");
    let answer = match given.first().copied() {
        Some("path") => entry.string("path").map(|path| Answer::Code(Code::File(dir.join(path.value)))),
        Some("url") => source::download(entry).map(|download| Answer::Code(Code::Download(download))),
        Some("version") => source::released(entry, package).map(|download| Answer::Code(Code::Download(download))),
        _ => entry
            .required_string("component", "write `component = \"NAME\"`, `path = \"FILE\"`, or `url` and `digest`")
            .map(|component| Answer::Component(component.value)),
    };
    // If the answer has a mistake, nobody has read `digest`: it must not be reported as an unknown key too.
    if answer.is_none() {
        entry.hide("digest");
        entry.value("digest");
    }
    let line = entry.line;
    answer.map(|answer| Provider { answer, inherit, environment, line })
}

/// Reads `inherit_configuration`: all, nothing, or a list of keys.
fn read_inherit(entry: &mut Table<'_, '_>, all: bool) -> Vec<&'static str> {
    let all_or_none = |all: bool| if all { INHERITABLE.to_vec() } else { Vec::new() };
    let Some((line, value)) = entry.value("inherit_configuration") else { return all_or_none(all) };
    match value.get_ref() {
        DeValue::Boolean(all) => all_or_none(*all),
        DeValue::Array(_) => {
            let mut inherit = Vec::new();
            for key in entry.strings("inherit_configuration") {
                match INHERITABLE.into_iter().find(|known| *known == key.value) {
                    Some(known) if inherit.contains(&known) => {}
                    Some(known) => inherit.push(known),
                    None => {
                        let message = format!("`{}` in `inherit_configuration` cannot be inherited", key.value);
                        entry.error(key.line, message, format!("name one of {}", INHERITABLE.join(", ")));
                    }
                }
            }
            inherit
        }
        other => {
            entry.mismatch("inherit_configuration", line, "`true`, `false` or a list of strings", other);
            Vec::new()
        }
    }
}

/// Reads a table of environment variables.
pub(super) fn read_environment(table: &mut Table<'_, '_>, key: &'static str) -> BTreeMap<String, String> {
    let Some(environment) = table.table(key) else { return BTreeMap::new() };
    let mut pairs = BTreeMap::new();
    for (name, value) in environment.string_entries() {
        if name.value.is_empty() || name.value.contains(['=', '\0']) || value.contains('\0') {
            let message = format!("`{}` cannot be an environment variable", name.value.escape_debug());
            environment.error(name.line, message, "leave out `=` and zero bytes");
        }
        pairs.insert(name.value.to_owned(), value);
    }
    pairs
}

/// Reads the name of a dependency in `key`; anything else is reported.
pub(super) fn marked(
    souk: &Table<'_, '_>,
    key: &str,
    entry: &At<String>,
    dependencies: &[Dependency],
) -> Option<DependencyName> {
    let name = match DependencyName::parse(&entry.value) {
        Ok(name) => name,
        Err(error) => {
            let message = format!("`{}` in `{key}` is not a dependency's name: {error}", entry.value);
            souk.error(entry.line, message, "write \"namespace:package/interface@version\"");
            return None;
        }
    };
    if dependencies.iter().any(|dependency| dependency.name.overlaps(&name)) {
        return Some(name);
    }
    let known: Vec<String> = dependencies.iter().map(|dependency| dependency.name.to_string()).collect();
    let fix = match nearest(&entry.value, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add `\"{name}\" = {{ component = \"NAME\" }}` to the component's dependencies"),
    };
    souk.error(entry.line, format!("`{name}` in `{key}` is not a dependency of the component"), fix);
    None
}
