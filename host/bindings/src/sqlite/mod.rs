//! `spin:sqlite@3.1`: SQL databases in files of the state folder, for components that the manifest grants them.
//!
//! A label names one [`Database`], shared by every component that is granted the label. Each database is one file in
//! WAL mode with one writer connection and a few read-only reader connections, all with cached statements.
//!
//! # Where a statement runs
//!
//! Switching to another thread and back costs more than reading a row by its id, so reads avoid it:
//!
//! 1. A statement that begins with `SELECT`, `WITH`, `VALUES` or `EXPLAIN`, that SQLite itself reports as read-only,
//!    and that is not part of a transaction, runs **on the async thread**, on a reader, under a budget
//!    ([`INLINE_TIME`], [`INLINE_ROWS`], [`INLINE_BYTES`]). The budget is a bounded exception to "nothing blocks an
//!    async thread": it is less than the slice of processor time that a guest may use before it yields.
//! 2. When the budget runs out, the statement is stopped and run again from its start on a blocking thread. Reading has
//!    no side effects, so this is safe. SQLite checks the clock only between steps of its virtual machine.
//!    [`INLINE_VALUE_BYTES`] keeps most steps short. If a read still takes [`INLINE_OVERRUN`] (an expensive `trim`, a
//!    cold disk), the database's reads stay off the async threads for [`INLINE_PAUSE`] times as long, so such reads
//!    take at most a tenth of a thread's time.
//! 3. Everything else (writes, transactions, pragmas) runs on a blocking thread, on the writer, one at a time in the
//!    order of arrival, because a commit waits for the disk.
//!
//! Virtual tables (full text, r-tree) can take long within one step, which no budget can stop, so a database with a
//! virtual table is never read inline.
//!
//! # Transactions
//!
//! A guest's `connection` holds no engine while it is idle. When a statement leaves SQLite in a transaction (SQLite
//! reports this; the text is not parsed), the connection keeps the writer until the transaction ends. Dropping the
//! connection rolls back, and only then the next one gets the writer. Cancelling a statement within a transaction ends
//! the transaction. The connection then refuses all statements until the guest runs `ROLLBACK`, because the rest of a
//! broken transaction must not be committed statement by statement.
//!
//! # The write-ahead log
//!
//! Overlapping reads would let the log grow without limit. When it exceeds [`wal::MAX_WAL_BYTES`], the oldest long
//! reads and streams are ended with an error, one by one, until the log can be emptied.
//!
//! # Memory
//!
//! SQLite can only limit its memory for the whole process ([`MAX_HEAP_BYTES`]), so no component may use all of it.
//! Sorts and intermediate tables that exceed [`CACHE_KIB`] go to temporary files in the database's folder, `spill.rs`
//! limits these files, and a component runs at most [`MAX_STATEMENTS`] statements at the same time. What connections keep
//! between statements is bounded too, `kept.rs`. A read that still runs out of memory is run again.
//!
//! # Durability
//!
//! Statements that wait for the writer at the same time share a commit (`group.rs`).
//!
//! The writer commits with `synchronous = FULL`: WAL's usual `NORMAL` may lose the last commits at a power cut, and a
//! payment that was acknowledged must survive one.
//!
//! # What it refuses
//!
//! A guest's SQL is not trusted. The policy in `policy.rs` denies `ATTACH`, `VACUUM`, extensions, temporary tables and
//! every pragma that is not on its list; sizes of values, statements, results and files are bounded (the constants
//! below); the schema is not trusted and cannot be written directly. A label that was not granted is `access-denied`.

mod connection;
mod database;
mod engine;
mod error;
mod gauge;
mod grant;
mod group;
mod host;
mod kept;
mod nearly_full;
mod policy;
mod reads;
mod script;
mod share;
mod spill;
mod spin_2;
mod statement;
mod stream;
mod value;
mod waiting;
pub mod wal;

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use database::Database;
pub use grant::{BINDING, Databases, Granted};
pub use share::Share;
pub use stream::RowStream;

pub(crate) use engine::open_for_migrations;
pub(crate) use error::explain;
pub(crate) use gauge::Gauge;
pub(crate) use nearly_full::NearlyFull;
pub(crate) use policy::{HISTORY_PREFIX, check_write};

use crate::Ctx;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wasmtime::component::Linker;

/// The Rust side of the WIT interface.
#[allow(unreachable_pub, reason = "generated")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/spin-sqlite@3.1.0",
        inline: "package souk:sqlite-host; world host { import spin:sqlite/sqlite@3.1.0; }",
        world: "souk:sqlite-host/host",
        imports: {
            "spin:sqlite/sqlite.[method]connection.execute": async | trappable,
            default: trappable,
        },
        with: { "spin:sqlite/sqlite.connection": super::host::Handle },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

pub use bindings::spin::sqlite::sqlite::{Error, QueryResult, RowResult, Value};
use souk_manifest::limits::FixedLimit;

