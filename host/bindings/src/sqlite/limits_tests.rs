//! Limits on what one guest's statements take from others: the write-ahead log, memory, temporary files.

use super::tests::{FOR_EVER, Fixture, all, count_to, error, integer, ok};
use super::*;

fn wal_bytes(f: &Fixture) -> u64 {
    let mut path = f.database.path().as_os_str().to_owned();
    path.push("-wal");
    std::fs::metadata(path).unwrap().len()
}

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn overlapping_readers_do_not_keep_the_log_growing_and_get_the_reason_of_their_end() {
    let f = Fixture::sized("CREATE TABLE t (n, b); INSERT INTO t VALUES (0, zeroblob(200000))", 2 * MIB).await;
    let (reader, writer) = (f.connect(), f.connect());
    let endless = format!("SELECT c.n, t.n FROM ({}) AS c, t", count_to(FOR_EVER));
    let mut ended = 0;
    let mut streams = std::collections::VecDeque::new();
    for n in 0..100 {
        if n % 4 == 0 {
            if streams.len() == STREAM_READERS - 1 {
                let mut stream: RowStream = streams.pop_front().unwrap();
                while let Some(batch) = stream.next(usize::MAX).await {
                    if let Err(Error::Io(message)) = batch {
                        assert!(message.contains("2 MiB to `shop`"), "{message}");
                        ended += 1;
                    } else if n < 20 {
                        break;
                    }
                }
            }
            streams.push_back(reader.query_stream(endless.clone(), vec![]).await.unwrap());
        }
        ok(&writer, &format!("UPDATE t SET n = {n}, b = randomblob(200000)")).await;
        assert!(wal_bytes(&f) <= 3 * MIB, "{}", wal_bytes(&f));
    }
    assert!(ended > 0);
}

#[tokio::test]
async fn a_long_read_that_keeps_the_log_from_being_emptied_ends_with_an_error() {
    let f = Fixture::sized("CREATE TABLE t (n, b); INSERT INTO t VALUES (0, zeroblob(200000))", 2 * MIB).await;
    let (reader, writer) = (f.connect(), f.connect());
    let sql = format!("SELECT count(*) FROM ({}), t", count_to(FOR_EVER));
    let read = tokio::spawn(async move { error(&reader, &sql).await });
    while !read.is_finished() {
        ok(&writer, "UPDATE t SET b = randomblob(200000)").await;
        assert!(wal_bytes(&f) <= 3 * MIB);
    }
    let message = read.await.unwrap();
    assert!(message.contains("the read was ended"), "{message}");
}

#[tokio::test]
async fn writes_are_refused_while_another_program_keeps_the_log_from_being_emptied() {
    let f = Fixture::sized("CREATE TABLE t (n, b); INSERT INTO t VALUES (0, zeroblob(200000))", 2 * MIB).await;
    let writer = f.connect();
    let other = rusqlite::Connection::open(f.database.path()).unwrap();
    other.execute_batch("BEGIN; SELECT n FROM t").unwrap();
    let message = loop {
        match writer.execute("UPDATE t SET b = randomblob(200000)".into(), vec![]).await {
            Ok(_) => assert!(wal_bytes(&f) <= 9 * MIB),
            Err(Error::Io(message)) => break message,
            Err(e) => panic!("{e:?}"),
        }
    };
    assert!(message.contains("another program reads `shop`"), "{message}");
    drop(other);
    ok(&writer, "UPDATE t SET n = 1").await;
    assert!(wal_bytes(&f) < MIB);
    assert_eq!(all(writer.query_stream("SELECT n FROM t".into(), vec![]).await.unwrap()).await.len(), 1);
}

/// Sorts about `mib` MiB, without an index.
fn sort(mib: u64) -> String {
    let rows = format!("SELECT randomblob(10000) AS b FROM ({})", count_to(mib * 100));
    format!("SELECT count(*), max(length(b)) FROM (SELECT b FROM ({rows}) ORDER BY b LIMIT -1 OFFSET 1)")
}

