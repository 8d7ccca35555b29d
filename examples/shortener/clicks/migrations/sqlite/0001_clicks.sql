-- The ids of clicks that were counted, so that one which is delivered twice counts once.
CREATE TABLE clicks (
    id   TEXT PRIMARY KEY,
    code TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE totals (
    code  TEXT PRIMARY KEY,
    total INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
