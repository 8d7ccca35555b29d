//! Rows that the guest reads as a stream.
//!
//! A small result is complete before the stream is created. A task reads the rest of a large one; it passes batches on
//! through a short channel, and waits up to [`STALL_TIMEOUT`](super::STALL_TIMEOUT) while the guest does not read.
//! Dropping a stream before its end closes its session, and so ends the query.
//!
//! Each row counts with its size in memory until the guest has read it. A stream only reads on when few of its bytes
//! are unread, so it buffers at most one very large row. All streams of an instance together may buffer as much as one
//! result; the stream that exceeds this limit fails.

use super::error::{After, Failure};
use super::pool::Lease;
use super::run::{CollectRows, Sink, Stop, run};
use super::{Column, Error, ParameterValue, Row};
use crate::budget::ApplicationBudget;
use crate::producer::Source;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of streams of rows.
    pub(crate) const FIXED_LIMITS = "postgres";

    /// How many bytes of rows one batch of a stream has.
    const BATCH_BYTES: usize = 64 << 10, bytes;
    /// How many parts of a stream may wait to be read. The columns, all rows of a short query and its error fit in, so
    /// that such a query ends before the component reads.
    const CHANNEL_PARTS: usize = 4, "parts";
    /// A query pauses while this many bytes of its rows are unread.
    const MAX_UNREAD_BYTES: usize = (CHANNEL_PARTS + 1) * BATCH_BYTES, bytes;
}

/// The rows of one statement.
pub struct RowStream {
    columns: Vec<Column>,
    rows: VecDeque<Row>,
    /// The size of `rows` in memory before any of them was read.
    weight: usize,
    unread: Arc<Unread>,
    scan: Option<Scan>,
}

/// A query that runs in a task; dropping this ends the task.
struct Scan {
    batches: mpsc::Receiver<Part>,
    _task: AbortOnDropHandle<()>,
}

/// A part of a query's result, in this order.
enum Part {
    Columns(Vec<Column>),
    /// Rows, with their size in memory.
    Rows(Vec<Row>, usize),
    Failed(Failure),
}

/// Passes rows on in batches.
struct Batches {
    give: mpsc::Sender<Part>,
    batch: Vec<Row>,
    weight: usize,
    unread: Arc<Unread>,
    /// Why it was stopped, unless the stream was dropped.
    stopped: Option<Error>,
}

impl Batches {
    async fn give(&mut self, part: Part) -> Result<(), Stop> {
        match tokio::time::timeout(super::STALL_TIMEOUT, self.give.send(part)).await {
            Ok(given) => given.map_err(|_| Stop),
            Err(_) => self.stop(stalled()),
        }
    }

    fn stop(&mut self, why: Error) -> Result<(), Stop> {
        self.stopped = Some(why);
        Err(Stop)
    }
}

impl Sink for Batches {
    async fn columns(&mut self, columns: &[Column]) -> Result<(), Stop> {
        self.give(Part::Columns(columns.to_vec())).await
    }

    async fn row(&mut self, row: Row, weight: usize) -> Result<(), Stop> {
        if let Err(e) = self.unread.add(weight) {
            return self.stop(e);
        }
        self.batch.push(row);
        self.weight += weight;
        if self.weight < BATCH_BYTES {
            return Ok(());
        }
        let batch = Part::Rows(std::mem::take(&mut self.batch), std::mem::take(&mut self.weight));
        self.give(batch).await?;
        let unread = self.unread.clone();
        match tokio::time::timeout(super::STALL_TIMEOUT, unread.until_read()).await {
            Ok(()) => Ok(()),
            Err(_) => self.stop(stalled()),
        }
    }
}

/// Runs the query, and gives its session back at the end.
async fn drive(
    mut lease: Lease,
    sql: Arc<str>,
    params: Vec<ParameterValue>,
    give: mpsc::Sender<Part>,
    unread: Arc<Unread>,
) {
    let mut batches = Batches { give, batch: Vec::new(), weight: 0, unread, stopped: None };
    let outcome = run(&mut lease, &sql, &params, &mut batches).await;
    match &outcome {
        Err(Failure { session: After::Gone, .. }) => lease.died(),
        Err(Failure { session: After::Stale | After::Abandoned, .. }) => drop(lease),
        _ => lease.release(),
    }
    if !batches.batch.is_empty() {
        let rest = Part::Rows(std::mem::take(&mut batches.batch), batches.weight);
        if batches.give(rest).await.is_err() {
            return;
        }
    }
    if let Err(mut failure) = outcome {
        if let Some(why) = batches.stopped {
            failure.error = why;
        }
        // After a stall the channel is full. Closing it would look like the end of the rows, so the error waits until
        // there is room. The session is already closed.
        let _ = batches.give.send(Part::Failed(failure)).await;
    }
}

fn stalled() -> Error {
    Error::Other(format!("the rows were not read for {} s", super::STALL_TIMEOUT.as_secs()))
}

impl RowStream {
    /// A stream of rows that were all read already.
    ///
    /// # Errors
    /// When the instance already has too many unread bytes.
    pub(super) fn ready(kept: CollectRows, unread: Unread) -> Result<Self, Error> {
        unread.add(kept.bytes)?;
        let (columns, rows) = (kept.columns, kept.rows.into());
        Ok(RowStream { columns, rows, weight: kept.bytes, unread: Arc::new(unread), scan: None })
    }

