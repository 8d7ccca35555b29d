CREATE TABLE messages (
    id   text PRIMARY KEY,
    text text NOT NULL
);
