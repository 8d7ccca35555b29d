//! The statements, one an operation. Products come back with the same columns in the same order everywhere, which
//! [`crate::rows`] decodes.
//!
//! Two at once need no more on PostgreSQL than on SQLite: each operation is one statement that changes one row, and
//! names in its WHERE, as columns of that row, what it starts from. One that waits for another's change looks at the
//! row again: an update of a product that is being deleted finds none, and two updates both count, as each sets only
//! what it names.

use souk_database::{NOW, Statement, most, statement, time};

/// The columns of a product.
const COLUMNS: Statement =
    statement!("id, name, price_cents, available, ", (time!("created_at")), ", ", (time!("updated_at")));

/// Which products there are for callers: the condition of the index `products_available`, to the letter.
const AVAILABLE: Statement = Statement::each("available = 1", "available");

/// Parameters: name, price in cents, who makes it or null, the request or null.
pub(crate) const CREATE: Statement = statement!(
    "INSERT INTO products (name, price_cents, changed_by, trace) VALUES (?1, ?2, ?3, ?4) RETURNING ",
    COLUMNS
);

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
    (most!("?1")),
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
pub(crate) const LIST_AFTER: Statement = statement!(
    "SELECT ",
    COLUMNS,
    " FROM products WHERE id > ?1 AND ",
    AVAILABLE,
    " ORDER BY id LIMIT ",
    (most!("?2"))
);

/// Parameters: number, name or null, price in cents or null, who changes it or null, the request or null.
pub(crate) const UPDATE: Statement = statement!(
    "UPDATE products SET name = coalesce(?2, name), price_cents = coalesce(?3, price_cents), \
     changed_by = ?4, trace = ?5, updated_at = ",
    NOW,
    " WHERE id = ?1 AND ",
    AVAILABLE,
    " RETURNING ",
    COLUMNS
);

/// Parameters: number, who deletes it or null, the request or null.
pub(crate) const DELETE: Statement = statement!(
    "UPDATE products SET available = false, changed_by = ?2, trace = ?3, updated_at = ",
    NOW,
    " WHERE id = ?1 AND ",
    AVAILABLE,
    " RETURNING ",
    COLUMNS
);

/// Which products were deleted: the condition of the index `products_deleted_ids`, to the letter.
const DELETED: Statement = Statement::each("available = 0", "NOT available");

/// Parameters: number, who restores it or null, the request or null. No row when it is there, or never was.
pub(crate) const RESTORE: Statement = statement!(
    "UPDATE products SET available = true, changed_by = ?2, trace = ?3, updated_at = ",
    NOW,
    " WHERE id = ?1 AND ",
    DELETED,
    " RETURNING ",
    COLUMNS
);

/// Parameters: number after which to list, limit.
pub(crate) const LIST_DELETED: Statement =
    statement!("SELECT ", COLUMNS, " FROM products WHERE id > ?1 AND ", DELETED, " ORDER BY id LIMIT ", (most!("?2")));

/// Parameters: number.
pub(crate) const EXISTS: Statement = statement!("SELECT 1 FROM products WHERE id = ?1");

/// Parameters: number, most.
pub(crate) const HISTORY: Statement = statement!(
    "SELECT ",
    (time!("at")),
    ", changed_by, trace, what, old, new FROM product_history WHERE product_id = ?1 ORDER BY seq DESC LIMIT ",
    (most!("?2"))
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

/// No parameters: how many products there are, and how many of them are as the examples came.
pub(crate) const EXAMPLES: Statement = Statement::both(
    "SELECT count(*), count(*) FILTER (WHERE id BETWEEN 1 AND 47 AND created_at = updated_at \
     AND created_at >= '2024-02-27T15:50:27.000Z' AND created_at < '2024-02-28T00:00:00.000Z') FROM products",
);

/// Parameters: the numbers, as a JSON array. Number, name and date of those that there are, available or not.
pub(crate) const STORED: Statement = statement!(
    "SELECT id, name, ",
    (time!("created_at")),
    " FROM products WHERE ",
    (Statement::each("id IN (SELECT value FROM json_each(?1))", "id = ANY (translate(?1, '[]', '{}')::bigint[])"))
);

/// Parameters: products with their numbers, as a JSON array of objects.
pub(crate) const IMPORT: Statement = Statement::each(
    "INSERT INTO products (id, name, price_cents, available, created_at, updated_at) \
     SELECT value->>'id', value->>'name', value->>'cents', value->>'available', value->>'created', value->>'updated' \
     FROM json_each(?1)",
    "INSERT INTO products (id, name, price_cents, available, created_at, updated_at) \
     SELECT id, name, cents, available, created, updated FROM jsonb_to_recordset($1::text::jsonb) \
     AS new (id bigint, name text, cents bigint, available boolean, created timestamptz, updated timestamptz)",
);

/// No parameters. On PostgreSQL rows that bring their numbers do not move the sequence, and it never goes back.
pub(crate) const GO_ON_COUNTING: Statement = Statement::each(
    "SELECT 1",
    "SELECT setval(sequence::regclass, last) FROM (SELECT pg_get_serial_sequence('products', 'id') AS sequence, \
     (SELECT max(id) FROM products) AS last) AS own \
     WHERE last > coalesce((SELECT last_value FROM pg_sequences WHERE schemaname || '.' || sequencename = sequence), 0)",
);
