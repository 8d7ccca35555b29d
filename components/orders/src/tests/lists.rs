//! Lists and searches of many orders, and the counts that triggers keep.

use super::{both, number, order, sqlite};
use crate::bindings::orders::{Error, Filter, Query, Search, Sort, Status};
use crate::{search, sql, store};
use souk_database::{Database, Dialect, Row, Value};

const NONE: Filter = Filter {
    status: None,
    customer: None,
    made_from: None,
    made_before: None,
    min_cents: None,
    max_cents: None,
    refund_due: false,
    disputed: false,
};

/// Orders 1 to `count`, a minute apart, of 7 owners and several statuses; every 13th has money due for refund.
fn fill(db: &Database, count: u32) {
    let (numbers, id, at) = match db.dialect() {
        Dialect::Sqlite => (
            format!("WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"),
            "printf('%036d', n)",
            "strftime('%Y-%m-%dT%H:%M:%fZ', '2024-01-01', '+' || n || ' minutes')",
        ),
        Dialect::Postgres => (
            format!("WITH numbers (n) AS (SELECT * FROM generate_series(1, {count}))"),
            "lpad(n::text, 36, '0')",
            "'2024-01-01T00:00:00Z'::timestamptz + n * interval '1 minute'",
        ),
    };
    let owner = "CASE WHEN n % 7 = 0 THEN NULL ELSE 'u' || (n % 7) END";
    let status = "CASE n % 3 WHEN 0 THEN 'CANCELLED' WHEN 1 THEN 'PENDING' ELSE 'DELIVERED' END";
    let due = "CASE WHEN n % 13 = 0 THEN 5 ELSE 0 END";
    let insert = format!(
        "INSERT INTO orders (id, owner, currency, total_cents, total_items, status, refund_due_cents, created_at) \
         {numbers} SELECT {id}, {owner}, 'usd', 1 + n * 7919 % 1000, 1, {status}, {due}, {at} FROM numbers"
    );
    db.query(&*insert, &[]).unwrap();
}

/// All results of a search, page by page, as the orders' numbers in [`fill`].
fn all(db: &Database, filter: &Filter, sort: Sort, limit: u32, seen_by: Option<&str>) -> Vec<u32> {
    let (mut numbers, mut after) = (Vec::new(), None);
    loop {
        let page = Search { filter: filter.clone(), sort, after, limit };
        let found = search::search(db, &page, seen_by).unwrap();
        assert!(found.orders.len() <= limit as usize);
        numbers.extend(found.orders.iter().map(|order| order.id.parse::<u32>().unwrap()));
        after = found.next;
        if after.is_none() {
            return numbers;
        }
        assert_eq!(found.orders.len(), limit as usize, "only the last page is short");
    }
}

