//! What the command line says, on streams that may be gone.
//!
//! `println!` panics when its reader has ended (`souk doctor | head -1`); the host must not. What nobody reads is lost.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether remarks are records of the log: where that is JSON, nothing else may stand on stderr.
static NOTES_ARE_LOGGED: AtomicBool = AtomicBool::new(false);

/// From now on remarks are records of the log, which has been started.
pub(super) fn log_notes() {
    NOTES_ARE_LOGGED.store(true, Ordering::Relaxed);
}

/// A line that was asked for, on stdout.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A text that was asked for and ends its own lines, on stdout.
pub(super) fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A remark or an error, on stderr.
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
