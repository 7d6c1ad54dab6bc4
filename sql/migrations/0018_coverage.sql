-- What was asked of whom, so that an absence can be told from a gap.
CREATE TABLE IF NOT EXISTS {staging:Identifier}.covered_windows
(
    dataset LowCardinality(String),
    source LowCardinality(String) COMMENT 'the track that asked',
    kind LowCardinality(String) COMMENT 'what key is: token, condition, wallet, all; and blocks, where the bounds are block numbers',
    key String COMMENT 'empty for all',
    covered_from UInt64 COMMENT 'unix seconds (blocks for blocks), inclusive',
    covered_to UInt64 COMMENT 'unix seconds (blocks for blocks), exclusive',
    plan_id String,
    unit UInt32,
    recorded_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY (dataset, source, key, covered_from, covered_to)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Every window that a finished unit has covered.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.density
(
    dataset LowCardinality(String),
    source LowCardinality(String) COMMENT 'the track that measured',
    key String COMMENT 'token or condition',
    rows UInt64 COMMENT 'rows that the source has for it',
    measured_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(measured_at)
ORDER BY (dataset, source, key)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'How much there is to fetch, by which requests are packed.';

CREATE TABLE IF NOT EXISTS {analytics:Identifier}.data_sync_status
(
    dataset LowCardinality(String),
    source LowCardinality(String) COMMENT 'the track',
    covered_from Nullable(DateTime('UTC')) COMMENT 'start of the covered window; NULL when none is',
    covered_to Nullable(DateTime('UTC')) COMMENT 'its end, exclusive',
    newest_row Nullable(DateTime('UTC')) COMMENT 'time of the newest row that came',
    complete UInt8 COMMENT '1: everything asked for was covered',
    note String,
    updated_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (dataset, source)
SETTINGS fsync_after_insert = 1
COMMENT 'How far each source has been read.';
-- down
DROP TABLE IF EXISTS {analytics:Identifier}.data_sync_status;
DROP TABLE IF EXISTS {staging:Identifier}.density;
DROP TABLE IF EXISTS {staging:Identifier}.covered_windows;
