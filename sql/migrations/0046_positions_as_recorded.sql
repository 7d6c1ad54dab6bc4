-- Positions in the words of the Data API, as 669 recorded ones show them: what is held of both sides is mergeable after
-- the end, too; and four more of its columns. Its percentRealizedPnl has nothing of what was realized in it: it is what
-- the rest is worth, over the cost of all that was ever bought.

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
    reinterpret(p.gained, 'Decimal(38, 6)') AS totalBought,
    reinterpret(p.realized_avg_cost_micro, 'Decimal(38, 6)') AS realizedPnl,
    if(p.gained = 0 OR p.avg_price_micro = 0, NULL,
       100 * (toFloat64(currentValue) / (toFloat64(totalBought) * toFloat64(avgPrice)) - 1)) AS percentRealizedPnl,
    p.price AS curPrice,
    p.resolved = 1 AS redeemable,
    p.sides > 1 AS mergeable,
    m.question AS title,
    m.market_slug AS slug,
    m.event_slug AS eventSlug,
    if(length(m.outcomes) > p.outcome_idx, toNullable(m.outcomes[p.outcome_idx + 1]), NULL) AS outcome,
    p.outcome_idx AS outcomeIndex,
    if(length(m.outcomes) = 2 AND p.outcome_idx < 2, toNullable(m.outcomes[2 - p.outcome_idx]), NULL)
        AS oppositeOutcome,
    if(length(m.token_ids) = 2 AND p.outcome_idx < 2, toNullable(toString(m.token_ids[2 - p.outcome_idx])), NULL)
        AS oppositeAsset,
    m.end_at AS endDate,
    m.neg_risk AS negativeRisk
FROM (
    SELECT
        wallet, assumeNotNull(any(owner)) AS owner, condition_id_norm, outcome_idx, max(resolved) AS resolved,
        sum(net) AS net, sum(realized) AS realized_avg_cost_micro, sum(avg_price) AS avg_price_micro,
        toInt128(intDiv(toInt256(net) * avg_price_micro, toInt256(1000000))) AS cost,
        sum(bought) AS gained, max(value) AS value, max(price) AS price,
        countIf(net > 0) OVER (PARTITION BY wallet, condition_id_norm) AS sides
    FROM (
        SELECT
            wallet, owner, condition_id_norm, outcome_idx, resolved, leftover_micro - redeemed_micro AS net,
            realized_avg_cost_micro AS realized, avg_price_micro AS avg_price, toInt128(0) AS bought,
            if(resolved = 0, NULL, toInt128(intDiv(
                toInt256(net) * payout_numerator, toInt256(greatest(payout_denominator, 1))))) AS value,
            if(resolved = 0, NULL, toNullable(divideDecimal(
                toDecimal128(payout_numerator, 0), toDecimal128(greatest(payout_denominator, 1), 0), 9))) AS price
        FROM {production:Identifier}.wallet_token_pnl
        UNION ALL
        SELECT wallet, owner, condition_id_norm, outcome_idx, 0, 0, 0, 0, 0, value_micro, last_price
        FROM {production:Identifier}.wallet_unrealized_pnl_v2
        UNION ALL
        SELECT
            wallet, NULL, condition_id_norm, outcome_idx, 0, 0, 0, 0,
            bought_micro - fee_shares_micro + split_micro + greatest(converted_micro, 0), NULL, NULL
        FROM {production:Identifier}.outcome_positions_v2
    )
    GROUP BY wallet, condition_id_norm, outcome_idx
) AS p
LEFT JOIN (
    SELECT condition_id_norm, token_ids, question, market_slug, event_slug, outcomes, end_at, neg_risk
    FROM {production:Identifier}.markets
) AS m ON m.condition_id_norm = p.condition_id_norm
WHERE p.net != 0;
-- down
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
