//! One database file: its writer, its readers, and the rules for sharing them.

use super::engine::{Bound, Collected, Engine, has_virtual_tables};
use super::error::{Stop, internal, to_guest_busy, to_guest_evicted};
use super::gauge::Run;
use super::nearly_full::NearlyFull;
use super::policy::Role;
use super::reads::{Reading, Reads};
use super::spill::SpillBudget;
use super::waiting::{Waiting, Written};
use super::wal::{MAX_WAL_BYTES, Wal, WalFull};
use super::{Error, Value};
use crate::fair::{FairPermit, FairSemaphore};
use parking_lot::Mutex;
use rusqlite::Error as SqliteError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A database, shared by every component that is granted its label.
pub struct Database {
    label: Arc<str>,
    path: PathBuf,
    /// The largest size of the file, in bytes.
    max_bytes: u64,
    /// Only one that has the turn to write locks it, or a rollback that it left behind.
    writer: Arc<tokio::sync::Mutex<Engine>>,
    /// The turn to write; components take turns.
    writes: FairSemaphore<usize>,
    /// The statements that may share a transaction.
    pub(super) waiting: Arc<Waiting>,
    /// Idle readers; more are opened when needed.
    idle: Mutex<Vec<Engine>>,
    readers: Arc<Semaphore>,
    /// The turns of long reads; components take turns.
    long_reads: FairSemaphore<usize>,
    streams: Arc<Semaphore>,
    reads: Arc<Reads>,
    wal: Wal,
    /// The budget for temporary files of reads; a write has its own budget.
    spill: Arc<SpillBudget>,
    /// Whether the database has virtual tables, whose steps no budget can limit.
    virtual_tables: AtomicBool,
    opened: Instant,
    /// Whether the log has reported that the file is nearly full, and it still is.
    nearly_full: NearlyFull,
    /// No read runs on an async thread before this time, in milliseconds since the database was opened.
    paused_until: AtomicU64,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("label", &self.label).finish_non_exhaustive()
    }
}

/// Creates the file if it is missing, readable only for the host's user; SQLite gives its journals the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new();
    file.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(path).map(drop)
}

impl Database {
    /// Opens the file at `path`, which may grow to `max_bytes`; creates it and its folder if they do not exist. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// For the operator: the error names the label and the file.
    pub fn open(path: &Path, label: &str, max_bytes: u64) -> anyhow::Result<Arc<Database>> {
        use anyhow::Context as _;
        let what = || format!("cannot open database `{label}` in {}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(what)?;
        }
        private(path).with_context(what)?;
        let writer = open_writer(path, max_bytes).with_context(what)?;
        let virtual_tables = writer.has_virtual_tables().with_context(what)?;
        Ok(Arc::new(Database {
            label: label.into(),
            path: path.to_owned(),
            max_bytes,
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            writes: FairSemaphore::new(1),
            waiting: Arc::default(),
            idle: Mutex::new(Vec::new()),
            readers: Arc::new(Semaphore::new(super::READERS)),
            long_reads: FairSemaphore::new(super::LONG_READERS),
            streams: Arc::new(Semaphore::new(super::STREAM_READERS)),
            reads: Arc::default(),
            spill: Arc::new(SpillBudget::new(max_bytes)),
            wal: Wal::bounded(path, MAX_WAL_BYTES.min(max_bytes)),
            virtual_tables: AtomicBool::new(virtual_tables),
            opened: Instant::now(),
            nearly_full: NearlyFull::default(),
            paused_until: AtomicU64::new(0),
        }))
    }

    /// The label in the manifest.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The largest size of the file, in bytes.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The size of its write-ahead log.
    pub fn wal_bytes(&self) -> u64 {
        self.wal.bytes()
    }

    /// Call it after a change of the schema that did not use [`Connection`](super::Connection).
    pub(crate) fn look_for_virtual_tables(&self, sqlite: &rusqlite::Connection) -> rusqlite::Result<()> {
        self.virtual_tables.store(has_virtual_tables(sqlite)?, Ordering::Release);
        Ok(())
    }

    fn percent(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(100) / self.max_bytes.max(1)
    }

    /// How many bytes of the file hold data, at most; `None` inside a transaction, which may still be rolled back. Blocks
    /// on the disk. Only when the files are large does this count what is free in them.
    pub(super) fn bytes_in_use(&self, engine: &Engine) -> Option<u64> {
        if engine.in_transaction() {
            return None;
        }
        let file = std::fs::metadata(&self.path).ok()?.len();
        let both = file.saturating_add(self.wal.bytes());
        if self.percent(both) < super::FREE_AGAIN_PERCENT { Some(both) } else { engine.bytes_in_use() }
    }

