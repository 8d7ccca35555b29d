//! The statements against a real SQLite with the component's own migration, and sessions for other tests.

use crate::event::{self, Event};
use crate::form::{self, NewSession, tests::FORM, tests::encode};
use crate::refund::{self, RefundOutcome};
use crate::session::{Dispute, DisputeState, LIFETIME_SECONDS, Payment, Session, Status};
use crate::store::{self, Created, Delivery, Fault};
use rusqlite::types::{Value as Cell, ValueRef};
use spin_sdk::sqlite::{RowResult, Value};

const ID: &str = "cs_test_00000000000000000000000000000001";
const CREATED: i64 = 1_700_000_000;

fn new_session() -> NewSession {
    form::parse(&encode(FORM)).unwrap()
}

/// A session that can be paid.
pub(crate) fn open() -> Session {
    let new_session = new_session();
    Session {
        id: ID.into(),
        created: CREATED,
        expires_at: CREATED + LIFETIME_SECONDS,
        status: Status::Open,
        currency: new_session.currency,
        amount: new_session.amount,
        request: new_session.request,
        payment: None,
    }
}

/// The same session, paid.
pub(crate) fn paid() -> Session {
    let (intent, charge) = ("pi_1".into(), "ch_1".into());
    let payment = Payment { intent, charge, paid_at: CREATED + 60, refunded: 0, dispute: None };
    Session { status: Status::Complete, payment: Some(payment), ..open() }
}

/// The same one, disputed.
pub(crate) fn disputed() -> Session {
    let mut session = paid();
    let dispute = Dispute { id: "du_1".into(), state: DisputeState::Open, created: CREATED + 90 };
    session.payment.as_mut().unwrap().dispute = Some(dispute);
    session
}

struct Database(rusqlite::Connection);

impl Database {
    fn new() -> Self {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch("PRAGMA foreign_keys = ON").unwrap();
        db.execute_batch(include_str!("../migrations/sqlite/0001_sessions.sql")).unwrap();
        db.execute_batch(include_str!("../migrations/sqlite/0002_fewer_indexes.sql")).unwrap();
        db.execute_batch(include_str!("../migrations/sqlite/0003_refunds.sql")).unwrap();
        db.execute_batch(include_str!("../migrations/sqlite/0004_disputes.sql")).unwrap();
        Database(db)
    }

    fn run(&self) -> impl FnMut(&str, &[Value]) -> Result<Vec<RowResult>, Fault> {
        |statement, parameters| {
            let mut statement = self.0.prepare_cached(statement).unwrap();
            let columns = statement.column_count();
            let parameters = parameters.iter().map(|value| match value {
                Value::Integer(i) => Cell::Integer(*i),
                Value::Text(s) => Cell::Text(s.clone()),
                Value::Null => Cell::Null,
                other => panic!("no statement takes {other:?}"),
            });
            let rows = statement
                .query_map(rusqlite::params_from_iter(parameters), |row| {
                    let values = (0..columns).map(|i| {
                        Ok(match row.get_ref(i)? {
                            ValueRef::Integer(i) => Value::Integer(i),
                            ValueRef::Text(s) => Value::Text(String::from_utf8_lossy(s).into_owned()),
                            ValueRef::Null => Value::Null,
                            other => panic!("no column holds {other:?}"),
                        })
                    });
                    Ok(RowResult { values: values.collect::<Result<_, rusqlite::Error>>()? })
                })
                .unwrap();
            rows.collect::<Result<_, _>>().map_err(|error| Fault(error.to_string()))
        }
    }

    fn create(&self, id: &str, key: Option<&str>, new_session: &NewSession, now: i64) -> Created {
        store::create(&mut self.run(), id, key, new_session, now).unwrap()
    }

