//! The SQL statements. All of them return an order as the same columns in the same sequence, which [`crate::rows`]
//! decodes.
//!
//! # Concurrency
//!
//! On SQLite one transaction or statement writes at a time. On PostgreSQL several write at once. That is right for
//! these reasons:
//!
//! - A decision about one row is one statement that names, as columns of that row, the state that it starts from
//!   ([`MOVE`], [`SAVE_SESSION`], [`REFUSE_KEY`]). A statement that waits for another's change looks at the row again.
//! - Anything that must exist only once is a unique row: a key, an event, an attempt, a charge. The second insert waits
//!   until the first transaction has committed or rolled back, and sees which.
//! - The state of an order follows from its charges, which takes several statements: [`LOCK`] comes first, and the next
//!   statements see what earlier holders of the lock have stored.
//! - The number of a customer's open orders is a count that triggers keep: on PostgreSQL the function `may_order` makes
//!   concurrent orders of one customer wait for each other, so that each finds the ones before it counted.
//! - Whether an order can be given up depends on its pages, which are other rows: see [`LOCK_SESSIONS`].
//!
//! There are no deadlocks. Locks are taken in this sequence: event, pages, order, then charge or key. Only the creation
//! of an order first waits for its turn among its customer's orders and then takes its key. Until then it holds no lock
//! that others wait for, and from then on it waits for nobody, because the order is new. The cleaning statements
//! ([`PURGE_KEYS`], [`PURGE_EVENTS`], [`RETIRE_PAGES`]) skip locked rows. They run alone, or after the insert that might
//! wait for another cleaner. References to an order take a lock that does not conflict with these.

pub(crate) mod import;
pub(crate) mod money;

use souk_database::{Dialect, LOCKED, NOW, Statement, ago, most, statement, time};

/// The columns of an order.
pub(crate) const COLUMNS: Statement = statement!(
    "id, owner, currency, total_cents, total_items, status, ",
    (time!("paid_at")),
    ", charge_id, receipt_url, refunded_cents, refund_due_cents, ",
    (time!("created_at")),
    ", ",
    (time!("updated_at")),
    ", dispute"
);

/// Only for SQLite; on PostgreSQL it is [`CREATE_AT_ONCE`]. Creates an order, its lines and the first attempt of its
/// payment page. With a key it is in a transaction, after [`TAKE_KEY`].
///
/// Parameters: id, owner or null, currency, total in cents, pieces, limit of the owner's open orders (see
/// [`crate::quota`]), those of [`crate::by::columns`], and the lines as a JSON array with an array of product, name,
/// price and quantity for each. Returns the time of creation; no row when the owner has too many orders. How many open
/// orders there are is read from the counts that triggers keep, because finding the n-th open order costs more with each
/// one.
///
/// A trigger of the view writes the other tables: each statement that writes goes to another thread and back, and in a
/// transaction of several, all other orders wait for each of its steps. The statement is the same for any number of
/// lines, so it stays in the statement cache.
pub(crate) const CREATE: &str = statement!(
    "INSERT INTO new_orders (id, owner, currency, total_cents, total_items, changed_by, trace, created_at, lines) \
     SELECT ?1, ?2, ?3, ?4, ?5, ?7, ?8, ",
    NOW,
    ", ?9 WHERE ?2 IS NULL OR (\
     coalesce((SELECT orders FROM order_counts WHERE owner = ?2 AND status = 'PENDING'), 0) < ?6 \
     AND (coalesce((SELECT orders FROM order_counts WHERE owner = ?2 AND status = 'CANCELLED'), 0) < 10 * ?6 \
     OR (SELECT created_at FROM orders WHERE owner = ?2 AND status = 'CANCELLED' \
     ORDER BY seq DESC LIMIT 1 OFFSET 10 * ?6 - 1) <= ",
    (ago!("24 hours")),
    ")) RETURNING created_at"
)
.text(Dialect::Sqlite);

