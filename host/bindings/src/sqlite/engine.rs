//! One connection to SQLite: how it is opened and limited, and how it runs one statement under a budget.
//!
//! Normally an engine has the settings for an async thread: it does not wait for locks and does not touch large values.
//! [`Engine::blocking`] lifts both restrictions for a run on a blocking thread.
//!
//! Plans do not depend on the values of parameters (SQLite's query planner stability guarantee). Without it, SQLite notes
//! for almost every `WHERE column = ?` that another value could have another plan, and compiles the statement again
//! whenever the cache returns it: 200,000 instructions for a page of orders. Patterns are different, because only with
//! its value can `LIKE ?` use an index: a connection that compiles one plans by values from then on.
//!
//! A run is cancelled through the progress handler, which knows the run's number. `sqlite3_interrupt` would have no
//! effect before the first step, and if it came late, it would interrupt the next caller's statement.

use super::error::{Stop, to_guest, to_guest_spilled};
use super::gauge::{Gauge, Run};
use super::kept;
use super::policy::{self, Role};
use super::spill::SpillBudget;
use super::value::{RowError, read_row};
use super::{Error, QueryResult, RowResult, Value, wal};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Steps of SQLite's virtual machine between two readings of the clock.
const PROGRESS_STEPS: i32 = 10;

/// The size of a page. It is SQLite's default, but explicit here because the file's size is counted in pages.
const PAGE_BYTES: u64 = 4096;

/// A part of a statement's result: first the columns, once, then the rows, each with its size in memory.
pub(super) enum Item {
    Columns(Vec<String>),
    Row(RowResult, usize),
}

/// How much of a result is kept in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub rows: usize,
    pub bytes: usize,
}

/// A whole result.
#[derive(Debug)]
pub(super) struct Collected {
    pub result: QueryResult,
    /// The size of the rows in memory.
    pub bytes: usize,
}

impl Collected {
    /// A result without columns and rows.
    pub(super) fn empty() -> Self {
        let result = QueryResult { columns: Vec::new(), rows: Vec::new() };
        Collected { result, bytes: 0 }
    }
}

/// One connection.
pub(super) struct Engine {
    sqlite: Connection,
    gauge: Arc<Gauge>,
}

