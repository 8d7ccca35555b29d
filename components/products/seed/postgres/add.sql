-- Rows that bring their numbers do not move the sequence, and it never goes back.
SELECT setval(sequence::regclass, 47) FROM (SELECT pg_get_serial_sequence('products', 'id') AS sequence) AS own
WHERE 47 > coalesce((SELECT last_value FROM pg_sequences WHERE schemaname || '.' || sequencename = sequence), 0);
