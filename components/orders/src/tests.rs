//! Orders, keys, pages and statuses against a real SQLite and a real PostgreSQL with the component's own migrations.

use crate::bindings::checkout::{Payment, Session};
use crate::bindings::orders::{Actor, Error, Item, Money, NewItem, Order, Query, Status};
use crate::bindings::payment_events::Charge;
use crate::draft::Draft;
use crate::key::Key;
use crate::session::Saved;
use crate::store::Created;
use crate::{by, event, page, rows, session, sql, status, store};
use souk_database::{Database, Dialect, Row, Statement, Value, statement};
pub(crate) use souk_test::postgres;

mod at_once;
mod import;
mod lists;
mod pages;
mod quota;

/// An empty database of each kind.
pub(crate) fn both() -> [Database; 2] {
    [sqlite(), on_postgres().0]
}

/// An empty SQLite database.
pub(crate) fn sqlite() -> Database {
    Database::in_memory(&[
        include_str!("../migrations/sqlite/0001_orders.sql"),
        include_str!("../migrations/sqlite/0002_counts.sql"),
        include_str!("../migrations/sqlite/0003_money.sql"),
        include_str!("../migrations/sqlite/0004_history.sql"),
        include_str!("../migrations/sqlite/0005_imported.sql"),
        include_str!("../migrations/sqlite/0006_new_orders.sql"),
        include_str!("../migrations/sqlite/0007_unsettled_refunds.sql"),
        include_str!("../migrations/sqlite/0008_open_pages.sql"),
    ])
}

/// An empty PostgreSQL database, and its URL.
pub(crate) fn on_postgres() -> (Database, String) {
    let url = postgres::Postgres::shared().database();
    let migrations = [
        include_str!("../migrations/postgres/0001_orders.sql"),
        include_str!("../migrations/postgres/0002_open_orders.sql"),
        include_str!("../migrations/postgres/0003_counts.sql"),
        include_str!("../migrations/postgres/0004_money.sql"),
        include_str!("../migrations/postgres/0005_history.sql"),
        include_str!("../migrations/postgres/0006_imported.sql"),
        include_str!("../migrations/postgres/0007_open_orders_counted.sql"),
        include_str!("../migrations/postgres/0008_unsettled_refunds.sql"),
        include_str!("../migrations/postgres/0009_open_pages.sql"),
    ];
    (Database::postgres(&url, &migrations), url)
}

/// Creates an order of an owner without a limit of open orders; `None` when the key is taken.
pub(crate) fn create(
    db: &Database,
    owner: Option<&str>,
    currency: &str,
    draft: Draft,
    key: Option<&Key>,
) -> Result<Option<Order>, Error> {
    match store::create(db, owner, currency, draft, key, 1_000_000)? {
        Created::Made(order) => Ok(Some(*order)),
        Created::KeyTaken => Ok(None),
        Created::TooManyOpen => panic!("the owner has a million orders"),
    }
}

/// An order of `owner` over `cents`.
pub(crate) fn order(db: &Database, owner: Option<&str>, cents: u64) -> Order {
    create(db, owner, "usd", draft(cents), None).unwrap().unwrap()
}

/// One column of one row.
pub(crate) fn number<'a>(db: &Database, sql: impl Into<Statement<'a>>) -> i64 {
    db.query(sql, &[]).unwrap().next().unwrap().integer().unwrap()
}

pub(crate) fn draft(cents: u64) -> Draft {
    let item = |product_id, unit_cents| Item { product_id, name: format!("no. {product_id}"), unit_cents, quantity: 1 };
    Draft { items: vec![item(7, cents), item(2, 0)], total_cents: cents, total_items: 2 }
}

fn customer(id: &str) -> Actor {
    Actor::Customer(id.into())
}

pub(crate) fn key(owner: Option<&str>, text: &str, quantity: u32) -> Key {
    Key::new(owner, text.into(), &[NewItem { product_id: 1, quantity }]).unwrap()
}

fn page(db: &Database, seen_by: Option<&str>, page: u32, limit: u32, status: Option<Status>) -> (Vec<u64>, u64) {
    let page = store::list(db, &Query { page, limit, status }, seen_by).unwrap();
    (page.orders.iter().map(|order| order.total.cents).collect(), page.total)
}

