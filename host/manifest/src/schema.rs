//! The manifest's top level: version, `[application]`, `[[trigger.http]]`; components are read by [`super::component`].

use super::component::{self, Templates};
use super::generated;
use super::names::{check_component, nearest};
use super::route::RoutePattern;
use super::table::{File, Table};
use super::variables::{self, Declared};
use super::warnings;
use super::{Application, Component, Route};
use crate::limits::{EdgeLimits, Given, Limit, LimitValue};
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// How to say what tests the application.
const TEST_FIX: &str = "write the shell command that tests the application: `command = \"cargo test\"`";

/// An application whose templates are not filled in yet.
pub(super) struct Draft {
    pub application: Application,
    pub declared: BTreeMap<String, Declared>,
    /// Templates by component.
    pub templates: BTreeMap<String, Templates>,
}

/// Reads the whole document; `None` when it is not a manifest of version 2.
pub(super) fn read(file: File<'_>, root: &DeTable<'_>, dir: &Path) -> Option<Draft> {
    let mut root = Table::new(file, "the manifest", 1, root);
    read_version(&mut root)?;

    let mut application = Application {
        name: String::new(),
        version: String::new(),
        description: String::new(),
        dir: dir.to_owned(),
        manifest: file.source.path.clone(),
        routes: Vec::new(),
        components: BTreeMap::new(),
        limits: EdgeLimits::default(),
        key_value_places: BTreeMap::new(),
        sqlite_paths: BTreeMap::new(),
        state_dir: None,
        test: None,
        off: BTreeMap::new(),
        conditional: BTreeMap::new(),
        nats: None,
        only: None,
    };
    // Whatever names a component or variable would be wrong too, and say nothing new.
    if root.misspelt("component") || root.misspelt("variables") {
        return None;
    }
    let mut declared = root.table("variables").map(variables::read_declared).unwrap_or_default();
    match root.table("application") {
        Some(table) => read_application(table, &mut application, &mut declared),
        None if root.misspelt("application") || root.entries().iter().any(|(name, _)| name.value == "application") => {}
        None => root.error(1, "the manifest has no [application]", "write `[application]` and `name = \"...\"` in it"),
    }

    let mut draft = Draft { application, declared, templates: BTreeMap::new() };
    if let Some(components) = root.table("component") {
        for (name, value) in components.entries() {
            if let Err(error) = check_component(name.value) {
                let message = format!("`{}` cannot be a component's name: {error}", name.value);
                components.error(name.line, message, "name it in kebab-case: `order-history`");
            }
            if let Some(table) = components.entry(&name, value) {
                draft.add(component::read(table, name.value, dir, &draft.declared));
            } else {
                // Known by name, so that nothing that points to it is reported too.
                draft.add((Component::new(name.value, name.line, dir), Templates::default()));
            }
        }
    }
    if let Some(triggers) = root.table("trigger") {
        read_triggers(triggers, &mut draft, dir);
    }
    root.finish();
    Some(draft)
}

impl Draft {
    fn add(&mut self, (component, templates): (Component, Templates)) {
        self.templates.insert(component.name.clone(), templates);
        self.application.components.insert(component.name.clone(), component);
    }
}

fn read_version(root: &mut Table<'_, '_>) -> Option<()> {
    const FIX: &str = "write `spin_manifest_version = 2` as the first line";
    let Some((line, value)) = root.value("spin_manifest_version") else {
        let fix = if root.value("spin_version").is_some() {
            "this is a manifest of version 1: convert it with `spin doctor`, or write it anew for version 2"
        } else {
            FIX
        };
        root.error(1, "the manifest does not say its version", fix);
        return None;
    };
    match value.get_ref() {
        DeValue::Integer(version) if version.as_str() == "2" => Some(()),
        DeValue::Integer(version) => {
            root.error(line, format!("manifest version {} is not supported", version.as_str()), FIX);
            None
        }
        other => {
            root.error(line, format!("`spin_manifest_version` must be 2, and is of type {}", other.type_str()), FIX);
            None
        }
    }
}

