//! What the command line says, on streams that may be gone.
//!
//! `println!` panics when its reader has ended (`souk doctor | head -1`); the host must not. What nobody reads is lost.

use std::io::Write as _;

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
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
