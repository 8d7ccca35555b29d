//! One `[component.NAME]`: its source, its grants, its links and its build.

use super::declared::{Declared, check_named};
use super::dependencies::marked;
use super::draft::{Templates, read_limits, read_targets};
use super::files::Files;
use super::names::{DependencyName, check_label, check_variable};
use super::outbound::AllowedHost;
use super::table::{At, Table};
use super::template::{Template, template};
use super::{
    Component, Dependency, Idempotent, Marked, Nest, build, database_files, dependencies, durable, nest, profile,
    schedule, source,
};
use crate::limits::ComponentLimits;
use std::collections::BTreeMap;
use std::path::Path;

impl Component {
    /// A component with only a name; everything else has its default.
    pub(super) fn new(name: &str, line: usize, dir: &Path) -> Self {
        Component {
            name: name.to_owned(),
            line,
            description: String::new(),
            source: dir.to_owned(),
            download: None,
            part_of: None,
            copy_of: None,
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
            imports: Vec::new(),
            is_built_if_changed: false,
            schedules: Vec::new(),
            nest: Nest::default(),
            ignored_for_readiness: false,
            traces_arguments: false,
            is_recorded: false,
            build: None,
            migrations: None,
            retired: Vec::new(),
            additive: Vec::new(),
            seed: None,
            database: None,
            limits: ComponentLimits::default(),
        }
    }
}

/// Reads one component. Mistakes are reported and left out; a component is always returned.
pub(super) fn read<'a>(
    mut table: Table<'a, '_>,
    name: &'a str,
    dir: &Path,
    declared: &BTreeMap<String, Declared>,
) -> (Component, Templates) {
    table.component = Some(name);
    let mut component = Component::new(name, table.line, dir);
    if let Some(code) = source::read(&mut table, dir) {
        component.set_code(code);
    }
    component.description = table.string("description").map(|text| text.value).unwrap_or_default();
    let mut templates = Templates {
        variables: read_variables(&mut table, declared),
        hosts: read_hosts(&mut table, declared),
        ..Templates::default()
    };
    component.environment = dependencies::read_environment(&mut table, "environment");
    component.files = Files::read(&mut table, name, dir);
    component.key_value_stores = read_labels(&mut table, "key_value_stores");
    component.sqlite_databases = read_labels(&mut table, "sqlite_databases");
    warn_of_missing(&mut table, "ai_models", "runs no AI models");
    warn_of_missing(&mut table, "blob_containers", "has no blob storage");
    read_targets(&mut table);
    if let Some(build) = table.table("build") {
        component.build = build::read(build, dir);
    }
    (component.dependencies, templates.providers) = dependencies::read(&mut table, dir);
    profile::read(&mut table, dir);
    if let Some(souk) = table.table("tool").and_then(|mut tool| tool.table("souk")) {
        read_tool(souk, &mut component, &mut templates, dir, declared);
    }
    table.finish();
    (component, templates)
}

/// Warns of a feature that only Spin has: the component starts without it, and a call to it traps.
fn warn_of_missing(table: &mut Table<'_, '_>, key: &'static str, what: &str) {
    if let Some(first) = table.strings(key).first() {
        let message = format!("`{key}` grants nothing here: Souk {what}, and a call to them traps");
        table.warning(first.line, message, format!("remove `{key}` if the component can work without it"));
    }
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
            // An entry with a user name may also have a password.
            let shown = if entry.value.contains('@') { "an entry" } else { &format!("`{}`", entry.value) };
            let message = format!("{shown} in `allowed_outbound_hosts`: {}", error.message);
            table.error(entry.line, message, error.fix);
            continue;
        }
        hosts.push(At { value: template, line: entry.line });
    }
    hosts.extend(read_old_hosts(table));
    hosts
}

/// Reads `allowed_http_hosts`, as Spin does: each host by http and https.
fn read_old_hosts(table: &mut Table<'_, '_>) -> Vec<At<Template>> {
    let mut hosts = Vec::new();
    let old = table.strings("allowed_http_hosts");
    let mut shown = Vec::new();
    for entry in &old {
        let host = entry.value.split_once("://").map_or(entry.value.as_str(), |(_, host)| host);
        let host = if host == "insecure:allow-all" { "*:*" } else { host };
        for scheme in ["http", "https"] {
            let text = format!("{scheme}://{host}");
            match AllowedHost::parse(&text, &text) {
                Ok(_) => hosts.extend(Template::parse(&text).map(|value| At { value, line: entry.line })),
                Err(error) => {
                    let message = format!("an entry of `allowed_http_hosts`: {}", error.message);
                    table.error(entry.line, message, "write `allowed_outbound_hosts = [\"https://HOST\"]`");
                    return hosts;
                }
            }
            shown.push(format!("{text:?}"));
        }
    }
    table.hide("allowed_http_hosts");
    if let Some(first) = old.first() {
        let fix = format!("write `allowed_outbound_hosts = [{}]`, or only what is needed of it", shown.join(", "));
        table.warning(first.line, "`allowed_http_hosts` is an old key", fix);
    }
    hosts
}

