//! How many orders of one customer may wait for their payment, against both databases.

use super::{both, customer, draft, key, number, on_postgres};
use crate::bindings::orders::{Money, Status};
use crate::bindings::payment_events::Charge;
use crate::key::Key;
use crate::store::Created;
use crate::{event, status, store};
use souk_database::{Error, Statement};

#[test]
fn a_customer_has_no_more_open_orders_than_the_quota_and_paying_or_cancelling_one_makes_room() {
    for db in both() {
        let make = |owner: Option<&str>, key: Option<&Key>| match store::create(&db, owner, "usd", draft(5), key, 2)
            .unwrap()
        {
            Created::Made(order) => Some(order),
            Created::KeyTaken => panic!("the key is taken"),
            Created::TooManyOpen => None,
        };
        let first = make(Some("9"), None).unwrap();
        let second = make(Some("9"), None).unwrap();
        assert!(make(Some("9"), None).is_none());
        // A refused order does not use up its key, and leaves nothing behind.
        let key = key(Some("9"), "k", 1);
        assert!(make(Some("9"), Some(&key)).is_none());
        assert_eq!(number(&db, "SELECT count(*) FROM idempotency_keys"), 0);
        assert_eq!(number(&db, "SELECT count(*) FROM orders"), 2);
        // The quota does not concern other customers, nor orders without an owner.
        assert!(make(Some("8"), None).is_some());
        for _ in 0..5 {
            assert!(make(None, None).is_some());
        }
        let paid = Charge {
            event_id: "e1".into(),
            charge_id: "ch_1".into(),
            order_id: first.id,
            amount: Money { cents: 5, currency: "usd".into() },
            refunded_cents: 0,
            receipt_url: None,
            at: "2024-02-27T15:50:27.545Z".into(),
        };
        event::charge(&db, &paid).unwrap();
        assert!(make(Some("9"), Some(&key)).is_some());
        assert!(make(Some("9"), None).is_none());
        // A used key gets its answer although the quota allows no other order.
        let again = store::create(&db, Some("9"), "usd", draft(5), Some(&key), 2).unwrap();
        assert!(matches!(again, Created::KeyTaken), "{again:?}");
        status::change(&db, &customer("9"), &second.id, Status::Cancelled).unwrap();
        assert!(make(Some("9"), None).is_some());
    }
}

#[test]
fn a_customer_who_cancels_every_order_to_create_the_next_is_stopped_for_24_hours() {
    for db in both() {
        let make = || store::create(&db, Some("9"), "usd", draft(5), None, 2).unwrap();
        for n in 0..20 {
            let Created::Made(order) = make() else { panic!("order {n} is refused") };
            status::change(&db, &customer("9"), &order.id, Status::Cancelled).unwrap();
        }
        assert!(matches!(make(), Created::TooManyOpen));
        let yesterday = Statement::each(
            "UPDATE orders SET created_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-25 hours') \
             WHERE seq = (SELECT min(seq) FROM orders)",
            "UPDATE orders SET created_at = now() - interval '25 hours' WHERE seq = (SELECT min(seq) FROM orders)",
        );
        db.query(yesterday, &[]).unwrap();
        assert!(matches!(make(), Created::Made(_)));
    }
}

#[test]
fn whether_a_customer_may_order_is_decided_without_reading_the_orders_that_they_have() {
    let (db, _) = on_postgres();
    let insert = "INSERT INTO orders (id, owner, currency, total_cents, total_items, status) \
                  SELECT lpad(n::text, 36, '0'), '9', 'usd', 5, 1, CASE WHEN n % 2 = 0 THEN 'PENDING' ELSE 'CANCELLED' END \
                  FROM generate_series(1, 2000) AS n";
    db.query(insert, &[]).unwrap();
    let read = "SELECT (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables \
                WHERE relname = 'orders'";
    for (most, may) in [(1_000_000, true), (1_001, true), (1_000, false), (50, false)] {
        let (answer, rows) = db
            .transaction(|transaction| {
                let asked = format!("SELECT may_order('9', {most})");
                // Within a transaction these figures only grow.
                let rows = || transaction.query(read, &[])?.next().ok_or(Error::Internal)?.integer::<i64>();
                let before = rows()?;
                let answer = transaction.query(&*asked, &[])?.next().ok_or(Error::Internal)?.boolean()?;
                Ok::<_, Error>((answer, rows()? - before))
            })
            .unwrap();
        assert_eq!((answer, rows), (may, 0), "at most {most}");
    }
}
