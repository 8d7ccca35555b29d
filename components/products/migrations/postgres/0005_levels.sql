-- How many products are available, of each 64 numbers, each 512 and so on, up to each 2^27: a page far down the list is
-- found from the largest blocks to the smallest, eight at each level, however many products there are. No product changes
-- between the counting and the new trigger.
LOCK TABLE products IN SHARE ROW EXCLUSIVE MODE;
DROP TABLE product_blocks;

CREATE TABLE product_blocks (
    -- A block has the numbers that are equal without their last bits, this many.
    shift     INTEGER  NOT NULL,
    block     BIGINT   NOT NULL,
    -- The number's last four bits: transactions that add products wait for each other less than with one row.
    slot      SMALLINT NOT NULL,
    available BIGINT   NOT NULL,
    PRIMARY KEY (shift, block, slot)
);

INSERT INTO product_blocks
SELECT shift, id >> shift, id & 15, count(*) FROM products, unnest(ARRAY[6, 9, 12, 15, 18, 21, 24, 27]) AS levels (shift)
WHERE available GROUP BY 1, 2, 3;

CREATE OR REPLACE FUNCTION count_products() RETURNS trigger LANGUAGE plpgsql AS $$
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
        SELECT shift, id >> shift, id & 15, sum(n)
        FROM unnest(ids, more) AS changed (id, n), unnest(ARRAY[6, 9, 12, 15, 18, 21, 24, 27]) AS levels (shift)
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (shift, block, slot) DO UPDATE SET available = product_blocks.available + excluded.available;
        INSERT INTO product_total
        SELECT id & 15, sum(n) FROM unnest(ids, more) AS changed (id, n) GROUP BY 1 ORDER BY 1
        ON CONFLICT (slot) DO UPDATE SET available = product_total.available + excluded.available;
    END IF;
    RETURN NULL;
END
$$;
