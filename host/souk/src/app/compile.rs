//! The code of components: all files are compiled in parallel, each once, or loaded from the cache. A file that was
//! chosen as a version is read again to be compiled: bytes other than the version's are refused.

use super::deploy::chosen::ChosenVersion;
use super::deploy::version_folder::digest;
use super::error::StartError;
use super::progress::Progress;
use souk_manifest::{Application, Diagnostic};
use souk_runtime::{CallError, CompileError, Compiler, Engine};
use std::collections::BTreeMap;
use std::path::Path;
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
    chosen: &BTreeMap<String, ChosenVersion>,
    progress: &impl Fn(Progress),
) -> Result<(BTreeMap<String, Component>, Vec<Diagnostic>), StartError> {
    // The files, each with the digest of the version that it is; without one any bytes are compiled.
    let mut files: BTreeMap<(&Path, &str), Vec<String>> = BTreeMap::new();
    for declared in application.here() {
        let file = match chosen.get(&declared.name) {
            Some(version) => (version.path.as_path(), &*version.id.digest),
            None => (declared.source.as_path(), ""),
        };
        files.entry(file).or_default().push(declared.name.clone());
    }
    let mut tasks = tokio::task::JoinSet::new();
    let mut compiling: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    let start = Instant::now();
    for ((source, digest), components) in files {
        compiling.insert(components.clone(), source.metadata().map_or(0, |file| file.len()));
        let (compiler, source, digest) = (engine.compiler().clone(), source.to_path_buf(), digest.to_owned());
        tasks.spawn(async move {
            let start = Instant::now();
            let name = components.first().map_or("", String::as_str);
            let compiled = code(&compiler, name, &source, digest).await.map(|code| (code, start.elapsed()));
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

/// The code of the component's file at `source`, which must have the digest `expected` unless that is empty.
async fn code(compiler: &Compiler, name: &str, source: &Path, expected: String) -> Result<Component, CompileError> {
    if expected.is_empty() {
        return compiler.compile(name, source).await;
    }
    let bytes = Compiler::file(name, source).await?;
    let same = tokio::task::spawn_blocking(move || (digest(&bytes) == expected).then_some(bytes)).await;
    let Ok(Some(bytes)) = same else {
        return Err(CompileError {
            component: name.to_owned(),
            message: format!("{} was changed while the host was about to compile it", source.display()),
            fix: "try again when no build runs".to_owned(),
        });
    };
    compiler.compile_bytes(name, &source.display().to_string(), bytes).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_written_after_it_was_chosen_as_a_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::start_counted(&folder.path().join("cache")).unwrap();
        let file = folder.path().join("web.wasm");
        let code_of = async |expected: &str| {
            let code = code(engine.compiler(), "web", &file, expected.to_owned()).await;
            code.map(drop).map_err(|error| error.to_string())
        };
        let chosen = wat::parse_str("(component)").unwrap();
        std::fs::write(&file, &chosen).unwrap();
        let digest = digest(&chosen);
        assert_eq!(code_of(&digest).await, Ok(()));
        std::fs::write(&file, wat::parse_str("(component (core module))").unwrap()).unwrap();
        let error = code_of(&digest).await.unwrap_err();
        assert!(error.contains("was changed") && error.contains("fix: "), "{error}");
        assert_eq!(code_of("").await, Ok(()), "what is no version is compiled as it is");
    }
}