    fn count(&self, table: &str) -> i64 {
        self.0.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

fn events(count: usize) -> Vec<Event> {
    let event = |i| Event { id: format!("evt_{i}"), payload: format!("{{\"number\":{i}}}") };
    (0..count).map(event).collect()
}

#[test]
fn a_session_is_read_as_it_was_created() {
    let db = Database::new();
    assert_eq!(db.create(ID, Some("order-1"), &new_session(), CREATED), Created::New(open()));
    assert_eq!(store::get(&mut db.run(), ID).unwrap(), Some(open()));
    assert_eq!(store::get(&mut db.run(), "cs_test_other").unwrap(), None);
}

#[test]
fn the_same_key_and_parameters_never_create_a_second_session() {
    let db = Database::new();
    db.create(ID, Some("order-1"), &new_session(), CREATED);
    assert_eq!(db.create("cs_test_2", Some("order-1"), &new_session(), CREATED + 5), Created::Replayed(open()));
    store::pay(&mut db.run(), ID, "pi_1", "ch_1", CREATED + 60).unwrap().unwrap();
    assert_eq!(db.create("cs_test_3", Some("order-1"), &new_session(), CREATED + 70), Created::Replayed(open()));
    assert_eq!(db.count("sessions"), 1);
}

#[test]
fn the_same_key_with_other_parameters_is_refused_and_each_request_without_a_key_creates_a_session() {
    let db = Database::new();
    db.create(ID, Some("order-1"), &new_session(), CREATED);
    let other = NewSession { digest: "other".into(), ..new_session() };
    assert_eq!(db.create("cs_test_2", Some("order-1"), &other, CREATED), Created::KeyReused);
    assert!(matches!(db.create("cs_test_3", None, &new_session(), CREATED), Created::New(_)));
    assert!(matches!(db.create("cs_test_4", None, &new_session(), CREATED), Created::New(_)));
    assert_eq!(db.count("sessions"), 3);
}

#[test]
fn paying_twice_makes_one_charge() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    assert_eq!(store::pay(&mut db.run(), ID, "pi_1", "ch_1", CREATED + 60).unwrap(), Some(paid()));
    assert_eq!(store::pay(&mut db.run(), ID, "pi_2", "ch_2", CREATED + 61).unwrap(), None);
    assert_eq!(store::get(&mut db.run(), ID).unwrap(), Some(paid()));
    assert_eq!(store::by_charge(&mut db.run(), "ch_1").unwrap(), Some(paid()));
    assert_eq!(store::by_charge(&mut db.run(), "ch_2").unwrap(), None);
}

#[test]
fn a_session_whose_time_is_over_cannot_be_paid_and_ends_once() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    let end = CREATED + LIFETIME_SECONDS;
    assert_eq!(store::overdue(&mut db.run(), end - 1).unwrap(), Vec::<String>::new());
    assert_eq!(store::overdue(&mut db.run(), end).unwrap(), [ID]);
    assert_eq!(store::pay(&mut db.run(), ID, "pi_1", "ch_1", end).unwrap(), None);
    let ended = store::expire(&mut db.run(), ID, end).unwrap().unwrap();
    assert_eq!((ended.status, ended.expires_at), (Status::Expired, end));
    assert_eq!(store::expire(&mut db.run(), ID, end).unwrap(), None);
    assert_eq!(store::overdue(&mut db.run(), end).unwrap(), Vec::<String>::new());
}

#[test]
fn a_paid_session_neither_ends_nor_is_overdue() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    store::pay(&mut db.run(), ID, "pi_1", "ch_1", CREATED + 60).unwrap();
    assert_eq!(store::expire(&mut db.run(), ID, CREATED + 61).unwrap(), None);
    assert_eq!(store::overdue(&mut db.run(), CREATED + LIFETIME_SECONDS).unwrap(), Vec::<String>::new());
}

#[test]
fn a_payment_is_refunded_once_and_only_if_there_is_one() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    assert_eq!(store::refund(&mut db.run(), ID).unwrap(), None);
    store::pay(&mut db.run(), ID, "pi_1", "ch_1", CREATED + 60).unwrap();
    let refunded = store::refund(&mut db.run(), ID).unwrap().unwrap();
    assert_eq!(refunded.payment.unwrap().refunded, refunded.amount);
    assert_eq!(store::refund(&mut db.run(), ID).unwrap(), None);
}

