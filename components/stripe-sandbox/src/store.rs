//! Reads and changes sessions and events, with statements on a database that the caller lends: the host's (in a
//! transaction if there are several statements), or an in-memory one in the tests.

use crate::event::Event;
use crate::form::NewSession;
use crate::session::{Dispute, DisputeState, LIFETIME_SECONDS, Payment, Session, Status};
use crate::sql;
use spin_sdk::sqlite::{Error, RowResult, Value};

/// How long a session is kept, in seconds. Stripe's idempotency keys are kept one day, so seven days are enough for
/// both.
const RETENTION_SECONDS: i64 = 7 * 24 * 60 * 60;
/// How many sessions are kept at most.
const MAX_SESSIONS: i64 = 100_000;

/// A failure of the database. Its text is only for the log.
#[derive(Debug)]
pub(crate) struct Fault(pub String);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault(error.to_string())
    }
}

/// Runs one statement.
pub(crate) type Run<'a> = dyn FnMut(&str, &[Value]) -> Result<Vec<RowResult>, Fault> + 'a;

/// The outcome of creating a session.
#[derive(Debug, PartialEq)]
pub(crate) enum Created {
    /// A new one.
    New(Session),
    /// The key was used with the same parameters: the session as it was created then.
    Replayed(Session),
    /// The key was used with other parameters.
    KeyReused,
}

/// How often and in which sequence a payment's events are sent, so that testers can test the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Once,
    /// Each event twice.
    Duplicate,
    /// The last event first.
    Shuffled,
}

/// An event that waits to be sent and that this caller has claimed.
#[derive(Debug, PartialEq)]
pub(crate) struct Waiting {
    pub number: i64,
    pub id: String,
    pub payload: String,
    pub copies: i64,
    /// How often it was tried, including this time.
    pub attempts: i64,
}

/// Creates a session, or returns the one that was created with the same key. Old sessions are removed.
///
/// There is no transaction: each statement is correct on its own, and usually only one of them writes. (A key of seven
/// days ago may be reported as reused while its session is being removed.)
pub(crate) fn create(
    run: &mut Run,
    id: &str,
    key: Option<&str>,
    new_session: &NewSession,
    now: i64,
) -> Result<Created, Fault> {
    let old = [Value::Integer(now - RETENTION_SECONDS), Value::Integer(MAX_SESSIONS)];
    if !run(sql::ANY_OLD, &old)?.is_empty() {
        run(sql::PURGE, &old)?;
    }
    let request = serde_json::to_string(&new_session.request).map_err(|error| Fault(error.to_string()))?;
    let parameters = [
        text(id),
        key.map_or(Value::Null, text),
        text(&new_session.digest),
        Value::Integer(now),
        Value::Integer(now + LIFETIME_SECONDS),
        text(&new_session.currency),
        Value::Integer(new_session.amount),
        text(&request),
    ];
    if let Some(session) = one(run(sql::CREATE, &parameters)?)? {
        return Ok(Created::New(session));
    }
    let known = one(run(sql::REPLAY, &[key.map_or(Value::Null, text), text(&new_session.digest)])?)?;
    Ok(known.map_or(Created::KeyReused, |session| Created::Replayed(session.into_created())))
}

/// The session with this id.
pub(crate) fn get(run: &mut Run, id: &str) -> Result<Option<Session>, Fault> {
    one(run(sql::GET, &[text(id)])?)
}

/// The session that was paid with this charge.
pub(crate) fn by_charge(run: &mut Run, charge: &str) -> Result<Option<Session>, Fault> {
    one(run(sql::BY_CHARGE, &[text(charge)])?)
}

/// Marks an open session as paid with this payment; `None` when it was not open.
pub(crate) fn pay(run: &mut Run, id: &str, intent: &str, charge: &str, now: i64) -> Result<Option<Session>, Fault> {
    one(run(sql::PAY, &[text(id), Value::Integer(now), text(intent), text(charge)])?)
}

/// Ends an open session; `None` when it was not open.
pub(crate) fn expire(run: &mut Run, id: &str, now: i64) -> Result<Option<Session>, Fault> {
    one(run(sql::EXPIRE, &[text(id), Value::Integer(now)])?)
}

/// Refunds the rest of a payment; `None` when there is no payment, or everything is refunded already.
pub(crate) fn refund(run: &mut Run, id: &str) -> Result<Option<Session>, Fault> {
    one(run(sql::REFUND, &[text(id)])?)
}

/// Refunds a part of a payment; `None` when there is no payment, or less is left of it.
pub(crate) fn refund_part(run: &mut Run, id: &str, amount: i64) -> Result<Option<Session>, Fault> {
    if amount <= 0 {
        return Ok(None);
    }
    one(run(sql::REFUND_PART, &[text(id), Value::Integer(amount)])?)
}