fn read_application(
    mut table: Table<'_, '_>,
    application: &mut Application,
    declared: &mut BTreeMap<String, Declared>,
) {
    if let Some(name) = table.required_string("name", "write `name = \"...\"`") {
        if name.value.trim().is_empty() {
            table.error(name.line, "the application's name is empty", "give it a name");
        }
        application.name = name.value;
    }
    let mut text = |key| table.string(key).map(|text| text.value).unwrap_or_default();
    application.version = text("version");
    application.description = text("description");
    table.strings("authors");
    read_targets(&mut table);

    if let Some(triggers) = table.table("trigger") {
        for (kind, value) in triggers.entries() {
            if kind.value != "http" {
                refuse_trigger(&triggers, kind.value, kind.line);
                continue;
            }
            let Some(mut http) = triggers.entry(&kind, value) else { continue };
            http.hide("base");
            if let Some(base) = http.string("base").filter(|base| base.value != "/") {
                http.error(base.line, "a base path is not supported", "remove `base`, and write it in each route");
            }
            http.finish();
        }
    }
    if let Some(mut souk) = table.table("tool").and_then(|mut tool| tool.table("souk")) {
        if let Some(limits) = souk.table("limits") {
            read_limits(&limits, EdgeLimits::TABLE, |key, value| application.limits.set(key, value));
        }
        if let Some(variables) = souk.table("variables") {
            generated::read(&variables, declared);
        }
        if let Some(table) = souk.table("warnings") {
            warnings::read(&table, declared);
        }
        if let Some(mut test) = souk.table("test") {
            application.test = test.required_string("command", TEST_FIX).map(|command| command.value);
            test.finish();
        }
        souk.finish();
    }
    table.finish();
}

/// `targets` lists what Spin's tools check a component against.
pub(super) fn read_targets(table: &mut Table<'_, '_>) {
    let Some((line, value)) = table.value("targets") else { return };
    match value.get_ref() {
        DeValue::Array(_) => table.warning(line, "`targets` is for Spin's tools and is not checked", "none is needed"),
        other => table.mismatch("targets", line, "a list", other),
    }
}

/// Reads a table of limits into `set`, which takes a value that fits its limit.
pub(super) fn read_limits(table: &Table<'_, '_>, known: &[Limit], mut set: impl FnMut(&str, LimitValue)) {
    for (key, value) in table.entries() {
        let Some(limit) = known.iter().find(|limit| limit.key == key.value) else {
            let fix = match nearest(key.value, known.iter().map(|limit| limit.key)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "`souk doctor` lists the limits: {}",
                    known.iter().map(|l| l.key).collect::<Vec<_>>().join(", ")
                ),
            };
            table.error(key.line, format!("unknown limit `{}`", key.value), fix);
            continue;
        };
        let given = match value.get_ref() {
            DeValue::Integer(number) => {
                Given::Number(u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix()).ok())
            }
            DeValue::String(text) => Given::Text(text),
            other => {
                let message = format!("limit `{}` must not be of type {}", key.value, other.type_str());
                table.error(key.line, message, limit.fix());
                continue;
            }
        };
        match limit.read(given) {
            Ok(value) => set(key.value, value),
            Err(message) => table.error(key.line, message, limit.fix()),
        }
    }
}

fn refuse_trigger(table: &Table<'_, '_>, kind: &str, line: usize) {
    let fix = match nearest(kind, ["http"]) {
        Some(_) => "did you mean `http`?",
        None => "remove it; Souk has the `http` trigger, and `souk call` for everything else",
    };
    table.error(line, format!("trigger `{kind}` is not supported"), fix);
}

