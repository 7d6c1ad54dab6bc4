-- Markets: what each listing says of them, and one row for each.
CREATE TABLE IF NOT EXISTS {staging:Identifier}.markets_v2
(
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    question_id Nullable(String) COMMENT '0x and 64 hex digits, lower case',
    question Nullable(String),
    market_slug Nullable(String),
    event_slug Nullable(String),
    oracle Nullable(String) COMMENT 'the address that the source names as resolver, 0x, lower case',
    neg_risk Nullable(UInt8) COMMENT 'NULL where the source does not say',
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
    source LowCardinality(String),
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (condition_id_norm, source)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Markets as each listing has them.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.markets
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
COMMENT 'One row a market.';
-- down
DROP TABLE IF EXISTS {production:Identifier}.markets;
DROP TABLE IF EXISTS {staging:Identifier}.markets_v2;
