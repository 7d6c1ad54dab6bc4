-- Profit by market, by wallet and by owner, each definition in a column of its own; and how markets ended, by source.

CREATE OR REPLACE VIEW {production:Identifier}.realized_pnl_by_market_final AS
SELECT
    wallet,
    any(owner) AS owner,
    condition_id_norm,
    max(resolved) AS resolved,
    max(resolved_at) AS resolved_at,
    sum(fills) AS fills,
    reinterpret(sum(volume_micro), 'Decimal(38, 6)') AS volume_usd,
    reinterpret(sum(fees_micro), 'Decimal(38, 6)') AS fees_usd,
    reinterpret(sum(trade_cash_micro), 'Decimal(38, 6)') AS trade_cash_usd,
    reinterpret(sum(payout_micro), 'Decimal(38, 6)') AS payout_usd,
    min(leftover_micro) < 0 AS short,
    reinterpret(sum(realized_cash_micro), 'Decimal(38, 6)') AS realized_cash_usd,
    reinterpret(sum(realized_avg_cost_micro), 'Decimal(38, 6)') AS realized_avg_cost_usd,
    reinterpret(sum(realized_dome_micro), 'Decimal(38, 6)') AS realized_dome_usd,
    realized_cash_usd AS realized_pnl_usd,
    min(first_activity) AS first_activity,
    max(last_activity) AS last_activity
FROM {production:Identifier}.wallet_token_pnl
GROUP BY wallet, condition_id_norm;

CREATE OR REPLACE VIEW {production:Identifier}.wallet_realized_pnl_final AS
SELECT
    wallet,
    any(owner) AS owner,
    uniqExactIf(condition_id_norm, resolved = 1) AS resolved_markets,
    reinterpret(sum(realized_cash_micro), 'Decimal(38, 6)') AS realized_cash_usd,
    reinterpret(sum(realized_avg_cost_micro), 'Decimal(38, 6)') AS realized_avg_cost_usd,
    reinterpret(sum(realized_dome_micro), 'Decimal(38, 6)') AS realized_dome_usd,
    realized_cash_usd AS realized_pnl_usd
FROM {production:Identifier}.wallet_token_pnl
GROUP BY wallet;

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

CREATE OR REPLACE VIEW {analytics:Identifier}.vw_resolutions_truth AS
SELECT
    f.condition_id_norm AS condition_id_norm,
    if(arrayCount(x -> x > 0, f.payout_numerators) = 1,
       toNullable(toUInt8(arrayFirstIndex(x -> x > 0, f.payout_numerators) - 1)), NULL) AS win_idx,
    f.payout_numerators AS payout_numerators,
    f.payout_denominator AS payout_denominator,
    f.resolved_at AS resolved_at,
    f.source AS source,
    r.sources AS sources,
    arrayMap(x -> x.1, arrayFilter(
        x -> length(x.2) != length(f.payout_numerators) OR arrayExists(
            (a, b) -> toUInt128(a) * f.payout_denominator != toUInt128(b) * x.3, x.2, f.payout_numerators),
        r.reports)) AS contradicted_by,
    empty(contradicted_by) AS agree
FROM {production:Identifier}.market_resolutions_final AS f FINAL
LEFT JOIN (
    SELECT
        condition_id_norm,
        arraySort(groupArray(toString(source))) AS sources,
        groupArray((toString(source), payout_numerators, payout_denominator)) AS reports
    FROM {production:Identifier}.resolutions_external_ingest FINAL
    GROUP BY condition_id_norm
) AS r ON r.condition_id_norm = f.condition_id_norm;
-- down
DROP VIEW IF EXISTS {analytics:Identifier}.vw_resolutions_truth;
DROP VIEW IF EXISTS {production:Identifier}.owner_pnl_summary_final;
DROP VIEW IF EXISTS {production:Identifier}.wallet_pnl_summary_final;
DROP VIEW IF EXISTS {production:Identifier}.wallet_realized_pnl_final;
DROP VIEW IF EXISTS {production:Identifier}.realized_pnl_by_market_final;
