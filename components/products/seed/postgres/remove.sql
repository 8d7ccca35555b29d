-- Of the examples that `add.sql` brings, those that are as they came: a change or a deletion moves `updated_at`. What was
-- changed, withdrawn or imported is the shop's own by now.
DELETE FROM products WHERE id BETWEEN 1 AND 47 AND available AND trace IS NULL AND created_at = updated_at
    AND created_at BETWEEN TIMESTAMPTZ '2024-02-27T15:50:00.000Z' AND TIMESTAMPTZ '2024-02-27T15:55:00.000Z';
