//! Components that are missing when the manifest is read again.
//!
//! A component to which only routes led takes no more calls; its instances become idle and release their memory. When
//! it is in the manifest again, it takes calls again. A start also wires links, deliveries, schedules, patterns,
//! channels and NATS subjects to a component, and none of these can be undone while the host runs: then the component
//! stays until the next start.

use super::super::super::App;
use super::super::super::routes::Routing;
use souk_links::durable;
use souk_manifest::{Application, Component as Declared};

impl App {
    /// Whether a reload has removed the component, so that it takes no calls.
    pub fn is_gone(&self, component: &str) -> bool {
        self.deployments.gone.lock().contains(component)
    }

    /// The message for a caller of a removed component.
    pub(crate) fn gone_text(&self, component: &str) -> String {
        format!(
            "component `{component}` is missing in the manifest since it was reloaded\n  fix: name another, or add it \
             to the manifest again and reload it"
        )
    }

    /// Whether a component that `new` lacks may be removed; otherwise the reason, as a part of a sentence.
    pub(super) fn may_go(&self, old: &Declared, new: &Application, routing: Option<&Routing>) -> Result<(), String> {
        let name = &old.name;
        let now = self.routing();
        let routes = routing.map_or(&now.routes, |routing| &routing.routes);
        if routes.iter().any(|route| route.component == *name || route.middleware.contains(name)) {
            return Err("its route stays, because the changed HTTP triggers are not applied".to_owned());
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

    /// Stops calls to the components in `gone`, and allows calls to those in `back`. Returns a line for each change.
    pub(super) fn leave(&self, gone: Vec<String>, back: Vec<String>) -> Vec<String> {
        let mut all = self.deployments.gone.lock();
        let mut lines = Vec::new();
        for name in gone {
            lines.push(format!("component `{name}`, which is no longer in the manifest, takes no more calls"));
            all.insert(name);
        }
        for name in back {
            lines.push(format!("component `{name}`, which is in the manifest again, takes calls"));
            all.remove(&name);
        }
        lines
    }
}
