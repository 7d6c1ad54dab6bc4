-- Omega of each owner by day of resolution.
CREATE TABLE IF NOT EXISTS {analytics:Identifier}.wallet_omega_daily
(
    owner String COMMENT 'the key behind the wallets where it is known, else the wallet; 0x, lower case',
    day Date COMMENT 'UTC day on which the markets were resolved; those of unknown time are on none',
    theta Decimal(18, 9) COMMENT 'the return from which on it counts as a gain; 0 unless asked otherwise',
    markets UInt32 COMMENT 'resolved on this day',
    wins UInt32 COMMENT 'of those the ones above theta',
    trades UInt64 COMMENT 'fills in these markets',
    realized_micro Int128 COMMENT 'cash definition, in millionths of a dollar',
    realized_usd Decimal(38, 6) DEFAULT reinterpret(realized_micro, 'Decimal(38, 6)') COMMENT 'the same, in US dollars',
    cost_micro Int128 COMMENT 'dollars that went in',
    gains_usd Decimal(76, 15) COMMENT 'sum of max(realized - theta x cost, 0) over the markets, exact',
    losses_usd Decimal(76, 15) COMMENT 'sum of max(theta x cost - realized, 0), exact',
    omega Nullable(Decimal(76, 12)) COMMENT 'gains / losses, cut off; NULL without losses, 0 without gains',
    no_losses UInt8 COMMENT '1: there are gains and no losses'
)
ENGINE = MergeTree
ORDER BY (owner, day)
SETTINGS fsync_after_insert = 1
COMMENT 'Gains over losses by owner and day of resolution.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.omega_daily_next
AS {analytics:Identifier}.wallet_omega_daily COMMENT 'The next generation, or the one before.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.omega_daily_next;
DROP TABLE IF EXISTS {analytics:Identifier}.wallet_omega_daily;