fn read_labels(table: &mut Table<'_, '_>, key: &'static str) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for label in table.strings(key) {
        if let Err(error) = check_label(&label.value) {
            let message = format!("`{}` in `{key}` cannot be a label: {error}", label.value);
            table.error(label.line, message, "name it like `my-data` or `my_data`");
        } else if !labels.contains(&label.value) {
            // A repeated label grants nothing more.
            labels.push(label.value);
        }
    }
    labels
}

/// Reads Souk's own keys.
fn read_tool(
    mut souk: Table<'_, '_>,
    component: &mut Component,
    templates: &mut Templates,
    dir: &Path,
    declared: &BTreeMap<String, Declared>,
) {
    source::read_digest(&mut souk, &mut component.download);
    let unless = souk.string("unless").filter(|unless| check_named(&souk, "unless", unless, declared));
    templates.unless = unless.map(|unless| unless.value);
    database_files::read(&mut souk, component, templates, dir, declared);
    component.durable = durable::read(&mut souk, &component.dependencies);
    component.remote = read_marked(&mut souk, "remote", &component.dependencies);
    for remote in &component.remote {
        if let Some(durable) = component.durable.iter().find(|durable| durable.name.overlaps(&remote.name)) {
            let message = format!("`{}` is in `remote` and, as `{}`, in `durable`", remote.name, durable.name);
            souk.error(
                remote.line,
                message,
                "remove it from one of them: a durable link waits for no other host \
                                              anyway",
            );
        }
    }
    component.idempotent = read_idempotent(&mut souk);
    component.exports = read_interfaces(&mut souk, "exports");
    component.imports = read_interfaces(&mut souk, "imports");
    schedule::read(&mut souk, component);
    component.nest = souk.table("nest").map(nest::read).unwrap_or_default();
    if let Some(readiness) = souk.string("readiness") {
        match readiness.value.as_str() {
            "ignore" => component.ignored_for_readiness = true,
            other => {
                let fix =
                    "write `readiness = \"ignore\"`, or remove it: then the host is ready only when the component is";
                souk.error(readiness.line, format!("`readiness` must be \"ignore\", but is \"{other}\""), fix);
            }
        }
    }
    component.is_built_if_changed = souk.boolean("build_if_changed").is_some_and(|yes| yes.value);
    component.traces_arguments = souk.boolean("trace_arguments").is_some_and(|yes| yes.value);
    component.is_recorded = souk.boolean("record").is_some_and(|yes| yes.value);
    if let Some(limits) = souk.table("limits") {
        read_limits(&limits, ComponentLimits::TABLE, |key, value| component.limits.set(key, value));
    }
    souk.finish();
}

/// Reads `exports` or `imports`: interfaces that the generator of its bindings needs beyond those of links.
fn read_interfaces(souk: &mut Table<'_, '_>, key: &'static str) -> Vec<Marked> {
    let mut interfaces = Vec::new();
    for entry in souk.strings(key) {
        match DependencyName::parse(&entry.value) {
            Ok(name) if name.interface.is_some() => interfaces.push(Marked { name, line: entry.line }),
            wrong => {
                let why = wrong.err().unwrap_or_else(|| "it names no interface".to_owned());
                let message = format!("`{}` in `{key}` is not an interface: {why}", entry.value);
                souk.error(entry.line, message, "write \"namespace:package/interface@version\"");
            }
        }
    }
    interfaces
}

/// Reads `idempotent`: the functions for which a call may be repeated. Whether the component exports them is known only
/// once it is compiled.
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

/// Reads the list `key`, which marks dependencies for one kind of link. Each entry must be a dependency of the
/// component.
fn read_marked(souk: &mut Table<'_, '_>, key: &'static str, dependencies: &[Dependency]) -> Vec<Marked> {
    let entries = souk.strings(key).into_iter();
    let read =
        |entry: At<String>| marked(souk, key, &entry, dependencies).map(|name| Marked { name, line: entry.line });
    entries.filter_map(read).collect()
}
