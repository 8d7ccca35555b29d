//! Transactions, and what a session keeps or loses.

use super::*;

#[tokio::test]
async fn a_transaction_is_kept_until_it_ends_and_a_dropped_one_is_rolled_back() {
    let f = Fixture::with("CREATE TABLE t (n int4)").await;
    let (c, other) = (f.connect(), f.connect());
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1)").await;
    assert_eq!(f.transactions.load(Ordering::Acquire), 1);
    assert_eq!(number(&other, "SELECT count(*) FROM t").await, 0);
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 1);
    ok(&c, "COMMIT").await;
    assert_eq!(f.transactions.load(Ordering::Acquire), 0);
    assert_eq!(number(&other, "SELECT count(*) FROM t").await, 1);

    ok(&c, "START TRANSACTION").await;
    ok(&c, "DELETE FROM t").await;
    drop(c);
    assert_eq!(f.transactions.load(Ordering::Acquire), 0);
    assert_eq!(number(&other, "SELECT count(*) FROM t").await, 1);
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    eventually("the transaction is rolled back", || f.psql(idle) == "0").await;
}

#[tokio::test]
async fn a_transaction_that_failed_stays_until_the_guest_ends_it() {
    let f = Fixture::with("CREATE TABLE t (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)").await;
    let c = f.connect();
    let open = || f.transactions.load(Ordering::Acquire);
    ok(&c, "BEGIN").await;
    assert_eq!(state(&error(&c, "SELECT 1/0").await), "22012");
    assert_eq!(state(&error(&c, "SELECT 1").await), "25P02");
    assert_eq!(open(), 1);
    ok(&c, "ROLLBACK").await;
    assert_eq!(open(), 0);
    // A COMMIT that PostgreSQL cannot parse does not end the transaction.
    ok(&c, "BEGIN").await;
    assert_eq!(state(&error(&c, "COMMIT PLEASE").await), "42601");
    assert_eq!((open(), state(&error(&c, "SELECT 1").await)), (1, "25P02"));
    ok(&c, "ROLLBACK").await;
    // A COMMIT that fails ends it.
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1), (1)").await;
    assert_eq!(state(&error(&c, "COMMIT").await), "23505");
    assert_eq!(open(), 0);
    // Savepoints and chained transactions stay inside a transaction, in every spelling.
    ok(&c, " ;; /* now */ begin").await;
    assert_eq!(open(), 1);
    ok(&c, "SAVEPOINT a").await;
    ok(&c, "INSERT INTO t VALUES (2)").await;
    ok(&c, "ROLLBACK TO a").await;
    assert_eq!(open(), 1);
    ok(&c, "COMMIT AND CHAIN").await;
    assert_eq!(open(), 1);
    ok(&c, "COMMIT").await;
    assert_eq!((open(), number(&c, "SELECT count(*) FROM t").await), (0, 0));
}

#[tokio::test]
async fn a_cancelled_statement_ends_on_the_server_and_takes_its_transaction_with_it() {
    let f = Fixture::with("CREATE TABLE t (n int4)").await;
    let c = f.connect();
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1)").await;
    let sleep = c.query("SELECT pg_sleep(600)".into(), vec![]);
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%' AND state = 'active'
                  AND datname = current_database()";
    tokio::select! {
        _ = sleep => panic!("it sleeps for long"),
        () = eventually("it sleeps", || f.psql(asleep) == "1") => {}
    }
    assert!(failed_to_connect(&error(&c, "INSERT INTO t VALUES (2)").await));
    assert!(failed_to_connect(&error(&c, "COMMIT").await));
    assert_eq!(f.transactions.load(Ordering::Acquire), 1);
    ok(&c, "ROLLBACK").await;
    assert_eq!(f.transactions.load(Ordering::Acquire), 0);
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 0);
    eventually("the server notices", || f.psql(asleep) == "0").await;
}

#[tokio::test]
async fn nothing_of_a_session_passes_to_the_next_guest() {
    let f = Fixture::with("CREATE TABLE t (n int4)").await;
    let (one, two) = (f.connect(), f.connect());
    for sql in [
        "SET application_name = 'mine'",
        "SELECT set_config('application_name', 'mine', false)",
        "CREATE TEMP TABLE secret AS SELECT 1 AS n",
        "SELECT 1 AS n INTO TEMP secret",
        "LISTEN mine",
        "SELECT pg_advisory_lock(5)::text",
        "PREPARE mine AS SELECT 1",
        "DO $$ BEGIN PERFORM set_config('application_name', 'mine', false); END $$",
    ] {
        for begin in ["SELECT 1", "BEGIN"] {
            ok(&one, begin).await;
            ok(&one, sql).await;
            if begin == "BEGIN" {
                ok(&one, "COMMIT").await;
            }
            assert_ne!(text(&two, "SELECT current_setting('application_name')").await, "mine", "{sql}");
            // An unqualified name only finds the session's own temporary tables; those of another session can exist a
            // little longer than it.
            assert_eq!(number(&two, "SELECT count(to_regclass('secret'))").await, 0, "{sql}");
            assert_eq!(number(&two, "SELECT count(*) FROM pg_listening_channels()").await, 0, "{sql}");
            assert_eq!(
                number(&two, "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'").await,
                0,
                "{sql}"
            );
            eventually("the lock is gone", || f.psql("SELECT pg_try_advisory_lock(5)") == "t").await;
        }
    }
    // Settings of a transaction do not close the session.
    let before = number(&one, "SELECT pg_backend_pid()").await;
    ok(&one, "BEGIN").await;
    ok(&one, "SET LOCAL application_name = 'mine'").await;
    assert_eq!(text(&one, "SELECT current_setting('application_name')").await, "mine");
    ok(&one, "COMMIT").await;
    assert_eq!(number(&two, "SELECT pg_backend_pid()").await, before);
    assert_ne!(text(&two, "SELECT current_setting('application_name')").await, "mine");
}

#[tokio::test]
async fn a_server_that_was_killed_costs_errors_while_it_is_away_and_none_afterwards() {
    let mut server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let url = server.database();
    let (granted, transactions) = (granted(), Arc::default());
    let c = connect(&granted, &url, &transactions);
    let held = connect(&granted, &url, &transactions);
    ok(&c, "CREATE TABLE t (n int4)").await;
    ok(&held, "BEGIN").await;
    ok(&held, "INSERT INTO t VALUES (1)").await;
    ok(&c, "SELECT 1").await;
    server.kill();
    let error_when_away = error(&c, "SELECT 1").await;
    assert!(failed_to_connect(&error_when_away), "{error_when_away:?}");
    server.resume();
    ok(&c, "INSERT INTO t VALUES (2)").await;
    // The transaction is lost, so the rest of its statements must not run outside it.
    assert!(failed_to_connect(&error(&held, "INSERT INTO t VALUES (3)").await));
    assert!(failed_to_connect(&error(&held, "INSERT INTO t VALUES (4)").await));
    ok(&held, "ROLLBACK").await;
    assert_eq!(number(&held, "SELECT n FROM t").await, 2);
    // Idle sessions that the server ended cause no error either.
    let (idle, used) = (granted_idle(&granted, &url), Instant::now());
    server.psql(name_of(&url), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    assert!(idle > 0);
    eventually("they were idle for long enough to be asked", || used.elapsed() > PING_AFTER).await;
    ok(&c, "INSERT INTO t VALUES (5)").await;
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 2);
    drop(c);
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}
