//! What must be true of a new version before it gets a call.
//!
//! Its imports are linked as at a start, its exports are compared with every caller's imports, and its routes, its Nest
//! tables and the durable messages that wait for it are checked. All mistakes are reported at once.

use super::super::App;
use super::super::migrations;
use super::super::routes::check_routes;
use super::super::wiring::Wiring;
use super::error::{DeployError, stopped};
use super::messages::{Stored, unread};
use souk_codec::FunctionCodec;
use souk_codec::signature::signature;
use souk_links::redis;
use souk_links::remote::{self, ExpectedType};
use souk_links::{Import, Target};
use souk_manifest::{Component as Declared, Diagnostic};
use souk_runtime::{Compiled, Exported, Pool, background, is_host_interface};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentFunc;

/// The mistakes of a version, and the migrations that it would run.
pub(super) struct Checked {
    /// The linked version; `None` when something is wrong.
    pub(super) compiled: Option<Compiled>,
    /// What is wrong.
    pub(super) mistakes: Vec<Diagnostic>,
    /// Migrations that run before it serves.
    pub(super) pending: Vec<String>,
    /// Information for the operator that is not a mistake.
    pub(super) notes: Vec<String>,
    /// The types that it expects of components on other hosts.
    pub(super) expected: Vec<ExpectedType>,
}

/// What is known of a version's types.
struct CheckedTypes {
    compiled: Option<Compiled>,
    mistakes: Vec<Diagnostic>,
    /// What callers on other hosts would miss, if there are such hosts.
    missed_elsewhere: Vec<Diagnostic>,
    notes: Vec<String>,
    expected: Vec<ExpectedType>,
    /// The same of the version that serves.
    expected_before: Vec<ExpectedType>,
}

impl App {
    /// Checks `code` as a new version of the component of `pool`.
    pub(super) async fn check_version(
        self: &Arc<Self>,
        declared: &Declared,
        pool: &Arc<Pool>,
        code: Component,
    ) -> Result<Checked, DeployError> {
        let exported = Arc::new(Exported::of(self.engine.wasmtime(), &code));
        let (app, named, instances, exports) = (self.clone(), declared.clone(), pool.clone(), exported.clone());
        let types = background(move || app.check_types(&named, &instances, code, &exports)).await;
        let CheckedTypes { compiled, mut mistakes, missed_elsewhere, notes, expected, expected_before } =
            types.ok_or_else(|| stopped(&declared.name))?;
        if !missed_elsewhere.is_empty() && !self.is_alone().await {
            mistakes.extend(missed_elsewhere);
        }
        mistakes.extend(self.check_other_hosts(declared, &expected, &expected_before).await);
        mistakes.extend(self.check_messages(declared, pool, &exported).await);
        let now = self.now();
        let pending = match migrations::rehearse(&now.application, declared, now.shared.databases()).await {
            Ok(pending) => pending,
            Err(errors) => {
                mistakes.extend(errors.0);
                Vec::new()
            }
        };
        Ok(Checked { compiled, mistakes, pending, notes, expected })
    }

    /// Links a version, and compares its types with those of everything that calls it.
    fn check_types(&self, declared: &Declared, pool: &Arc<Pool>, code: Component, exported: &Exported) -> CheckedTypes {
        let (compiled, mut mistakes, expected) = self.link_version(declared, code.clone());
        let expected_before = match expected.is_empty() {
            true => Vec::new(),
            false => self.link_version(declared, pool.active().compiled().code.clone()).2,
        };
        let mut notes = Vec::new();
        mistakes.extend(self.check_callers(declared, pool, exported));
        let (codes, now) = (BTreeMap::from([(declared.name.clone(), code)]), self.now());
        mistakes.extend(check_routes(self.engine.wasmtime(), &now.application, &now.routing.routes, &codes));
        let missed_elsewhere = self.check_served(declared, pool, exported, &mut mistakes, &mut notes);
        mistakes.extend(self.check_triggers(declared, pool, exported));
        CheckedTypes { compiled, mistakes, missed_elsewhere, notes, expected, expected_before }
    }