    /// Logs that the file is nearly full; once, until there is room again.
    pub(super) fn note_size(&self, bytes: u64) {
        let percent = self.percent(bytes);
        if self.nearly_full.is_news(percent) {
            tracing::warn!(
                label = %self.label,
                "database `{}` is nearly full: {percent} % of {} MiB are in use, and at 100 % its components get \
                 `database-full` for each write; fix: delete rows that nobody needs, raise `database_bytes` under \
                 [application.tool.souk.limits] in the manifest, or move it to PostgreSQL",
                self.label,
                self.max_bytes >> 20
            );
        }
    }

    /// Waits for the writer, for the component `owner`.
    pub(super) async fn writer(self: &Arc<Self>, owner: usize) -> Result<Writer, Error> {
        let now = self.writes.try_acquire().and_then(|turn| Some((self.writer.clone().try_lock_owned().ok()?, turn)));
        let (engine, turn) = match now {
            Some(both) => both,
            None => {
                let wait = async {
                    let turn = self.writes.acquire(owner).await;
                    (self.writer.clone().lock_owned().await, turn)
                };
                tokio::time::timeout(super::BUSY_TIMEOUT, wait).await.map_err(|_| to_guest_busy(&self.label))?
            }
        };
        Ok(Writer { engine: Some(engine), database: self.clone(), _turn: turn })
    }

    async fn reader(self: &Arc<Self>) -> Result<Reader, Error> {
        let closed = |e| internal(&self.label, "its readers are closed", e);
        let permit = self.readers.clone().acquire_owned().await.map_err(closed)?;
        let idle = self.idle.lock().pop();
        let engine = match idle {
            Some(engine) => engine,
            None => {
                let (path, max_bytes, spill) = (self.path.clone(), self.max_bytes, self.spill.clone());
                let open = move || Engine::open(&path, Role::Reader, max_bytes, &spill);
                let opened = tokio::task::spawn_blocking(open).await;
                opened
                    .map_err(|e| internal(&self.label, "opening a reader failed", e))?
                    .map_err(|e| internal(&self.label, "opening a reader failed", e))?
            }
        };
        Ok(Reader {
            engine: Some(engine),
            database: self.clone(),
            _permit: permit,
            _shares: Vec::new(),
            _turn: None,
            reading: None,
        })
    }

    /// A reader for a long read of the component `owner`, and its run.
    async fn long_reader(self: &Arc<Self>, owner: usize) -> Result<(Reader, Run), Error> {
        let wait = tokio::time::timeout(super::BUSY_TIMEOUT, self.long_reads.acquire(owner)).await;
        let turn = wait.map_err(|_| to_guest_busy(&self.label))?;
        let (mut reader, run) = self.begin_reading().await?;
        reader._turn = Some(turn);
        Ok((reader, run))
    }

    /// A reader for a stream, and its run; `None` when too many others are streaming.
    pub(super) async fn stream_reader(self: &Arc<Self>) -> Result<Option<(Reader, Run)>, Error> {
        match self.streams.clone().try_acquire_owned() {
            Ok(share) => {
                let (mut reader, run) = self.begin_reading().await?;
                reader.keep(share);
                Ok(Some((reader, run)))
            }
            Err(_) => Ok(None),
        }
    }

    #[cfg(test)]
    pub(super) fn long_reads_under_way(&self) -> usize {
        super::LONG_READERS - self.long_reads.available()
    }

    async fn begin_reading(self: &Arc<Self>) -> Result<(Reader, Run), Error> {
        let mut reader = self.reader().await?;
        let run = reader.engine()?.begin();
        reader.reading = Some(self.reads.begin(run.stopper()));
        Ok((reader, run))
    }

    /// Keeps the write-ahead log within its limit, if necessary by ending the oldest reads. For the writer's blocking
    /// thread, outside a transaction.
    pub(super) fn keep_wal_small(&self, engine: &Engine) -> Result<(), Stop> {
        self.wal.keep_small(|| engine.empty_wal(), || self.reads.end_oldest()).map_err(|WalFull| {
            Stop::Failed(Error::Io(format!(
                "database is locked: another program reads `{}` and keeps its write-ahead log from being emptied",
                self.label
            )))
        })
    }