#[test]
fn an_order_is_read_as_it_was_stored_with_its_lines_in_sequence() {
    for db in both() {
        let made = order(&db, Some("9"), 7525);
        assert_eq!((made.id.len(), made.id.to_lowercase()), (36, made.id.clone()));
        assert_eq!((made.total.cents, made.total.currency.as_str(), made.total_items), (7525, "usd", 2));
        assert_eq!((made.status, made.owner.as_deref()), (Status::Pending, Some("9")));
        assert_eq!((made.paid_at.as_ref(), made.charge_id.as_ref(), made.receipt_url.as_ref()), (None, None, None));
        assert_eq!((made.refunded_cents, made.refund_due_cents), (0, 0));
        assert_eq!((made.created_at.len(), &made.created_at), (24, &made.updated_at));
        let lines: Vec<_> =
            made.items.iter().map(|i| (i.product_id, i.name.as_str(), i.unit_cents, i.quantity)).collect();
        assert_eq!(lines, [(7, "no. 7", 7525, 1), (2, "no. 2", 0, 1)]);
        assert_eq!(format!("{:?}", store::get(&db, &made.id, None).unwrap()), format!("{made:?}"));
    }
}

#[test]
fn the_largest_order_is_stored_whole() {
    for db in both() {
        let item = |line: u64| Item { product_id: line, name: "é".repeat(200), unit_cents: 1, quantity: 1_000_000 };
        let items = (0..1000).map(item).collect();
        let draft = Draft { items, total_cents: 999_999_999_999_999, total_items: 1_000_000_000 };
        let made = create(&db, None, "usd", draft, None).unwrap().unwrap();
        let read = store::get(&db, &made.id, None).unwrap();
        assert_eq!((read.total.cents, read.items.len()), (999_999_999_999_999, 1000));
        assert!(read.items.iter().zip(0..).all(|(item, line)| item.product_id == line));
    }
}

#[test]
fn only_its_owner_and_actors_that_see_all_find_an_order() {
    for db in both() {
        let id = order(&db, Some("9"), 100).id;
        assert!(store::get(&db, &id, customer("9").sees()).is_ok());
        assert!(store::get(&db, &id, Actor::Admin("1".into()).sees()).is_ok());
        assert!(store::get(&db, &id, Actor::Anyone.sees()).is_ok());
        assert!(matches!(store::get(&db, &id, customer("8").sees()), Err(Error::NotFound)));
        assert!(matches!(store::get(&db, &id.to_uppercase(), None), Err(Error::NotFound)));
        let nobodys = order(&db, None, 100).id;
        assert!(matches!(store::get(&db, &nobodys, customer("").sees()), Err(Error::NotFound)));
    }
}

#[test]
fn lists_are_newest_first_and_filtered_by_owner_and_status() {
    for db in both() {
        for cents in 1..=6 {
            order(&db, (cents % 2 == 0).then_some("9"), cents);
        }
        let paid = order(&db, Some("9"), 7).id;
        status::change(&db, &Actor::Anyone, &paid, Status::Delivered).unwrap();
        assert_eq!(page(&db, None, 1, 10, None), (vec![7, 6, 5, 4, 3, 2, 1], 7));
        assert_eq!(page(&db, None, 2, 3, None), (vec![4, 3, 2], 7));
        assert_eq!(page(&db, None, 99, 3, None), (vec![], 7));
        assert_eq!(page(&db, None, 1, 2, Some(Status::Pending)), (vec![6, 5], 6));
        assert_eq!(page(&db, Some("9"), 1, 10, None), (vec![7, 6, 4, 2], 4));
        assert_eq!(page(&db, Some("9"), 2, 2, Some(Status::Pending)), (vec![2], 3));
        assert_eq!(page(&db, Some("9"), 1, 2, Some(Status::Delivered)), (vec![7], 1));
        assert_eq!(page(&db, Some("8"), 1, 10, None), (vec![], 0));
        assert_eq!(page(&db, None, u32::MAX, 1000, Some(Status::Refunded)), (vec![], 0));
        let refused = |page, limit| store::list(&db, &Query { page, limit, status: None }, None);
        for bounds in [(0, 1), (1, 0), (1, 1001)] {
            assert!(matches!(refused(bounds.0, bounds.1), Err(Error::Invalid(_))), "{bounds:?}");
        }
    }
}

