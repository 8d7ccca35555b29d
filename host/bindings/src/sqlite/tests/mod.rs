//! `spin:sqlite`: values, errors, limits, and which reads run on an async thread.

mod groups;
mod streams;
mod transactions;

use super::*;
use futures::poll;
use std::pin::pin;

/// A database in its own folder.
pub(super) struct Fixture {
    _folder: tempfile::TempDir,
    pub(super) database: Arc<Database>,
    transactions: Arc<AtomicUsize>,
}

impl Fixture {
    pub(super) async fn new(schema: &str) -> Self {
        Self::sized(schema, 1 << 30).await
    }

    pub(super) async fn sized(schema: &str, max_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("sqlite/shop.db"), "shop", max_bytes).unwrap();
        let fixture = Fixture { _folder: folder, database, transactions: Arc::default() };
        let connection = fixture.connect();
        for statement in schema.split(';').filter(|s| !s.trim().is_empty()) {
            ok(&connection, statement).await;
        }
        fixture
    }

    pub(super) fn connect(&self) -> Connection {
        Connection::new(self.database.clone(), Share::default(), self.transactions.clone())
    }

    fn open_transactions(&self) -> usize {
        self.transactions.load(Ordering::Acquire)
    }
}

pub(super) async fn ok(connection: &Connection, sql: &str) -> QueryResult {
    connection.execute(sql.to_owned(), vec![]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"))
}

pub(super) async fn error(connection: &Connection, sql: &str) -> String {
    match connection.execute(sql.to_owned(), vec![]).await {
        Err(Error::Io(message)) => message,
        other => panic!("{sql}: {other:?}"),
    }
}

pub(super) async fn integer(connection: &Connection, sql: &str) -> i64 {
    match ok(connection, sql).await.rows[0].values[0] {
        Value::Integer(n) => n,
        ref other => panic!("{sql}: {other:?}"),
    }
}

pub(super) async fn all(mut stream: RowStream) -> Vec<RowResult> {
    let mut rows = Vec::new();
    while let Some(batch) = stream.next(usize::MAX).await {
        rows.extend(batch.unwrap());
    }
    rows
}

/// Returns when every blocking task that was queued earlier has begun.
async fn blocking_tasks_begun() {
    tokio::task::spawn_blocking(|| ()).await.unwrap();
}

/// Runs `test` with only one blocking thread.
fn with_one_blocking_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(test);
}

/// Whether `read` needs a blocking thread; awaits it at the end. Needs [`with_one_blocking_thread`].
async fn needs_a_blocking_thread(read: impl Future<Output = Result<QueryResult, Error>>) -> bool {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let holder = tokio::task::spawn_blocking(move || held.recv());
    let mut read = pin!(read);
    let here = poll!(read.as_mut()).is_ready();
    drop(release);
    assert!(holder.await.unwrap().is_err());
    if !here {
        read.await.unwrap();
    }
    !here
}

/// Counts to `last`, or for ever.
pub(super) fn count_to(last: u64) -> String {
    format!("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {last}) SELECT n FROM c")
}

pub(super) const FOR_EVER: u64 = i64::MAX as u64;

#[tokio::test]
async fn every_kind_of_value_goes_in_and_comes_out() {
    let f = Fixture::new("").await;
    let c = f.connect();
    let values = vec![
        Value::Integer(i64::MIN),
        Value::Real(-0.5),
        Value::Text("naïve 🦀".into()),
        Value::Blob(vec![0, 255]),
        Value::Blob(vec![]),
        Value::Null,
    ];
    let result = c.execute("SELECT ?, ?, ?, ?, ?, ? AS last".into(), values.clone()).await.unwrap();
    assert_eq!(result.columns.last().unwrap(), "last");
    assert_eq!(result.rows, [RowResult { values }]);
}

#[tokio::test]
async fn columns_are_named_when_there_are_no_rows_and_after_the_schema_changed() {
    let f = Fixture::new("CREATE TABLE t (a, b)").await;
    let c = f.connect();
    assert_eq!(ok(&c, "SELECT * FROM t").await.columns, ["a", "b"]);
    ok(&c, "ALTER TABLE t ADD COLUMN c DEFAULT 3").await;
    ok(&c, "INSERT INTO t (a) VALUES (1)").await;
    let result = ok(&c, "SELECT * FROM t").await;
    assert_eq!(result.columns, ["a", "b", "c"]);
    assert_eq!(result.rows[0].values, [Value::Integer(1), Value::Null, Value::Integer(3)]);
}

