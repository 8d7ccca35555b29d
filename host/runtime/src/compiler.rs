//! Compiles components in a separate process.
//!
//! The compiler needs three times the memory that the whole host needs afterwards, and an allocator may not return it
//! to the system. So a serving host starts its own program as a new process for each file ([`compile_for_host`]). The
//! process writes the code to the code cache and ends; the host loads it from there, as at every later start. If the
//! compiler crashes on a file, only that process ends, also when the file is deployed into a running host.
//!
//! Only wasmtime knows what is in the cache, and it has no function to ask. So this module computes the name of an
//! entry as wasmtime does ([`entry`]), and a test compares the two. If the code is not in the cache afterwards, the
//! file is refused; it is never compiled in the host instead.

use crate::background::{background, lower_priority};
use crate::component::is_component;
use crate::config::{EngineError, cache, config};
use crate::error::CompileError;
use crate::load;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::ffi::OsString;
use std::hash::{Hash as _, Hasher};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use wasmtime::component::Component;

souk_manifest::fixed_limits! {
    /// The fixed limits of compiling.
    pub(crate) const FIXED_LIMITS = "components";

    /// The most bytes that are kept of the error output of the process that compiles.
    const MAX_COMPILER_OUTPUT_BYTES: u64 = 64 << 10, bytes;
}

/// The exit code of that process when the file is wrong.
const REFUSED: u8 = 3;

/// The argument before the folder that lets the process compile at the lowest priority.
pub const LOW_PRIORITY: &str = "--low-priority";

/// The argument before the folder for a host whose instances have no pool: their code is another one.
pub const FEW_ADDRESSES: &str = "--few-addresses";

/// A program that compiles: it runs [`compile_for_host`] with the folder that is its last argument; [`LOW_PRIORITY`] and
/// [`FEW_ADDRESSES`] may come before it.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program's file.
    pub file: PathBuf,
    /// Its arguments before the folder.
    pub arguments: Vec<OsString>,
}

/// Compiles components' files.
#[derive(Clone)]
pub struct Compiler {
    engine: wasmtime::Engine,
    cache: PathBuf,
    few_addresses: bool,
    /// `None` compiles in this process.
    program: Option<Arc<Program>>,
    /// Allows as many processes at the same time as there are processors.
    turns: Arc<Semaphore>,
    /// Whether calls are served meanwhile, so that they come first.
    serving: Arc<AtomicBool>,
}

impl Compiler {
    pub(super) fn new(engine: wasmtime::Engine, cache: &Path, few_addresses: bool, program: Option<Program>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let turns = Arc::new(Semaphore::new(processors));
        let serving = Arc::default();
        let (cache, program) = (cache.to_path_buf(), program.map(Arc::new));
        Compiler { engine, cache, few_addresses, program, turns, serving }
    }

    /// Whether calls that are served get the processor before what is compiled.
    pub fn let_calls_go_first(&self, first: bool) {
        self.serving.store(first, Ordering::Relaxed);
    }

