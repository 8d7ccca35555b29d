//! Checks each need at intervals.

use super::needs::Kind;
use crate::app::App;
use rustix::fs::{StatVfsMountFlags, statvfs};
use souk_links::remote::{Remote, is_served};
use souk_nats::Outage;
use std::future::pending;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of readiness.
    pub(crate) const FIXED_LIMITS = "readiness";

    /// How often the needs of components are checked.
    pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(500);
    /// How long a check may take; a later answer counts as none.
    pub(super) const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);
    /// A disk with less free space for the host's user than this counts as full.
    const MIN_FREE_BYTES: u64 = 1 << 20, bytes;
}

/// Checks `kind` at intervals, and passes each result to `note`. When the connection to NATS has changed, what needs it is
/// checked at once, instead of an answer that may no longer come.
pub(super) async fn run(app: Arc<App>, kind: Kind, note: impl Fn(Result<(), String>)) {
    loop {
        let mut changed = pin!(connection_changed(&app, &kind));
        tokio::select! {
            () = &mut changed => continue,
            answer = tokio::time::timeout(CHECK_TIMEOUT, ask(&app, &kind)) => {
                note(answer.unwrap_or_else(|_| Err(format!("no answer in {CHECK_TIMEOUT:?}"))));
            }
        }
        tokio::select! {
            () = &mut changed => {}
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    }
}

/// Waits until the connection to NATS is lost or back; for ever where `kind` does not need it.
async fn connection_changed(app: &App, kind: &Kind) {
    if let (Kind::Nats | Kind::Queue | Kind::Store(_) | Kind::Host(_), Some(remote)) = (kind, app.remote()) {
        let mut outage = remote.nats().outage();
        outage.mark_unchanged();
        if outage.changed().await.is_ok() {
            return;
        }
    }
    pending().await
}

/// Whether there is a connection to NATS, where the application has one.
fn connection(app: &App) -> Result<(), String> {
    match app.remote().map(|remote| *remote.nats().outage().borrow()) {
        None | Some(Outage::None) => Ok(()),
        Some(Outage::Since(_)) => Err("there is no connection; the log says why".to_owned()),
    }
}

async fn ask(app: &App, kind: &Kind) -> Result<(), String> {
    match kind {
        Kind::Disk(folder) => {
            let folder = folder.clone();
            let looked = tokio::task::spawn_blocking(move || disk(&folder)).await;
            looked.unwrap_or_else(|error| Err(error.to_string()))
        }
        Kind::Postgres(server) => server.0.probe(&server.1).await,
        Kind::Nats => connection(app),
        Kind::Store(label) => match app.store(label) {
            Some(store) => store.probe().await.map_err(|error| match error.cause() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }),
            None => Ok(()),
        },
        Kind::Queue => match app.queue() {
            // With NATS, the messages are there.
            Some(queue) => {
                connection(app)?;
                queue.probe().await.map_err(|error| error.to_string())
            }
            None => Ok(()),
        },
        Kind::Patterns(component) => match app.answered_twice(component).as_slice() {
            [] => Ok(()),
            twice => Err(format!(
                "another service answers {} too; fix: stop the original service, or let it subscribe in the queue group \
                 `{component}`",
                twice.join(", ")
            )),
        },
        Kind::Host(component) => match app.remote().map(Remote::nats) {
            Some(nats) => match is_served(nats, component).await {
                // If this host may not check, a call will find out.
                Some(true) | None => Ok(()),
                Some(false) => Err(format!("none answers; fix: start one: `souk up --only {component}`")),
            },
            None => Ok(()),
        },
    }
}

/// Whether the disk of `folder` has free space.
fn disk(folder: &Path) -> Result<(), String> {
    let disk = statvfs(folder).map_err(|error| error.to_string())?;
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err("it is read-only".to_owned());
    }
    // A file system that counts no files has none to run out of.
    if disk.f_files > 0 && disk.f_favail == 0 {
        return Err("no further file fits, whatever its size; fix: remove files from it".to_owned());
    }
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < MIN_FREE_BYTES { Err(format!("{free} bytes are free; fix: make room on it")) } else { Ok(()) }
}
