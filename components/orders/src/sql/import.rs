//! The statements of an import. Each takes many rows, as a JSON array of objects.

use souk_database::{Statement, statement, time};

/// Parameters: ids, as a JSON array. Returns what exists already, as orders or in `imported_orders`: id, status, charge
/// or null, time of the last change, whether an import was the last that changed it, receipt or null, total in cents,
/// number of items, and the products of lines without a real name, with commas between them. A row of `imported_orders`
/// has no status.
pub(crate) const STORED: Statement = statement!(
    (Statement::each("", "WITH wanted AS (SELECT value AS id FROM jsonb_array_elements_text($1::text::jsonb)) ")),
    "SELECT id, status, charge_id, ",
    (time!("updated_at")),
    ", coalesce(trace, '') = 'import', receipt_url, total_cents, total_items, (SELECT ",
    (Statement::each("group_concat(product_id)", "string_agg(product_id::text, ',')")),
    " FROM order_items WHERE order_items.order_id = orders.id AND ",
    UNNAMED,
    ") FROM orders",
    WANTED,
    " UNION ALL SELECT id, '', NULL, '', true, NULL, 0, 0, NULL FROM imported_orders",
    WANTED
);

/// Whether a line has a name that stands for a product that the catalogue did not have.
const UNNAMED: Statement = Statement::both("order_items.name = 'Product ' || CAST(order_items.product_id AS TEXT)");

/// Which of the rows [`STORED`] returns.
const WANTED: Statement =
    Statement::each(" WHERE id IN (SELECT value FROM json_each(?1))", " WHERE id IN (SELECT id FROM wanted)");

/// Parameters: orders. The column `trace` says that they were imported, until somebody changes them here.
pub(crate) const ORDERS: Statement = Statement::each(
    "INSERT INTO orders (id, currency, total_cents, total_items, status, paid_at, charge_id, receipt_url, created_at, \
     updated_at, trace) SELECT value->>'id', value->>'currency', value->>'total', value->>'items', value->>'status', \
     value->>'paid', value->>'charge', value->>'receipt', value->>'created', value->>'updated', 'import' \
     FROM json_each(?1) ORDER BY value->>'n'",
    "INSERT INTO orders (id, currency, total_cents, total_items, status, paid_at, charge_id, receipt_url, created_at, \
     updated_at, trace) SELECT id, currency, total, items, status, paid, charge, receipt, created, updated, 'import' \
     FROM jsonb_to_recordset($1::text::jsonb) AS new (n integer, id text, currency text, total bigint, items bigint, \
     status text, paid timestamptz, charge text, receipt text, created timestamptz, updated timestamptz) ORDER BY n",
);

/// Parameters: orders that have changed in the other system. Changes those that nobody has changed here, and returns
/// their ids.
pub(crate) const CHANGED: Statement = Statement::each(
    "UPDATE orders SET status = value->>'status', paid_at = value->>'paid', charge_id = value->>'charge', \
     receipt_url = value->>'receipt', updated_at = value->>'updated', changed_by = NULL \
     FROM json_each(?1) WHERE orders.id = value->>'id' AND trace = 'import' RETURNING id",
    "UPDATE orders SET status = new.status, paid_at = paid, charge_id = charge, receipt_url = receipt, \
     updated_at = updated, changed_by = NULL FROM jsonb_to_recordset($1::text::jsonb) AS new (id text, status text, \
     paid timestamptz, charge text, receipt text, updated timestamptz) \
     WHERE orders.id = new.id AND trace = 'import' RETURNING orders.id",
);

/// Parameters: lines.
pub(crate) const LINES: Statement = Statement::each(
    "INSERT INTO order_items (order_id, line, product_id, name, unit_cents, quantity) SELECT value->>'order', \
     value->>'line', value->>'product', value->>'name', value->>'cents', value->>'quantity' FROM json_each(?1)",
    "INSERT INTO order_items (order_id, line, product_id, name, unit_cents, quantity) \
     SELECT \"order\", line, product, name, cents, quantity FROM jsonb_to_recordset($1::text::jsonb) \
     AS new (\"order\" text, line integer, product bigint, name text, cents bigint, quantity integer)",
);

/// Parameters: names of products of orders. Changes lines that have no real name.
pub(crate) const NAMES: Statement = statement!(
    (Statement::each(
        "UPDATE order_items SET name = value->>'name' FROM json_each(?1) \
         WHERE order_id = value->>'order' AND product_id = value->>'product' AND ",
        "UPDATE order_items SET name = new.name FROM jsonb_to_recordset($1::text::jsonb) \
         AS new (\"order\" text, product bigint, name text) \
         WHERE order_id = new.\"order\" AND product_id = new.product AND "
    )),
    UNNAMED
);

/// Parameters: ids of charges, as a JSON array. Returns those that are known, each with its order.
pub(crate) const CHARGED: Statement = Statement::each(
    "SELECT id, order_id FROM charges WHERE id IN (SELECT value FROM json_each(?1))",
    "SELECT id, order_id FROM charges WHERE id IN (SELECT value FROM jsonb_array_elements_text($1::text::jsonb))",
);

/// Parameters: charges. A charge that is known already stays with its order.
pub(crate) const CHARGES: Statement = Statement::each(
    "INSERT INTO charges (id, order_id, amount_cents, refunded_cents, receipt_url, at) SELECT value->>'id', \
     value->>'order', value->>'cents', 0, value->>'receipt', value->>'at' FROM json_each(?1) WHERE true \
     ON CONFLICT (id) DO NOTHING",
    "INSERT INTO charges (id, order_id, amount_cents, refunded_cents, receipt_url, at) \
     SELECT id, \"order\", cents, 0, receipt, at FROM jsonb_to_recordset($1::text::jsonb) \
     AS new (id text, \"order\" text, cents bigint, receipt text, at timestamptz) ON CONFLICT (id) DO NOTHING",
);

/// Parameters: rows that cannot become orders, with the reasons.
pub(crate) const ARCHIVE: Statement = Statement::each(
    "INSERT INTO imported_orders (id, reason, source) SELECT value->>'id', value->>'reason', value->>'source' \
     FROM json_each(?1)",
    "INSERT INTO imported_orders (id, reason, source) SELECT id, reason, source \
     FROM jsonb_to_recordset($1::text::jsonb) AS new (id text, reason text, source text)",
);

/// Parameters: ids of rows of `imported_orders` that are orders now, as a JSON array.
pub(crate) const RECOVERED: Statement = Statement::each(
    "DELETE FROM imported_orders WHERE id IN (SELECT value FROM json_each(?1))",
    "DELETE FROM imported_orders WHERE id IN (SELECT value FROM jsonb_array_elements_text($1::text::jsonb))",
);
