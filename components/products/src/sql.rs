//! The SQL statements, one for each operation. All of them return a product as the same columns in the same order,
//! which [`crate::rows`] decodes.
//!
//! Concurrent calls need nothing more on PostgreSQL than on SQLite. Each operation is one statement that changes one
//! row, and its WHERE clause names the state that it starts from, as columns of that row. A statement that waits for
//! another's change looks at the row again. So an update of a product that is being deleted finds no row, and two
//! updates both take effect, as each sets only the fields that it names.

use souk_database::{NOW, Statement, most, statement, time};

/// The columns of a product.
const COLUMNS: Statement =
    statement!("id, name, price_cents, available, ", (time!("created_at")), ", ", (time!("updated_at")));

/// Whether a product is in the catalogue: exactly the condition of the index `products_available`.
const AVAILABLE: Statement = Statement::each("available = 1", "available");

/// Parameters: name, price in cents, author or null, id of the request or null.
pub(crate) const CREATE: Statement = statement!(
    "INSERT INTO products (name, price_cents, changed_by, trace) VALUES (?1, ?2, ?3, ?4) RETURNING ",
    COLUMNS
);

/// Parameters: id.
pub(crate) const GET: Statement = statement!("SELECT ", COLUMNS, " FROM products WHERE id = ?1 AND ", AVAILABLE);

/// No parameters. How many products are available; triggers keep the count. Used for a page past the end, where no row
/// carries the count.
pub(crate) const COUNT: Statement =
    Statement::each("SELECT available FROM product_total", "SELECT sum(available)::bigint FROM product_total");

/// Parameters: limit, offset, first id to list. Every row ends with the count, so that page and total are from the same
/// moment. (A join of count and page would need no second statement past the end, but takes SQLite twice the time,
/// because SQLite materializes the page.)
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

/// How many rows [`LIST`] skips at most; for more, [`SEEK`] costs less.
pub(crate) const MAX_SKIP: i64 = 512;

/// Parameters: offset. Returns an id from which to list, at most 64 before the row at that offset, and how many
/// available products come before it; no row past the end.
///
/// Triggers keep how many products are available in each block of 2^27 ids, of 2^24, and so on, down to 64. Each step
/// looks at the next block that exists: it enters the block that has the row, and passes one that comes before it. Below
/// the largest blocks, that is at most eight steps a level.
pub(crate) const SEEK: Statement = statement!(
    "WITH RECURSIVE seek (shift, block, skip) AS (SELECT 27, ",
    (Statement::each("0, ?1", "0::bigint, ?1::bigint")),
    " UNION ALL SELECT \
     CASE WHEN skip < counted.available THEN seek.shift - 3 ELSE seek.shift END, \
     CASE WHEN skip < counted.available THEN counted.block * 8 ELSE counted.block + 1 END, \
     CASE WHEN skip < counted.available THEN skip ELSE skip - counted.available END FROM seek ",
    (Statement::each(
        "JOIN product_blocks AS counted ON counted.shift = seek.shift AND counted.block = (SELECT min(block) \
         FROM product_blocks AS later WHERE later.shift = seek.shift AND later.block >= seek.block)",
        "CROSS JOIN LATERAL (SELECT block, sum(available)::bigint AS available FROM product_blocks AS later \
         WHERE later.shift = seek.shift AND later.block >= seek.block GROUP BY block ORDER BY block LIMIT 1) AS counted"
    )),
    " WHERE seek.shift >= 6) SELECT block * 8, ?1 - skip FROM seek WHERE shift = 3"
);

/// Parameters: id after which to list, limit.
pub(crate) const LIST_AFTER: Statement = statement!(
    "SELECT ",
    COLUMNS,
    " FROM products WHERE id > ?1 AND ",
    AVAILABLE,
    " ORDER BY id LIMIT ",
    (most!("?2"))
);

/// Parameters: id, name or null, price in cents or null, author or null, id of the request or null.
pub(crate) const UPDATE: Statement = statement!(
    "UPDATE products SET name = coalesce(?2, name), price_cents = coalesce(?3, price_cents), \
     changed_by = ?4, trace = ?5, updated_at = ",
    NOW,
    " WHERE id = ?1 AND ",
    AVAILABLE,
    " RETURNING ",
    COLUMNS
);

/// Parameters: id, author or null, id of the request or null.
pub(crate) const DELETE: Statement = statement!(
    "UPDATE products SET available = false, changed_by = ?2, trace = ?3, updated_at = ",
    NOW,
    " WHERE id = ?1 AND ",
    AVAILABLE,
    " RETURNING ",
    COLUMNS
);

/// Whether a product is deleted: exactly the condition of the index `products_deleted_ids`.
const DELETED: Statement = Statement::each("available = 0", "NOT available");

/// Parameters: id, author or null, id of the request or null. No row if the product is available, or never existed.
pub(crate) const RESTORE: Statement = statement!(
    "UPDATE products SET available = true, changed_by = ?2, trace = ?3, updated_at = ",
    NOW,
    " WHERE id = ?1 AND ",
    DELETED,
    " RETURNING ",
    COLUMNS
);

/// Parameters: id after which to list, limit.
pub(crate) const LIST_DELETED: Statement =
    statement!("SELECT ", COLUMNS, " FROM products WHERE id > ?1 AND ", DELETED, " ORDER BY id LIMIT ", (most!("?2")));

