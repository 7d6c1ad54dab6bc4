-- Places beside the tables that are put together anew and swapped in; after a swap they hold the generation before.

CREATE TABLE IF NOT EXISTS {staging:Identifier}.markets_next
(
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    question_id Nullable(String) COMMENT '0x and 64 hex digits, lower case',
    question Nullable(String),
    market_slug Nullable(String),
    event_slug Nullable(String),
    oracle Nullable(String) COMMENT 'the address that the source names as resolver, 0x, lower case',
    neg_risk Nullable(UInt8) COMMENT 'NULL where no source says',
    neg_risk_market_id Nullable(String) COMMENT '0x and 64 hex digits, lower case',
    outcomes Array(String) COMMENT 'labels, by outcome index; empty where there are none',
    token_ids Array(UInt256) COMMENT 'by outcome index; empty where there are none',
    tags Array(String),
    start_at Nullable(DateTime('UTC')),
    end_at Nullable(DateTime('UTC')) COMMENT 'when it was to end',
    closed_at Nullable(DateTime('UTC')) COMMENT 'when it did end',
    closed Nullable(UInt8),
    active Nullable(UInt8),
    archived Nullable(UInt8),
    volume_usd Nullable(Decimal(38, 6)),
    fee_rate Nullable(Decimal(18, 9)) COMMENT 'of the fee schedule, a share',
    fee_exponent Nullable(Decimal(18, 9)),
    fee_taker_only Nullable(UInt8),
    uma_status Nullable(String) COMMENT 'a hint; the payout decides',
    source LowCardinality(String) COMMENT 'the listing that was believed',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY condition_id_norm
SETTINGS fsync_after_insert = 1
COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.resolutions_next
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
COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.wallets_next
(
    user_eoa String COMMENT 'the owner, 0x, lower case',
    proxy_wallet String COMMENT 'the wallet that trades, 0x, lower case',
    wallet_type LowCardinality(String) COMMENT 'proxy, safe, deposit, eoa or unknown',
    evidence LowCardinality(String) COMMENT 'create2: the address was recomputed from the owner; reported: a source says so',
    name Nullable(String),
    source LowCardinality(String) COMMENT 'the source that was believed',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (proxy_wallet, user_eoa)
SETTINGS fsync_after_insert = 1
COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.positions_next
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
COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.wallet_metadata_next
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
COMMENT 'The next generation, or the one before.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.wallet_metadata_next;
DROP TABLE IF EXISTS {staging:Identifier}.positions_next;
DROP TABLE IF EXISTS {staging:Identifier}.wallets_next;
DROP TABLE IF EXISTS {staging:Identifier}.resolutions_next;
DROP TABLE IF EXISTS {staging:Identifier}.markets_next;
