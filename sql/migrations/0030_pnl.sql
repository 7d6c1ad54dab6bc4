-- Positions, cash flows and profit by wallet and outcome, with the places beside them where they are built.

CREATE TABLE IF NOT EXISTS {production:Identifier}.outcome_positions_v2
(
    wallet String COMMENT 'address, 0x, lower case',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_idx UInt8 COMMENT 'place of the outcome in the market, from 0',
    net_shares_micro Int128 COMMENT 'bought - share fees - sold + split - merged + converted - redeemed + transferred',
    net_shares Decimal(38, 6) DEFAULT reinterpret(net_shares_micro, 'Decimal(38, 6)') COMMENT 'the same, in shares',
    bought_micro Int128 COMMENT 'shares bought, before fees',
    sold_micro Int128 COMMENT 'shares sold',
    fee_shares_micro Int128 COMMENT 'shares kept back as fees: V1 charges a buyer in shares',
    split_micro Int128 COMMENT 'shares that splits made',
    merged_micro Int128 COMMENT 'shares that merges took',
    converted_micro Int128 COMMENT 'YES shares that conversions made, less NO shares that they took',
    redeemed_micro Int128 COMMENT 'shares redeemed; where the source does not say, all that was held',
    transferred_micro Int128 COMMENT 'shares from other wallets, less shares given to them',
    fills UInt64 COMMENT 'fills of orders of this wallet',
    first_activity DateTime('UTC') COMMENT 'of fills, events and transfers',
    last_activity DateTime('UTC')
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)
SETTINGS fsync_after_insert = 1
COMMENT 'Shares by wallet and outcome, and where they came from.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.positions_v2_next
(
    wallet String COMMENT 'address, 0x, lower case',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_idx UInt8 COMMENT 'place of the outcome in the market, from 0',
    net_shares_micro Int128 COMMENT 'bought - share fees - sold + split - merged + converted - redeemed + transferred',
    net_shares Decimal(38, 6) DEFAULT reinterpret(net_shares_micro, 'Decimal(38, 6)') COMMENT 'the same, in shares',
    bought_micro Int128 COMMENT 'shares bought, before fees',
    sold_micro Int128 COMMENT 'shares sold',
    fee_shares_micro Int128 COMMENT 'shares kept back as fees: V1 charges a buyer in shares',
    split_micro Int128 COMMENT 'shares that splits made',
    merged_micro Int128 COMMENT 'shares that merges took',
    converted_micro Int128 COMMENT 'YES shares that conversions made, less NO shares that they took',
    redeemed_micro Int128 COMMENT 'shares redeemed; where the source does not say, all that was held',
    transferred_micro Int128 COMMENT 'shares from other wallets, less shares given to them',
    fills UInt64 COMMENT 'fills of orders of this wallet',
    first_activity DateTime('UTC') COMMENT 'of fills, events and transfers',
    last_activity DateTime('UTC')
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)
SETTINGS fsync_after_insert = 1
COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.trade_cashflows_v3
(
    wallet String COMMENT 'address, 0x, lower case',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_idx UInt8 COMMENT 'place of the outcome in the market, from 0',
    cashflow_micro Int128 COMMENT 'proceeds - costs - fees - splits + merges + conversions + redemptions',
    cashflow_usdc Decimal(38, 6) DEFAULT reinterpret(cashflow_micro, 'Decimal(38, 6)') COMMENT 'in US dollars',
    proceeds_micro Int128 COMMENT 'of shares sold, before fees',
    costs_micro Int128 COMMENT 'of shares bought, before fees',
    fees_micro Int128 COMMENT 'fees in dollars; those in shares are in the positions',
    fees_unknown UInt64 COMMENT 'fills whose fee no source says; they count as free',
    splits_micro Int128 COMMENT 'collateral that splits took, shared evenly among the outcomes',
    merges_micro Int128 COMMENT 'collateral that merges gave, shared evenly among the outcomes',
    conversions_micro Int128 COMMENT 'collateral that conversions gave, shared evenly among the NO shares',
    redemptions_micro Int128 COMMENT 'collateral that redemptions paid'
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)
SETTINGS fsync_after_insert = 1
COMMENT 'Dollars in and out by wallet and outcome.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.cashflows_v3_next
(
    wallet String COMMENT 'address, 0x, lower case',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_idx UInt8 COMMENT 'place of the outcome in the market, from 0',
    cashflow_micro Int128 COMMENT 'proceeds - costs - fees - splits + merges + conversions + redemptions',
    cashflow_usdc Decimal(38, 6) DEFAULT reinterpret(cashflow_micro, 'Decimal(38, 6)') COMMENT 'in US dollars',
    proceeds_micro Int128 COMMENT 'of shares sold, before fees',
    costs_micro Int128 COMMENT 'of shares bought, before fees',
    fees_micro Int128 COMMENT 'fees in dollars; those in shares are in the positions',
    fees_unknown UInt64 COMMENT 'fills whose fee no source says; they count as free',
    splits_micro Int128 COMMENT 'collateral that splits took, shared evenly among the outcomes',
    merges_micro Int128 COMMENT 'collateral that merges gave, shared evenly among the outcomes',
    conversions_micro Int128 COMMENT 'collateral that conversions gave, shared evenly among the NO shares',
    redemptions_micro Int128 COMMENT 'collateral that redemptions paid'
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)
SETTINGS fsync_after_insert = 1
COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.wallet_token_pnl
(
    wallet String COMMENT 'address, 0x, lower case',
    owner String COMMENT 'the key behind the wallet where it is known, else the wallet',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_idx UInt8 COMMENT 'place of the outcome in the market, from 0',
    resolved UInt8 COMMENT '1: the payout of the condition is known',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'NULL while it is not resolved, or where no source knows when it was',
    payout_numerator UInt64 COMMENT 'of this outcome; 0 while it is not resolved',
    payout_denominator UInt64 COMMENT '0 while it is not resolved',
    trade_cash_micro Int128 COMMENT 'cash flow without redemptions, in millionths of a dollar',
    leftover_micro Int128 COMMENT 'shares that were left, redeemed or not: net shares and those redeemed',
    redeemed_micro Int128 COMMENT 'of those the redeemed ones',
    payout_micro Int128 COMMENT 'leftover x numerator / denominator, cut off; 0 while it is not resolved',
    realized_cash_micro Int128 COMMENT 'cash: trade_cash + payout once resolved, 0 before',
    tracked_micro Int128 COMMENT 'average cost: shares that are tracked (transfers and fees do not count)',
    avg_price_micro Int128 COMMENT 'average cost: micro-dollars a share, cut off as the subgraph does',
    realized_avg_cost_micro Int128 COMMENT 'average cost, as the official subgraph: sells, merges, redemptions',
    realized_dome_micro Int128 COMMENT 'what sells and redemptions realize of that; Dome''s own cost is not known',
    volume_micro Int128 COMMENT 'dollars of all fills, before fees',
    fees_micro Int128 COMMENT 'fees in dollars',
    fills UInt64 COMMENT 'fills of orders of this wallet',
    first_activity DateTime('UTC') COMMENT 'of fills, events and transfers',
    last_activity DateTime('UTC'),
    INDEX by_owner owner TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)