    /// Whether no other host of the application answers on NATS. A host that cannot find that out is not alone.
    async fn is_alone(&self) -> bool {
        match &self.remote {
            Some(remote) => remote::listed_hosts(remote.nats()).await.len() == 1,
            None => true,
        }
    }

    /// Links a version to its dependencies, as a start does; also returns what it expects of other hosts.
    fn link_version(
        &self,
        declared: &Declared,
        code: Component,
    ) -> (Option<Compiled>, Vec<Diagnostic>, Vec<ExpectedType>) {
        let codes = BTreeMap::from([(declared.name.clone(), code)]);
        let now = self.now();
        let mut wiring = Wiring::new(self.surroundings(&now.application, &now.shared, now.queue.as_ref()), codes);
        wiring.pools.clone_from(&now.pools);
        let compiled = wiring.linked(&declared.name);
        (compiled, wiring.mistakes, wiring.expected)
    }

    /// Checks that running hosts can answer the types of functions that the version that serves does not call already.
    async fn check_other_hosts(
        &self,
        declared: &Declared,
        expected: &[ExpectedType],
        before: &[ExpectedType],
    ) -> Vec<Diagnostic> {
        let Some(remote) = &self.remote else { return Vec::new() };
        let new: Vec<ExpectedType> = expected.iter().filter(|one| !before.contains(one)).cloned().collect();
        let unanswered = remote::unanswered(remote.nats(), &new).await;
        let mistakes = unanswered.iter().map(|unanswered| {
            let component = unanswered.expected.component();
            let dependency = declared.dependencies.iter().find(|dependency| dependency.component == component);
            let line = dependency.map_or(declared.line, |dependency| dependency.line);
            self.application().mistake_at(line, &declared.name, unanswered.what(), remote::MISMATCH_FIX)
        });
        mistakes.collect()
    }

    /// Checks that everything that callers on this host import exists with the same types.
    fn check_callers(&self, declared: &Declared, pool: &Arc<Pool>, exported: &Exported) -> Vec<Diagnostic> {
        let (engine, now, mut mistakes) = (self.engine.wasmtime(), self.now(), Vec::new());
        for caller in now.application.here() {
            let Some(of_caller) = now.pools.get(&caller.name) else { continue };
            for dependency in caller.dependencies.iter().filter(|dependency| dependency.component == declared.name) {
                let versions = [Some(of_caller.active()), of_caller.canary().map(|(version, _)| version)];
                for version in versions.into_iter().flatten() {
                    let importer = &version.compiled().code;
                    let component_type = importer.component_type();
                    let imports = component_type.imports(engine).map(|(name, _)| name);
                    for interface in imports.filter(|import| dependency.name.covers(import)) {
                        let export = dependency.export.as_deref().unwrap_or(interface);
                        let target = Target::Local(pool);
                        let import = Import { engine, importer, interface, export, target };
                        if let Err(error) = import.check(exported) {
                            let message = format!("its caller `{}` would not find its import: {error}", caller.name);
                            mistakes.push(now.application.mistake_at(
                                dependency.line,
                                &declared.name,
                                message,
                                error.fix(),
                            ));
                        }
                    }
                }
            }
        }
        mistakes
    }