    /// Reads on this thread, under a budget; the module's documentation says why this is allowed.
    pub(super) async fn read_inline(self: &Arc<Self>, sql: &str, params: &[Value]) -> Result<Collected, Stop> {
        let reader = self.reader().await.map_err(Stop::Failed)?;
        let Some(begun) = self.may_read_inline() else {
            return Err(reader.engine().map_err(Stop::Failed)?.only_compile(sql));
        };
        let outcome = reader.run(|engine| engine.inline(sql, params));
        self.note_inline(begun, self.opened.elapsed());
        outcome
    }

    /// The current time, if a read may run on this thread now.
    fn may_read_inline(&self) -> Option<Duration> {
        let now = self.opened.elapsed();
        let paused = now.as_millis() < self.paused_until.load(Ordering::Relaxed).into();
        (!paused && !self.virtual_tables.load(Ordering::Acquire)).then_some(now)
    }

    /// Records that a read that began at `begun` on an async thread ended `now`.
    pub(super) fn note_inline(&self, begun: Duration, now: Duration) {
        let took = now.saturating_sub(begun);
        if took >= super::INLINE_OVERRUN {
            let until = (now + took * super::INLINE_PAUSE).as_millis();
            self.paused_until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Compiles `sql` on a blocking thread, and returns whether it is a read.
    pub(super) async fn is_read(self: &Arc<Self>, owner: usize, sql: String) -> Result<bool, Error> {
        let (reader, _run) = self.long_reader(owner).await?;
        let task =
            tokio::task::spawn_blocking(move || reader.run(|engine| engine.blocking(|engine| engine.is_read(&sql))));
        match task.await.map_err(|e| internal(&self.label, "a statement was not compiled", e))? {
            Err(Stop::Failed(e)) => Err(e),
            // If compiling fails, it counts as a write, and the writer decides its outcome.
            other => Ok(matches!(other, Ok(true))),
        }
    }

    /// Reads on a blocking thread, to the end.
    pub(super) async fn read_long(
        self: &Arc<Self>,
        owner: usize,
        sql: String,
        params: Vec<Value>,
    ) -> Result<Result<Collected, Stop>, Error> {
        let (reader, _run) = self.long_reader(owner).await?;
        let task = tokio::task::spawn_blocking(move || {
            reader.run(|engine| engine.blocking(|engine| engine.collect(&sql, &params, true, WHOLE)))
        });
        task.await.map_err(|e| internal(&self.label, "a read ended early", e))
    }
}

/// The limit on a result that is kept in memory.
pub(super) const WHOLE: Bound = Bound { rows: usize::MAX, bytes: super::MAX_RESULT_BYTES };

/// A reader, taken from its database until it is dropped.
pub(super) struct Reader {
    /// `None` only while it is dropped, and after a failure that may have damaged the engine's state.
    engine: Option<Engine>,
    database: Arc<Database>,
    _permit: OwnedSemaphorePermit,
    /// The permits for streams, and of the component's share.
    _shares: Vec<OwnedSemaphorePermit>,
    /// The turn of a long read.
    _turn: Option<FairPermit<usize>>,
    /// Set for a long read or a stream.
    reading: Option<Reading>,
}

impl Reader {
    fn engine(&self) -> Result<&Engine, Error> {
        self.engine.as_ref().ok_or_else(|| internal(&self.database.label, "a reader is gone", ""))
    }

    pub(super) fn label(&self) -> &str {
        &self.database.label
    }

    /// Keeps `share` until the reader is returned.
    pub(super) fn keep(&mut self, share: OwnedSemaphorePermit) {
        self._shares.push(share);
    }

    /// Cancelled when the read must end because it prevents emptying the write-ahead log.
    pub(super) fn evicted(&self) -> CancellationToken {
        self.reading.as_ref().map(|reading| reading.evicted().clone()).unwrap_or_default()
    }

    /// Runs `work`. rusqlite panics where SQLite is out of memory; then only this reader is lost.
    pub(super) fn run<T>(mut self, work: impl FnOnce(&Engine) -> Result<T, Stop>) -> Result<T, Stop> {
        let engine = self.engine().map_err(Stop::Failed)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| work(engine))).unwrap_or_else(|_| {
            self.engine = None;
            Err(Stop::NoMemory)
        });
        match outcome {
            Err(Stop::Cancelled) if self.evicted().is_cancelled() => {
                Err(Stop::Failed(to_guest_evicted(&self.database.label, self.database.wal.max_bytes())))
            }
            outcome => outcome,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            self.database.idle.lock().push(engine);
        }
    }
}

