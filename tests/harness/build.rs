//! Builds the components that the scenarios run, once per test process.
//!
//! A scenario may call cargo, which has released its lock by the time a test runs. The components are built into the
//! target folder that holds the `souk` under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock};

/// The `souk` program under test.
pub(crate) const SOUK: &str = env!("CARGO_BIN_EXE_souk");

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("host/souk lies in the repository")
}

/// The target folder for applications that scenarios generate, for one scenario at a time. Cargo treats packages with
/// the same name and path in two workspaces as the same package, and treats what another scenario has just built as
/// newer than the sources.
pub(crate) fn applications() -> MutexGuard<'static, PathBuf> {
    static FOLDER: LazyLock<Mutex<PathBuf>> = LazyLock::new(|| Mutex::new(target().join("applications")));
    FOLDER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    Path::new(SOUK).ancestors().nth(2).expect("target/debug/souk").to_owned()
}

/// Builds the components of `tests/guests`.
pub(crate) fn guests() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        ["example-hello", "front", "listener", "middleware", "plain", "relay", "rogue", "sender", "spin-5", "unruly"]
            .into_iter()
            .for_each(guest);
        if cfg!(feature = "full") {
            ["outbound-2", "outbound-3"].into_iter().for_each(guest);
        }
    });
}

/// Builds the components of `tests/guests/mixed`.
pub(crate) fn mixed_guests() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        for name in ["callee-async", "callee-func", "caller-0-2", "caller-async", "caller-func"] {
            guest(&format!("mixed-{name}"));
        }
    });
}

/// Builds the components of `tests/guests/schedules`.
pub(crate) fn schedule_guests() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| ["later", "ticker"].into_iter().for_each(guest));
}

/// The file of a package's built component.
pub(crate) fn component(package: &str) -> PathBuf {
    target().join("wasm32-wasip2/debug").join(package.replace('-', "_")).with_extension("wasm")
}

/// Builds the component of a package.
pub(crate) fn guest(package: &str) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--quiet", "-p", package, "--target", "wasm32-wasip2", "--crate-type", "cdylib"]);
    run(cargo);
}

/// Builds the components of the repository's own application, as its users do.
pub(crate) fn components() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| application("spin.toml"));
}

/// Builds the components of the stages in `nest/`, which lead from the NestJS system to the repository's own
/// application.
pub(crate) fn adapters() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        application("nest/orders.toml");
        application("nest/services.toml");
    });
}

/// Builds the components of a manifest, or of a folder that has one.
pub(crate) fn application(manifest: &str) {
    let mut souk = Command::new(SOUK);
    souk.args(["build", "-f"]).arg(root().join(manifest));
    run(souk);
}

fn run(mut command: Command) {
    command.current_dir(root()).env("CARGO_TARGET_DIR", target());
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
}
