CREATE TABLE entries (
    key   text PRIMARY KEY,
    value text NOT NULL
);