#[test]
fn a_search_finds_each_matching_order_once_and_sorted() {
    for db in both() {
        fill(&db, 500);
        let total = |n: u32| 1 + n * 7919 % 1000;
        let numbers = || 1..=500_u32;
        assert_eq!(all(&db, &NONE, Sort::Newest, 7, None), numbers().rev().collect::<Vec<_>>());
        assert_eq!(all(&db, &NONE, Sort::Oldest, 100, None), numbers().collect::<Vec<_>>());
        let mut by_total: Vec<u32> = numbers().collect();
        by_total.sort_by_key(|n| (total(*n), *n));
        assert_eq!(all(&db, &NONE, Sort::Smallest, 9, None), by_total);
        by_total.reverse();
        assert_eq!(all(&db, &NONE, Sort::Largest, 500, None), by_total);

        let newest = |filter: &Filter| all(&db, filter, Sort::Newest, 11, None);
        let expected = |fits: &dyn Fn(u32) -> bool| numbers().rev().filter(|n| fits(*n)).collect::<Vec<_>>();
        let filter = Filter { status: Some(Status::Delivered), ..NONE };
        assert_eq!(newest(&filter), expected(&|n| n % 3 == 2));
        let filter = Filter { customer: Some("u3".into()), ..NONE };
        assert_eq!(newest(&filter), expected(&|n| n % 7 == 3));
        let filter = Filter { refund_due: true, ..NONE };
        assert_eq!(newest(&filter), expected(&|n| n.is_multiple_of(13)));
        let due: Vec<u32> = by_total.iter().copied().filter(|n| n.is_multiple_of(13)).collect();
        assert_eq!(all(&db, &filter, Sort::Largest, 4, None), due);
        let filter = Filter { min_cents: Some(100), max_cents: Some(200), ..NONE };
        assert_eq!(newest(&filter), expected(&|n| (100..=200).contains(&total(n))));
        let filter = Filter {
            made_from: Some("2024-01-01T01:00:00.000Z".into()),
            made_before: Some("2024-01-01T03:00:00.000Z".into()),
            ..NONE
        };
        assert_eq!(newest(&filter), expected(&|n| (60..180).contains(&n)));
        let filter = Filter { status: Some(Status::Pending), refund_due: true, max_cents: Some(500), ..filter };
        let fits = |n: u32| (60..180).contains(&n) && n % 3 == 1 && n.is_multiple_of(13) && total(n) <= 500;
        assert_eq!(newest(&filter), expected(&fits));
        // Customers find only their own orders, whatever customer they ask for.
        assert_eq!(all(&db, &NONE, Sort::Newest, 11, Some("u3")), expected(&|n| n % 7 == 3));
        let others = Filter { customer: Some("u2".into()), ..NONE };
        assert_eq!(all(&db, &others, Sort::Newest, 11, Some("u3")), Vec::<u32>::new());
        let odd = Filter { customer: Some("u\0".into()), ..NONE };
        assert_eq!(newest(&odd), Vec::<u32>::new());
    }
}

#[test]
fn a_search_refuses_a_malformed_time_a_wrong_limit_and_an_unknown_order() {
    for db in both() {
        fill(&db, 20);
        let refused = |filter: Filter, after: Option<&str>, limit, seen_by| {
            let page = Search { filter, sort: Sort::Newest, after: after.map(str::to_owned), limit };
            matches!(search::search(&db, &page, seen_by), Err(Error::Invalid(_)))
        };
        for limit in [0, 1001, u32::MAX] {
            assert!(refused(NONE, None, limit, None), "{limit}");
        }
        for time in ["", "tomorrow", "2024-01-01", "2024-13-01T00:00:00.000Z", "2024-01-01T00:00:00Z"] {
            assert!(refused(Filter { made_from: Some(time.into()), ..NONE }, None, 1, None), "{time}");
            assert!(refused(Filter { made_before: Some(time.into()), ..NONE }, None, 1, None), "{time}");
        }
        let first = format!("{:036}", 1);
        for (after, seen_by) in [("x", None), ("a\0b", None), (&*first, Some("u5"))] {
            assert!(refused(NONE, Some(after), 1, seen_by), "{after}");
        }
        assert!(!refused(NONE, Some(&first), 1, Some("u1")));
    }
}

#[test]
fn a_page_number_reaches_the_first_ten_thousand_orders() {
    let db = sqlite();
    fill(&db, 10_500);
    let list = |page, limit, status| store::list(&db, &Query { page, limit, status }, None);
    assert_eq!(list(11, 1000, None).unwrap().orders.len(), 500);
    assert!(matches!(list(1052, 10, None).unwrap().orders.len(), 0), "past the end is empty, as it was");
    assert_eq!(list(u32::MAX, 1000, None).unwrap().total, 10_500);
    assert!(matches!(list(1002, 10, None), Err(Error::Invalid(text)) if text.contains("`after`")));
    assert_eq!(list(1002, 10, Some(Status::Pending)).unwrap().total, 3_500);
}

