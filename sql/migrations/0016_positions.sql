-- Positions as the Data API tells them, wallet by wallet, and every attempt to ask.
CREATE TABLE IF NOT EXISTS {staging:Identifier}.wallet_positions_v2
(
    wallet String COMMENT 'address, 0x, lower case',
    token_id UInt256,
    condition_id_norm String COMMENT '64 hex digits (62 for a combination), lower case, no 0x',
    outcome_index Nullable(UInt8) COMMENT 'NULL where the source does not know it yet',
    outcome Nullable(String),
    status LowCardinality(String) COMMENT 'OPEN, REDEEMABLE, REDEEMABLE_LOST, MERGEABLE or CLOSED; API v1 says none',
    size_micro UInt64 COMMENT 'shares held, in millionths',
    total_size_micro Nullable(UInt64) COMMENT 'shares ever held, in millionths',
    avg_price Nullable(Decimal(18, 9)) COMMENT 'cut off by the source: not for recomputing a cost',
    entry_cost_micro Nullable(Int64) COMMENT 'US dollars, in millionths, without fees',
    entry_fees_micro Nullable(Int64) COMMENT 'US dollars, in millionths',
    current_price Nullable(Decimal(18, 9)),
    current_value_micro Nullable(Int64) COMMENT 'US dollars, in millionths',
    realized_pnl_micro Nullable(Int64) COMMENT 'US dollars, in millionths, before fees',
    unrealized_pnl_micro Nullable(Int64) COMMENT 'US dollars, in millionths',
    total_pnl_micro Nullable(Int64) COMMENT 'US dollars, in millionths',
    redeemable Nullable(UInt8) COMMENT 'resolved; not: won',
    mergeable Nullable(UInt8),
    neg_risk Nullable(UInt8),
    first_entry_at Nullable(DateTime('UTC')),
    last_event_at Nullable(DateTime('UTC')),
    api_version UInt8 COMMENT 'of the Data API that was asked',
    source LowCardinality(String),
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (wallet, token_id, status)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Positions before they are merged.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.wallet_positions_api
(
    wallet String COMMENT 'address, 0x, lower case',
    token_id UInt256,
    condition_id_norm String COMMENT '64 hex digits (62 for a combination), lower case, no 0x',
    outcome_index Nullable(UInt8) COMMENT 'NULL where the source does not know it yet',
    outcome Nullable(String),
    status LowCardinality(String) COMMENT 'OPEN, REDEEMABLE, REDEEMABLE_LOST, MERGEABLE or CLOSED; API v1 says none',
    size_micro UInt64 COMMENT 'shares held, in millionths',
    total_size_micro Nullable(UInt64) COMMENT 'shares ever held, in millionths',
    avg_price Nullable(Decimal(18, 9)) COMMENT 'cut off by the source: not for recomputing a cost',
    entry_cost_micro Nullable(Int64) COMMENT 'US dollars, in millionths, without fees',
    entry_fees_micro Nullable(Int64) COMMENT 'US dollars, in millionths',
    current_price Nullable(Decimal(18, 9)),
    current_value_micro Nullable(Int64) COMMENT 'US dollars, in millionths',
    realized_pnl_micro Nullable(Int64) COMMENT 'US dollars, in millionths, before fees',
    unrealized_pnl_micro Nullable(Int64) COMMENT 'US dollars, in millionths',
    total_pnl_micro Nullable(Int64) COMMENT 'US dollars, in millionths',
    redeemable Nullable(UInt8) COMMENT 'resolved; not: won',
    mergeable Nullable(UInt8),
    neg_risk Nullable(UInt8),
    first_entry_at Nullable(DateTime('UTC')),
    last_event_at Nullable(DateTime('UTC')),
    api_version UInt8 COMMENT 'of the Data API that was asked',
    source LowCardinality(String),
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (wallet, token_id, status)
SETTINGS fsync_after_insert = 1
COMMENT 'The newest positions of each wallet.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.wallet_metadata_api
(
    wallet String COMMENT 'address, 0x, lower case',
    name Nullable(String),
    pseudonym Nullable(String),
    positions UInt32 COMMENT 'rows of wallet_positions_api',
    realized_pnl_micro Int64 COMMENT 'US dollars, in millionths, before fees',
    unrealized_pnl_micro Int64 COMMENT 'US dollars, in millionths',
    fetched_at DateTime('UTC'),
    source LowCardinality(String)
)
ENGINE = ReplacingMergeTree(fetched_at)
ORDER BY wallet
SETTINGS fsync_after_insert = 1
COMMENT 'What is known of a wallet besides its positions.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.wallet_api_backfill_log
(
    wallet String COMMENT 'address, 0x, lower case',
    unit UInt32 COMMENT 'the unit of the plan that asked',
    page UInt32 COMMENT 'of this wallet, from 0',
    api_version UInt8,
    status LowCardinality(String) COMMENT 'page: an answer with more to come; done: the last one; failed',
    rows UInt32,
    detail Nullable(String),
    attempted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(attempted_at)
ORDER BY (wallet, attempted_at, unit, page)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Every page of positions that was asked for, and what became of it.';
-- down
DROP TABLE IF EXISTS {production:Identifier}.wallet_api_backfill_log;
DROP TABLE IF EXISTS {production:Identifier}.wallet_metadata_api;
DROP TABLE IF EXISTS {production:Identifier}.wallet_positions_api;
DROP TABLE IF EXISTS {staging:Identifier}.wallet_positions_v2;
