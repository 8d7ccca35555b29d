-- The same answer as before, from the counts that triggers keep: to find the n-th open order costs more with each one.
-- The lock is held until the order's transaction ends, and its trigger counts it before that, so who comes next finds it
-- counted. Only for a customer who ever cancelled that many are cancelled orders looked at.
CREATE OR REPLACE FUNCTION may_order(customer TEXT, most BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF customer IS NULL THEN
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(customer, 0));
    IF coalesce((SELECT sum(orders) FROM order_counts WHERE owner = customer AND status = 'PENDING'), 0) >= most THEN
        RETURN false;
    END IF;
    RETURN coalesce((SELECT sum(orders) FROM order_counts WHERE owner = customer AND status = 'CANCELLED'), 0) < 10 * most
        OR NOT EXISTS (
            SELECT 1 FROM (
                SELECT created_at FROM orders WHERE owner = customer AND status = 'CANCELLED'
                ORDER BY seq DESC LIMIT 1 OFFSET 10 * most - 1
            ) AS oldest WHERE created_at > statement_timestamp() - interval '24 hours'
        );
END
$$;
