//! Which components something leads to. One that nothing leads to serves nobody but `souk call`, so a host does not load
//! it at its start, where it could only be in the way.

use super::Application;
use std::collections::BTreeSet;

impl Application {
    /// The components that a trigger (as what answers, or as middleware) or a table of Nest leads to, by dependencies (durable and remote ones too) and by
    /// requests to `NAME.spin.internal`. In an application without triggers, which is there for `souk call`, all of them.
    pub fn reachable(&self) -> BTreeSet<String> {
        let serving = self.components.values().filter(|component| !component.nest.serves.is_empty());
        let routed = self.routes.iter().flat_map(|route| route.middleware.iter().chain([&route.component]));
        let redis = self.redis_triggers.iter().map(|trigger| &trigger.component);
        let roots = routed.chain(redis).chain(serving.map(|component| &component.name));
        let found = self.led_to(roots.map(String::as_str));
        if found.is_empty() { self.components.keys().cloned().collect() } else { found }
    }

    /// The components `roots`, and those that they lead to.
    pub fn led_to<'n>(&'n self, roots: impl Iterator<Item = &'n str>) -> BTreeSet<String> {
        let (mut found, mut next): (BTreeSet<String>, Vec<&str>) = (BTreeSet::new(), roots.collect());
        while let Some(component) = next.pop().and_then(|name| self.components.get(name)) {
            if !found.insert(component.name.clone()) {
                continue;
            }
            next.extend(component.dependencies.iter().map(|dependency| dependency.component.as_str()));
            let hosts = &component.allowed_outbound_hosts;
            let inside = self.components.keys().filter(|name| {
                hosts.iter().any(|host| host.allows_internal("http", name) || host.allows_internal("https", name))
            });
            next.extend(inside.map(String::as_str));
        }
        found
    }

    /// The application with only those components running here that are among `names`.
    pub fn restricted_to(&self, names: &BTreeSet<String>) -> Application {
        let here = self.here().map(|component| &component.name).filter(|name| names.contains(*name));
        Application { only: Some(here.cloned().collect()), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{HEAD, app};

    #[test]
    fn what_a_trigger_a_dependency_or_a_request_inside_leads_to_is_reachable() {
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
}