#[test]
fn no_list_sorts_orders_or_reads_orders_that_it_does_not_return() {
    let [sqlite, postgres] = both();
    // Enough rows for PostgreSQL to use the indexes: 20,000 orders of 200 owners, few of them cancelled. One owner has
    // so few orders that sorting them would be cheap enough to be chosen.
    let fill = "INSERT INTO orders (id, owner, currency, total_cents, total_items, status) \
                SELECT lpad(n::text, 36, '0'), n % 200, 'usd', 1, 1, CASE WHEN n / 200 % 50 = 0 THEN 'CANCELLED' ELSE 'PENDING' END \
                FROM generate_series(1, 20000) n";
    postgres.query(fill, &[]).unwrap();
    postgres.query("VACUUM ANALYZE orders", &[]).unwrap();
    postgres.query("SET enable_sort = off", &[]).unwrap();
    for (list, filter, in_sqlite, in_postgres) in [
        (sql::ALL, vec![], "SCAN orders", "orders_pkey"),
        (sql::OF_STATUS, vec!["CANCELLED"], "INDEX orders_status_created (status=?)", "orders_status_created"),
        (sql::OF_OWNER, vec!["9"], "INDEX orders_owner (owner=?)", "orders_owner"),
        (
            sql::OF_OWNER_AND_STATUS,
            vec!["5", "CANCELLED"],
            "INDEX orders_owner_status (owner=? AND status=?)",
            "orders_owner_status",
        ),
    ] {
        let mut parameters: Vec<Value> = filter.into_iter().map(Value::from).collect();
        parameters.extend([10, 0].map(Value::Integer));
        let step = |mut row: Row| {
            for _ in 0..3 {
                row.integer::<i64>().unwrap();
            }
            row.text().unwrap()
        };
        let plan = format!("EXPLAIN QUERY PLAN {}", list.page.text(Dialect::Sqlite));
        let steps: Vec<String> = sqlite.query(&*plan, &parameters).unwrap().map(step).collect();
        assert!(steps.iter().any(|step| step.contains(in_sqlite)), "{steps:?}");
        assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE")), "{steps:?}");
        let plan = format!("EXPLAIN {}", list.page.text(Dialect::Postgres));
        let steps: Vec<String> =
            postgres.query(&*plan, &parameters).unwrap().map(|mut row| row.text().unwrap()).collect();
        let index = format!("Index Scan Backward using {in_postgres} on");
        assert!(steps.iter().any(|step| step.contains(&index)), "{steps:?}");
        assert!(steps.iter().all(|step| !step.contains("Sort")), "{steps:?}");
    }
}

#[test]
fn a_key_is_taken_once_and_remembers_its_order() {
    for db in both() {
        let first = create(&db, Some("9"), "usd", draft(5), Some(&key(Some("9"), "k", 1))).unwrap().unwrap();
        assert!(create(&db, Some("9"), "usd", draft(5), Some(&key(Some("9"), "k", 1))).unwrap().is_none());
        assert_eq!(number(&db, "SELECT count(*) FROM orders"), 1);
        assert_eq!(key(Some("9"), "k", 1).find(&db).unwrap().unwrap().order_id, first.id);
        assert!(matches!(key(Some("9"), "k", 2).find(&db), Err(Error::KeyReused)));
        assert!(key(Some("8"), "k", 2).find(&db).unwrap().is_none(), "another user's key is another key");
        assert!(key(None, "k", 2).find(&db).unwrap().is_none());
    }
}

#[test]
fn a_key_expires_after_24_hours() {
    for db in both() {
        let old = create(&db, None, "usd", draft(5), Some(&key(None, "k", 1))).unwrap().unwrap();
        const SECONDS_OLD: Statement = statement!(
            "UPDATE idempotency_keys SET created_at = ",
            (Statement::each(
                "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?1 || ' seconds')",
                "statement_timestamp() + ?1::bigint * interval '1 second'"
            ))
        );
        let day = 24 * 60 * 60;
        db.query(SECONDS_OLD, &[Value::Integer(60 - day)]).unwrap();
        assert!(key(None, "k", 1).find(&db).unwrap().is_some());
        db.query(SECONDS_OLD, &[Value::Integer(-1 - day)]).unwrap();
        assert!(key(None, "k", 1).find(&db).unwrap().is_none());
        let new = create(&db, None, "usd", draft(5), Some(&key(None, "k", 2))).unwrap().unwrap();
        assert_ne!(new.id, old.id);
        assert_eq!(key(None, "k", 2).find(&db).unwrap().unwrap().order_id, new.id);
    }
}

