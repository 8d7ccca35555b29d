//! The queue's writer: a thread that commits all waiting jobs in one transaction (group commit).
//!
//! While a transaction is being written to disk, further jobs arrive; the next transaction takes them all. So the
//! number of fsyncs depends on the speed of the disk and not on the number of calls, and a single job does not wait for
//! others.
//!
//! When a transaction fails, each job is tried again in a transaction of its own: an insert that does not fit on the
//! disk must not fail a deletion in the same batch, which frees space.

use crate::durable::message::QueueError;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use souk_bindings::sqlite::wal::{self, Wal};
use souk_runtime::vital_thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

souk_manifest::fixed_limits! {
    /// The fixed limits of transactions.
    pub(crate) const FIXED_LIMITS = "durable: file";

    /// The most writes of one transaction.
    const MAX_BATCH_JOBS: usize = 512, "writes";
    /// The most that the writes of one transaction take together.
    const MAX_BATCH_BYTES: usize = 8 << 20, bytes;
    /// The most writes that wait for a transaction; when there are more, callers wait.
    const MAX_QUEUED_JOBS: usize = 1024, "writes";
    /// The most that waiting messages take together; when there is more, callers wait. Deliveries wait for no message.
    const MAX_QUEUED_BYTES: usize = 32 << 20, bytes;
}

/// Which failure the result of a job must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MustSurvive {
    /// A loss of power: the job is synced to disk.
    Power,
    /// The death of this process: the job is written, and not synced.
    Process,
}

enum Step<'a> {
    /// Do the work in a transaction. This may come a second time, when the first transaction was rolled back.
    Run(&'a Connection),
    /// Tell the caller that the transaction is committed, or that it failed.
    Finish(Result<(), QueueError>),
}

struct Job {
    must_survive: MustSurvive,
    bytes: usize,
    /// Its part of [`MAX_QUEUED_BYTES`]; `None` for what writes no message.
    _room: Option<OwnedSemaphorePermit>,
    step: Box<dyn FnMut(Step<'_>) -> rusqlite::Result<()> + Send>,
}

/// The bytes of one permit: tokio counts permits in 32 bits.
const UNIT: usize = 1 << 10;

/// Sends jobs to the writer thread, which ends when the last `Writer` is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// In units of [`UNIT`].
    room: Arc<Semaphore>,
    log_full: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread. It keeps `wal`, the connection's write-ahead log, within its bound; for that it waits up to
    /// `busy_timeout` for a program that holds the file.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub(super) fn start(connection: Connection, wal: Wal, busy_timeout: Duration) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(MAX_QUEUED_JOBS);
        let log_full = Arc::<AtomicBool>::default();
        let full = log_full.clone();
        let before = move |connection: &Connection| {
            // The queue's own reads are short, so none has to be ended.
            let room = wal.keep_small(|| wal::empty(connection, busy_timeout), || false);
            full.store(room.is_err(), Ordering::Relaxed);
        };
        std::thread::Builder::new().name("durable".to_owned()).spawn(move || {
            vital_thread("the writer of durable messages", || run(&connection, waiting, before));
        })?;
        Ok(Writer { jobs, room: Arc::new(Semaphore::new(MAX_QUEUED_BYTES / UNIT)), log_full })
    }

    /// Whether the write-ahead log is too large to add messages. The writer updates it before each transaction.
    pub(super) fn log_full(&self) -> Arc<AtomicBool> {
        self.log_full.clone()
    }

    /// Runs `work`, which writes about `bytes`, in a transaction. After the commit, the writer's thread calls `done`,
    /// whether or not the caller still waits.
    ///
    /// # Errors
    /// When the transaction failed; nothing of it was applied then.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        must_survive: MustSurvive,
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
                        // The caller may have gone away; the commit stands.
                        let _ = reply.send(outcome);
                    }
                }
            }
            Ok(())
        };
        let room = match bytes {
            0 => None,
            // A caller that waits here still holds its message, and counts for it.
            bytes => {
                let units = bytes.div_ceil(UNIT).min(MAX_QUEUED_BYTES / UNIT);
                let units = u32::try_from(units).unwrap_or(u32::MAX);
                Some(self.room.clone().acquire_many_owned(units).await.map_err(|_| QueueError::Stopped)?)
            }
        };
        let job = Job { must_survive, bytes, _room: room, step: Box::new(step) };
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
    let synced = jobs.iter().any(|job| job.must_survive == MustSurvive::Power);
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
