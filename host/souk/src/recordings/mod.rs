//! Recorded calls, one file each, in the folder `recordings` of the state folder.
//!
//! A file has a component's call and the answers of its imports, so it may contain passwords, tokens and personal data.
//! It has mode 0600, is deleted after a day, and is not part of a backup. It never contains the values of secret
//! variables.
//!
//! **Bounded.** The number and total size of the files are limited; the oldest are deleted. If the disk is slower than
//! the calls, a call is not recorded, and the log says so.

mod replay;

pub(crate) use replay::{Replayed, Replayer};

use parking_lot::Mutex;
use souk_bindings::tape::{FORMAT, Recording};
use souk_manifest::state::StateError;
use souk_manifest::{Application, clock};
use souk_runtime::vital;
use std::collections::VecDeque;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of recorded calls.
    pub(crate) const FIXED_LIMITS = "recordings";

    /// The most recorded calls that are kept; the oldest are deleted.
    const MAX_RECORDINGS: usize = 10_000, "calls";
    /// The most bytes that recorded calls may use on disk; the oldest are deleted.
    const MAX_TOTAL_BYTES: u64 = 256 << 20, bytes;
    /// How long a recorded call is kept.
    const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
    /// How often old recorded calls are deleted, and the log says what is being recorded.
    const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
    /// The most recorded calls that wait for the disk; more are not recorded.
    const MAX_WAITING: usize = 64, "calls";
}

/// The extension of the files.
const EXTENSION: &str = "json";

/// The folder of recordings in the state folder `state`.
fn folder(state: &Path) -> PathBuf {
    state.join("recordings")
}

/// Stores recorded calls; cheap to clone.
#[derive(Clone)]
pub(crate) struct Recordings {
    kept: Arc<State>,
    _sweeper: Arc<AbortOnDropHandle<()>>,
}

struct State {
    folder: PathBuf,
    /// The files with their sizes, oldest first.
    files: Mutex<VecDeque<(PathBuf, u64)>>,
    waiting: Arc<Semaphore>,
    numbers: AtomicU64,
    /// The components that are recorded.
    names: Mutex<Vec<String>>,
}

impl Recordings {
    /// Starts to record what `application` asks for; `None` when it asks for nothing and no earlier recordings are
    /// left. Blocks on the disk.
    ///
    /// # Errors
    /// When the folder cannot be created or read.
    pub(crate) fn open(state: &Path, application: &Application) -> Result<Option<Self>, StateError> {
        let names = names(application);
        let folder = folder(state);
        let failed = |cause| StateError::Unusable { path: folder.clone(), cause };
        if names.is_empty() && !folder.exists() {
            return Ok(None);
        }
        DirBuilder::new().mode(0o700).recursive(true).create(&folder).map_err(failed)?;
        let files = list(&folder).map_err(failed)?;
        let files = files.into_iter().map(|path| (path.metadata().map_or(0, |file| file.len()), path));
        let kept = Arc::new(State {
            files: Mutex::new(files.map(|(bytes, path)| (path, bytes)).collect()),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            numbers: AtomicU64::new(0),
            names: Mutex::new(names),
            folder,
        });
        let swept = vital("the sweeper of recordings", sweep(kept.clone()));
        let sweeper = Arc::new(AbortOnDropHandle::new(tokio::spawn(async move {
            swept.await;
        })));
        Ok(Some(Recordings { kept, _sweeper: sweeper }))
    }

    /// From now on the log says that the calls of these components are recorded.
    pub(crate) fn set_names(&self, application: &Application) {
        *self.kept.names.lock() = names(application);
    }

    /// The function that stores recordings.
    pub(crate) fn sink(&self) -> Arc<dyn Fn(Recording) + Send + Sync> {
        let kept = self.kept.clone();
        Arc::new(move |recording| kept.keep(recording))
    }
}

impl State {
    fn keep(self: &Arc<Self>, recording: Recording) {
        let component = recording.head.component.clone();
        let Ok(permit) = self.waiting.clone().try_acquire_owned() else {
            tracing::warn!(%component, "a call of `{component}` is not recorded: {MAX_WAITING} are already waiting for the disk");
            return;
        };
        let (kept, number) = (self.clone(), self.numbers.fetch_add(1, Ordering::Relaxed));
        tokio::task::spawn_blocking(move || {
            let name = format!("{:014}-{number:08}-{component}.{EXTENSION}", recording.head.time);
            match write(&kept.folder.join(name), &recording) {
                Ok(file) => kept.files.lock().push_back(file),
                Err(error) => {
                    tracing::warn!(
                        %component,
                        "a call of `{component}` is not recorded: {} cannot be written: {error}",
                        kept.folder.display()
                    );
                }
            }
            kept.prune();
            drop(permit);
        });
    }

    /// Deletes recordings that are too old or too many.
    fn prune(&self) {
        let mut files = self.files.lock();
        let mut bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        while let Some((path, size)) = files.front()
            && (files.len() > MAX_RECORDINGS || bytes > MAX_TOTAL_BYTES || is_old(path))
        {
            bytes -= size;
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!("{} cannot be removed: {error}", path.display());
            }
            files.pop_front();
        }
    }
}

/// Whether a recording with this name is too old to keep.
fn is_old(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let made = name.split('-').next().and_then(|time| time.parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
    clock::since_epoch().saturating_sub(made) > MAX_AGE
}

fn write(path: &Path, recording: &Recording) -> io::Result<(PathBuf, u64)> {
    let json = serde_json::to_vec(recording)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(&json);
    if written.is_err() {
        // A partial recording is useless.
        fs::remove_file(path)?;
    }
    written.map(|()| (path.to_owned(), json.len() as u64))
}

/// The files of recordings, oldest first.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Deletes old recordings and logs what is recorded, for as long as the host runs.
/// The components that are recorded.
fn names(application: &Application) -> Vec<String> {
    application.here().filter(|one| one.is_recorded).map(|one| one.name.clone()).collect()
}

async fn sweep(kept: Arc<State>) {
    let mut tick = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tick.tick().await;
        let names = kept.names.lock().clone();
        for component in &names {
            tracing::warn!(
                %component,
                "calls of `{component}` are recorded, with all values, and kept for a day in {}; remove `record` from \
                 its table to stop that",
                kept.folder.display()
            );
        }
        let kept = kept.clone();
        // It fails only if it panics, which the next run would do too.
        drop(tokio::task::spawn_blocking(move || kept.prune()).await);
    }
}

/// The recorded calls of a trace or of a request id, or all of them. Unreadable ones are left out.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn read(state: &Path, id: Option<&str>) -> io::Result<Vec<Recording>> {
    let folder = folder(state);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for path in list(&folder)?.into_iter().filter(|path| !is_old(path)) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let Ok(recording) = serde_json::from_str::<Recording>(&text) else { continue };
        let head = &recording.head;
        if head.format == FORMAT && id.is_none_or(|id| head.request == id || head.trace == id) {
            found.push(recording);
        }
    }
    Ok(found)
}