#[test]
fn a_key_that_was_not_purged_yet_is_taken_over() {
    for db in both() {
        for n in 0..12 {
            create(&db, None, "usd", draft(5), Some(&key(None, &format!("k{n:02}"), 1))).unwrap().unwrap();
        }
        // The newest of the old keys, so that it is not among the ten that a new key removes.
        const OLD: Statement = statement!(
            "UPDATE idempotency_keys SET created_at = ('2024-02-27T15:50:27.5' || substr(key, 2) || 'Z')",
            (Statement::each("", "::timestamptz"))
        );
        db.query(OLD, &[]).unwrap();
        assert!(create(&db, None, "usd", draft(5), Some(&key(None, "k11", 3))).unwrap().is_some());
        assert!(key(None, "k11", 3).find(&db).unwrap().is_some());
        assert_eq!(number(&db, "SELECT count(*) FROM idempotency_keys"), 2);
    }
}

#[test]
fn a_refused_bill_cancels_an_order_that_has_no_page_and_the_key_tells_why() {
    for db in both() {
        let key = key(None, "k", 1);
        let made = create(&db, None, "usd", draft(5), Some(&key)).unwrap().unwrap();
        let give_up = |id: &str| {
            let [by, trace] = by::columns();
            db.query(sql::GIVE_UP, &[id.into(), by, trace]).unwrap().next().is_some()
        };
        db.transaction(|t| key.refuse(t, &made.id, "too large")).unwrap();
        assert!(give_up(&made.id));
        assert!(!give_up(&made.id), "it was cancelled before");
        assert_eq!(store::find(&db, &made.id, None).unwrap().status, Status::Cancelled);
        assert_eq!(key.find(&db).unwrap().unwrap().refused.as_deref(), Some("too large"));
        let open = order(&db, None, 5);
        session::save(&db, &open.id, 1, &provider_page("cs_1", "2999-01-01T00:00:00Z")).unwrap();
        assert!(!give_up(&open.id), "another call has opened its page");
    }
}

pub(crate) fn provider_page(id: &str, expires_at: &str) -> Session {
    let url = |page: &str| format!("https://pay.example/{id}/{page}");
    let (success_url, cancel_url) = (url("success"), url("cancel"));
    Session { id: id.into(), url: url(""), success_url, cancel_url, expires_at: expires_at.into() }
}

#[test]
fn a_page_is_open_until_it_expires_or_the_provider_ends_it() {
    for db in both() {
        let id = order(&db, None, 5).id;
        let last =
            || session::last(&db, &id).unwrap().map(|a| (a.number, a.open, a.page.map(|page| page.links.url))).unwrap();
        assert_eq!(last(), (1, false, None));
        let saved = session::save(&db, &id, 1, &provider_page("cs_1", "2999-01-01T00:00:00Z"));
        assert_eq!(saved, Ok(Some(Saved { open: true, status: Status::Pending })));
        assert_eq!(last(), (1, true, Some("https://pay.example/cs_1/".into())));
        assert_eq!(session::save(&db, &id, 1, &provider_page("cs_other", "2999-01-01T00:00:00Z")), Ok(None));
        assert_eq!(session::is_open(&db, &id, 1), Ok(true));
        session::end(&db, &id, "cs_other").unwrap();
        assert_eq!(last(), (1, true, Some("https://pay.example/cs_1/".into())), "the first answer stays");
        session::end(&db, &id, "cs_1").unwrap();
        assert_eq!(last(), (1, false, Some("https://pay.example/cs_1/".into())));
        assert!(session::begin(&db, &id, 2).unwrap());
        assert!(!session::begin(&db, &id, 2).unwrap());
        assert_eq!(last(), (2, false, None));
        let saved = session::save(&db, &id, 2, &provider_page("cs_2", "2024-02-27T15:50:27Z"));
        assert_eq!(saved, Ok(Some(Saved { open: false, status: Status::Pending })));
        assert_eq!(session::is_open(&db, &id, 2), Ok(false));
        assert_eq!(last(), (2, false, Some("https://pay.example/cs_2/".into())), "its time is over");
        session::begin(&db, &id, 3).unwrap();
        session::save(&db, &id, 3, &provider_page("cs_3", "tomorrow")).unwrap();
        assert!(!last().1, "nobody knows when it ends");
        let first = session::first(&db, &id).unwrap().unwrap();
        assert_eq!(
            (first.number, first.page.unwrap().links.success_url.as_str()),
            (1, "https://pay.example/cs_1/success")
        );
    }
}