/// Only for PostgreSQL: SQLite's `WITH` allows no statements that write. Parameters: the first five of [`CREATE`]; its
/// lines; owner, text and hash of the key, or three nulls; and the limit and the author of [`CREATE`]. Returns whether the owner may have another order, and the time of creation: null when the owner may not, or the key
/// is taken.
///
/// The customer's turn comes first, then the key, because the order is inserted from the key's row. The second of two
/// calls waits there, and holds no lock that others wait for. A call that may not order takes no key.
pub(crate) const CREATE_AT_ONCE: &str = statement!(
    "WITH turn AS MATERIALIZED (SELECT may_order(?2::text, ?10::bigint) AS allowed), \
     taken AS (INSERT INTO idempotency_keys (owner, key, request_hash, order_id) \
     SELECT ?7::text, ?8::text, ?9::bytea, ?1::text FROM turn WHERE allowed AND ?8::text IS NOT NULL",
    TAKE_OVER,
    "), made AS (INSERT INTO orders (id, owner, currency, total_cents, total_items, changed_by, trace) \
     SELECT ?1::text, ?2::text, ?3::text, ?4::bigint, ?5::bigint, ?11::text, ?12::text FROM turn \
     WHERE allowed AND (?8::text IS NULL OR EXISTS (SELECT 1 FROM taken)) \
     RETURNING id, created_at), \
     items AS (INSERT INTO order_items (order_id, line, product_id, name, unit_cents, quantity) \
     SELECT id, number - 1, (line ->> 0)::bigint, line ->> 1, (line ->> 2)::bigint, (line ->> 3)::integer \
     FROM made, json_array_elements(?6::text::json) WITH ORDINALITY AS lines (line, number)), \
     session AS (INSERT INTO payment_sessions (order_id, attempt) SELECT id, 1 FROM made) \
     SELECT allowed, (SELECT ",
    (time!("created_at")),
    " FROM made) FROM turn"
)
.text(Dialect::Postgres);

/// Parameters: order, required owner or null.
pub(crate) const GET: Statement = statement!(
    "SELECT ",
    COLUMNS,
    " FROM orders WHERE id = ?1 AND (",
    (Statement::each("?2 IS NULL OR owner = ?2", "?2::text IS NULL OR owner = ?2")),
    ")"
);

/// Parameters: order. For a transaction that decides about the order with more than one statement.
pub(crate) const LOCK: Statement = statement!("SELECT ", COLUMNS, " FROM orders WHERE id = ?1", LOCKED);

/// Parameters: order.
pub(crate) const ITEMS: Statement =
    statement!("SELECT product_id, name, unit_cents, quantity FROM order_items WHERE order_id = ?1 ORDER BY line");

/// A list of orders. The parameters of the filter come first.
pub(crate) struct List {
    /// Further parameters: limit, offset. Every row ends with the count, so that page and total are from the same
    /// moment.
    pub page: Statement<'static>,
    /// The count for a page past the end, where no row carries it. Triggers keep it up to date.
    pub count: Statement<'static>,
}

macro_rules! list {
    ($filter:literal, $counts:literal, $newest_first:literal, $limit:literal, $offset:literal) => {
        List {
            page: statement!(
                "SELECT ",
                COLUMNS,
                ", (",
                COUNT,
                $counts,
                ") FROM orders",
                $filter,
                " ORDER BY ",
                $newest_first,
                " LIMIT ",
                (most!($limit)),
                " OFFSET ",
                $offset
            ),
            count: statement!(COUNT, $counts),
        }
    };
}

/// The sum of counters that triggers keep up to date.
const COUNT: Statement = Statement::each(
    "SELECT coalesce(sum(orders), 0) FROM order_counts WHERE owner = ",
    "SELECT coalesce(sum(orders), 0)::bigint FROM order_counts WHERE owner = ",
);

/// Filter: none.
pub(crate) const ALL: List = list!("", "''", "seq DESC", "?1", "?2");
/// Filter: status.
pub(crate) const OF_STATUS: List =
    list!(" WHERE status = ?1", "'' AND status = ?1", "created_at DESC, seq DESC", "?2", "?3");
/// Filter: owner.
pub(crate) const OF_OWNER: List = list!(" WHERE owner = ?1", "?1", "seq DESC", "?2", "?3");
/// Filter: owner, status.
pub(crate) const OF_OWNER_AND_STATUS: List =
    list!(" WHERE owner = ?1 AND status = ?2", "?1 AND status = ?2", "seq DESC", "?3", "?4");