/// Opens a dispute of a payment; `None` when there is none, or it was disputed or given back already.
pub(crate) fn dispute(run: &mut Run, id: &str, dispute: &str, now: i64) -> Result<Option<Session>, Fault> {
    one(run(sql::DISPUTE, &[text(id), text(dispute), Value::Integer(now)])?)
}

/// Decides an open dispute; `None` when there is none.
pub(crate) fn decide_dispute(run: &mut Run, id: &str, state: DisputeState) -> Result<Option<Session>, Fault> {
    one(run(sql::DECIDE_DISPUTE, &[text(id), text(state.word())])?)
}

/// The ids of some sessions whose time is over.
pub(crate) fn overdue(run: &mut Run, now: i64) -> Result<Vec<String>, Fault> {
    let rows = run(sql::OVERDUE, &[Value::Integer(now)])?;
    rows.into_iter()
        .map(|row| match row.values.into_iter().next() {
            Some(Value::Text(id)) => Ok(id),
            _ => Err(unexpected()),
        })
        .collect()
}

/// Stores events for sending.
pub(crate) fn add_events(
    run: &mut Run,
    session: &str,
    mut events: Vec<Event>,
    delivery: Delivery,
) -> Result<(), Fault> {
    if delivery == Delivery::Shuffled {
        events.reverse();
    }
    let copies = if delivery == Delivery::Duplicate { 2 } else { 1 };
    for event in events {
        run(sql::ADD_EVENT, &[text(&event.id), text(session), text(&event.payload), Value::Integer(copies)])?;
    }
    Ok(())
}

/// Whether an event of this session is still stored, even if another request is sending it.
pub(crate) fn has_events(run: &mut Run, session: &str) -> Result<bool, Fault> {
    Ok(!run(sql::ANY_OF_SESSION, &[text(session)])?.is_empty())
}

/// Claims some waiting events, those of one session, or of all those whose turn came first; nobody else gets them before
/// `until`. They are returned in the sequence in which they were stored.
pub(crate) fn claim(run: &mut Run, session: Option<&str>, now: i64, until: i64) -> Result<Vec<Waiting>, Fault> {
    if run(sql::ANY_WAITING, &[Value::Integer(now)])?.is_empty() {
        return Ok(Vec::new());
    }
    let rows = match session {
        Some(session) => run(sql::CLAIM_OF, &[Value::Integer(now), Value::Integer(until), text(session)])?,
        None => run(sql::CLAIM, &[Value::Integer(now), Value::Integer(until)])?,
    };
    let mut waiting = rows.into_iter().map(waiting).collect::<Result<Vec<_>, _>>()?;
    waiting.sort_unstable_by_key(|event| event.number);
    Ok(waiting)
}

fn one(rows: Vec<RowResult>) -> Result<Option<Session>, Fault> {
    rows.into_iter().next().map(session).transpose()
}

fn session(row: RowResult) -> Result<Session, Fault> {
    let Ok(
        [
            Value::Text(id),
            Value::Integer(created),
            Value::Integer(expires_at),
            Value::Text(status),
            Value::Text(currency),
            Value::Integer(amount),
            Value::Text(request),
            intent,
            charge,
            paid_at,
            Value::Integer(refunded),
            dispute,
            dispute_state,
            disputed_at,
        ],
    ) = <[Value; 14]>::try_from(row.values)
    else {
        return Err(unexpected());
    };
    let status = match status.as_str() {
        "open" => Status::Open,
        "complete" => Status::Complete,
        "expired" => Status::Expired,
        _ => return Err(unexpected()),
    };
    let dispute = match (dispute, dispute_state, disputed_at) {
        (Value::Text(id), Value::Text(state), Value::Integer(created)) => {
            Some(Dispute { id, state: DisputeState::of(&state).ok_or_else(unexpected)?, created })
        }
        (Value::Null, Value::Null, Value::Null) => None,
        _ => return Err(unexpected()),
    };
    let payment = match (intent, charge, paid_at) {
        (Value::Text(intent), Value::Text(charge), Value::Integer(paid_at)) => {
            Some(Payment { intent, charge, paid_at, refunded, dispute })
        }
        (Value::Null, Value::Null, Value::Null) => None,
        _ => return Err(unexpected()),
    };
    let request = serde_json::from_str(&request).map_err(|error| Fault(error.to_string()))?;
    Ok(Session { id, created, expires_at, status, currency, amount, request, payment })
}

fn waiting(row: RowResult) -> Result<Waiting, Fault> {
    match <[Value; 5]>::try_from(row.values) {
        Ok(
            [
                Value::Integer(number),
                Value::Text(id),
                Value::Text(payload),
                Value::Integer(copies),
                Value::Integer(attempts),
            ],
        ) => Ok(Waiting { number, id, payload, copies, attempts }),
        _ => Err(unexpected()),
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A row that the schema rules out: somebody else must have changed the database.
fn unexpected() -> Fault {
    Fault("a row does not have the columns that the migrations define".into())
}
