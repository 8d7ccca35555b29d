-- What became of each order and of its refunds. Triggers keep it, so that no statement can forget it: who changes a row
-- writes into it on whose behalf (a user's number, 'operator', 'schedule', or the id of an event; null for nobody) and in
-- which request. No name and no address is here: what is kept of a user is the number.
ALTER TABLE orders ADD COLUMN changed_by TEXT;
ALTER TABLE orders ADD COLUMN trace TEXT;
ALTER TABLE refunds ADD COLUMN changed_by TEXT;
ALTER TABLE refunds ADD COLUMN trace TEXT;

CREATE TABLE order_history (
    seq        INTEGER PRIMARY KEY,
    order_id   TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    at         TEXT    NOT NULL,
    changed_by TEXT,
    trace      TEXT,
    what       TEXT    NOT NULL
                       CHECK (what IN ('STATUS', 'CHARGE', 'REFUNDED', 'REFUND_DUE', 'DISPUTE', 'REFUND')),
    -- The refund.
    subject    TEXT,
    -- Amounts are in cents.
    old        TEXT,
    new        TEXT
) STRICT;

CREATE INDEX order_history_order ON order_history (order_id, seq);

CREATE TRIGGER orders_made_history AFTER INSERT ON orders BEGIN
    INSERT INTO order_history (order_id, at, changed_by, trace, what, new)
    VALUES (NEW.id, NEW.created_at, NEW.changed_by, NEW.trace, 'STATUS', NEW.status);
END;

CREATE TRIGGER orders_changed_history
AFTER UPDATE OF status, charge_id, refunded_cents, refund_due_cents, dispute ON orders BEGIN
    INSERT INTO order_history (order_id, at, changed_by, trace, what, old, new)
    SELECT NEW.id, NEW.updated_at, NEW.changed_by, NEW.trace, what, old, new FROM (
        SELECT 1 AS place, 'STATUS' AS what, OLD.status AS old, NEW.status AS new
        UNION ALL SELECT 2, 'CHARGE', OLD.charge_id, NEW.charge_id
        UNION ALL SELECT 3, 'REFUNDED', CAST(OLD.refunded_cents AS TEXT), CAST(NEW.refunded_cents AS TEXT)
        UNION ALL SELECT 4, 'REFUND_DUE', CAST(OLD.refund_due_cents AS TEXT), CAST(NEW.refund_due_cents AS TEXT)
        UNION ALL SELECT 5, 'DISPUTE', OLD.dispute, NEW.dispute
    ) WHERE old IS NOT new ORDER BY place;
END;

CREATE TRIGGER refunds_made_history AFTER INSERT ON refunds BEGIN
    INSERT INTO order_history (order_id, at, changed_by, trace, what, subject, new)
    VALUES (NEW.order_id, NEW.created_at, NEW.changed_by, NEW.trace, 'REFUND', NEW.id, NEW.state);
END;

CREATE TRIGGER refunds_changed_history AFTER UPDATE OF state ON refunds WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO order_history (order_id, at, changed_by, trace, what, subject, old, new)
    VALUES (NEW.order_id, NEW.updated_at, NEW.changed_by, NEW.trace, 'REFUND', NEW.id, OLD.state, NEW.state);
END;

-- The orders of one customer by the time when they were made.
CREATE INDEX orders_owner_created ON orders (owner, created_at, seq) WHERE owner IS NOT NULL;
