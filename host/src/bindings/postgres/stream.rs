//! Rows that the guest reads as a stream.
//!
//! A small result is there before the stream is made. The rest of a large one is read by a task, which hands on batches
//! through a short channel and waits when the guest does not read on, up to [`STALL`](super::STALL). A stream that is
//! dropped before its end closes its session, and so ends the query.

use super::error::{After, Failure};
use super::pool::Lease;
use super::run::{Kept, Sink, Stop, run};
use super::{Column, Error, ParameterValue, Row};
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};

/// A batch is handed on when its rows weigh this much.
const BATCH_BYTES: usize = 64 << 10;
/// Parts that wait in the channel: the columns, all rows of a short query and its error find room there at once, so
/// that it is over before anybody reads.
const PARTS: usize = 4;

/// The rows of one statement.
pub struct RowStream {
    columns: Vec<Column>,
    rows: VecDeque<Row>,
    /// What the rows in the host's memory weigh at most.
    bytes: usize,
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
    Rows(Vec<Row>),
    Failed(Failure),
}

/// Hands rows on in batches.
struct Batches {
    give: mpsc::Sender<Part>,
    batch: Vec<Row>,
    weight: usize,
    stalled: bool,
}

impl Batches {
    async fn give(&mut self, part: Part) -> Result<(), Stop> {
        match tokio::time::timeout(super::STALL, self.give.send(part)).await {
            Ok(given) => given.map_err(|_| Stop),
            Err(_) => {
                self.stalled = true;
                Err(Stop)
            }
        }
    }
}

impl Sink for Batches {
    async fn columns(&mut self, columns: &[Column]) -> Result<(), Stop> {
        self.give(Part::Columns(columns.to_vec())).await
    }

    async fn row(&mut self, row: Row, weight: usize) -> Result<(), Stop> {
        self.batch.push(row);
        self.weight += weight;
        if self.weight < BATCH_BYTES {
            return Ok(());
        }
        self.weight = 0;
        let batch = std::mem::take(&mut self.batch);
        self.give(Part::Rows(batch)).await
    }
}

/// Runs the query, and gives the session back when it has ended.
async fn drive(mut lease: Lease, sql: Arc<str>, params: Vec<ParameterValue>, give: mpsc::Sender<Part>) {
    let mut batches = Batches { give, batch: Vec::new(), weight: 0, stalled: false };
    let outcome = run(lease.session(), &sql, &params, &mut batches).await;
    match &outcome {
        Err(Failure { session: After::Gone, .. }) => lease.died(),
        Err(Failure { session: After::Stale | After::Abandoned, .. }) => drop(lease),
        _ => lease.release(),
    }
    if !batches.batch.is_empty() {
        let rest = std::mem::take(&mut batches.batch);
        if batches.give(Part::Rows(rest)).await.is_err() {
            return;
        }
    }
    if let Err(mut failure) = outcome {
        if batches.stalled {
            failure.error = stalled();
        }
        // After a stall there is no room; a closed channel would look like the end of the rows, so the error waits for
        // room in its turn. The session is gone already.
        let _ = batches.give.send(Part::Failed(failure)).await;
    }
}

fn stalled() -> Error {
    Error::Other(format!("the rows were not read for {} s", super::STALL.as_secs()))
}

impl RowStream {
    pub(super) fn ready(kept: Kept) -> Self {
        RowStream { columns: kept.columns, rows: kept.rows.into(), bytes: kept.bytes, scan: None }
    }

    /// Begins a query, and waits for its first rows, its end or its error.
    pub(super) async fn begin(lease: Lease, sql: Arc<str>, params: Vec<ParameterValue>) -> Result<Self, Failure> {
        let (give, mut batches) = mpsc::channel(PARTS);
        let mut driving: Option<BoxFuture<'static, ()>> = Some(Box::pin(drive(lease, sql, params, give)));
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
        let rows = loop {
            match next().await {
                Some(Part::Columns(found)) => columns = found,
                Some(Part::Rows(rows)) => break rows,
                Some(Part::Failed(failure)) => return Err(failure),
                None => break Vec::new(),
            }
        };
        let (bytes, scan) = match driving {
            None => {
                let mut rows: VecDeque<Row> = rows.into();
                while let Ok(part) = batches.try_recv() {
                    match part {
                        Part::Rows(more) => rows.extend(more),
                        Part::Failed(failure) => return Err(failure),
                        Part::Columns(_) => {}
                    }
                }
                return Ok(RowStream { columns, rows, bytes: (PARTS + 2) * BATCH_BYTES, scan: None });
            }
            Some(driving) => {
                let _task = AbortOnDropHandle::new(tokio::spawn(driving));
                ((PARTS + 2) * BATCH_BYTES, Scan { batches, _task })
            }
        };
        Ok(RowStream { columns, rows: rows.into(), bytes, scan: Some(scan) })
    }

    /// The columns.
    pub fn take_columns(&mut self) -> Vec<Column> {
        std::mem::take(&mut self.columns)
    }

    /// What the stream's rows in the host's memory weigh at most, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
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
        std::future::poll_fn(|cx| self.poll_next(cx, most)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Result<Vec<Row>, Error>>> {
        while self.rows.is_empty() {
            let Some(scan) = &mut self.scan else {
                return Poll::Ready(None);
            };
            match std::task::ready!(scan.batches.poll_recv(cx)) {
                Some(Part::Rows(rows)) => self.rows = rows.into(),
                Some(Part::Columns(_)) => {}
                Some(Part::Failed(failure)) => {
                    self.scan = None;
                    return Poll::Ready(Some(Err(failure.error)));
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

/// A share of the unread bytes that an instance may have; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Unread {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Unread {
    /// Takes a share; an error when the instance has too much unread.
    pub(super) fn take(total: &Arc<AtomicUsize>, bytes: usize) -> Result<Self, Error> {
        let before = total.fetch_add(bytes, Ordering::AcqRel);
        let share = Unread { total: total.clone(), bytes };
        // One result alone was bounded when it was kept.
        if before > 0 && before + bytes > super::MAX_RESULT_BYTES {
            return Err(Error::Other(format!(
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

/// Feeds a guest's stream, and says at its end how the statement ended.
pub(super) struct Producer {
    pub rows: RowStream,
    /// `None` when the end was told beforehand.
    pub end: Option<oneshot::Sender<Result<(), Error>>>,
    pub _unread: Unread,
}

impl Producer {
    fn finish(&mut self, outcome: Result<(), Error>) -> StreamResult {
        if let Some(end) = self.end.take() {
            // The guest may have dropped the future: then it does not want to know.
            drop(end.send(outcome));
        }
        StreamResult::Dropped
    }
}

impl<D: 'static> StreamProducer<D> for Producer {
    type Item = Row;
    type Buffer = VecBuffer<Row>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Row, VecBuffer<Row>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // No more than the guest has room for: what is handed over is no longer counted as unread.
        let room = destination.remaining(&mut store).unwrap_or(usize::MAX);
        if room == 0 {
            // A question whether there are rows; the next read of them answers it.
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        Poll::Ready(Ok(match self.rows.poll_next(cx, room) {
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => self.finish(Ok(())),
            Poll::Ready(Some(Err(e))) => self.finish(Err(e)),
            Poll::Ready(Some(Ok(rows))) => {
                destination.set_buffer(rows.into());
                if self.rows.is_done() { self.finish(Ok(())) } else { StreamResult::Completed }
            }
        }))
    }
}
