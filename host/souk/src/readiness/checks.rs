//! Checks each need at intervals.

use super::needs::Kind;
use crate::app::App;
use rustix::fs::{StatVfsMountFlags, statvfs};
use souk_links::remote::{Remote, is_served};
use souk_nats::Outage;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of readiness.
    pub(crate) const FIXED_LIMITS = "readiness";

    /// How often the needs of components are checked.
    pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
    /// How long a check may take; a later answer counts as none.
    pub(super) const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);
    /// A disk with less free space for the host's user than this counts as full.
    const MIN_FREE_BYTES: u64 = 1 << 20, bytes;
}

/// Checks `kind` at intervals, and passes each result to `note`.
pub(super) async fn run(app: Arc<App>, kind: Kind, note: impl Fn(Result<(), String>)) {
    loop {
        let answer = tokio::time::timeout(CHECK_TIMEOUT, ask(&app, &kind)).await;
        note(answer.unwrap_or_else(|_| Err(format!("no answer in {CHECK_TIMEOUT:?}"))));
        wait(&app, &kind).await;
    }
}

/// Waits for the next check, which comes earlier when the connection to NATS has changed.
async fn wait(app: &App, kind: &Kind) {
    let pause = tokio::time::sleep(CHECK_INTERVAL);
    match (kind, app.remote()) {
        (Kind::Nats, Some(remote)) => {
            let mut outage = remote.nats().outage();
            outage.mark_unchanged();
            tokio::select! {
                _ = outage.changed() => {}
                () = pause => {}
            }
        }
        _ => pause.await,
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
        Kind::Nats => match app.remote().map(|remote| *remote.nats().outage().borrow()) {
            None | Some(Outage::None) => Ok(()),
            Some(Outage::Since(_)) => Err("there is no connection; the log says why".to_owned()),
        },
        Kind::Store(label) => match app.store(label) {
            Some(store) => store.probe().await.map_err(|error| match error.cause() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }),
            None => Ok(()),
        },
        Kind::Queue => match app.queue() {
            Some(queue) => queue.probe().await.map_err(|error| error.to_string()),
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
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < MIN_FREE_BYTES { Err(format!("{free} bytes are free; fix: make room on it")) } else { Ok(()) }
}
