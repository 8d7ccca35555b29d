//! A changed manifest, applied to the running application as far as that is possible.
//!
//! Variables, environment, allowed outbound hosts and most limits take effect when an instance is created. So new
//! instances get the new values and the old ones end their calls: for this, the same code briefly becomes a separate
//! version ([`limits`] lists which limits). Routes are replaced all at once, if all their components are already
//! running. A component that is missing from the new manifest takes no more calls, if only routes led to it. Everything
//! else is wired at start: a change of it is reported and waits for a restart. Nothing is applied if any part is wrong.

mod gone;
mod limits;

use super::super::App;
use super::super::routes::{Routing, check_routes};
use super::{DeployError, drained};
use serde::{Deserialize, Serialize};
use souk_manifest::{Application, Component as Declared, Diagnostic, ManifestErrors};
use souk_runtime::{Pool, VersionConfig};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

/// The result of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What was applied, one line each.
    pub applied: Vec<String>,
    /// What has changed but was not applied, one line each.
    pub left: Vec<String>,
}

/// The content of a part of the manifest, without its line numbers, which may shift.
fn text(part: &impl Debug) -> String {
    let text = format!("{part:?}");
    let mut parts = text.split("line: ");
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        without.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    without
}

/// The changed keys of a component that only a start applies.
fn left_of(old: &Declared, new: &Declared) -> Vec<&'static str> {
    let differ = |a: &dyn Debug, b: &dyn Debug| text(&a) != text(&b);
    let all: [(&str, &dyn Debug, &dyn Debug); 17] = [
        ("source", &old.source, &new.source),
        ("files", &old.files, &new.files),
        ("key_value_stores", &old.key_value_stores, &new.key_value_stores),
        ("sqlite_databases", &old.sqlite_databases, &new.sqlite_databases),
        ("dependencies", &old.dependencies, &new.dependencies),
        ("durable", &old.durable, &new.durable),
        ("remote", &old.remote, &new.remote),
        ("idempotent", &old.idempotent, &new.idempotent),
        ("nest", &old.nest, &new.nest),
        ("readiness", &old.ignored_for_readiness, &new.ignored_for_readiness),
        ("trace_arguments", &old.traces_arguments, &new.traces_arguments),
        ("record", &old.is_recorded, &new.is_recorded),
        ("migrations", &old.migrations, &new.migrations),
        ("retired", &old.retired, &new.retired),
        ("seed", &old.seed, &new.seed),
        ("database_url", &old.database, &new.database),
        ("build", &old.build, &new.build),
    ];
    all.into_iter().filter(|(_, old, new)| differ(old, new)).map(|(key, ..)| key).collect()
}

/// The changed keys of a component that a reload applies.
fn applied_of(old: &Declared, new: &Declared) -> Vec<String> {
    let all = [
        ("variables", old.variables != new.variables),
        ("environment", old.environment != new.environment),
        ("allowed_outbound_hosts", old.allowed_outbound_hosts != new.allowed_outbound_hosts),
        ("additive", old.additive != new.additive),
    ];
    let changed = all.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned());
    changed.chain(limits::changed(&old.limits, &new.limits)).collect()
}

/// The changes of the application itself, which only a start applies.
fn left_of_application(old: &Application, new: &Application) -> Vec<String> {
    let all: [(&str, &dyn Debug, &dyn Debug); 7] = [
        ("triggers of Redis", &old.redis_triggers, &new.redis_triggers),
        ("static folders", &old.static_folders, &new.static_folders),
        ("limits of the application", &old.limits, &new.limits),
        ("trusted_proxies", &old.trusted_proxies, &new.trusted_proxies),
        ("places of key-value stores", &old.key_value_places, &new.key_value_places),
        ("places of databases", &old.sqlite_paths, &new.sqlite_paths),
        ("admin_hosts", &old.admin_hosts, &new.admin_hosts),
    ];
    all.into_iter().filter(|(_, old, new)| text(old) != text(new)).map(|(what, ..)| what.to_owned()).collect()
}