/// Parameters: id.
pub(crate) const EXISTS: Statement = statement!("SELECT 1 FROM products WHERE id = ?1");

/// Parameters: id, limit.
pub(crate) const HISTORY: Statement = statement!(
    "SELECT ",
    (time!("at")),
    ", changed_by, trace, what, old, new FROM product_history WHERE product_id = ?1 ORDER BY seq DESC LIMIT ",
    (most!("?2"))
);

/// Parameters: the ids, as a JSON array. PostgreSQL reads it as an SQL array, which is written with other brackets: it
/// can plan for an array, but not for a function whose number of rows it does not know.
pub(crate) const VALIDATE: Statement = statement!(
    "SELECT ",
    COLUMNS,
    " FROM products WHERE ",
    AVAILABLE,
    " AND ",
    (Statement::each("id IN (SELECT value FROM json_each(?1))", "id = ANY (translate(?1, '[]', '{}')::bigint[])")),
    " ORDER BY id"
);

/// Parameters: the ids, as a JSON array. Returns id and name of the products that exist, available or not.
pub(crate) const NAMES: Statement = statement!(
    "SELECT id, name FROM products WHERE ",
    (Statement::each("id IN (SELECT value FROM json_each(?1))", "id = ANY (translate(?1, '[]', '{}')::bigint[])")),
    " ORDER BY id"
);

/// No parameters. How many products there are, counted to one more than there are examples, and how many of these are
/// unchanged examples. An import asks this with each batch of rows, so it must not read the whole catalogue.
pub(crate) const EXAMPLES: Statement = Statement::both(
    "SELECT count(*), count(*) FILTER (WHERE id BETWEEN 1 AND 47 AND created_at = updated_at AND trace IS NULL \
     AND created_at >= '2024-02-27T15:50:27.000Z' AND created_at < '2024-02-28T00:00:00.000Z') \
     FROM (SELECT id, created_at, updated_at, trace FROM products LIMIT 48) AS few",
);

/// Parameters: the ids, as a JSON array. Returns the products that exist, available or not: id, name, price in cents,
/// whether it is available, creation time, whether an import was the last that changed it, and price and availability
/// before anything but an import changed them: those that the last import has brought.
pub(crate) const STORED: Statement = statement!(
    "SELECT id, name, price_cents, available, ",
    (time!("created_at")),
    ", coalesce(trace, '') = 'import', CAST(coalesce((SELECT coalesce(old, new) FROM product_history \
     WHERE product_id = products.id AND what = 'PRICE' AND coalesce(product_history.trace, '') <> 'import' \
     ORDER BY seq LIMIT 1), CAST(price_cents AS TEXT)) AS BIGINT), \
     coalesce((SELECT coalesce(old, new) FROM product_history \
     WHERE product_id = products.id AND what = 'AVAILABLE' AND coalesce(product_history.trace, '') <> 'import' \
     ORDER BY seq LIMIT 1), CASE WHEN available THEN 'true' ELSE 'false' END) = 'true' FROM products WHERE ",
    (Statement::each("id IN (SELECT value FROM json_each(?1))", "id = ANY (translate(?1, '[]', '{}')::bigint[])"))
);

/// Parameters: products with their ids, as a JSON array of objects. The column `trace` says that they were imported: the
/// NestJS system's own catalogue begins with the example products, and must not be taken for the examples alone.
pub(crate) const IMPORT: Statement = Statement::each(
    "INSERT INTO products (id, name, price_cents, available, created_at, updated_at, trace) \
     SELECT value->>'id', value->>'name', value->>'cents', value->>'available', value->>'created', value->>'updated', \
         'import' FROM json_each(?1)",
    "INSERT INTO products (id, name, price_cents, available, created_at, updated_at, trace) \
     SELECT id, name, cents, available, created, updated, 'import' FROM jsonb_to_recordset($1::text::jsonb) \
     AS new (id bigint, name text, cents bigint, available boolean, created timestamptz, updated timestamptz)",
);

/// Parameters: products that have changed in the other system, as [`IMPORT`] takes them. Changes those that nobody has
/// changed here, and returns their ids.
pub(crate) const CHANGED: Statement = Statement::each(
    "UPDATE products SET name = value->>'name', price_cents = value->>'cents', available = value->>'available', \
     updated_at = value->>'updated', changed_by = NULL FROM json_each(?1) \
     WHERE products.id = value->>'id' AND trace = 'import' RETURNING id",
    "UPDATE products SET name = new.name, price_cents = cents, available = new.available, updated_at = updated, \
     changed_by = NULL FROM jsonb_to_recordset($1::text::jsonb) AS new (id bigint, name text, cents bigint, \
     available boolean, updated timestamptz) \
     WHERE products.id = new.id AND trace = 'import' RETURNING products.id",
);

/// No parameters. Moves PostgreSQL's sequence past the imported ids: rows inserted with an id do not move it. It never
/// goes back.
pub(crate) const ADVANCE_SEQUENCE: Statement = Statement::each(
    "SELECT 1",
    "SELECT setval(sequence::regclass, last) FROM (SELECT pg_get_serial_sequence('products', 'id') AS sequence, \
     (SELECT max(id) FROM products) AS last) AS own \
     WHERE last > coalesce((SELECT last_value FROM pg_sequences WHERE schemaname || '.' || sequencename = sequence), 0)",
);
