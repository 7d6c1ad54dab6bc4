-- name: validate_owned
-- The wallets that trade for some owners.
SELECT user_eoa AS owner, proxy_wallet AS wallet
FROM {production:Identifier}.pm_user_proxy_wallets FINAL
WHERE user_eoa IN {wallets:Array(String)}
ORDER BY owner, wallet

-- name: validate_rows
-- Every outcome of some wallets: each number from the table that it is kept in, and the payout from the resolutions.
WITH
  keys AS (
    SELECT
      wallet, condition_id_norm, outcome_idx, sum(has_pnl) AS known,
      sum(net) AS net, sum(bought) AS bought, sum(sold) AS sold, sum(fee_shares) AS fee_shares, sum(split) AS split,
      sum(merged) AS merged, sum(converted) AS converted, sum(redeemed) AS redeemed, sum(transferred) AS transferred,
      sum(proceeds) AS proceeds, sum(costs) AS costs, sum(fees) AS fees, sum(splits) AS splits, sum(merges) AS merges,
      sum(conversions) AS conversions, sum(redemptions) AS redemptions,
      sum(trade_cash) AS trade_cash, sum(leftover) AS leftover, sum(payout) AS payout, sum(cash) AS cash,
      sum(avg_cost) AS avg_cost, sum(dome) AS dome, sum(tracked) AS tracked, sum(avg_price) AS avg_price,
      sum(volume) AS volume, sum(fills) AS fills, max(resolved) AS resolved, min(first_at) AS first_at,
      max(last_at) AS last_at, max(value) AS value, max(unrealized) AS unrealized, sum(fees_unknown) AS fees_unknown
    FROM (
      SELECT
        wallet, condition_id_norm, outcome_idx, 1 AS has_pnl,
        toInt128(0) AS net, toInt128(0) AS bought, toInt128(0) AS sold, toInt128(0) AS fee_shares,
        toInt128(0) AS split, toInt128(0) AS merged, toInt128(0) AS converted, toInt128(0) AS redeemed,
        toInt128(0) AS transferred, toInt128(0) AS proceeds, toInt128(0) AS costs, toInt128(0) AS fees,
        toInt128(0) AS splits, toInt128(0) AS merges, toInt128(0) AS conversions, toInt128(0) AS redemptions,
        trade_cash_micro AS trade_cash, leftover_micro AS leftover, payout_micro AS payout,
        realized_cash_micro AS cash, realized_avg_cost_micro AS avg_cost, realized_dome_micro AS dome,
        tracked_micro AS tracked, avg_price_micro AS avg_price, volume_micro AS volume, fills, resolved,
        toUnixTimestamp(first_activity) AS first_at, toUnixTimestamp(last_activity) AS last_at,
        CAST(NULL, 'Nullable(Int128)') AS value, CAST(NULL, 'Nullable(Int128)') AS unrealized,
        toUInt64(0) AS fees_unknown
      FROM {production:Identifier}.wallet_token_pnl
      WHERE wallet IN {wallets:Array(String)}
      UNION ALL
      SELECT
        wallet, condition_id_norm, outcome_idx, 0,
        net_shares_micro, bought_micro, sold_micro, fee_shares_micro, split_micro, merged_micro, converted_micro,
        redeemed_micro, transferred_micro, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, toUnixTimestamp(first_activity), toUnixTimestamp(last_activity), NULL, NULL, 0
      FROM {production:Identifier}.outcome_positions_v2
      WHERE wallet IN {wallets:Array(String)}
      UNION ALL
      SELECT
        wallet, condition_id_norm, outcome_idx, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        proceeds_micro, costs_micro, fees_micro, splits_micro, merges_micro, conversions_micro, redemptions_micro,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4294967295, 0, NULL, NULL, fees_unknown
      FROM {production:Identifier}.trade_cashflows_v3
      WHERE wallet IN {wallets:Array(String)}
      UNION ALL
      SELECT
        wallet, condition_id_norm, outcome_idx, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4294967295, 0, value_micro, unrealized_pnl_micro, 0
      FROM {production:Identifier}.wallet_unrealized_pnl_v2
      WHERE wallet IN {wallets:Array(String)}
    )
    GROUP BY wallet, condition_id_norm, outcome_idx
  )
SELECT
  k.wallet AS wallet, k.condition_id_norm AS condition, k.outcome_idx AS outcome,
  ifNull(m.market_slug, '') AS label, ifNull(m.closed, (
    SELECT count() = 0 FROM {production:Identifier}.market_resolutions_final
  )) AS closed, k.resolved AS resolved,
  r.payout_numerators AS numerators, r.payout_denominator AS denominator,
  net, bought, sold, fee_shares, split, merged, converted, redeemed, transferred,
  proceeds, costs, fees, splits, merges, conversions, redemptions,
  trade_cash, leftover, payout, cash, avg_cost, dome, tracked, avg_price, volume, fills, first_at, last_at,
  value, unrealized, fees_unknown
FROM keys AS k
LEFT JOIN (
  SELECT condition_id_norm, payout_numerators, payout_denominator
  FROM {production:Identifier}.market_resolutions_final FINAL
  WHERE payout_denominator > 0 AND condition_id_norm IN (SELECT condition_id_norm FROM keys)
    AND ifNull(resolved_at <= (
      SELECT max(cutoff) FROM {production:Identifier}.rebuild_state FINAL WHERE target = 'pnl'
    ), (
      SELECT max(cutoff) FROM {production:Identifier}.rebuild_state FINAL WHERE target = 'pnl'
    ) IS NULL)
) AS r ON r.condition_id_norm = k.condition_id_norm
LEFT JOIN (
  SELECT condition_id_norm, market_slug, closed
  FROM {production:Identifier}.markets FINAL
  WHERE condition_id_norm IN (SELECT condition_id_norm FROM keys)
) AS m ON m.condition_id_norm = k.condition_id_norm
ORDER BY wallet, condition, outcome

