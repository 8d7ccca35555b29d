//! Concurrency on PostgreSQL: one transaction holds its locks until the other is seen to wait for it, and then both
//! end. On SQLite they would run one after the other.

use super::{create, draft, key, number, on_postgres, order, postgres, provider_page};
use crate::bindings::orders::{self, Actor, Money, Order, Status};
use crate::bindings::payment_events::{Charge as Event, DeliveryError, ExpiredSession};
use crate::payment_state::{Charge, payment_state};
use crate::session::Saved;
use crate::store::Created;
use crate::{event, session, sql, status, store};
use souk_database::{Database, Dialect, Error, Value, statement};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `first` in a transaction, then `second` on a connection of its own until it waits for that transaction. Then
/// commits the transaction or rolls it back, and returns the result of `second`.
fn run_second_while_first_is_open<T: Send>(
    (db, url): &(Database, String),
    first: impl FnOnce(&Database) -> Result<(), Error>,
    commits: bool,
    second: impl FnOnce(&Database) -> T + Send,
) -> T {
    thread::scope(|scope| {
        let mut other = None;
        let ended = db.transaction(|transaction| {
            first(transaction)?;
            other = Some(scope.spawn(|| second(&Database::postgres(url, &[]))));
            wait_until_somebody_waits_for_a_lock(url);
            if commits { Ok(()) } else { Err(Error::Unavailable) }
        });
        assert_eq!(ended.is_ok(), commits);
        other.unwrap().join().unwrap()
    })
}

fn wait_until_somebody_waits_for_a_lock(url: &str) {
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let start = Instant::now();
    while postgres::Postgres::shared().psql(postgres::name_of(url), waiting) == "0" {
        assert!(start.elapsed() < Duration::from_secs(30), "nobody waits for the lock");
    }
}

fn payment(event: &str, order: &Order, charge: &str, second: u8) -> Event {
    Event {
        event_id: event.into(),
        charge_id: charge.into(),
        order_id: order.id.clone(),
        amount: Money { cents: order.total.cents, currency: "usd".into() },
        refunded_cents: 0,
        receipt_url: None,
        at: format!("2024-02-27T15:50:{second:02}.000Z"),
    }
}

#[test]
fn the_second_of_two_charges_for_one_order_sees_the_first() {
    let server = on_postgres();
    let db = &server.0;
    let made = order(db, None, 5);
    // The first event, as far as its charge; it leaves the order to the second.
    let first = |db: &Database| {
        assert_eq!(db.query(sql::LOCK, &[made.id.as_str().into()])?.len(), 1);
        let charge = [5, 0].map(souk_database::Value::Integer);
        let [amount, refunded] = charge;
        let at = "2024-02-27T15:50:01.000Z";
        let noted = ["ch_1".into(), made.id.as_str().into(), amount, refunded, souk_database::Value::Null, at.into()];
        db.query(sql::NOTE_CHARGE, &noted).map(drop)
    };
    run_second_while_first_is_open(&server, first, true, |db| event::charge(db, &payment("e2", &made, "ch_2", 2)))
        .unwrap();
    let stands = store::find(db, &made.id, None).unwrap();
    assert_eq!((stands.status, stands.charge_id.as_deref()), (Status::Paid, Some("ch_1")));
    assert_eq!(stands.refund_due_cents, 5, "the second charge is due for refund");
}

#[test]
fn a_payment_of_an_order_that_is_being_cancelled_is_due_for_refund() {
    let server = on_postgres();
    let db = &server.0;
    let made = order(db, None, 5);
    let cancel = |db: &Database| {
        status::change(db, &Actor::Anyone, &made.id, Status::Cancelled).map(drop).map_err(|_| Error::Internal)
    };
    run_second_while_first_is_open(&server, cancel, true, |db| event::charge(db, &payment("e1", &made, "ch_1", 1)))
        .unwrap();
    let stands = store::find(db, &made.id, None).unwrap();
    assert_eq!((stands.status, stands.refund_due_cents), (Status::Cancelled, 5));
}

