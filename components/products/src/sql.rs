//! The statements, one an operation. Products come back with the same columns in the same order everywhere, which
//! [`crate::rows`] decodes.

/// The columns of a product.
macro_rules! columns {
    () => {
        "id, name, price_cents, available, created_at, updated_at"
    };
}

/// The moment of the change. SQLite's `now` is the same throughout one statement.
macro_rules! now {
    () => {
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    };
}

/// Parameters: name, price in cents.
pub const CREATE: &str = concat!("INSERT INTO products (name, price_cents) VALUES (?1, ?2) RETURNING ", columns!());

/// Parameters: number.
pub const GET: &str = concat!("SELECT ", columns!(), " FROM products WHERE id = ?1 AND available = 1");

/// How many products are available.
macro_rules! count {
    () => {
        "SELECT count(*) FROM products WHERE available = 1"
    };
}

/// Parameters: limit, offset. Every row ends with the count, so that the page and its total are of one moment; SQLite
/// counts once for all rows. (A join of count and page needs no second statement past the end, but takes twice the
/// time: it materializes the page.)
pub const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    ", (",
    count!(),
    ") FROM products WHERE available = 1 ORDER BY id LIMIT ?1 OFFSET ?2"
);

/// No parameters. For a page past the end, where no row carries the count.
pub const COUNT: &str = count!();

/// Parameters: number, name or null, price in cents or null.
pub const UPDATE: &str = concat!(
    "UPDATE products SET name = coalesce(?2, name), price_cents = coalesce(?3, price_cents), updated_at = ",
    now!(),
    " WHERE id = ?1 AND available = 1 RETURNING ",
    columns!()
);

/// Parameters: number.
pub const DELETE: &str = concat!(
    "UPDATE products SET available = 0, updated_at = ",
    now!(),
    " WHERE id = ?1 AND available = 1 RETURNING ",
    columns!()
);

/// Parameters: the numbers, as a JSON array.
pub const VALIDATE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM products WHERE available = 1 AND id IN (SELECT value FROM json_each(?1)) ORDER BY id"
);
