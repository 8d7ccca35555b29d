-- A session that nobody has paid stands in no index of payments, and the order of making does for the order of age: each
-- index is a page more that every new session writes. SQLite changes no constraints, so the tables are made anew.
CREATE TABLE new_sessions (
    -- In the order of their making: what is purged first.
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    -- Many rows may have none; two never have the same.
    idempotency_key TEXT UNIQUE,
    -- SHA-256 of the parameters: the same key with others is a mistake of the caller.
    parameters TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'complete', 'expired')),
    currency TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    -- The rest of what was asked for, as JSON.
    request TEXT NOT NULL CHECK (json_valid(request)),
    payment_intent TEXT,
    charge TEXT,
    paid_at INTEGER,
    refunded INTEGER NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND amount),
    -- Paid is paid in full, by one charge.
    CHECK ((status = 'complete') = (charge IS NOT NULL)),
    CHECK ((charge IS NULL) = (payment_intent IS NULL) AND (charge IS NULL) = (paid_at IS NULL)),
    CHECK (refunded = 0 OR charge IS NOT NULL)
) STRICT;

INSERT INTO new_sessions SELECT * FROM sessions;

CREATE TABLE new_events (
    -- In the order in which they are to be sent.
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    session TEXT NOT NULL REFERENCES new_sessions (id) ON DELETE CASCADE,
    payload TEXT NOT NULL,
    -- How often it is sent on purpose: 2 for a tester's duplicate.
    copies INTEGER NOT NULL CHECK (copies IN (1, 2)),
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Not before: a pause after a failure, or the time that somebody who is sending it has.
    next_try INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO new_events SELECT * FROM events;

DROP TABLE events;
DROP TABLE sessions;
-- References to a table follow its new name.
ALTER TABLE new_sessions RENAME TO sessions;
ALTER TABLE new_events RENAME TO events;

CREATE UNIQUE INDEX sessions_by_intent ON sessions (payment_intent) WHERE payment_intent IS NOT NULL;
CREATE UNIQUE INDEX sessions_by_charge ON sessions (charge) WHERE charge IS NOT NULL;
CREATE INDEX sessions_that_end ON sessions (expires_at) WHERE status = 'open';
CREATE INDEX events_by_session ON events (session);
CREATE INDEX events_that_wait ON events (next_try, number);
