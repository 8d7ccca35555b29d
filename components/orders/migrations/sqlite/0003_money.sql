-- Refunds that administrators ask for: each is stored before the payment provider is asked, under its id.
CREATE TABLE refunds (
    id          TEXT    PRIMARY KEY,
    order_id    TEXT    NOT NULL REFERENCES orders (id),
    charge_id   TEXT    NOT NULL REFERENCES charges (id),
    cents       INTEGER NOT NULL CHECK (cents > 0),
    -- How much was asked for in all; null for whatever was left.
    asked_cents INTEGER,
    -- The caller's idempotency key.
    key         TEXT,
    -- The administrator's number; null for nobody.
    asked_by    TEXT,
    state       TEXT    NOT NULL DEFAULT 'REQUESTED' CHECK (state IN ('REQUESTED', 'SENT', 'SUCCEEDED', 'FAILED')),
    failure     TEXT,
    created_at  TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at  TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT, WITHOUT ROWID;

CREATE INDEX refunds_order ON refunds (order_id, created_at);
CREATE UNIQUE INDEX refunds_key ON refunds (order_id, key, charge_id) WHERE key IS NOT NULL;
CREATE INDEX refunds_requested ON refunds (created_at) WHERE state = 'REQUESTED';

-- Disputes of charges. No reference to a charge: its own event may come later.
CREATE TABLE disputes (
    id        TEXT    PRIMARY KEY,
    charge_id TEXT    NOT NULL,
    cents     INTEGER NOT NULL CHECK (cents >= 0),
    state     TEXT    NOT NULL CHECK (state IN ('OPEN', 'WON', 'LOST')),
    reason    TEXT    NOT NULL,
    -- When it came to this state, by the provider's clock.
    at        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX disputes_charge ON disputes (charge_id);

-- The state that counts of the disputes of the order's charges.
ALTER TABLE orders ADD COLUMN dispute TEXT CHECK (dispute IN ('OPEN', 'WON', 'LOST'));
CREATE INDEX orders_disputed ON orders (created_at, seq) WHERE dispute IS NOT NULL;