souk_manifest::fixed_limits! {
    /// The fixed limits of SQLite.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// How long a read may delay other calls before it moves to a thread of its own: a fraction of a component's slice
    /// of processor time.
    pub const INLINE_TIME: Duration = Duration::from_millis(1);
    /// After a read that delayed other calls for this long comes a pause. A busy machine delays short reads too, so the
    /// limit is well above such delays.
    pub const INLINE_OVERRUN: Duration = Duration::from_millis(25);
    /// How many times longer than such a read the pause is. During the pause, all reads of the database run on threads
    /// of their own.
    pub const INLINE_PAUSE: u32 = 10, "times";
    /// The most rows of a read that does not move to a thread of its own.
    pub const INLINE_ROWS: usize = 1_000, "rows";
    /// The most bytes of all values of a read that does not move to a thread of its own.
    pub const INLINE_BYTES: usize = 256 << 10, bytes;
    /// The largest value of a read that does not move to a thread of its own. One step can take time that is quadratic
    /// in the value's size: `instr` of two values of 1 MiB takes seconds.
    pub const INLINE_VALUE_BYTES: i32 = 8 << 10, bytes;
    /// The largest value or row of any statement.
    pub const MAX_VALUE_BYTES: i32 = 16 << 20, bytes;
    /// The most bytes of results in the host's memory, for one statement and for all unread streams of one instance.
    /// Read a larger result as a stream, outside a transaction, or in pages.
    pub const MAX_RESULT_BYTES: usize = 16 << 20, bytes;
    /// A database that uses at least this part of its limit `database_bytes` is nearly full; the log then warns.
    pub const NEARLY_FULL_PERCENT: u64 = 80, "percent";
    /// A database that uses less than this part of its limit is no longer nearly full.
    pub const FREE_AGAIN_PERCENT: u64 = 75, "percent";
    /// The longest statement.
    pub const MAX_STATEMENT_BYTES: i32 = 1 << 20, bytes;
    /// The most memory that SQLite uses in this process, for all databases: a query with an endless sort must not use
    /// all memory.
    pub const MAX_HEAP_BYTES: u64 = 256 << 20, bytes;
    /// The memory use above which SQLite writes its caches to files, so that half of the memory stays for values.
    pub const SOFT_HEAP_BYTES: u64 = MAX_HEAP_BYTES / 2, bytes;
    /// The cache of one connection, of a sort and of each intermediate table; SQLite's default. Larger data goes to
    /// temporary files. All reads of a database may together write as many bytes as the database may have.
    pub const CACHE_KIB: u32 = 2_000, KiB;
    /// How much one write may write to log, temporary files and indexes, as a multiple of the limit `database_bytes`.
    pub const WRITE_FACTOR: u64 = 4, "times";
    /// The most long reads and writes of one component that run at the same time, on all its databases; others wait. It
    /// is less than the readers of two databases, so that one component cannot use all of SQLite's memory.
    pub const MAX_STATEMENTS: usize = 4, "statements";
    /// How often a read is tried that runs out of memory; another component's statement may have caused this.
    pub const MEMORY_TRIES: u32 = 3, "times";
    /// How long such a read waits before it runs again.
    pub const MEMORY_PAUSE: Duration = Duration::from_millis(200);
    /// How many connections of a database read.
    pub const READERS: usize = 8, "connections";
    /// How many of these may serve streams at the same time. A stream lasts as long as its component wants, with at
    /// most the stall timeout between two reads.
    pub const STREAM_READERS: usize = 4, "connections";
    /// How many of these may serve other long reads at the same time. The rest is for short reads.
    pub const LONG_READERS: usize = 3, "connections";
    /// How long a statement waits for the writer, or a long read for a reader, before it fails as `database is locked`.
    pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long a stream of rows waits for the component to read on; until then the write-ahead log cannot shrink.
    pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
    /// The most connections that one instance holds open.
    pub const MAX_CONNECTIONS: usize = 256, "connections";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        FIXED_LIMITS,
        kept::FIXED_LIMITS,
        group::FIXED_LIMITS,
        statement::FIXED_LIMITS,
        stream::FIXED_LIMITS,
        wal::FIXED_LIMITS,
        reads::FIXED_LIMITS,
        spill::FIXED_LIMITS,
    ]
    .concat()
}

/// The binding's state of one instance.
#[derive(Debug, Default)]
pub struct State {
    /// Connections of the instance that are inside a transaction.
    transactions: Arc<AtomicUsize>,
    /// Bytes of rows in streams that the instance has not read yet.
    unread: Arc<AtomicUsize>,
    /// Connections that the instance holds.
    connections: usize,
}

impl State {
    /// Whether a connection of the instance is inside a transaction. Such an instance must not serve another call: its
    /// transaction belongs to the call that ended, and is rolled back when the instance is dropped.
    pub fn holds_transaction(&self) -> bool {
        self.transactions.load(Ordering::Acquire) > 0
    }
}

/// Links the interface, and its older form.
fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    bindings::spin::sqlite::sqlite::add_to_linker::<Ctx, host::Sqlite>(linker, host::View::of)?;
    spin_2::add_to_linker(linker)
}