#[test]
fn the_counts_follow_every_change_of_the_rows() {
    for db in both() {
        fill(&db, 700);
        order(&db, Some("u1"), 5);
        order(&db, None, 5);
        let changes = [
            "UPDATE orders SET status = 'CANCELLED' WHERE id LIKE '%3'",
            "UPDATE orders SET status = 'PENDING' WHERE status = 'CANCELLED' AND total_cents % 2 = 0",
            "UPDATE orders SET status = status, total_items = 2",
            "DELETE FROM orders WHERE refund_due_cents > 0",
        ];
        for change in changes {
            db.query(change, &[]).unwrap();
            let total = |list: &sql::List, filter: &[&str]| {
                let filter: Vec<_> = filter.iter().map(|text| (*text).into()).collect();
                db.query(list.count, &filter).unwrap().next().unwrap().integer::<i64>().unwrap()
            };
            assert_eq!(total(&sql::ALL, &[]), number(&db, "SELECT count(*) FROM orders"), "{change}");
            assert_eq!(
                total(&sql::OF_STATUS, &["PENDING"]),
                number(&db, "SELECT count(*) FROM orders WHERE status = 'PENDING'"),
                "{change}"
            );
            assert_eq!(
                total(&sql::OF_OWNER, &["u1"]),
                number(&db, "SELECT count(*) FROM orders WHERE owner = 'u1'"),
                "{change}"
            );
            assert_eq!(
                total(&sql::OF_OWNER_AND_STATUS, &["u1", "CANCELLED"]),
                number(&db, "SELECT count(*) FROM orders WHERE owner = 'u1' AND status = 'CANCELLED'"),
                "{change}"
            );
        }
    }
}

#[test]
fn a_search_for_the_few_orders_with_a_refund_or_a_dispute_reads_no_others() {
    let db = sqlite();
    let few = [
        ("orders_refund_due", Filter { refund_due: true, ..NONE }),
        ("orders_disputed", Filter { disputed: true, ..NONE }),
    ];
    for (index, few) in few {
        for more in [
            NONE,
            Filter { status: Some(Status::Paid), ..NONE },
            Filter { min_cents: Some(5), max_cents: Some(900), ..NONE },
            Filter { made_from: Some("2024-01-03T00:00:00.000Z".into()), status: Some(Status::Delivered), ..NONE },
        ] {
            let filter = Filter { refund_due: few.refund_due, disputed: few.disputed, ..more };
            for sort in [Sort::Newest, Sort::Oldest, Sort::Largest, Sort::Smallest] {
                for after in [None, Some("x".to_owned())] {
                    let page = Search { filter: filter.clone(), sort, after, limit: 10 };
                    let (text, parameters) = search::statement(Dialect::Sqlite, &page, None).unwrap();
                    let step = |mut row: Row| {
                        for _ in 0..3 {
                            row.integer::<i64>().unwrap();
                        }
                        row.text().unwrap()
                    };
                    let plan = format!("EXPLAIN QUERY PLAN {text}");
                    let steps: Vec<String> = db.query(&*plan, &parameters).unwrap().map(step).collect();
                    assert!(steps.iter().any(|step| step.contains(index)), "{text}: {steps:?}");
                }
            }
        }
    }
}

