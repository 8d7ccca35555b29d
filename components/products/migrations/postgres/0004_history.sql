-- What became of each product's price, and when it was deleted and restored. A trigger keeps it, so that no statement can
-- forget it: who changes a row writes into it on whose behalf (a user's number; null for nobody) and in which request.
ALTER TABLE products ADD COLUMN changed_by TEXT, ADD COLUMN trace TEXT;

CREATE TABLE product_history (
    seq        BIGINT         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id BIGINT         NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    at         TIMESTAMPTZ(3) NOT NULL,
    changed_by TEXT,
    trace      TEXT,
    what       TEXT           NOT NULL CHECK (what IN ('PRICE', 'AVAILABLE')),
    -- Cents, or true or false.
    old        TEXT,
    new        TEXT           NOT NULL
);

CREATE INDEX product_history_product ON product_history (product_id, seq);

CREATE FUNCTION keep_product_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO product_history (product_id, at, changed_by, trace, what, new)
        VALUES (NEW.id, NEW.created_at, NEW.changed_by, NEW.trace, 'PRICE', NEW.price_cents::text);
        RETURN NULL;
    END IF;
    INSERT INTO product_history (product_id, at, changed_by, trace, what, old, new)
    SELECT NEW.id, NEW.updated_at, NEW.changed_by, NEW.trace, what, was, becomes FROM (VALUES
        (1, 'PRICE', OLD.price_cents::text, NEW.price_cents::text),
        (2, 'AVAILABLE', OLD.available::text, NEW.available::text)
    ) AS changes (place, what, was, becomes) WHERE was <> becomes ORDER BY place;
    RETURN NULL;
END
$$;

CREATE TRIGGER products_history AFTER INSERT OR UPDATE OF price_cents, available
    ON products FOR EACH ROW EXECUTE FUNCTION keep_product_history();

-- The list of deleted products.
CREATE INDEX products_deleted_ids ON products (id) WHERE NOT available;
