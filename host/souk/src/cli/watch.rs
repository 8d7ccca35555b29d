//! `souk up --watch`: rebuilds and deploys a component whose sources change; nothing else restarts.
//!
//! `watch` under `[component.NAME.build]` lists the sources. If a build fails or a version does not fit, the old
//! version keeps serving and the terminal shows the reason. Changes during a build start another build after it.
//!
//! A new function is written in the component that has it and in its caller, and nobody knows which of the two is built
//! first. So a version that was refused is deployed again when another component has got a new version.
//!
//! The system drops events when too many files change at once. Then the times of all sources say what to build. A build
//! itself may write so many files, so it would not do to build everything again.

use super::{build, output};
use crate::app::App;
use crate::app::deploy::Order;
use crate::sources::{modified, source_newer_than};
use glob::{MatchOptions, Pattern};
use notify::{EventKind, RecursiveMode, Watcher as _};
use souk_manifest::{Application, clock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of watching sources.
    pub(crate) const FIXED_LIMITS = "process";

    /// The most file changes that are queued during a build; beyond that, the times of all sources are compared.
    const MAX_CHANGES: usize = 10_000, "changes";
    /// How long no file may change before a build starts: editors write a file in several steps.
    const QUIET_TIME: Duration = Duration::from_millis(50);
}

/// The watched files of one component.
struct Watched {
    component: String,
    patterns: Vec<Pattern>,
}

/// The paths that builds need.
pub(super) struct Places {
    pub(super) manifest: PathBuf,
    pub(super) runtime_config: Option<PathBuf>,
    pub(super) state: PathBuf,
}

/// Watches the sources of the components of `app` until `stop`. Returns the number of watched components.
///
/// # Errors
/// When the system cannot watch a folder.
pub(super) fn start(app: &Arc<App>, places: Places, quiet: bool, stop: CancellationToken) -> anyhow::Result<usize> {
    let (mut all, mut folders) = (Vec::new(), BTreeMap::new());
    let application = app.application();
    for component in application.here() {
        let Some(build) = component.build.as_ref().filter(|build| !build.watch.is_empty()) else { continue };
        let workdir = std::path::absolute(&build.workdir)?;
        let mut patterns = Vec::new();
        for text in &build.watch {
            let path = normal(&workdir.join(text));
            let pattern = path.to_str().and_then(|path| Pattern::new(path).ok());
            let Some(pattern) = pattern else {
                anyhow::bail!("component `{}`: `watch` has {text:?}, which is not a file pattern", component.name);
            };
            let folder = folder_of(&path);
            let is_deep = is_deep(&folder, &path);
            *folders.entry(folder).or_insert(false) |= is_deep;
            patterns.push(pattern);
        }
        all.push(Watched { component: component.name.clone(), patterns });
    }
    let (sender, changes) = mpsc::channel(MAX_CHANGES);
    let (all, missed) = (Arc::new(all), Arc::new(AtomicBool::new(false)));
    let mut watcher = notify::recommended_watcher({
        let (all, missed) = (all.clone(), missed.clone());
        move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event {
                queue(event, &all, &sender, &missed);
            }
        }
    })?;
    for (folder, is_deep) in &folders {
        let mode = if *is_deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        watcher.watch(folder, mode).map_err(|error| {
            anyhow::anyhow!(
                "{} cannot be watched: {error}\n  fix: correct `watch` of the component's build",
                folder.display()
            )
        })?;
    }
    let count = all.len();
    tokio::spawn(watch(app.clone(), places, quiet, all, Changes { changes, missed }, watcher, stop));
    Ok(count)
}

/// The changes that are not built yet.
struct Changes {
    /// Files that have changed.
    changes: mpsc::Receiver<PathBuf>,
    /// Whether other files may have changed too.
    missed: Arc<AtomicBool>,
}

/// Queues the changes of an event, or notes that some were `missed`.
fn queue(event: notify::Event, all: &[Watched], changes: &mpsc::Sender<PathBuf>, missed: &AtomicBool) {
    if event.need_rescan() {
        missed.store(true, Ordering::Release);
        // No component has this file: it only wakes the task that builds. When the queue is full, that is awake.
        let _ = changes.try_send(PathBuf::new());
    } else if matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)) {
        // A build writes thousands of files beside the sources: they take no room from a change of a source.
        for path in event.paths.into_iter().filter(|path| !components(all, path).is_empty()) {
            if changes.try_send(path).is_err() {
                missed.store(true, Ordering::Release);
            }
        }
    }
}

