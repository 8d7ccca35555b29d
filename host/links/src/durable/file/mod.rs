//! The queue of messages of a single host: one SQLite file in WAL mode, one writer ([`commit`]) and one reader.
//!
//! A message is `pending` until a delivery takes it, and `delivering` until that ends. Then it is deleted, pending
//! again, or set aside (`dead`, `stranded`). Only one delivery at a time has a message, because only one host can hold
//! the state folder.
//!
//! One thread commits all waiting writes in one transaction, so a durable call costs a share of one fsync. What
//! deliveries record (an attempt before it begins, the end of a message) is written but not synced. It survives the
//! death of the host. After a loss of power a message may be delivered once more, which at-least-once delivery allows.
//! The attempt is recorded before the call, so that a message that kills the host uses up its attempts.
//!
//! When another program reads the file and thereby keeps the write-ahead log from being emptied, the queue counts as
//! full. Deliveries can be recorded and messages deleted while the queue is full, so it can always be emptied, and
//! accepts messages again as soon as there is room. When the disk itself is full, these writes may fail too: deliveries
//! then try them again every second, and everything recovers by itself once the disk has room.

mod commit;
pub(super) mod deliver;
mod schedules;
mod statements;

#[cfg(test)]
mod tests;

use super::event::{Event, FoundEvents, Selection};
use super::message::{Key, Message, NewMessage, Published, QueueError, Stats, kept};
use super::now;
use commit::{MustSurvive, Writer};
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use souk_bindings::sqlite::wal::{self, Wal};
use souk_manifest::limits::FixedLimit;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

souk_manifest::fixed_limits! {
    /// The fixed limits of the file.
    pub(crate) const FIXED_LIMITS = "durable: file";

    /// How long a transaction waits for a program that holds the file, such as a backup.
    const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
    /// The write-ahead log may always grow to this, however small the queue is.
    const MIN_WAL_BYTES: u64 = 2 << 20, bytes;
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, deliver::FIXED_LIMITS, statements::FIXED_LIMITS, commit::FIXED_LIMITS].concat()
}

/// The messages that a worker has taken.
#[derive(Debug)]
pub struct Taken {
    /// The messages; the attempt of each is recorded.
    pub messages: Vec<Message>,
    /// When the next message is due. This time may be past, when more messages were due than the worker asked for.
    pub next_due: Option<i64>,
}

