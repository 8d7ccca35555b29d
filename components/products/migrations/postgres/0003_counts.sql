-- How many products are available, in all and of each 1024 numbers. A trigger keeps them, so that no request counts rows,
-- and a page far down the list is found by its block of numbers.
CREATE TABLE product_total (
    -- The number's last four bits: transactions that add products wait for each other less than with one row.
    slot      SMALLINT PRIMARY KEY CHECK (slot BETWEEN 0 AND 15),
    available BIGINT   NOT NULL
);

CREATE TABLE product_blocks (
    -- The number divided by 1024.
    block     BIGINT PRIMARY KEY,
    available BIGINT NOT NULL
);

INSERT INTO product_total
SELECT slot, (SELECT count(*) FROM products WHERE available AND id & 15 = slot) FROM generate_series(0, 15) AS slot;
INSERT INTO product_blocks SELECT id / 1024, count(*) FROM products WHERE available GROUP BY 1;

-- Once a statement, whatever the number of its rows. The rows of counts are taken in one order, so that two transactions
-- never wait for each other.
CREATE FUNCTION count_products() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids  BIGINT[];
    more BIGINT[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(id), array_agg(1) INTO ids, more FROM added WHERE available;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(id), array_agg(-1) INTO ids, more FROM removed WHERE available;
    ELSE
        SELECT array_agg(added.id), array_agg(CASE WHEN added.available THEN 1 ELSE -1 END) INTO ids, more
        FROM added JOIN removed USING (id) WHERE added.available <> removed.available;
    END IF;
    IF ids IS NOT NULL THEN
        INSERT INTO product_blocks
        SELECT id / 1024, sum(n) FROM unnest(ids, more) AS changed (id, n) GROUP BY 1 ORDER BY 1
        ON CONFLICT (block) DO UPDATE SET available = product_blocks.available + excluded.available;
        INSERT INTO product_total
        SELECT id & 15, sum(n) FROM unnest(ids, more) AS changed (id, n) GROUP BY 1 ORDER BY 1
        ON CONFLICT (slot) DO UPDATE SET available = product_total.available + excluded.available;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER products_inserted AFTER INSERT ON products
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_products();
CREATE TRIGGER products_updated AFTER UPDATE ON products
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_products();
CREATE TRIGGER products_deleted AFTER DELETE ON products
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_products();
