//! Limits on what one guest can take from others, on a real PostgreSQL.

use super::tests::{Fixture, connect, error, eventually, granted, granted_idle, ok, state};
use super::*;
use crate::tests::ctx;
use souk_test::postgres::Postgres;

#[tokio::test]
async fn an_application_has_a_bound_and_idle_connections_make_room_for_others() {
    let f = Fixture::new();
    let pools: Vec<_> = (0..5).map(|_| Postgres::shared().database()).collect();
    let guest = |url: &String| connect(&f.granted, url, &Arc::default());
    let idle = || pools.iter().map(|url| granted_idle(&f.granted, url)).sum::<usize>();
    // Three pools use all connections.
    let holders: Vec<_> =
        pools[..3].iter().flat_map(|url| (0..MAX_POOL_CONNECTIONS).map(|_| guest(url)).collect::<Vec<_>>()).collect();
    for holder in &holders {
        ok(holder, "BEGIN").await;
    }
    // A guest that waits when they become idle gets one of them. `join!` polls it first, so it waits before the others
    // end.
    let waiting = guest(&pools[3]);
    let (answer, ()) = tokio::join!(waiting.query("SELECT 1".into(), vec![]), async {
        for holder in &holders {
            ok(holder, "COMMIT").await;
        }
    });
    answer.unwrap();
    assert_eq!(idle(), MAX_ALL_CONNECTIONS);
    // A guest that comes later does not wait.
    ok(&guest(&pools[4]), "SELECT 1").await;
    assert_eq!(idle(), MAX_ALL_CONNECTIONS);
    assert_eq!(granted_idle(&f.granted, &pools[0]), MAX_POOL_CONNECTIONS - 2);
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
    // A statement that PostgreSQL does not understand ends nothing, and neither does a missing savepoint.
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
    // Statements without a transaction still run, and so does a BEGIN inside an open transaction.
    ok(&last, "SELECT 1").await;
    ok(&guests[0], "BEGIN").await;
    ok(&guests[0], "COMMIT").await;
    ok(&last, "BEGIN").await;
}

#[tokio::test]
async fn an_instance_has_few_addresses_and_connections_count_while_they_are_opened() {
    let url = Postgres::shared().database();
    let address = |name: usize| Address::parse(&format!("{url}?application_name=a{name}"));
    let mut ctx = ctx(|grants| grants.postgres = granted());
    let mut view = host::View::of(&mut ctx);
    let mut held: Vec<_> =
        (0..MAX_INSTANCE_ADDRESSES).map(|name| view.new_connection(&address(name)).unwrap()).collect();
    let refused = view.new_connection(&address(MAX_INSTANCE_ADDRESSES)).err().unwrap();
    assert!(matches!(&refused, Error::Other(what) if what.contains("addresses")), "{refused:?}");
    // Another connection to one of these addresses is allowed, and dropping a connection makes room.
    held.push(view.new_connection(&address(0)).unwrap());
    drop(held.remove(1));
    held.push(view.new_connection(&address(MAX_INSTANCE_ADDRESSES)).unwrap());
    // None of these has connected yet.
    while held.len() < MAX_CONNECTIONS {
        held.push(view.new_connection(&address(0)).unwrap());
    }
    let refused = view.new_connection(&address(0)).err().unwrap();
    assert!(matches!(&refused, Error::Other(what) if what.contains("connections are open")), "{refused:?}");
}

#[tokio::test]
async fn a_small_row_that_would_become_much_text_is_refused() {
    let f = Fixture::new();
    let c = f.connect();
    // 2.5 GiB of digits in 280 KB.
    let sql = "SELECT 1, array_agg(1e131071::numeric) FROM generate_series(1, 20000)";
    for error in [error(&c, sql).await, c.query_stream(sql.into(), vec![]).await.err().unwrap()] {
        let bound = format!("larger than {} MiB", MAX_RESULT_BYTES >> 20);
        assert!(matches!(&error, Error::ValueConversionFailed(what) if what.contains(&bound)), "{error:?}");
    }
}

#[tokio::test]
async fn a_row_is_refused_before_it_is_in_memory_and_its_connection_is_closed() {
    let f = Fixture::new();
    let c = f.connect();
    let (row, error_text) = ("SELECT repeat('x', 500000000)", "DO $$ BEGIN RAISE '%', repeat('x', 200000000); END $$");
    for sql in [row, error_text] {
        let refused = [error(&c, sql).await, c.query_stream(sql.into(), vec![]).await.err().unwrap()];
        assert_eq!(granted_idle(&f.granted, &f.url), 0, "{sql}");
        if cfg!(feature = "jemalloc") {
            for error in refused {
                let text = format!("{error:?}");
                assert!(text.contains("much larger than 16 MiB, so its connection was closed"), "{sql}: {text:.200}");
            }
        }
    }
    // In a transaction, too, which is lost.
    ok(&c, "BEGIN").await;
    error(&c, row).await;
    ok(&c, "ROLLBACK").await;
    ok(&c, "SELECT 1").await;
}

#[tokio::test]
async fn a_connection_with_large_buffers_is_closed_after_use() {
    let f = Fixture::with("CREATE TABLE t (b bytea)").await;
    let c = f.connect();
    for (sql, size, kept) in [
        ("SELECT repeat('x', 100000)", 0, 1),
        ("SELECT repeat('x', 2000000)", 0, 0),
        ("INSERT INTO t VALUES ($1)", 100_000, 1),
        ("INSERT INTO t VALUES ($1)", 2_000_000, 0),
    ] {
        let params = if size == 0 { vec![] } else { vec![ParameterValue::Binary(vec![0; size])] };
        c.query(sql.into(), params).await.unwrap();
        assert_eq!(granted_idle(&f.granted, &f.url), kept, "{sql} {size}");
    }
    // The largest values that fit pass; sent and received, they need several times their size.
    let size = MAX_RESULT_BYTES - 1024;
    let values = c.query("SELECT $1::bytea".into(), vec![ParameterValue::Binary(vec![0; size])]).await.unwrap();
    assert_eq!(values.rows.len(), 1);
}

#[tokio::test]
async fn heavy_rows_count_with_what_they_weigh_until_they_are_read() {
    const ROW: usize = 6 << 20;
    let f = Fixture::new();
    let counted = UnreadRows::default();
    let unread = &counted.bytes;
    let address = Address::parse(&f.url).unwrap();
    let c = f.granted.connection(&address, f.transactions.clone(), counted.clone(), "trace").unwrap();
    let sql = format!("SELECT repeat('x', {ROW}) FROM generate_series(1, 9)");
    let stream = async || c.query_stream(sql.clone(), vec![]).await;
    // There is room for the first rows of two streams, and not for a third.
    let (mut one, two) = (stream().await.unwrap(), stream().await.unwrap());
    assert_eq!(unread.load(Ordering::Acquire) / ROW, 2);
    let refused = stream().await.err().unwrap();
    assert!(matches!(&refused, Error::Other(what) if what.contains("unread")), "{refused:?}");
    assert_eq!(unread.load(Ordering::Acquire) / ROW, 2);
    // A stream that is read goes on to its end, and never has more than one unread row.
    drop(two);
    eventually("the other's rows are gone", || unread.load(Ordering::Acquire) / ROW == 1).await;
    let mut rows = 0;
    while let Some(more) = one.next(1).await {
        rows += more.unwrap().len();
        assert!(unread.load(Ordering::Acquire) / ROW <= 1);
    }
    assert_eq!(rows, 9);
    drop(one);
    eventually("nothing is counted", || unread.load(Ordering::Acquire) == 0).await;
}
