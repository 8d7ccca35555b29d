-- How many orders there are, of each status, in all (owner '') and of each customer. A trigger keeps it, so that no request
-- counts rows.
CREATE TABLE order_counts (
    owner  TEXT     NOT NULL,
    status TEXT     NOT NULL,
    -- In all: the last hexadecimal digit of the order's number, so that transactions seldom wait for each other. 0 for a
    -- customer's, whose orders are made one after the other anyway.
    slot   SMALLINT NOT NULL,
    orders BIGINT   NOT NULL,
    PRIMARY KEY (owner, status, slot)
);

INSERT INTO order_counts
SELECT '', status, ('x' || right(id, 1))::bit(4)::integer, count(*) FROM orders GROUP BY 2, 3;
INSERT INTO order_counts SELECT owner, status, 0, count(*) FROM orders WHERE owner IS NOT NULL GROUP BY owner, status;

-- The rows are taken in one order, so that two transactions never wait for each other.
CREATE FUNCTION count_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO order_counts
    SELECT owner, status, slot, n FROM (
        SELECT '' AS owner, OLD.status AS status, ('x' || right(OLD.id, 1))::bit(4)::integer AS slot, -1 AS n
        WHERE TG_OP <> 'INSERT'
        UNION ALL SELECT OLD.owner, OLD.status, 0, -1 WHERE TG_OP <> 'INSERT'
        UNION ALL SELECT '', NEW.status, ('x' || right(NEW.id, 1))::bit(4)::integer, 1 WHERE TG_OP <> 'DELETE'
        UNION ALL SELECT NEW.owner, NEW.status, 0, 1 WHERE TG_OP <> 'DELETE'
    ) AS changes WHERE owner IS NOT NULL ORDER BY owner, status, slot
    ON CONFLICT (owner, status, slot) DO UPDATE SET orders = order_counts.orders + excluded.orders;
    RETURN NULL;
END
$$;

-- Deferred to the end of the transaction: the rows of counts, which many share, are locked no longer than its commit takes.
CREATE CONSTRAINT TRIGGER orders_added AFTER INSERT OR DELETE ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_order();
CREATE CONSTRAINT TRIGGER orders_moved AFTER UPDATE OF status ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION count_order();

-- One index for each order and filter of a search.
CREATE INDEX orders_created ON orders (created_at, seq);
CREATE INDEX orders_total ON orders (total_cents, seq);
CREATE INDEX orders_refund_due ON orders (created_at, seq) WHERE refund_due_cents > 0;
CREATE INDEX orders_status_created ON orders (status, created_at, seq);
DROP INDEX orders_status;