#[tokio::test]
async fn errors_are_sqlites_own_and_name_no_path() {
    let f = Fixture::new("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL CHECK (name <> ''))").await;
    let c = f.connect();
    ok(&c, "INSERT INTO t VALUES (1, 'a')").await;
    for (sql, part) in [
        ("INSERT INTO t (name) VALUES ('a')", "UNIQUE constraint failed: t.name"),
        ("INSERT INTO t (name) VALUES ('')", "CHECK constraint failed"),
        ("INSERT INTO t (name) VALUES (NULL)", "NOT NULL constraint failed: t.name"),
        ("SELECT * FROM missing", "no such table: missing"),
        ("SELEKT 1", "near \"SELEKT\": syntax error"),
        ("SELECT ?", "has 1 parameters, but 0 were given"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT CAST(x'ff' AS TEXT) AS odd", "column `odd` holds text that is not UTF-8"),
        ("COMMIT", "no transaction is active"),
    ] {
        let message = error(&c, sql).await;
        assert!(message.contains(part), "{sql}: {message}");
        assert!(!message.contains("sqlite/") && !message.contains("/tmp"), "{sql}: {message}");
    }
}

#[tokio::test]
async fn foreign_keys_are_enforced() {
    let f = Fixture::new("CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a REFERENCES a)").await;
    assert!(error(&f.connect(), "INSERT INTO b VALUES (1)").await.contains("FOREIGN KEY constraint failed"));
}

#[tokio::test]
async fn a_commit_waits_for_the_disk() {
    let f = Fixture::new("").await;
    let c = f.connect();
    assert_eq!(ok(&c, "PRAGMA journal_mode").await.rows[0].values, [Value::Text("wal".into())]);
    assert_eq!(integer(&c, "PRAGMA synchronous").await, 2, "FULL");
}

#[tokio::test]
async fn last_insert_rowid_and_changes_belong_to_the_connection() {
    let f = Fixture::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n UNIQUE)").await;
    let (a, b) = (f.connect(), f.connect());
    assert_eq!((a.last_insert_rowid(), a.changes()), (0, 0));
    ok(&a, "INSERT INTO t VALUES (7, 1), (8, 2)").await;
    ok(&b, "INSERT INTO t VALUES (20, 3)").await;
    assert_eq!((a.last_insert_rowid(), a.changes()), (8, 2));
    assert_eq!((b.last_insert_rowid(), b.changes()), (20, 1));
    ok(&a, "UPDATE t SET n = n + 10 WHERE id < 8").await;
    assert_eq!((a.last_insert_rowid(), a.changes()), (8, 1));
    ok(&a, "INSERT INTO t (n) VALUES (3) ON CONFLICT (n) DO UPDATE SET n = 4").await;
    assert_eq!(a.last_insert_rowid(), 8, "an upsert that updates inserts nothing");
    ok(&a, "CREATE TABLE u (n)").await;
    error(&a, "INSERT INTO t VALUES (7, 1)").await;
    assert_eq!((a.last_insert_rowid(), a.changes()), (8, 1));
    ok(&b, "DELETE FROM t WHERE id = 1000").await;
    assert_eq!((b.last_insert_rowid(), b.changes()), (20, 0));
}

#[tokio::test]
async fn a_read_over_the_budget_gives_the_same_result() {
    let f = Fixture::new("CREATE TABLE t (n, pad)").await;
    let c = f.connect();
    ok(&c, &format!("INSERT INTO t SELECT n, hex(zeroblob(200)) FROM ({})", count_to(3_000))).await;
    // Exceeds, in turn, the time, the rows, the bytes and the size of one value.
    let time = integer(&c, &format!("SELECT sum(n) FROM ({})", count_to(200_000))).await;
    assert_eq!(time, 200_000 * 200_001 / 2);
    let rows = ok(&c, "SELECT n FROM t ORDER BY n").await.rows;
    assert_eq!(rows.len(), 3_000);
    assert_eq!(rows[2_999].values, [Value::Integer(3_000)]);
    assert_eq!(ok(&c, "SELECT pad FROM t LIMIT 900").await.rows.len(), 900);
    let big = ok(&c, "SELECT zeroblob(3000000)").await;
    assert!(matches!(&big.rows[0].values[0], Value::Blob(b) if b.len() == 3_000_000));
}

