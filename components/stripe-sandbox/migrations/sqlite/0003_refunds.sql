-- Refunds that the API was asked for; those of the pages are in the session's own sum alone.
CREATE TABLE refunds (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    -- Many rows may have none; two never have the same.
    idempotency_key TEXT UNIQUE,
    -- SHA-256 of the parameters: the same key with others is a mistake of the caller.
    parameters TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    created INTEGER NOT NULL,
    metadata TEXT NOT NULL CHECK (json_valid(metadata))
) STRICT;

CREATE INDEX refunds_by_session ON refunds (session);
