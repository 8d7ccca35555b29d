//! `[[trigger.http]]` and `[[trigger.redis]]`, and errors for triggers that only Spin has.

use super::component;
use super::declared::Declared;
use super::dependencies;
use super::draft::{Draft, RedisDraft};
use super::names::{check_component, nearest};
use super::route::RoutePattern;
use super::static_response;
use super::table::{At, Table};
use super::{Route, StaticRoute, redis_trigger};
use std::collections::BTreeMap;
use std::path::Path;
use toml::Spanned;
use toml::de::DeValue;

/// The supported kinds of triggers.
pub(super) const KINDS: [&str; 2] = ["http", "redis"];

/// Refuses a trigger of another kind.
pub(super) fn refuse(table: &Table<'_, '_>, kind: &str, line: usize) {
    let fix = match nearest(kind, KINDS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "remove it; Souk has the triggers `http` and `redis`, and `souk call` for everything else".to_owned(),
    };
    table.error(line, format!("trigger `{kind}` is not supported"), fix);
}

/// A trigger's table, the value of its `component`, and its id.
type Opened<'a, 'i> = (Table<'a, 'i>, Option<(usize, &'a Spanned<DeValue<'i>>)>, String);

/// Reads all triggers; all routes begin with `base`.
pub(super) fn read(mut triggers: Table<'_, '_>, base: &str, draft: &mut Draft, dir: &Path) {
    for (kind, _) in triggers.entries() {
        if !KINDS.contains(&kind.value) {
            refuse(&triggers, kind.value, kind.line);
        }
    }
    let mut used = Vec::new();
    for opened in open(triggers.tables("http"), "http", &mut used) {
        read_http(opened, base, draft, dir);
    }
    for opened in open(triggers.tables("redis"), "redis", &mut used) {
        read_redis(opened, draft, dir);
    }
}

/// Gives every trigger its id. It first reads all given ids, because generated ids must differ from them, and the
/// components' names, because messages about a trigger name its component.
fn open<'a, 'i>(tables: Vec<Table<'a, 'i>>, kind: &str, used: &mut Vec<String>) -> Vec<Opened<'a, 'i>> {
    let mut opened = Vec::new();
    for mut table in tables {
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
        opened.push((table, component, id));
    }
    let named = opened.into_iter().map(|(table, component, id)| {
        let id = id.map_or_else(|| made_id(table.component, kind, used), |id| id.value);
        used.push(id.clone());
        (table, component, id)
    });
    named.collect()
}

fn read_http((mut table, component, id): Opened<'_, '_>, base: &str, draft: &mut Draft, dir: &Path) {
    let pattern = read_route(&mut table, base);
    read_executor(&mut table);
    table.refuse("components", "`components` of a trigger is reserved by Spin", "write `component = \"NAME\"`");
    let response = static_response::read(&mut table);
    let line = table.line;
    let middleware = table.table("dependencies").map(|dependencies| read_middleware(dependencies, dir));
    if let Some((at, response)) = response {
        if component.is_some() || middleware.is_some() {
            let what = if component.is_some() { "component" } else { "dependencies" };
            table.error(at, format!("a trigger has `static_response` and `{what}`"), "keep one of the two");
        }
        if matches!(pattern, Some(None)) {
            table.error(at, "a private route has a `static_response`", "give it a path, or name a component");
        }
        table.finish();
        if let (Some(Some(pattern)), Some(response)) = (pattern, response) {
            draft.application.static_routes.push(StaticRoute { id, pattern, response, line });
        }
        return;
    }
    let name = read_component(&mut table, component, &id, draft, dir);
    table.finish();
    if let (Some(pattern), Some(component)) = (pattern, name) {
        if let Some(middleware) = middleware.filter(|middleware| !middleware.is_empty()) {
            draft.middleware.push((draft.application.routes.len(), middleware));
        }
        draft.application.routes.push(Route { id, pattern, component, middleware: Vec::new(), reserved: false, line });
    }
}

fn read_redis((mut table, component, id): Opened<'_, '_>, draft: &mut Draft, dir: &Path) {
    table.refuse("components", "`components` of a trigger is reserved by Spin", "write `component = \"NAME\"`");
    let fix = "link the component under [component.NAME.dependencies]";
    table.refuse("dependencies", "`dependencies` of a Redis trigger is not supported", fix);
    let channel = redis_trigger::read_channel(&mut table, &draft.declared);
    let address = redis_trigger::read_address(&mut table, &draft.declared);
    let line = table.line;
    let name = read_component(&mut table, component, &id, draft, dir);
    table.finish();
    if let (Some(channel), Some(component)) = (channel, name) {
        draft.redis.push(RedisDraft { id, component, channel, address, line });
    }
}