#[tokio::test]
async fn a_change_with_common_table_expressions_is_not_a_read() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let c = f.connect();
    let result = ok(&c, "WITH x(n) AS (VALUES (1), (2)) INSERT INTO t SELECT n FROM x RETURNING n").await;
    assert_eq!(result.rows.len(), 2);
    assert_eq!((c.changes(), c.last_insert_rowid()), (2, 2));
    assert_eq!(integer(&c, "WITH x AS (SELECT 5) SELECT * FROM x").await, 5);
    // SQLite reaches a value that is too large for the async thread before it reports that the statement writes.
    let large = "y".repeat(50_000);
    ok(&c, &format!("WITH x(n) AS (VALUES ('{large}')) INSERT INTO t SELECT n FROM x")).await;
    ok(&c, "EXPLAIN INSERT INTO t VALUES (9)").await;
    assert_eq!(integer(&c, "SELECT count(*) FROM t").await, 3);
}

#[tokio::test]
async fn what_reaches_beyond_the_database_is_denied() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let folder = tempfile::tempdir().unwrap();
    let stolen = folder.path().join("stolen.db");
    let c = f.connect();
    for sql in [
        &format!("ATTACH '{}' AS other", stolen.display()),
        &format!("VACUUM INTO '{}'", stolen.display()),
        "VACUUM",
        "DETACH main",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",
        "CREATE TEMP TABLE x (n)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE VIRTUAL TABLE x USING dbstat",
        "SELECT * FROM dbstat",
        "SELECT * FROM pragma_integrity_check",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = OFF",
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA writable_schema = ON",
        "PRAGMA wal_checkpoint",
        "PRAGMA wal_autocheckpoint = 0",
        "PRAGMA max_page_count = 1000000000",
        "PRAGMA hard_heap_limit = 1000",
        "PRAGMA temp_store_directory = '/'",
        "PRAGMA mmap_size = 1000000000",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA query_only = ON",
        "PRAGMA busy_timeout = 100000",
    ] {
        let message = error(&c, sql).await;
        assert!(message.contains("not authorized"), "{sql}: {message}");
    }
    assert!(!stolen.exists());
    // Denied by SQLite's defensive mode instead.
    error(&c, "UPDATE sqlite_schema SET sql = 'x'").await;
    ok(&c, "INSERT INTO t VALUES (1)").await;
}

#[tokio::test]
async fn harmless_pragmas_are_available() {
    let f = Fixture::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n)").await;
    let c = f.connect();
    assert_eq!(ok(&c, "PRAGMA table_info(t)").await.rows.len(), 2);
    assert_eq!(ok(&c, "SELECT name FROM pragma_table_info('t')").await.rows.len(), 2);
    for sql in
        ["PRAGMA foreign_keys = ON", "PRAGMA journal_mode = WAL", "PRAGMA integrity_check", "PRAGMA user_version = 3"]
    {
        ok(&c, sql).await;
    }
    assert_eq!(integer(&c, "PRAGMA user_version").await, 3);
}

