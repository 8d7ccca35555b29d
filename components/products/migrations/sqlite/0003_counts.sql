-- How many products are available, in all and of each 1024 numbers. Triggers keep them, so that no request counts rows, and
-- a page far down the list is found by its block of numbers.
CREATE TABLE product_total (
    -- One row: there is one writer.
    slot      INTEGER PRIMARY KEY CHECK (slot = 0),
    available INTEGER NOT NULL CHECK (available >= 0)
) STRICT;

CREATE TABLE product_blocks (
    -- The number divided by 1024.
    block     INTEGER PRIMARY KEY,
    available INTEGER NOT NULL CHECK (available >= 0)
) STRICT;

INSERT INTO product_total SELECT 0, count(*) FROM products WHERE available = 1;
INSERT INTO product_blocks SELECT id / 1024, count(*) FROM products WHERE available = 1 GROUP BY 1;

CREATE TRIGGER products_inserted AFTER INSERT ON products WHEN NEW.available = 1 BEGIN
    UPDATE product_total SET available = available + 1;
    INSERT INTO product_blocks VALUES (NEW.id / 1024, 1) ON CONFLICT (block) DO UPDATE SET available = available + 1;
END;

CREATE TRIGGER products_withdrawn AFTER UPDATE OF available ON products WHEN OLD.available = 1 AND NEW.available = 0 BEGIN
    UPDATE product_total SET available = available - 1;
    UPDATE product_blocks SET available = available - 1 WHERE block = OLD.id / 1024;
END;

CREATE TRIGGER products_restored AFTER UPDATE OF available ON products WHEN OLD.available = 0 AND NEW.available = 1 BEGIN
    UPDATE product_total SET available = available + 1;
    INSERT INTO product_blocks VALUES (NEW.id / 1024, 1) ON CONFLICT (block) DO UPDATE SET available = available + 1;
END;

CREATE TRIGGER products_deleted AFTER DELETE ON products WHEN OLD.available = 1 BEGIN
    UPDATE product_total SET available = available - 1;
    UPDATE product_blocks SET available = available - 1 WHERE block = OLD.id / 1024;
END;
