-- Orders name products by their numbers; 1 to 47 are those of the catalogue's examples. Imported orders name the products of
-- the system that they come from.
SELECT CAST(count(*) AS TEXT) || ' orders name products 1 to 47, the numbers of the examples'
FROM (
    SELECT DISTINCT order_items.order_id FROM order_items JOIN orders ON orders.id = order_items.order_id
    WHERE order_items.product_id BETWEEN 1 AND 47 AND coalesce(orders.trace, '') <> 'import'
) AS named
HAVING count(*) > 0;
