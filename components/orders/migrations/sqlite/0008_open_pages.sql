-- The pages on which somebody may still pay are found without reading the orders that are over. A page whose order was paid
-- or delivered needs no watching: `reconcile` marks it as ended, and this does so with all that there are already.
UPDATE payment_sessions SET ended = true
WHERE NOT ended AND session_id IS NOT NULL
    AND order_id IN (SELECT id FROM orders WHERE status NOT IN ('PENDING', 'CANCELLED'));

CREATE INDEX payment_sessions_open ON payment_sessions (order_id) WHERE NOT ended AND session_id IS NOT NULL;