#[test]
fn one_request_claims_events_in_sequence_and_they_are_kept_until_they_are_sent() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    store::add_events(&mut db.run(), ID, events(3), Delivery::Once).unwrap();
    let ids = |now, until| -> Vec<_> {
        store::claim(&mut db.run(), None, now, until)
            .unwrap()
            .into_iter()
            .map(|event| (event.id, event.attempts))
            .collect()
    };
    let all = |attempt| [0, 1, 2].map(|i| (format!("evt_{i}"), attempt));
    assert_eq!(ids(CREATED, CREATED + 60), all(1));
    assert!(ids(CREATED + 59, CREATED + 119).is_empty());
    assert_eq!(ids(CREATED + 60, CREATED + 120), all(2));
    db.run()(crate::sql::DELETE_EVENT, &[Value::Integer(1)]).unwrap();
    db.run()(crate::sql::POSTPONE, &[Value::Integer(2), Value::Integer(CREATED + 500)]).unwrap();
    assert_eq!(ids(CREATED + 120, CREATED + 180), [("evt_2".to_owned(), 3)]);
}

#[test]
fn a_sessions_own_events_are_claimed_whatever_waits_before_them() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    db.create("cs_test_2", None, &new_session(), CREATED);
    store::add_events(&mut db.run(), ID, events(25), Delivery::Once).unwrap();
    let own = vec![Event { id: "evt_own".into(), payload: "{}".into() }];
    store::add_events(&mut db.run(), "cs_test_2", own, Delivery::Once).unwrap();
    let claimed = store::claim(&mut db.run(), Some("cs_test_2"), CREATED, CREATED + 60).unwrap();
    let ids: Vec<_> = claimed.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["evt_own"]);
    assert!(store::claim(&mut db.run(), Some("cs_test_2"), CREATED, CREATED + 60).unwrap().is_empty());
    let has_events = || store::has_events(&mut db.run(), "cs_test_2").unwrap();
    assert!(has_events(), "a claimed event is not sent yet");
    db.run()(crate::sql::DELETE_EVENT, &[Value::Integer(claimed[0].number)]).unwrap();
    assert!(!has_events());
}

#[test]
fn testers_get_events_twice_or_the_last_one_first() {
    for (delivery, expected) in [
        (Delivery::Once, [("evt_0", 1), ("evt_1", 1)]),
        (Delivery::Duplicate, [("evt_0", 2), ("evt_1", 2)]),
        (Delivery::Shuffled, [("evt_1", 1), ("evt_0", 1)]),
    ] {
        let db = Database::new();
        db.create(ID, None, &new_session(), CREATED);
        store::add_events(&mut db.run(), ID, events(2), delivery).unwrap();
        let waiting = store::claim(&mut db.run(), None, CREATED, CREATED + 60).unwrap();
        let waiting: Vec<_> = waiting.iter().map(|event| (event.id.as_str(), event.copies)).collect();
        assert_eq!(waiting, expected);
    }
}

#[test]
fn old_sessions_are_removed_with_their_events() {
    let db = Database::new();
    db.create(ID, Some("order-1"), &new_session(), CREATED);
    let sent = event::expired(&open(), "http://a", CREATED, || "evt_1".into());
    store::add_events(&mut db.run(), ID, sent, Delivery::Once).unwrap();
    let week = 7 * 24 * 60 * 60;
    db.create("cs_test_2", None, &new_session(), CREATED + week);
    assert_eq!((db.count("sessions"), db.count("events")), (2, 1));
    assert!(matches!(db.create("cs_test_3", Some("order-1"), &new_session(), CREATED + week + 1), Created::New(_)));
    assert_eq!((db.count("sessions"), db.count("events")), (2, 0));
}

