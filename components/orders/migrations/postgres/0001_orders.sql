-- Orders and what is known of their payment. Money is whole cents; times have milliseconds, as the API gives them. The
-- CHECKs are the last line: what they refuse is a fault of the component, not of its caller.
CREATE TABLE orders (
    -- The order of creation. Lists go by it, so that pages are stable for orders of one millisecond too. Of orders that
    -- are made at once, one with a larger number may be seen before one with a smaller.
    seq              BIGINT         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id               TEXT           NOT NULL UNIQUE CHECK (length(id) = 36 AND id = lower(id)),
    -- A user's number; null for nobody.
    owner            TEXT           CHECK (owner <> ''),
    currency         TEXT           NOT NULL CHECK (length(currency) = 3 AND currency = lower(currency)),
    total_cents      BIGINT         NOT NULL CHECK (total_cents BETWEEN 1 AND 999999999999999),
    total_items      BIGINT         NOT NULL CHECK (total_items BETWEEN 1 AND 1000000000),
    status           TEXT           NOT NULL DEFAULT 'PENDING'
                                    CHECK (status IN ('PENDING', 'PAID', 'DELIVERED', 'CANCELLED', 'REFUNDED')),
    paid_at          TIMESTAMPTZ(3),
    -- Of the charges for this order, the one that pays it.
    charge_id        TEXT,
    receipt_url      TEXT,
    -- How much of that charge was given back.
    refunded_cents   BIGINT         NOT NULL DEFAULT 0 CHECK (refunded_cents BETWEEN 0 AND total_cents),
    refund_due_cents BIGINT         NOT NULL DEFAULT 0 CHECK (refund_due_cents >= 0),
    -- One moment for both: `statement_timestamp()` is the same throughout a statement.
    created_at       TIMESTAMPTZ(3) NOT NULL DEFAULT statement_timestamp(),
    updated_at       TIMESTAMPTZ(3) NOT NULL DEFAULT statement_timestamp(),
    CHECK ((paid_at IS NULL) = (charge_id IS NULL)),
    CHECK (status <> 'PENDING' OR charge_id IS NULL),
    CHECK (status NOT IN ('PAID', 'REFUNDED') OR charge_id IS NOT NULL)
);

-- One index a list: all orders go by the primary key.
CREATE INDEX orders_status ON orders (status, seq);
CREATE INDEX orders_owner ON orders (owner, seq) WHERE owner IS NOT NULL;
CREATE INDEX orders_owner_status ON orders (owner, status, seq) WHERE owner IS NOT NULL;

-- The lines of the orders, with name and price as they were then. No reference to the catalogue, which may forget a
-- product.
CREATE TABLE order_items (
    order_id   TEXT    NOT NULL REFERENCES orders (id),
    line       INTEGER NOT NULL CHECK (line BETWEEN 0 AND 999),
    product_id BIGINT  NOT NULL,
    name       TEXT    NOT NULL,
    unit_cents BIGINT  NOT NULL CHECK (unit_cents BETWEEN 0 AND 999999999999999),
    quantity   INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    PRIMARY KEY (order_id, line)
);

-- The payment pages of the orders. A row is stored before its page is asked for: whoever finds it without a page asks
-- again with the same attempt, which the payment provider answers with the same page.
CREATE TABLE payment_sessions (
    order_id    TEXT           NOT NULL REFERENCES orders (id),
    attempt     INTEGER        NOT NULL CHECK (attempt >= 1),
    -- The provider's id of the page; null until it was opened.
    session_id  TEXT,
    url         TEXT,
    success_url TEXT,
    cancel_url  TEXT,
    -- Null when the provider gave no time that can be read.
    expires_at  TIMESTAMPTZ(3),
    -- The provider said that the page has ended.
    ended       BOOLEAN        NOT NULL DEFAULT false,
    PRIMARY KEY (order_id, attempt),
    CHECK ((session_id IS NULL) = (url IS NULL)),
    CHECK ((session_id IS NULL) = (success_url IS NULL)),
    CHECK ((session_id IS NULL) = (cancel_url IS NULL))
);

-- Which order answered a key. Rows older than 24 hours count no more; each new key removes some of them.
CREATE TABLE idempotency_keys (
    -- The user's number; empty for nobody.
    owner        TEXT           NOT NULL,
    key          TEXT           NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    -- SHA-256 of what was ordered.
    request_hash BYTEA          NOT NULL CHECK (octet_length(request_hash) = 32),
    -- Deferred: the key is taken first, so that who comes second makes no order.
    order_id     TEXT           NOT NULL REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED,
    -- The answer, where it was that the payment provider does not take the bill.
    refused      TEXT,
    created_at   TIMESTAMPTZ(3) NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (owner, key)
);

CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- What the payment provider captured, and how much of it was given back. Each is as large as its order's total.
CREATE TABLE charges (
    id             TEXT           PRIMARY KEY,
    order_id       TEXT           NOT NULL REFERENCES orders (id),
    amount_cents   BIGINT         NOT NULL CHECK (amount_cents > 0),
    refunded_cents BIGINT         NOT NULL CHECK (refunded_cents BETWEEN 0 AND amount_cents),
    receipt_url    TEXT,
    -- The earliest time that an event gave it.
    at             TIMESTAMPTZ(3) NOT NULL
);

CREATE INDEX charges_order ON charges (order_id);

-- The inbox: events that have been dealt with. Rows older than 90 days are removed, some with each new event: what an
-- event says is kept as a charge, so one that came again after that would change nothing.
CREATE TABLE events (
    id      TEXT           PRIMARY KEY,
    seen_at TIMESTAMPTZ(3) NOT NULL DEFAULT statement_timestamp()
);

CREATE INDEX events_age ON events (seen_at);