/// Parameters: order, new status, required current status, and those of [`crate::by::columns`]. No row when the order
/// has another status.
pub(crate) const MOVE: Statement = statement!(
    "UPDATE orders SET status = ?2, changed_by = ?4, trace = ?5, updated_at = ",
    NOW,
    " WHERE id = ?1 AND status = ?3 RETURNING ",
    COLUMNS
);

/// Parameters: order. Runs before [`GIVE_UP`] in the same transaction. `GIVE_UP` reads pages, which are other rows than
/// the one that it changes, so on PostgreSQL it would miss a page that is just being stored. Therefore the attempts are
/// locked first. A page that was being stored is then visible; a page that is stored later finds the order cancelled
/// (see [`crate::page`]). No new attempt can begin in between: it would need a page of the attempt before.
pub(crate) const LOCK_SESSIONS: Statement = statement!("SELECT 1 FROM payment_sessions WHERE order_id = ?1", LOCKED);

/// Parameters: order, and those of [`crate::by::columns`]. Cancels an order that nobody can have paid, because it never
/// had a payment page.
pub(crate) const GIVE_UP: Statement = statement!(
    "UPDATE orders SET status = 'CANCELLED', changed_by = ?2, trace = ?3, updated_at = ",
    NOW,
    " WHERE id = ?1 AND status = 'PENDING' AND NOT EXISTS (SELECT 1 FROM payment_sessions \
     WHERE order_id = ?1 AND session_id IS NOT NULL) RETURNING 1"
);

/// Parameters: owner, key. An expired key is not found.
pub(crate) const FIND_KEY: Statement = statement!(
    "SELECT request_hash, order_id, refused FROM idempotency_keys WHERE owner = ?1 AND key = ?2 AND created_at > ",
    (ago!("24 hours"))
);

/// For a key that exists already: an expired one is taken over; otherwise nothing changes, and there is no row.
const TAKE_OVER: Statement = statement!(
    " ON CONFLICT (owner, key) DO UPDATE SET request_hash = excluded.request_hash, order_id = excluded.order_id, \
     refused = NULL, created_at = excluded.created_at WHERE idempotency_keys.created_at <= ",
    (ago!("24 hours")),
    " RETURNING 1"
);

/// Parameters: owner, key, hash, order. No row when the key is in use.
pub(crate) const TAKE_KEY: Statement =
    statement!("INSERT INTO idempotency_keys (owner, key, request_hash, order_id) VALUES (?1, ?2, ?3, ?4)", TAKE_OVER);

/// Parameters: owner, key, order, the reason why the bill was refused.
pub(crate) const REFUSE_KEY: Statement =
    statement!("UPDATE idempotency_keys SET refused = ?4 WHERE owner = ?1 AND key = ?2 AND order_id = ?3");

/// A statement that removes ten old rows of a table. On PostgreSQL it takes rows that nobody has locked, and collects
/// them in an array: a subquery that locks might run once for each row that is looked at, and lock ten others each
/// time.
macro_rules! purge {
    ($table:literal, $key:literal, $at:literal, $age:literal) => {
        statement!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            (Statement::each(concat!("(", $key, ") IN (SELECT ", $key), "ctid = ANY (ARRAY(SELECT ctid")),
            " FROM ",
            $table,
            " WHERE ",
            $at,
            " <= ",
            (ago!($age)),
            " ORDER BY ",
            $at,
            " LIMIT 10",
            (Statement::each(")", " FOR UPDATE SKIP LOCKED))"))
        )
    };
}

/// Removes some expired keys: more than one call adds, so that they do not accumulate.
pub(crate) const PURGE_KEYS: Statement = purge!("idempotency_keys", "owner, key", "created_at", "24 hours");

/// Parameters: order, attempt. Only a pending order gets another page; an attempt that exists stays as it is. No row
/// when nothing was stored.
pub(crate) const BEGIN_SESSION: Statement = statement!(
    "INSERT INTO payment_sessions (order_id, attempt) SELECT id, ?2 FROM orders WHERE id = ?1 AND status = 'PENDING' \
     ON CONFLICT (order_id, attempt) DO NOTHING RETURNING 1"
);

/// Whether customers can still pay on a page, as far as we know, by the database's clock.
const IS_OPEN: Statement = statement!(
    "coalesce(NOT ended AND expires_at > ",
    (Statement::each(NOW.text(Dialect::Sqlite), "statement_timestamp()")),
    ", false)"
);

