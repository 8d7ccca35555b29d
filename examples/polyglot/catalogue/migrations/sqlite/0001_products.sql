-- The catalogue. Money is whole cents; times are RFC 3339 in UTC with milliseconds, so that their text order is their
-- time order and they go out as they are stored. STRICT: a value of another type is refused, not converted.
CREATE TABLE products (
    -- AUTOINCREMENT: the number of a removed row is never given again, as old orders still name it.
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL CHECK (name <> ''),
    price_cents INTEGER NOT NULL CHECK (price_cents BETWEEN 0 AND 1000000000000),
    available   INTEGER NOT NULL DEFAULT 1 CHECK (available IN (0, 1)),
    created_at  TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at  TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

-- The list reads available products by number and counts them: this index alone answers the count and the offset.
CREATE INDEX products_available ON products (id) WHERE available = 1;