    /// Checks functions that are called in other ways than by links on this host: over NATS, by schedules, and by Nest
    /// patterns. Returns what callers on other hosts would miss.
    fn check_served(
        &self,
        declared: &Declared,
        pool: &Arc<Pool>,
        exported: &Exported,
        mistakes: &mut Vec<Diagnostic>,
        notes: &mut Vec<String>,
    ) -> Vec<Diagnostic> {
        let mut missed_elsewhere = Vec::new();
        let active = pool.active();
        let by_pattern = |interface: &str, name: &str| {
            let mut patterns = declared.nest.serves.iter();
            patterns.any(|pattern| pattern.function == name && pattern.interface.covers(interface))
        };
        let by_schedule = |interface: &str, name: &str| {
            declared.schedules.iter().any(|one| one.function == name && one.interface.covers(interface))
        };
        for function in active.compiled().exported.functions.iter().filter(|f| !is_host_interface(&f.interface)) {
            let (interface, name) = (&function.interface, &function.name);
            let who = match &self.remote {
                _ if by_schedule(interface, name) => "a schedule calls it",
                _ if by_pattern(interface, name) => "a pattern of Nest leads to it",
                Some(_) => "other hosts may call it",
                None => continue,
            };
            let before = signature(name, &function.ty);
            let now = exported.function(interface, name);
            // Callers on other hosts use the old type, which is part of the subject that they call.
            let by_links = !by_schedule(interface, name) && !by_pattern(interface, name);
            if by_links && now.is_some_and(|now| can_call(&function.ty, &now.ty)) {
                continue;
            }
            let now = now.map(|function| signature(name, &function.ty));
            if now.as_ref() != Some(&before) {
                let now = now.unwrap_or_else(|| "nothing".to_owned());
                let message =
                    format!("`{interface}#{name}` is not what it was, and {who}\n  before: {before}\n  now:    {now}");
                let fix = match by_links {
                    true => {
                        "export the old version of the interface beside the new one; or, if nothing on another host calls \
                         it, stop the other hosts, deploy while this one is alone, and start them again"
                    }
                    false => {
                        "export the old version of the interface beside the new one, or stop all hosts and start them again"
                    }
                };
                let mistake = self.application().mistake(declared, message, fix);
                if by_links { missed_elsewhere.push(mistake) } else { mistakes.push(mistake) }
            }
        }
        let known = |interface: &str, name: &str| active.compiled().exported.function(interface, name).is_some();
        let new =
            exported.functions.iter().filter(|f| !is_host_interface(&f.interface) && !known(&f.interface, &f.name));
        let new: Vec<String> = new.map(|f| format!("{}#{}", f.interface, f.name)).collect();
        if self.remote.is_some() && !new.is_empty() {
            notes.push(format!("other hosts can call {} too", new.join(", ")));
        }
        missed_elsewhere
    }

    /// Checks that messages of Redis still reach a component that has a trigger for them: a message that nothing takes is
    /// lost.
    fn check_triggers(&self, declared: &Declared, pool: &Arc<Pool>, exported: &Exported) -> Option<Diagnostic> {
        let now = self.now();
        let trigger = now.application.redis_triggers.iter().find(|trigger| trigger.component == declared.name)?;
        let active = pool.active();
        let (before, after) = (redis::message_handler(&active.compiled().exported)?, redis::message_handler(exported));
        let message = match after {
            Some(after) if after == before => return None,
            Some(after) => {
                format!("gets the messages of its Redis trigger by {before}, and now exports {after} instead")
            }
            None => format!("has a Redis trigger but no longer exports {before}"),
        };
        let fix = "build it for messages with the same SDK as before; or let the manifest name its file, and start the host again";
        Some(now.application.mistake_at(trigger.line, &declared.name, message, fix))
    }

    /// Checks that the durable messages that wait for the component fit its new exports.
    async fn check_messages(&self, declared: &Declared, pool: &Arc<Pool>, exported: &Exported) -> Vec<Diagnostic> {
        let now = self.now();
        let Some(queue) = &now.queue else { return Vec::new() };
        let active = pool.active();
        let before = &active.compiled().exported;
        match Stored::list(queue).await {
            Ok(stored) => stored.refused_by(&now.application, declared, Some(before), exported).await,
            Err(why) => vec![unread(&now.application, declared, &why)],
        }
    }
}

/// Whether callers that were built for `before` may call `now`.
fn can_call(before: &ComponentFunc, now: &ComponentFunc) -> bool {
    matches!((FunctionCodec::of(before), FunctionCodec::of(now)), (Ok(before), Ok(now)) if before.can_call(&now))
}
