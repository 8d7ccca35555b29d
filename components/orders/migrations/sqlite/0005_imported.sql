-- Orders of another system that can be none here (a total of zero, a line without a quantity): kept whole, for the books.
CREATE TABLE imported_orders (
    id          TEXT PRIMARY KEY,
    -- Why it is no order here.
    reason      TEXT NOT NULL,
    -- The row as it came, as JSON.
    source      TEXT NOT NULL,
    imported_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT, WITHOUT ROWID;
