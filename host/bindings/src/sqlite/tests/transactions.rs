//! Transactions and cancelled statements.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn readers_go_on_while_a_transaction_is_open_and_see_it_once_it_is_committed() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let writer = f.connect();
    ok(&writer, "BEGIN IMMEDIATE").await;
    ok(&writer, "INSERT INTO t VALUES (1)").await;
    assert_eq!(f.open_transactions(), 1);
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let reader = f.connect();
            tokio::spawn(async move { integer(&reader, "SELECT count(*) FROM t").await })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 0);
    }
    assert_eq!(integer(&writer, "SELECT count(*) FROM t").await, 1, "the transaction sees its own row");
    ok(&writer, "COMMIT").await;
    assert_eq!(f.open_transactions(), 0);
    assert_eq!(integer(&f.connect(), "SELECT count(*) FROM t").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_take_turns_and_lose_nothing() {
    let f = Fixture::new("CREATE TABLE t (n); INSERT INTO t VALUES (0)").await;
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let c = f.connect();
            tokio::spawn(async move {
                for _ in 0..5 {
                    ok(&c, "BEGIN").await;
                    let n = integer(&c, "SELECT n FROM t").await;
                    c.execute("UPDATE t SET n = ?".into(), vec![Value::Integer(n + 1)]).await.unwrap();
                    ok(&c, "COMMIT").await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(integer(&f.connect(), "SELECT n FROM t").await, 80);
}

#[tokio::test]
async fn dropping_a_connection_rolls_back_and_frees_the_writer() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    for begin in ["BEGIN", "SAVEPOINT s", "/* c */ begin exclusive"] {
        let c = f.connect();
        ok(&c, begin).await;
        ok(&c, "INSERT INTO t VALUES (1)").await;
        assert_eq!(f.open_transactions(), 1, "{begin}");
        drop(c);
        assert_eq!(f.open_transactions(), 0, "{begin}");
        let next = f.connect();
        ok(&next, "INSERT INTO t VALUES (2)").await;
        assert_eq!(integer(&next, "SELECT count(*) FROM t WHERE n = 1").await, 0, "{begin}");
    }
}

#[tokio::test]
async fn releasing_the_outer_savepoint_commits_and_rolling_back_to_it_does_not_end_it() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let c = f.connect();
    ok(&c, "SAVEPOINT s").await;
    ok(&c, "INSERT INTO t VALUES (1)").await;
    ok(&c, "ROLLBACK TO s").await;
    assert_eq!(f.open_transactions(), 1);
    ok(&c, "INSERT INTO t VALUES (2)").await;
    ok(&c, "RELEASE s").await;
    assert_eq!(f.open_transactions(), 0);
    assert_eq!(integer(&f.connect(), "SELECT n FROM t").await, 2);
}

#[tokio::test]
async fn a_cancelled_write_frees_the_writer() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let c = f.connect();
    {
        let mut endless = pin!(c.execute(format!("INSERT INTO t {}", count_to(FOR_EVER)), vec![]));
        assert!(poll!(endless.as_mut()).is_pending());
        blocking_tasks_begun().await;
        assert!(poll!(endless.as_mut()).is_pending());
    }
    ok(&c, "INSERT INTO t VALUES (1)").await;
    assert_eq!(integer(&c, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn a_statement_cancelled_within_a_transaction_ends_the_transaction() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let c = f.connect();
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1)").await;
    {
        let mut endless = pin!(c.execute(format!("INSERT INTO t {}", count_to(FOR_EVER)), vec![]));
        assert!(poll!(endless.as_mut()).is_pending());
        blocking_tasks_begun().await;
    }
    // Without this, the rest of the transaction would be committed statement by statement.
    assert!(error(&c, "INSERT INTO t VALUES (2)").await.contains("run ROLLBACK"));
    assert!(error(&c, "ROLLBACK TO s").await.contains("run ROLLBACK"));
    assert_eq!(f.open_transactions(), 1, "the guest still believes in it");
    ok(&f.connect(), "INSERT INTO t VALUES (3)").await;
    ok(&c, "ROLLBACK").await;
    assert_eq!(f.open_transactions(), 0);
    assert_eq!(integer(&c, "SELECT sum(n) FROM t").await, 3);
}

#[tokio::test]
async fn cancelled_reads_give_their_readers_back() {
    let f = Fixture::new("").await;
    let c = f.connect();
    for _ in 0..3 * READERS {
        let endless = format!("SELECT count(*) FROM ({})", count_to(FOR_EVER));
        let mut read = pin!(c.execute(endless, vec![]));
        assert!(poll!(read.as_mut()).is_pending());
        blocking_tasks_begun().await;
        assert!(poll!(read.as_mut()).is_pending());
    }
    assert_eq!(integer(&c, &format!("SELECT count(*) FROM ({})", count_to(1_000_000))).await, 1_000_000);
}

#[tokio::test]
async fn a_component_with_many_writes_does_not_keep_another_waiting_for_all_of_them() {
    let f = Fixture::new("CREATE TABLE t (who)").await;
    let (greedy, modest) = (Share::default(), Share::default());
    let holder = f.connect();
    ok(&holder, "BEGIN IMMEDIATE").await;
    let write = |share: &Share, who: &str| {
        let c = Connection::new(f.database.clone(), share.clone(), Arc::default());
        let sql = format!("INSERT INTO t VALUES ('{who}')");
        Box::pin(async move { c.execute(sql, vec![]).await })
    };
    let mut waiting: Vec<_> = (0..20).map(|_| write(&greedy, "greedy")).collect();
    waiting.push(write(&modest, "modest"));
    // In this order.
    for one in &mut waiting {
        assert!(poll!(one).is_pending());
    }
    ok(&holder, "COMMIT").await;
    futures::future::try_join_all(waiting).await.unwrap();
    // Behind the one that had begun to wait for the writer, and one more.
    assert_eq!(integer(&f.connect(), "SELECT rowid FROM t WHERE who = 'modest'").await, 3);
}
