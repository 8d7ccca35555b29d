//! What of a changed manifest a reload puts in force, and what it leaves to the next start.

use super::limits;
use souk_manifest::{Application, Component as Declared, RedisUrl};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// A manifest in which what a reload cannot apply is as before.
pub(super) struct Merged {
    pub(super) application: Application,
    /// The keys that change, by component.
    pub(super) changed: BTreeMap<String, Vec<String>>,
    /// The components whose code is linked again.
    pub(super) relinked: BTreeSet<String>,
    /// Those of them that are linked again because of a component that they call.
    callers: BTreeSet<String>,
    /// The components that may have migrations that have not run.
    pub(super) migrated: BTreeSet<String>,
    /// The parts of the application that change, besides components.
    pub(super) parts: Vec<&'static str>,
    /// The changes that are left, one line each.
    pub(super) left: Vec<String>,
    components_changed: bool,
}

impl Merged {
    /// Whether a reload has nothing to report.
    pub(super) fn is_same(&self) -> bool {
        !self.components_changed && self.changed.is_empty() && self.parts.is_empty()
    }

    /// Leaves a change of a component after all.
    pub(super) fn keep(&mut self, component: &str, key: &str) {
        if let Some(keys) = self.changed.get_mut(component) {
            keys.retain(|changed| changed != key);
            if keys.is_empty() {
                self.changed.remove(component);
                if !self.callers.contains(component) {
                    self.relinked.remove(component);
                }
            }
        }
        self.left.push(left(&format!("component `{component}`: {key}")));
    }
}

/// The line of a change that is left.
fn left(what: &str) -> String {
    format!("{what}: applied by the next start")
}

