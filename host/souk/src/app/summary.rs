//! The block of text that ends a start, and the same facts for `souk doctor`.

use super::App;
use souk_bindings::BINDINGS;
use souk_manifest::{Application, Component, NestPattern};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

impl App {
    /// The routes, the components with their grants and links, the state folder and the start-up time.
    pub fn summary(&self, url: &str, state: &Path, took: Duration) -> String {
        let mut text = describe(&self.application(), url);
        let _ = writeln!(text, "State: {}", state.display());
        let _ = writeln!(text, "Serving {url} (started in {:.2} s)", took.as_secs_f64());
        text
    }
}

/// Routes, and components with their grants and links. Variables appear by name only, never with their values.
pub fn describe(application: &Application, url: &str) -> String {
    let mut text = format!("\n{} {}\n\nRoutes:\n", application.name, application.version);
    let routed = application.routes.iter().filter_map(|route| {
        let through = route.middleware.iter().map(|name| format!("{name} -> ")).collect::<String>();
        let component = &route.component;
        Some((route.pattern.as_ref()?.as_str(), format!("{through}{component}{}", place(application, component))))
    });
    let fixed = application
        .static_routes
        .iter()
        .map(|route| (route.pattern.as_str(), format!("answers {} itself", route.response.status.as_u16())));
    let dir = application.dir.canonicalize().unwrap_or_else(|_| application.dir.clone());
    let files = application.static_folders.iter().map(|files| {
        let folder = files.folder.strip_prefix(&dir).unwrap_or(&files.folder).display();
        (files.pattern.as_str(), format!("files in {folder}"))
    });
    let routes: Vec<_> = routed.chain(fixed).chain(files).collect();
    let width = routes.iter().map(|(path, _)| path.len()).max().unwrap_or_default();
    for (path, leads) in routes {
        let _ = writeln!(text, "  {url}{path:width$}  {leads}");
    }
    let private: Vec<&str> =
        application.routes.iter().filter(|r| r.pattern.is_none()).map(|r| r.component.as_str()).collect();
    if !private.is_empty() {
        let _ = writeln!(text, "  (private)  {}", private.join(", "));
    }
    if !application.redis_triggers.is_empty() {
        text.push_str("\nRedis channels:\n");
    }
    for trigger in &application.redis_triggers {
        let (component, place) = (&trigger.component, place(application, &trigger.component));
        let _ = writeln!(text, "  {} of {}  {component}{place}", trigger.channel, trigger.address);
    }
    text.push_str("\nComponents:\n");
    for component in application.components.values() {
        let _ = writeln!(text, "  {}{}", component.name, place(application, &component.name));
        if application.runs_here(&component.name) {
            for line in grants(application, component) {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    for (name, variable) in &application.off {
        let _ = writeln!(text, "  {name}: off, because `{variable}` is set");
    }
    text.push('\n');
    text
}

/// The remark after the name of a component that does not run here or is not loaded.
fn place(application: &Application, component: &str) -> &'static str {
    match application.runs_here(component) {
        false => " (on another host)",
        true if application.reachable().contains(component) => "",
        true => " (not loaded: nothing leads to it)",
    }
}

/// What a component may reach, one line per kind.
fn grants(application: &Application, component: &Component) -> Vec<String> {
    let mut lines = Vec::new();
    for dependency in &component.dependencies {
        let target = &dependency.component;
        lines.push(format!("link      {} -> {target}{}", dependency.name, place(application, target)));
    }
    let mut list = |kind: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(format!("{kind:<9} {}", items.join(", ")));
        }
    };
    list("from", component.download.iter().map(ToString::to_string).collect());
    list("remote", component.remote.iter().map(|r| r.name.to_string()).collect());
    list("durable", component.durable.iter().map(|d| d.name.to_string()).collect());
    list("schedule", component.schedules.iter().map(|s| format!("{} ({})", s.name, s.timetable)).collect());
    let patterns = |patterns: &[NestPattern]| patterns.iter().map(|pattern| pattern.subject.clone()).collect();
    list("serves", patterns(&component.nest.serves));
    list("calls", patterns(&component.nest.calls));
    for binding in BINDINGS {
        list(binding.name, (binding.describe)(component));
    }
    lines
}
