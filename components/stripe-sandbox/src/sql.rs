//! The SQL statements. A statement that guards a condition has it in its WHERE clause, so that of two concurrent calls
//! one changes a row and the other none. Sessions always have the same columns, which [`crate::store`] reads.

/// The columns of a session.
macro_rules! columns {
    () => {
        "id, created, expires_at, status, currency, amount, request, payment_intent, charge, paid_at, refunded, \
         dispute, dispute_state, disputed_at"
    };
}

/// Parameters: id, idempotency key or null, digest, created, expires at, currency, amount, request. No row when the
/// key is taken.
pub(crate) const CREATE: &str = concat!(
    "INSERT INTO sessions (id, idempotency_key, parameters, created, expires_at, currency, amount, request) ",
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (idempotency_key) DO NOTHING RETURNING ",
    columns!()
);

/// Parameters: idempotency key, digest. No row when the key was used with other parameters.
pub(crate) const REPLAY: &str =
    concat!("SELECT ", columns!(), " FROM sessions WHERE idempotency_key = ?1 AND parameters = ?2");

/// Parameters: id.
pub(crate) const GET: &str = concat!("SELECT ", columns!(), " FROM sessions WHERE id = ?1");

/// Parameters: the charge's id.
pub(crate) const BY_CHARGE: &str = concat!("SELECT ", columns!(), " FROM sessions WHERE charge = ?1");

/// Parameters: id, now, payment intent, charge.
pub(crate) const PAY: &str = concat!(
    "UPDATE sessions SET status = 'complete', paid_at = ?2, payment_intent = ?3, charge = ?4 ",
    "WHERE id = ?1 AND status = 'open' AND expires_at > ?2 RETURNING ",
    columns!()
);

/// Parameters: id, now.
pub(crate) const EXPIRE: &str = concat!(
    "UPDATE sessions SET status = 'expired', expires_at = min(expires_at, ?2) ",
    "WHERE id = ?1 AND status = 'open' RETURNING ",
    columns!()
);

/// The condition under which a payment can be given back: no open dispute, and none that the customer has won.
macro_rules! undisputed {
    () => {
        "coalesce(dispute_state, 'won') = 'won'"
    };
}

/// Parameters: id. Refunds everything that is left.
pub(crate) const REFUND: &str = concat!(
    "UPDATE sessions SET refunded = amount WHERE id = ?1 AND status = 'complete' AND refunded < amount AND ",
    undisputed!(),
    " RETURNING ",
    columns!()
);

/// Parameters: id, amount. No row when less than the amount is left.
pub(crate) const REFUND_PART: &str = concat!(
    "UPDATE sessions SET refunded = refunded + ?2 WHERE id = ?1 AND status = 'complete' AND refunded + ?2 <= amount AND ",
    undisputed!(),
    " RETURNING ",
    columns!()
);

/// Parameters: id, the dispute's id, now. A payment is disputed once, and not when it was given back.
pub(crate) const DISPUTE: &str = concat!(
    "UPDATE sessions SET dispute = ?2, dispute_state = 'needs_response', disputed_at = ?3 ",
    "WHERE id = ?1 AND status = 'complete' AND dispute IS NULL AND refunded < amount RETURNING ",
    columns!()
);

/// Parameters: id, state.
pub(crate) const DECIDE_DISPUTE: &str = concat!(
    "UPDATE sessions SET dispute_state = ?2 WHERE id = ?1 AND dispute_state = 'needs_response' RETURNING ",
    columns!()
);

/// Parameters: idempotency key. Returns the refund that was made with it, and the digest of its parameters.
pub(crate) const REFUND_OF_KEY: &str =
    "SELECT id, parameters, session, amount, created, metadata FROM refunds WHERE idempotency_key = ?1";

/// Parameters: session, limit. The refunds of a payment, the latest first.
pub(crate) const REFUNDS_OF_SESSION: &str =
    "SELECT id, amount, created, metadata FROM refunds WHERE session = ?1 ORDER BY created DESC, rowid DESC LIMIT ?2";

/// Parameters: id, session, idempotency key or null, digest, amount, created, metadata.
pub(crate) const ADD_REFUND: &str = "INSERT INTO refunds (id, session, idempotency_key, parameters, amount, created, metadata) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Parameters: now. Open sessions whose time is over.
pub(crate) const OVERDUE: &str =
    "SELECT id FROM sessions WHERE status = 'open' AND expires_at <= ?1 ORDER BY expires_at LIMIT 10";

/// The condition on which a session is removed.
macro_rules! old {
    () => {
        "(created < ?1 OR number <= (SELECT max(number) FROM sessions) - ?2)"
    };
}

/// Parameters: created before, how many to keep. Sessions are numbered in the sequence of their creation, so the first
/// one shows whether there is an old one. This is a read, so that the usual case, no old session, takes no lock.
pub(crate) const ANY_OLD: &str =
    concat!("SELECT 1 FROM sessions WHERE number = (SELECT min(number) FROM sessions) AND ", old!());

/// Parameters: as for [`ANY_OLD`]. Removes at most 100 sessions, more than are created meanwhile. Events are deleted
/// with their sessions.
pub(crate) const PURGE: &str =
    concat!("DELETE FROM sessions WHERE number < (SELECT min(number) + 100 FROM sessions) AND ", old!());

/// Parameters: id, session, payload, copies.
pub(crate) const ADD_EVENT: &str = "INSERT INTO events (id, session, payload, copies) VALUES (?1, ?2, ?3, ?4)";

/// Parameters: now. This is a read, so that the usual case, no waiting event, takes no lock.
pub(crate) const ANY_WAITING: &str = "SELECT 1 FROM events WHERE next_try <= ?1 LIMIT 1";

/// Parameters: session.
pub(crate) const ANY_OF_SESSION: &str = "SELECT 1 FROM events WHERE session = ?1 LIMIT 1";

/// Parameters: now, end of the claim. The rows come in any order. Those whose turn came first are claimed; the index
/// has them in this sequence, so no others are read. New events have waited since time 0.
pub(crate) const CLAIM: &str = "UPDATE events SET attempts = attempts + 1, next_try = ?2 \
    WHERE number IN (SELECT number FROM events WHERE next_try <= ?1 ORDER BY next_try, number LIMIT 10) \
    RETURNING number, id, payload, copies, attempts";

/// Parameters: now, end of the claim, session.
pub(crate) const CLAIM_OF: &str = "UPDATE events SET attempts = attempts + 1, next_try = ?2 \
    WHERE session = ?3 AND next_try <= ?1 RETURNING number, id, payload, copies, attempts";

/// Parameters: number.
pub(crate) const DELETE_EVENT: &str = "DELETE FROM events WHERE number = ?1";

/// Parameters: number, time of the next attempt.
pub(crate) const POSTPONE: &str = "UPDATE events SET next_try = ?2 WHERE number = ?1";