/// The queue; cheap to clone.
#[derive(Clone)]
pub struct FileQueue {
    writer: Writer,
    reader: Arc<Mutex<Connection>>,
    limit: u64,
    arrivals: Arc<Mutex<BTreeMap<Arc<str>, Arc<Notify>>>>,
    /// The components that this process delivers to.
    targets: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

/// Gives each statement one plan for all values of its parameters, so that SQLite compiles it once.
fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

impl FileQueue {
    /// Opens the queue in the file `path`, or creates it, for at most `limit` bytes of messages. Messages that were
    /// being delivered are pending again: this process holds the state folder, so nobody else delivers them. This
    /// blocks, and is called at start-up only.
    ///
    /// # Errors
    /// When the file cannot be opened or does not contain a queue.
    pub fn open(path: &Path, limit: u64) -> anyhow::Result<Self> {
        let mut file = std::fs::OpenOptions::new();
        file.create(true).append(true);
        // Only the host's user may read messages; SQLite gives its journal the mode of the file.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        file.open(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writer = Connection::open_with_flags(path, flags)?;
        writer.busy_timeout(BUSY_TIMEOUT)?;
        wal::configure(&writer)?;
        plan_once(&writer)?;
        writer.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA trusted_schema = OFF; BEGIN IMMEDIATE; {} COMMIT",
            [statements::SCHEMA, schedules::SCHEMA].concat()
        ))?;
        statements::bring_up_to_date(&writer)?;
        // SQLite syncs the file only. The folder that contains it, and the one above, need a sync to survive a loss of
        // power.
        for folder in path.ancestors().skip(1).take(2) {
            std::fs::File::open(folder)?.sync_all()?;
        }
        statements::requeue_interrupted(&writer, now())?;
        let reader = Connection::open_with_flags(path, flags)?;
        reader.busy_timeout(BUSY_TIMEOUT)?;
        reader.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF")?;
        plan_once(&reader)?;
        let wal = Wal::bounded(path, limit.clamp(MIN_WAL_BYTES, wal::MAX_WAL_BYTES));
        Ok(FileQueue {
            writer: Writer::start(writer, wal, BUSY_TIMEOUT)?,
            reader: Arc::new(Mutex::new(reader)),
            limit,
            arrivals: Arc::default(),
            targets: Arc::default(),
        })
    }

    /// The most bytes of messages.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Notified when a message of `target` arrives, or becomes due sooner.
    pub fn arrivals(&self, target: &str) -> Arc<Notify> {
        arrivals(&self.arrivals, target)
    }

    /// Stores a message. Once this returns [`Published::Stored`], it is on disk. It may be stored as well when the
    /// caller goes away before that.
    ///
    /// # Errors
    /// When the disk fails; the same holds for every operation below.
    pub async fn publish(&self, message: NewMessage) -> Result<Published, QueueError> {
        let (limit, bytes) = (self.limit, message.arguments.len());
        let id = Uuid::now_v7().to_string();
        let arrivals = self.arrivals(&message.key.target);
        let log_full = self.writer.log_full();
        let insert = move |c: &Connection| {
            if log_full.load(Ordering::Relaxed) {
                return Ok(Published::Full);
            }
            let stored = statements::insert(c, &id, &message, now(), limit)?;
            Ok(if stored { Published::Stored(id.clone()) } else { Published::Full })
        };
        self.writer.write(MustSurvive::Power, bytes, insert, move |_| arrivals.notify_one()).await
    }

    /// Takes up to `most` messages of `target` that are due, and records an attempt of each. `pause` is the time in
    /// milliseconds after which a message is due again if this process dies during the attempt.
    pub async fn take(
        &self,
        target: Arc<str>,
        most: usize,
        pause: impl Fn(u32) -> i64 + Send + 'static,
    ) -> Result<Taken, QueueError> {
        let take = move |c: &Connection| statements::take(c, &target, now(), most, &pause);
        self.writer.write(MustSurvive::Process, 0, take, |_| {}).await
    }

    /// Deletes a message that was delivered.
    pub async fn ack(&self, message: &Message) -> Result<(), QueueError> {
        let id = message.id.clone();
        self.writer.write(MustSurvive::Process, 0, move |c| statements::delete(c, &id), |()| {}).await
    }

    /// Lets a message wait for `pause` milliseconds. With `uncounted`, this attempt does not count.
    pub async fn retry_later(
        &self,
        message: &Message,
        reason: &str,
        pause: i64,
        uncounted: bool,
    ) -> Result<(), QueueError> {
        let (id, reason) = (message.id.clone(), kept(reason));
        let arrivals = self.arrivals(&message.key.target);
        let postpone =
            move |c: &Connection| statements::postpone(c, &id, &reason, now().saturating_add(pause), uncounted);
        self.writer.write(MustSurvive::Process, 0, postpone, move |()| arrivals.notify_one()).await
    }

    /// Makes a message a dead letter.
    pub async fn dead_letter(&self, message: &Message, reason: &str) -> Result<(), QueueError> {
        let (id, reason) = (message.id.clone(), kept(reason));
        let set_aside = move |c: &Connection| statements::set_aside(c, &id, "dead", &reason, false);
        self.writer.write(MustSurvive::Process, 0, set_aside, |()| {}).await
    }

    /// Sets a message aside as stranded: its function does not exist, or takes other arguments.
    pub async fn mark_stranded(&self, message: &Message, reason: &str) -> Result<(), QueueError> {
        let (id, reason) = (message.id.clone(), kept(reason));
        let set_aside = move |c: &Connection| statements::set_aside(c, &id, "stranded", &reason, true);
        self.writer.write(MustSurvive::Process, 0, set_aside, |()| {}).await
    }

    /// Sets messages aside as stranded if their function is not among `known`, and makes stranded messages pending if
    /// it is. Returns the functions with stranded messages and the number of those.
    pub async fn strand_unknown(&self, known: Vec<Key>) -> Result<Vec<(Key, u64)>, QueueError> {
        *self.targets.lock() = known.iter().map(|key| key.target.clone()).collect();
        self.writer.write(MustSurvive::Process, 0, move |c| statements::mark_stranded(c, &known), |_| {}).await
    }

    /// Makes the stranded messages of `target` pending again, because another version of it serves.
    pub async fn retry_stranded(&self, target: Arc<str>) -> Result<(), QueueError> {
        self.writer
            .write(MustSurvive::Process, 0, move |c| statements::retry_stranded(c, &target, now()), |()| {})
            .await
    }

    /// Whether this process delivers the messages of `component`.
    pub fn delivers_to(&self, component: &str) -> bool {
        self.targets.lock().contains(component)
    }

    /// All messages, or all dead letters; the answer contains up to `most` of them.
    pub async fn list(&self, dead: bool, most: usize) -> Result<FoundEvents, QueueError> {
        self.read(move |c| statements::list(c, dead, most)).await
    }

    /// One message with its arguments.
    pub async fn show(&self, id: String) -> Result<Option<Event>, QueueError> {
        self.read(move |c| statements::show(c, &id)).await
    }

    /// Makes one message or all dead letters due now; a dead letter starts again with its first attempt. A message that
    /// is being delivered, or a stranded one whose component this process does not deliver to, is not changed. Returns
    /// up to `most` of the messages as they were.
    pub async fn retry_now(&self, which: Selection, most: usize) -> Result<FoundEvents, QueueError> {
        let all = self.arrivals.clone();
        let wake = move |_: &FoundEvents| {
            all.lock().values().for_each(|arrivals| arrivals.notify_one());
        };
        let targets = self.targets.lock().clone();
        let retry = move |c: &Connection| statements::retry(c, &which, now(), most, |target| targets.contains(target));
        self.writer.write(MustSurvive::Power, 0, retry, wake).await
    }

    /// Deletes one message or all dead letters. A message that is being delivered is not deleted. Returns up to `most`
    /// of the messages as they were.
    pub async fn drop(&self, which: Selection, most: usize) -> Result<FoundEvents, QueueError> {
        self.writer.write(MustSurvive::Power, 0, move |c| statements::drop(c, &which, most), |_| {}).await
    }

    /// How full the queue is.
    pub async fn stats(&self) -> Result<Stats, QueueError> {
        self.read(statements::stats).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let reader = self.reader.clone();
        let read = move || work(&reader.lock());
        tokio::task::spawn_blocking(read).await.map_err(|_| QueueError::Stopped)?.map_err(QueueError::from)
    }
}

fn arrivals(all: &Mutex<BTreeMap<Arc<str>, Arc<Notify>>>, target: &str) -> Arc<Notify> {
    let mut all = all.lock();
    match all.get(target) {
        Some(notify) => notify.clone(),
        None => all.entry(target.into()).or_default().clone(),
    }
}
