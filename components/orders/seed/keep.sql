-- Orders name products by their numbers; 1 to 47 are those of the catalogue's examples.
SELECT CAST(count(*) AS TEXT) || ' orders name example products'
FROM (SELECT DISTINCT order_id FROM order_items WHERE product_id BETWEEN 1 AND 47) AS named
HAVING count(*) > 0;
