//! A guest's stdout and stderr: each line becomes a log record (target `guest`, fields `component`, `version`,
//! `stream`, `trace`).
//!
//! A guest's stdout is logged as information; its stderr as a warning, which `--quiet` still shows. An empty line makes
//! no record. A record has `***` in place of the values of secret variables.
//!
//! A guest must not be able to forge or flood the log. Control characters are escaped, so one line stays one record;
//! invalid UTF-8 becomes U+FFFD; a line longer than [`MAX_LINE_BYTES`] is split into several records. Writing never
//! waits, and buffers at most one line for each instance and stream. All instances of a component together log at most
//! [`MAX_OUTPUT_BYTES`] a second; more is dropped, and one line a second reports how many lines. So a guest that prints
//! endlessly uses its own processor time and loses lines, but does not affect the host's memory, its disk or the lines
//! of others.

use super::Grants;
use super::last_words::{LastWords, MAX_LAST_WORDS_BYTES};
use super::line_budget::LineBudget;
use super::trace::SharedRedaction;
use parking_lot::{Mutex, MutexGuard};
use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

souk_manifest::fixed_limits! {
    /// The fixed limits of what components print.
    pub(crate) const FIXED_LIMITS = "output of components";

    /// The longest line in one log record; a longer line is split.
    pub const MAX_LINE_BYTES: usize = 8 * 1024, bytes;
    /// The most that one component logs in a second.
    pub(super) const MAX_OUTPUT_BYTES: usize = 256 * 1024, bytes;
    /// How many bytes each line counts for in addition to its text: time, component and trace are logged with it.
    const LINE_OVERHEAD_BYTES: usize = 128, bytes;
    /// The most bytes that a component passes in one write.
    const MAX_WRITE_BYTES: usize = 64 * 1024, bytes;
}

/// Both streams of one instance.
pub(super) struct Stdio {
    pub(super) stdout: Stream,
    pub(super) stderr: Stream,
}

impl Stdio {
    /// The streams of one instance of the component that `grants` belongs to.
    pub(super) fn new(grants: &Grants, version: Option<u64>, trace: &Arc<str>) -> Self {
        let stream = |name| {
            let (component, budget, hidden) = (grants.component.clone(), grants.output.clone(), grants.hidden.clone());
            Stream(Arc::new(Output { component, version, name, budget, hidden, state: State::new(trace) }))
        };
        Stdio { stdout: stream("stdout"), stderr: stream("stderr") }
    }

    /// Marks the lines from here on with `trace`.
    pub(super) fn begin(&self, trace: &Arc<str>) {
        self.flush();
        for stream in [&self.stdout, &self.stderr] {
            let mut state = stream.0.state();
            state.trace = trace.clone();
            state.last = LastWords::default();
        }
    }

    /// Why the guest failed, according to its standard error: its panic, its exception, or the last line.
    pub(super) fn last_words(&self) -> Option<String> {
        self.stderr.0.flush();
        let reason = self.stderr.0.state().last.reason();
        reason.map(|reason| printable(&self.stderr.0.hidden.apply(&reason)))
    }

    /// Logs unfinished lines.
    pub(super) fn flush(&self) {
        self.stdout.0.flush();
        self.stderr.0.flush();
    }
}

/// A handle to one stream; a guest may open many, and all write to the same line.
#[derive(Clone)]
pub(super) struct Stream(Arc<Output>);

impl Stream {
    /// The last exception that the guest has printed in this call.
    pub(super) fn exception(&self) -> Option<Exception> {
        let exception = self.0.state().last.exception().map(|printed| self.0.hidden.apply(printed));
        exception.as_deref().map(Exception::new)
    }
}

/// An exception that a guest has printed, with its place: an extension of a response with status 500.
#[derive(Debug, Clone)]
pub struct Exception(Arc<str>);

impl Exception {
    /// The exception whose text the guest has printed.
    pub fn new(printed: &str) -> Self {
        Exception(printable(printed).into())
    }

    /// Its text, which can contain what clients must not learn.
    pub fn text(&self) -> &str {
        &self.0
    }
}

struct Output {
    component: Arc<str>,
    version: Option<u64>,
    name: &'static str,
    budget: Arc<LineBudget>,
    hidden: SharedRedaction,
    state: Mutex<State>,
}

struct State {
    trace: Arc<str>,
    lines: Lines,
    last: LastWords,
}

impl State {
    fn new(trace: &Arc<str>) -> Mutex<Self> {
        Mutex::new(State { trace: trace.clone(), lines: Lines::default(), last: LastWords::default() })
    }
}

impl Output {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn write(&self, bytes: &[u8]) {
        let State { trace, lines, last } = &mut *self.state();
        lines.push(bytes, |line| {
            self.note(last, line);
            self.log(trace, line);
        });
    }

    fn flush(&self) {
        let State { trace, lines, last } = &mut *self.state();
        lines.finish(|line| {
            self.note(last, line);
            self.log(trace, line);
        });
    }

    /// Remembers a line that may say why the guest failed.
    fn note(&self, last: &mut LastWords, line: &[u8]) {
        // First without secrets where it is cut: a part of one would stay, which nothing finds later.
        match line.len() > MAX_LAST_WORDS_BYTES {
            true => last.note(self.hidden.apply(&String::from_utf8_lossy(line)).as_bytes()),
            false => last.note(line),
        }
    }

