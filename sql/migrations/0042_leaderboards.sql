-- Leaderboards: every owner by period and category, kept by day; and two rankings of the latest day.
CREATE TABLE IF NOT EXISTS {analytics:Identifier}.leaderboard_omega_daily
(
    as_of Date COMMENT 'last day that counts, whole (UTC)',
    period Enum8('7d' = 7, '30d' = 30, '90d' = 90, 'all' = 0) COMMENT 'days up to and with as_of (UTC)',
    category LowCardinality(String) COMMENT 'overall, or one of tag_categories, or other',
    wallet String COMMENT 'the owner: the key behind the wallets where it is known, else the wallet',
    theta Decimal(18, 9) COMMENT 'the return from which on it counts as a gain; 0 unless asked otherwise',
    wallets Array(String) COMMENT 'addresses that trade for this owner, sorted',
    markets UInt32 COMMENT 'resolved in the period',
    wins UInt32 COMMENT 'of those the ones above theta',
    trade_count UInt64 COMMENT 'fills in these markets',
    volume_usd Decimal(38, 6) COMMENT 'of these fills, before fees',
    cost_usd Decimal(38, 6) COMMENT 'dollars that went into these markets',
    realized_pnl_usd Decimal(38, 6) COMMENT 'cash definition, in these markets',
    gains_usd Decimal(76, 15) COMMENT 'sum of max(realized - theta x cost, 0) over the markets, exact',
    losses_usd Decimal(76, 15) COMMENT 'sum of max(theta x cost - realized, 0), exact',
    omega Nullable(Decimal(76, 12)) COMMENT 'gains / losses, cut off; NULL without losses, 0 without gains',
    no_losses UInt8 COMMENT '1: there are gains and no losses',
    last_activity DateTime('UTC') COMMENT 'of the owner in any market, by all data there is',
    fills_share Nullable(Decimal(9, 6)) COMMENT 'mapped share of all its fills, cut off; NULL without',
    enough_trades UInt8 COMMENT 'gate: trade_count',
    enough_markets UInt8 COMMENT 'gate: markets',
    enough_coverage UInt8 COMMENT 'gate: mapping and payouts, see wallet_coverage_metrics',
    eligible UInt8 COMMENT 'all three gates',
    built_at DateTime('UTC') DEFAULT now() COMMENT 'when this row was computed'
)
ENGINE = MergeTree
PARTITION BY as_of
ORDER BY (wallet, period, category, theta)
SETTINGS fsync_after_insert = 1
COMMENT 'What each owner made by period and category, as of each day that was built.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.leaderboard_omega_daily_next
AS {analytics:Identifier}.leaderboard_omega_daily COMMENT 'The day that is being built.';

