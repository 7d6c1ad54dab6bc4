-- The total of a wallet has everything in it. By cash a market is realized when it is resolved; what it has come to
-- until then is unrealized, whether shares were sold (open_sold_usd: what sells and the like brought beyond the average
-- cost of what they took, less fees) or are held (held_pnl_usd: the last price less the average cost, as in
-- wallet_unrealized_pnl_v2). Shares without a price count at their cost; in marked_pnl_usd they are worth nothing.

CREATE OR REPLACE VIEW {production:Identifier}.wallet_pnl_summary_final AS
SELECT
    wallet,
    any(p.owner) AS owner,
    uniqExactIf(condition_id_norm, resolved = 1 AND paper = 0) AS resolved_markets,
    uniqExactIf(condition_id_norm, resolved = 0 AND paper = 0) AS open_markets,
    sum(p.fills) AS fills,
    reinterpret(sum(volume), 'Decimal(38, 6)') AS volume_usd,
    reinterpret(sum(fees), 'Decimal(38, 6)') AS fees_usd,
    reinterpret(sum(cash), 'Decimal(38, 6)') AS realized_cash_usd,
    reinterpret(sum(avg_cost), 'Decimal(38, 6)') AS realized_avg_cost_usd,
    reinterpret(sum(dome), 'Decimal(38, 6)') AS realized_dome_usd,
    realized_cash_usd AS realized_pnl_usd,
    reinterpret(sum(booked), 'Decimal(38, 6)') AS open_sold_usd,
    reinterpret(sum(unrealized), 'Decimal(38, 6)') AS held_pnl_usd,
    open_sold_usd + held_pnl_usd AS unrealized_pnl_usd,
    realized_pnl_usd + unrealized_pnl_usd AS total_pnl_usd,
    reinterpret(sumIf(trade_cash, resolved = 0), 'Decimal(38, 6)') AS open_cash_usd,
    reinterpret(sum(open_value), 'Decimal(38, 6)') AS open_value_usd,
    realized_cash_usd + open_cash_usd + open_value_usd AS marked_pnl_usd,
    sum(unpriced) AS unpriced_positions,
    min(p.first_activity) AS first_activity,
    max(p.last_activity) AS last_activity,
    (SELECT max(cutoff) FROM {production:Identifier}.rebuild_state FINAL WHERE target = 'pnl') AS as_of
FROM (
    SELECT
        wallet, owner, condition_id_norm, 0 AS paper, resolved, fills, volume_micro AS volume, fees_micro AS fees,
        realized_cash_micro AS cash, realized_avg_cost_micro AS avg_cost, realized_dome_micro AS dome,
        trade_cash_micro AS trade_cash,
        if(resolved = 1, 0, trade_cash_micro + toInt128(intDiv(
            toInt256(leftover_micro - redeemed_micro) * avg_price_micro, toInt256(1000000)))) AS booked,
        toInt128(0) AS unrealized, toInt128(0) AS open_value, 0 AS unpriced,
        toNullable(first_activity) AS first_activity, toNullable(last_activity) AS last_activity
    FROM {production:Identifier}.wallet_token_pnl
    UNION ALL
    SELECT
        wallet, owner, condition_id_norm, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ifNull(unrealized_pnl_micro, 0), ifNull(value_micro, 0), isNull(value_micro), NULL, NULL
    FROM {production:Identifier}.wallet_unrealized_pnl_v2
) AS p
GROUP BY wallet
COMMENT 'total = realized (by cash, of markets that are resolved) + unrealized (open ones: sold and held)';