    fn log(&self, trace: &str, line: &[u8]) {
        let (component, version) = (&self.component, self.version);
        let dropped = {
            let component = component.clone();
            move |lines: u64| {
                tracing::warn!(
                    target: "guest", %component,
                    "{lines} lines dropped: the component printed more than {} KiB in a second", MAX_OUTPUT_BYTES >> 10
                );
            }
        };
        if !self.budget.admits(line.len() + LINE_OVERHEAD_BYTES, dropped) {
            return;
        }
        let line = printable(&self.hidden.apply(&String::from_utf8_lossy(line)));
        match self.name {
            "stderr" => tracing::warn!(target: "guest", %component, version, stream = self.name, trace, "{line}"),
            _ => tracing::info!(target: "guest", %component, version, stream = self.name, trace, "{line}"),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
struct Lines {
    /// The line so far: without `\n`, shorter than [`MAX_LINE_BYTES`].
    partial: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.partial.len();
            let window = bytes.get(..room).unwrap_or(bytes);
            let end = window.iter().position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.unwrap_or(window.len()));
            self.partial.extend_from_slice(piece);
            bytes = rest;
            if end.is_some() {
                bytes = bytes.get(1..).unwrap_or_default();
                let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
                if !line.is_empty() {
                    emit(line);
                }
                self.partial.clear();
            } else if self.partial.len() == MAX_LINE_BYTES {
                // The cut is between two characters: an incomplete character stays for the next piece.
                let cut = MAX_LINE_BYTES - incomplete_tail(&self.partial);
                let tail = self.partial.split_off(cut);
                emit(&self.partial);
                self.partial = tail;
            }
        }
    }

    fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            emit(&self.partial);
            self.partial.clear();
        }
    }
}

/// The number of bytes at the end that are the start of an incomplete character.
fn incomplete_tail(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last() {
        Some(last) if std::str::from_utf8(last.invalid()).is_err_and(|error| error.error_len().is_none()) => {
            last.invalid().len()
        }
        _ => 0,
    }
}

/// The text with everything escaped that moves a terminal's cursor, ends a line or changes the reading direction, so
/// that it cannot forge a log record.
pub fn printable(untrusted: &str) -> String {
    let mut text = String::with_capacity(untrusted.len());
    for char in untrusted.chars() {
        match char {
            '\t' => text.push(char),
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(text, "{}", char.escape_unicode());
            }
            char if char.is_control() => {
                let _ = write!(text, "{}", char.escape_default());
            }
            char => text.push(char),
        }
    }
    text
}

/// The beginning of a text that a guest or a stranger has written, for a log record: as long as a line of output, and
/// [`printable`].
pub fn brief(untrusted: &str) -> String {
    let kept = untrusted.floor_char_boundary(MAX_LINE_BYTES);
    let mut text = printable(untrusted.get(..kept).unwrap_or_default());
    if kept < untrusted.len() {
        let _ = write!(text, "... ({} bytes left out)", untrusted.len() - kept);
    }
    text
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// WASI 0.3 writes here.
impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = bytes.get(..MAX_WRITE_BYTES).unwrap_or(bytes);
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// WASI 0.2, and with it std, writes here.
impl OutputStream for Stream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    /// A flush does not end a line, because std flushes at any place.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let text = |line: &[u8]| printable(&String::from_utf8_lossy(line));
        for chunk in chunks {
            lines.push(chunk, |line| out.push(text(line)));
        }
        lines.finish(|line| out.push(text(line)));
        out
    }

    #[test]
    fn a_line_is_a_record_and_a_partial_line_comes_at_the_end() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n\nthree"]), ["one", "two", "three"]);
        assert_eq!(lines(&[b""]), Vec::<String>::new());
    }

    #[test]
    fn a_guest_cannot_forge_a_record_or_steer_a_terminal() {
        assert_eq!(lines(&[b"a\rINFO forged\x1b[2J\0\n"]), [r"a\rINFO forged\u{1b}[2J\u{0}"]);
        assert_eq!(lines(&["\u{85}b\u{2028}c\u{202e}d\te".as_bytes()]), ["\\u{85}b\\u{2028}c\\u{202e}d\te"]);
        assert_eq!(lines(&[b"\xff\xfe ok\n"]), ["\u{fffd}\u{fffd} ok"]);
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let text = "a".repeat(MAX_LINE_BYTES - 1) + "é" + &"b".repeat(MAX_LINE_BYTES);
        let cut = lines(&[text.as_bytes()]);
        assert_eq!(cut.concat(), text);
        assert!(cut.iter().all(|line| line.len() <= MAX_LINE_BYTES));
        assert_eq!(cut[0].len(), MAX_LINE_BYTES - 1);
    }

    proptest! {
        #[test]
        fn text_survives_any_cutting_into_writes(text in "[a-zé漢🦀\n]{0,400}", cuts in prop::collection::vec(1..7usize, 0..60)) {
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            let expected: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
            prop_assert_eq!(lines(&chunks), expected);
        }

        #[test]
        fn no_bytes_whatever_make_a_record_too_long_or_unprintable(bytes in prop::collection::vec(any::<u8>(), 0..40_000)) {
            for line in lines(&[&bytes]) {
                // An escape has at most ten times the bytes of the character it stands for.
                prop_assert!(line.len() <= MAX_LINE_BYTES * 10);
                prop_assert!(!line.contains(|c: char| c.is_control() && c != '\t'));
            }
        }
    }
}
