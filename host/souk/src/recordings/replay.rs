//! Replays a recorded call: the component alone, with a separate empty state that is deleted afterwards.
//!
//! Every import is answered from the recording: links lead to no component, and the bindings ask the recording before
//! they do anything. So a replay has no effect, and needs no host, database or network.

use crate::app::ReplayGrants;
use anyhow::Context as _;
use souk_bindings as bindings;
use souk_bindings::boundary::Boundaries;
use souk_bindings::tape::{Answer, Difference, Recording, Tape};
use souk_links::link_to_recording;
use souk_manifest::Application;
use souk_manifest::state::StateFolder;
use souk_runtime::{Compiled, Engine, Fairness, Pool, PoolConfig, VersionConfig, VersionId, is_host_interface};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use wasmtime::component::Linker;

/// The result of a replay.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// How many imports it called as recorded.
    pub imports: usize,
    /// The first difference among its imports.
    pub difference: Option<Difference>,
    /// The different answer, if the imports were the same.
    pub answer: Option<Answer>,
}

/// Replays calls of an application's components.
pub(crate) struct Replayer<'a> {
    application: &'a Application,
    engine: Engine,
    fairness: Fairness,
    grants: ReplayGrants,
    /// The linked code, by component and file.
    compiled: BTreeMap<(String, PathBuf), Compiled>,
    // Dropped after everything that uses it.
    _folder: TempDir,
}

impl<'a> Replayer<'a> {
    /// Starts with nothing compiled; compiled code is kept in `cache`.
    ///
    /// # Errors
    /// When the state for replays cannot be created.
    pub(crate) async fn new(application: &'a Application, cache: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let state = StateFolder::open(folder.path())?;
        Ok(Replayer {
            application,
            engine: Engine::start(cache, application.here().map(|component| &component.limits), None)?,
            fairness: Fairness::new(tokio::runtime::Handle::current().metrics().num_workers()),
            grants: ReplayGrants::open(application, state).await?,
            compiled: BTreeMap::new(),
            _folder: folder,
        })
    }

    /// Runs the call of `recording` again, with the code of `file`.
    ///
    /// # Errors
    /// When the component cannot be loaded, or lacks the called function.
    pub(crate) async fn replay(&mut self, recording: &Recording, file: &Path) -> anyhow::Result<Replayed> {
        let name = &recording.head.component;
        let declared = self.application.components.get(name).with_context(|| {
            format!(
                "the manifest has no component `{name}`\n  fix: name with -f the manifest with which it was \
                     recorded"
            )
        })?;
        let compiled = self.compiled(name, file).await?;
        let (grants, secrets) = self.grants.of(declared, recording)?;
        let pool = Pool::new(PoolConfig {
            version: VersionConfig { id: VersionId::first("", ""), compiled, grants: Arc::new(grants) },
            limits: declared.limits.clone(),
            fairness: self.fairness.clone(),
            boundaries: Boundaries::off(),
        });
        let tape = Tape::replay(recording, secrets)?;
        let answer = pool.replay(recording, tape.clone()).await?;
        let difference = tape.difference();
        let differs = difference.is_none() && !is_same(&answer, &recording.answer);
        Ok(Replayed { imports: tape.played(), difference, answer: differs.then_some(answer) })
    }

    async fn compiled(&mut self, name: &str, file: &Path) -> anyhow::Result<Compiled> {
        let key = (name.to_owned(), file.to_owned());
        if let Some(compiled) = self.compiled.get(&key) {
            return Ok(compiled.clone());
        }
        let engine = self.engine.wasmtime();
        let code = self.engine.compiler().compile(name, file).await?;
        let mut linker = Linker::new(engine);
        bindings::add_to_linker(&mut linker).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        for (import, _) in code.component_type().imports(engine) {
            if !is_host_interface(import) {
                link_to_recording(&mut linker, engine, &code, import)?;
            }
        }
        let compiled = Compiled::link(name.into(), engine, &code, &mut linker)?;
        self.compiled.insert(key, compiled.clone());
        Ok(compiled)
    }
}

/// Whether a replay has the recorded answer. A call that waited for an import until its deadline fails at once during a
/// replay, so two failures count as equal.
fn is_same(now: &Answer, recorded: &Answer) -> bool {
    now == recorded || matches!((now, recorded), (Answer::Failed(_), Answer::Failed(_)))
}