/// The component of a trigger: a component of the application, or one that the trigger itself defines.
fn read_component<'a, 'i>(
    table: &mut Table<'a, 'i>,
    component: Option<(usize, &'a Spanned<DeValue<'i>>)>,
    id: &str,
    draft: &mut Draft,
    dir: &Path,
) -> Option<String> {
    match component.map(|(line, value)| (line, value.get_ref())) {
        None => {
            let message = format!("{} has no `component`", table.place);
            table.error(table.line, message, "write `component = \"NAME\"`");
            None
        }
        Some((at, DeValue::String(name))) => {
            let known = draft.application.components.keys().map(String::as_str);
            if draft.application.components.contains_key(name.as_ref()) {
                return Some(name.to_string());
            }
            let fix = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add [component.{name}], or name one that exists"),
            };
            table.error(at, format!("trigger for component `{name}`, which does not exist"), fix);
            None
        }
        Some((_, DeValue::Table(_))) => {
            let name = inline_name(id, draft);
            if let Some(inline) = table.table("component") {
                let declared: &BTreeMap<String, Declared> = &draft.declared;
                let read = component::read(inline, &name, dir, declared);
                draft.add(read);
            }
            Some(name)
        }
        Some((at, other)) => {
            table.mismatch("component", at, "a component's name", other);
            None
        }
    }
}

/// Reads `dependencies` of a trigger, whose only entry is `middleware`. A request passes them in this order.
fn read_middleware(mut table: Table<'_, '_>, dir: &Path) -> Vec<dependencies::Provider> {
    let mut middleware = Vec::new();
    const FIX: &str = "write `middleware = [{ component = \"NAME\" }]`";
    if let Some((line, value)) = table.value("middleware") {
        let DeValue::Array(entries) = value.get_ref() else {
            table.mismatch("middleware", line, "a list of tables", value.get_ref());
            return middleware;
        };
        for entry in entries.iter() {
            let line = table.line_of(&entry.span());
            let place = At { value: "middleware", line };
            if !entry.get_ref().is_table() {
                table.error(line, format!("an entry of `middleware` is of type {}", entry.get_ref().type_str()), FIX);
                continue;
            }
            let Some(mut entry) = table.entry(&place, entry) else { continue };
            let provider = dependencies::read_provider(&mut entry, "an entry of `middleware`", None, dir, false);
            if let Some(provider) = provider {
                entry.place = "an entry of `middleware`".to_owned();
                entry.finish();
                middleware.push(provider);
            }
        }
    }
    table.finish();
    middleware
}

/// A generated id for a trigger without one, as in Spin.
fn made_id(component: Option<&str>, kind: &str, used: &[String]) -> String {
    let natural = component.map(|name| format!("{name}-{kind}-trigger")).filter(|id| !used.contains(id));
    let counted = || (1..).map(|n: usize| format!("{kind}-trigger{n}")).find(|id| !used.contains(id));
    natural.or_else(counted).unwrap_or_default()
}

/// The generated name of a component that its trigger defines, as in Spin.
fn inline_name(trigger: &str, draft: &Draft) -> String {
    let free = |name: &String| !draft.application.components.contains_key(name);
    let natural = Some(format!("{trigger}-component")).filter(|name| check_component(name).is_ok() && free(name));
    let counted = || (1..).map(|n: usize| format!("inline-component{n}")).find(free);
    natural.or_else(counted).unwrap_or_default()
}

/// Reads the route: `Some(None)` for a private route, `None` if it is wrong.
fn read_route(table: &mut Table<'_, '_>, base: &str) -> Option<Option<RoutePattern>> {
    const FIX: &str = "write `route = \"/...\"`, or `route = { private = true }`";
    let Some((line, value)) = table.value("route") else {
        table.error(table.line, "[[trigger.http]] has no `route`", FIX);
        return None;
    };
    match value.get_ref() {
        DeValue::String(text) => match RoutePattern::parse(&below(base, text)) {
            Ok(pattern) => {
                if pattern.is_reserved() {
                    let message =
                        format!("route `{pattern}` is never reached: the host answers /.well-known/spin/ and /souk/");
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
            table.error(line, format!("`route` must be a string, but is of type {}", other.type_str()), FIX);
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
        // The component itself says which version of WASI it is for.
        "http" | "spin" | "wasip3-unstable" => executor.finish(),
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

/// `route` under the path `base`, which is usually `/`.
fn below(base: &str, route: &str) -> String {
    match base.trim_end_matches('/') {
        "" => route.to_owned(),
        base => format!("{base}/{}", route.trim_start_matches('/')),
    }
}
