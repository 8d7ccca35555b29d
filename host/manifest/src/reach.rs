//! Finds the components that a trigger or a schedule leads to. Any other component serves only `souk call`, so a host does
//! not load it at its start.

use super::{Application, Component};
use std::collections::BTreeSet;

impl Application {
    /// The components that a trigger, its middleware, a schedule or a table of Nest leads to, directly or through
    /// dependencies (including durable and remote ones) and requests to `NAME.spin.internal`. In an application without
    /// any of these, which is for `souk call`, all components.
    pub fn reachable(&self) -> BTreeSet<String> {
        let serving = self.components.values().filter(|component| !component.nest.serves.is_empty());
        let routed = self.routes.iter().flat_map(|route| route.middleware.iter().chain([&route.component]));
        let redis = self.redis_triggers.iter().map(|trigger| &trigger.component);
        let scheduled = self.components.values().filter(|component| !component.schedules.is_empty());
        let roots = routed.chain(redis).chain(serving.chain(scheduled).map(|component| &component.name));
        let found = self.led_to(roots.map(String::as_str));
        if found.is_empty() { self.components.keys().cloned().collect() } else { found }
    }

    /// The components `roots` and all components that they lead to.
    pub fn led_to<'n>(&'n self, roots: impl Iterator<Item = &'n str>) -> BTreeSet<String> {
        let (mut found, mut next): (BTreeSet<String>, Vec<&str>) = (BTreeSet::new(), roots.collect());
        while let Some(component) = next.pop().and_then(|name| self.components.get(name)) {
            if !found.insert(component.name.clone()) {
                continue;
            }
            next.extend(self.leads_to(component));
        }
        found
    }

    /// The components that a call of `component` by hand needs: those that it leads to, and those whose migrations make
    /// the tables of the same SQLite databases. Empty when there is no such component.
    pub fn needed_for_call(&self, component: &str) -> BTreeSet<String> {
        let mut needed = self.led_to([component].into_iter());
        loop {
            let opens = |label: &String| {
                let mut opened = needed.iter().filter_map(|name| self.components.get(name));
                opened.any(|component| component.sqlite_databases.contains(label))
            };
            let owners = self.components.values().filter(|component| component.migrations.is_some());
            let owners = owners.filter(|component| component.sqlite_databases.iter().any(opens));
            let more = self.led_to(owners.map(|component| component.name.as_str()));
            if more.is_subset(&needed) {
                return needed;
            }
            needed.extend(more);
        }
    }

    /// The components that the application's routes need. Components with `readiness = "ignore"`, and those that only
    /// they lead to, are left out. Without routes and tables of Nest, all components of this host.
    pub fn needed_to_be_ready(&self) -> BTreeSet<String> {
        let public = self.routes.iter().filter(|route| route.pattern.is_some());
        let routes = public.flat_map(|route| route.middleware.iter().chain([&route.component]));
        let redis = self.redis_triggers.iter().map(|trigger| &trigger.component);
        let serving = self.components.values().filter(|component| !component.nest.serves.is_empty());
        let mut roots: Vec<&String> = routes.chain(redis).chain(serving.map(|component| &component.name)).collect();
        if roots.is_empty() {
            roots = self.here().map(|component| &component.name).collect();
        }
        let counts = |name: &&str| self.components.get(*name).is_some_and(|c| !c.ignored_for_readiness);
        let roots: Vec<&str> = roots.into_iter().map(String::as_str).filter(counts).collect();
        let (mut found, mut next) = (BTreeSet::new(), roots);
        while let Some(component) = next.pop().and_then(|name| self.components.get(name)) {
            if found.insert(component.name.clone()) {
                next.extend(self.leads_to(component).filter(counts));
            }
        }
        found
    }

    /// The components that `component` calls, through links or internal requests.
    fn leads_to<'n>(&'n self, component: &'n Component) -> impl Iterator<Item = &'n str> {
        let links = component.dependencies.iter().map(|dependency| dependency.component.as_str());
        let hosts = &component.allowed_outbound_hosts;
        let inside = self.components.keys().filter(|name| {
            hosts.iter().any(|host| host.allows_internal("http", name) || host.allows_internal("https", name))
        });
        links.chain(inside.map(String::as_str))
    }

    /// The application, of which only the components in `names` run here.
    pub fn restricted_to(&self, names: &BTreeSet<String>) -> Application {
        let here = self.here().map(|component| &component.name).filter(|name| names.contains(*name));
        Application { only: Some(here.cloned().collect()), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{HEAD, app};

    #[test]
    fn a_component_that_readiness_ignores_is_left_out_with_what_only_it_leads_to() {
        let component = |name: &str, more: &str| format!("[component.{name}]\nsource = \"x.wasm\"\n{more}");
        let links =
            "dependencies = { \"a:b/c\" = { component = \"ignored\" }, \"a:b/d\" = { component = \"both\" } }\n";
        let on = "dependencies = { \"a:b/c\" = { component = \"deep\" }, \"a:b/d\" = { component = \"both\" } }\n";
        let components = [
            component("web", links),
            component("ignored", &format!("{on}tool.souk.readiness = \"ignore\"\n")),
            component("deep", ""),
            component("both", ""),
            component("private", ""),
        ]
        .concat();
        let trigger = |route: &str, to: &str| format!("[[trigger.http]]\nroute = {route}\ncomponent = \"{to}\"\n");
        let triggers = trigger("\"/...\"", "web") + &trigger("{ private = true }", "private");
        let loaded = app(&format!("{HEAD}{triggers}{components}")).load().application;
        assert_eq!(loaded.needed_to_be_ready().into_iter().collect::<Vec<_>>(), ["both", "web"]);
        let without = app(&format!("{HEAD}{components}")).load().application;
        assert_eq!(without.needed_to_be_ready().into_iter().collect::<Vec<_>>(), ["both", "deep", "private", "web"]);
    }

    #[test]
    fn targets_of_triggers_dependencies_and_internal_requests_are_reachable() {
        let component = |name: &str, more: &str| format!("[component.{name}]\nsource = \"x.wasm\"\n{more}");
        let link = |to: &str| format!("dependencies = {{ \"a:b/c\" = {{ component = \"{to}\" }} }}\n");
        let components = [
            component("web", &(link("linked") + "allowed_outbound_hosts = [\"http://asked.spin.internal\"]\n")),
            component("linked", &link("deep")),
            component("deep", ""),
            component("asked", ""),
            component("alone", &link("spare")),
            component("spare", ""),
        ]
        .concat();
        let trigger = "[[trigger.http]]\nroute = { private = true }\ncomponent = \"web\"\n";
        let loaded = app(&format!("{HEAD}{trigger}{components}")).load().application;
        assert_eq!(loaded.reachable().into_iter().collect::<Vec<_>>(), ["asked", "deep", "linked", "web"]);
        assert_eq!(loaded.led_to(["alone"].into_iter()).into_iter().collect::<Vec<_>>(), ["alone", "spare"]);
        let part = loaded.restricted_to(&loaded.reachable());
        assert!(part.runs_here("deep") && !part.runs_here("alone") && part.components.contains_key("alone"));
        let without = app(&format!("{HEAD}{components}")).load().application;
        assert_eq!(without.reachable().len(), 6);
    }

    #[test]
    fn a_call_needs_what_the_component_leads_to_and_who_makes_the_tables_of_its_databases() {
        let component = |name: &str, more: &str| format!("[component.{name}]\nsource = \"x.wasm\"\n{more}");
        let link = |to: &str| format!("dependencies = {{ \"a:b/c\" = {{ component = \"{to}\" }} }}\n");
        let database = |label: &str| format!("sqlite_databases = [\"{label}\"]\n");
        let migrations =
            |label: &str| format!("tool.souk.migrations = \".\"\ntool.souk.database_url = \"sqlite:{label}\"\n");
        let components = [
            component("web", &link("reader")),
            component("reader", &database("rows")),
            component("owner", &(link("helper") + &database("rows") + &migrations("rows"))),
            component("helper", ""),
            component("second-reader", &database("rows")),
            component("other", &(database("others") + &migrations("others"))),
        ]
        .concat();
        let loaded = app(&format!("{HEAD}{components}")).load().application;
        let needed = |name: &str| loaded.needed_for_call(name).into_iter().collect::<Vec<_>>();
        assert_eq!(needed("web"), ["helper", "owner", "reader", "web"]);
        assert_eq!(needed("helper"), ["helper"]);
        assert_eq!(needed("other"), ["other"]);
        assert!(needed("nobody").is_empty());
    }
}
