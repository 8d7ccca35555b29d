//! What one guest can take from the others, on a real PostgreSQL.

use super::tests::{Fixture, connect, error, ok, state};
use super::*;
use crate::postgres_server::Postgres;

#[tokio::test]
async fn one_who_waits_gets_a_connection_as_soon_as_others_lie_idle() {
    let f = Fixture::new();
    let mut holders = Vec::new();
    for _ in 0..MAX_ALL_CONNECTIONS / MAX_POOL_CONNECTIONS {
        let url = Postgres::shared().database();
        holders.extend((0..MAX_POOL_CONNECTIONS).map(|_| connect(&f.granted, &url, &Arc::default())));
    }
    for holder in &holders {
        ok(holder, "BEGIN").await;
    }
    let waiting = f.connect();
    // It is asked first, so it waits when the others begin to end.
    let (answer, ()) = tokio::join!(waiting.query("SELECT 1".into(), vec![]), async {
        for holder in &holders {
            ok(holder, "COMMIT").await;
        }
    });
    answer.unwrap();
}

#[tokio::test]
async fn a_commit_and_chain_that_fails_leaves_no_transaction() {
    let f = Fixture::with("CREATE TABLE t (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)").await;
    let c = f.connect();
    let open = || f.transactions.load(Ordering::Acquire);
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1), (1)").await;
    assert_eq!(state(&error(&c, "COMMIT AND CHAIN").await), "23505");
    assert_eq!(open(), 0);
    // One that PostgreSQL does not understand ends nothing, nor does a savepoint that is not there.
    for sql in ["COMMIT AND CHAIN PLEASE", "ROLLBACK TO nowhere"] {
        ok(&c, "BEGIN").await;
        error(&c, sql).await;
        assert_eq!((open(), state(&error(&c, "SELECT 1").await)), (1, "25P02"), "{sql}");
        ok(&c, "ROLLBACK").await;
    }
}

#[tokio::test]
async fn an_instance_has_few_transactions_at_one_time() {
    let f = Fixture::new();
    let mut guests: Vec<_> = (0..=MAX_TRANSACTIONS).map(|_| f.connect()).collect();
    // All at once.
    let begun = guests.iter().map(|guest| guest.query("BEGIN".into(), vec![]));
    let begun: Vec<_> = futures::future::join_all(begun).await;
    let refused: Vec<_> = begun.iter().filter_map(|begun| begun.as_ref().err()).collect();
    assert!(matches!(refused.as_slice(), [Error::Other(what)] if what.contains("transactions")), "{refused:?}");
    assert_eq!(f.transactions.load(Ordering::Acquire), MAX_TRANSACTIONS);
    let last = guests.pop().unwrap();
    // What needs none goes on, and so does a BEGIN where one is open.
    ok(&last, "SELECT 1").await;
    ok(&guests[0], "BEGIN").await;
    ok(&guests[0], "COMMIT").await;
    ok(&last, "BEGIN").await;
}
