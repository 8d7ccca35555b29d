-- How many orders there are, of each status, in all (owner '') and of each customer. Triggers keep it, so that no request
-- counts rows.
CREATE TABLE order_counts (
    owner  TEXT    NOT NULL,
    status TEXT    NOT NULL,
    orders INTEGER NOT NULL CHECK (orders >= 0),
    PRIMARY KEY (owner, status)
) STRICT, WITHOUT ROWID;

INSERT INTO order_counts SELECT '', status, count(*) FROM orders GROUP BY status;
INSERT INTO order_counts SELECT owner, status, count(*) FROM orders WHERE owner IS NOT NULL GROUP BY owner, status;

CREATE TRIGGER orders_inserted AFTER INSERT ON orders BEGIN
    INSERT INTO order_counts VALUES ('', NEW.status, 1) ON CONFLICT DO UPDATE SET orders = orders + 1;
    INSERT INTO order_counts SELECT NEW.owner, NEW.status, 1 WHERE NEW.owner IS NOT NULL
        ON CONFLICT DO UPDATE SET orders = orders + 1;
END;

CREATE TRIGGER orders_moved AFTER UPDATE OF status ON orders WHEN OLD.status <> NEW.status BEGIN
    UPDATE order_counts SET orders = orders - 1 WHERE owner IN ('', OLD.owner) AND status = OLD.status;
    INSERT INTO order_counts VALUES ('', NEW.status, 1) ON CONFLICT DO UPDATE SET orders = orders + 1;
    INSERT INTO order_counts SELECT NEW.owner, NEW.status, 1 WHERE NEW.owner IS NOT NULL
        ON CONFLICT DO UPDATE SET orders = orders + 1;
END;

CREATE TRIGGER orders_deleted AFTER DELETE ON orders BEGIN
    UPDATE order_counts SET orders = orders - 1 WHERE owner IN ('', OLD.owner) AND status = OLD.status;
END;

-- One index for each order and filter of a search.
CREATE INDEX orders_created ON orders (created_at, seq);
CREATE INDEX orders_total ON orders (total_cents, seq);
CREATE INDEX orders_refund_due ON orders (created_at, seq) WHERE refund_due_cents > 0;
CREATE INDEX orders_status_created ON orders (status, created_at, seq);
DROP INDEX orders_status;