/// Parameters: order, attempt, session, its URL, success URL, cancel URL, its end or null. Returns whether the page is
/// open, and the status of its order. A page that is already stored stays, and then there is no row: the provider gives
/// the same page for the same attempt.
///
/// The order is locked after its page, so that its status is the current one. Otherwise, on PostgreSQL, the statement
/// would not see a cancellation since it began, and the call that cancelled would not see the page.
pub(crate) const SAVE_SESSION: Statement = statement!(
    "UPDATE payment_sessions SET session_id = ?3, url = ?4, success_url = ?5, cancel_url = ?6, expires_at = ",
    (Statement::each("strftime('%Y-%m-%dT%H:%M:%fZ', ?7)", "?7::text::timestamptz")),
    " WHERE order_id = ?1 AND attempt = ?2 AND session_id IS NULL RETURNING ",
    IS_OPEN,
    ", (SELECT status FROM orders WHERE id = payment_sessions.order_id",
    LOCKED,
    ")"
);

/// The columns of a payment page.
const READ_SESSION: Statement = statement!(
    "SELECT attempt, ",
    IS_OPEN,
    ", session_id, url, success_url, cancel_url FROM payment_sessions WHERE order_id = ?1"
);

/// Parameters: order, attempt.
pub(crate) const SESSION: Statement = statement!(READ_SESSION, " AND attempt = ?2");
/// Parameters: order.
pub(crate) const FIRST_SESSION: Statement = statement!(READ_SESSION, " AND attempt = 1");
/// Parameters: order.
pub(crate) const LAST_SESSION: Statement = statement!(READ_SESSION, " ORDER BY attempt DESC LIMIT 1");

/// Parameters: order, session.
pub(crate) const END_SESSION: Statement =
    statement!("UPDATE payment_sessions SET ended = true WHERE order_id = ?1 AND session_id = ?2");

/// After `payment_sessions`: only by the index of the pages that have not ended. PostgreSQL knows how many those are.
const BY_OPEN: Statement = Statement::each(" INDEXED BY payment_sessions_open", "");

/// The pages that may be open, of pending and cancelled orders, for a statement that goes on with them. Reads as many rows
/// as there are such pages, however many orders there are: `payment_sessions_open` is an index of the pages that were
/// stored and have not ended, and their orders are looked up by id. SQLite joins in this sequence because of
/// `CROSS JOIN`, and finds a partial index only if the statement has the index's condition word for word; if it did not,
/// [`BY_OPEN`] would make the statement fail.
///
/// A page without a session may be open too: its caller died, or could not store it. A request for the same attempt
/// returns the same page for as long as the provider remembers it, which is 24 hours. Such pages are found by the pending
/// orders of that time.
const MAY_BE_OPEN: Statement = statement!(
    "WITH pages AS MATERIALIZED (SELECT seq, id, created_at, attempt, session_id FROM payment_sessions",
    BY_OPEN,
    " CROSS JOIN orders \
     WHERE id = order_id AND NOT ended AND session_id IS NOT NULL AND status IN ('PENDING', 'CANCELLED') \
     UNION ALL \
     SELECT seq, id, created_at, attempt, session_id FROM orders CROSS JOIN payment_sessions \
     WHERE order_id = id AND NOT ended AND session_id IS NULL AND status = 'PENDING' AND created_at > ",
    (ago!("23 hours")),
    ")"
);

/// Parameters: minimum age of the order in minutes, order after which to continue or null, limit of orders. Returns the
/// pages that may be open: order, attempt, the session or null, and the known charges of the order as a JSON array of
/// ids; the oldest order first.
///
/// The age is limited to a hundred years, because a time too far in the past is an error on PostgreSQL.
pub(crate) const OPEN_PAGES: Statement = statement!(
    MAY_BE_OPEN,
    ", candidates AS (SELECT DISTINCT seq FROM pages WHERE created_at <= ",
    (Statement::each(
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || ?1 || ' minutes')",
        "statement_timestamp() - least(?1::bigint, 52560000) * interval '1 minute'"
    )),
    " AND seq > coalesce((SELECT seq FROM orders WHERE id = ?2), 0) ORDER BY seq LIMIT ",
    (most!("?3")),
    ") SELECT id, attempt, session_id, ",
    (Statement::each(
        "(SELECT json_group_array(charges.id) FROM charges WHERE charges.order_id = pages.id)",
        "(SELECT coalesce(json_agg(charges.id), '[]')::text FROM charges WHERE charges.order_id = pages.id)"
    )),
    " FROM pages WHERE seq IN (SELECT seq FROM candidates) ORDER BY seq, attempt"
);