impl Engine {
    /// Opens the file at `path`; a writer creates it if it does not exist, and lets it grow to `max_bytes`. Temporary
    /// files of its statements count against `spill`.
    pub(super) fn open(path: &Path, role: Role, max_bytes: u64, spill: &Arc<SpillBudget>) -> rusqlite::Result<Engine> {
        let access = match role {
            Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let mut sqlite = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        configure(&sqlite, path, (role == Role::Writer).then_some(max_bytes))?;
        restrict(&sqlite)?;
        let gauge = Arc::new(Gauge::new(spill.clone()));
        let meter = gauge.clone();
        sqlite.progress_handler(PROGRESS_STEPS, Some(move || meter.is_over()))?;
        if role == Role::Writer {
            let inserted = gauge.clone();
            sqlite.update_hook(Some(move |action, _: &str, _: &str, _| {
                if action == rusqlite::hooks::Action::SQLITE_INSERT {
                    inserted.note_inserted();
                }
            }))?;
        }
        // The policy comes last, because it would deny the settings above.
        policy::install(&mut sqlite, role, &gauge)?;
        sqlite.set_prepared_statement_cache_capacity(kept::CACHED_STATEMENTS);
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let engine = Engine { sqlite, gauge };
        engine.restore_inline_settings()?;
        Ok(engine)
    }

    /// Begins a run. Only one run can be active at a time: the caller owns the engine.
    pub(super) fn begin(&self) -> Run {
        Run::begin(&self.gauge)
    }

    /// Runs `work` with the lock timeout and the value size of a blocking thread, and no limit on its time.
    pub(super) fn blocking<T>(&self, work: impl FnOnce(&Engine) -> Result<T, Stop>) -> Result<T, Stop> {
        if self.gauge.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        self.gauge.remove_time_limit();
        let set = || {
            self.sqlite.set_limit(Limit::SQLITE_LIMIT_LENGTH, super::MAX_VALUE_BYTES)?;
            self.sqlite.busy_timeout(super::BUSY_TIMEOUT)
        };
        set().map_err(|e| Stop::Failed(to_guest(&e, &self.gauge, &self.sqlite)))?;
        self.gauge.spill.begin();
        let result = work(self);
        self.gauge.spill.end();
        self.restore_inline_settings().map_err(|e| Stop::Failed(to_guest(&e, &self.gauge, &self.sqlite)))?;
        result
    }

    /// Restores the settings for an async thread.
    fn restore_inline_settings(&self) -> rusqlite::Result<()> {
        self.sqlite.set_limit(Limit::SQLITE_LIMIT_LENGTH, super::INLINE_VALUE_BYTES)?;
        self.sqlite.busy_timeout(Duration::ZERO)
    }

    /// Runs a read on the async thread, under its budget.
    pub(super) fn inline(&self, sql: &str, params: &[Value]) -> Result<Collected, Stop> {
        let _run = self.begin();
        self.gauge.set_inline_time_limit();
        let bound = Bound { rows: super::INLINE_ROWS, bytes: super::INLINE_BYTES };
        self.collect(sql, params, true, bound)
    }

    /// Finds out on the async thread whether `sql` is a read, without running it. For a read it returns
    /// [`Stop::Overflow`], as if the budget had run out.
    pub(super) fn only_compile(&self, sql: &str) -> Stop {
        let _run = self.begin();
        self.gauge.set_inline_time_limit();
        match self.is_read(sql) {
            Ok(true) => Stop::Overflow,
            Ok(false) => Stop::Writes,
            Err(stop) => stop,
        }
    }

    /// Compiles `sql`, and returns whether it is a read.
    pub(super) fn is_read(&self, sql: &str) -> Result<bool, Stop> {
        let statement = self.sqlite.prepare_cached(sql).map_err(|e| not_compiled(self.stop(&e)))?;
        let reads = statement.readonly();
        if !kept::may_be_kept(&statement, sql) {
            statement.discard();
        }
        Ok(reads)
    }

    /// Runs `sql` and returns the whole result; [`Stop::Overflow`] when it is larger than `bound`.
    pub(super) fn collect(
        &self,
        sql: &str,
        params: &[Value],
        read_only: bool,
        bound: Bound,
    ) -> Result<Collected, Stop> {
        let mut all = Collected::empty();
        self.each(sql, params, read_only, |item| {
            match item {
                Item::Columns(columns) => all.result.columns = columns,
                Item::Row(row, bytes) => {
                    all.bytes += bytes;
                    all.result.rows.push(row);
                    if all.result.rows.len() > bound.rows || all.bytes > bound.bytes {
                        return Err(Stop::Overflow);
                    }
                }
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Runs `sql` and passes its results on. With `read_only`, it does not run a statement that writes, and returns
    /// [`Stop::Writes`].
    pub(super) fn each(
        &self,
        sql: &str,
        params: &[Value],
        read_only: bool,
        give: impl FnMut(Item) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut statement = self.sqlite.prepare_cached(sql).map_err(|e| not_compiled(self.stop(&e)))?;
        let is_kept = kept::may_be_kept(&statement, sql);
        let done = self.run(&mut statement, params, read_only, give);
        if !is_kept {
            statement.discard();
        }
        done
    }

    fn run(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        params: &[Value],
        read_only: bool,
        mut give: impl FnMut(Item) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let stop = |e: rusqlite::Error| self.stop(&e);
        if self.gauge.take_creates()
            && let Some(why) = self.gauge.trusting(|| kept::full_schema(&self.sqlite)).map_err(stop)?
        {
            return Err(Stop::Failed(Error::Io(why)));
        }
        if self.gauge.take_pattern() {
            // This expires the connection's statements, once: this one is planned with its values at its first step.
            self.sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, false).map_err(stop)?;
        }
        if read_only && !statement.readonly() {
            return Err(Stop::Writes);
        }
        let wanted = statement.parameter_count();
        if wanted != params.len() {
            return Err(Stop::Failed(Error::Io(format!(
                "the statement has {wanted} parameters, but {} were given",
                params.len()
            ))));
        }
        for (index, param) in params.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, param).map_err(stop)?;
        }
        let mut rows = statement.raw_query();
        let mut columns = None;
        // The columns are known only after the first step: the schema may have changed since the text was compiled.
        while let Some(row) = rows.next().map_err(stop)? {
            let count = match columns {
                Some(count) => count,
                None => {
                    let names = names(row.as_ref());
                    let count = names.len();
                    columns = Some(count);
                    give(Item::Columns(names))?;
                    count
                }
            };
            let (row, bytes) = read_row(row, count).map_err(|e| match e {
                RowError::Sqlite(e) => self.stop(&e),
                RowError::Value(e) => Stop::Failed(e),
            })?;
            give(Item::Row(row, bytes))?;
        }
        drop(rows);
        if columns.is_none() {
            give(Item::Columns(names(statement)))?;
        }
        Ok(())
    }

    /// Turns SQLite's error into the reason why the run stopped.
    fn stop(&self, error: &rusqlite::Error) -> Stop {
        let inline = self.gauge.is_inline();
        self.gauge.note_failed(error.sqlite_error_code());
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) if !inline && self.gauge.spill.ended_the_run() => {
                Stop::Failed(to_guest_spilled(self.gauge.spill.max_bytes()))
            }
            Some(ErrorCode::OutOfMemory) if inline => Stop::Overflow,
            Some(ErrorCode::OutOfMemory) => Stop::NoMemory,
            Some(ErrorCode::OperationInterrupted) if self.gauge.is_cancelled() => Stop::Cancelled,
            Some(ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy | ErrorCode::TooBig) if inline => {
                Stop::Overflow
            }
            _ => Stop::Failed(to_guest(error, &self.gauge, &self.sqlite)),
        }
    }

