-- Payouts as the tracks bring them, before they are merged into resolutions_external_ingest.
CREATE TABLE IF NOT EXISTS {staging:Identifier}.payouts_v2
(
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    payout_numerators Array(UInt64) COMMENT 'by outcome index',
    payout_denominator UInt64 COMMENT 'what the numerators add up to',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'NULL where the source does not know it',
    source LowCardinality(String) COMMENT 'who reported it',
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (condition_id_norm, source)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Payouts as each track reports them.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.payouts_v2;