#[test]
fn the_newest_sessions_are_kept_when_there_are_too_many() {
    let db = Database::new();
    for i in 0..5 {
        db.create(&format!("cs_test_{i}"), None, &new_session(), CREATED);
    }
    let most = [Value::Integer(0), Value::Integer(2)];
    assert_eq!(db.run()(crate::sql::ANY_OLD, &most).unwrap().len(), 1);
    db.run()(crate::sql::PURGE, &most).unwrap();
    assert_eq!(db.run()(crate::sql::ANY_OLD, &most).unwrap().len(), 0);
    let left = |id| store::get(&mut db.run(), id).unwrap().is_some();
    assert_eq!(["cs_test_2", "cs_test_3", "cs_test_4"].map(left), [false, true, true]);
}

#[test]
fn the_search_for_waiting_events_and_old_sessions_scans_no_table() {
    let db = Database::new();
    for statement in [
        crate::sql::ANY_WAITING,
        crate::sql::ANY_OF_SESSION,
        crate::sql::CLAIM,
        crate::sql::CLAIM_OF,
        crate::sql::OVERDUE,
        crate::sql::ANY_OLD,
        crate::sql::PURGE,
    ] {
        let mut plan = db.0.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let parameters = vec![1_i64; plan.parameter_count()];
        let steps = plan.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        let scans = steps.iter().any(|step| step.starts_with("SCAN sessions") || step.starts_with("SCAN events"));
        assert!(!scans, "{statement}: {steps:?}");
        assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE")), "{statement}: {steps:?}");
    }
}

#[test]
fn events_are_claimed_in_turn_so_that_no_refused_one_keeps_others_waiting() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    store::add_events(&mut db.run(), ID, events(25), Delivery::Once).unwrap();
    // No event is accepted, and each may be tried again at once.
    let claim = || -> Vec<i64> {
        let claimed = store::claim(&mut db.run(), None, CREATED, CREATED).unwrap();
        claimed.iter().map(|event| event.number).collect()
    };
    assert_eq!(claim(), (1..=10_i64).collect::<Vec<_>>());
    assert_eq!(claim(), (11..=20_i64).collect::<Vec<_>>());
    assert_eq!(claim(), (1..=5_i64).chain(21..=25).collect::<Vec<_>>());
}

#[test]
fn a_row_of_another_shape_is_an_error_and_not_a_panic() {
    let mut other = |_: &str, _: &[Value]| Ok(vec![RowResult { values: vec![Value::Integer(1)] }]);
    assert!(store::get(&mut other, ID).is_err());
    assert!(store::claim(&mut other, None, 1, 2).is_err());
    assert_eq!(store::overdue(&mut |_, _| Ok(Vec::new()), 1).unwrap(), Vec::<String>::new());
}

