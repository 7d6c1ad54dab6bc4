-- How much of what a wallet did, and of what happened in a market, can be accounted for.
CREATE TABLE IF NOT EXISTS {analytics:Identifier}.wallet_coverage_metrics
(
    wallet String COMMENT 'the owner: the key behind the wallets where it is known, else the wallet',
    wallets UInt32 COMMENT 'addresses of the owner that have fills',
    fills UInt64 COMMENT 'fills of its orders',
    mapped_fills UInt64 COMMENT 'of those the ones whose token is mapped to a market',
    volume_micro Int128 COMMENT 'dollars of its fills, in millionths',
    mapped_volume_micro Int128 COMMENT 'of that the part in mapped tokens',
    tokens UInt64 COMMENT 'different tokens it traded',
    mapped_tokens UInt64 COMMENT 'of those the mapped ones',
    closed_tokens UInt64 COMMENT 'mapped tokens whose condition is closed by its listing, or resolved',
    paid_tokens UInt64 COMMENT 'of those the ones whose payout is known',
    open_positions UInt64 COMMENT 'held positions in conditions that are not resolved',
    priced_positions UInt64 COMMENT 'of those the ones with a last price',
    fills_share Nullable(Decimal(9, 6)) COMMENT 'mapped_fills / fills, cut off; NULL without any',
    volume_share Nullable(Decimal(9, 6)) COMMENT 'mapped_volume_micro / volume_micro, cut off; NULL without any',
    tokens_share Nullable(Decimal(9, 6)) COMMENT 'mapped_tokens / tokens, cut off; NULL without any',
    payout_share Nullable(Decimal(9, 6)) COMMENT 'paid_tokens / closed_tokens, cut off; NULL without any',
    price_share Nullable(Decimal(9, 6)) COMMENT 'priced_positions / open_positions, cut off; NULL without any',
    min_share Decimal(9, 6) COMMENT 'what a share must reach',
    mapping_ok Nullable(UInt8) COMMENT 'gate: mapped by fills and by volume; NULL without fills',
    payout_ok Nullable(UInt8) COMMENT 'gate: payouts of closed conditions; NULL without any',
    price_ok Nullable(UInt8) COMMENT 'gate: prices of open positions; NULL without any',
    eligible UInt8 COMMENT '1: mapping_ok, and payout_ok where there is something to judge',
    built_at DateTime('UTC') DEFAULT now() COMMENT 'when this row was computed'
)
ENGINE = MergeTree
ORDER BY wallet
SETTINGS fsync_after_insert = 1
COMMENT 'Mapping, payout and price coverage of each owner, with gates.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.wallet_coverage_metrics_next
AS {analytics:Identifier}.wallet_coverage_metrics COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {analytics:Identifier}.market_coverage_metrics
(
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    category LowCardinality(String) COMMENT 'from the tags, by tag_categories; other where none of them is there',
    listed UInt8 COMMENT '1: a listing names it',
    outcomes Nullable(UInt32) COMMENT 'as many as the listing, or else the payout, has; NULL where neither says',
    mapped_tokens UInt32 COMMENT 'tokens that are mapped to it',
    traded_tokens UInt32 COMMENT 'of those the ones with fills',
    priced_tokens UInt32 COMMENT 'of those the ones with a last price',
    fills UInt64 COMMENT 'of all wallets; both sides of a trade are one each',
    volume_micro Int128 COMMENT 'dollars of these fills, in millionths',
    listed_volume_usd Nullable(Decimal(38, 6)) COMMENT 'what the listing says; counted in its own way',
    first_fill Nullable(DateTime('UTC')) COMMENT 'NULL without fills',
    last_fill Nullable(DateTime('UTC')) COMMENT 'NULL without fills',
    closed Nullable(UInt8) COMMENT 'as listed; NULL where no listing says',
    resolved UInt8 COMMENT '1: the payout is known',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'NULL where no source knows when it was',
    mapping_ok Nullable(UInt8) COMMENT 'gate: every outcome has its token; NULL where the number is not known',
    payout_ok Nullable(UInt8) COMMENT 'gate: closed and paid; NULL while it is not closed',
    price_ok Nullable(UInt8) COMMENT 'gate: every traded token has a price; NULL when none is traded',
    built_at DateTime('UTC') DEFAULT now() COMMENT 'when this row was computed'
)
ENGINE = MergeTree
ORDER BY condition_id_norm
SETTINGS fsync_after_insert = 1
COMMENT 'Mapping, payout and price coverage of each market.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.market_coverage_metrics_next
AS {analytics:Identifier}.market_coverage_metrics COMMENT 'The next generation, or the one before.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.market_coverage_metrics_next;
DROP TABLE IF EXISTS {analytics:Identifier}.market_coverage_metrics;
DROP TABLE IF EXISTS {staging:Identifier}.wallet_coverage_metrics_next;
DROP TABLE IF EXISTS {analytics:Identifier}.wallet_coverage_metrics;