#[test]
fn an_order_that_is_being_paid_cannot_be_cancelled() {
    let server = on_postgres();
    let made = order(&server.0, None, 5);
    let pay = |db: &Database| {
        let status = |text: &str| text.into();
        let paid = [made.id.as_str().into(), status("PAID"), "2024-02-27T15:50:01.000Z".into(), "ch_1".into()];
        let (null, zero) = (souk_database::Value::Null, souk_database::Value::Integer(0));
        let rest = [null.clone(), zero.clone(), zero, null.clone(), null.clone(), null];
        db.query(sql::SAVE_PAYMENT_STATE, &[paid.as_slice(), &rest].concat()).map(drop)
    };
    let refused = run_second_while_first_is_open(&server, pay, true, |db| {
        status::change(db, &Actor::Anyone, &made.id, Status::Cancelled).map(drop)
    });
    assert!(matches!(refused, Err(orders::Error::Conflict(_))), "{refused:?}");
}

#[test]
fn the_second_of_two_equal_events_at_once_does_nothing_unless_the_first_is_rolled_back() {
    for commits in [true, false] {
        let server = on_postgres();
        let db = &server.0;
        let made = order(db, None, 5);
        let first = |db: &Database| db.query(sql::NOTE_EVENT, &["e1".into()]).map(drop);
        let told: Result<(), DeliveryError> = run_second_while_first_is_open(&server, first, commits, |db| {
            event::charge(db, &payment("e1", &made, "ch_1", 1))
        });
        told.unwrap();
        assert_eq!(number(db, "SELECT count(*) FROM charges"), i64::from(!commits));
    }
}

/// The order of a customer, if they may have another one, as a statement of its own.
const FIRST_ORDER: &str = statement!(
    "INSERT INTO orders (id, owner, currency, total_cents, total_items, changed_by, trace) \
     SELECT ?1::text, ?2::text, ?3::text, ?4::bigint, ?5::bigint, ?7::text, ?8::text \
     WHERE may_order(?2::text, ?6::bigint)"
)
.text(Dialect::Postgres);

#[test]
fn exactly_one_of_two_concurrent_orders_with_one_key_is_stored() {
    for commits in [true, false] {
        let server = on_postgres();
        let db = &server.0;
        let same = || key(Some("9"), "k", 1);
        let first = |db: &Database| {
            let id = "00000000-0000-4000-8000-000000000000";
            db.query(sql::TAKE_KEY, &["9".into(), "k".into(), [7; 32].into(), id.into()])?;
            let order = [id.into(), "9".into(), "usd".into(), 5.into(), 1.into(), 50.into(), Value::Null, Value::Null];
            db.query(FIRST_ORDER, &order).map(drop)
        };
        let second = run_second_while_first_is_open(&server, first, commits, |db| {
            create(db, Some("9"), "usd", draft(5), Some(&same())).map(|made| made.is_some())
        });
        assert_eq!(second.unwrap(), !commits);
        assert_eq!(number(db, "SELECT count(*) FROM orders"), 1);
        assert_eq!(number(db, "SELECT count(*) FROM idempotency_keys"), 1);
    }
}

#[test]
fn the_second_of_two_concurrent_orders_counts_the_first_unless_it_is_rolled_back() {
    for commits in [true, false] {
        for key in [None, Some(key(Some("9"), "k", 1))] {
            let server = on_postgres();
            let db = &server.0;
            let first = |db: &Database| {
                let id = "00000000-0000-4000-8000-000000000000";
                let order =
                    [id.into(), "9".into(), "usd".into(), 5.into(), 1.into(), 1.into(), Value::Null, Value::Null];
                db.query(FIRST_ORDER, &order).map(drop)
            };
            let second = run_second_while_first_is_open(&server, first, commits, |db| {
                store::create(db, Some("9"), "usd", draft(5), key.as_ref(), 1)
            });
            let second = second.unwrap();
            assert_eq!(matches!(second, Created::TooManyOpen), commits, "{second:?}");
            assert_eq!(number(db, "SELECT count(*) FROM orders"), 1);
        }
    }
}

