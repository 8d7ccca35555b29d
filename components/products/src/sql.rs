//! The statements, one an operation. Products come back with the same columns in the same order everywhere, which
//! [`crate::rows`] decodes.
//!
//! Two at once need no more on PostgreSQL than on SQLite: each operation is one statement that changes one row, and
//! names in its WHERE, as columns of that row, what it starts from. One that waits for another's change looks at the
//! row again: an update of a product that is being deleted finds none, and two updates both count, as each sets only
//! what it names.

use souk_database::{NOW, Statement, statement, time};

/// The columns of a product.
const COLUMNS: Statement =
    statement!("id, name, price_cents, available, ", (time!("created_at")), ", ", (time!("updated_at")));

/// A parameter as the number of a LIMIT. Where SQLite sees a bare one, it plans for its value, and so compiles the statement
/// again each time it is bound: a tenth of what a page costs.
macro_rules! most {
    ($parameter:literal) => {
        Statement::each(concat!("+?", $parameter), concat!("?", $parameter))
    };
}

/// Which products there are for callers: the condition of the index `products_available`, to the letter.
const AVAILABLE: Statement = Statement::each("available = 1", "available");

/// Parameters: name, price in cents.
pub(crate) const CREATE: Statement =
    statement!("INSERT INTO products (name, price_cents) VALUES (?1, ?2) RETURNING ", COLUMNS);

/// Parameters: number.
pub(crate) const GET: Statement = statement!("SELECT ", COLUMNS, " FROM products WHERE id = ?1 AND ", AVAILABLE);

/// No parameters: how many products are available, which triggers keep. For a page past the end, where no row carries
/// the count.
pub(crate) const COUNT: Statement =
    Statement::each("SELECT available FROM product_total", "SELECT sum(available)::bigint FROM product_total");

/// Parameters: limit, offset, number from which on to list. Every row ends with the count, so that the page and its total
/// are of one moment. (A join of count and page needs no second statement past the end, but takes SQLite twice the time:
/// it materializes the page.)
pub(crate) const LIST: Statement = statement!(
    "SELECT ",
    COLUMNS,
    ", (",
    COUNT,
    ") FROM products WHERE id >= ?3 AND ",
    AVAILABLE,
    " ORDER BY id LIMIT ",
    (most!(1)),
    " OFFSET ?2"
);

/// How many numbers a block has: [`LIST`] passes over at most that many rows.
pub(crate) const BLOCK: i64 = 1024;

/// Parameters: offset. The number with which the block of the row at that offset begins, and how many available products
/// come before it; no row past the end.
pub(crate) const SEEK: Statement = statement!(
    "SELECT block * 1024, upto - available FROM (SELECT block, available, ",
    (Statement::each("sum(available) OVER (ORDER BY block)", "(sum(available) OVER (ORDER BY block))::bigint")),
    " AS upto FROM product_blocks) AS blocks WHERE upto > ?1 ORDER BY block LIMIT 1"
);

/// Parameters: number after which to list, limit.
pub(crate) const LIST_AFTER: Statement =
    statement!("SELECT ", COLUMNS, " FROM products WHERE id > ?1 AND ", AVAILABLE, " ORDER BY id LIMIT ", (most!(2)));

/// Parameters: number, name or null, price in cents or null.
pub(crate) const UPDATE: Statement = statement!(
    "UPDATE products SET name = coalesce(?2, name), price_cents = coalesce(?3, price_cents), updated_at = ",
    NOW,
    " WHERE id = ?1 AND ",
    AVAILABLE,
    " RETURNING ",
    COLUMNS
);

/// Parameters: number.
pub(crate) const DELETE: Statement = statement!(
    "UPDATE products SET available = false, updated_at = ",
    NOW,
    " WHERE id = ?1 AND ",
    AVAILABLE,
    " RETURNING ",
    COLUMNS
);

/// Parameters: the numbers, as a JSON array. PostgreSQL reads it as an array of its own, for which the brackets are
/// others: it plans for an array, not for a function whose rows it cannot count.
pub(crate) const VALIDATE: Statement = statement!(
    "SELECT ",
    COLUMNS,
    " FROM products WHERE ",
    AVAILABLE,
    " AND ",
    (Statement::each("id IN (SELECT value FROM json_each(?1))", "id = ANY (translate(?1, '[]', '{}')::bigint[])")),
    " ORDER BY id"
);