    fn yields(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    /// Runs `work` on a thread that may block; one of the lowest priority when calls are served.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self.yields() {
            true => background(work).await,
            false => tokio::task::spawn_blocking(work).await.ok(),
        }
    }

    /// Compiles the component at `source`, or loads it from the code cache.
    ///
    /// # Errors
    /// When the file is missing or is not a component, or the process that compiles fails.
    pub async fn compile(&self, name: &str, source: &Path) -> Result<Component, CompileError> {
        let bytes = Self::file(name, source).await?;
        self.compile_bytes(name, &source.display().to_string(), bytes).await
    }

    /// The file of a component at `source`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn file(name: &str, source: &Path) -> Result<Vec<u8>, CompileError> {
        tokio::fs::read(source).await.map_err(|e| {
            let fix = "run `souk build` (or `souk up --build`)";
            error(name, format!("cannot read {}: {e}", source.display()), fix)
        })
    }

    /// Compiles a component's file, which is called `source` in errors.
    ///
    /// # Errors
    /// When it is not a component, or the process that compiles fails.
    pub async fn compile_bytes(&self, name: &str, source: &str, bytes: Vec<u8>) -> Result<Component, CompileError> {
        let (compiler, name, source) = (self.clone(), name.to_owned(), source.to_owned());
        let stopped = || error(&name, "compiling was stopped".to_owned(), "try again");
        let (code, entry) = self
            .blocking({
                let (compiler, name, source) = (compiler.clone(), name.clone(), source.clone());
                move || {
                    let code = load::component(&bytes).map(Cow::into_owned).map_err(|e| {
                        let message = format!("{source} is a core module that cannot be made a component: {e}");
                        error(&name, message, "build it for the target wasm32-wasip2")
                    })?;
                    let entry = compiler.program.is_some().then(|| entry(&compiler.engine, &code));
                    Ok((code, entry))
                }
            })
            .await
            .ok_or_else(stopped)??;
        if let (Some(program), Some(entry)) = (&self.program, &entry)
            && !self.has(entry)
        {
            self.run(program, &name, &source, &code).await?;
            if !self.has(entry) {
                let message = format!("{source} was compiled, but its code is not in {}", self.cache.display());
                return Err(error(&name, message, "check whether the disk is full and the state folder is writable"));
            }
        }
        self.blocking({
            let (name, source) = (name.clone(), source.clone());
            move || {
                Component::from_binary(&compiler.engine, &code)
                    .map_err(|e| refused(&name, &source, &code, &e.root_cause().to_string()))
            }
        })
        .await
        .ok_or_else(stopped)?
    }

    /// Whether the cache has this entry.
    fn has(&self, entry: &str) -> bool {
        let Ok(versions) = self.cache.join("modules").read_dir() else { return false };
        versions.flatten().any(|version| version.path().join(entry).is_file())
    }

    /// Lets `program` compile `code` into the cache.
    async fn run(&self, program: &Program, name: &str, source: &str, code: &[u8]) -> Result<(), CompileError> {
        let _turn = self.turns.acquire().await;
        let failed = |why: String| {
            let message = format!("{source} could not be compiled: {why}");
            let fix =
                "check whether memory is short; if the compiler fails on this file every time, report it with the file";
            error(name, message, fix)
        };
        // The process must not see the host's secrets.
        let mut child = Command::new(&program.file)
            .args(&program.arguments)
            .args(self.yields().then_some(LOW_PRIORITY))
            .args(self.few_addresses.then_some(FEW_ADDRESSES))
            .arg(&self.cache)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(format!("{} does not start: {e}", program.file.display())))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let give = async {
            let mut input = input?;
            // If the process has ended, the reason follows below.
            let _ = input.write_all(&u64::try_from(code.len()).unwrap_or(u64::MAX).to_le_bytes()).await;
            let _ = input.write_all(code).await;
            // It stays open until the process has ended, and closes if this host dies.
            Some(input)
        };
        let (_input, said, complaint) = tokio::join!(give, text(output), text(errors));
        let status = child.wait().await.map_err(|e| failed(e.to_string()))?;
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(i32::from(REFUSED)) {
            return Err(refused(name, source, code, &said));
        }
        Err(failed(died(status, &complaint)))
    }
}

