-- The customer's dispute of a payment: one at most.
ALTER TABLE sessions ADD COLUMN dispute TEXT;
ALTER TABLE sessions ADD COLUMN dispute_state TEXT CHECK (dispute_state IN ('needs_response', 'won', 'lost'));
ALTER TABLE sessions ADD COLUMN disputed_at INTEGER;
