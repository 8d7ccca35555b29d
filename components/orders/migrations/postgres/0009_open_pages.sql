-- The pages on which somebody may still pay are found without reading the orders that are over. Pages of orders that were
-- paid or delivered need no watching: `reconcile` marks them as ended, some at a time.
CREATE INDEX payment_sessions_open ON payment_sessions (order_id) WHERE NOT ended AND session_id IS NOT NULL;
