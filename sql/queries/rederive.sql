-- name: version_column
-- The column by which a table keeps the newest of several rows of a key; no row where it keeps the last one inserted.
SELECT extract(engine_full, '^ReplacingMergeTree\\((\\w+)\\)') AS version_column
FROM system.tables
WHERE database = {database:String} AND name = {table:String} AND version_column != ''
