//! Finds components that are older than their sources.
//!
//! A host that starts yesterday's component with today's sources confuses its developer. The manifest says which files
//! are the sources (`watch` under `[component.NAME.build]`); without that entry nothing is checked.

use super::wit;
use crate::sources::{modified, newer_source, watched};
use souk_manifest::{Application, Build, Component, Diagnostic};
use std::path::{Path, PathBuf};

/// The warnings about components of this host.
pub(super) fn stale(application: &Application) -> Vec<Diagnostic> {
    let older = |component: &Component| {
        let source = newer_source(component)?;
        let (source, built) = (source.display(), component.source.display());
        let message = format!("is older than {source}: {built} was built before it");
        Some(application.mistake(component, message, "run `souk build`, or `souk up --build`"))
    };
    application.here().filter_map(older).collect()
}

/// Whether a component's file is newer than all its sources, so that building it again would change nothing. `dir` is
/// the manifest's folder: a change in its `wit/` counts when it changes what `souk build` writes for the component.
pub(super) fn is_current(component: &str, source: &Path, build: &Build, dir: &Path) -> bool {
    let Some(built) = modified(source) else { return false };
    let written = wit::file(component, build);
    let contracts = dir.join("wit").canonicalize().ok().filter(|_| written.is_file());
    let counts = |file: &PathBuf| {
        contracts.as_ref().is_none_or(|folder| !file.canonicalize().is_ok_and(|file| file.starts_with(folder)))
    };
    let mut sources = watched(build).chain([written.clone()]).filter(counts);
    !build.watch.is_empty() && !sources.any(|file| modified(&file).is_some_and(|changed| changed > built))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use souk_manifest::{HostValues, LoadOptions, secrets::Secrets};
    use std::fs::{File, FileTimes};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_component_that_is_older_than_one_of_its_sources_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let manifest = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[[trigger.http]]\nroute = \"/...\"\n\
                        component = \"a\"\n[component.a]\nsource = \"a.wasm\"\n[component.a.build]\ncommand = \"true\"\n\
                        workdir = \"a\"\nwatch = [\"src/**/*.rs\"]\n";
        std::fs::write(path("spin.toml"), manifest).unwrap();
        std::fs::create_dir_all(path("a/src/inner")).unwrap();
        for name in ["a.wasm", "a/src/lib.rs", "a/src/inner/mod.rs", "a/other.rs"] {
            std::fs::write(path(name), "").unwrap();
        }
        let aged = |name: &str, seconds| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            File::options()
                .write(true)
                .open(path(name))
                .unwrap()
                .set_times(FileTimes::new().set_modified(time))
                .unwrap();
        };
        let said = || {
            let options = LoadOptions { manifest: path("spin.toml"), ..LoadOptions::default() };
            let host = HostValues { url: "http://localhost".to_owned(), secrets: Secrets::looked_up(path("none")) };
            stale(&souk_manifest::read(&options).unwrap().fill_in(&host).unwrap().application)
        };
        for name in ["a/src/lib.rs", "a/src/inner/mod.rs"] {
            aged(name, 1_000);
        }
        aged("a.wasm", 2_000);
        aged("a/other.rs", 3_000);
        assert!(said().is_empty(), "{:?}", said());
        aged("a/src/inner/mod.rs", 3_000);
        assert!(said()[0].message.contains("src/inner/mod.rs") && said()[0].line == Some(7), "{:?}", said());
        std::fs::remove_file(path("a.wasm")).unwrap();
        assert!(said().is_empty(), "what is missing is reported elsewhere: {:?}", said());
    }

    #[test]
    fn a_component_is_current_until_a_source_or_its_own_contracts_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (source, workdir) = (path("a/a.wasm"), path("a"));
        let watch = vec!["*.js".to_owned(), "../wit/**/*.wit".to_owned()];
        let build = Build { commands: vec!["true".to_owned()], workdir, watch };
        let aged = |name: &str, seconds| {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), "").unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let file = File::options().write(true).open(path(name)).unwrap();
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
        };
        let current = || is_current("a", &source, &build, folder.path());
        assert!(!current(), "there is no component yet");
        aged("a/app.js", 10);
        aged("a/a.wasm", 20);
        assert!(current());
        aged("wit/b.wit", 30);
        assert!(!current(), "a contract is newer, and nothing was written from it");
        aged("a/spin-dependencies.wit", 15);
        assert!(current(), "the contract is of other components");
        aged("a/spin-dependencies.wit", 25);
        assert!(!current());
        aged("a/a.wasm", 40);
        assert!(current());
        aged("a/more.js", 50);
        assert!(!current(), "a new source");
        assert!(
            !is_current("a", &source, &Build { watch: Vec::new(), ..build.clone() }, folder.path()),
            "nothing is known"
        );
    }
}