#[test]
fn a_payment_is_refunded_in_parts_once_for_each_key_and_never_beyond_its_amount() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    store::pay(&mut db.run(), ID, "pi_1", "ch_1", CREATED + 60).unwrap().unwrap();
    let next = std::cell::Cell::new(0);
    let refund = |id: &str, key: &str, charge: &str, amount: &str| {
        let body = encode(&[("charge", charge), ("amount", amount), ("metadata[refundId]", "r")]);
        let new = form::refund(&body).unwrap();
        refund::make(&mut db.run(), id, Some(key), &new, "http://a", CREATED + 90, || {
            format!("evt_{}", next.replace(next.get() + 1))
        })
        .unwrap()
    };
    let RefundOutcome::Refund(first) = refund("re_1", "k1", "ch_1", "15000") else { panic!("no refund") };
    assert_eq!((first.amount, first.metadata["refundId"].as_str()), (15000, "r"));
    assert_eq!(db.count("events"), 2, "one of the charge, and one of the refund");
    assert_eq!(refund("re_2", "k1", "ch_1", "15000"), RefundOutcome::Refund(first), "the same key");
    assert_eq!(refund("re_2", "k1", "ch_1", "50"), RefundOutcome::KeyReused);
    assert_eq!(refund("re_2", "k2", "ch_1", "51"), RefundOutcome::TooMuch);
    assert_eq!(refund("re_2", "k2", "ch_2", "1"), RefundOutcome::NoCharge);
    assert!(matches!(refund("re_2", "k2", "ch_1", "50"), RefundOutcome::Refund(_)));
    assert_eq!(refund("re_3", "k3", "ch_1", "1"), RefundOutcome::TooMuch);
    assert_eq!((db.count("events"), db.count("refunds")), (4, 2));
    let list = |query: &str| {
        let listed = refund::listed(query).map_err(|refusal| refusal.into_reply().status)?;
        Ok::<_, u16>(refund::find(&mut db.run(), &listed, "http://a").unwrap())
    };
    let all = list("charge=ch_1&limit=100&expand%5B0%5D=data.charge").unwrap().unwrap();
    let amounts: Vec<_> = all["data"].as_array().unwrap().iter().map(|refund| &refund["amount"]).collect();
    assert_eq!(amounts, [50, 15000], "the latest first");
    let of = &all["data"][0];
    assert_eq!((&of["charge"]["id"], &of["charge"]["amount_refunded"]), (&"ch_1".into(), &15050.into()));
    let one = list("charge=ch_1&limit=1").unwrap().unwrap();
    assert_eq!((one["data"].as_array().unwrap().len(), &one["data"][0]["charge"]), (1, &"ch_1".into()));
    assert_eq!(list("charge=ch_2"), Ok(None));
    for bad in ["", "charge=ch_1&limit=0", "charge=ch_1&limit=101", "charge=ch_1&expand[]=x", "charge=ch_1&x=1"] {
        assert_eq!(list(bad), Err(400), "{bad}");
    }
}

#[test]
fn a_payment_is_disputed_once_and_given_back_only_when_the_shop_has_won() {
    for (state, refundable) in [(DisputeState::Won, true), (DisputeState::Lost, false)] {
        let db = Database::new();
        db.create(ID, None, &new_session(), CREATED);
        let dispute = |id| store::dispute(&mut db.run(), ID, id, CREATED + 90).unwrap();
        let decide = |state| store::decide_dispute(&mut db.run(), ID, state).unwrap();
        assert_eq!(dispute("du_0"), None, "nothing was paid");
        store::pay(&mut db.run(), ID, "pi_1", "ch_1", CREATED + 60).unwrap().unwrap();
        assert_eq!(decide(state), None, "nothing is disputed");
        assert_eq!(dispute("du_1"), Some(disputed()));
        assert_eq!(dispute("du_2"), None);
        let refund = || {
            let new = form::refund(b"charge=ch_1&amount=50").unwrap();
            let next = std::cell::Cell::new(0);
            let event_id = || format!("evt_{}", next.replace(next.get() + 1));
            refund::make(&mut db.run(), "re_1", None, &new, "http://a", CREATED + 95, event_id).unwrap()
        };
        assert_eq!(refund(), RefundOutcome::Disputed);
        assert_eq!(store::refund(&mut db.run(), ID).unwrap(), None);
        let decided = decide(state).unwrap().payment.unwrap().dispute.unwrap();
        assert_eq!((decided.state, decided.id.as_str()), (state, "du_1"));
        assert_eq!(decide(DisputeState::Won), None, "it was decided");
        assert_eq!(matches!(refund(), RefundOutcome::Refund(_)), refundable);
    }
}

#[test]
fn a_payment_that_was_given_back_is_not_disputed() {
    let db = Database::new();
    db.create(ID, None, &new_session(), CREATED);
    store::pay(&mut db.run(), ID, "pi_1", "ch_1", CREATED + 60).unwrap();
    store::refund(&mut db.run(), ID).unwrap().unwrap();
    assert_eq!(store::dispute(&mut db.run(), ID, "du_1", CREATED + 90).unwrap(), None);
}
