//! The statements about refunds and disputes. [`super`] says why they are right when two run at once; in its order of
//! locks, [`LOCK_CHARGE`] comes after the event and before the order.

use souk_database::{NOW, Statement, ago, most, statement, time};

/// Parameters: charge. Who deals with a charge, or with a dispute of it, waits for the other on PostgreSQL: each reads
/// what the other writes, and neither row need be there yet. On SQLite a transaction has the whole database.
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

/// Parameters: refund, order, charge, cents, cents asked for or null, key or null, administrator or null, and those of
/// [`crate::by::columns`]. The order must
/// be locked: how much can be given back is decided by what is read under its lock.
pub(crate) const ADD_REFUND: Statement = statement!(
    "INSERT INTO refunds (id, order_id, charge_id, cents, asked_cents, key, asked_by, changed_by, trace) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
);

/// Parameters: refund, order, state, failure or null, the states that it may have, as a text with commas around each, and those of
/// [`crate::by::columns`]. No
/// row when it has another. An answer and the events of a refund come in any order, so a state never goes back.
pub(crate) const MOVE_REFUND: Statement = statement!(
    "UPDATE refunds SET state = ?3, failure = ?4, changed_by = ?6, trace = ?7, updated_at = ",
    NOW,
    " WHERE id = ?1 AND order_id = ?2 AND ",
    (Statement::each("instr(?5, ',' || state || ',') > 0", "position(',' || state || ',' in ?5::text) > 0")),
    " RETURNING cents"
);

/// Parameters: refund, order.
pub(crate) const FIND_REFUND: Statement = statement!("SELECT 1 FROM refunds WHERE id = ?1 AND order_id = ?2");

/// Parameters: age in minutes, most. Refunds of which it is not known that the provider was asked: the order of each, the
/// oldest first.
pub(crate) const UNASKED: Statement = statement!(
    "SELECT order_id FROM refunds WHERE state = 'REQUESTED' AND created_at <= ",
    (Statement::each(
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || ?1 || ' minutes')",
        "statement_timestamp() - least(?1::bigint, 52560000) * interval '1 minute'"
    )),
    " ORDER BY created_at LIMIT ",
    (most!("?2"))
);

/// Parameters: dispute, charge, cents, state, reason, time. One that is closed stays closed; of several news the latest
/// counts. The row is there when something changed.
pub(crate) const NOTE_DISPUTE: Statement = statement!(
    "INSERT INTO disputes (id, charge_id, cents, state, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ",
    (Statement::each("?6", "?6::text::timestamptz")),
    ") ON CONFLICT (id) DO UPDATE SET cents = excluded.cents, state = excluded.state, reason = excluded.reason, \
     at = excluded.at WHERE disputes.charge_id = excluded.charge_id AND disputes.state <> excluded.state \
     AND (excluded.state <> 'OPEN' AND (disputes.state = 'OPEN' OR disputes.at < excluded.at)) RETURNING 1"
);

/// Parameters: charge. The order that it is of.
pub(crate) const ORDER_OF_CHARGE: Statement = statement!("SELECT order_id FROM charges WHERE id = ?1");

/// Parameters: order. Charge and state of each dispute.
pub(crate) const DISPUTES: Statement = statement!(
    "SELECT disputes.charge_id, disputes.state FROM disputes JOIN charges ON charges.id = disputes.charge_id \
     WHERE charges.order_id = ?1"
);