#[test]
fn an_order_whose_page_is_being_stored_is_not_given_up() {
    let server = on_postgres();
    let db = &server.0;
    let made = order(db, None, 5);
    let save = |db: &Database| session::save(db, &made.id, 1, &provider_page("cs_1", "2999-01-01T00:00:00Z")).map(drop);
    let given_up = run_second_while_first_is_open(&server, save, true, |db| {
        crate::checkout::give_up(db, &made.id, None, "too small").map(drop)
    });
    given_up.unwrap();
    assert_eq!(store::find(db, &made.id, None).unwrap().status, Status::Pending);
}

#[test]
fn a_page_that_is_stored_while_its_order_is_given_up_finds_it_cancelled() {
    let server = on_postgres();
    let db = &server.0;
    let made = order(db, None, 5);
    let give_up = |db: &Database| {
        db.query(sql::LOCK_SESSIONS, &[made.id.as_str().into()])?;
        db.query(sql::GIVE_UP, &[made.id.as_str().into(), Value::Null, Value::Null]).map(drop)
    };
    let page = provider_page("cs_1", "2999-01-01T00:00:00Z");
    let seen = run_second_while_first_is_open(&server, give_up, true, |db| session::save(db, &made.id, 1, &page));
    assert_eq!(seen, Ok(Some(Saved { open: true, status: Status::Cancelled })));
}

#[test]
fn a_page_that_is_stored_while_its_order_is_cancelled_by_hand_finds_it_cancelled() {
    let server = on_postgres();
    let made = order(&server.0, None, 5);
    let cancel = |db: &Database| {
        status::change(db, &Actor::Anyone, &made.id, Status::Cancelled).map(drop).map_err(|_| Error::Internal)
    };
    let page = provider_page("cs_1", "2999-01-01T00:00:00Z");
    let seen = run_second_while_first_is_open(&server, cancel, true, |db| session::save(db, &made.id, 1, &page));
    assert_eq!(seen, Ok(Some(Saved { open: true, status: Status::Cancelled })));
}

#[test]
fn a_cancellation_waits_for_a_page_that_is_being_stored_and_sees_it() {
    let server = on_postgres();
    let made = order(&server.0, None, 5);
    let page = provider_page("cs_1", "2999-01-01T00:00:00Z");
    let save = |db: &Database| session::save(db, &made.id, 1, &page).map(drop);
    let seen = run_second_while_first_is_open(&server, save, true, |db| {
        status::change(db, &Actor::Anyone, &made.id, Status::Cancelled).unwrap();
        session::last(db, &made.id).unwrap().unwrap().page.map(|page| page.id)
    });
    assert_eq!(seen.as_deref(), Some("cs_1"));
}

#[test]
fn one_of_two_concurrent_attempts_and_the_first_of_two_concurrent_pages_is_stored() {
    let server = on_postgres();
    let db = &server.0;
    let made = order(db, None, 5);
    let begun = run_second_while_first_is_open(
        &server,
        |db| session::begin(db, &made.id, 2).map(drop),
        true,
        |db| session::begin(db, &made.id, 2),
    );
    assert_eq!(begun, Ok(false));
    let [first, second] = ["cs_1", "cs_2"].map(|id| provider_page(id, "2999-01-01T00:00:00Z"));
    let saved = run_second_while_first_is_open(
        &server,
        |db| session::save(db, &made.id, 2, &first).map(drop),
        true,
        |db| session::save(db, &made.id, 2, &second),
    );
    assert_eq!(saved, Ok(None));
    assert_eq!(session::last(db, &made.id).unwrap().unwrap().page.unwrap().id, "cs_1");
}

