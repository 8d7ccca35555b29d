//! What a Redis server sends, before the client's parser gets it.
//!
//! The parser collects a whole message in memory, up to 512 MiB, before anybody sees its size; and what it has parsed waits
//! in a queue without a bound. So [`Inflow`] reads the lengths in the stream itself. It replaces a text that is longer
//! than a message may be by its length, as a number, and drops its bytes as they come: the other messages of the
//! connection are not affected. And it stops reading while [`MAX_AHEAD_BYTES`] wait to be taken.

use super::channel::MAX_MESSAGE_BYTES;
use futures::task::AtomicWaker;
use futures::{Stream, StreamExt as _};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::coop::{consume_budget, unconstrained};

souk_manifest::fixed_limits! {
    /// The fixed limits of what a server sends.
    pub(crate) const FIXED_LIMITS = "redis triggers";

    /// The most memory for messages that were read and not yet passed on, for each server. The largest message fits.
    const MAX_AHEAD_BYTES: usize = 3 << 20, bytes;
    /// What a connection counts for in `application_memory`: the messages that were read ahead, and the buffer for the one
    /// that is being read.
    pub(super) const CONNECTION_BYTES: usize = 6 << 20, bytes;
    /// What each part of a message counts for besides its bytes.
    const PART_BYTES: usize = 64, bytes;
    /// How much is read from the socket at a time.
    const CHUNK_BYTES: usize = 16 << 10, bytes;
    /// The longest line, which is an error of the server.
    const MAX_LINE_BYTES: usize = 4 << 10, bytes;
}

/// How much was read and not yet passed on; shared by the stream and the task that takes messages from the parser.
#[derive(Default)]
pub(super) struct Ahead {
    bytes: AtomicUsize,
    reader: AtomicWaker,
    taker: AtomicWaker,
}

impl Ahead {
    /// The next of `messages`, the parser's queue; `None` at its end. While it is empty, everything that was read counts as
    /// passed on.
    pub(super) async fn next<S: Stream + Unpin>(&self, messages: &mut S) -> Option<S::Item> {
        let next = poll_fn(|cx| {
            // Confirmations are no messages: only the reader knows when they fill the room.
            self.taker.register(cx.waker());
            let before = self.bytes.load(Ordering::Acquire);
            let polled = messages.poll_next_unpin(cx);
            if polled.is_pending() {
                self.bytes.fetch_sub(before, Ordering::AcqRel);
                self.reader.wake();
            }
            polled
        });
        // A poll that tokio's budget ends early would look like an empty queue.
        let message = unconstrained(next).await;
        consume_budget().await;
        message
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Acquire) >= MAX_AHEAD_BYTES
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy)]
enum Part {
    /// A line: a number, a status, or how long the next text or list is.
    Line,
    /// A text with so many bytes left, its line break included.
    Text(usize),
    /// A text that is too long.
    Dropped(usize),
}

/// A stream in which no text is longer than a message may be.
pub(super) struct Inflow<S> {
    stream: S,
    ahead: Arc<Ahead>,
    part: Part,
    /// The line so far.
    line: Vec<u8>,
    /// Bytes from the socket.
    chunk: Box<[u8]>,
    /// Bytes for the parser, and how many of them it has.
    checked: Vec<u8>,
    handed: usize,
}

impl<S> Inflow<S> {
    pub(super) fn new(stream: S, ahead: Arc<Ahead>) -> Self {
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        Inflow { stream, ahead, part: Part::Line, line: Vec::new(), chunk, checked: Vec::new(), handed: 0 }
    }

    /// Checks the first `count` bytes of the chunk.
    fn check(&mut self, count: usize) -> io::Result<()> {
        self.checked.clear();
        self.handed = 0;
        let chunk = std::mem::take(&mut self.chunk);
        let checked = self.check_all(chunk.get(..count).unwrap_or_default());
        self.chunk = chunk;
        checked
    }

    fn check_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let taken = match self.part {
                Part::Line => rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1),
                Part::Text(left) | Part::Dropped(left) => left.min(rest.len()),
            };
            let (bytes, after) = rest.split_at(taken);
            rest = after;
            self.part = match self.part {
                Part::Line => {
                    self.line.extend_from_slice(bytes);
                    if self.line.len() > MAX_LINE_BYTES {
                        return Err(io::Error::other("the server sent a line that is too long"));
                    }
                    if bytes.ends_with(b"\n") { self.end_line() } else { Part::Line }
                }
                Part::Text(left) => {
                    self.checked.extend_from_slice(bytes);
                    if left > taken { Part::Text(left - taken) } else { Part::Line }
                }
                Part::Dropped(left) if left > taken => Part::Dropped(left - taken),
                Part::Dropped(_) => Part::Line,
            };
        }
        Ok(())
    }

    /// Passes the line on; returns what comes after it.
    fn end_line(&mut self) -> Part {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line).unwrap_or_default().trim_end();
        let length = text.strip_prefix(['$', '=', '!']).and_then(|length| length.parse::<usize>().ok());
        let with_break = length.unwrap_or_default().saturating_add(2);
        self.ahead.add(PART_BYTES);
        match length {
            Some(length) if length > MAX_MESSAGE_BYTES => {
                self.checked.extend_from_slice(format!(":{length}\r\n").as_bytes());
                Part::Dropped(with_break)
            }
            Some(_) => {
                self.checked.extend_from_slice(&line);
                self.ahead.add(with_break);
                Part::Text(with_break)
            }
            None => {
                self.checked.extend_from_slice(&line);
                Part::Line
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inflow<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let left = this.checked.get(this.handed..).unwrap_or_default();
            if !left.is_empty() {
                let (now, _) = left.split_at(left.len().min(buf.remaining()));
                buf.put_slice(now);
                this.handed += now.len();
                return Poll::Ready(Ok(()));
            }
            if this.ahead.is_full() {
                this.ahead.reader.register(cx.waker());
                this.ahead.taker.wake();
                // It may have been emptied before the waker was there.
                if this.ahead.is_full() {
                    return Poll::Pending;
                }
            }
            let mut chunk = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut chunk))?;
            let count = chunk.filled().len();
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            this.check(count)?;
        }
    }
}

#[cfg(test)]
#[path = "inflow_tests.rs"]
mod tests;