/// The output of a process, up to the limit.
async fn text(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut text = Vec::new();
    if let Some(stream) = stream {
        let mut kept = stream.take(MAX_COMPILER_OUTPUT_BYTES);
        // Output before a read error is still worth reporting.
        let _ = kept.read_to_end(&mut text).await;
        let _ = tokio::io::copy(&mut kept.into_inner(), &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// How the process ended, with its output.
fn died(status: ExitStatus, complaint: &str) -> String {
    match complaint {
        "" => format!("the process that compiles it ended with {status}"),
        complaint => format!("the process that compiles it ended with {status}: {complaint}"),
    }
}

/// The work of the process that compiles for a host. It reads one component from its standard input (8 bytes of length,
/// then the file), compiles it, and writes the code to the folder `cache`. If the file is wrong, it returns [`REFUSED`]
/// and prints the reason to its standard output. It ends the process when its input closes early. With `low_priority`
/// every other process gets the processor first; with `few_addresses` the code is for a host whose instances have no pool.
pub fn compile_for_host(cache: &Path, low_priority: bool, few_addresses: bool) -> ExitCode {
    // First, because the compiler's threads take over the priority of this one.
    if low_priority {
        lower_priority();
    }
    let failed = |why: &dyn std::fmt::Display| {
        eprintln!("{why}");
        ExitCode::FAILURE
    };
    let code = match read(&mut std::io::stdin().lock()) {
        Ok(code) => code,
        Err(error) => return failed(&format_args!("the component cannot be read: {error}")),
    };
    let engine = match engine(cache, few_addresses) {
        Ok(engine) => engine,
        Err(error) => return failed(&error),
    };
    // If the host has died, nobody needs the code.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    match Component::from_binary(&engine, &code) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}", error.root_cause());
            ExitCode::from(REFUSED)
        }
    }
}

fn read(input: &mut impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut code = Vec::new();
    input.take(length).read_to_end(&mut code)?;
    if u64::try_from(code.len()).ok() == Some(length) {
        Ok(code)
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

/// An engine that compiles what a host's engine can load. The settings of the pool do not matter for that.
fn engine(folder: &Path, few_addresses: bool) -> Result<wasmtime::Engine, EngineError> {
    let mut config = config(few_addresses);
    config.cache(Some(cache(folder)?));
    wasmtime::Engine::new(&config).map_err(EngineError::of)
}

/// The name of the entry for `code` in wasmtime's cache, when `engine` compiles it. It covers everything that the
/// compiled code depends on. See `CodeBuilder::compile_cached` in wasmtime.
fn entry(engine: &wasmtime::Engine, code: &[u8]) -> String {
    let (dwarf_package, intrinsics): (Option<&[u8]>, Option<&str>) = (None, None);
    let mut hasher = Sha256Hasher::default();
    (engine.precompile_compatibility_hash(), code, dwarf_package, intrinsics).hash(&mut hasher);
    URL_SAFE_NO_PAD.encode(hasher.0.finalize())
}

/// A `Hasher` that passes all bytes to SHA-256.
#[derive(Default)]
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.first_chunk().copied().map_or(0, u64::from_le_bytes)
    }
}

fn error(component: &str, message: String, fix: &str) -> CompileError {
    CompileError { component: component.to_owned(), message, fix: fix.to_owned() }
}

/// The error for `code` that wasmtime refuses.
fn refused(name: &str, source: &str, code: &[u8], cause: &str) -> CompileError {
    if is_component(code) {
        let fix = "build it with fewer parts, or raise its limits `memory` and `table_elements`";
        return error(name, format!("{source} cannot be loaded: {cause}"), fix);
    }
    // wasmtime's cause shows the bytes one by one.
    let message = match code.starts_with(b"\0asm") {
        true => format!("{source} is not a WebAssembly component: {cause}"),
        false if code.is_empty() => format!("{source} is empty"),
        false => format!("{source} is not a WebAssembly component, nor any other WebAssembly"),
    };
    error(name, message, "build it for the target wasm32-wasip2")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(cache: &Path, program: Option<Program>) -> Compiler {
        Compiler::new(engine(cache, false).unwrap(), cache, false, program)
    }

    /// A program that reads its input and then runs `script`.
    fn shell(script: &str) -> Option<Program> {
        Some(Program { file: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] })
    }

    #[tokio::test]
    async fn a_file_that_is_missing_or_no_component_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = compiler(dir.path(), None);
        let missing = compiler.compile("web", &dir.path().join("web.wasm")).await.err().unwrap().to_string();
        assert!(missing.starts_with("component `web`: cannot read") && missing.contains("souk build"), "{missing}");
        let other = dir.path().join("web.txt");
        std::fs::write(&other, "a text").unwrap();
        let wrong = compiler.compile("web", &other).await.err().unwrap().to_string();
        assert!(wrong.contains("is not a WebAssembly component") && wrong.contains("wasm32-wasip2"), "{wrong}");
        assert!(wrong.lines().count() == 2, "the fix is in a line of its own, and nothing else: {wrong}");
    }

    #[test]
    fn the_name_of_an_entry_is_the_one_that_wasmtime_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = compiler(dir.path(), None);
        let code = wat::parse_str("(component (core module (func)))").unwrap();
        let entry = entry(&compiler.engine, &code);
        assert!(!compiler.has(&entry));
        Component::from_binary(&compiler.engine, &code).unwrap();
        assert!(compiler.has(&entry), "no entry {entry} in the cache");
    }

    #[test]
    fn a_process_finds_what_a_host_looks_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut pooled = config(false);
        pooled.allocation_strategy(crate::config::pool(64));
        let code = wat::parse_str("(component)").unwrap();
        let of_process = |few_addresses| entry(&engine(dir.path(), few_addresses).unwrap(), &code);
        assert_eq!(entry(&wasmtime::Engine::new(&pooled).unwrap(), &code), of_process(false));
        assert_eq!(entry(&wasmtime::Engine::new(&config(true)).unwrap(), &code), of_process(true));
        assert_ne!(of_process(false), of_process(true), "one has no code to check bounds");
    }

    #[tokio::test]
    async fn a_process_that_dies_is_told_and_the_file_is_not_compiled_in_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let code = wat::parse_str("(component)").unwrap();
        for (script, expected) in [
            (
                "echo the compiler has a fault >&2; kill -9 $$",
                "ended with signal: 9 (SIGKILL): the compiler has a fault",
            ),
            ("exit 0", "was compiled, but its code is not in"),
            ("echo too many things; exit 3", "web.wasm cannot be loaded: too many things"),
        ] {
            let compiler = compiler(dir.path(), shell(script));
            let error = compiler.compile_bytes("web", "web.wasm", code.clone()).await.err().unwrap().to_string();
            assert!(error.starts_with("component `web`: web.wasm") && error.contains(expected), "{script}: {error}");
            assert!(!compiler.has(&entry(&compiler.engine, &code)), "{script}: it was compiled");
        }
        let gone = Some(Program { file: dir.path().join("gone"), arguments: Vec::new() });
        let error = compiler(dir.path(), gone).compile_bytes("web", "web.wasm", code).await.err().unwrap().to_string();
        assert!(error.contains("gone does not start: No such file"), "{error}");
    }

    #[tokio::test]
    async fn code_that_is_there_is_loaded_without_a_process_and_one_gets_no_variable() {
        let dir = tempfile::tempdir().unwrap();
        let code = wat::parse_str("(component (core module (func)))").unwrap();
        let compiler = compiler(dir.path(), shell("env >&2; exit 1"));
        let error = compiler.compile_bytes("web", "web.wasm", code.clone()).await.err().unwrap().to_string();
        assert!(!error.contains("CARGO") && !error.contains("HOME="), "{error}");
        Component::from_binary(&compiler.engine, &code).unwrap();
        compiler.compile_bytes("web", "web.wasm", code).await.map_err(|e| e.to_string()).unwrap();
    }

    #[tokio::test]
    async fn a_process_lets_calls_go_first_only_once_they_are_served() {
        let dir = tempfile::tempdir().unwrap();
        let code = wat::parse_str("(component (core module (func)))").unwrap();
        let compiler = compiler(dir.path(), shell("echo \"said $0\" >&2; exit 1"));
        let said = async || compiler.compile_bytes("web", "web.wasm", code.clone()).await.err().unwrap().to_string();
        assert!(!said().await.contains(LOW_PRIORITY));
        compiler.let_calls_go_first(true);
        let error = said().await;
        assert!(error.contains(&format!("said {LOW_PRIORITY}")), "{error}");
        compiler.let_calls_go_first(false);
        assert!(!said().await.contains(LOW_PRIORITY), "a developer waits");
    }

    #[test]
    fn an_incomplete_file_is_not_compiled() {
        let mut whole = 3u64.to_le_bytes().to_vec();
        whole.extend(b"abcd");
        assert_eq!(read(&mut &whole[..]).unwrap(), b"abc");
        assert!(read(&mut &whole[..10]).is_err());
        assert!(read(&mut &whole[..4]).is_err());
    }
}
