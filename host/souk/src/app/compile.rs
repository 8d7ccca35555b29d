//! The code of components: all files are compiled in parallel, each once, or loaded from the cache.

use super::error::StartError;
use super::progress::Progress;
use souk_manifest::{Application, Diagnostic};
use souk_runtime::{CallError, CompileError, Engine};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::component::Component;

souk_manifest::fixed_limits! {
    /// The fixed limits of compiling.
    pub(crate) const FIXED_LIMITS = "components";

    /// How often a start reports which components are still being compiled.
    const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
}

/// Compiles all files in parallel, each once, or loads them from the cache. Returns the code of each component, and the
/// mistakes of the other files. A component's file comes from `chosen`, otherwise from the manifest.
pub(super) async fn compile(
    engine: &Engine,
    application: &Application,
    chosen: &BTreeMap<String, PathBuf>,
    progress: &impl Fn(Progress),
) -> Result<(BTreeMap<String, Component>, Vec<Diagnostic>), StartError> {
    let mut files: BTreeMap<&Path, Vec<String>> = BTreeMap::new();
    for declared in application.here() {
        files.entry(chosen.get(&declared.name).unwrap_or(&declared.source)).or_default().push(declared.name.clone());
    }
    let mut tasks = tokio::task::JoinSet::new();
    let mut compiling: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    let start = Instant::now();
    for (source, components) in files {
        compiling.insert(components.clone(), source.metadata().map_or(0, |file| file.len()));
        let (compiler, source) = (engine.compiler().clone(), source.to_path_buf());
        tasks.spawn(async move {
            let start = Instant::now();
            let name = components.first().map_or("", String::as_str);
            let compiled = compiler.compile(name, &source).await.map(|code| (code, start.elapsed()));
            (components, compiled)
        });
    }
    let (mut codes, mut mistakes) = (BTreeMap::new(), Vec::new());
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.reset();
    loop {
        let done = tokio::select! {
            done = tasks.join_next() => done,
            _ = tick.tick() => {
                let components = compiling.iter().map(|(names, bytes)| (names.join(", "), *bytes)).collect();
                progress(Progress::Compiling { components, so_far: start.elapsed() });
                continue;
            }
        };
        let Some(done) = done else { break };
        let (components, done) = done?;
        compiling.remove(&components);
        let (code, took) = match done {
            Ok(compiled) => compiled,
            Err(error) => {
                mistakes.push(not_compiled(application, error));
                continue;
            }
        };
        codes.extend(components.iter().map(|component| (component.clone(), code.clone())));
        progress(Progress::Ready { components, took });
    }
    Ok((codes, mistakes))
}

/// The mistake in a component that cannot be compiled or linked.
pub(super) fn not_compiled(application: &Application, error: CompileError) -> Diagnostic {
    let line = application.components.get(&error.component).map_or(1, |component| component.line);
    application.mistake_at(line, &error.component, error.message, error.fix)
}

/// The mistake in a component of which no instance can be created.
pub(super) fn not_started(application: &Application, error: &CallError, fix: &str) -> Diagnostic {
    let line = application.components.get(&*error.component).map_or(1, |component| component.line);
    application.mistake_at(line, &error.component, error.what(), fix)
}
