-- What became of each order and of its refunds. Triggers keep it, so that no statement can forget it: who changes a row
-- writes into it on whose behalf (a user's number, 'operator', 'schedule', or the id of an event; null for nobody) and in
-- which request. No name and no address is here: what is kept of a user is the number.
ALTER TABLE orders ADD COLUMN changed_by TEXT, ADD COLUMN trace TEXT;
ALTER TABLE refunds ADD COLUMN changed_by TEXT, ADD COLUMN trace TEXT;

CREATE TABLE order_history (
    seq        BIGINT         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   TEXT           NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    at         TIMESTAMPTZ(3) NOT NULL,
    changed_by TEXT,
    trace      TEXT,
    what       TEXT           NOT NULL
                              CHECK (what IN ('STATUS', 'CHARGE', 'REFUNDED', 'REFUND_DUE', 'DISPUTE', 'REFUND')),
    -- The refund.
    subject    TEXT,
    -- Amounts are in cents.
    old        TEXT,
    new        TEXT
);

CREATE INDEX order_history_order ON order_history (order_id, seq);

CREATE FUNCTION keep_order_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO order_history (order_id, at, changed_by, trace, what, new)
        VALUES (NEW.id, NEW.created_at, NEW.changed_by, NEW.trace, 'STATUS', NEW.status);
        RETURN NULL;
    END IF;
    INSERT INTO order_history (order_id, at, changed_by, trace, what, old, new)
    SELECT NEW.id, NEW.updated_at, NEW.changed_by, NEW.trace, what, was, becomes FROM (VALUES
        (1, 'STATUS', OLD.status, NEW.status),
        (2, 'CHARGE', OLD.charge_id, NEW.charge_id),
        (3, 'REFUNDED', OLD.refunded_cents::text, NEW.refunded_cents::text),
        (4, 'REFUND_DUE', OLD.refund_due_cents::text, NEW.refund_due_cents::text),
        (5, 'DISPUTE', OLD.dispute, NEW.dispute)
    ) AS changes (place, what, was, becomes) WHERE was IS DISTINCT FROM becomes ORDER BY place;
    RETURN NULL;
END
$$;

CREATE TRIGGER orders_history AFTER INSERT OR UPDATE OF status, charge_id, refunded_cents, refund_due_cents, dispute
    ON orders FOR EACH ROW EXECUTE FUNCTION keep_order_history();

CREATE FUNCTION keep_refund_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO order_history (order_id, at, changed_by, trace, what, subject, new)
        VALUES (NEW.order_id, NEW.created_at, NEW.changed_by, NEW.trace, 'REFUND', NEW.id, NEW.state);
    ELSIF OLD.state <> NEW.state THEN
        INSERT INTO order_history (order_id, at, changed_by, trace, what, subject, old, new)
        VALUES (NEW.order_id, NEW.updated_at, NEW.changed_by, NEW.trace, 'REFUND', NEW.id, OLD.state, NEW.state);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER refunds_history AFTER INSERT OR UPDATE OF state
    ON refunds FOR EACH ROW EXECUTE FUNCTION keep_refund_history();

-- The orders of one customer by the time when they were made.
CREATE INDEX orders_owner_created ON orders (owner, created_at, seq) WHERE owner IS NOT NULL;
