//! The files that a component is built from, as the manifest names them (`watch` under `[component.NAME.build]`), and
//! which of them changed after the build. Without that entry nothing is known.

use souk_manifest::{Application, Build, Component};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

souk_manifest::fixed_limits! {
    /// The fixed limits of checking sources.
    pub(crate) const FIXED_LIMITS = "process";

    /// The most files of one component whose age is checked at start.
    const MAX_WATCHED_FILES: usize = 10_000, "files";
}

/// The files that a component is built from, as `watch` names them.
pub(crate) fn watched(build: &Build) -> impl Iterator<Item = PathBuf> {
    let patterns = build.watch.iter().filter_map(|pattern| build.workdir.join(pattern).to_str().map(str::to_owned));
    let files = patterns.filter_map(|pattern| glob::glob(&pattern).ok()).flatten().filter_map(Result::ok);
    files.take(MAX_WATCHED_FILES).filter(|file| file.is_file())
}

/// A source that has changed since the component was built.
pub(crate) fn newer_source(component: &Component) -> Option<PathBuf> {
    source_newer_than(component, modified(&component.source)?)
}

/// A source that has changed since that `time`.
pub(crate) fn source_newer_than(component: &Component, time: SystemTime) -> Option<PathBuf> {
    let build = component.build.as_ref()?;
    watched(build).find(|file| modified(file).is_some_and(|changed| changed > time))
}

/// When a file was changed; `None` when there is none.
pub(crate) fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// What fixes a link that is wrong because of one of these components: `fix`, but to build first if one of them is older
/// than its sources or the manifest. `souk build` writes a component's contracts from the manifest, so a component that
/// was built before a change of the manifest may have other imports and exports than the manifest says.
pub(crate) fn fix_by_build(application: &Application, components: &[&Component], fix: &str) -> String {
    let changed = components.iter().find_map(|component| {
        let changed = newer_source(component).or_else(|| newer_manifest(application, component))?;
        Some((component.name.as_str(), changed))
    });
    match changed {
        Some((name, changed)) => {
            let changed = changed.strip_prefix(&application.dir).unwrap_or(&changed).display();
            format!("run `souk build`: {changed} changed after `{name}` was built; if that is not enough, {fix}")
        }
        None => fix.to_owned(),
    }
}

/// The manifest, if it has changed since the component was built.
fn newer_manifest(application: &Application, component: &Component) -> Option<PathBuf> {
    component.build.as_ref()?;
    let manifest = application.dir.join(application.manifest.file_name()?);
    (modified(&manifest)? > modified(&component.source)?).then_some(manifest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use souk_manifest::{HostValues, LoadOptions, secrets::Secrets};
    use std::fs::{File, FileTimes};
    use std::time::Duration;

    #[test]
    fn a_wrong_link_of_a_component_that_was_built_before_a_change_is_fixed_by_a_build() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let component = |name: &str| {
            format!(
                "[component.{name}]\nsource = \"{name}.wasm\"\n[component.{name}.build]\ncommand = \"true\"\n\
                 watch = [\"{name}.rs\", \"wit/*.wit\"]\n"
            )
        };
        let manifest = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[component.c]\nsource = \"c.wasm\"\n";
        std::fs::create_dir(path("wit")).unwrap();
        std::fs::write(path("spin.toml"), [manifest, &component("a"), &component("b")].concat()).unwrap();
        let aged = |name: &str, seconds| {
            std::fs::File::create(path(name)).unwrap();
            set_time(&path(name), seconds);
        };
        for (name, seconds) in [("a.wasm", 20), ("b.wasm", 20), ("c.wasm", 20), ("a.rs", 10), ("wit/a.wit", 10)] {
            aged(name, seconds);
        }
        set_time(&path("spin.toml"), 10);
        let options = LoadOptions { manifest: path("spin.toml"), ..LoadOptions::default() };
        let host = HostValues { url: "http://localhost".to_owned(), secrets: Secrets::looked_up(path("none")) };
        let application = souk_manifest::read(&options).unwrap().fill_in(&host).unwrap().application;
        let fix = |names: [&str; 2]| {
            let components: Vec<_> = names.iter().filter_map(|name| application.components.get(*name)).collect();
            fix_by_build(&application, &components, "remove it")
        };
        assert_eq!(fix(["a", "b"]), "remove it");
        aged("a.rs", 30);
        let after = |seconds| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            source_newer_than(application.components.get("a").unwrap(), time).is_some()
        };
        assert!(after(29) && !after(30));
        let built = "changed after `a` was built; if that is not enough, remove it";
        assert_eq!(fix(["b", "a"]), format!("run `souk build`: a.rs {built}"));
        assert_eq!(fix(["b", "c"]), "remove it");
        aged("a.rs", 10);
        aged("wit/a.wit", 30);
        assert_eq!(fix(["a", "b"]), format!("run `souk build`: wit/a.wit {built}"));
        aged("wit/a.wit", 10);
        set_time(&path("spin.toml"), 30);
        assert_eq!(fix(["a", "b"]), format!("run `souk build`: spin.toml {built}"));
        assert_eq!(fix(["c", "c"]), "remove it", "nothing builds it");
        std::fs::remove_file(path("a.wasm")).unwrap();
        assert_eq!(fix(["a", "c"]), "remove it", "what is missing is reported elsewhere");
    }

    fn set_time(path: &Path, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
}