    /// Begins a query, and waits for its first rows, its end or its error.
    pub(super) async fn begin(
        lease: Lease,
        sql: Arc<str>,
        params: Vec<ParameterValue>,
        unread: Unread,
    ) -> Result<Self, Failure> {
        let unread = Arc::new(unread);
        let (give, mut batches) = mpsc::channel(CHANNEL_PARTS);
        let mut driving: Option<BoxFuture<'static, ()>> =
            Some(Box::pin(drive(lease, sql, params, give, unread.clone())));
        let mut columns = Vec::new();
        // A short query ends here and needs no task.
        let mut next = async || {
            if let Some(driven) = &mut driving {
                tokio::select! {
                    biased;
                    part = batches.recv() => return part,
                    () = driven => {}
                }
                driving = None;
            }
            batches.recv().await
        };
        let (rows, mut weight) = loop {
            match next().await {
                Some(Part::Columns(found)) => columns = found,
                Some(Part::Rows(rows, weight)) => break (rows, weight),
                Some(Part::Failed(failure)) => return Err(failure),
                None => break (Vec::new(), 0),
            }
        };
        let mut rows: VecDeque<Row> = rows.into();
        let scan = match driving {
            None => {
                while let Ok(part) = batches.try_recv() {
                    match part {
                        Part::Rows(more, weighing) => {
                            rows.extend(more);
                            weight += weighing;
                        }
                        Part::Failed(failure) => return Err(failure),
                        Part::Columns(_) => {}
                    }
                }
                None
            }
            Some(driving) => Some(Scan { batches, _task: AbortOnDropHandle::new(tokio::spawn(driving)) }),
        };
        Ok(RowStream { columns, rows, weight, unread, scan })
    }

    /// The columns.
    pub fn take_columns(&mut self) -> Vec<Column> {
        std::mem::take(&mut self.columns)
    }

    /// Whether all rows were already read from PostgreSQL.
    pub fn is_ready(&self) -> bool {
        self.scan.is_none()
    }

    /// Some of the next rows, at most `most`; `None` at the end.
    ///
    /// # Errors
    /// The query's own error, when it fails after its first rows.
    pub async fn next(&mut self, most: usize) -> Option<Result<Vec<Row>, Error>> {
        std::future::poll_fn(|cx| self.poll_batch(cx, most)).await
    }
}

impl Source for RowStream {
    type Item = Row;
    type Error = Error;

    fn poll_batch(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<Result<Vec<Row>, Error>>> {
        while self.rows.is_empty() {
            let Some(scan) = &mut self.scan else {
                return Poll::Ready(None);
            };
            match std::task::ready!(scan.batches.poll_recv(cx)) {
                Some(Part::Rows(rows, weight)) => (self.rows, self.weight) = (rows.into(), weight),
                Some(Part::Columns(_)) => {}
                Some(Part::Failed(failure)) => {
                    self.scan = None;
                    return Poll::Ready(Some(Err(failure.error)));
                }
                None => self.scan = None,
            }
        }
        let count = wanted.min(self.rows.len());
        let taken = self.rows.drain(..count).collect();
        if self.rows.is_empty() {
            self.unread.remove(std::mem::take(&mut self.weight));
        }
        Poll::Ready(Some(Ok(taken)))
    }

    fn is_done(&self) -> bool {
        self.rows.is_empty() && self.scan.is_none()
    }
}

/// The unread rows of all streams of an instance. They are memory of its application.
#[derive(Debug, Clone, Default)]
pub struct UnreadRows {
    /// Their bytes.
    pub bytes: Arc<AtomicUsize>,
    /// The budgets of the application.
    pub memory: Arc<ApplicationBudget>,
}

impl UnreadRows {
    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.memory.memory.give_back(bytes as u64);
    }
}

/// The unread bytes of one stream, which count together with the other streams of its instance. Dropping it gives them
/// back.
#[derive(Debug)]
pub(super) struct Unread {
    all: UnreadRows,
    own: AtomicUsize,
    /// Notified when rows were read.
    read: Notify,
}

impl Unread {
    /// A new counter; `all` counts for the whole instance.
    pub(super) fn new(all: UnreadRows) -> Self {
        Unread { all, own: AtomicUsize::new(0), read: Notify::new() }
    }

    /// Counts `bytes`; when the instance has too many, it fails and counts nothing.
    fn add(&self, bytes: usize) -> Result<(), Error> {
        let budget = &self.all.memory;
        if !budget.memory.try_take(bytes as u64) {
            return Err(Error::Other(budget.no_room_for_rows(bytes)));
        }
        let own = self.own.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let all = self.all.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        // A single stream is already limited by how far it reads ahead.
        if all > own && all > super::MAX_RESULT_BYTES {
            // The rows are dropped, so they no longer count, and the other streams do not fail too.
            self.remove(bytes);
            return Err(Error::Other(format!(
                "more than {} MiB of rows are unread in other streams; read or drop them first",
                super::MAX_RESULT_BYTES >> 20
            )));
        }
        Ok(())
    }

    fn remove(&self, bytes: usize) {
        self.own.fetch_sub(bytes, Ordering::AcqRel);
        self.all.give_back(bytes);
        self.read.notify_one();
    }

    /// Waits until few bytes are unread.
    async fn until_read(&self) {
        while self.own.load(Ordering::Acquire) >= MAX_UNREAD_BYTES {
            self.read.notified().await;
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.all.give_back(*self.own.get_mut());
    }
}
