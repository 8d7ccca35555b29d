//! Rows that the guest reads as a stream.
//!
//! A small result is there before the stream is made. The rest of a large one is read by a task, which hands on batches
//! through a short channel and waits when the guest does not read on, up to [`STALL_TIMEOUT`](super::STALL_TIMEOUT). A
//! stream that is dropped before its end closes its session, and so ends the query.
//!
//! Each row counts with what it weighs until the guest has taken it. A stream reads on when little of it is unread, so
//! of rows that are heavy it holds one besides those the guest reads; and all streams of an instance together hold what
//! one result may, or the one that passes it fails.

use super::error::{After, Failure};
use super::pool::Lease;
use super::run::{Kept, Sink, Stop, run};
use super::{Column, Error, ParameterValue, Row};
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

    /// Rows of a stream are handed on when they take this much together.
    const BATCH_BYTES: usize = 64 << 10, bytes;
    /// The parts of a stream that wait to be read: the columns, all rows of a short query and its error fit in, so that
    /// it ends before the component reads.
    const CHANNEL_PARTS: usize = 4, "parts";
    /// A query pauses while this much of its rows is unread.
    const MAX_UNREAD_BYTES: usize = (CHANNEL_PARTS + 1) * BATCH_BYTES, bytes;
}

/// The rows of one statement.
pub struct RowStream {
    columns: Vec<Column>,
    rows: VecDeque<Row>,
    /// What `rows` weighed when the first of them was there.
    weight: usize,
    unread: Arc<Unread>,
    scan: Option<Scan>,
}

/// A query under way in a task, which ends with this.
struct Scan {
    batches: mpsc::Receiver<Part>,
    _task: AbortOnDropHandle<()>,
}

/// What a query gives, in this order.
enum Part {
    Columns(Vec<Column>),
    /// With their weight.
    Rows(Vec<Row>, usize),
    Failed(Failure),
}

/// Hands rows on in batches.
struct Batches {
    give: mpsc::Sender<Part>,
    batch: Vec<Row>,
    weight: usize,
    unread: Arc<Unread>,
    /// Why it was stopped, if not because nobody wants the rows.
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

/// Runs the query, and gives the session back when it has ended.
async fn drive(
    mut lease: Lease,
    sql: Arc<str>,
    params: Vec<ParameterValue>,
    give: mpsc::Sender<Part>,
    unread: Arc<Unread>,
) {
    let mut batches = Batches { give, batch: Vec::new(), weight: 0, unread, stopped: None };
    let outcome = run(lease.session(), &sql, &params, &mut batches).await;
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
        // After a stall there is no room; a closed channel would look like the end of the rows, so the error waits for
        // room in its turn. The session is gone already.
        let _ = batches.give.send(Part::Failed(failure)).await;
    }
}

fn stalled() -> Error {
    Error::Other(format!("the rows were not read for {} s", super::STALL_TIMEOUT.as_secs()))
}

impl RowStream {
    /// Rows that have all been read.
    ///
    /// # Errors
    /// When the instance has too much unread already.
    pub(super) fn ready(kept: Kept, unread: Unread) -> Result<Self, Error> {
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
        // A short query is over before anything is worth a task of its own.
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

    /// Whether all rows are here already.
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

/// What one stream holds that is not read, in bytes, which counts with the other streams of its instance; given back
/// when it is dropped.
#[derive(Debug)]
pub(super) struct Unread {
    all: Arc<AtomicUsize>,
    own: AtomicUsize,
    /// Told when some was read.
    read: Notify,
}

impl Unread {
    /// Nothing yet; `all` counts the whole instance.
    pub(super) fn new(all: Arc<AtomicUsize>) -> Self {
        Unread { all, own: AtomicUsize::new(0), read: Notify::new() }
    }

    /// Counts what is there; an error, and nothing is counted, when the instance has too much.
    fn add(&self, bytes: usize) -> Result<(), Error> {
        let own = self.own.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let all = self.all.fetch_add(bytes, Ordering::AcqRel) + bytes;
        // One stream alone is bounded by what it reads ahead.
        if all > own && all > super::MAX_RESULT_BYTES {
            // The rows are not kept, and the other streams need not fail with this one.
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
        self.all.fetch_sub(bytes, Ordering::AcqRel);
        self.read.notify_one();
    }

    /// Waits until little is unread.
    async fn until_read(&self) {
        while self.own.load(Ordering::Acquire) >= MAX_UNREAD_BYTES {
            self.read.notified().await;
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.own.get_mut(), Ordering::AcqRel);
    }
}
