//! The statements about refunds and disputes. [`super`] explains why they are right under concurrency; in its sequence
//! of locks, [`LOCK_CHARGE`] comes after the event and before the order.

use souk_database::{NOW, Statement, ago, most, statement, time};

/// Parameters: charge. On PostgreSQL, transactions about a charge and transactions about its disputes wait for each
/// other: each reads what the other writes, and neither row need exist yet. On SQLite a transaction locks the whole
/// database.
pub(crate) const LOCK_CHARGE: Statement =
    Statement::each("SELECT ?1", "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 1))::text");

/// The columns of a refund.
const COLUMNS: Statement = statement!(
    "SELECT id, charge_id, cents, state, failure, asked_by, ",
    (time!("created_at")),
    ", ",
    (time!("updated_at")),
    ", key, coalesce(asked_cents, 0), created_at > ",
    (ago!("23 hours")),
    " FROM refunds"
);

/// Parameters: order.
pub(crate) const REFUNDS: Statement = statement!(COLUMNS, " WHERE order_id = ?1 ORDER BY created_at, id");

/// Parameters: refund, order, charge, cents, requested cents or null, key or null, administrator or null, and those of
/// [`crate::by::columns`]. The order must be locked: the rows that are read under its lock decide how much can be
/// refunded.
pub(crate) const ADD_REFUND: Statement = statement!(
    "INSERT INTO refunds (id, order_id, charge_id, cents, asked_cents, key, asked_by, changed_by, trace) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
);

/// Parameters: refund, order, new state, failure or null, allowed current states as a text with commas around each, and
/// those of [`crate::by::columns`]. No row when the refund has another state. An answer and the events of a refund
/// arrive in any order, so a state never goes back.
pub(crate) const MOVE_REFUND: Statement = statement!(
    "UPDATE refunds SET state = ?3, failure = ?4, changed_by = ?6, trace = ?7, updated_at = ",
    NOW,
    " WHERE id = ?1 AND order_id = ?2 AND ",
    (Statement::each("instr(?5, ',' || state || ',') > 0", "position(',' || state || ',' in ?5::text) > 0")),
    " RETURNING cents, charge_id"
);

/// Parameters: order, charge, cents of a refund that has just failed. Subtracts them from the charge's refunded cents, if
/// those can include them; the cents of other refunds that the provider has accepted stay. The order must be locked.
pub(crate) const TAKE_BACK: Statement = statement!(
    "UPDATE charges SET refunded_cents = ",
    (Statement::each("max", "greatest")),
    "(refunded_cents - ?3, ",
    (Statement::each("min", "least")),
    "(refunded_cents, (SELECT ",
    SUM,
    " FROM refunds WHERE refunds.order_id = ?1 AND refunds.charge_id = ?2 AND state IN ('SENT', 'SUCCEEDED')))) \
     WHERE id = ?2 AND order_id = ?1 AND refunded_cents >= ?3"
);

/// Parameters: order, charge, time. Returns how many cents of refunds that the provider had accepted have failed since
/// then: a report of that time may include them. A refund that the provider refused at once was in no report.
pub(crate) const FAILED_SINCE: Statement = statement!(
    "SELECT ",
    SUM,
    " FROM refunds WHERE order_id = ?1 AND charge_id = ?2 AND state = 'FAILED' AND updated_at > ",
    (Statement::each("?3", "?3::text::timestamptz")),
    " AND EXISTS (SELECT 1 FROM order_history WHERE order_history.order_id = refunds.order_id AND what = 'REFUND' \
     AND subject = refunds.id AND old IN ('SENT', 'SUCCEEDED') AND new = 'FAILED')"
);

/// Parameters: order. How many of its refunds have failed.
pub(crate) const FAILED_REFUNDS: Statement =
    statement!("SELECT count(*) FROM refunds WHERE order_id = ?1 AND state = 'FAILED'");

/// PostgreSQL's sum of integers is not an integer.
const SUM: Statement = Statement::each("coalesce(sum(cents), 0)", "coalesce(sum(cents), 0)::bigint");

/// Parameters: refund, order.
pub(crate) const FIND_REFUND: Statement = statement!("SELECT 1 FROM refunds WHERE id = ?1 AND order_id = ?2");

/// Parameters: age in minutes, limit. The orders of refunds whose outcome is not known, at random.
pub(crate) const UNSETTLED: Statement = statement!(
    "SELECT order_id FROM refunds WHERE state IN ('REQUESTED', 'SENT') AND created_at <= ",
    (Statement::each(
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || ?1 || ' minutes')",
        "statement_timestamp() - least(?1::bigint, 52560000) * interval '1 minute'"
    )),
    " ORDER BY random() LIMIT ",
    (most!("?2"))
);

/// Parameters: dispute, charge, cents, state, reason, time. A closed dispute stays closed; of several closing events
/// the latest counts. Returns a row when something changed.
pub(crate) const NOTE_DISPUTE: Statement = statement!(
    "INSERT INTO disputes (id, charge_id, cents, state, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ",
    (Statement::each("?6", "?6::text::timestamptz")),
    ") ON CONFLICT (id) DO UPDATE SET cents = excluded.cents, state = excluded.state, reason = excluded.reason, \
     at = excluded.at WHERE disputes.charge_id = excluded.charge_id AND disputes.state <> excluded.state \
     AND (excluded.state <> 'OPEN' AND (disputes.state = 'OPEN' OR disputes.at < excluded.at)) RETURNING 1"
);

/// Parameters: charge. Returns the order that the charge belongs to.
pub(crate) const ORDER_OF_CHARGE: Statement = statement!("SELECT order_id FROM charges WHERE id = ?1");

/// Parameters: order. Returns charge and state of each dispute.
pub(crate) const DISPUTES: Statement = statement!(
    "SELECT disputes.charge_id, disputes.state FROM disputes JOIN charges ON charges.id = disputes.charge_id \
     WHERE charges.order_id = ?1"
);
