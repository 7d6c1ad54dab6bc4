-- name: note_status
-- How far a track has been read now.
INSERT INTO {analytics:Identifier}.data_sync_status
    (dataset, source, covered_from, covered_to, newest_row, complete, note)
SELECT
    {dataset:String},
    {source:String},
    fromUnixTimestamp({covered_from:Nullable(Int64)}),
    fromUnixTimestamp({covered_to:Nullable(Int64)}),
    fromUnixTimestamp({newest_row:Nullable(Int64)}),
    {complete:UInt8},
    {note:String}

-- name: compact_status
OPTIMIZE TABLE {analytics:Identifier}.data_sync_status FINAL
