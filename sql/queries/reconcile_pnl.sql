-- name: reconcile_references
-- The newest figures of some wallets.
SELECT
  wallet, source, metric, definition, toUnixTimestamp(as_of) AS as_of, value_micro, step_micro,
  toUnixTimestamp(fetched_at) AS fetched_at
FROM {analytics:Identifier}.pnl_references FINAL
WHERE wallet IN {wallets:Array(String)}
ORDER BY wallet, source, metric

-- name: audit_owners
-- The owner of each wallet, as the profit knows it.
SELECT DISTINCT wallet, owner
FROM {production:Identifier}.wallet_token_pnl
WHERE wallet IN {wallets:Array(String)}

-- name: audit_ours
-- Every owner's profit (micro-dollars) by a definition, and volume, best first; equals by address.
SELECT
  owner,
  sum(multiIf({definition:String} = 'cash', cash, {definition:String} = 'avg_cost', avg_cost,
              {definition:String} = 'avg_cost_net', avg_cost - fees, {definition:String} = 'dome', dome,
              {definition:String} = 'marked', marked, marked + fees)) AS pnl,
  sum(volume) AS volume
FROM (
  SELECT
    owner, realized_cash_micro AS cash, realized_avg_cost_micro AS avg_cost, realized_dome_micro AS dome,
    fees_micro AS fees, if(resolved = 1, realized_cash_micro, trade_cash_micro) AS marked, volume_micro AS volume
  FROM {production:Identifier}.wallet_token_pnl
  UNION ALL
  SELECT owner, 0, 0, 0, 0, ifNull(value_micro, 0), 0 FROM {production:Identifier}.wallet_unrealized_pnl_v2
)
GROUP BY owner
ORDER BY pnl DESC, owner

-- name: audit_board
-- Our own leaderboard of a period.
SELECT wallet AS owner, toInt128(realized_pnl_usd * 1000000) AS pnl, toInt128(volume_usd * 1000000) AS volume
FROM {analytics:Identifier}.leaderboard_whales
WHERE period = {period:String} AND category = 'overall'
ORDER BY rank
