-- What became of each product's price, and when it was deleted and restored. Triggers keep it, so that no statement can
-- forget it: who changes a row writes into it on whose behalf (a user's number; null for nobody) and in which request.
ALTER TABLE products ADD COLUMN changed_by TEXT;
ALTER TABLE products ADD COLUMN trace TEXT;

CREATE TABLE product_history (
    seq        INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    at         TEXT    NOT NULL,
    changed_by TEXT,
    trace      TEXT,
    what       TEXT    NOT NULL CHECK (what IN ('PRICE', 'AVAILABLE')),
    -- Cents, or true or false.
    old        TEXT,
    new        TEXT    NOT NULL
) STRICT;

CREATE INDEX product_history_product ON product_history (product_id, seq);

CREATE TRIGGER products_made_history AFTER INSERT ON products BEGIN
    INSERT INTO product_history (product_id, at, changed_by, trace, what, new)
    VALUES (NEW.id, NEW.created_at, NEW.changed_by, NEW.trace, 'PRICE', CAST(NEW.price_cents AS TEXT));
END;

CREATE TRIGGER products_price_history AFTER UPDATE OF price_cents ON products WHEN OLD.price_cents <> NEW.price_cents BEGIN
    INSERT INTO product_history (product_id, at, changed_by, trace, what, old, new)
    VALUES (NEW.id, NEW.updated_at, NEW.changed_by, NEW.trace, 'PRICE', CAST(OLD.price_cents AS TEXT),
            CAST(NEW.price_cents AS TEXT));
END;

CREATE TRIGGER products_available_history AFTER UPDATE OF available ON products WHEN OLD.available <> NEW.available BEGIN
    INSERT INTO product_history (product_id, at, changed_by, trace, what, old, new)
    VALUES (NEW.id, NEW.updated_at, NEW.changed_by, NEW.trace, 'AVAILABLE', iif(OLD.available, 'true', 'false'),
            iif(NEW.available, 'true', 'false'));
END;

-- The list of deleted products.
CREATE INDEX products_deleted_ids ON products (id) WHERE available = 0;
