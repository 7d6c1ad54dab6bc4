-- Fills of the order book: production, and the staging table before promotion.
CREATE TABLE IF NOT EXISTS {production:Identifier}.clob_fills
(
    fill_id String COMMENT '<tx_hash>_<order_hash>, lower case; a further fill of both adds _<log_index>',
    token_id UInt256 COMMENT 'the outcome token that changed hands',
    maker String COMMENT 'address, 0x, lower case',
    taker Nullable(String) COMMENT 'address, 0x, lower case; NULL where the source names only one side',
    side Enum8('BUY' = 1, 'SELL' = 2) COMMENT 'of the maker',
    shares_micro UInt64 COMMENT 'shares, in millionths',
    usdc_micro UInt64 COMMENT 'US dollars, in millionths',
    fee_micro Nullable(UInt64) COMMENT 'as charged, in millionths of fee_asset; NULL where the source does not say',
    fee_asset Nullable(Enum8('none' = 0, 'shares' = 1, 'usdc' = 2)) COMMENT 'what the maker received, if charged',
    price Decimal(18, 9) COMMENT 'US dollars a share, cut off, not rounded',
    timestamp DateTime('UTC') COMMENT 'of the block',
    tx_hash String COMMENT '0x, lower case',
    order_hash Nullable(String) COMMENT '0x, lower case; NULL where the source does not know it',
    log_index Nullable(UInt32) COMMENT 'NULL where the source does not know it',
    block_number Nullable(UInt64) COMMENT 'NULL where the source does not know it',
    exchange_version Nullable(UInt8) COMMENT 'of the exchange contract; NULL where it is not known',
    source LowCardinality(String) COMMENT 'the track or the import that brought it',
    ingested_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (token_id, timestamp, fill_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Every fill once.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.clob_fills_v2
(
    fill_id String COMMENT '<tx_hash>_<order_hash>, lower case; a further fill of both adds _<log_index>',
    token_id UInt256 COMMENT 'the outcome token that changed hands',
    maker String COMMENT 'address, 0x, lower case',
    taker Nullable(String) COMMENT 'address, 0x, lower case; NULL where the source names only one side',
    side Enum8('BUY' = 1, 'SELL' = 2) COMMENT 'of the maker',
    shares_micro UInt64 COMMENT 'shares, in millionths',
    usdc_micro UInt64 COMMENT 'US dollars, in millionths',
    fee_micro Nullable(UInt64) COMMENT 'as charged, in millionths of fee_asset; NULL where the source does not say',
    fee_asset Nullable(Enum8('none' = 0, 'shares' = 1, 'usdc' = 2)) COMMENT 'what the maker received, if charged',
    price Decimal(18, 9) COMMENT 'US dollars a share, cut off, not rounded',
    timestamp DateTime('UTC') COMMENT 'of the block',
    tx_hash String COMMENT '0x, lower case',
    order_hash Nullable(String) COMMENT '0x, lower case; NULL where the source does not know it',
    log_index Nullable(UInt32) COMMENT 'NULL where the source does not know it',
    block_number Nullable(UInt64) COMMENT 'NULL where the source does not know it',
    exchange_version Nullable(UInt8) COMMENT 'of the exchange contract; NULL where it is not known',
    source LowCardinality(String) COMMENT 'the track or the import that brought it',
    ingested_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (token_id, timestamp, fill_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Fills before promotion; duplicates until merged.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.clob_fills_v2;
DROP TABLE IF EXISTS {production:Identifier}.clob_fills;