/// No parameters. A random order with a page that may be open.
pub(crate) const ANY_OPEN: Statement = statement!(MAY_BE_OPEN, " SELECT id FROM pages ORDER BY random() LIMIT 1");

/// No parameters. Marks some pages as ended whose orders were paid or delivered: nobody needs to watch them, because
/// such an order never becomes pending or cancelled. Returns a row for each. Without this, [`MAY_BE_OPEN`] would read
/// each of them again and again. It is no part of the transaction that stores a payment, because that has locked the
/// order, and pages are locked before orders.
pub(crate) const RETIRE_PAGES: Statement = statement!(
    "UPDATE payment_sessions SET ended = true WHERE ",
    (Statement::each(
        "(order_id, attempt) IN (SELECT order_id, attempt",
        "ctid = ANY (ARRAY(SELECT payment_sessions.ctid"
    )),
    " FROM payment_sessions",
    BY_OPEN,
    " CROSS JOIN orders WHERE id = order_id AND NOT ended AND session_id IS NOT NULL \
     AND status NOT IN ('PENDING', 'CANCELLED') LIMIT 1000",
    (Statement::each(")", " FOR NO KEY UPDATE OF payment_sessions SKIP LOCKED))")),
    " RETURNING 1"
);

/// No parameters.
pub(crate) const TIME: Statement = statement!(
    "SELECT ",
    (Statement::each(NOW.text(Dialect::Sqlite), time!("statement_timestamp()").text(Dialect::Postgres)))
);

/// Parameters: event.
pub(crate) const FIND_EVENT: Statement = statement!("SELECT 1 FROM events WHERE id = ?1");

/// Parameters: event. No row when the event was stored before.
pub(crate) const NOTE_EVENT: Statement =
    statement!("INSERT INTO events (id) VALUES (?1) ON CONFLICT (id) DO NOTHING RETURNING 1");

/// Removes some expired events.
pub(crate) const PURGE_EVENTS: Statement = purge!("events", "id", "seen_at", "90 days");

/// Parameters: charge, order, amount in cents, refunded in cents, receipt or null, time. Events arrive in any sequence,
/// so the stored values do not depend on it: the largest refund (but see [`money::TAKE_BACK`]), the earliest time.
/// Returns the stored refund; no row when the charge belongs to another order or has another amount.
pub(crate) const NOTE_CHARGE: Statement = statement!(
    "INSERT INTO charges (id, order_id, amount_cents, refunded_cents, receipt_url, at) VALUES (?1, ?2, ?3, ?4, ?5, ",
    (Statement::each("?6", "?6::text::timestamptz")),
    ") ON CONFLICT (id) DO UPDATE SET refunded_cents = ",
    (Statement::each("max", "greatest")),
    "(charges.refunded_cents, excluded.refunded_cents), \
     receipt_url = coalesce(charges.receipt_url, excluded.receipt_url), at = ",
    (Statement::each("min", "least")),
    "(charges.at, excluded.at) \
     WHERE charges.order_id = excluded.order_id AND charges.amount_cents = excluded.amount_cents \
     RETURNING refunded_cents"
);

/// Parameters: order.
pub(crate) const CHARGES: Statement = statement!(
    "SELECT id, amount_cents, refunded_cents, receipt_url, ",
    (time!("at")),
    " FROM charges WHERE order_id = ?1"
);

/// Parameters: order, status, time of payment or null, charge or null, receipt or null, cents refunded, cents due for
/// refund, state of the dispute or null, and those of [`crate::by::columns`]. The order must be locked.
pub(crate) const SAVE_PAYMENT_STATE: Statement = statement!(
    "UPDATE orders SET status = ?2, paid_at = ",
    (Statement::each("?3", "?3::text::timestamptz")),
    ", charge_id = ?4, receipt_url = ?5, refunded_cents = ?6, refund_due_cents = ?7, dispute = ?8, changed_by = ?9, \
     trace = ?10, updated_at = ",
    NOW,
    " WHERE id = ?1"
);