    pub(super) fn in_transaction(&self) -> bool {
        !self.sqlite.is_autocommit()
    }

    /// Begins a transaction whose statements may take `time` together. For the writer's blocking thread.
    pub(super) fn begin_group(&self, time: Duration) -> Result<(), Stop> {
        self.execute("BEGIN IMMEDIATE")?;
        self.gauge.set_time_limit(time);
        Ok(())
    }

    /// Commits it, however long that takes.
    pub(super) fn commit_group(&self) -> Result<(), Stop> {
        self.remove_time_limit();
        let _run = self.begin();
        self.execute("COMMIT")
    }

    pub(super) fn remove_time_limit(&self) {
        self.gauge.remove_time_limit();
    }

    fn execute(&self, sql: &str) -> Result<(), Stop> {
        let done = self.sqlite.prepare_cached(sql).and_then(|mut statement| statement.raw_execute());
        done.map(drop).map_err(|e| self.stop(&e))
    }

    /// Rolls an open transaction back. An error is for the host's log; the connection is then unusable.
    pub(super) fn roll_back(&self) -> rusqlite::Result<()> {
        self.gauge.remove_time_limit();
        let _run = self.begin();
        self.sqlite.prepare_cached("ROLLBACK")?.raw_execute().map(drop)
    }

    /// Empties the write-ahead log; `false` when readers prevent it. For the writer, outside a transaction.
    pub(super) fn empty_wal(&self) -> rusqlite::Result<bool> {
        self.gauge.trusting(|| wal::empty(&self.sqlite, Duration::ZERO))
    }

    /// The rowid of the last insert, when the run inserted a row.
    pub(super) fn inserted_rowid(&self) -> Option<i64> {
        self.gauge.has_inserted().then(|| self.sqlite.last_insert_rowid())
    }

    /// Whether the run failed in a way after which SQLite rolls back by itself.
    pub(super) fn may_have_rolled_back(&self) -> bool {
        self.gauge.may_have_rolled_back()
    }