SETTINGS fsync_after_insert = 1
COMMENT 'Realized profit by wallet and outcome, three definitions.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.token_pnl_next
(
    wallet String COMMENT 'address, 0x, lower case',
    owner String COMMENT 'the key behind the wallet where it is known, else the wallet',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_idx UInt8 COMMENT 'place of the outcome in the market, from 0',
    resolved UInt8 COMMENT '1: the payout of the condition is known',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'NULL while it is not resolved, or where no source knows when it was',
    payout_numerator UInt64 COMMENT 'of this outcome; 0 while it is not resolved',
    payout_denominator UInt64 COMMENT '0 while it is not resolved',
    trade_cash_micro Int128 COMMENT 'cash flow without redemptions, in millionths of a dollar',
    leftover_micro Int128 COMMENT 'shares that were left, redeemed or not: net shares and those redeemed',
    redeemed_micro Int128 COMMENT 'of those the redeemed ones',
    payout_micro Int128 COMMENT 'leftover x numerator / denominator, cut off; 0 while it is not resolved',
    realized_cash_micro Int128 COMMENT 'cash: trade_cash + payout once resolved, 0 before',
    tracked_micro Int128 COMMENT 'average cost: shares that are tracked (transfers and fees do not count)',
    avg_price_micro Int128 COMMENT 'average cost: micro-dollars a share, cut off as the subgraph does',
    realized_avg_cost_micro Int128 COMMENT 'average cost, as the official subgraph: sells, merges, redemptions',
    realized_dome_micro Int128 COMMENT 'what sells and redemptions realize of that; Dome''s own cost is not known',
    volume_micro Int128 COMMENT 'dollars of all fills, before fees',
    fees_micro Int128 COMMENT 'fees in dollars',
    fills UInt64 COMMENT 'fills of orders of this wallet',
    first_activity DateTime('UTC') COMMENT 'of fills, events and transfers',
    last_activity DateTime('UTC'),
    INDEX by_owner owner TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)
