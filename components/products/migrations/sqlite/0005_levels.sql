-- How many products are available, of each 64 numbers, each 512 and so on, up to each 2^27: a page far down the list is
-- found from the largest blocks to the smallest, eight at each level, however many products there are.
DROP TRIGGER products_inserted;
DROP TRIGGER products_withdrawn;
DROP TRIGGER products_restored;
DROP TRIGGER products_deleted;
DROP TABLE product_blocks;

CREATE TABLE product_blocks (
    -- A block has the numbers that are equal without their last bits, this many.
    shift     INTEGER NOT NULL,
    block     INTEGER NOT NULL,
    available INTEGER NOT NULL CHECK (available >= 0),
    PRIMARY KEY (shift, block)
) STRICT, WITHOUT ROWID;

INSERT INTO product_blocks
SELECT column1, id >> column1, count(*) FROM products, (VALUES (6), (9), (12), (15), (18), (21), (24), (27))
WHERE available = 1 GROUP BY 1, 2;

CREATE TRIGGER products_inserted AFTER INSERT ON products WHEN NEW.available = 1 BEGIN
    UPDATE product_total SET available = available + 1;
    INSERT INTO product_blocks
    SELECT column1, NEW.id >> column1, 1 FROM (VALUES (6), (9), (12), (15), (18), (21), (24), (27)) WHERE true
    ON CONFLICT (shift, block) DO UPDATE SET available = available + 1;
END;

CREATE TRIGGER products_withdrawn AFTER UPDATE OF available ON products WHEN OLD.available = 1 AND NEW.available = 0 BEGIN
    UPDATE product_total SET available = available - 1;
    UPDATE product_blocks SET available = available - 1 WHERE (shift, block) IN
        (SELECT column1, OLD.id >> column1 FROM (VALUES (6), (9), (12), (15), (18), (21), (24), (27)));
END;

CREATE TRIGGER products_restored AFTER UPDATE OF available ON products WHEN OLD.available = 0 AND NEW.available = 1 BEGIN
    UPDATE product_total SET available = available + 1;
    INSERT INTO product_blocks
    SELECT column1, NEW.id >> column1, 1 FROM (VALUES (6), (9), (12), (15), (18), (21), (24), (27)) WHERE true
    ON CONFLICT (shift, block) DO UPDATE SET available = available + 1;
END;

CREATE TRIGGER products_deleted AFTER DELETE ON products WHEN OLD.available = 1 BEGIN
    UPDATE product_total SET available = available - 1;
    UPDATE product_blocks SET available = available - 1 WHERE (shift, block) IN
        (SELECT column1, OLD.id >> column1 FROM (VALUES (6), (9), (12), (15), (18), (21), (24), (27)));
END;