/// The writer, taken from its database until it is dropped. An open transaction is then rolled back on a blocking
/// thread, before the next caller gets the writer.
pub(super) struct Writer {
    /// `None` only while it is dropped.
    engine: Option<OwnedMutexGuard<Engine>>,
    database: Arc<Database>,
    _turn: FairPermit<usize>,
}

/// How a statement on the writer ended.
pub(super) struct Ended {
    pub outcome: Result<Written, Error>,
    /// Whether SQLite rolled the transaction back although the statement did not request it.
    pub lost_transaction: bool,
}

impl Writer {
    pub(super) fn engine(&self) -> Result<&Engine, Error> {
        self.engine.as_deref().ok_or_else(|| internal(&self.database.label, "the writer is gone", ""))
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.engine.as_deref().is_some_and(Engine::in_transaction)
    }

    /// Reads within the transaction, on this thread, under a budget.
    pub(super) fn read_inline(&self, sql: &str, params: &[Value]) -> Result<Collected, Stop> {
        let engine = self.engine().map_err(Stop::Failed)?;
        let begun = self.database.may_read_inline().ok_or(Stop::Overflow)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| engine.inline(sql, params))).unwrap_or(Err(Stop::Overflow));
        self.database.note_inline(begun, self.database.opened.elapsed());
        outcome
    }

    /// Runs a statement on a blocking thread. If the caller goes away first, the statement is interrupted, its
    /// transaction is rolled back, and the writer is returned.
    pub(super) async fn write(self, sql: String, params: Vec<Value>) -> Result<(Writer, Ended), Error> {
        let _run = self.engine()?.begin();
        let database = self.database.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut lost_transaction = false;
            let outcome = self.engine().map_err(Stop::Failed).and_then(|engine| {
                let inside = engine.in_transaction();
                let database = &self.database;
                if !inside {
                    database.keep_wal_small(engine)?;
                }
                let outcome = engine.blocking(|engine| {
                    let collected = engine.collect(&sql, &params, false, WHOLE)?;
                    Ok((collected, database.bytes_in_use(engine)))
                });
                if engine.made_virtual_table() {
                    self.database.virtual_tables.store(true, Ordering::Release);
                }
                lost_transaction = inside && !engine.in_transaction() && engine.may_have_rolled_back();
                let written = outcome.map(|(collected, bytes_in_use)| Written {
                    collected,
                    bytes_in_use,
                    inserted: engine.inserted_rowid(),
                    changes: engine.changes(),
                });
                if !engine.in_transaction() {
                    // This statement has succeeded; if the log is full, the next one fails.
                    let _ = database.keep_wal_small(engine);
                }
                written
            });
            (self, Ended { outcome: outcome.map_err(Stop::of_whole), lost_transaction })
        });
        task.await.map_err(|e| internal(&database.label, "a statement ended early", e))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take().filter(|e| e.in_transaction()) else {
            return;
        };
        let database = self.database.clone();
        let roll_back = move || {
            if let Err(e) = engine.roll_back() {
                replace_if_stuck(engine, &database, &e);
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(roll_back)),
            // The runtime is gone, and so are all callers that blocking could delay.
            Err(_) => roll_back(),
        }
    }
}

fn open_writer(path: &Path, max_bytes: u64) -> rusqlite::Result<Engine> {
    let spill = SpillBudget::new(max_bytes.saturating_mul(super::WRITE_FACTOR));
    Engine::open(path, Role::Writer, max_bytes, &Arc::new(spill))
}

/// After a severe failure SQLite rolls back by itself, and then `ROLLBACK` is an error. A connection that is still
/// inside a transaction cannot be used any more, and is opened again.
fn replace_if_stuck(mut engine: OwnedMutexGuard<Engine>, database: &Database, why: &SqliteError) {
    if !engine.in_transaction() {
        return;
    }
    tracing::error!(label = %database.label, error = %why, "sqlite: a rollback failed; the writer is opened again");
    match open_writer(&database.path, database.max_bytes) {
        Ok(fresh) => *engine = fresh,
        Err(e) => tracing::error!(label = %database.label, error = %e, "sqlite: the writer cannot be opened again"),
    }
}
