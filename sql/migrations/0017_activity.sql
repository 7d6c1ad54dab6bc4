-- What wallets do besides trading: splits, merges, redemptions, conversions.
CREATE TABLE IF NOT EXISTS {staging:Identifier}.ctf_activity_v2
(
    event_id String COMMENT '<tx_hash>_<log_index>; of a source without log indexes <tx_hash>_k<hash>_<n>',
    kind LowCardinality(String) COMMENT 'split, merge, redeem or convert; the Data API has more (reward, yield, ...)',
    wallet String COMMENT 'who did it, by this event: address, 0x, lower case',
    condition_id_norm Nullable(String) COMMENT '64 hex digits, lower case, no 0x; NULL for a conversion',
    neg_risk_market_id Nullable(String) COMMENT '0x and 64 hex digits, lower case; for conversions',
    index_sets Array(UInt256) COMMENT 'outcomes redeemed, or the bitmap of the questions converted',
    amount_micro Nullable(UInt64) COMMENT 'collateral split or merged, or shares converted, in millionths',
    amounts_micro Array(UInt64) COMMENT 'shares redeemed by outcome index, where the source says, in millionths',
    payout_micro Nullable(UInt64) COMMENT 'US dollars paid out, in millionths',
    question_count Nullable(UInt32),
    timestamp DateTime('UTC'),
    tx_hash String COMMENT '0x, lower case',
    log_index Nullable(UInt32),
    block_number Nullable(UInt64),
    source LowCardinality(String),
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (wallet, timestamp, event_id, source)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Activity as each track reports it.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.ctf_activity
(
    event_id String COMMENT '<tx_hash>_<log_index>; of a source without log indexes <tx_hash>_k<hash>_<n>',
    kind LowCardinality(String) COMMENT 'split, merge, redeem or convert; the Data API has more (reward, yield, ...)',
    wallet String COMMENT 'who did it, by this event: address, 0x, lower case',
    condition_id_norm Nullable(String) COMMENT '64 hex digits, lower case, no 0x; NULL for a conversion',
    neg_risk_market_id Nullable(String) COMMENT '0x and 64 hex digits, lower case; for conversions',
    index_sets Array(UInt256) COMMENT 'outcomes redeemed, or the bitmap of the questions converted',
    amount_micro Nullable(UInt64) COMMENT 'collateral split or merged, or shares converted, in millionths',
    amounts_micro Array(UInt64) COMMENT 'shares redeemed by outcome index, where the source says, in millionths',
    payout_micro Nullable(UInt64) COMMENT 'US dollars paid out, in millionths',
    question_count Nullable(UInt32),
    timestamp DateTime('UTC'),
    tx_hash String COMMENT '0x, lower case',
    log_index Nullable(UInt32),
    block_number Nullable(UInt64),
    source LowCardinality(String),
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (wallet, timestamp, event_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Every split, merge, redemption and conversion once.';
-- down
DROP TABLE IF EXISTS {production:Identifier}.ctf_activity;
DROP TABLE IF EXISTS {staging:Identifier}.ctf_activity_v2;