SETTINGS fsync_after_insert = 1
COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.wallet_unrealized_pnl_v2
(
    wallet String COMMENT 'address, 0x, lower case',
    owner String COMMENT 'the key behind the wallet where it is known, else the wallet',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_idx UInt8 COMMENT 'place of the outcome in the market, from 0',
    net_shares_micro Int128 COMMENT 'shares held in a condition that is not resolved; below 0 where history is missing',
    net_shares Decimal(38, 6) DEFAULT reinterpret(net_shares_micro, 'Decimal(38, 6)') COMMENT 'the same, in shares',
    last_price Nullable(Decimal(18, 9)) COMMENT 'of the last fill of the token; NULL when it was never traded',
    last_trade_at Nullable(DateTime('UTC')) COMMENT 'when that was',
    value_micro Nullable(Int128) COMMENT 'net shares at the last price, cut off; NULL without a price',
    cost_micro Int128 COMMENT 'net shares at their average cost, cut off',
    unrealized_pnl_micro Nullable(Int128) COMMENT 'value - cost; NULL without a price',
    unrealized_pnl_usd Nullable(Decimal(38, 6))
        DEFAULT if(isNull(unrealized_pnl_micro), NULL,
                   reinterpret(assumeNotNull(unrealized_pnl_micro), 'Decimal(38, 6)')),
    INDEX by_owner owner TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)
SETTINGS fsync_after_insert = 1
COMMENT 'Profit on paper of what is held in open conditions.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.unrealized_pnl_next
(
    wallet String COMMENT 'address, 0x, lower case',
    owner String COMMENT 'the key behind the wallet where it is known, else the wallet',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_idx UInt8 COMMENT 'place of the outcome in the market, from 0',
    net_shares_micro Int128 COMMENT 'shares held in a condition that is not resolved; below 0 where history is missing',
    net_shares Decimal(38, 6) DEFAULT reinterpret(net_shares_micro, 'Decimal(38, 6)') COMMENT 'the same, in shares',
    last_price Nullable(Decimal(18, 9)) COMMENT 'of the last fill of the token; NULL when it was never traded',
    last_trade_at Nullable(DateTime('UTC')) COMMENT 'when that was',
    value_micro Nullable(Int128) COMMENT 'net shares at the last price, cut off; NULL without a price',
    cost_micro Int128 COMMENT 'net shares at their average cost, cut off',
    unrealized_pnl_micro Nullable(Int128) COMMENT 'value - cost; NULL without a price',
    unrealized_pnl_usd Nullable(Decimal(38, 6))
        DEFAULT if(isNull(unrealized_pnl_micro), NULL,
                   reinterpret(assumeNotNull(unrealized_pnl_micro), 'Decimal(38, 6)')),
    INDEX by_owner owner TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)
SETTINGS fsync_after_insert = 1
COMMENT 'The next generation, or the one before.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.rebuild_state
(
    target LowCardinality(String) COMMENT 'positions, cashflows or pnl',
    table_id String COMMENT 'uuid of the table that was built; empty while a swap is under way',
    run UInt64 COMMENT 'changes up to this number are in it',
    cutoff Nullable(DateTime('UTC')) COMMENT 'the state of this moment, inclusive; NULL for all there is',
    wallets UInt64 COMMENT 'wallets that were computed this time',
    rows UInt64 COMMENT 'rows of the table',
    built_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(built_at)
ORDER BY target
SETTINGS fsync_after_insert = 1
COMMENT 'What each derived table was last built from.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.rebuild_seen
(
    wallet String COMMENT 'address, 0x, lower case',
    rows_hash UInt64 COMMENT 'of all rows that concern it; 0 when there are none any more',
    run UInt64 COMMENT 'the rebuild that found it changed'
)
ENGINE = ReplacingMergeTree(run)
ORDER BY wallet
SETTINGS fsync_after_insert = 1
COMMENT 'What each wallet''s rows were when they were last looked at.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.rebuild_seen_conditions
(
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    facts_hash UInt64 COMMENT 'of its tokens, payout and group; 0 when there are none any more',
    run UInt64 COMMENT 'the rebuild that found it changed'
)
ENGINE = ReplacingMergeTree(run)
ORDER BY condition_id_norm
SETTINGS fsync_after_insert = 1
COMMENT 'What was known of each condition when it was last looked at.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.rebuild_seen_conditions;
DROP TABLE IF EXISTS {staging:Identifier}.rebuild_seen;
DROP TABLE IF EXISTS {production:Identifier}.rebuild_state;
DROP TABLE IF EXISTS {staging:Identifier}.unrealized_pnl_next;
DROP TABLE IF EXISTS {production:Identifier}.wallet_unrealized_pnl_v2;
DROP TABLE IF EXISTS {staging:Identifier}.token_pnl_next;
DROP TABLE IF EXISTS {production:Identifier}.wallet_token_pnl;
DROP TABLE IF EXISTS {staging:Identifier}.cashflows_v3_next;
DROP TABLE IF EXISTS {production:Identifier}.trade_cashflows_v3;
DROP TABLE IF EXISTS {staging:Identifier}.positions_v2_next;
DROP TABLE IF EXISTS {production:Identifier}.outcome_positions_v2;