#[tokio::test]
async fn a_full_database_says_so_and_stays_usable() {
    let f = Fixture::sized("CREATE TABLE t (n)", 1 << 20).await;
    let c = f.connect();
    let fill = c.execute("INSERT INTO t VALUES (zeroblob(2000000))".into(), vec![]).await;
    assert_eq!(fill, Err(Error::DatabaseFull));
    ok(&c, "INSERT INTO t VALUES (1)").await;
    assert_eq!(integer(&c, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn the_log_says_once_each_time_that_a_database_is_nearly_full() {
    let log = crate::tests::Log::capture();
    let f = Fixture::sized("CREATE TABLE t (n)", 1 << 20).await;
    let c = f.connect();
    let said = || log.lines().iter().filter(|line| line.contains("database `shop` is nearly full")).count();
    ok(&c, "INSERT INTO t VALUES (zeroblob(700000))").await;
    assert_eq!(said(), 0);
    // Rows that are rolled back do not count.
    for sql in ["BEGIN", "INSERT INTO t VALUES (zeroblob(200000))", "ROLLBACK"] {
        ok(&c, sql).await;
    }
    assert_eq!(said(), 0);
    for sql in ["BEGIN", "INSERT INTO t VALUES (zeroblob(200000))", "COMMIT", "INSERT INTO t VALUES (1)"] {
        ok(&c, sql).await;
    }
    assert_eq!(said(), 1, "{:?}", log.lines());
    // The file does not shrink, but free space in it counts as free.
    ok(&c, "DELETE FROM t").await;
    ok(&c, "INSERT INTO t VALUES (zeroblob(100000))").await;
    assert_eq!(said(), 1);
    ok(&c, "INSERT INTO t VALUES (zeroblob(800000))").await;
    assert_eq!(said(), 2, "{:?}", log.lines());
}

#[tokio::test]
async fn values_and_statements_have_a_largest_size() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let c = f.connect();
    assert!(error(&c, "SELECT zeroblob(20000000)").await.contains("too big"));
    let blob = vec![Value::Blob(vec![0; 20_000_000])];
    assert!(c.execute("INSERT INTO t VALUES (?)".into(), blob).await.is_err());
    assert!(error(&c, &format!("SELECT '{}'", "x".repeat(2_000_000))).await.contains("too long"));
    let deep = error(&c, &format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000))).await;
    assert!(deep.contains("Recursion limit"), "{deep}");
    ok(&c, &format!("SELECT '{}'", "x".repeat(50_000))).await;
}

#[test]
fn full_text_search_works_and_is_read_on_a_blocking_thread() {
    with_one_blocking_thread(async {
        let f = Fixture::new("CREATE VIRTUAL TABLE docs USING fts5(t); INSERT INTO docs VALUES ('a red shirt')").await;
        let c = f.connect();
        let sql = "SELECT t FROM docs WHERE docs MATCH 'shirt'";
        assert_eq!(ok(&c, sql).await.rows.len(), 1);
        assert!(needs_a_blocking_thread(c.execute(sql.into(), vec![])).await);
        assert!(error(&c, "DELETE FROM docs_content").await.contains("may not be modified"));
    });
}

#[test]
fn a_short_read_needs_no_other_thread() {
    with_one_blocking_thread(async {
        let f = Fixture::new("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)").await;
        let c = f.connect();
        // The first read opens a reader. If the machine delays a read for too long, a pause follows, so the test tries
        // many times.
        for _ in 0..10_000 {
            ok(&c, "SELECT id FROM t").await;
            let sql = "SELECT id FROM t WHERE id = ?".to_owned();
            if !needs_a_blocking_thread(c.execute(sql, vec![Value::Integer(1)])).await {
                return;
            }
        }
        panic!("every read went to another thread");
    });
}

#[test]
fn a_read_that_took_long_keeps_reads_off_the_async_threads_for_a_while() {
    with_one_blocking_thread(async {
        let f = Fixture::new("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)").await;
        let c = f.connect();
        ok(&c, "SELECT id FROM t").await;
        let hour = Duration::from_secs(3600);
        f.database.note_inline(hour, hour + INLINE_OVERRUN);
        assert!(needs_a_blocking_thread(c.execute("SELECT id FROM t".into(), vec![])).await);
    });
}

#[tokio::test]
async fn a_read_that_takes_long_to_compile_stays_off_the_writer() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let (holder, c) = (f.connect(), f.connect());
    ok(&holder, "BEGIN IMMEDIATE").await;
    // SQLite reaches the literal, which is too large for the async thread, before it reports whether the statement
    // reads.
    let sql = format!("WITH x(n) AS (VALUES ('{}')) SELECT length(n) FROM x", "y".repeat(50_000));
    assert_eq!(integer(&c, &sql).await, 50_000);
}

#[tokio::test]
async fn a_database_outlives_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    for expected in [1, 2] {
        let c = Connection::new(Database::open(&path, "shop", 1 << 30).unwrap(), Share::default(), Arc::default());
        ok(&c, "CREATE TABLE IF NOT EXISTS t (n)").await;
        ok(&c, "INSERT INTO t VALUES (1)").await;
        assert_eq!(integer(&c, "SELECT count(*) FROM t").await, expected);
    }
}
