//! Signals to a host that serves.
//!
//! SIGTERM, SIGINT and SIGQUIT drain it. SIGHUP makes it apply its current manifest and certificates, as `souk reload`
//! does; it is ignored until the application serves. SIGUSR1 and SIGUSR2, which by default end a process, are logged
//! and ignored: an operator who sends them to a daemon does not mean to stop it. SIGXFSZ, by which the system ends a
//! process that writes beyond its largest file size, is logged: the write fails, as on a full disk.

use super::output;
use crate::admin::Admin;
use crate::http::Tls;
use rustix::process::Signal;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of certificates.
    pub(crate) const FIXED_LIMITS = "process";

    /// How often the certificate files are checked for changes.
    const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);
}

/// Applies the manifest on SIGHUP, and reloads a certificate whose file has changed.
///
/// # Errors
/// When the system does not let the process handle the signal.
pub(super) fn reload(admin: Arc<Admin>, certificates: Vec<Tls>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: applying the manifest as it is now");
            if let Err(problem) = admin.reload().await {
                tracing::error!("nothing was applied: {problem}");
            }
        }
    });
    for tls in certificates {
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(CERTIFICATE_INTERVAL);
            loop {
                tick.tick().await;
                if !tls.is_outdated() {
                    continue;
                }
                match tls.reload() {
                    Ok(()) => tracing::info!("the certificate has changed: new connections get it"),
                    // The key file may follow in a moment.
                    Err(error) => tracing::warn!("the certificate has changed and cannot be used: {error}"),
                }
            }
        });
    }
    Ok(())
}

/// Logs SIGUSR1, SIGUSR2 and SIGXFSZ from now on, and does nothing else about them.
///
/// # Errors
/// When the system does not let the process handle them.
pub(super) fn ignore() -> std::io::Result<()> {
    // Once installed, the handler stays for the process's life: SIGHUP no longer ends it.
    drop(signal(SignalKind::hangup())?);
    for (name, kind) in [("SIGUSR1", SignalKind::user_defined1()), ("SIGUSR2", SignalKind::user_defined2())] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tracing::warn!(
                    "{name} is ignored: SIGHUP applies the manifest as it is now, and SIGTERM stops the host"
                );
            }
        });
    }
    let mut too_large = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    tokio::spawn(async move {
        while too_large.recv().await.is_some() {
            tracing::error!(
                "a file has reached the largest size that the system allows this process, and a write failed; fix: \
                 raise it (`ulimit -f`, LimitFSIZE of systemd)"
            );
        }
    });
    Ok(())
}

/// Cancels `shutdown` on SIGTERM, SIGINT or SIGQUIT; the second one ends the process at once.
///
/// # Errors
/// When the system does not let the process handle them.
pub(super) fn drain(shutdown: CancellationToken, quiet: bool) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = quit.recv() => {}
            }
            if !first {
                std::process::exit(130);
            }
            shutdown.cancel();
            if !quiet {
                output::note(
                    "stopping: no new connections; finishing the requests in progress (send the signal again \
                              to stop at once)",
                );
            }
        }
    });
    Ok(())
}
