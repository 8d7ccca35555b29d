//! Checks of the manifest as a whole: dangling names, cycles, routes that conflict, unused components.

use super::draft::Draft;
use super::names::{nearest, nearest_first};
use super::static_files;
use super::table::{At, File};
use super::{Application, Component, Dependency};
use std::collections::{BTreeMap, BTreeSet};

/// Runs all checks that need no values of variables.
pub(super) fn whole(draft: &Draft, file: File<'_>) {
    let application = &draft.application;
    let redis: Vec<String> = draft.redis.iter().map(|trigger| trigger.component.clone()).collect();
    dependencies(application, file);
    cycles(application, file);
    routes(application, file);
    static_files::check(application, file);
    patterns(application, file);
    unused(application, &redis, file);
}

fn dependencies(application: &Application, file: File<'_>) {
    for (component, dependency) in links(application) {
        let target = &dependency.component;
        let error = |message: String, fix: String| {
            file.report.error(file.diagnostic(Some(dependency.line), Some(&component.name), message, fix));
        };
        if *target == component.name {
            let fix = "remove the dependency: a component calls its own functions directly";
            error(format!("dependency `{}` is on the component itself", dependency.name), fix.to_owned());
        } else if !application.components.contains_key(target) {
            let others = application.components.keys().map(String::as_str).filter(|name| *name != component.name);
            let fix = match nearest(target, others) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add [component.{target}], or name one that exists"),
            };
            error(format!("dependency `{}` is on component `{target}`, which does not exist", dependency.name), fix);
        }
    }
}

fn links(application: &Application) -> impl Iterator<Item = (&Component, &Dependency)> {
    application.components.values().flat_map(|component| component.dependencies.iter().map(move |d| (component, d)))
}

/// Reports each cycle once, at the link that closes it. Links of a component to itself are reported elsewhere.
fn cycles(application: &Application, file: File<'_>) {
    let mut done = BTreeSet::new();
    for name in application.components.keys() {
        let mut path = Vec::new();
        visit(application, name, &mut path, &mut done, file);
    }
}

fn visit<'a>(
    application: &'a Application,
    name: &'a str,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    file: File<'_>,
) {
    let Some(component) = application.components.get(name).filter(|_| !done.contains(name)) else { return };
    path.push(name);
    let mut closed = BTreeSet::new();
    for dependency in component.dependencies.iter().filter(|dependency| dependency.component != name) {
        let target = dependency.component.as_str();
        let Some(start) = path.iter().position(|seen| *seen == target) else {
            visit(application, target, path, done, file);
            continue;
        };
        if closed.insert(target) {
            let cycle: Vec<_> = path.iter().skip(start).chain([&target]).copied().collect();
            let message = format!("the links form a cycle: {}", cycle.join(" -> "));
            let fix = "remove one of these links: two components that call each other would wait for each other";
            file.report.error(file.diagnostic(Some(dependency.line), Some(name), message, fix));
        }
    }
    path.pop();
    done.insert(name);
}

fn routes(application: &Application, file: File<'_>) {
    let components = application.routes.iter().filter_map(|route| {
        Some((
            route.line,
            route.pattern.as_ref()?,
            format!("of component `{}` ", route.component),
            Some(&route.component),
        ))
    });
    let fixed = application.static_routes.iter().map(|route| (route.line, &route.pattern, String::new(), None));
    let mut all: Vec<_> = components.chain(fixed).collect();
    all.sort_by_key(|(line, ..)| *line);
    for (i, (line, pattern, _, component)) in all.iter().enumerate() {
        let mut earlier = all.iter().take(i);
        if let Some((other_line, other, whose, _)) = earlier.find(|(_, other, ..)| other.same_shape(pattern)) {
            let message = format!("route `{pattern}` is for the same paths as `{other}` {whose}in line {other_line}");
            let fix = "remove one of the two triggers, or change its route";
            file.report.error(file.diagnostic(Some(*line), component.map(String::as_str), message, fix));
        }
    }
    for route in &application.routes {
        for name in route.middleware.iter().filter(|name| !application.components.contains_key(*name)) {
            let known = application.components.keys().map(String::as_str).filter(|known| *known != route.component);
            let fix = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add [component.{name}], or name one that exists"),
            };
            let message = format!("middleware `{name}` does not exist");
            file.report.error(file.diagnostic(Some(route.line), Some(&route.component), message, fix));
        }
        if route.middleware.contains(&route.component) {
            let message = format!("`{}` is its own middleware", route.component);
            let fix = "name another component, or none: a request would never reach the component";
            file.report.error(file.diagnostic(Some(route.line), Some(&route.component), message, fix));
        }
    }
    for route in application.routes.iter().filter(|route| route.pattern.is_none()) {
        let public = |other: &&super::Route| other.component == route.component && other.pattern.is_some();
        if let Some(other) = application.routes.iter().find(public) {
            let message = format!("the route is private, but line {} makes the component public", other.line);
            let fix = "remove one of the two triggers";
            file.report.warning(file.diagnostic(Some(route.line), Some(&route.component), message, fix));
        }
    }
}

