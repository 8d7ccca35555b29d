//! The queue's writer: a thread that puts all who wait at one time into one transaction (group commit).
//!
//! While a transaction is on its way to the disk, further jobs come in; the next transaction takes them all. So the
//! number of fsyncs follows the disk and not the number of calls, and a job that is alone waits for nobody.
//!
//! A transaction that fails is tried again job by job: one that the disk has no room for must not fail the deletion
//! beside it, which makes room.

use crate::durable::queue::QueueError;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use souk_bindings::sqlite::wal::{self, Wal};
use souk_runtime::vital_thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

souk_manifest::fixed_limits! {
    /// The fixed limits of transactions.
    pub(crate) const FIXED_LIMITS = "durable: file";

    /// The most writes of one transaction.
    const MAX_BATCH_JOBS: usize = 512, "writes";
    /// The most that the writes of one transaction take together.
    const MAX_BATCH_BYTES: usize = 8 << 20, bytes;
    /// The most writes that wait for a transaction; when there are more, callers wait.
    const MAX_QUEUED_JOBS: usize = 1024, "writes";
}

/// What a job has to outlive once it counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlives {
    /// A loss of power: it is synced.
    Power,
    /// This process: it is written.
    Process,
}

enum Step<'a> {
    /// Do the work, in a transaction; perhaps a second time, when the first was rolled back.
    Run(&'a Connection),
    /// Tell the caller: the transaction is committed, or has failed.
    Finish(Result<(), QueueError>),
}

struct Job {
    outlives: Outlives,
    bytes: usize,
    step: Box<dyn FnMut(Step<'_>) -> rusqlite::Result<()> + Send>,
}

/// The way to the thread that writes; it ends when the last of these is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    log_full: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread, which keeps `wal`, the connection's write-ahead log, within its bound.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn start(connection: Connection, wal: Wal) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(MAX_QUEUED_JOBS);
        let log_full = Arc::<AtomicBool>::default();
        let full = log_full.clone();
        let before = move |connection: &Connection| {
            // The queue's own reads are short, so there is none to end.
            let room = wal.keep_small(|| wal::empty(connection, super::BUSY_TIMEOUT), || false);
            full.store(room.is_err(), Ordering::Relaxed);
        };
        std::thread::Builder::new().name("durable".to_owned()).spawn(move || {
            vital_thread("the writer of durable messages", || run(&connection, waiting, before));
        })?;
        Ok(Writer { jobs, log_full })
    }

    /// Whether the write-ahead log is so large that no message may be added; looked at before each transaction.
    pub(super) fn log_full(&self) -> Arc<AtomicBool> {
        self.log_full.clone()
    }

    /// Does `work`, which brings about `bytes`, in a transaction. Once that is committed `done` is called, on the
    /// writer's thread and whether or not the caller still waits.
    ///
    /// # Errors
    /// When the transaction failed; then nothing of it was done.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        outlives: Outlives,
        bytes: usize,
        mut work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        done: impl Fn(&T) + Send + 'static,
    ) -> Result<T, QueueError> {
        let (reply, answered) = oneshot::channel();
        let (mut reply, mut value) = (Some(reply), None);
        let step = move |step: Step<'_>| {
            match step {
                Step::Run(connection) => value = Some(work(connection)?),
                Step::Finish(outcome) => {
                    let outcome = outcome.and_then(|()| value.take().ok_or(QueueError::Stopped));
                    if let Ok(value) = &outcome {
                        done(value);
                    }
                    if let Some(reply) = reply.take() {
                        // Nobody may be there to take it any more; what was committed stands.
                        let _ = reply.send(outcome);
                    }
                }
            }
            Ok(())
        };
        let job = Job { outlives, bytes, step: Box::new(step) };
        self.jobs.send(job).await.map_err(|_| QueueError::Stopped)?;
        answered.await.unwrap_or(Err(QueueError::Stopped))
    }
}

fn run(connection: &Connection, mut waiting: mpsc::Receiver<Job>, before: impl Fn(&Connection)) {
    while let Some(first) = waiting.blocking_recv() {
        let mut bytes = first.bytes;
        let mut jobs = vec![first];
        while jobs.len() < MAX_BATCH_JOBS
            && bytes < MAX_BATCH_BYTES
            && let Ok(job) = waiting.try_recv()
        {
            bytes += job.bytes;
            jobs.push(job);
        }
        before(connection);
        match commit(connection, &mut jobs) {
            Err(error) if jobs.len() > 1 && error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                for job in &mut jobs {
                    let outcome = commit(connection, std::slice::from_mut(job)).map_err(QueueError::from);
                    finish_batch(std::slice::from_mut(job), &outcome);
                }
            }
            outcome => finish_batch(&mut jobs, &outcome.map_err(QueueError::from)),
        }
    }
}

fn commit(connection: &Connection, jobs: &mut [Job]) -> rusqlite::Result<()> {
    // In WAL mode NORMAL leaves the fsync to the next transaction that has FULL, or to a checkpoint.
    let synced = jobs.iter().any(|job| job.outlives == Outlives::Power);
    connection.pragma_update(None, "synchronous", if synced { "FULL" } else { "NORMAL" })?;
    let transaction = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    for job in jobs {
        (job.step)(Step::Run(&transaction))?;
    }
    transaction.commit()
}

/// Tells each job how its transaction ended.
fn finish_batch(jobs: &mut [Job], outcome: &Result<(), QueueError>) {
    for job in jobs {
        // Finishing does not fail.
        let _ = (job.step)(Step::Finish(outcome.clone()));
    }
}
