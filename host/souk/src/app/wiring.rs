//! Creates the pools of an application: links each component's code to its dependencies, callees before their callers.
//!
//! A mistake of one component is recorded and the other components continue, so that a start reports all mistakes at
//! once.

use super::compile::not_compiled;
use super::grants::Shared;
use super::{imports, nest, stand_ins};
use crate::sources::fix_by_build;
use souk_bindings::{self as bindings, Ctx};
use souk_links::durable::{self, Queue};
use souk_links::remote::{self, ExpectedType, Linked, Remote};
use souk_links::stand_in;
use souk_links::{Import, LinkError, Target, local};
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Component as Declared, Delay, Dependency, Diagnostic};
use souk_runtime::{Compiled, Fairness, Pool, PoolConfig, VersionConfig, VersionId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use wasmtime::component::{Component, Linker};

/// What pools are made of, besides code.
pub(super) struct Surroundings<'a> {
    pub(super) engine: &'a wasmtime::Engine,
    pub(super) application: &'a Application,
    pub(super) shared: &'a Shared,
    pub(super) fairness: &'a Fairness,
    pub(super) state: &'a StateFolder,
    pub(super) queue: Option<&'a Queue>,
    pub(super) remote: Option<&'a Remote>,
}

/// Creates the pools, callees before their callers.
pub(super) struct Wiring<'a> {
    around: Surroundings<'a>,
    pub(super) codes: BTreeMap<String, Component>,
    pub(super) pools: BTreeMap<String, Arc<Pool>>,
    /// The version of each component; version 1 when it is not in the map.
    pub(super) ids: BTreeMap<String, VersionId>,
    /// The files that the code comes from, if it comes from files: symbols lie beside them.
    pub(super) files: BTreeMap<String, PathBuf>,
    /// The answer functions of components that have a stand-in.
    stand_ins: BTreeMap<String, stand_in::Answer>,
    /// The types of what is called on other hosts.
    pub(super) expected: Vec<ExpectedType>,
    /// The components that were wired, or for which wiring failed.
    tried: BTreeSet<String>,
    /// The components' mistakes.
    pub(super) mistakes: Vec<Diagnostic>,
}

impl<'a> Wiring<'a> {
    /// Starts with none of these components wired.
    pub(super) fn new(around: Surroundings<'a>, codes: BTreeMap<String, Component>) -> Self {
        Wiring {
            codes,
            pools: BTreeMap::new(),
            ids: BTreeMap::new(),
            files: BTreeMap::new(),
            stand_ins: stand_ins::answers(&around.application.stand_ins),
            expected: Vec::new(),
            tried: BTreeSet::new(),
            mistakes: Vec::new(),
            around,
        }
    }
}