CREATE TABLE IF NOT EXISTS {analytics:Identifier}.leaderboard_omega
(
    period Enum8('7d' = 7, '30d' = 30, '90d' = 90, 'all' = 0) COMMENT 'days up to and with as_of (UTC)',
    category LowCardinality(String) COMMENT 'overall, or one of tag_categories, or other',
    rank UInt64 COMMENT 'from 1; without losses first, then by omega, profit, markets, address: no ties',
    wallet String COMMENT 'the owner: the key behind the wallets where it is known, else the wallet',
    as_of Date COMMENT 'last day that counts, whole (UTC)',
    theta Decimal(18, 9) COMMENT 'the return from which on it counts as a gain; 0 unless asked otherwise',
    wallets Array(String) COMMENT 'addresses that trade for this owner, sorted',
    markets UInt32 COMMENT 'resolved in the period',
    wins UInt32 COMMENT 'of those the ones above theta',
    trade_count UInt64 COMMENT 'fills in these markets',
    volume_usd Decimal(38, 6) COMMENT 'of these fills, before fees',
    cost_usd Decimal(38, 6) COMMENT 'dollars that went into these markets',
    realized_pnl_usd Decimal(38, 6) COMMENT 'cash definition, in these markets',
    gains_usd Decimal(76, 15) COMMENT 'sum of max(realized - theta x cost, 0) over the markets, exact',
    losses_usd Decimal(76, 15) COMMENT 'sum of max(theta x cost - realized, 0), exact',
    omega Nullable(Decimal(76, 12)) COMMENT 'gains / losses, cut off; NULL without losses, 0 without gains',
    no_losses UInt8 COMMENT '1: there are gains and no losses',
    last_activity DateTime('UTC') COMMENT 'of the owner in any market, by all data there is',
    fills_share Nullable(Decimal(9, 6)) COMMENT 'mapped share of all its fills, cut off; NULL without',
    enough_trades UInt8 COMMENT 'gate: trade_count',
    enough_markets UInt8 COMMENT 'gate: markets',
    enough_coverage UInt8 COMMENT 'gate: mapping and payouts, see wallet_coverage_metrics',
    eligible UInt8 COMMENT 'all three gates',
    built_at DateTime('UTC') DEFAULT now() COMMENT 'when this row was computed',
    INDEX by_wallet wallet TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (period, category, rank)
SETTINGS fsync_after_insert = 1
COMMENT 'Eligible owners by omega.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.leaderboard_omega_next
AS {analytics:Identifier}.leaderboard_omega COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {analytics:Identifier}.leaderboard_whales
(
    period Enum8('7d' = 7, '30d' = 30, '90d' = 90, 'all' = 0) COMMENT 'days up to and with as_of (UTC)',
    category LowCardinality(String) COMMENT 'overall, or one of tag_categories, or other',
    rank UInt64 COMMENT 'from 1; by profit, volume, markets, address: no ties',
    wallet String COMMENT 'the owner: the key behind the wallets where it is known, else the wallet',
    as_of Date COMMENT 'last day that counts, whole (UTC)',
    theta Decimal(18, 9) COMMENT 'the return from which on it counts as a gain; 0 unless asked otherwise',
    wallets Array(String) COMMENT 'addresses that trade for this owner, sorted',
    markets UInt32 COMMENT 'resolved in the period',
    wins UInt32 COMMENT 'of those the ones above theta',
    trade_count UInt64 COMMENT 'fills in these markets',
    volume_usd Decimal(38, 6) COMMENT 'of these fills, before fees',
    cost_usd Decimal(38, 6) COMMENT 'dollars that went into these markets',
    realized_pnl_usd Decimal(38, 6) COMMENT 'cash definition, in these markets',
    gains_usd Decimal(76, 15) COMMENT 'sum of max(realized - theta x cost, 0) over the markets, exact',
    losses_usd Decimal(76, 15) COMMENT 'sum of max(theta x cost - realized, 0), exact',
    omega Nullable(Decimal(76, 12)) COMMENT 'gains / losses, cut off; NULL without losses, 0 without gains',
    no_losses UInt8 COMMENT '1: there are gains and no losses',
    last_activity DateTime('UTC') COMMENT 'of the owner in any market, by all data there is',
    fills_share Nullable(Decimal(9, 6)) COMMENT 'mapped share of all its fills, cut off; NULL without',
    enough_trades UInt8 COMMENT 'gate: trade_count',
    enough_markets UInt8 COMMENT 'gate: markets',
    enough_coverage UInt8 COMMENT 'gate: mapping and payouts, see wallet_coverage_metrics',
    eligible UInt8 COMMENT 'all three gates',
    built_at DateTime('UTC') DEFAULT now() COMMENT 'when this row was computed',
    INDEX by_wallet wallet TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (period, category, rank)
SETTINGS fsync_after_insert = 1
COMMENT 'Owners with enough coverage by realized profit.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.leaderboard_whales_next
AS {analytics:Identifier}.leaderboard_whales COMMENT 'The next generation, or the one before.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.leaderboard_whales_next;
DROP TABLE IF EXISTS {analytics:Identifier}.leaderboard_whales;
DROP TABLE IF EXISTS {staging:Identifier}.leaderboard_omega_next;
DROP TABLE IF EXISTS {analytics:Identifier}.leaderboard_omega;
DROP TABLE IF EXISTS {staging:Identifier}.leaderboard_omega_daily_next;
DROP TABLE IF EXISTS {analytics:Identifier}.leaderboard_omega_daily;
