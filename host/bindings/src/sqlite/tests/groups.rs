//! Statements that share a commit.

use super::*;
use tokio::task::JoinHandle;

type Outcome = Result<QueryResult, Error>;

/// Runs the statements, each on a connection of its own, at a moment when all of them wait for the writer.
async fn at_once(f: &Fixture, statements: &[&str]) -> Vec<JoinHandle<Outcome>> {
    let holder = f.connect();
    ok(&holder, "BEGIN IMMEDIATE").await;
    let mut tasks = Vec::new();
    for (count, sql) in statements.iter().enumerate() {
        let (c, sql) = (f.connect(), (*sql).to_owned());
        tasks.push(tokio::spawn(async move { c.execute(sql, vec![]).await }));
        // The first one leads and the others wait for it, in this order.
        while f.database.waiting.len() != count || !f.database.waiting.is_led() {
            tokio::task::yield_now().await;
        }
    }
    ok(&holder, "ROLLBACK").await;
    tasks
}

async fn outcomes(tasks: Vec<JoinHandle<Outcome>>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// The commits in the write-ahead log: each ends with a frame that has the database's size.
/// See <https://sqlite.org/fileformat2.html#walformat>.
fn commits(f: &Fixture) -> usize {
    let mut path = f.database.path().as_os_str().to_owned();
    path.push("-wal");
    let log = std::fs::read(path).unwrap();
    let frames = log[32..].chunks_exact(24 + 4096);
    frames.filter(|frame| frame[8..16] == log[16..24] && frame[4..8] != [0; 4]).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_wait_share_a_commit_and_each_has_its_own_result() {
    let f = Fixture::new("CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT UNIQUE)").await;
    let before = commits(&f);
    let tasks = at_once(
        &f,
        &[
            "INSERT INTO t VALUES (1, 'a')",
            "INSERT INTO t VALUES (2, 'b') RETURNING n, s",
            "INSERT INTO t VALUES (3, 'a')",
            "INSERT INTO t VALUES (4, 'd'), (5, 'a')",
            "INSERT INTO missing VALUES (1)",
            "UPDATE t SET s = s || 'x' WHERE n <= 2 RETURNING s",
            "DELETE FROM t WHERE n = 1",
        ],
    )
    .await;
    let outcomes = outcomes(tasks).await;
    let rows = |index: usize| outcomes[index].as_ref().unwrap().rows.len();
    assert_eq!([rows(0), rows(1), rows(5), rows(6)], [0, 1, 2, 0]);
    for (index, expected) in [(2, "UNIQUE"), (3, "UNIQUE"), (4, "no such table")] {
        let Err(Error::Io(message)) = &outcomes[index] else { panic!("{:?}", outcomes[index]) };
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(integer(&f.connect(), "SELECT group_concat(n || s) = '2bx' FROM t").await, 1);
    assert_eq!(commits(&f) - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_ends_the_whole_transaction_takes_no_other_with_it() {
    let schema = "CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE child (n INTEGER \
                  REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)";
    for (bad, expected) in
        [("INSERT OR ROLLBACK INTO t VALUES (1)", "UNIQUE"), ("INSERT INTO child VALUES (99)", "FOREIGN KEY")]
    {
        let f = Fixture::new(schema).await;
        let tasks =
            at_once(&f, &["INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)", bad, "INSERT INTO t VALUES (4)"])
                .await;
        let outcomes = outcomes(tasks).await;
        for index in [0, 1, 3] {
            assert!(outcomes[index].is_ok(), "{bad}: {:?}", outcomes[index]);
        }
        let Err(Error::Io(message)) = &outcomes[2] else { panic!("{:?}", outcomes[2]) };
        assert!(message.contains(expected), "{message}");
        assert_eq!(integer(&f.connect(), "SELECT count(*) FROM t").await, 4);
        assert_eq!(integer(&f.connect(), "SELECT count(*) FROM child").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_statement_runs_alone_and_none_fails() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let slow = "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) \
                SELECT n FROM c WHERE n % 3 = 0";
    for statements in [[slow, "INSERT INTO t VALUES (1)"], ["INSERT INTO t VALUES (1)", slow]] {
        let tasks = at_once(&f, &statements).await;
        assert!(outcomes(tasks).await.iter().all(Result::is_ok));
    }
    assert_eq!(integer(&f.connect(), "SELECT count(*) FROM t").await, 200_002);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_no_longer_waits_for_is_not_begun_and_the_next_one_leads() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let holder = f.connect();
    ok(&holder, "BEGIN IMMEDIATE").await;
    let mut tasks = Vec::new();
    for n in 0..6 {
        let c = f.connect();
        tasks.push(tokio::spawn(async move { c.execute(format!("INSERT INTO t VALUES ({n})"), vec![]).await }));
        while f.database.waiting.len() != n || !f.database.waiting.is_led() {
            tokio::task::yield_now().await;
        }
    }
    // The leader, the one that would lead next, and one more.
    for gone in [0, 1, 3] {
        tasks[gone].abort();
        assert!((&mut tasks[gone]).await.unwrap_err().is_cancelled());
    }
    // The third one leads now, and the parameters of those that are gone take no memory.
    assert_eq!(f.database.waiting.held(), 2);
    ok(&holder, "COMMIT").await;
    for rest in [2, 4, 5] {
        (&mut tasks[rest]).await.unwrap().unwrap();
    }
    assert_eq!(integer(&f.connect(), "SELECT group_concat(n, '') = '245' FROM (SELECT n FROM t ORDER BY n)").await, 1);
    assert!(!f.database.waiting.is_led());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_beside_transactions_lose_nothing() {
    let f = Fixture::new("CREATE TABLE t (n INTEGER PRIMARY KEY)").await;
    let writers: Vec<_> = (0..24_i64)
        .map(|writer| {
            let c = f.connect();
            tokio::spawn(async move {
                for n in 0..20 {
                    // Every second row of the odd writers is one that is there already.
                    let row = if writer % 2 == 1 && n % 2 == 1 { writer * 100 + n - 1 } else { writer * 100 + n };
                    let insert = format!("INSERT INTO t VALUES ({row})");
                    match writer % 6 {
                        5 => {
                            ok(&c, "BEGIN").await;
                            let inserted = c.execute(insert, vec![]).await.is_ok();
                            ok(&c, "COMMIT").await;
                            assert_eq!(inserted, n % 2 == 0);
                        }
                        other => assert_eq!(c.execute(insert, vec![]).await.is_ok(), other % 2 == 0 || n % 2 == 0),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(integer(&f.connect(), "SELECT count(*) FROM t").await, 12 * 20 + 12 * 10);
}
