//! The log's last lines, for the administration API, and the bound on the length of every record.
//!
//! Many records quote what a guest or another server has written, and not each of these texts has a bound of its own.
//! So a record that is too long is cut here, where all of them pass.
//!
//! Each line for stderr is copied here into a reused buffer, so a line costs a copy and no allocation. The lines are
//! the same as on stderr, without colours.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use tracing_subscriber::fmt::MakeWriter;

souk_manifest::fixed_limits! {
    /// The fixed limits of the log's last lines.
    pub(crate) const FIXED_LIMITS = "process";

    /// How many of the log's last lines the administration API can show.
    const MAX_KEPT_LINES: usize = 1_000, "lines";
    /// How much of each of these lines is kept.
    const MAX_KEPT_LINE_BYTES: usize = 4 << 10, bytes;
    /// The longest record of the log; the rest of a longer one is left out.
    const MAX_RECORD_BYTES: usize = 64 << 10, bytes;
}

/// The last lines; cheap to clone.
#[derive(Clone, Default)]
pub struct LogTail(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    lines: VecDeque<Vec<u8>>,
    /// How many lines came before the first kept one.
    before: u64,
}

impl LogTail {
    fn push(&self, record: &[u8]) {
        let mut kept = self.0.lock();
        let mut room = Vec::new();
        if kept.lines.len() >= MAX_KEPT_LINES {
            room = kept.lines.pop_front().unwrap_or_default();
            kept.before += 1;
        }
        room.clear();
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        room.extend_from_slice(record.get(..MAX_KEPT_LINE_BYTES).unwrap_or(record));
        kept.lines.push_back(room);
    }

    /// The last `most` lines after number `after`, and the number of the last line.
    pub fn lines(&self, after: Option<u64>, most: usize) -> (Vec<String>, u64) {
        let kept = self.0.lock();
        let all = kept.lines.len();
        let known = after.map_or(0, |after| usize::try_from(after.saturating_sub(kept.before)).unwrap_or(usize::MAX));
        let from = known.min(all).max(all.saturating_sub(most));
        let lines = kept.lines.iter().skip(from).map(|line| plain(&String::from_utf8_lossy(line))).collect();
        (lines, kept.before + all as u64)
    }
}

/// Removes the codes that colour a line on a terminal: an escape, a bracket, and everything up to a letter.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.strip_prefix('[').and_then(|code| code.split_once(|c: char| c.is_ascii_alphabetic()));
        plain.push_str(code.map_or(part, |(_, rest)| rest));
    }
    plain
}

/// Writes to `W`'s destination, and keeps the last lines.
pub(super) struct Tee<W> {
    writer: W,
    tail: LogTail,
}

impl<W> Tee<W> {
    pub(super) fn new(writer: W, tail: LogTail) -> Self {
        Tee { writer, tail }
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Tee<W> {
    type Writer = Tee<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Tee { writer: self.writer.make_writer(), tail: self.tail.clone() }
    }
}

impl<W: Write> Write for Tee<W> {
    // A record is written in one call.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.tail.push(record);
        match record.split_at_checked(MAX_RECORD_BYTES) {
            Some((kept, rest)) if !rest.is_empty() => {
                let mut kept = String::from_utf8_lossy(kept).into_owned();
                kept.push_str(&format!("... ({} bytes left out)\n", rest.len()));
                self.writer.write_all(kept.as_bytes())?;
            }
            _ => self.writer.write_all(record)?,
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_those_after_a_known_one_found() {
        let tail = LogTail::default();
        assert_eq!(tail.lines(None, 10), (Vec::new(), 0));
        let mut log = Tee::new(io::sink(), tail.clone());
        for n in 1..=MAX_KEPT_LINES + 5 {
            log.write_all(format!("\u{1b}[2mline\u{1b}[0m {n}\n").as_bytes()).unwrap();
        }
        let last = MAX_KEPT_LINES as u64 + 5;
        assert_eq!(tail.lines(None, 2), (vec![format!("line {}", last - 1), format!("line {last}")], last));
        assert_eq!(tail.lines(Some(last - 1), 10), (vec![format!("line {last}")], last));
        assert_eq!(tail.lines(Some(last), 10), (Vec::new(), last));
        assert_eq!(tail.lines(Some(1), usize::MAX).0.len(), MAX_KEPT_LINES, "what is gone is not waited for");
        log.write_all(&vec![b'x'; MAX_KEPT_LINE_BYTES + 1]).unwrap();
        assert_eq!(tail.lines(Some(last), 10).0[0].len(), MAX_KEPT_LINE_BYTES);
    }

    #[test]
    fn a_record_that_is_too_long_is_cut_and_stays_one_line() {
        let mut out = Vec::new();
        let mut log = Tee::new(&mut out, LogTail::default());
        let long = format!("{}\n", "x".repeat(17 << 20));
        log.write_all(long.as_bytes()).unwrap();
        log.write_all(b"next\n").unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[1]), (2, "next"));
        let end = format!("x... ({} bytes left out)", long.len() - MAX_RECORD_BYTES);
        assert!(lines[0].ends_with(&end) && lines[0].len() < MAX_RECORD_BYTES + 100, "{}", lines[0].len());
    }
}