/// The path without `.` and `..`, which events never contain.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

/// The folder that contains everything that a pattern can match.
fn folder_of(pattern: &Path) -> PathBuf {
    let is_fixed = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = pattern.components().take_while(is_fixed).collect();
    if fixed.is_dir() { fixed } else { fixed.parent().map_or_else(PathBuf::new, Path::to_path_buf) }
}

/// Whether a pattern can match files in folders below its `folder`.
fn is_deep(folder: &Path, pattern: &Path) -> bool {
    pattern.strip_prefix(folder).map_or(true, |rest| rest.components().count() > 1 || rest.ends_with("**"))
}

async fn watch(
    app: Arc<App>,
    places: Places,
    quiet: bool,
    all: Arc<Vec<Watched>>,
    changes: Changes,
    // Dropping it ends the watch.
    _watcher: notify::RecommendedWatcher,
    stop: CancellationToken,
) {
    // The components whose last build was refused, and why.
    let mut refused: BTreeMap<&str, String> = BTreeMap::new();
    let Changes { mut changes, missed } = changes;
    // When the first change was noticed of those that the last build of a component has.
    let mut noticed: BTreeMap<&str, SystemTime> = BTreeMap::new();
    while let Some(Some(first)) = stop.run_until_cancelled(changes.recv()).await {
        let now = clock::now();
        let mut changed = components(&all, &first);
        while let Ok(Some(path)) = tokio::time::timeout(QUIET_TIME, changes.recv()).await {
            changed.extend(components(&all, &path));
        }
        if missed.swap(false, Ordering::AcqRel) {
            let application = app.application();
            let outdated = |watched: &&Watched| is_outdated(&application, watched, &noticed);
            let outdated = || all.iter().filter(outdated).map(|watched| watched.component.as_str()).collect::<Vec<_>>();
            changed.extend(tokio::task::block_in_place(outdated));
        }
        noticed.extend(changed.iter().map(|component| (*component, now)));
        let mut has_served = false;
        for component in changed {
            refused.remove(component);
            match rebuild(&places, quiet, component).await {
                Ok(()) => has_served |= deploy(&app, quiet, component, None, &mut refused).await,
                Err(error) => report(component, &super::with_causes(&error)),
            }
        }
        while std::mem::take(&mut has_served) {
            for (component, why) in std::mem::take(&mut refused) {
                has_served |= deploy(&app, quiet, component, Some(why), &mut refused).await;
            }
        }
    }
}

/// Whether a source of a component has changed since its last build: the one here whose changes were `noticed`, or an
/// earlier one.
fn is_outdated(application: &Application, watched: &Watched, noticed: &BTreeMap<&str, SystemTime>) -> bool {
    let Some(component) = application.components.get(&watched.component) else { return false };
    let since = noticed.get(watched.component.as_str()).copied().or_else(|| modified(&component.source));
    since.is_none_or(|since| source_newer_than(component, since).is_some())
}

/// Says why a component was not replaced.
fn report(component: &str, why: &str) {
    output::note(&format!("error: {why}\n  `{component}` serves as before; the next change starts another build"));
}

/// How patterns match: as when a build looks for its sources, `*` stays within a folder.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// The components that use a file.
fn components<'a>(all: &'a [Watched], path: &Path) -> BTreeSet<&'a str> {
    let matches = |pattern: &Pattern| pattern.matches_path_with(path, OPTIONS);
    let concerned = all.iter().filter(|watched| watched.patterns.iter().any(matches));
    concerned.map(|watched| watched.component.as_str()).collect()
}

/// Builds a component.
async fn rebuild(places: &Places, quiet: bool, component: &str) -> anyhow::Result<()> {
    let names = [component.to_owned()];
    let request = build::BuildRequest {
        manifest: &places.manifest,
        runtime_config: places.runtime_config.as_deref(),
        components: &names,
        state: &places.state,
        names_unchanged: false,
    };
    build::run(request, quiet).await
}