fn read_triggers(mut triggers: Table<'_, '_>, draft: &mut Draft, dir: &Path) {
    for (kind, _) in triggers.entries() {
        if kind.value != "http" {
            refuse_trigger(&triggers, kind.value, kind.line);
        }
    }
    let mut used: Vec<String> = Vec::new();
    let mut tables = Vec::new();
    // Given ids and the components' names first: made ids must differ from all given ones, and every message of a
    // trigger names its component.
    for mut table in triggers.tables("http") {
        let component = table.value("component");
        if let Some((_, value)) = component {
            table.component = value.get_ref().as_str();
        }
        let id = table.string("id");
        if let Some(id) = &id {
            if used.contains(&id.value) {
                let message = format!("two triggers have the id `{}`", id.value);
                table.error(id.line, message, "give each trigger an id of its own, or none");
            }
            used.push(id.value.clone());
        }
        tables.push((table, component, id));
    }
    for (mut table, component, id) in tables {
        let id = id.map_or_else(|| made_id(table.component, &used), |id| id.value);
        used.push(id.clone());

        let pattern = read_route(&mut table);
        read_executor(&mut table);
        let fix = "let a component answer, or remove the trigger";
        let has_static = table.value("static_response").is_some();
        table.refuse("static_response", "`static_response` is not supported", fix);
        table.refuse("components", "`components` of a trigger is reserved by Spin", "write `component = \"NAME\"`");
        let fix = "link components under [component.NAME.dependencies]";
        table.refuse("dependencies", "`dependencies` of a trigger is not supported", fix);

        let line = table.line;
        let name = match component.map(|(line, value)| (line, value.get_ref())) {
            None => {
                if !has_static {
                    table.error(line, "[[trigger.http]] has no `component`", "write `component = \"NAME\"`");
                }
                None
            }
            Some((at, DeValue::String(name))) => {
                let known = draft.application.components.keys().map(String::as_str);
                if draft.application.components.contains_key(name.as_ref()) {
                    Some(name.to_string())
                } else {
                    let fix = match nearest(name, known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("add [component.{name}], or name one that exists"),
                    };
                    table.error(at, format!("trigger for component `{name}`, which does not exist"), fix);
                    None
                }
            }
            Some((_, DeValue::Table(_))) => {
                let name = inline_name(&id, draft);
                if let Some(inline) = table.table("component") {
                    draft.add(component::read(inline, &name, dir, &draft.declared));
                }
                Some(name)
            }
            Some((at, other)) => {
                table.mismatch("component", at, "a component's name", other);
                None
            }
        };
        table.finish();
        if let (Some(pattern), Some(component)) = (pattern, name) {
            draft.application.routes.push(Route { id, pattern, component, line });
        }
    }
}

/// The id of a trigger that has none, as Spin makes it.
fn made_id(component: Option<&str>, used: &[String]) -> String {
    let natural = component.map(|name| format!("{name}-http-trigger")).filter(|id| !used.contains(id));
    let counted = || (1..).map(|n: usize| format!("http-trigger{n}")).find(|id| !used.contains(id));
    natural.or_else(counted).unwrap_or_default()
}

/// The name of a component that stands in its trigger, as Spin makes it.
fn inline_name(trigger: &str, draft: &Draft) -> String {
    let free = |name: &String| !draft.application.components.contains_key(name);
    let natural = Some(format!("{trigger}-component")).filter(|name| check_component(name).is_ok() && free(name));
    let counted = || (1..).map(|n: usize| format!("inline-component{n}")).find(free);
    natural.or_else(counted).unwrap_or_default()
}

/// The route: `Some(None)` for a private one, `None` when it is wrong.
fn read_route(table: &mut Table<'_, '_>) -> Option<Option<RoutePattern>> {
    const FIX: &str = "write `route = \"/...\"`, or `route = { private = true }`";
    let Some((line, value)) = table.value("route") else {
        table.error(table.line, "[[trigger.http]] has no `route`", FIX);
        return None;
    };
    match value.get_ref() {
        DeValue::String(text) => match RoutePattern::parse(text) {
            Ok(pattern) => {
                if pattern.is_reserved() {
                    let message = format!("route `{pattern}` is never reached: the host answers /.well-known/spin/");
                    table.warning(line, message, "choose another path");
                }
                Some(Some(pattern))
            }
            Err((message, fix)) => {
                table.error(line, message, fix);
                None
            }
        },
        DeValue::Table(_) => {
            let mut route = table.table("route")?;
            let private = route.boolean("private");
            if private.as_ref().is_some_and(|private| !private.value) || route.entries().is_empty() {
                route.error(line, "a route is a path or `{ private = true }`", FIX);
            }
            route.finish();
            private.filter(|private| private.value).map(|_| None)
        }
        other => {
            table.error(line, format!("`route` must be a string, and is of type {}", other.type_str()), FIX);
            None
        }
    }
}

fn read_executor(table: &mut Table<'_, '_>) {
    let Some(mut executor) = table.table("executor") else { return };
    let Some(kind) = executor.required_string("type", "write `executor = { type = \"http\" }`, or remove it") else {
        return;
    };
    match kind.value.as_str() {
        "http" | "spin" => executor.finish(),
        "wagi" => {
            let fix = "build the component for `wasi:http`, and remove `executor`";
            executor.error(kind.line, "executor `wagi` is not supported", fix);
        }
        other => {
            let fix = "remove `executor`: components answer by `wasi:http`";
            executor.error(kind.line, format!("executor `{other}` is unknown"), fix);
        }
    }
}