    pub(super) fn changes(&self) -> u64 {
        self.sqlite.changes()
    }

    /// The number of bytes of the file that hold data. SQLite compiles the first of these pragmas each time.
    pub(super) fn bytes_in_use(&self) -> Option<u64> {
        let count = |sql| {
            let counted = self.sqlite.prepare_cached(sql).and_then(|mut s| s.query_row([], |row| row.get::<_, i64>(0)));
            counted.ok().and_then(|count| u64::try_from(count).ok())
        };
        let (pages, free) = (count("PRAGMA page_count")?, count("PRAGMA freelist_count")?);
        Some(pages.saturating_sub(free).saturating_mul(PAGE_BYTES))
    }

    /// Whether this connection has created a virtual table since the last call of this function.
    pub(super) fn made_virtual_table(&self) -> bool {
        self.gauge.take_virtual_table()
    }

    /// Whether the database has virtual tables.
    pub(super) fn has_virtual_tables(&self) -> rusqlite::Result<bool> {
        self.gauge.remove_time_limit();
        let _run = self.begin();
        // Its pattern is the host's own: the statements of guests need not be planned by values because of it.
        self.gauge.trusting(|| has_virtual_tables(&self.sqlite))
    }
}

/// Whether the database has virtual tables.
pub(super) fn has_virtual_tables(sqlite: &Connection) -> rusqlite::Result<bool> {
    sqlite.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%'")?.exists([])
}

/// Replaces [`Stop::Overflow`]: the budget ran out before SQLite could tell whether the statement is a read.
fn not_compiled(stop: Stop) -> Stop {
    match stop {
        Stop::Overflow => Stop::Unknown,
        other => other,
    }
}

fn names(statement: &rusqlite::Statement<'_>) -> Vec<String> {
    statement.column_names().map(str::to_owned).collect()
}

/// A connection for migrations: with the writer's durability and limits, among them the size `max_bytes` of the file, but
/// without the limits on one statement.
pub(crate) fn open_for_migrations(path: &Path, max_bytes: u64) -> rusqlite::Result<Connection> {
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = Connection::open_with_flags(path, access)?;
    configure(&sqlite, path, Some(max_bytes))?;
    sqlite.busy_timeout(super::BUSY_TIMEOUT)?;
    Ok(sqlite)
}

/// Applies the settings of every connection to the file at `path`. `max_bytes` is the size to which a connection
/// that writes may let the file grow; without it the connection is read-only.
fn configure(sqlite: &Connection, path: &Path, max_bytes: Option<u64>) -> rusqlite::Result<()> {
    sqlite.busy_timeout(super::BUSY_TIMEOUT)?;
    // These two apply to the process, not to the connection, and are cheap to repeat.
    setting(sqlite, "hard_heap_limit", &super::MAX_HEAP_BYTES.to_string())?;
    setting(sqlite, "soft_heap_limit", &super::SOFT_HEAP_BYTES.to_string())?;
    // Data that does not fit into a connection's cache goes to temporary files in the database's folder; SQLite deletes
    // them as soon as they are open. The setting applies to the whole process, but a host has only one folder of
    // databases.
    if let Some(folder) = path.parent().and_then(Path::to_str)
        && sqlite.pragma_query_value(None, "temp_store_directory", |row| row.get::<_, String>(0)).ok().as_deref()
            != Some(folder)
    {
        setting(sqlite, "temp_store_directory", folder)?;
    }
    setting(sqlite, "temp_store", "file")?;
    setting(sqlite, "cache_size", &format!("-{}", super::CACHE_KIB))?;
    setting(sqlite, "foreign_keys", "on")?;
    if let Some(max_bytes) = max_bytes {
        setting(sqlite, "page_size", &PAGE_BYTES.to_string())?;
        setting(sqlite, "journal_mode", "wal")?;
        setting(sqlite, "synchronous", "full")?;
        wal::configure(sqlite)?;
        setting(sqlite, "max_page_count", &(max_bytes / PAGE_BYTES).to_string())?;
    } else {
        setting(sqlite, "query_only", "on")?;
    }
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    sqlite.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    Ok(())
}

