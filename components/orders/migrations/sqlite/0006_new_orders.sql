-- A new order with its lines and the first attempt of its payment page, in one statement: each statement of a component
-- that writes goes to another thread and back, and what takes several is a transaction, in which others wait.
CREATE VIEW new_orders AS
SELECT id, owner, currency, total_cents, total_items, changed_by, trace, created_at, NULL AS lines FROM orders;

CREATE TRIGGER new_orders_stored INSTEAD OF INSERT ON new_orders BEGIN
    INSERT INTO orders (id, owner, currency, total_cents, total_items, changed_by, trace, created_at, updated_at)
    VALUES (NEW.id, NEW.owner, NEW.currency, NEW.total_cents, NEW.total_items, NEW.changed_by, NEW.trace, NEW.created_at,
        NEW.created_at);
    -- A JSON array with an array of product, name, price and quantity for each line.
    INSERT INTO order_items (order_id, line, product_id, name, unit_cents, quantity)
    SELECT NEW.id, key, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(NEW.lines);
    INSERT INTO payment_sessions (order_id, attempt) VALUES (NEW.id, 1);
END;