CREATE OR REPLACE VIEW {production:Identifier}.owner_pnl_summary_final AS
SELECT
    owner,
    uniqExact(wallet) AS wallets,
    uniqExactIf(condition_id_norm, resolved = 1 AND paper = 0) AS resolved_markets,
    uniqExactIf(condition_id_norm, resolved = 0 AND paper = 0) AS open_markets,
    sum(p.fills) AS fills,
    reinterpret(sum(volume), 'Decimal(38, 6)') AS volume_usd,
    reinterpret(sum(fees), 'Decimal(38, 6)') AS fees_usd,
    reinterpret(sum(cash), 'Decimal(38, 6)') AS realized_cash_usd,
    reinterpret(sum(avg_cost), 'Decimal(38, 6)') AS realized_avg_cost_usd,
    reinterpret(sum(dome), 'Decimal(38, 6)') AS realized_dome_usd,
    realized_cash_usd AS realized_pnl_usd,
    reinterpret(sum(booked), 'Decimal(38, 6)') AS open_sold_usd,
    reinterpret(sum(unrealized), 'Decimal(38, 6)') AS held_pnl_usd,
    open_sold_usd + held_pnl_usd AS unrealized_pnl_usd,
    realized_pnl_usd + unrealized_pnl_usd AS total_pnl_usd,
    reinterpret(sumIf(trade_cash, resolved = 0), 'Decimal(38, 6)') AS open_cash_usd,
    reinterpret(sum(open_value), 'Decimal(38, 6)') AS open_value_usd,
    realized_cash_usd + open_cash_usd + open_value_usd AS marked_pnl_usd,
    sum(unpriced) AS unpriced_positions,
    min(p.first_activity) AS first_activity,
    max(p.last_activity) AS last_activity,
    (SELECT max(cutoff) FROM {production:Identifier}.rebuild_state FINAL WHERE target = 'pnl') AS as_of
FROM (
    SELECT
        wallet, owner, condition_id_norm, 0 AS paper, resolved, fills, volume_micro AS volume, fees_micro AS fees,
        realized_cash_micro AS cash, realized_avg_cost_micro AS avg_cost, realized_dome_micro AS dome,
        trade_cash_micro AS trade_cash,
        if(resolved = 1, 0, trade_cash_micro + toInt128(intDiv(
            toInt256(leftover_micro - redeemed_micro) * avg_price_micro, toInt256(1000000)))) AS booked,
        toInt128(0) AS unrealized, toInt128(0) AS open_value, 0 AS unpriced,
        toNullable(first_activity) AS first_activity, toNullable(last_activity) AS last_activity
    FROM {production:Identifier}.wallet_token_pnl
    UNION ALL
    SELECT
        wallet, owner, condition_id_norm, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ifNull(unrealized_pnl_micro, 0), ifNull(value_micro, 0), isNull(value_micro), NULL, NULL
    FROM {production:Identifier}.wallet_unrealized_pnl_v2
) AS p
GROUP BY owner
COMMENT 'total = realized (by cash, of markets that are resolved) + unrealized (open ones: sold and held)';
-- down
CREATE OR REPLACE VIEW {production:Identifier}.wallet_pnl_summary_final AS
SELECT
    wallet,
    any(p.owner) AS owner,
    uniqExactIf(condition_id_norm, resolved = 1 AND paper = 0) AS resolved_markets,
    uniqExactIf(condition_id_norm, resolved = 0 AND paper = 0) AS open_markets,
    sum(p.fills) AS fills,
    reinterpret(sum(volume), 'Decimal(38, 6)') AS volume_usd,
    reinterpret(sum(fees), 'Decimal(38, 6)') AS fees_usd,
    reinterpret(sum(cash), 'Decimal(38, 6)') AS realized_cash_usd,
    reinterpret(sum(avg_cost), 'Decimal(38, 6)') AS realized_avg_cost_usd,
    reinterpret(sum(dome), 'Decimal(38, 6)') AS realized_dome_usd,
    realized_cash_usd AS realized_pnl_usd,
    reinterpret(sum(unrealized), 'Decimal(38, 6)') AS unrealized_pnl_usd,
    realized_cash_usd + unrealized_pnl_usd AS total_pnl_usd,
    reinterpret(sumIf(trade_cash, resolved = 0), 'Decimal(38, 6)') AS open_cash_usd,
    reinterpret(sum(open_value), 'Decimal(38, 6)') AS open_value_usd,
    realized_cash_usd + open_cash_usd + open_value_usd AS marked_pnl_usd,
    sum(unpriced) AS unpriced_positions,
    min(p.first_activity) AS first_activity,
    max(p.last_activity) AS last_activity,
    (SELECT max(cutoff) FROM {production:Identifier}.rebuild_state FINAL WHERE target = 'pnl') AS as_of