/// Checks that only one component answers each pattern of a NestJS system, and only one kind of link each import.
fn patterns(application: &Application, file: File<'_>) {
    let mut served: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for component in application.components.values() {
        for pattern in &component.nest.serves {
            if let Some((other, line)) = served.insert(&pattern.subject, (&component.name, pattern.line)) {
                let message = format!("the pattern `{}` is served by `{other}` in line {line} too", pattern.subject);
                let fix = "keep one of the two: each message is for one component";
                file.report.error(file.diagnostic(Some(pattern.line), Some(&component.name), message, fix));
            }
        }
    }
    for component in application.components.values() {
        for pattern in &component.nest.calls {
            let interface = &pattern.interface;
            let (message, fix) = if let Some((other, line)) = served.get(pattern.subject.as_str()) {
                (
                    format!("the pattern `{}` is one that `{other}` serves, in line {line}", pattern.subject),
                    format!("make `{other}` a dependency, or remove the pattern from `calls`"),
                )
            } else if component.dependencies.iter().any(|dependency| dependency.name.overlaps(interface)) {
                (
                    format!("`{interface}` is in `calls` of a NestJS system and in the dependencies"),
                    "keep one of the two: either a component answers it, or a Nest service".to_owned(),
                )
            } else {
                continue;
            };
            file.report.error(file.diagnostic(Some(pattern.line), Some(&component.name), message, fix));
        }
    }
}

/// Warns of components that no trigger and no dependency leads to.
fn unused(application: &Application, redis: &[String], file: File<'_>) {
    let routed = application.routes.iter().flat_map(|route| route.middleware.iter().chain([&route.component]));
    let linked = links(application).map(|(_, dependency)| &dependency.component);
    let serving = application.components.values().filter(|component| !component.nest.serves.is_empty());
    let serving = serving.map(|component| &component.name);
    let copied = application.components.values().filter_map(|component| component.copy_of.as_ref());
    let used: BTreeSet<_> = routed.chain(linked).chain(serving).chain(copied).chain(redis).collect();
    for component in application.components.values().filter(|component| !used.contains(&component.name)) {
        let message = "no trigger and no dependency leads to the component";
        let fix = "add a trigger or a dependency on it, or remove it; `souk call` reaches it either way";
        file.report.warning(file.diagnostic(Some(component.line), Some(&component.name), message, fix));
    }
    let answers = application.components.values().any(|component| !component.nest.serves.is_empty());
    let is_public = !application.static_routes.is_empty()
        || !application.static_folders.is_empty()
        || application.routes.iter().any(|route| route.pattern.is_some());
    if !answers && redis.is_empty() && !is_public {
        let message = "no route is public: the host will answer no HTTP request";
        file.report.warning(file.diagnostic(None, None, message, "add a [[trigger.http]] with a route"));
    }
}

/// Warns of labels in the runtime configuration that no component may open.
pub(super) fn labels(application: &Application, labels: &[(&'static str, At<String>)], config: File<'_>) {
    for (table, label) in labels {
        let granted = |component: &Component| match *table {
            "sqlite_database" => component.sqlite_databases.contains(&label.value),
            _ => component.key_value_stores.contains(&label.value),
        };
        if !application.components.values().any(granted) {
            let message = format!("[{table}.{}] is granted to no component", label.value);
            let fix = other_label(application, table, &label.value);
            config.report.warning(config.diagnostic(Some(label.line), None, message, fix));
        }
    }
}

/// What fixes a label that no component has: those that components have, the most similar first.
fn other_label(application: &Application, table: &str, label: &str) -> String {
    let key = if table == "sqlite_database" { "sqlite_databases" } else { "key_value_stores" };
    let mut granted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for component in application.components.values() {
        let labels = if key == "sqlite_databases" { &component.sqlite_databases } else { &component.key_value_stores };
        labels.iter().for_each(|label| granted.entry(label).or_default().push(&component.name));
    }
    let add = format!("add `{label}` to a component's `{key}`, or remove the table");
    let shown = |known: &str| {
        let components = granted.get(known).map(|components| components.join("`, `")).unwrap_or_default();
        format!("`{known}` (of `{components}`)")
    };
    let known = || granted.keys().copied();
    let all = nearest_first(label, known()).into_iter().map(shown).collect::<Vec<_>>().join(", ");
    match nearest(label, known()) {
        Some(near) => format!("did you mean `{near}`? Labels in `{key}` are {all}. Otherwise {add}"),
        None if granted.is_empty() => add,
        None => format!("name a label in `{key}`, {all}; or {add}"),
    }
}

/// Refuses build folders that do not exist. Only a build needs them: an application can run from built files alone.
pub(super) fn build_folders(application: &Application, file: File<'_>) {
    let builds: BTreeMap<_, _> =
        application.components.values().filter_map(|c| Some((&c.name, (c.line, &c.build.as_ref()?.workdir)))).collect();
    for (name, (line, workdir)) in builds.into_iter().filter(|(_, (_, workdir))| !workdir.is_dir()) {
        let shown = workdir.strip_prefix(&application.dir).unwrap_or(workdir).display();
        let message = format!("the build's folder `{shown}` does not exist");
        let fix = "correct `workdir`, which is relative to the manifest's folder";
        file.report.error(file.diagnostic(Some(line), Some(name), message, fix));
    }
}
