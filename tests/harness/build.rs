//! Builds the components that the scenarios run, once per test process.
//!
//! Cargo has released its lock by the time a test runs, so that the scenarios may call it. The components are built into
//! the target folder that holds `souk`, whichever that is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `souk` program under test.
pub const SOUK: &str = env!("CARGO_BIN_EXE_souk");

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/ lies in the repository")
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    Path::new(SOUK).ancestors().nth(2).expect("target/release/souk").to_owned()
}

/// Builds the components of `tests/guests`.
pub fn guests() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["front", "rogue"]));
}

/// Builds the components of the repository's own application.
pub fn components() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["gateway", "products"]));
}

fn build(packages: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["build", "--quiet", "--release", "--target", "wasm32-wasip2", "--target-dir"]);
    cargo.arg(target());
    for package in packages {
        cargo.args(["-p", package]);
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "building {packages:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
}