-- name: validate_strays
-- The fills of some wallets in tokens without a market: what they cost and brought, and what their sells realize of the
-- average cost, walked in the order of the chain. The state: shares tracked, their average price, what was realized.
SELECT
  wallet, toString(token_id) AS token, length(events) AS fills,
  toInt128(sold - bought) AS cash, fees, held AS net, toInt128(walked.3) AS realized,
  toInt128(intDiv(toInt256(held) * events[-1].7, greatest(toInt256(events[-1].6), toInt256(1)))) AS value,
  toUnixTimestamp(events[1].1) AS first_at
FROM (
  SELECT
    * ,
    arrayFold(
      (a, e) -> (
        if(e.4 = 'BUY', a.1 + e.6, a.1 - least(e.6, a.1)),
        if(e.4 = 'BUY', intDiv(a.2 * a.1 + e.5 * e.6, greatest(a.1 + e.6, toInt256(1))), a.2),
        a.3 + if(e.4 = 'BUY', toInt256(0), intDiv(least(e.6, a.1) * (e.5 - a.2), toInt256(1000000)))
      ),
      events,
      CAST((0, 0, 0), 'Tuple(Int256, Int256, Int256)')
    ) AS walked
  FROM (
    SELECT
      maker AS wallet, token_id,
      sumIf(toInt128(usdc_micro), side = 'SELL') AS sold,
      sumIf(toInt128(usdc_micro), side = 'BUY') AS bought,
      sumIf(toInt128(ifNull(fee_micro, 0)), NOT in_shares) AS fees,
      sum(if(side = 'BUY', toInt128(shares_micro), -toInt128(shares_micro)))
        - sumIf(toInt128(ifNull(fee_micro, 0)), in_shares) AS held,
      arraySort(groupArray((
        timestamp, ifNull(block_number, 0), ifNull(log_index, 0), side,
        if(shares_micro = 0, toInt256(0), intDiv(toInt256(usdc_micro) * 1000000, toInt256(shares_micro))),
        toInt256(shares_micro), toInt256(usdc_micro)
      ))) AS events
    FROM (
      SELECT
        *, ifNull(fee_asset = 'shares', side = 'BUY' AND ifNull(exchange_version, 1) = 1) AS in_shares
      FROM {production:Identifier}.clob_fills
      WHERE maker IN {wallets:Array(String)}
    )
    WHERE token_id NOT IN (SELECT token_id FROM {production:Identifier}.ctf_token_map)
    GROUP BY wallet, token_id
  )
)
ORDER BY wallet, token

-- name: validate_claims
-- What the Data API says of the tokens of some wallets, with the place of each by the map, else by what it says.
SELECT
  p.wallet AS wallet, toString(p.token_id) AS token,
  if(m.condition_id_norm = '', p.condition_id_norm, m.condition_id_norm) AS condition,
  if(m.condition_id_norm = '', p.outcome_index, toNullable(m.outcome_index)) AS outcome,
  p.status AS status, p.realized AS realized, p.total AS total, p.bought AS bought, toUnixTimestamp(p.first_at) AS first_at,
  p.api_version AS api_version
FROM (
  SELECT
    wallet, token_id,
    argMax(w.condition_id_norm, w.inserted_at) AS condition_id_norm,
    argMax(w.outcome_index, w.inserted_at) AS outcome_index,
    argMax(if(w.status = '' AND w.redeemable = 1, 'REDEEMABLE', toString(w.status)), w.inserted_at) AS status,
    argMax(ifNull(w.realized_pnl_micro, 0), w.inserted_at) AS realized,
    argMax(ifNull(w.total_pnl_micro, ifNull(w.realized_pnl_micro, 0) + ifNull(w.unrealized_pnl_micro, 0)),
           w.inserted_at) AS total,
    argMax(w.total_size_micro, w.inserted_at) AS bought,
    min(w.first_entry_at) AS first_at,
    max(w.api_version) AS api_version
  FROM {production:Identifier}.wallet_positions_api AS w
  WHERE wallet IN {wallets:Array(String)}
  GROUP BY wallet, token_id
) AS p
LEFT JOIN (
  SELECT token_id, condition_id_norm, outcome_index
  FROM {production:Identifier}.ctf_token_map FINAL
  WHERE token_id IN (
    SELECT token_id FROM {production:Identifier}.wallet_positions_api WHERE wallet IN {wallets:Array(String)}
  )
) AS m ON m.token_id = p.token_id
ORDER BY wallet, token

-- name: validate_gaps
-- Tracks of fills and activity that have not covered what they were asked for.
SELECT dataset, source, toString(covered_to) AS covered_to, note
FROM {analytics:Identifier}.data_sync_status FINAL
WHERE dataset IN ('fills', 'activity', 'transfers', 'payouts') AND complete = 0
ORDER BY dataset, source

-- name: validate_built
-- The moment that the derived tables show; NULL for all there is. No row: nothing was built yet.
SELECT toUnixTimestamp(cutoff) AS cutoff, toUnixTimestamp(built_at) AS built_at
FROM {production:Identifier}.rebuild_state FINAL
WHERE target = 'pnl'

-- name: validate_loaded
-- Whether any payout is known, and whether fills have come in since the profits were made.
SELECT
  (SELECT count() FROM {production:Identifier}.market_resolutions_final) AS payouts,
  (SELECT max(ingested_at) FROM {production:Identifier}.clob_fills)
    > (SELECT toDateTime(max(built_at), 'UTC') FROM {production:Identifier}.rebuild_state FINAL WHERE target = 'pnl')
    AS newer_fills
