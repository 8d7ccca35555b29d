//! One `[component.NAME]`: its source, what it is granted, its links and how it is built.

use super::files::Files;
use super::generated::{check_named, is_set};
use super::names::{DependencyName, check_label, check_variable, nearest};
use super::outbound::{AllowedHost, INTERNAL_DOMAIN};
use super::schema::{Draft, read_limits, read_targets};
use super::table::{At, File, Table};
use super::template::Template;
use super::variables::{Declared, Value};
use super::{Build, Component, Dependency, Idempotent, Marked, Nest, database, nest};
use crate::limits::ComponentLimits;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use toml::de::DeValue;

/// What of one component depends on the variables' values.
#[derive(Default)]
pub(super) struct Templates {
    variables: BTreeMap<String, Template>,
    hosts: Vec<At<Template>>,
    database: Option<At<Template>>,
    /// The variable that turns the component off when it is set.
    unless: Option<String>,
}

impl Component {
    /// A component of which only the name is known.
    pub(super) fn new(name: &str, line: usize, dir: &Path) -> Self {
        Component {
            name: name.to_owned(),
            line,
            description: String::new(),
            source: dir.to_owned(),
            variables: BTreeMap::new(),
            environment: BTreeMap::new(),
            files: Files::default(),
            allowed_outbound_hosts: Vec::new(),
            key_value_stores: Vec::new(),
            sqlite_databases: Vec::new(),
            dependencies: Vec::new(),
            durable: Vec::new(),
            remote: Vec::new(),
            idempotent: Vec::new(),
            exports: Vec::new(),
            nest: Nest::default(),
            build: None,
            migrations: None,
            database: None,
            limits: ComponentLimits::default(),
        }
    }
}

/// Reads one component. What is wrong is reported and left out; the component itself always results.
pub(super) fn read<'a>(
    mut table: Table<'a, '_>,
    name: &'a str,
    dir: &Path,
    declared: &BTreeMap<String, Declared>,
) -> (Component, Templates) {
    table.component = Some(name);
    let mut component = Component::new(name, table.line, dir);
    read_source(&mut table, &mut component, dir);
    component.description = table.string("description").map(|text| text.value).unwrap_or_default();
    let mut templates = Templates {
        variables: read_variables(&mut table, declared),
        hosts: read_hosts(&mut table, declared),
        database: None,
        unless: None,
    };
    component.environment = read_environment(&mut table);
    component.files = Files::read(&mut table, name, dir);
    component.key_value_stores = read_labels(&mut table, "key_value_stores");
    component.sqlite_databases = read_labels(&mut table, "sqlite_databases");
    table.hide("ai_models");
    if let Some(model) = table.strings("ai_models").first() {
        table.error(model.line, "`ai_models` is not supported: Souk runs no AI models", "remove `ai_models`");
    }
    read_targets(&mut table);
    if let Some(build) = table.table("build") {
        component.build = read_build(build, dir);
    }
    component.dependencies = read_dependencies(&mut table);
    if let Some(souk) = table.table("tool").and_then(|mut tool| tool.table("souk")) {
        read_tool(souk, &mut component, &mut templates, dir, declared);
    }
    let fix = "build one source; `souk build` always builds for release";
    table.refuse("profile", "`profile` is not supported", fix);
    table.finish();
    (component, templates)
}

fn read_source(table: &mut Table<'_, '_>, component: &mut Component, dir: &Path) {
    const FIX: &str = "write `source = \"path/to/component.wasm\"`";
    let Some((line, value)) = table.value("source") else {
        table.error(table.line, format!("{} has no `source`", table.place), FIX);
        return;
    };
    match value.get_ref() {
        DeValue::String(path) if path.is_empty() => table.error(line, "`source` is empty", FIX),
        DeValue::String(path) => component.source = dir.join(path.as_ref()),
        DeValue::Table(entries) => {
            let kind = if entries.keys().any(|key| key.get_ref() == "url") { "a URL" } else { "a registry" };
            let fix = "download the file, and write `source = \"path/to/component.wasm\"`";
            table.error(line, format!("a `source` from {kind} is not supported"), fix);
        }
        other => table.mismatch("source", line, "a string", other),
    }
}

