//! Components that the manifest lacks when it is read again.
//!
//! One to which nothing but routes led takes no more calls; its instances are idle then and give their memory back. When the
//! manifest has it again, it takes calls again. What a start has wired to it, such as links, deliveries, schedules, patterns,
//! channels or subjects on NATS, nothing takes back while the host runs: then the component stays until the next start.

use super::super::super::App;
use super::super::super::routes::Routing;
use souk_links::durable;
use souk_manifest::{Application, Component as Declared};

impl App {
    /// Whether the component is gone from the manifest since a reload, and takes no calls.
    pub fn is_gone(&self, component: &str) -> bool {
        self.deployments.gone.lock().contains(component)
    }

    /// What is said to whoever calls one that is gone.
    pub(crate) fn gone_text(&self, component: &str) -> String {
        format!(
            "component `{component}` is gone from the manifest since it was reloaded\n  fix: name another, or write it into the \
             manifest again and reload it"
        )
    }

    /// Whether a component may go which `new` lacks; otherwise what keeps it, as a part of a sentence.
    pub(super) fn may_go(&self, old: &Declared, new: &Application, routing: Option<&Routing>) -> Result<(), String> {
        let name = &old.name;
        let now = self.routing();
        let routes = routing.map_or(&now.routes, |routing| &routing.routes);
        if routes.iter().any(|route| route.component == *name || route.middleware.contains(name)) {
            return Err("has a route, as triggers of HTTP are left".to_owned());
        }
        let depends = |other: &&Declared| {
            new.components.contains_key(&other.name) && other.dependencies.iter().any(|one| one.component == *name)
        };
        if let Some(other) = self.application.here().find(depends) {
            return Err(format!("`{}` is linked to it", other.name));
        }
        if self.remote.is_some() {
            return Err("other hosts may call it".to_owned());
        }
        let receives =
            |name: &str| self.pools.get(name).is_some_and(|pool| durable::receives(&pool.active().compiled().exported));
        let in_channels = self.application.redis_triggers.iter().any(|trigger| trigger.component == *name);
        if receives(name) || in_channels || !old.schedules.is_empty() || !old.nest.serves.is_empty() {
            return Err("messages or schedules may call it".to_owned());
        }
        Ok(())
    }

    /// Lets components take no calls, and others take calls again. Returns what that changed.
    pub(super) fn leave(&self, gone: Vec<String>, back: Vec<String>) -> Vec<String> {
        let mut all = self.deployments.gone.lock();
        let mut lines = Vec::new();
        for name in gone {
            lines.push(format!("component `{name}`, which is gone, takes no more calls"));
            all.insert(name);
        }
        for name in back {
            lines.push(format!("component `{name}`, which is there again, takes calls"));
            all.remove(&name);
        }
        lines
    }
}