#[tokio::test]
async fn a_sort_larger_than_all_of_sqlites_memory_succeeds_in_files_beside_another_ones() {
    let f = Fixture::new("").await;
    let (large, small) = (f.connect(), f.connect());
    let (large, small) = tokio::join!(async { ok(&large, &sort(MAX_HEAP_BYTES / MIB + 50)).await }, async {
        ok(&small, &sort(100)).await
    });
    assert_eq!(large.rows[0].values[1], Value::Integer(10_000));
    assert_eq!(small.rows[0].values[0], Value::Integer(9_999));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn temporary_files_count_as_the_databases_bytes() {
    let f = Fixture::sized("", 16 * MIB).await;
    let c = f.connect();
    for _ in 0..3 {
        let message = error(&c, &sort(200)).await;
        assert!(message.contains("more than 16 MiB of temporary files"), "{message}");
    }
    ok(&c, &sort(4)).await;
}

#[tokio::test]
async fn a_component_runs_a_bounded_number_of_statements_and_leaves_room_for_others() {
    let others = Fixture::new("CREATE TABLE t (n)").await;
    let share = Share::default();
    // The component has several databases, each with room for more than one long read.
    let fixtures = [Fixture::new("").await, Fixture::new("").await, Fixture::new("").await];
    let sql = format!("SELECT count(*) FROM ({})", count_to(FOR_EVER));
    let mut reads = Vec::new();
    for f in &fixtures {
        for _ in 0..LONG_READERS {
            let c = Connection::new(f.database.clone(), share.clone(), Arc::default());
            let sql = sql.clone();
            reads.push(tokio::spawn(async move { c.execute(sql, vec![]).await }));
        }
    }
    while share.free() > 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let running: usize = fixtures.iter().map(|f| f.database.long_reads_under_way()).sum();
    assert_eq!(running, MAX_STATEMENTS);
    ok(&others.connect(), "INSERT INTO t VALUES (1)").await;
    reads.iter().for_each(tokio::task::JoinHandle::abort);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_transaction_that_sqlite_ended_by_itself_takes_no_more_statements() {
    let f = Fixture::sized("CREATE TABLE t (n)", 4 * MIB).await;
    let c = f.connect();
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1)").await;
    // The interruption rolls the transaction back.
    let message = error(&c, &format!("INSERT INTO t SELECT 2 FROM ({})", sort(200))).await;
    assert!(message.contains("temporary files"), "{message}");
    let message = error(&c, "INSERT INTO t VALUES (3)").await;
    assert!(message.contains("run ROLLBACK"), "{message}");
    ok(&c, "ROLLBACK").await;
    ok(&c, "INSERT INTO t VALUES (4)").await;
    assert_eq!(integer(&c, "SELECT sum(n) FROM t").await, 4);
    // A transaction that the guest itself lets SQLite roll back has ended as requested.
    ok(&c, "CREATE UNIQUE INDEX i ON t (n)").await;
    ok(&c, "BEGIN").await;
    assert!(error(&c, "INSERT OR ROLLBACK INTO t VALUES (4)").await.contains("UNIQUE"));
    ok(&c, "INSERT INTO t VALUES (5)").await;
}

#[tokio::test]
async fn a_component_cannot_let_the_schema_grow_without_end() {
    let f = Fixture::new("CREATE TABLE t (a)").await;
    let c = f.connect();
    let columns: Vec<_> = (0..500).map(|n| format!("column_{n:020}")).collect();
    let columns = columns.join(", ");
    let mut made = 0;
    let message = loop {
        match c.execute(format!("CREATE TABLE wide_{made} ({columns})"), vec![]).await {
            Ok(_) => made += 1,
            Err(Error::Io(message)) => break message,
            Err(e) => panic!("{e:?}"),
        }
    };
    assert!((30..60).contains(&made) && message.contains("drop what is not in use"), "{made}: {message}");
    ok(&c, "INSERT INTO wide_0 (column_00000000000000000000) VALUES (1)").await;
    assert!(error(&c, "ALTER TABLE t ADD COLUMN i").await.contains("create no more"));
    ok(&c, "DROP TABLE wide_1").await;
    ok(&c, "CREATE INDEX t_a ON t (a)").await;
}