/// Reads a template and checks the variables in it.
fn template(table: &Table<'_, '_>, line: usize, text: &str, declared: &BTreeMap<String, Declared>) -> Option<Template> {
    let Some(template) = Template::parse(text) else {
        table.error(line, "a template has `{{` without `}}`", "write `{{ variable }}`");
        return None;
    };
    let mut known = true;
    for name in template.variables().filter(|name| !declared.contains_key(*name)) {
        known = false;
        let fix = match nearest(name, declared.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{{{{ {near} }}}}`?"),
            None => format!("declare it: `{name} = {{ required = true }}` under [variables]"),
        };
        table.error(line, format!("a template names the variable `{name}`, which is not declared"), fix);
    }
    known.then_some(template)
}

fn read_variables(table: &mut Table<'_, '_>, declared: &BTreeMap<String, Declared>) -> BTreeMap<String, Template> {
    let Some(variables) = table.table("variables") else { return BTreeMap::new() };
    let mut templates = BTreeMap::new();
    for (name, text) in variables.string_entries() {
        if let Err(error) = check_variable(name.value) {
            let fix = "name it in lower_snake_case: `api_key`";
            variables.error(name.line, format!("`{}` cannot be a variable's name: {error}", name.value), fix);
        } else if let Some(template) = template(&variables, name.line, &text, declared) {
            templates.insert(name.value.to_owned(), template);
        }
    }
    templates
}

fn read_hosts(table: &mut Table<'_, '_>, declared: &BTreeMap<String, Declared>) -> Vec<At<Template>> {
    let mut hosts = Vec::new();
    for entry in table.strings("allowed_outbound_hosts") {
        let Some(template) = template(table, entry.line, &entry.value, declared) else { continue };
        if template.variables().next().is_none()
            && let Err(error) = AllowedHost::parse(&entry.value, &entry.value)
        {
            // With a user name there can be a password.
            let shown = if entry.value.contains('@') { "an entry" } else { &format!("`{}`", entry.value) };
            let message = format!("{shown} in `allowed_outbound_hosts`: {}", error.message);
            table.error(entry.line, message, error.fix);
            continue;
        }
        hosts.push(At { value: template, line: entry.line });
    }
    table.hide("allowed_http_hosts");
    if let Some((line, value)) = table.value("allowed_http_hosts") {
        let old: Vec<_> =
            value.get_ref().as_array().into_iter().flatten().filter_map(|v| v.get_ref().as_str()).collect();
        let new: Vec<_> = match old.as_slice() {
            [] => vec!["\"https://HOST\"".to_owned()],
            ["insecure:allow-all"] => vec!["\"http://*:*\"".to_owned(), "\"https://*:*\"".to_owned()],
            hosts => hosts
                .iter()
                .map(|host| if host.contains("://") { format!("\"{host}\"") } else { format!("\"https://{host}\"") })
                .collect(),
        };
        let fix = format!("write `allowed_outbound_hosts = [{}]`", new.join(", "));
        table.error(line, "`allowed_http_hosts` is an old key that Souk does not read", fix);
    }
    hosts
}

fn read_environment(table: &mut Table<'_, '_>) -> BTreeMap<String, String> {
    let Some(environment) = table.table("environment") else { return BTreeMap::new() };
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

fn read_labels(table: &mut Table<'_, '_>, key: &'static str) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for label in table.strings(key) {
        if let Err(error) = check_label(&label.value) {
            let message = format!("`{}` in `{key}` cannot be a label: {error}", label.value);
            table.error(label.line, message, "name it like `my-data` or `my_data`");
        } else if !labels.contains(&label.value) {
            // Written twice it grants no more than once.
            labels.push(label.value);
        }
    }
    labels
}

fn read_build(mut table: Table<'_, '_>, dir: &Path) -> Option<Build> {
    const FIX: &str = "write `command = \"cargo build ...\"`, or a list of commands";
    let commands = match table.value("command") {
        None => {
            table.error(table.line, format!("{} has no `command`", table.place), FIX);
            Vec::new()
        }
        Some((line, value)) => match value.get_ref() {
            DeValue::String(command) => vec![command.to_string()],
            DeValue::Array(list) if list.is_empty() => {
                table.error(line, "`command` is an empty list", FIX);
                Vec::new()
            }
            DeValue::Array(_) => table.strings("command").into_iter().map(|command| command.value).collect(),
            other => {
                table.mismatch("command", line, "a string or a list of strings", other);
                Vec::new()
            }
        },
    };
    let workdir = table.string("workdir").map_or_else(|| dir.to_owned(), |workdir| dir.join(workdir.value));
    let watch = table.strings("watch").into_iter().map(|path| path.value).collect();
    table.finish();
    Some(Build { commands, workdir, watch })
}

fn read_dependencies(table: &mut Table<'_, '_>) -> Vec<Dependency> {
    const INHERIT: &str = "a linked component has its own sandbox and its own grants, and never its caller's";
    table.hide("dependencies_inherit_configuration");
    if let Some(inherit) = table.boolean("dependencies_inherit_configuration")
        && inherit.value
    {
        let message = format!("`dependencies_inherit_configuration` is not supported: {INHERIT}");
        table.error(inherit.line, message, "remove it, and grant what is needed in the other component's own table");
    }
    let Some(dependencies) = table.table("dependencies") else { return Vec::new() };
    let mut links: Vec<Dependency> = Vec::new();
    for (key, value) in dependencies.entries() {
        let name = match DependencyName::parse(key.value) {
            Ok(name) => name,
            Err(error) => {
                let message = format!("`{}` is not a dependency's name: {error}", key.value);
                dependencies.error(key.line, message, "write \"namespace:package/interface@version\"");
                continue;
            }
        };
        const LINK: &str = "write `{ component = \"NAME\" }`, and make the provider a component of the application";
        if value.get_ref().is_str() {
            let message = format!("dependency `{name}` comes from a registry, which is not supported");
            dependencies.error(key.line, message, LINK);
            continue;
        }
        let Some(mut entry) = dependencies.entry(&key, value) else { continue };
        let others = [("version", "a registry"), ("registry", "a registry"), ("package", "a registry")];
        let others = others.into_iter().chain([("path", "a file"), ("url", "a URL")]);
        others.clone().for_each(|(key, _)| entry.hide(key));
        entry.hide("inherit_configuration");
        if let Some((_, source)) = others.into_iter().find(|(key, _)| entry.value(key).is_some()) {
            let message = format!("dependency `{name}` comes from {source}, which is not supported");
            dependencies.error(key.line, message, LINK);
            continue;
        }
        if let Some((line, value)) = entry.value("inherit_configuration")
            && value.get_ref().as_bool() != Some(false)
        {
            let fix = "remove it, and grant what is needed in the other component's own table";
            entry.error(line, format!("`inherit_configuration` is not supported: {INHERIT}"), fix);
        }
        let fix = "write it under [component.NAME.environment] of the other component";
        entry.refuse("environment", "`environment` of a dependency is not supported: its component has its own", fix);
        let export = entry.string("export");
        if let (Some(export), None) = (&export, &name.interface) {
            let message = format!("dependency `{name}` is a whole package and has an `export`");
            entry.error(export.line, message, "name the interface in the dependency, or remove `export`");
        }
        let component = entry.required_string("component", "write `component = \"NAME\"`");
        entry.place = format!("dependency `{name}`");
        entry.finish();
        if let Some(other) = links.iter().find(|other| other.name.overlaps(&name)) {
            let message = format!("dependencies `{}` and `{name}` are for the same import", other.name);
            dependencies.error(key.line, message, "keep one of the two");
        } else if let Some(component) = component {
            let export = export.map(|export| export.value);
            links.push(Dependency { name, component: component.value, export, line: key.line });
        }
    }
    links
}

/// Reads what is Souk's own.
fn read_tool(
    mut souk: Table<'_, '_>,
    component: &mut Component,
    templates: &mut Templates,
    dir: &Path,
    declared: &BTreeMap<String, Declared>,
) {
    let unless = souk.string("unless").filter(|unless| check_named(&souk, "unless", unless, declared));
    templates.unless = unless.map(|unless| unless.value);
    if let Some(url) = souk.string("database_url") {
        templates.database = template(&souk, url.line, &url.value, declared).map(|value| At { value, line: url.line });
    }
    if let Some(migrations) = souk.string("migrations") {
        let path = dir.join(&migrations.value);
        if !path.is_dir() {
            let (message, fix) = match path.exists() {
                true => (
                    "is a file, and not the folder",
                    "name the folder that holds `sqlite/NNNN_name.sql` or `postgres/NNNN_name.sql`",
                ),
                false => ("does not exist", "make the folder, or correct the path: it starts at the manifest"),
            };
            souk.error(migrations.line, format!("the folder of migrations `{}` {message}", migrations.value), fix);
        }
        component.migrations = Some(path);
    }
    component.durable = read_marked(&mut souk, "durable", &component.dependencies);
    component.remote = read_marked(&mut souk, "remote", &component.dependencies);
    for remote in &component.remote {
        if let Some(durable) = component.durable.iter().find(|durable| durable.name.overlaps(&remote.name)) {
            let message = format!("`{}` is in `remote` and, as `{}`, in `durable`", remote.name, durable.name);
            souk.error(remote.line, message, "take it out of one: a durable link waits for no other host anyway");
        }
    }
    component.idempotent = read_idempotent(&mut souk);
    component.exports = read_exports(&mut souk);
    component.nest = souk.table("nest").map(nest::read).unwrap_or_default();
    if let Some(limits) = souk.table("limits") {
        read_limits(&limits, ComponentLimits::TABLE, |key, value| component.limits.set(key, value));
    }
    souk.finish();
}

/// Reads what the component exports beyond what others depend on.
fn read_exports(souk: &mut Table<'_, '_>) -> Vec<DependencyName> {
    let mut exports = Vec::new();
    for entry in souk.strings("exports") {
        match DependencyName::parse(&entry.value) {
            Ok(name) if name.interface.is_some() => exports.push(name),
            wrong => {
                let why = wrong.err().unwrap_or_else(|| "it names no interface".to_owned());
                let message = format!("`{}` in `exports` is not an interface: {why}", entry.value);
                souk.error(entry.line, message, "write \"namespace:package/interface@version\"");
            }
        }
    }
    exports
}

/// Reads which functions may be called twice. Whether the component exports them is known once it is compiled.
fn read_idempotent(souk: &mut Table<'_, '_>) -> Vec<Idempotent> {
    let mut idempotent = Vec::new();
    for entry in souk.strings("idempotent") {
        let (interface, function) = match entry.value.split_once('#') {
            Some((interface, function)) => (interface, Some(function)),
            None => (entry.value.as_str(), None),
        };
        let wrong = match (DependencyName::parse(interface), function) {
            (Ok(DependencyName { interface: None, .. }), _) => "it names no interface".to_owned(),
            (Ok(_), Some("")) => "it names no function after its `#`".to_owned(),
            (Ok(interface), function) => {
                let function = function.map(str::to_owned);
                idempotent.push(Idempotent { interface, function, line: entry.line });
                continue;
            }
            (Err(error), _) => error,
        };
        let message = format!("`{}` in `idempotent` is neither an interface nor a function: {wrong}", entry.value);
        souk.error(entry.line, message, "write \"namespace:package/interface@version#function\"");
    }
    idempotent
}

/// Reads the dependencies under `key`, which says of what kind their links are; each must be one.
fn read_marked(souk: &mut Table<'_, '_>, key: &'static str, dependencies: &[Dependency]) -> Vec<Marked> {
    let mut marked: Vec<Marked> = Vec::new();
    for entry in souk.strings(key) {
        let name = match DependencyName::parse(&entry.value) {
            Ok(name) => name,
            Err(error) => {
                let message = format!("`{}` in `{key}` is not a dependency's name: {error}", entry.value);
                souk.error(entry.line, message, "write \"namespace:package/interface@version\"");
                continue;
            }
        };
        if dependencies.iter().any(|dependency| dependency.name.overlaps(&name)) {
            marked.push(Marked { name, line: entry.line });
            continue;
        }
        let known: Vec<String> = dependencies.iter().map(|dependency| dependency.name.to_string()).collect();
        let fix = match nearest(&entry.value, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `\"{name}\" = {{ component = \"NAME\" }}` to the component's dependencies"),
        };
        souk.error(entry.line, format!("`{name}` in `{key}` is not a dependency of the component"), fix);
    }
    marked
}

/// The variables that components of this host use; `None` when it runs all of them.
pub(super) fn variables_here(draft: &Draft) -> Option<BTreeSet<&str>> {
    fn of(templates: &Templates) -> impl Iterator<Item = &str> {
        let hosts = templates.hosts.iter().chain(&templates.database).map(|at| &at.value);
        templates.variables.values().chain(hosts).flat_map(Template::variables)
    }
    let only = draft.application.only.as_ref()?;
    let here = draft.templates.iter().filter(|(name, _)| only.contains(*name));
    Some(here.flat_map(|(_, templates)| of(templates)).collect())
}

/// Takes out the components that a variable turns off, and their routes.
pub(super) fn turn_off(draft: &mut Draft, values: &BTreeMap<String, Value>, file: File<'_>) {
    let application = &mut draft.application;
    for (name, templates) in &mut draft.templates {
        let Some(unless) = templates.unless.take() else { continue };
        application.conditional.insert(name.clone(), unless.clone());
        if is_set(values, &unless) {
            application.components.remove(name);
            application.off.insert(name.clone(), unless);
        }
    }
    let off = &application.off;
    application.routes.retain(|route| !off.contains_key(&route.component));
    for component in application.components.values() {
        for dependency in &component.dependencies {
            let Some(variable) = off.get(&dependency.component) else { continue };
            let target = &dependency.component;
            let message = format!("dependency `{}` is on component `{target}`, which is off", dependency.name);
            let message = format!("{message}, because `{variable}` is set");
            let fix = format!(
                "leave `{variable}` empty, depend on another component, or write `unless = \"{variable}\"` under \
                 [component.{}.tool.souk] too",
                component.name
            );
            file.report.error(file.diagnostic(Some(dependency.line), Some(&component.name), message, fix));
        }
    }
}

/// Fills in the templates of all components. A variable that has no value was reported already.
pub(super) fn fill_in(draft: &mut Draft, values: &BTreeMap<String, Value>, file: File<'_>) {
    let application = &draft.application;
    let known: Vec<String> = application.components.keys().chain(application.off.keys()).cloned().collect();
    for (name, component) in &mut draft.application.components {
        let Some(templates) = draft.templates.remove(name) else { continue };
        for (variable, template) in templates.variables {
            if let Some(value) = template.resolve(values) {
                component.variables.insert(variable, value);
            }
        }
        for At { value: template, line } in templates.hosts {
            let Some(value) = template.resolve(values) else { continue };
            if value.expose().is_empty() && template.variables().next().is_some() {
                // A host that is configured by a variable and is not: nothing to grant.
                continue;
            }
            let shown = if value.is_secret() { &template.text } else { value.expose() };
            match AllowedHost::parse(value.expose(), shown) {
                Ok(host) => {
                    if let Some(target) = host.internal_component()
                        && !known.iter().any(|name| name.eq_ignore_ascii_case(target))
                    {
                        let fix = match nearest(target, known.iter().map(String::as_str)) {
                            Some(near) => format!("did you mean `{near}.{INTERNAL_DOMAIN}`?"),
                            None => "name a component of this application".to_owned(),
                        };
                        let message = format!("`{host}` in `allowed_outbound_hosts`: there is no such component");
                        file.report.error(file.diagnostic(Some(line), Some(name), message, fix));
                    }
                    component.allowed_outbound_hosts.push(host);
                }
                Err(error) => {
                    let message =
                        format!("`{}` in `allowed_outbound_hosts`, filled in: {}", template.text, error.message);
                    let names: Vec<_> = template.variables().collect();
                    let fix = format!("change the value of `{}`; {}", names.join("`, `"), error.fix);
                    file.report.error(file.diagnostic(Some(line), Some(name), message, fix));
                }
            }
        }
        if let Some(template) = &templates.database {
            database::fill_in(component, template, values, file);
        }
    }
}
