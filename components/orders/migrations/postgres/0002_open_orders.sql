-- Whether a customer may make an order: not while `most` of theirs wait for their payment, or ten times as many were
-- cancelled within 24 hours. Nobody (null) always may.
--
-- Who asks for one customer waits for who asked before, until that order is stored. It must be VOLATILE: then the
-- statement after the lock sees what was stored while it waited, which no query of the caller's own statement would.
CREATE FUNCTION may_order(customer TEXT, most BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF customer IS NULL THEN
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(customer, 0));
    RETURN NOT EXISTS (SELECT 1 FROM orders WHERE owner = customer AND status = 'PENDING' LIMIT 1 OFFSET most - 1)
        AND NOT EXISTS (
            SELECT 1 FROM (
                SELECT created_at FROM orders WHERE owner = customer AND status = 'CANCELLED'
                ORDER BY seq DESC LIMIT 1 OFFSET 10 * most - 1
            ) AS oldest WHERE created_at > statement_timestamp() - interval '24 hours'
        );
END
$$;
