//! The statements, in SQLite's dialect; what another dialect would say otherwise is in the macros `now` and `ago` and
//! in the migrations. Orders come back with the same columns in the same order everywhere, which [`crate::rows`]
//! decodes.

/// The moment of the change. SQLite's `now` is the same throughout one statement.
macro_rules! now {
    () => {
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    };
}

/// A moment before now, such as `-24 hours`.
macro_rules! ago {
    ($time:literal) => {
        concat!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '", $time, "')")
    };
}

/// The columns of an order.
macro_rules! columns {
    () => {
        "id, owner, currency, total_cents, total_items, status, paid_at, charge_id, receipt_url, refunded_cents, \
         refund_due_cents, created_at, updated_at"
    };
}

/// Parameters: id, owner or null, currency, total in cents, pieces.
pub const CREATE: &str = concat!(
    "INSERT INTO orders (id, owner, currency, total_cents, total_items) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING ",
    columns!()
);

/// The statement that stores `lines` lines. Parameters: order, then product, name, price and quantity of each line.
///
/// One statement for all lines: a call a line would be up to a thousand while others wait to write.
pub fn create_items(lines: usize) -> String {
    let mut sql =
        String::from("INSERT INTO order_items (order_id, line, product_id, name, unit_cents, quantity) VALUES ");
    for line in 0..lines {
        let first = 2 + 4 * line;
        let comma = if line == 0 { "" } else { ", " };
        sql += &format!("{comma}(?1, {line}, ?{first}, ?{}, ?{}, ?{})", first + 1, first + 2, first + 3);
    }
    sql
}

/// Parameters: order, the owner that it must have or null.
pub const GET: &str = concat!("SELECT ", columns!(), " FROM orders WHERE id = ?1 AND (?2 IS NULL OR owner = ?2)");

/// Parameters: order.
pub const ITEMS: &str =
    "SELECT product_id, name, unit_cents, quantity FROM order_items WHERE order_id = ?1 ORDER BY line";

/// A list of orders. Its statements take the filter's parameters first.
pub struct List {
    /// Further parameters: limit, offset. Every row ends with the count, so that the page and its total are of one
    /// moment.
    pub page: &'static str,
    /// For a page past the end, where no row carries the count.
    pub count: &'static str,
}

macro_rules! list {
    ($filter:literal, $limit:literal, $offset:literal) => {
        List {
            page: concat!(
                "SELECT ",
                columns!(),
                ", (SELECT count(*) FROM orders",
                $filter,
                ") FROM orders",
                $filter,
                " ORDER BY seq DESC LIMIT ",
                $limit,
                " OFFSET ",
                $offset
            ),
            count: concat!("SELECT count(*) FROM orders", $filter),
        }
    };
}

/// Filter: none.
pub const ALL: List = list!("", "?1", "?2");
/// Filter: status.
pub const OF_STATUS: List = list!(" WHERE status = ?1", "?2", "?3");
/// Filter: owner.
pub const OF_OWNER: List = list!(" WHERE owner = ?1", "?2", "?3");
/// Filter: owner, status.
pub const OF_OWNER_AND_STATUS: List = list!(" WHERE owner = ?1 AND status = ?2", "?3", "?4");

/// Parameters: order, status to set, status that it must have. No row when it has another.
pub const MOVE: &str = concat!(
    "UPDATE orders SET status = ?2, updated_at = ",
    now!(),
    " WHERE id = ?1 AND status = ?3 RETURNING ",
    columns!()
);

/// Parameters: order. Gives up an order that nobody can have paid: it never had a payment page.
pub const GIVE_UP: &str = concat!(
    "UPDATE orders SET status = 'CANCELLED', updated_at = ",
    now!(),
    " WHERE id = ?1 AND status = 'PENDING' AND NOT EXISTS (SELECT 1 FROM payment_sessions \
     WHERE order_id = ?1 AND session_id IS NOT NULL) RETURNING 1"
);

/// Parameters: owner, key. A key that is too old is not found.
pub const FIND_KEY: &str = concat!(
    "SELECT request_hash, order_id, refused FROM idempotency_keys WHERE owner = ?1 AND key = ?2 AND created_at > ",
    ago!("-24 hours")
);

/// Parameters: owner, key, hash, order. No row when the key is taken; one that is too old is taken over.
pub const TAKE_KEY: &str = concat!(
    "INSERT INTO idempotency_keys (owner, key, request_hash, order_id) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (owner, key) DO UPDATE SET request_hash = excluded.request_hash, order_id = excluded.order_id, \
     refused = NULL, created_at = excluded.created_at WHERE idempotency_keys.created_at <= ",
    ago!("-24 hours"),
    " RETURNING 1"
);

/// Parameters: owner, key, order, why its bill was refused.
pub const REFUSE_KEY: &str = "UPDATE idempotency_keys SET refused = ?4 WHERE owner = ?1 AND key = ?2 AND order_id = ?3";

