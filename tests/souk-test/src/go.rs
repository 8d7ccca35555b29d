//! Programs for tests that are built with Go. Each is built once and stays in the user's cache.

use crate::debian;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The names of a program's sources.
const SOURCES: [&str; 3] = ["main.go", "go.mod", "go.sum"];

/// A program, by its sources.
pub(crate) struct Program {
    name: &'static str,
    /// The texts of [`SOURCES`].
    sources: [&'static str; 3],
    path: OnceLock<PathBuf>,
}

impl Program {
    pub(crate) const fn new(name: &'static str, sources: [&'static str; 3]) -> Self {
        Program { name, sources, path: OnceLock::new() }
    }

    /// The file of the program; builds it if it is not in the cache.
    pub(crate) fn path(&self) -> &Path {
        self.path.get_or_init(|| self.build())
    }

    fn build(&self) -> PathBuf {
        let mut sources = DefaultHasher::new();
        SOURCES.into_iter().zip(self.sources).collect::<Vec<_>>().hash(&mut sources);
        let program = cache().join(format!("{}-{:016x}", self.name, sources.finish()));
        if program.is_file() {
            return program;
        }
        eprintln!("warning: {} is built with Go, which takes a few minutes the first time", self.name);
        std::fs::create_dir_all(cache()).unwrap();
        // The program gets its final name when it is complete: several tests may build it at the same time.
        let temp = tempfile::tempdir_in(cache()).unwrap();
        for (name, text) in SOURCES.into_iter().zip(self.sources) {
            std::fs::write(temp.path().join(name), text).unwrap();
        }
        let mut build = Command::new(go());
        build
            .args(["build", "-ldflags", "-s -w", "-o", "server", "."])
            .current_dir(temp.path())
            .env("CGO_ENABLED", "0");
        debian::run(build);
        std::fs::rename(temp.path().join("server"), &program).unwrap();
        program
    }
}

/// The cache folder of the tests.
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("souk")
}

/// Go, which builds servers and guests of tests: on the path, or where its installer or `.ci/run` puts it.
pub fn go() -> PathBuf {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&places)
        .map(|folder| folder.join("go"))
        .chain(["/usr/local/go/bin/go".into(), cache().join("go/bin/go")]);
    let found = places.into_iter().find(|go: &PathBuf| go.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "Go is missing, and the tests need it: it builds their server of MongoDB's protocol, OpenTelemetry's collector, and \
             guests. `.ci/run` installs it; so does https://go.dev/doc/install"
        )
    })
}
