//! The command line's output, on streams that may be closed.
//!
//! `println!` panics when the reader has closed the pipe (`souk doctor | head -1`); the host must not. Such output is
//! dropped.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether notes go to the log: with a JSON log, nothing else may appear on stderr.
static NOTES_ARE_LOGGED: AtomicBool = AtomicBool::new(false);

/// Sends notes to the log from now on; the log must have been started.
pub(super) fn log_notes() {
    NOTES_ARE_LOGGED.store(true, Ordering::Relaxed);
}

/// Prints a line of a command's result on stdout.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a text of a command's result, with its own line ends, on stdout.
pub(super) fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a note or an error on stderr.
pub(super) fn note(text: &str) {
    if NOTES_ARE_LOGGED.load(Ordering::Relaxed) {
        return match (text.strip_prefix("error: "), text.strip_prefix("warning: ")) {
            (Some(error), _) => tracing::error!("{error}"),
            (None, Some(warning)) => tracing::warn!("{warning}"),
            (None, None) => tracing::info!("{}", text.trim_start()),
        };
    }
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