impl App {
    /// Applies the changes in `new`, the current manifest.
    ///
    /// # Errors
    /// When something in it is wrong; then nothing has changed.
    pub async fn reload(self: &Arc<Self>, new: &Application) -> Result<Reloaded, DeployError> {
        let _turn = self.deployments.turn.lock().await;
        let mut done = Reloaded::default();
        let mut left = left_of_application(&self.application, new);
        let (routing, unknown, mut mistakes) = self.routing_of(new);
        left.extend(unknown);
        let names: BTreeSet<&String> = self.application.components.keys().chain(new.components.keys()).collect();
        let (mut ready, mut gone, mut back) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let (old, new_one) = match (self.application.components.get(name), new.components.get(name)) {
                (Some(old), Some(new)) => (old, new),
                (None, _) => {
                    left.push(format!("component `{name}`, which is new"));
                    continue;
                }
                (Some(old), None) => {
                    match self.may_go(old, new, routing.as_ref()) {
                        Ok(()) if self.is_gone(name) => {}
                        Ok(()) => gone.push(name.clone()),
                        Err(why) => left.push(format!(
                            "component `{name}`, which is no longer in the manifest, but \
                        {why}"
                        )),
                    }
                    continue;
                }
            };
            if self.is_gone(name) {
                back.push(name.clone());
            }
            let live = self.live_limits(&old.limits, &new_one.limits);
            let mut kept: Vec<String> = left_of(old, new_one).into_iter().map(str::to_owned).collect();
            kept.extend(limits::changed(&live, &new_one.limits));
            // Keys that a reload does not apply keep their old values, also in the component's grants.
            let given = Declared {
                variables: new_one.variables.clone(),
                environment: new_one.environment.clone(),
                allowed_outbound_hosts: new_one.allowed_outbound_hosts.clone(),
                additive: new_one.additive.clone(),
                limits: live,
                ..old.clone()
            };
            if !kept.is_empty() {
                left.push(format!("component `{name}`: {}", kept.join(", ")));
            }
            let pool = self.pools.get(name);
            let Some(pool) = pool.filter(|_| self.changed(name, old, &given)) else { continue };
            if self.deployments.trials.lock().contains_key(name) {
                let message =
                    format!("a new version of component `{name}` is being tried out\n  fix: wait for its end");
                return Err(DeployError::Refused(message));
            }
            match self.with_grants(&given, pool) {
                Ok((config, keys)) => ready.push((name.clone(), pool.clone(), config, keys)),
                Err(wrong) => mistakes.extend(wrong),
            }
        }
        let wrong = |errors| DeployError::Wrong { component: self.application.name.clone(), errors };
        ManifestErrors::check(mistakes).map_err(wrong)?;
        let mut versions = Vec::new();
        for (name, pool, config, keys) in ready {
            let version = pool.prepare(config).await.map_err(|error| {
                DeployError::Refused(format!(
                    "nothing was applied: {error}\n  fix: correct what the component is given"
                ))
            })?;
            versions.push((name, pool, version, keys));
        }
        for (name, pool, version, keys) in versions {
            drained(name.clone(), pool.promote(version));
            self.deployments.reloaded.lock().insert(name.clone(), keys.declared);
            done.applied.push(format!("component `{name}`: {}", keys.keys.join(", ")));
        }
        if let Some(routing) = routing {
            *self.routing.write() = Arc::new(routing);
            done.applied.push("triggers of HTTP".to_owned());
        }
        done.applied.extend(self.leave(gone, back));
        done.left = left.into_iter().map(|what| format!("{what}: applied by the next start")).collect();
        Ok(done)
    }

    /// The routes of `new`, if they differ and all their components run; otherwise the reason against it, and the
    /// mistakes.
    fn routing_of(&self, new: &Application) -> (Option<Routing>, Option<String>, Vec<Diagnostic>) {
        let old = self.routing();
        // The folders of static files stay those of the start.
        let new = Application { static_folders: self.application.static_folders.clone(), ..new.clone() };
        let routing = Routing::of(&new, &self.handlers, self.shared.boundaries());
        if text(&(&old.routes, &old.fixed)) == text(&(&routing.routes, &routing.fixed)) {
            return (None, None, Vec::new());
        }
        let names = new.routes.iter().flat_map(|route| route.middleware.iter().chain([&route.component]));
        let unknown: BTreeSet<&String> = names.filter(|name| !self.handlers.contains_key(*name)).collect();
        if let Some(name) = unknown.first() {
            return (
                None,
                Some(format!("triggers of HTTP, one of which leads to `{name}`, which does not run")),
                Vec::new(),
            );
        }
        let code = |(name, pool): (&String, &Arc<Pool>)| (name.clone(), pool.active().compiled().code.clone());
        let codes = self.pools.iter().map(code).collect();
        let mistakes = check_routes(self.engine.wasmtime(), &new, &new.routes, &codes);
        (Some(routing), None, mistakes)
    }

    /// Whether a key that a reload applies differs from the component's current value.
    fn changed(&self, name: &str, old: &Declared, new: &Declared) -> bool {
        let reloaded = self.deployments.reloaded.lock();
        !applied_of(reloaded.get(name).unwrap_or(old), new).is_empty()
    }

    /// The active code, linked again with the grants of `new`.
    fn with_grants(&self, new: &Declared, pool: &Arc<Pool>) -> Result<(VersionConfig, Changed), Vec<Diagnostic>> {
        let active = pool.active();
        let grants = self.shared.grant(new, &self.application, &self.state).map_err(|mistake| vec![mistake])?;
        let (compiled, mistakes) = self.link_version(new, active.compiled().code.clone());
        let mut compiled = compiled.filter(|_| mistakes.is_empty()).ok_or(mistakes)?;
        compiled.symbols.clone_from(&active.compiled().symbols);
        let reloaded = self.deployments.reloaded.lock();
        let old = reloaded.get(&new.name).or_else(|| self.application.components.get(&new.name));
        let keys = old.map(|old| applied_of(old, new)).unwrap_or_default();
        let id = active.id().clone();
        Ok((VersionConfig { id, compiled, grants: Arc::new(grants) }, Changed { keys, declared: new.clone() }))
    }
}

/// The changes of a component that a reload applies.
struct Changed {
    keys: Vec<String>,
    declared: Declared,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_manifest_are_no_difference() {
        #[derive(Debug)]
        struct Part {
            _name: &'static str,
            _line: usize,
        }
        assert_eq!(text(&Part { _name: "a", _line: 7 }), text(&Part { _name: "a", _line: 12 }));
        assert_ne!(text(&Part { _name: "a", _line: 7 }), text(&Part { _name: "b", _line: 7 }));
    }
}
