//! The command line's output, on streams that may be closed.
//!
//! `println!` panics when the reader has closed the pipe (`souk doctor | head -1`); the host must not. Such output is
//! dropped.

use std::fmt::Write as _;
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

/// JSON for a terminal: the same value, in which the characters that move the cursor or change the reading direction are
/// escaped. JSON itself escapes only those below U+0020, and a text in it may be a stranger's.
pub(super) fn json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                // Writing to a `String` never fails.
                let _ = write!(text, "\\u{:04x}", u32::from(char));
            }
            char => text.push(char),
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_printed_does_not_control_the_terminal_and_is_the_same_value() {
        let value = serde_json::json!({ "a": "\u{9b}2J\u{85}\u{7f}\u{202e}b\u{2028}\u{1b}[0m \u{e9}\u{1f600}" });
        let shown = json(&value.to_string());
        assert!(!shown.contains(char::is_control) && !shown.contains('\u{202e}'), "{shown:?}");
        assert!(shown.contains("\\u009b2J") && shown.contains('\u{1f600}'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