/// The content of a part of the manifest, without its line numbers, which may shift.
pub(super) fn text(part: &impl Debug) -> String {
    let (mut without, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    for c in format!("{part:?}").chars() {
        // A text may contain what looks like a field, such as the body of a static answer.
        if !is_quoted && c.is_ascii_digit() && without.ends_with(" line: ") {
            continue;
        }
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = is_quoted && c == '\\' && !is_escaped;
        without.push(c);
    }
    without
}

fn differ(old: &impl Debug, new: &impl Debug) -> bool {
    text(old) != text(new)
}

/// How a changed key of a component is applied.
#[derive(PartialEq, Eq)]
enum How {
    /// The code is linked again, with new grants.
    Relinked,
    /// What the component's callers know of it.
    Callers,
    /// Only what the host itself does changes.
    Host,
}

/// The keys of a component that change, besides its limits.
fn keys(old: &Declared, new: &Declared) -> Vec<(&'static str, How)> {
    let all = [
        ("source", old.source != new.source, How::Host),
        ("variables", old.variables != new.variables, How::Relinked),
        ("environment", old.environment != new.environment, How::Relinked),
        ("allowed_outbound_hosts", old.allowed_outbound_hosts != new.allowed_outbound_hosts, How::Relinked),
        ("files", differ(&old.files, &new.files), How::Relinked),
        ("key_value_stores", old.key_value_stores != new.key_value_stores, How::Relinked),
        ("sqlite_databases", old.sqlite_databases != new.sqlite_databases, How::Relinked),
        ("dependencies", differ(&old.dependencies, &new.dependencies), How::Relinked),
        ("durable", differ(&old.durable, &new.durable), How::Relinked),
        ("remote", differ(&old.remote, &new.remote), How::Relinked),
        ("idempotent", differ(&old.idempotent, &new.idempotent), How::Callers),
        ("schedules", differ(&old.schedules, &new.schedules), How::Host),
        ("nest", differ(&old.nest.calls, &new.nest.calls), How::Relinked),
        ("nest", differ(&old.nest.serves, &new.nest.serves), How::Host),
        ("readiness", old.ignored_for_readiness != new.ignored_for_readiness, How::Host),
        ("trace_arguments", old.traces_arguments != new.traces_arguments, How::Relinked),
        ("record", old.is_recorded != new.is_recorded, How::Relinked),
        ("migrations", old.migrations != new.migrations, How::Host),
        ("retired", old.retired != new.retired, How::Host),
        ("additive", old.additive != new.additive, How::Host),
        ("seed", old.seed != new.seed, How::Host),
    ];
    all.into_iter().filter(|(_, changed, _)| *changed).map(|(key, _, how)| (key, how)).collect()
}

/// Compares a component's declarations; returns the one in force.
fn component(merged: &mut Merged, old: &Declared, new: &Declared) -> Declared {
    let mut now = Declared { limits: limits::live(&old.limits, &new.limits), ..new.clone() };
    let (name, mut kept) = (&old.name, limits::changed(&now.limits, &new.limits));
    if differ(&old.database, &new.database) {
        // The data stays where it is; so does what belongs to it, and what leads the component to it: mostly a variable
        // with the same URL, and the grant for its host.
        let of_it = [
            ("variables", old.variables != new.variables),
            ("allowed_outbound_hosts", old.allowed_outbound_hosts != new.allowed_outbound_hosts),
            ("sqlite_databases", old.sqlite_databases != new.sqlite_databases),
        ];
        let of_it: Vec<&str> = of_it.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
        let with_it = if of_it.is_empty() { String::new() } else { format!(", and with it {}", of_it.join(", ")) };
        kept.insert(0, format!("database_url{with_it}"));
        now.database.clone_from(&old.database);
        now.variables.clone_from(&old.variables);
        now.allowed_outbound_hosts.clone_from(&old.allowed_outbound_hosts);
        now.sqlite_databases.clone_from(&old.sqlite_databases);
        now.migrations.clone_from(&old.migrations);
        now.retired.clone_from(&old.retired);
        now.additive.clone_from(&old.additive);
        now.seed.clone_from(&old.seed);
    }
    if !kept.is_empty() {
        merged.left.push(left(&format!("component `{name}`: {}", kept.join(", "))));
    }
    let mut changed = Vec::new();
    for (key, how) in keys(old, &now) {
        match key {
            "source" => {
                let run = format!("component `{name}`: the code at its new `source`: run by `souk deploy {name}`");
                merged.left.push(format!("{run} or the next start"));
                continue;
            }
            "migrations" => drop(merged.migrated.insert(name.clone())),
            _ => {}
        }
        if how == How::Relinked {
            merged.relinked.insert(name.clone());
        }
        if changed.last().is_none_or(|last| last != key) {
            changed.push(key.to_owned());
        }
    }
    let of_limits = limits::changed(&old.limits, &now.limits);
    if !of_limits.is_empty() {
        merged.relinked.insert(name.clone());
        changed.extend(of_limits);
    }
    if !changed.is_empty() {
        merged.changed.insert(name.clone(), changed);
    }
    now
}

/// The keys of the application that only a start applies; their old values stay.
fn application(merged: &mut Merged, old: &Application, new: &Application) {
    let all: [(&str, bool); 5] = [
        ("the application's name or version", (&old.name, &old.version) != (&new.name, &new.version)),
        ("limits of the application", differ(&old.limits, &new.limits)),
        ("trusted_proxies", old.trusted_proxies != new.trusted_proxies),
        ("the connection to NATS", old.nats != new.nats),
        ("the state folder", old.state_dir != new.state_dir),
    ];
    merged.left.extend(all.into_iter().filter(|(_, changed)| *changed).map(|(what, _)| left(what)));
    let now = &mut merged.application;
    now.name.clone_from(&old.name);
    now.version.clone_from(&old.version);
    now.limits.clone_from(&old.limits);
    now.trusted_proxies.clone_from(&old.trusted_proxies);
    now.nats.clone_from(&old.nats);
    now.state_dir.clone_from(&old.state_dir);
    now.only.clone_from(&old.only);
    now.stand_ins.clone_from(&old.stand_ins);
    // A store or database that is open stays where it is; a new one gets the place that the manifest names now.
    for label in old.here().flat_map(|component| &component.key_value_stores) {
        // Also when only the password in its URL differs, which is never shown.
        if old.key_value_places.get(label) != now.key_value_places.get(label) {
            merged.left.push(left(&format!("the place of the key-value store `{label}`")));
            match old.key_value_places.get(label) {
                Some(place) => drop(now.key_value_places.insert(label.clone(), place.clone())),
                None => drop(now.key_value_places.remove(label)),
            }
        }
    }
    for label in old.here().flat_map(|component| &component.sqlite_databases) {
        if old.sqlite_paths.get(label) != now.sqlite_paths.get(label) {
            merged.left.push(left(&format!("the place of the database `{label}`")));
            match old.sqlite_paths.get(label) {
                Some(path) => drop(now.sqlite_paths.insert(label.clone(), path.clone())),
                None => drop(now.sqlite_paths.remove(label)),
            }
        }
    }
}

/// The servers of Redis triggers, with the passwords, which are never shown.
fn servers(application: &Application) -> Vec<&RedisUrl> {
    application.redis_triggers.iter().map(|trigger| &trigger.address).collect()
}

/// Compares the manifest in force with the current one.
pub(super) fn merge(old: &Application, new: &Application) -> Merged {
    let loaded = |application: &Application| {
        let part = application.restricted_to(&application.reachable());
        part.here().map(|component| component.name.clone()).collect::<BTreeSet<String>>()
    };
    let parts = [
        ("triggers of HTTP", differ(&(&old.routes, &old.static_routes), &(&new.routes, &new.static_routes))),
        ("static folders", differ(&old.static_folders, &new.static_folders)),
        ("triggers of Redis", differ(&old.redis_triggers, &new.redis_triggers) || servers(old) != servers(new)),
        ("admin_hosts", old.admin_hosts != new.admin_hosts),
    ];
    let mut merged = Merged {
        application: new.clone(),
        changed: BTreeMap::new(),
        relinked: BTreeSet::new(),
        callers: BTreeSet::new(),
        migrated: BTreeSet::new(),
        parts: parts.into_iter().filter(|(_, changed)| *changed).map(|(part, _)| part).collect(),
        left: Vec::new(),
        components_changed: false,
    };
    application(&mut merged, old, new);
    for (name, before) in &old.components {
        let Some(after) = new.components.get(name) else { continue };
        let now = component(&mut merged, before, after);
        merged.application.components.insert(name.clone(), now);
    }
    let (before, after) = (loaded(old), loaded(&merged.application));
    merged.components_changed = before != after;
    // Only what stays loaded can be linked again, also when it calls what has changed.
    let of_callers = |component: &&Declared| {
        component.dependencies.iter().any(|dependency| {
            let (old, new) =
                (old.components.get(&dependency.component), merged.application.components.get(&dependency.component));
            let of = |component: Option<&Declared>| {
                component.map(|one| (text(&one.idempotent), one.limits.call_deadline, one.name.clone()))
            };
            of(old) != of(new)
        })
    };
    let callers = merged.application.components.values().filter(of_callers).map(|caller| caller.name.clone());
    merged.callers = callers.collect();
    merged.relinked.extend(merged.callers.iter().cloned());
    merged.relinked.retain(|name| before.contains(name) && after.contains(name));
    merged
}

fn instances(application: &Application) -> u64 {
    application.restricted_to(&application.reachable()).here().map(|component| component.limits.instances).sum()
}

/// Keeps the numbers of instances of `old` where the new ones are too many for an engine with this `capacity`. Returns
/// the number of all instances when that is not enough.
pub(super) fn fit(merged: &mut Merged, old: &Application, capacity: u64) -> Option<u64> {
    if instances(&merged.application) <= capacity {
        return None;
    }
    for (name, before) in &old.components {
        let Some(component) = merged.application.components.get_mut(name) else { continue };
        if component.limits.instances > before.limits.instances {
            component.limits.instances = before.limits.instances;
            merged.keep(name, "limit `instances`");
        }
    }
    Some(instances(&merged.application)).filter(|total| *total > capacity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::secrets::Secrets;
    use souk_manifest::{HostValues, KeyValuePlace, LoadOptions, MongoUrl};
    use std::path::Path;

    /// `web`, with this number of instances, calls `callee`, whose calls have this deadline.
    fn application(folder: &Path, instances: u64, deadline: &str) -> Application {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[[trigger.http]]\nroute = \"/...\"\n\
             component = \"web\"\n[component.web]\nsource = \"web.wasm\"\n[component.web.dependencies]\n\
             \"a:b/c@1.0.0\" = {{ component = \"callee\" }}\n[component.web.tool.souk.limits]\n\
             instances = {instances}\n[component.callee]\nsource = \"callee.wasm\"\n\
             [component.callee.tool.souk.limits]\ninstances = 2\ncall_deadline = \"{deadline}\"\n"
        );
        let manifest = folder.join("spin.toml");
        std::fs::write(&manifest, text).unwrap();
        let secrets = Secrets::looked_up(folder.join("none"));
        let host = HostValues { url: "http://localhost".to_owned(), secrets };
        let options = LoadOptions { manifest, ..LoadOptions::default() };
        souk_manifest::read(&options).unwrap().fill_in(&host).unwrap().application
    }

    #[test]
    fn a_component_whose_own_change_is_left_is_linked_again_for_a_change_of_what_it_calls() {
        let folder = tempfile::tempdir().unwrap();
        let old = application(folder.path(), 2, "5s");
        for (deadline, expected) in [("5s", vec![]), ("6s", vec!["callee", "web"])] {
            let mut merged = merge(&old, &application(folder.path(), 400, deadline));
            assert!(merged.relinked.contains("web"));
            assert_eq!(fit(&mut merged, &old, 4), None);
            assert!(!merged.changed.contains_key("web"), "{:?}", merged.changed);
            assert_eq!(merged.relinked.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{deadline}");
        }
    }

    #[test]
    fn lines_of_the_manifest_are_no_difference() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "they are only shown")]
        struct Part {
            name: &'static str,
            line: usize,
            deadline: u64,
        }
        let part = |name, line, deadline| text(&Part { name, line, deadline });
        assert_eq!(part("a", 7, 30), part("a", 12, 30));
        assert_ne!(part("a", 7, 30), part("b", 7, 30));
        assert_ne!(part("a", 7, 30), part("a", 7, 60));
        assert_ne!(part("our line: 5", 7, 30), part("our line: 6", 7, 30));
        assert_ne!(part("\", line: 5", 7, 30), part("\", line: 6", 7, 30));
        assert_eq!(part("\\", 7, 30), part("\\", 12, 30));
    }

    #[test]
    fn another_password_of_a_server_is_a_difference() {
        let redis = |url: &str| KeyValuePlace::Redis(Box::new(RedisUrl::parse(url).unwrap()));
        let place = redis("redis://me:first@localhost");
        assert!(place == redis("redis://me:first@localhost:6379/0"));
        assert!(place != redis("redis://me:second@localhost"));
        assert!(place != KeyValuePlace::Nats { bucket: None });
        let mongo = |url: &str| KeyValuePlace::Mongo {
            url: Box::new(MongoUrl::parse(url).unwrap()),
            collection: "kept".to_owned(),
        };
        assert!(mongo("mongodb://me:first@a/shop") == mongo("mongodb://me:first@a/shop"));
        assert!(mongo("mongodb://me:first@a/shop") != mongo("mongodb://me:second@a/shop"));
    }
}