#[test]
fn reconciliation_lists_the_pages_that_may_be_open_oldest_order_first() {
    for db in both() {
        let made = [(); 5].map(|()| order(&db, None, 5).id);
        let page = |order: usize, attempt, id: &str| {
            session::save(&db, &made[order], attempt, &provider_page(id, "2999-01-01T00:00:00Z")).unwrap();
        };
        for (order, id) in ["cs_0", "cs_1", "cs_2", "cs_3"].into_iter().enumerate() {
            page(order, 1, id);
        }
        session::begin(&db, &made[1], 2).unwrap();
        page(1, 2, "cs_1b");
        session::end(&db, &made[2], "cs_2").unwrap();
        status::change(&db, &Actor::Anyone, &made[3], Status::Cancelled).unwrap();
        let open = |minutes: u32, after: Option<&str>, most: u32| -> Vec<String> {
            let pages = db.query(sql::OPEN_PAGES, &[minutes.into(), after.into(), most.into()]).unwrap();
            let page = |mut row: souk_database::Row| {
                row.text().unwrap();
                let attempt: u32 = row.integer().unwrap();
                row.optional_text().unwrap().unwrap_or_else(|| format!("unknown {attempt}"))
            };
            pages.map(page).collect()
        };
        assert_eq!(open(0, None, 9), ["cs_0", "cs_1", "cs_1b", "cs_3", "unknown 1"]);
        assert_eq!(open(0, None, 2), ["cs_0", "cs_1", "cs_1b"]);
        assert_eq!(open(0, Some(&made[1]), 9), ["cs_3", "unknown 1"]);
        status::change(&db, &Actor::Anyone, &made[4], Status::Cancelled).unwrap();
        assert_eq!(open(0, Some(&made[1]), 9), ["cs_3"], "nobody was shown the page of an order that was cancelled");
        assert_eq!(open(1, None, 9), [""; 0]);
        assert_eq!(open(u32::MAX, None, 9), [""; 0]);
    }
}

#[test]
fn an_order_that_is_not_pending_gets_no_further_page() {
    for db in both() {
        let id = order(&db, None, 5).id;
        status::change(&db, &Actor::Anyone, &id, Status::Cancelled).unwrap();
        assert!(!session::begin(&db, &id, 2).unwrap());
        assert_eq!(session::last(&db, &id).unwrap().unwrap().number, 1);
    }
}

#[test]
fn only_allowed_actors_make_only_allowed_status_changes() {
    for db in both() {
        let id = order(&db, Some("9"), 5).id;
        let change = |actor: Actor, to| status::change(&db, &actor, &id, to);
        assert!(matches!(change(customer("8"), Status::Cancelled), Err(Error::NotFound)));
        assert!(matches!(change(customer("9"), Status::Delivered), Err(Error::Forbidden(_))));
        assert_eq!(change(customer("9"), Status::Pending).unwrap().status, Status::Pending);
        assert!(matches!(change(Actor::Admin("1".into()), Status::Paid), Err(Error::Invalid(_))));
        let cancelled = change(customer("9"), Status::Cancelled).unwrap();
        assert_eq!((cancelled.status, cancelled.items.len()), (Status::Cancelled, 0));
        assert!(cancelled.updated_at >= cancelled.created_at);
        assert_eq!(change(customer("9"), Status::Cancelled).unwrap().updated_at, cancelled.updated_at);
        let refused = change(Actor::Anyone, Status::Delivered);
        assert!(
            matches!(refused, Err(Error::Conflict(text)) if text == "an order that is CANCELLED cannot become DELIVERED")
        );
        assert!(matches!(change(Actor::Anyone, Status::Pending), Err(Error::Conflict(_))));
        let unknown = status::change(&db, &Actor::Anyone, "00000000-0000-4000-8000-000000000000", Status::Paid);
        assert!(matches!(unknown, Err(Error::NotFound)));
    }
}