/// Deploys what was built of a component, and returns whether it serves. If it is `refused`, the reason is printed,
/// unless it is the one `before`. Of a component that has not changed, nothing else is printed.
async fn deploy<'a>(
    app: &Arc<App>,
    quiet: bool,
    component: &'a str,
    before: Option<String>,
    refused: &mut BTreeMap<&'a str, String>,
) -> bool {
    let order = Order {
        component: component.to_owned(),
        bytes: None,
        trial: None,
        by: "souk up --watch".to_owned(),
        check: false,
    };
    // A shared source, such as a contract, has the components built that watch it, and changes only some of them.
    let quiet = quiet || app.serves_its_file(component).await;
    if !quiet {
        // Compiling a large component takes tens of seconds.
        output::note(&format!("compiling {component}"));
    }
    match app.deploy(order).await {
        Ok(done) => {
            if !quiet {
                output::note(&format!("   served {component}: {}", done.message));
            }
            true
        }
        Err(error) => {
            let why = super::with_causes(&error.into());
            if before.as_ref() != Some(&why) {
                report(component, &why);
            }
            refused.insert(component, why);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, Flag};

    #[test]
    fn a_change_concerns_the_components_whose_patterns_it_matches() {
        let pattern = |text: &str| Pattern::new(text).unwrap();
        let all = [
            Watched {
                component: "web".to_owned(),
                patterns: vec![pattern("/app/web/src/**/*.rs"), pattern("/app/wit/*.wit")],
            },
            Watched {
                component: "links".to_owned(),
                patterns: vec![pattern("/app/links/**/*.rs"), pattern("/app/*.js"), pattern("/app/wit/*.wit")],
            },
        ];
        let concerned = |path: &str| components(&all, Path::new(path)).into_iter().collect::<Vec<_>>();
        assert_eq!(concerned("/app/web/src/a/b.rs"), ["web"]);
        assert_eq!(concerned("/app/web/src/b.rs"), ["web"]);
        assert_eq!(concerned("/app/wit/links.wit"), ["links", "web"]);
        assert_eq!(concerned("/app/app.js"), ["links"]);
        for built in ["/app/web/target/b.rs", "/app/build/bundle.js", "/app/node_modules/x/y.js", "/app/wit/deps/a.wit"]
        {
            assert!(concerned(built).is_empty(), "{built}");
        }
    }

    #[test]
    fn dropped_events_and_changes_beyond_the_queue_are_noticed() {
        let all =
            [Watched { component: "web".to_owned(), patterns: vec![Pattern::new("/app/web/src/**/*.rs").unwrap()] }];
        let (sender, mut changes) = mpsc::channel(1);
        let missed = AtomicBool::new(false);
        let created = |path: &str| notify::Event::new(EventKind::Create(CreateKind::File)).add_path(path.into());
        queue(created("/app/web/target/a.rs"), &all, &sender, &missed);
        assert!(changes.try_recv().is_err());
        queue(created("/app/web/src/a.rs"), &all, &sender, &missed);
        assert_eq!(changes.try_recv().unwrap(), Path::new("/app/web/src/a.rs"));
        assert!(!missed.swap(false, Ordering::AcqRel));
        queue(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan), &all, &sender, &missed);
        assert!(missed.swap(false, Ordering::AcqRel));
        // It wakes the task, and concerns no component by itself.
        assert!(components(&all, &changes.try_recv().unwrap()).is_empty());
        for _ in 0..2 {
            assert!(!missed.load(Ordering::Acquire));
            queue(created("/app/web/src/a.rs"), &all, &sender, &missed);
        }
        assert!(missed.load(Ordering::Acquire));
    }

    #[test]
    fn the_folder_that_is_watched_holds_all_that_a_pattern_matches() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("src/inner")).unwrap();
        std::fs::write(folder.path().join("src/lib.rs"), "").unwrap();
        let of = |pattern: &str| folder_of(&folder.path().join(pattern));
        assert_eq!(of("src/**/*.rs"), folder.path().join("src"));
        assert_eq!(of("src/lib.rs"), folder.path().join("src"));
        assert_eq!(of("*.toml"), folder.path());
        let deep = |pattern: &str| is_deep(&of(pattern), &folder.path().join(pattern));
        assert!(deep("src/**/*.rs") && deep("src/**") && deep("*/lib.rs"));
        assert!(!deep("*.toml") && !deep("Cargo.toml") && !deep("src/lib.rs"));
        assert_eq!(normal(Path::new("/a/./b/../c/*.rs")), Path::new("/a/c/*.rs"));
    }
}
