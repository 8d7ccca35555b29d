-- The ids of clicks that were counted, so that one which is delivered twice counts once.
CREATE TABLE clicks (
    id   text PRIMARY KEY,
    code text NOT NULL
);

CREATE TABLE totals (
    code  text PRIMARY KEY,
    total bigint NOT NULL
);