/// Removes some keys that are too old: more than one call adds, so that they do not add up.
pub const PURGE_KEYS: &str = concat!(
    "DELETE FROM idempotency_keys WHERE (owner, key) IN (SELECT owner, key FROM idempotency_keys WHERE created_at <= ",
    ago!("-24 hours"),
    " ORDER BY created_at LIMIT 10)"
);

/// Parameters: order, attempt. Only a pending order gets another page; an attempt that exists stays as it is. No row
/// when nothing was stored.
pub const BEGIN_SESSION: &str = "INSERT INTO payment_sessions (order_id, attempt) \
     SELECT id, ?2 FROM orders WHERE id = ?1 AND status = 'PENDING' ON CONFLICT (order_id, attempt) DO NOTHING RETURNING 1";

/// Parameters: order, attempt, session, its URL, success URL, cancel URL, its end as the provider wrote it. The first
/// answer stays: the provider gives the same one for the same attempt.
pub const SAVE_SESSION: &str = "UPDATE payment_sessions SET session_id = ?3, url = ?4, success_url = ?5, \
     cancel_url = ?6, expires_at = strftime('%Y-%m-%dT%H:%M:%fZ', ?7) \
     WHERE order_id = ?1 AND attempt = ?2 AND session_id IS NULL";

/// What is read of a payment page; whether it is open is decided by the database's clock.
macro_rules! session {
    () => {
        concat!(
            "SELECT attempt, coalesce(ended = 0 AND expires_at > ",
            now!(),
            ", 0), session_id, url, success_url, cancel_url FROM payment_sessions WHERE order_id = ?1"
        )
    };
}

/// Parameters: order, attempt.
pub const SESSION: &str = concat!(session!(), " AND attempt = ?2");
/// Parameters: order.
pub const FIRST_SESSION: &str = concat!(session!(), " AND attempt = 1");
/// Parameters: order.
pub const LAST_SESSION: &str = concat!(session!(), " ORDER BY attempt DESC LIMIT 1");

/// Parameters: order, session.
pub const END_SESSION: &str = "UPDATE payment_sessions SET ended = 1 WHERE order_id = ?1 AND session_id = ?2";

/// Parameters: age of the order in minutes, order after which to go on or null, most orders. The pages that may be open
/// of orders that nobody is known to have paid: order and session, the oldest order first.
pub const OPEN_PAGES: &str = "WITH candidates AS (\
     SELECT seq, id FROM orders WHERE status IN ('PENDING', 'CANCELLED') \
     AND created_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || ?1 || ' minutes') \
     AND seq > coalesce((SELECT seq FROM orders WHERE id = ?2), 0) \
     AND EXISTS (SELECT 1 FROM payment_sessions WHERE order_id = id AND session_id IS NOT NULL AND ended = 0) \
     ORDER BY seq LIMIT ?3) \
     SELECT candidates.id, session_id FROM candidates JOIN payment_sessions ON order_id = candidates.id \
     WHERE session_id IS NOT NULL AND ended = 0 ORDER BY seq, attempt";

/// No parameters.
pub const NOW: &str = concat!("SELECT ", now!());

/// Parameters: event.
pub const FIND_EVENT: &str = "SELECT 1 FROM events WHERE id = ?1";

/// Parameters: event. No row when it was there.
pub const NOTE_EVENT: &str = "INSERT INTO events (id) VALUES (?1) ON CONFLICT (id) DO NOTHING RETURNING 1";

/// Removes some events that are too old.
pub const PURGE_EVENTS: &str = concat!(
    "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE seen_at <= ",
    ago!("-90 days"),
    " ORDER BY seen_at LIMIT 10)"
);

/// Parameters: charge, order, amount in cents, refunded in cents, receipt or null, time. Events come in any order, so
/// what is kept does not depend on it: the largest refund, the earliest time. The row has the
/// refund that is kept; no row when the charge is another order's or has another amount.
pub const NOTE_CHARGE: &str = "INSERT INTO charges (id, order_id, amount_cents, refunded_cents, receipt_url, at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
     ON CONFLICT (id) DO UPDATE SET refunded_cents = max(charges.refunded_cents, excluded.refunded_cents), \
     receipt_url = coalesce(charges.receipt_url, excluded.receipt_url), at = min(charges.at, excluded.at) \
     WHERE charges.order_id = excluded.order_id AND charges.amount_cents = excluded.amount_cents \
     RETURNING refunded_cents";

/// Parameters: order.
pub const CHARGES: &str = "SELECT id, amount_cents, refunded_cents, receipt_url, at FROM charges WHERE order_id = ?1";

/// Parameters: order, status, time of payment or null, charge or null, receipt or null, refunded and due in cents.
pub const SETTLE: &str = concat!(
    "UPDATE orders SET status = ?2, paid_at = ?3, charge_id = ?4, receipt_url = ?5, refunded_cents = ?6, \
     refund_due_cents = ?7, updated_at = ",
    now!(),
    " WHERE id = ?1"
);
