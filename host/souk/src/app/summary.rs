//! The block that ends a start, and the same facts for `souk doctor`.

use super::App;
use souk_bindings::BINDINGS;
use souk_manifest::{Application, Component, NestPattern};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

impl App {
    /// Routes, components with their grants and links, state folder and time to start.
    pub fn summary(&self, url: &str, state: &Path, took: Duration) -> String {
        let mut text = describe(&self.application, url);
        let _ = writeln!(text, "State: {}", state.display());
        let _ = writeln!(text, "Serving {url} (started in {:.2} s)", took.as_secs_f64());
        text
    }
}

/// Routes, and components with their grants and links. Variables are named, never shown.
pub fn describe(application: &Application, url: &str) -> String {
    let mut text = format!("\n{} {}\n\nRoutes:\n", application.name, application.version);
    let width = application.routes.iter().filter_map(|r| r.pattern.as_ref()).map(|p| p.as_str().len()).max();
    for route in &application.routes {
        if let Some(pattern) = &route.pattern {
            let _ = writeln!(
                text,
                "  {url}{:width$}  {}{}",
                pattern.as_str(),
                route.component,
                place(application, &route.component),
                width = width.unwrap_or_default()
            );
        }
    }
    let private: Vec<&str> =
        application.routes.iter().filter(|r| r.pattern.is_none()).map(|r| r.component.as_str()).collect();
    if !private.is_empty() {
        let _ = writeln!(text, "  (private)  {}", private.join(", "));
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

/// What stands after the name of a component that does not run here, or not yet.
fn place(application: &Application, component: &str) -> &'static str {
    match application.runs_here(component) {
        false => " (on another host)",
        true if application.reachable().contains(component) => "",
        true => " (not loaded: nothing leads to it)",
    }
}

/// What a component may reach, one line a kind.
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
    list("remote", component.remote.iter().map(|r| r.name.to_string()).collect());
    list("durable", component.durable.iter().map(|d| d.name.to_string()).collect());
    let patterns = |patterns: &[NestPattern]| patterns.iter().map(|pattern| pattern.subject.clone()).collect();
    list("serves", patterns(&component.nest.serves));
    list("calls", patterns(&component.nest.calls));
    for binding in BINDINGS {
        list(binding.name, (binding.describe)(component));
    }
    lines
}
