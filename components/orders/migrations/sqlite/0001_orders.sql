-- Orders and what is known of their payment. Money is whole cents; times are RFC 3339 in UTC with milliseconds, so that
-- their text order is their time order and they go out as they are stored. STRICT: a value of another type is refused,
-- not converted. The CHECKs are the last line: what they refuse is a fault of the component, not of its caller.
CREATE TABLE orders (
    -- The order of creation. Lists go by it, so that pages are stable for orders of one millisecond too.
    seq              INTEGER PRIMARY KEY,
    id               TEXT    NOT NULL UNIQUE CHECK (length(id) = 36 AND id = lower(id)),
    -- A user's number; null for nobody.
    owner            TEXT    CHECK (owner <> ''),
    currency         TEXT    NOT NULL CHECK (length(currency) = 3 AND currency = lower(currency)),
    total_cents      INTEGER NOT NULL CHECK (total_cents BETWEEN 1 AND 999999999999999),
    total_items      INTEGER NOT NULL CHECK (total_items BETWEEN 1 AND 1000000000),
    status           TEXT    NOT NULL DEFAULT 'PENDING'
                             CHECK (status IN ('PENDING', 'PAID', 'DELIVERED', 'CANCELLED', 'REFUNDED')),
    paid_at          TEXT,
    -- Of the charges for this order, the one that pays it.
    charge_id        TEXT,
    receipt_url      TEXT,
    -- How much of that charge was given back.
    refunded_cents   INTEGER NOT NULL DEFAULT 0 CHECK (refunded_cents BETWEEN 0 AND total_cents),
    refund_due_cents INTEGER NOT NULL DEFAULT 0 CHECK (refund_due_cents >= 0),
    created_at       TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at       TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    CHECK ((paid_at IS NULL) = (charge_id IS NULL)),
    CHECK (status <> 'PENDING' OR charge_id IS NULL),
    CHECK (status NOT IN ('PAID', 'REFUNDED') OR charge_id IS NOT NULL)
) STRICT;

-- One index a list: all orders go by the table itself.
CREATE INDEX orders_status ON orders (status, seq);
CREATE INDEX orders_owner ON orders (owner, seq) WHERE owner IS NOT NULL;
CREATE INDEX orders_owner_status ON orders (owner, status, seq) WHERE owner IS NOT NULL;

-- The lines of the orders, with name and price as they were then. No reference to the catalogue, which may forget a
-- product.
CREATE TABLE order_items (
    order_id   TEXT    NOT NULL REFERENCES orders (id),
    line       INTEGER NOT NULL CHECK (line BETWEEN 0 AND 999),
    product_id INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    unit_cents INTEGER NOT NULL CHECK (unit_cents BETWEEN 0 AND 999999999999999),
    quantity   INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    PRIMARY KEY (order_id, line)
) STRICT, WITHOUT ROWID;

-- The payment pages of the orders. A row is stored before its page is asked for: whoever finds it without a page asks
-- again with the same attempt, which the payment provider answers with the same page.
CREATE TABLE payment_sessions (
    order_id    TEXT    NOT NULL REFERENCES orders (id),
    attempt     INTEGER NOT NULL CHECK (attempt >= 1),
    -- The provider's id of the page; null until it was opened.
    session_id  TEXT,
    url         TEXT,
    success_url TEXT,
    cancel_url  TEXT,
    -- Null when the provider gave no time that can be read.
    expires_at  TEXT,
    -- The provider said that the page has ended.
    ended       INTEGER NOT NULL DEFAULT 0 CHECK (ended IN (0, 1)),
    PRIMARY KEY (order_id, attempt),
    CHECK ((session_id IS NULL) = (url IS NULL)),
    CHECK ((session_id IS NULL) = (success_url IS NULL)),
    CHECK ((session_id IS NULL) = (cancel_url IS NULL))
) STRICT, WITHOUT ROWID;

-- Which order answered a key. Rows older than 24 hours count no more; each new key removes some of them.
CREATE TABLE idempotency_keys (
    -- The user's number; empty for nobody.
    owner        TEXT NOT NULL,
    key          TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    -- SHA-256 of what was ordered.
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
    -- Deferred: the key is taken first, so that who comes second makes no order.
    order_id     TEXT NOT NULL REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED,
    -- The answer, where it was that the payment provider does not take the bill.
    refused      TEXT,
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- What the payment provider captured, and how much of it was given back. Each is as large as its order's total.
CREATE TABLE charges (
    id             TEXT    PRIMARY KEY,
    order_id       TEXT    NOT NULL REFERENCES orders (id),
    amount_cents   INTEGER NOT NULL CHECK (amount_cents > 0),
    refunded_cents INTEGER NOT NULL CHECK (refunded_cents BETWEEN 0 AND amount_cents),
    receipt_url    TEXT,
    -- The earliest time that an event gave it.
    at             TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX charges_order ON charges (order_id);

-- The inbox: events that have been dealt with. Rows older than 90 days are removed, some with each new event: what an
-- event says is kept as a charge, so one that came again after that would change nothing.
CREATE TABLE events (
    id      TEXT PRIMARY KEY,
    seen_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT, WITHOUT ROWID;

CREATE INDEX events_age ON events (seen_at);