/// The limits on one statement of a guest. Deep expressions use stack, long patterns use time within one step.
fn restrict(sqlite: &Connection) -> rusqlite::Result<()> {
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_SQL_LENGTH, super::MAX_STATEMENT_BYTES),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 50),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        sqlite.set_limit(limit, value)?;
    }
    Ok(())
}

/// Sets a pragma, and ignores the row that some pragmas return.
fn setting(sqlite: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    sqlite.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(|e| match e {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        other => Err(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn a_statement_is_compiled_once_whatever_its_parameters_and_a_pattern_is_planned_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Arc::new(SpillBudget::new(u64::MAX));
        let engine = Engine::open(&folder.path().join("shop.db"), Role::Writer, 1 << 30, &spill).unwrap();
        // The host asks this with a pattern, when it opens a database.
        assert!(!engine.has_virtual_tables().unwrap());
        let run = |sql: &str, params: &[Value]| {
            let bound = Bound { rows: 100, bytes: 1 << 20 };
            let _run = engine.begin();
            engine.collect(sql, params, false, bound).unwrap().result.rows
        };
        let compiled_again =
            |sql: &str| engine.sqlite.prepare_cached(sql).unwrap().get_status(StatementStatus::RePrepare);
        run("CREATE TABLE orders (seq INTEGER PRIMARY KEY, owner TEXT, name TEXT COLLATE NOCASE)", &[]);
        run("CREATE INDEX orders_owner ON orders (owner, seq) WHERE owner IS NOT NULL", &[]);
        run("CREATE INDEX orders_name ON orders (name)", &[]);
        let list = "SELECT seq FROM orders WHERE owner = ?1 AND name = ?2 ORDER BY seq DESC LIMIT ?3";
        for owner in ["a", "b", "c"] {
            run(list, &[Value::Text(owner.into()), Value::Text("x".into()), Value::Integer(10)]);
        }
        assert_eq!(compiled_again(list), 0);
        let steps = run("EXPLAIN QUERY PLAN SELECT seq FROM orders WHERE name LIKE ?1", &[Value::Text("ab%".into())]);
        let plan = format!("{steps:?}");
        assert!(plan.contains("SEARCH orders USING") && plan.contains("orders_name"), "{plan}");
        // From then on, plans of this connection depend on values.
        run(list, &[Value::Text("a".into()), Value::Text("x".into()), Value::Integer(10)]);
        assert_ne!(compiled_again(list), 0);
    }

    #[test]
    fn a_large_compiled_statement_is_not_kept_however_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Arc::new(SpillBudget::new(u64::MAX));
        let engine = Engine::open(&folder.path().join("shop.db"), Role::Writer, 1 << 30, &spill).unwrap();
        let run = |sql: &str, read_only| {
            let _run = engine.begin();
            engine.collect(sql, &[], read_only, Bound { rows: 100, bytes: 1 << 20 })
        };
        let union = |of: &str| vec![format!("SELECT * FROM {of}"); 50].join(" UNION ALL ");
        run("CREATE TABLE t (a, b, c, d)", false).unwrap();
        run(&format!("CREATE VIEW v AS {}", union("t")), false).unwrap();
        let (small, read, write) = ("SELECT * FROM t", union("v"), format!("INSERT INTO t {}", union("v")));
        run(small, true).unwrap();
        run(&read, true).unwrap();
        assert!(matches!(run(&write, true), Err(Stop::Writes)));
        let _run = engine.begin();
        assert!(!engine.is_read(&write).unwrap());
        let compiled = |sql: &str| engine.sqlite.prepare_cached(sql).unwrap();
        assert_eq!(compiled(small).get_status(StatementStatus::Run), 1);
        let large = compiled(&read);
        assert!(large.get_status(StatementStatus::MemUsed) > 200_000);
        assert_eq!(large.get_status(StatementStatus::Run), 0, "it was compiled again");
    }
}
