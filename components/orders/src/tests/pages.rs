//! The payment pages that `reconcile` asks about, among those of many orders that are over.

use super::{both, number};
use crate::{reconcile, sql};
use souk_database::{Database, Dialect, Row, Statement, Value};

/// Orders 1 to `count`, of several statuses and years ago, with one page each. All but the first ten pages are marked as
/// ended.
fn fill(db: &Database, count: u32) {
    let (numbers, id, at) = match db.dialect() {
        Dialect::Sqlite => (
            format!("WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"),
            "printf('%036d', n)",
            "'2024-01-01T00:00:00.000Z'",
        ),
        Dialect::Postgres => (
            format!("WITH numbers (n) AS (SELECT * FROM generate_series(1, {count}))"),
            "lpad(n::text, 36, '0')",
            "'2024-01-01T00:00:00Z'::timestamptz",
        ),
    };
    let status = "CASE n % 3 WHEN 0 THEN 'DELIVERED' WHEN 1 THEN 'PENDING' ELSE 'CANCELLED' END";
    let orders = format!(
        "INSERT INTO orders (id, currency, total_cents, total_items, status, created_at) \
         {numbers} SELECT {id}, 'usd', 1, 1, {status}, {at} FROM numbers"
    );
    let pages = format!(
        "INSERT INTO payment_sessions (order_id, attempt, session_id, url, success_url, cancel_url, ended) \
         {numbers} SELECT {id}, 1, 'cs_' || n, 'u', 'u', 'u', n > 10 FROM numbers"
    );
    db.query(&*orders, &[]).unwrap();
    db.query(&*pages, &[]).unwrap();
}

/// The parameters of [`sql::OPEN_PAGES`] for up to 100 orders of any age.
fn all() -> [Value; 3] {
    [0_u32.into(), None::<&str>.into(), 100_u32.into()]
}

/// The numbers of the orders in these rows.
fn numbers(db: &Database, statement: Statement<'_>, parameters: &[Value]) -> Vec<u32> {
    db.query(statement, parameters).unwrap().map(|mut row| row.text().unwrap().parse().unwrap()).collect()
}

#[test]
fn pages_of_orders_that_were_paid_or_delivered_are_marked_and_others_stay() {
    for db in both() {
        fill(&db, 30);
        let open = [1, 2, 4, 5, 7, 8, 10];
        for _ in 0..2 {
            assert_eq!(numbers(&db, sql::OPEN_PAGES, &all()), open);
            let any = numbers(&db, sql::ANY_OPEN, &[]);
            assert!(any.len() == 1 && open.contains(&any[0]), "{any:?}");
            reconcile::retire(&db).unwrap();
            assert_eq!(number(&db, "SELECT count(*) FROM payment_sessions WHERE NOT ended"), 7);
        }
        // Pages that were never stored.
        let forget = "UPDATE payment_sessions SET session_id = NULL, url = NULL, success_url = NULL, cancel_url = NULL";
        db.query(forget, &[]).unwrap();
        reconcile::retire(&db).unwrap();
        assert_eq!(number(&db, "SELECT count(*) FROM payment_sessions WHERE NOT ended"), 7);
        assert_eq!(numbers(&db, sql::OPEN_PAGES, &all()), [0_u32; 0], "the provider knows their attempts no more");
    }
}

#[test]
fn reconciliation_reads_no_orders_and_pages_that_are_over() {
    let [sqlite, postgres] = both();
    // Enough rows for PostgreSQL to use the indexes.
    fill(&postgres, 20_000);
    postgres.query("VACUUM ANALYZE orders", &[]).unwrap();
    postgres.query("VACUUM ANALYZE payment_sessions", &[]).unwrap();
    for (statement, parameters) in
        [(sql::OPEN_PAGES, all().to_vec()), (sql::ANY_OPEN, Vec::new()), (sql::RETIRE_PAGES, Vec::new())]
    {
        let step = |mut row: Row| {
            for _ in 0..3 {
                row.integer::<i64>().unwrap();
            }
            row.text().unwrap()
        };
        let plan = format!("EXPLAIN QUERY PLAN {}", statement.text(Dialect::Sqlite));
        let steps: Vec<String> = sqlite.query(&*plan, &parameters).unwrap().map(step).collect();
        assert!(steps.iter().any(|step| step.contains("INDEX payment_sessions_open")), "{steps:?}");
        let tables = ["SCAN orders", "SCAN payment_sessions", "SCAN charges"];
        let is_whole = |step: &String| {
            tables.iter().any(|table| step.starts_with(table)) && !step.contains("INDEX payment_sessions_open")
        };
        assert!(!steps.iter().any(is_whole), "{steps:?}");
        let plan = format!("EXPLAIN {}", statement.text(Dialect::Postgres));
        let steps: Vec<String> =
            postgres.query(&*plan, &parameters).unwrap().map(|mut row| row.text().unwrap()).collect();
        assert!(steps.iter().any(|step| step.contains("payment_sessions_open")), "{steps:?}");
        // The table of charges is empty.
        let is_whole = |step: &String| {
            ["Seq Scan on orders", "Seq Scan on payment_sessions"].iter().any(|whole| step.contains(whole))
        };
        assert!(!steps.iter().any(is_whole), "{steps:?}");
    }
}
