-- Which staged fills have been merged: by the block that brought them, which stays with a row through all merging of
-- parts. The time of arrival stands beside it, because block numbers begin anew in an emptied table.
ALTER TABLE {staging:Identifier}.clob_fills_v2 MODIFY SETTING enable_block_number_column = 1;

CREATE TABLE IF NOT EXISTS {staging:Identifier}.fills_merged
(
    block UInt64 COMMENT '_block_number of staged rows',
    staged_at DateTime('UTC') COMMENT 'their ingested_at',
    merged_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (block, staged_at)
SETTINGS fsync_after_insert = 1
COMMENT 'Arrivals of staged fills that have been merged; a row of any other arrival is looked at.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.fill_merges
(
    production_id String COMMENT 'the table that was merged into',
    production_rows UInt64 COMMENT 'its rows when the merge ended',
    merged_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(merged_at)
ORDER BY tuple()
SETTINGS fsync_after_insert = 1
COMMENT 'The last merge of fills: another table, or fewer rows, and everything is merged anew.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.fill_merges;
DROP TABLE IF EXISTS {staging:Identifier}.fills_merged;
ALTER TABLE {staging:Identifier}.clob_fills_v2 RESET SETTING enable_block_number_column;
