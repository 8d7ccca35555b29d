//! The pages that reconciliation watches: how they are found, and when they are watched no longer.

use super::{both, number, order, provider_page};
use crate::bindings::orders::{Actor, Money, Status};
use crate::bindings::payment_events::Charge;
use crate::{event, reconcile, session, sql, status};
use souk_database::{Database, Dialect, Row, Statement, Value};

/// How the database runs a statement.
fn plan(db: &Database, statement: Statement<'_>, parameters: &[Value]) -> Vec<String> {
    let text = statement.text(db.dialect());
    let (explain, columns_before) = match db.dialect() {
        Dialect::Sqlite => (format!("EXPLAIN QUERY PLAN {text}"), 3),
        Dialect::Postgres => (format!("EXPLAIN {text}"), 0),
    };
    let step = |mut row: Row| {
        for _ in 0..columns_before {
            row.integer::<i64>().unwrap();
        }
        row.text().unwrap()
    };
    db.query(&*explain, parameters).unwrap().map(step).collect()
}

#[test]
fn the_search_for_open_pages_reads_no_page_that_has_ended_and_no_order_without_an_open_page() {
    let [sqlite, postgres] = both();
    // Enough rows for PostgreSQL to use the indexes: 20,000 orders that are over, half of them cancelled, and 20 others.
    let over = "INSERT INTO orders (id, currency, total_cents, total_items, status, created_at) \
                SELECT lpad(n::text, 36, '0'), 'usd', 1, 1, \
                CASE WHEN n % 2 = 0 THEN 'CANCELLED' ELSE 'DELIVERED' END, \
                '2024-01-01T00:00:00Z'::timestamptz + n * interval '1 minute' FROM generate_series(1, 20000) n";
    postgres.query(over, &[]).unwrap();
    let ended = "INSERT INTO payment_sessions (order_id, attempt, session_id, url, success_url, cancel_url, ended) \
                 SELECT id, 1, id, id, id, id, true FROM orders";
    postgres.query(ended, &[]).unwrap();
    for n in 0..20 {
        let id = order(&postgres, None, 5).id;
        if n % 2 == 0 {
            session::save(&postgres, &id, 1, &provider_page(&format!("cs_{n}"), "2999-01-01T00:00:00Z")).unwrap();
        }
    }
    postgres.query("VACUUM ANALYZE orders", &[]).unwrap();
    postgres.query("VACUUM ANALYZE payment_sessions", &[]).unwrap();
    for (statement, parameters) in [
        (sql::OPEN_PAGES, vec![Value::Integer(0), Value::Null, Value::Integer(100)]),
        (sql::ANY_OPEN, vec![]),
        (sql::RETIRE_PAGES, vec![]),
    ] {
        let steps = plan(&sqlite, statement, &parameters);
        assert!(steps.iter().any(|step| step.contains("payment_sessions_open")), "{steps:?}");
        for step in &steps {
            assert!(!step.starts_with("SCAN orders"), "{steps:?}");
            let whole = step.starts_with("SCAN payment_sessions") && !step.contains("payment_sessions_open");
            // All orders of a status, of any time.
            assert!(!whole && !step.contains("(status=?)"), "{steps:?}");
        }
        let steps = plan(&postgres, statement, &parameters);
        assert!(steps.iter().any(|step| step.contains("payment_sessions_open")), "{steps:?}");
        for step in &steps {
            assert!(!step.contains("Seq Scan on orders"), "{steps:?}");
            assert!(!step.contains("Seq Scan on payment_sessions"), "{steps:?}");
            assert!(!(step.contains("Index Cond") && step.contains("CANCELLED")), "{steps:?}");
        }
    }
}

#[test]
fn pages_of_orders_that_were_paid_or_delivered_are_watched_no_longer() {
    for db in both() {
        let made = [(); 4].map(|()| order(&db, None, 5).id);
        for id in &made {
            session::save(&db, id, 1, &provider_page(&format!("cs_{id}"), "2999-01-01T00:00:00Z")).unwrap();
        }
        let [open, cancelled, paid, delivered] = made;
        let charge = Charge {
            event_id: "evt_1".into(),
            charge_id: "ch_1".into(),
            order_id: paid,
            amount: Money { cents: 5, currency: "usd".into() },
            refunded_cents: 0,
            receipt_url: None,
            at: "2024-02-27T15:50:27.000Z".into(),
        };
        event::charge(&db, &charge).unwrap();
        status::change(&db, &Actor::Anyone, &delivered, Status::Delivered).unwrap();
        status::change(&db, &Actor::Anyone, &cancelled, Status::Cancelled).unwrap();
        assert_eq!(number(&db, "SELECT count(*) FROM payment_sessions WHERE NOT ended"), 4);
        reconcile::retire(&db).unwrap();
        let watched = db.query("SELECT order_id FROM payment_sessions WHERE NOT ended", &[]).unwrap();
        let mut watched: Vec<String> = watched.map(|mut row| row.text().unwrap()).collect();
        let mut expected = vec![open, cancelled];
        watched.sort_unstable();
        expected.sort_unstable();
        assert_eq!(watched, expected);
    }
}
