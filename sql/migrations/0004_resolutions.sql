-- How markets ended: as reported, as settled, and the winner where there is exactly one.
CREATE TABLE IF NOT EXISTS {production:Identifier}.resolutions_external_ingest
(
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    payout_numerators Array(UInt64) COMMENT 'by outcome index',
    payout_denominator UInt64 COMMENT 'what the numerators add up to',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'NULL where the source does not know it',
    source LowCardinality(String) COMMENT 'who reported it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (condition_id_norm, source)
SETTINGS fsync_after_insert = 1
COMMENT 'Resolutions as each source reports them.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.market_resolutions_final
(
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    payout_numerators Array(UInt64) COMMENT 'by outcome index',
    payout_denominator UInt64 COMMENT 'what the numerators add up to',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'NULL where no source knows it',
    source LowCardinality(String) COMMENT 'the source that was believed',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY condition_id_norm
SETTINGS fsync_after_insert = 1
COMMENT 'One resolution a market.';

CREATE OR REPLACE VIEW {production:Identifier}.winning_index AS
SELECT
    condition_id_norm,
    if(arrayCount(x -> x > 0, payout_numerators) = 1,
       toNullable(toUInt8(arrayFirstIndex(x -> x > 0, payout_numerators) - 1)), NULL) AS win_idx,
    payout_numerators,
    payout_denominator,
    resolved_at,
    source
FROM {production:Identifier}.market_resolutions_final FINAL;
-- down
DROP VIEW IF EXISTS {production:Identifier}.winning_index;
DROP TABLE IF EXISTS {production:Identifier}.market_resolutions_final;
DROP TABLE IF EXISTS {production:Identifier}.resolutions_external_ingest;