#[test]
fn no_search_by_one_filter_sorts_orders_or_reads_orders_that_it_does_not_return() {
    let [sqlite, postgres] = both();
    for db in [&sqlite, &postgres] {
        fill(db, 20_000);
    }
    postgres.query("VACUUM ANALYZE orders", &[]).unwrap();
    postgres.query("SET enable_sort = off", &[]).unwrap();
    let after = Some(format!("{:036}", 9_000));
    let from = Filter { made_from: Some("2024-01-03T00:00:00.000Z".into()), ..NONE };
    for (filter, sort, index) in [
        (NONE, Sort::Newest, "orders_created"),
        (NONE, Sort::Largest, "orders_total"),
        (from, Sort::Oldest, "orders_created"),
        (Filter { status: Some(Status::Pending), ..NONE }, Sort::Newest, "orders_status_created"),
        (Filter { refund_due: true, ..NONE }, Sort::Newest, "orders_refund_due"),
        (Filter { customer: Some("u3".into()), ..NONE }, Sort::Oldest, "orders_owner_created"),
        (Filter { min_cents: Some(990), ..NONE }, Sort::Smallest, "orders_total"),
    ] {
        let page = Search { filter, sort, after: after.clone(), limit: 10 };
        let (text, parameters) = search::statement(Dialect::Sqlite, &page, None).unwrap();
        let step = |mut row: Row| {
            for _ in 0..3 {
                row.integer::<i64>().unwrap();
            }
            row.text().unwrap()
        };
        let plan = format!("EXPLAIN QUERY PLAN {text}");
        let steps: Vec<String> = sqlite.query(&*plan, &parameters).unwrap().map(step).collect();
        assert!(steps.iter().any(|step| step.contains(index)), "{index}: {steps:?}");
        assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE")), "{index}: {steps:?}");
        let (text, parameters) = search::statement(Dialect::Postgres, &page, None).unwrap();
        let plan = format!("EXPLAIN {text}");
        let steps: Vec<String> =
            postgres.query(&*plan, &parameters).unwrap().map(|mut row| row.text().unwrap()).collect();
        // PostgreSQL may use the index of dates if so many orders have the status that it skips only a few.
        let serves = |step: &String| step.contains(index) || step.contains("orders_created");
        assert!(steps.iter().any(serves), "{index}: {steps:?}");
        assert!(steps.iter().all(|step| !step.contains("Sort") && !step.contains("Seq Scan")), "{index}: {steps:?}");
    }
}

#[test]
fn no_statement_of_a_call_reads_a_whole_table_of_sqlite() {
    use sql::money;
    const TABLES: [&str; 10] = [
        "orders",
        "order_items",
        "payment_sessions",
        "idempotency_keys",
        "charges",
        "events",
        "refunds",
        "disputes",
        "order_history",
        "order_counts",
    ];
    let lists = [sql::ALL, sql::OF_STATUS, sql::OF_OWNER, sql::OF_OWNER_AND_STATUS];
    let [_, of_status, of_owner, of_both] = &lists;
    let orders = [sql::GET, sql::ITEMS, sql::MOVE, sql::GIVE_UP, sql::SAVE_PAYMENT_STATE, sql::CHARGES];
    let keys = [sql::FIND_KEY, sql::TAKE_KEY, sql::REFUSE_KEY, sql::PURGE_KEYS];
    let pages = [sql::BEGIN_SESSION, sql::SAVE_SESSION, sql::SESSION, sql::LAST_SESSION, sql::END_SESSION];
    let events = [sql::FIND_EVENT, sql::NOTE_EVENT, sql::PURGE_EVENTS, sql::NOTE_CHARGE];
    let refunds = [money::REFUNDS, money::MOVE_REFUND, money::TAKE_BACK, money::FAILED_SINCE, money::UNSETTLED];
    let disputes = [money::NOTE_DISPUTE, money::ORDER_OF_CHARGE, money::DISPUTES, money::FAILED_REFUNDS];
    let mut statements = vec![of_status.page, of_owner.page, of_both.page];
    statements.extend(lists.iter().map(|list| list.count));
    statements.extend(orders.into_iter().chain(keys).chain(pages).chain(events).chain(refunds).chain(disputes));
    let db = sqlite();
    for statement in statements {
        let text = statement.text(Dialect::Sqlite);
        let wanted = (1..=12).filter(|n| text.contains(&format!("?{n}"))).max().unwrap_or(0);
        let step = |mut row: Row| {
            for _ in 0..3 {
                row.integer::<i64>().unwrap();
            }
            row.text().unwrap()
        };
        let plan = format!("EXPLAIN QUERY PLAN {text}");
        let steps: Vec<String> = db.query(&*plan, &vec![Value::Null; wanted]).unwrap().map(step).collect();
        // Where a row of `charges` is inserted or changed, SQLite looks for its refunds only while a row violates a foreign key.
        let is_skipped = |table: &&str| text.starts_with("INSERT INTO charges ") && *table == "refunds";
        let scans = steps.iter().filter_map(|step| step.strip_prefix("SCAN ")?.split(' ').next());
        let scans = scans.filter(|table| !is_skipped(table));
        assert_eq!(scans.filter(|table| TABLES.contains(table)).count(), 0, "{text}: {steps:?}");
    }
}