impl Wiring<'_> {
    /// The pool of `name`, created if necessary together with everything that it depends on; `None` when it runs on
    /// another host or has a mistake. The manifest has no cycles, so this ends.
    pub(super) fn pool(&mut self, name: &str) -> Option<Arc<Pool>> {
        if let Some(pool) = self.pools.get(name) {
            return Some(pool.clone());
        }
        if !self.tried.insert(name.to_owned()) {
            return None;
        }
        let (compiled, declared) = (self.linked(name), self.around.application.components.get(name)?);
        let grants = match self.around.shared.grant(declared, self.around.application, self.around.state) {
            Ok(grants) => Arc::new(grants),
            Err(mistake) => {
                self.mistakes.push(mistake);
                return None;
            }
        };
        let id = self.ids.get(name).cloned().unwrap_or_else(|| VersionId::first("", &*self.around.application.version));
        let pool = Pool::new(PoolConfig {
            version: VersionConfig { id, compiled: compiled?, grants },
            limits: declared.limits.clone(),
            fairness: self.around.fairness.clone(),
            boundaries: self.around.shared.boundaries().clone(),
        });
        self.pools.insert(name.into(), pool.clone());
        Some(pool)
    }

    /// The code of `name`, linked to its dependencies; `None` when it has a mistake.
    pub(super) fn linked(&mut self, name: &str) -> Option<Compiled> {
        let application = self.around.application;
        let (declared, code) = (application.components.get(name)?, self.codes.get(name)?.clone());
        // All dependencies first, so that their mistakes do not look like this component's.
        let targets: Vec<_> = declared.dependencies.iter().map(|dependency| self.pool(&dependency.component)).collect();
        let known = self.mistakes.len();
        self.mistakes.extend(imports::check(self.around.engine, application, declared, &self.codes));
        let mut linker = Linker::new(self.around.engine);
        if let Err(error) = bindings::add_to_linker(&mut linker) {
            let message = format!("the host's own interfaces conflict: {error:#}");
            self.mistakes.push(application.mistake(declared, message, "this is a bug in Souk: please report it"));
        }
        let mut complete = true;
        for (dependency, pool) in declared.dependencies.iter().zip(&targets) {
            let remote_component: Arc<str> = dependency.component.as_str().into();
            let target = match pool {
                Some(pool) => Target::Local(pool),
                None if application.runs_here(&dependency.component) => {
                    complete = false;
                    continue;
                }
                None => Target::Remote(&remote_component),
            };
            self.link(&mut linker, declared, &code, dependency, target);
        }
        let nats = self.around.remote.map(Remote::nats);
        let boundaries = self.around.shared.boundaries();
        let linked = nest::link(&mut linker, self.around.engine, application, declared, &code, nats, boundaries);
        self.mistakes.extend(linked);
        // The linker's error would only repeat the mistakes that are recorded already.
        if !complete || self.mistakes.len() > known {
            return None;
        }
        let compiled = match Compiled::link(name.into(), self.around.engine, &code, &mut linker) {
            Ok(compiled) => match self.files.get(name) {
                Some(file) => compiled.with_symbols_of(file),
                None => compiled,
            },
            Err(error) => {
                self.mistakes.push(not_compiled(application, error));
                return None;
            }
        };
        self.mistakes.extend(imports::check_idempotent(application, declared, &compiled.exported));
        Some(compiled)
    }

    fn link(
        &mut self,
        linker: &mut Linker<Ctx>,
        declared: &Declared,
        code: &Component,
        dependency: &Dependency,
        target: Target<'_>,
    ) {
        let component_type = code.component_type();
        let imports: Vec<String> = component_type
            .imports(self.around.engine)
            .map(|(import, _)| import.to_string())
            .filter(|import| dependency.name.covers(import))
            .collect();
        for import in imports {
            let export = dependency.export.as_deref().unwrap_or(&import);
            let durable = declared.durable.iter().find(|durable| durable.name.covers(&import));
            let line = durable.map_or(dependency.line, |durable| durable.line);
            let import = Import { engine: self.around.engine, importer: code, interface: &import, export, target };
            let forced = declared.remote.iter().any(|remote| remote.name.covers(import.interface));
            let linked = match (target, self.around.remote) {
                _ if let Some(answer) = self.stand_ins.get(&dependency.component) => {
                    let target = self.around.application.components.get(&dependency.component);
                    let most = target.map_or(declared.limits.call_deadline, |target| target.limits.call_deadline);
                    stand_in::link(linker, &import, most, answer).map(|()| Vec::new())
                }
                _ if durable.is_some()
                    && let Some(queue) = self.around.queue =>
                {
                    let caller = declared.name.as_str().into();
                    let delay = durable.map_or(&Delay::None, |durable| &durable.delay);
                    durable::link(linker, &import, &caller, queue, self.around.shared.boundaries(), delay)
                        .map(|()| Vec::new())
                }
                (Target::Local(pool), remote) if !forced || remote.is_none() => {
                    self.link_locally(linker, &import, declared, pool, remote)
                }
                (_, Some(remote)) => self.link_remotely(linker, &import, declared, remote),
                // Without NATS there is no remote target; that was checked before.
                (_, None) => continue,
            };
            let functions_without_unavailable = linked.unwrap_or_else(|error| {
                let application = self.around.application;
                let target = application.components.get(&dependency.component).unwrap_or(declared);
                let fix = fix_by_build(application, &[declared, target], error.fix());
                self.mistakes.push(application.mistake_at(line, &declared.name, error.to_string(), fix));
                Vec::new()
            });
            for function in functions_without_unavailable {
                tracing::warn!(
                    component = %declared.name,
                    "{function} has no error for the case that `{}` is unavailable: then `{}` traps",
                    dependency.component,
                    declared.name,
                );
            }
        }
    }

    /// Links to a component of this host. Hosts that can deploy also try versions out, and calls for such a version go
    /// to its host.
    fn link_locally(
        &self,
        linker: &mut Linker<Ctx>,
        import: &Import<'_>,
        declared: &Declared,
        pool: &Arc<Pool>,
        remote: Option<&Remote>,
    ) -> Result<Vec<String>, LinkError> {
        let (application, boundaries) = (self.around.application, self.around.shared.boundaries());
        let can_deploy = application.nats.as_ref().is_some_and(|nats| nats.cluster_secret.is_some());
        let target = application.components.get(&**pool.component());
        let (Some(remote), Some(target), true) = (remote, target, can_deploy) else {
            return local::link(linker, import, &declared.name, pool, boundaries, None);
        };
        let elsewhere = Linked {
            remote,
            caller: &declared.name.as_str().into(),
            call_deadline: target.limits.call_deadline,
            call_bytes: declared.limits.call_bytes,
            idempotent: &|function| target.idempotent.iter().any(|entry| entry.covers(import.export, function)),
            boundaries,
        };
        local::link(linker, import, &declared.name, pool, boundaries, Some(&elsewhere))
    }

    fn link_remotely(
        &mut self,
        linker: &mut Linker<Ctx>,
        import: &Import<'_>,
        declared: &Declared,
        remote: &Remote,
    ) -> Result<Vec<String>, LinkError> {
        let Some(target) = self.around.application.components.get(&**import.target.component()) else {
            return Ok(Vec::new());
        };
        let linked = Linked {
            remote,
            caller: &declared.name.as_str().into(),
            call_deadline: target.limits.call_deadline,
            call_bytes: declared.limits.call_bytes,
            idempotent: &|function| target.idempotent.iter().any(|entry| entry.covers(import.export, function)),
            boundaries: self.around.shared.boundaries(),
        };
        self.expected.extend(remote::expected_types(import, &declared.name)?);
        remote::link(linker, import, &linked)
    }
}
