//! Rows that the guest reads as a stream.
//!
//! A small result is complete before the stream is created. A blocking thread reads a large one; it passes batches on
//! through a short channel, and waits up to [`STALL_TIMEOUT`](super::STALL_TIMEOUT) while the guest does not read.

use super::bindings::spin::sqlite::sqlite::{Error, RowResult, Value};
use super::database::Reader;
use super::engine::{Collected, Item};
use super::error::{Stop, internal};
use super::gauge::Run;
use crate::budget::HeldMemory;
use crate::producer::Source;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

souk_manifest::fixed_limits! {
    /// The fixed limits of streams of rows.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// How many bytes of rows one batch of a stream has.
    const BATCH_BYTES: usize = 64 << 10, bytes;
    /// The most batches of a stream that wait to be read.
    const MAX_BUFFERED_BATCHES: usize = 2, "batches";
}

/// The rows of one statement.
#[derive(Debug)]
pub struct RowStream {
    columns: Vec<String>,
    rows: VecDeque<RowResult>,
    /// The most bytes that the rows in the host's memory use.
    bytes: usize,
    scan: Option<Scan>,
}

/// A running read on a blocking thread.
#[derive(Debug)]
struct Scan {
    batches: mpsc::Receiver<Result<Vec<RowResult>, Error>>,
    /// Ends the read when the stream is dropped.
    _run: Run,
}

impl RowStream {
    pub(super) fn ready(collected: Collected) -> Self {
        RowStream {
            columns: collected.result.columns,
            rows: collected.result.rows.into(),
            bytes: collected.bytes,
            scan: None,
        }
    }

    /// Begins a read on a blocking thread, and waits for its first row or its error.
    pub(super) async fn scan(reader: Reader, run: Run, sql: String, params: Vec<Value>) -> Result<Self, Error> {
        let label: Arc<str> = reader.label().into();
        let told = label.clone();
        let (give_columns, columns) = oneshot::channel();
        let (give, batches) = mpsc::channel(MAX_BUFFERED_BATCHES);
        let runtime = tokio::runtime::Handle::current();
        let evicted = reader.evicted();
        tokio::task::spawn_blocking(move || {
            let last = |batch: Result<Vec<RowResult>, Error>| {
                drop(runtime.block_on(tokio::time::timeout(super::STALL_TIMEOUT, give.send(batch))));
            };
            let send = |batch: Vec<RowResult>| {
                let send = tokio::time::timeout(super::STALL_TIMEOUT, give.send(Ok(batch)));
                match runtime.block_on(evicted.run_until_cancelled(send)) {
                    Some(Ok(Ok(()))) => Ok(()),
                    Some(Ok(Err(_))) | None => Err(Stop::Cancelled),
                    Some(Err(_)) => Err(Stop::Failed(to_guest_stalled())),
                }
            };
            let mut give_columns = Some(give_columns);
            let (mut batch, mut weight) = (Vec::new(), 0);
            let outcome = reader.run(|engine| {
                engine.blocking(|engine| {
                    engine.each(&sql, &params, true, |item| match item {
                        Item::Columns(columns) => {
                            let asked = give_columns.take().map(|give| give.send(Ok(columns)));
                            if matches!(asked, Some(Ok(()))) { Ok(()) } else { Err(Stop::Cancelled) }
                        }
                        Item::Row(row, bytes) => {
                            batch.push(row);
                            weight += bytes;
                            if weight < BATCH_BYTES {
                                return Ok(());
                            }
                            weight = 0;
                            send(std::mem::take(&mut batch))
                        }
                    })
                })
            });
            let error = match outcome {
                Ok(()) => return last(Ok(batch)),
                Err(Stop::Cancelled) => return,
                Err(Stop::Failed(e)) => e,
                Err(Stop::NoMemory) => Stop::NoMemory.of_whole(),
                Err(other) => internal(&label, "a read ended early", format!("{other:?}")),
            };
            match give_columns {
                Some(give) => drop(give.send(Err(error))),
                // After a stall the channel is full. Closing it would look like the end of the rows, so the error waits
                // until there is room. The reader is already free.
                None => last(Err(error)),
            }
        });
        let columns = columns.await.map_err(|e| internal(&told, "a read ended early", e))??;
        Ok(RowStream {
            columns,
            rows: VecDeque::new(),
            bytes: (MAX_BUFFERED_BATCHES + 2) * BATCH_BYTES,
            scan: Some(Scan { batches, _run: run }),
        })
    }

    /// The names of the columns.
    pub fn take_columns(&mut self) -> Vec<String> {
        std::mem::take(&mut self.columns)
    }

    /// The most bytes that the stream's rows in the host's memory use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all rows were already read.
    pub fn is_ready(&self) -> bool {
        self.scan.is_none()
    }

    /// Some of the next rows, at most `most`; `None` at the end.
    ///
    /// # Errors
    /// The statement's own error, when it fails after its first row.
    pub async fn next(&mut self, most: usize) -> Option<Result<Vec<RowResult>, Error>> {
        std::future::poll_fn(|cx| self.poll_next(cx, most)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Result<Vec<RowResult>, Error>>> {
        while self.rows.is_empty() {
            let Some(scan) = &mut self.scan else {
                return Poll::Ready(None);
            };
            match std::task::ready!(scan.batches.poll_recv(cx)) {
                Some(Ok(batch)) => self.rows = batch.into(),
                Some(Err(e)) => {
                    self.scan = None;
                    return Poll::Ready(Some(Err(e)));
                }
                None => self.scan = None,
            }
        }
        let count = most.min(self.rows.len());
        Poll::Ready(Some(Ok(self.rows.drain(..count).collect())))
    }

    /// Whether the end is known to be reached.
    fn is_done(&self) -> bool {
        self.rows.is_empty() && self.scan.is_none()
    }
}

fn to_guest_stalled() -> Error {
    Error::Io(format!("the rows were not read for {} s", super::STALL_TIMEOUT.as_secs()))
}

/// A share of the unread bytes that an instance may have; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Unread {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Unread {
    /// Takes a share; an error when the instance has too many unread bytes.
    pub(super) fn take(total: &Arc<AtomicUsize>, bytes: usize) -> Result<Self, Error> {
        let before = total.fetch_add(bytes, Ordering::AcqRel);
        let share = Unread { total: total.clone(), bytes };
        // A single result was already limited when it was collected.
        if before > 0 && before + bytes > super::MAX_RESULT_BYTES {
            return Err(Error::Io(format!(
                "more than {} MiB of rows are unread in other streams; read or drop them first",
                super::MAX_RESULT_BYTES >> 20
            )));
        }
        Ok(share)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Rows with their share of the unread bytes that an instance may have, and of the memory of its application.
pub(super) struct Counted {
    pub rows: RowStream,
    pub _unread: Unread,
    pub _held: HeldMemory,
}

impl Source for Counted {
    type Item = RowResult;
    type Error = Error;

    fn poll_batch(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<Result<Vec<RowResult>, Error>>> {
        self.rows.poll_next(cx, wanted)
    }

    fn is_done(&self) -> bool {
        self.rows.is_done()
    }
}
