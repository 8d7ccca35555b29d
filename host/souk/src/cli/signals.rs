//! Signals to a host that serves.
//!
//! SIGTERM, SIGINT and SIGQUIT drain it. SIGHUP, SIGUSR1 and SIGUSR2, which end a process that does not know them, are
//! logged and ignored: an operator sends them to a daemon without meaning to stop it.

use super::output;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Logs SIGHUP, SIGUSR1 and SIGUSR2 from now on, and does nothing else about them.
///
/// # Errors
/// When the system does not let the process handle them.
pub(super) fn ignore() -> std::io::Result<()> {
    for (name, kind) in [
        ("SIGHUP", SignalKind::hangup()),
        ("SIGUSR1", SignalKind::user_defined1()),
        ("SIGUSR2", SignalKind::user_defined2()),
    ] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tracing::warn!("{name} is ignored: to change the manifest or to stop, send SIGTERM and start again");
            }
        });
    }
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
                output::note("stopping: no new connections; finishing what is under way (once more to stop at once)");
            }
        }
    });
    Ok(())
}