#[test]
fn a_move_names_the_status_that_it_leaves() {
    for db in both() {
        let id = order(&db, None, 5).id;
        let moved = |to: &str, from: &str| {
            let [by, trace] = by::columns();
            let parameters = [id.as_str().into(), to.into(), from.into(), by, trace];
            rows::one(db.query(sql::MOVE, &parameters).unwrap()).unwrap().is_some()
        };
        assert!(!moved("CANCELLED", "PAID"));
        assert!(moved("CANCELLED", "PENDING"));
        assert!(!moved("DELIVERED", "PENDING"));
    }
}

/// The provider's answer about a page on which `cents` were paid.
fn payment(cents: u64, refunded: u64) -> Payment {
    let receipt_url = Some("https://pay.example/receipts/ch_1".to_owned());
    Payment { charge_id: "ch_1".into(), amount: cents, currency: "usd".into(), refunded, receipt_url }
}

#[test]
fn a_payment_that_the_provider_reports_when_asked_pays_the_order_once_whenever_its_event_comes() {
    for db in both() {
        let made = order(&db, None, 5);
        let conflict = |payment| match page::paid(&db, &made, payment) {
            Error::Conflict(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(conflict(payment(5, 0)), "an order that is PAID cannot be paid");
        let paid = store::find(&db, &made.id, None).unwrap();
        assert_eq!((paid.status, paid.charge_id.as_deref(), paid.refund_due_cents), (Status::Paid, Some("ch_1"), 0));
        assert_eq!(conflict(payment(5, 0)), "an order that is PAID cannot be paid");
        let event = Charge {
            event_id: "evt_1".into(),
            charge_id: "ch_1".into(),
            order_id: made.id.clone(),
            amount: Money { cents: 5, currency: "usd".into() },
            refunded_cents: 0,
            receipt_url: None,
            at: "2024-02-27T15:50:27.000Z".into(),
        };
        event::charge(&db, &event).unwrap();
        let told = store::find(&db, &made.id, None).unwrap();
        assert_eq!(
            told.paid_at.as_ref(),
            Some(&told.created_at),
            "the event knows when it was, by a clock that is behind"
        );
        assert_eq!((told.status, told.refund_due_cents), (Status::Paid, 0));
        assert_eq!(number(&db, "SELECT count(*) FROM charges"), 1);
    }
}

#[test]
fn a_payment_that_does_not_fit_its_order_changes_nothing_and_prevents_another_payment() {
    for db in both() {
        let made = order(&db, None, 5);
        assert!(
            matches!(page::paid(&db, &made, payment(4, 0)), Error::Conflict(text) if text.contains("being checked"))
        );
        assert_eq!(store::find(&db, &made.id, None).unwrap().status, Status::Pending);
        let refunded = page::paid(&db, &made, payment(5, 5));
        assert!(matches!(refunded, Error::Conflict(text) if text == "an order that is REFUNDED cannot be paid"));
    }
}

#[test]
fn only_a_pending_order_can_be_paid() {
    for db in both() {
        let made = order(&db, None, 5);
        assert!(page::must_be_pending(made.status).is_ok());
        let cancelled = status::change(&db, &Actor::Anyone, &made.id, Status::Cancelled).unwrap();
        let refused = page::must_be_pending(cancelled.status);
        assert!(matches!(refused, Err(Error::Conflict(text)) if text == "an order that is CANCELLED cannot be paid"));
    }
}

#[test]
fn the_schema_refuses_what_the_component_must_not_do() {
    for db in both() {
        order(&db, None, 5);
        for change in [
            "status = 'PAID'",
            "status = 'LOST'",
            "paid_at = '2024-02-27T15:50:27.545Z'",
            "charge_id = 'c', paid_at = '2024-02-27T15:50:27.545Z'",
            "total_cents = 0",
            "refunded_cents = 6",
            "refund_due_cents = -1",
            "currency = 'USD'",
            "owner = ''",
            "id = upper(id)",
        ] {
            assert!(db.query(&*format!("UPDATE orders SET {change}"), &[]).is_err(), "{change}");
        }
        const DANGLING: Statement = statement!(
            "INSERT INTO idempotency_keys (owner, key, request_hash, order_id) VALUES ('', 'k', ",
            (Statement::each("zeroblob(32)", "decode(repeat('00', 32), 'hex')")),
            ", 'no order')"
        );
        assert!(db.query(DANGLING, &[]).is_err());
        assert!(matches!(store::find(&db, "a\0b", None), Err(Error::NotFound)));
    }
}
