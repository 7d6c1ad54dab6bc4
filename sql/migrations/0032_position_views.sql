-- Positions in the words of the Data API, and positions against what the chain's transfers add up to.

CREATE OR REPLACE VIEW {analytics:Identifier}.vw_wallet_positions_api_format AS
SELECT
    p.wallet AS proxyWallet,
    p.owner AS owner,
    if(length(m.token_ids) > p.outcome_idx, toNullable(toString(m.token_ids[p.outcome_idx + 1])), NULL) AS asset,
    concat('0x', p.condition_id_norm) AS conditionId,
    reinterpret(p.net, 'Decimal(38, 6)') AS size,
    reinterpret(p.avg_price_micro, 'Decimal(38, 6)') AS avgPrice,
    reinterpret(p.cost, 'Decimal(38, 6)') AS initialValue,
    if(isNull(p.value), NULL, reinterpret(assumeNotNull(p.value), 'Decimal(38, 6)')) AS currentValue,
    currentValue - initialValue AS cashPnl,
    if(p.cost = 0, NULL, 100 * toFloat64(cashPnl) / toFloat64(initialValue)) AS percentPnl,
    reinterpret(p.realized_avg_cost_micro, 'Decimal(38, 6)') AS realizedPnl,
    p.price AS curPrice,
    p.resolved = 1 AS redeemable,
    p.resolved = 0 AND p.sides > 1 AS mergeable,
    m.question AS title,
    m.market_slug AS slug,
    m.event_slug AS eventSlug,
    if(length(m.outcomes) > p.outcome_idx, toNullable(m.outcomes[p.outcome_idx + 1]), NULL) AS outcome,
    p.outcome_idx AS outcomeIndex,
    m.end_at AS endDate,
    m.neg_risk AS negativeRisk
FROM (
    SELECT
        wallet, any(owner) AS owner, condition_id_norm, outcome_idx, max(resolved) AS resolved,
        sum(net) AS net, sum(realized) AS realized_avg_cost_micro, sum(avg_price) AS avg_price_micro,
        toInt128(intDiv(toInt256(net) * avg_price_micro, toInt256(1000000))) AS cost,
        max(value) AS value, max(price) AS price,
        countIf(net > 0) OVER (PARTITION BY wallet, condition_id_norm) AS sides
    FROM (
        SELECT
            wallet, owner, condition_id_norm, outcome_idx, resolved, leftover_micro - redeemed_micro AS net,
            realized_avg_cost_micro AS realized, avg_price_micro AS avg_price,
            if(resolved = 0, NULL, toInt128(intDiv(
                toInt256(net) * payout_numerator, toInt256(greatest(payout_denominator, 1))))) AS value,
            if(resolved = 0, NULL, toNullable(divideDecimal(
                toDecimal128(payout_numerator, 0), toDecimal128(greatest(payout_denominator, 1), 0), 9))) AS price
        FROM {production:Identifier}.wallet_token_pnl
        UNION ALL
        SELECT wallet, owner, condition_id_norm, outcome_idx, 0, 0, 0, 0, value_micro, last_price
        FROM {production:Identifier}.wallet_unrealized_pnl_v2
    )
    GROUP BY wallet, condition_id_norm, outcome_idx
) AS p
LEFT JOIN (
    SELECT condition_id_norm, token_ids, question, market_slug, event_slug, outcomes, end_at, neg_risk
    FROM {production:Identifier}.markets
) AS m ON m.condition_id_norm = p.condition_id_norm
WHERE p.net != 0;

CREATE OR REPLACE VIEW {production:Identifier}.vw_positions_vs_transfers AS
SELECT
    wallet,
    condition_id_norm,
    outcome_idx,
    sum(held) AS net_shares_micro,
    sum(moved) AS transfers_micro,
    net_shares_micro - transfers_micro AS difference_micro,
    sum(transfers) AS transfers
FROM (
    SELECT wallet, condition_id_norm, outcome_idx, toInt256(net_shares_micro) AS held, toInt256(0) AS moved,
        1 AS known, 0 AS transfers
    FROM {production:Identifier}.outcome_positions_v2
    UNION ALL
    SELECT t.wallet, m.condition_id_norm, m.outcome_index, 0, t.moved, 0, t.transfers
    FROM (
        SELECT wallet, token_id, sum(amount) AS moved, count() AS transfers
        FROM (
            SELECT from_address AS wallet, token_id, -toInt256(amount_micro) AS amount
            FROM {production:Identifier}.erc1155_transfers
            UNION ALL
            SELECT to_address, token_id, toInt256(amount_micro)
            FROM {production:Identifier}.erc1155_transfers
        )
        GROUP BY wallet, token_id
    ) AS t
    INNER JOIN {production:Identifier}.ctf_token_map AS m ON m.token_id = t.token_id
)
GROUP BY wallet, condition_id_norm, outcome_idx
HAVING sum(known) > 0;
-- down
DROP VIEW IF EXISTS {production:Identifier}.vw_positions_vs_transfers;
DROP VIEW IF EXISTS {analytics:Identifier}.vw_wallet_positions_api_format;