FROM (
    SELECT
        wallet, owner, condition_id_norm, 0 AS paper, resolved, fills, volume_micro AS volume, fees_micro AS fees,
        realized_cash_micro AS cash, realized_avg_cost_micro AS avg_cost, realized_dome_micro AS dome,
        trade_cash_micro AS trade_cash, toInt128(0) AS unrealized, toInt128(0) AS open_value, 0 AS unpriced,
        toNullable(first_activity) AS first_activity, toNullable(last_activity) AS last_activity
    FROM {production:Identifier}.wallet_token_pnl
    UNION ALL
    SELECT
        wallet, owner, condition_id_norm, 1, 0, 0, 0, 0, 0, 0, 0, 0,
        ifNull(unrealized_pnl_micro, 0), ifNull(value_micro, 0), isNull(value_micro), NULL, NULL
    FROM {production:Identifier}.wallet_unrealized_pnl_v2
) AS p
GROUP BY wallet;

CREATE OR REPLACE VIEW {production:Identifier}.owner_pnl_summary_final AS
SELECT
    owner,
    uniqExact(wallet) AS wallets,
    uniqExactIf(condition_id_norm, resolved = 1 AND paper = 0) AS resolved_markets,
    uniqExactIf(condition_id_norm, resolved = 0 AND paper = 0) AS open_markets,
    sum(p.fills) AS fills,
    reinterpret(sum(volume), 'Decimal(38, 6)') AS volume_usd,
    reinterpret(sum(fees), 'Decimal(38, 6)') AS fees_usd,
    reinterpret(sum(cash), 'Decimal(38, 6)') AS realized_cash_usd,
    reinterpret(sum(avg_cost), 'Decimal(38, 6)') AS realized_avg_cost_usd,
    reinterpret(sum(dome), 'Decimal(38, 6)') AS realized_dome_usd,
    realized_cash_usd AS realized_pnl_usd,
    reinterpret(sum(unrealized), 'Decimal(38, 6)') AS unrealized_pnl_usd,
    realized_cash_usd + unrealized_pnl_usd AS total_pnl_usd,
    reinterpret(sumIf(trade_cash, resolved = 0), 'Decimal(38, 6)') AS open_cash_usd,
    reinterpret(sum(open_value), 'Decimal(38, 6)') AS open_value_usd,
    realized_cash_usd + open_cash_usd + open_value_usd AS marked_pnl_usd,
    sum(unpriced) AS unpriced_positions,
    min(p.first_activity) AS first_activity,
    max(p.last_activity) AS last_activity,
    (SELECT max(cutoff) FROM {production:Identifier}.rebuild_state FINAL WHERE target = 'pnl') AS as_of
FROM (
    SELECT
        wallet, owner, condition_id_norm, 0 AS paper, resolved, fills, volume_micro AS volume, fees_micro AS fees,
        realized_cash_micro AS cash, realized_avg_cost_micro AS avg_cost, realized_dome_micro AS dome,
        trade_cash_micro AS trade_cash, toInt128(0) AS unrealized, toInt128(0) AS open_value, 0 AS unpriced,
        toNullable(first_activity) AS first_activity, toNullable(last_activity) AS last_activity
    FROM {production:Identifier}.wallet_token_pnl
    UNION ALL
    SELECT
        wallet, owner, condition_id_norm, 1, 0, 0, 0, 0, 0, 0, 0, 0,
        ifNull(unrealized_pnl_micro, 0), ifNull(value_micro, 0), isNull(value_micro), NULL, NULL
    FROM {production:Identifier}.wallet_unrealized_pnl_v2
) AS p
GROUP BY owner;