#[test]
fn concurrent_cleaning_statements_do_not_wait_for_each_other() {
    let (db, url) = on_postgres();
    db.query(
        "INSERT INTO events (id, seen_at) SELECT n, '2024-02-27T15:50:27.545Z' FROM generate_series(1, 15) n",
        &[],
    )
    .unwrap();
    let other = Database::postgres(&url, &[]);
    let cleared: Result<(), Error> = db.transaction(|first| {
        first.query(sql::PURGE_EVENTS, &[])?;
        other.query("SET lock_timeout = '5s'", &[])?;
        other.query(sql::PURGE_EVENTS, &[]).map(drop)
    });
    assert_eq!(cleared, Ok(()));
    assert_eq!(number(&db, "SELECT count(*) FROM events"), 0, "the first removed ten, the second the other five");
}

/// Many changes of orders that several threads change. Keys and events are old, so that the cleaning statements remove
/// them.
fn storm(db: &Database, all: &[Order], seed: usize) {
    let unavailable =
        |error: &orders::Error| matches!(error, orders::Error::Unavailable(_) | orders::Error::Internal(_));
    for n in (seed..seed + 400).map(|n| n * 7919) {
        let made = &all[n % all.len()];
        let name = format!("{}", n % 23);
        match n % 8 {
            0 => {
                let taken = create(db, Some("9"), "usd", draft(5), Some(&key(Some("9"), &name, 1)));
                assert!(taken.is_ok(), "{taken:?}");
            }
            1 => assert_eq!(session::begin(db, &made.id, 1 + (n % 3) as u32).map(drop), Ok(())),
            2 => {
                let page = provider_page(&name, "2999-01-01T00:00:00Z");
                assert_eq!(session::save(db, &made.id, 1 + (n % 3) as u32, &page).map(drop), Ok(()));
            }
            3 => crate::checkout::give_up(db, &made.id, Some(&key(Some("9"), &name, 1)), "too small").unwrap(),
            4 => {
                let ended = ExpiredSession { event_id: name.clone(), session_id: name, order_id: made.id.clone() };
                event::session_expired(db, &ended).unwrap();
            }
            5 => {
                let moved = status::change(db, &Actor::Anyone, &made.id, Status::Cancelled);
                assert!(!moved.as_ref().is_err_and(unavailable), "{moved:?}");
            }
            _ => {
                // A charge belongs to one order; an event that gives it to another is refused.
                let told = event::charge(db, &payment(&name, made, &format!("ch_{}", n % 5), (n % 60) as u8));
                assert!(!matches!(told, Err(DeliveryError::Retry(_))), "{told:?}");
            }
        }
        if n % 11 == 0 {
            for table in ["idempotency_keys SET created_at", "events SET seen_at"] {
                let old =
                    format!("UPDATE {table} = '2024-02-27T15:50:27.545Z' WHERE ctid = ANY (ARRAY(SELECT ctid FROM ");
                let table = table.split(' ').next().unwrap();
                db.query(&*format!("{old}{table} LIMIT 5 FOR UPDATE SKIP LOCKED))"), &[]).unwrap();
            }
        }
    }
}

#[test]
fn a_storm_of_changes_has_no_deadlock_and_leaves_every_order_in_the_state_of_its_charges() {
    let (db, url) = on_postgres();
    let made: Vec<Order> = (0..3).map(|_| order(&db, None, 5)).collect();
    thread::scope(|scope| {
        for thread in 0..6 {
            let (url, made) = (&url, &made);
            scope.spawn(move || storm(&Database::postgres(url, &[]), made, thread * 1000));
        }
    });
    for order in made {
        let stands = store::find(&db, &order.id, None).unwrap();
        let charges = db.query(sql::CHARGES, &[order.id.as_str().into()]).unwrap();
        let charges: Vec<Charge> = charges.map(|row| event::known_charge(row).unwrap()).collect();
        let now = payment_state(stands.status, &charges);
        assert_eq!((stands.status, stands.refund_due_cents), (now.status, now.refund_due_cents));
        assert_eq!(stands.charge_id.as_deref(), now.paid_by.map(|charge| charge.id.as_str()));
    }
}
