-- name: leaderboard_sources
-- What there is to rank, up to a day, and when the last market of all was resolved.
SELECT
  count() AS rows,
  uniqExactIf(owner, here) AS owners,
  uniqExactIf(condition_id_norm, here) AS markets,
  uniqExactIf(condition_id_norm, here AND isNull(resolved_at)) AS undated,
  toString(toDate(max(resolved_at))) AS newest,
  (SELECT toString(max(cutoff)) FROM {production:Identifier}.rebuild_state FINAL WHERE target = 'pnl') AS state_of
FROM (
  SELECT
    owner, condition_id_norm, resolved_at, ifNull(toDate(resolved_at) <= {as_of:Date}, 1) AS here
  FROM {production:Identifier}.wallet_token_pnl
  WHERE resolved = 1
)

-- name: leaderboard_sources_agree
-- Whether profits and cash flows come from the same history: then their dollars are the same.
SELECT
  (SELECT (count(), sum(trade_cash_micro)) FROM {production:Identifier}.wallet_token_pnl)
    = (SELECT (count(), sum(cashflow_micro - redemptions_micro)) FROM {production:Identifier}.trade_cashflows_v3)

-- name: leaderboard_owner_spread
-- How many rows there are for owners whose address begins with the same byte.
SELECT reinterpretAsUInt8(unhex(substring(owner, 3, 2))) AS head, count() AS rows
FROM {production:Identifier}.wallet_token_pnl
GROUP BY head
ORDER BY head

-- name: leaderboard_token_spread
-- How many fills there are of tokens that begin with the same two bytes.
SELECT toUInt32(bitShiftRight(token_id, 240)) AS head, count() AS rows
FROM {production:Identifier}.clob_fills
GROUP BY head
ORDER BY head

-- name: prepare_board_categories
-- An empty place for the category of each market.
CREATE OR REPLACE TABLE {staging:Identifier}.board_categories (condition_id_norm String, category String)
ENGINE = MergeTree
ORDER BY condition_id_norm

-- name: prepare_board_wallet_fills
-- An empty place for the fills of each owner in a portion of tokens.
CREATE OR REPLACE TABLE {staging:Identifier}.board_wallet_fills (
  owner String,
  wallets Array(String),
  fills UInt64,
  mapped_fills UInt64,
  volume Int128,
  mapped_volume Int128,
  tokens UInt64,
  mapped_tokens UInt64,
  closed_tokens UInt64,
  paid_tokens UInt64
)
ENGINE = MergeTree
ORDER BY owner

-- name: prepare_board_market_fills
-- An empty place for the fills of each mapped and traded token.
CREATE OR REPLACE TABLE {staging:Identifier}.board_market_fills (
  condition_id_norm String,
  fills UInt64,
  volume Int128,
  priced UInt8,
  first_fill DateTime('UTC'),
  last_fill DateTime('UTC')
)
ENGINE = MergeTree
ORDER BY condition_id_norm

-- name: clear_board
-- A scratch table, or the place beside a table, emptied.
TRUNCATE TABLE IF EXISTS {staging:Identifier}.{table:Identifier}

-- name: fill_board_categories
-- Of a market's tags the one that stands first in tag_categories decides, whatever their order.
INSERT INTO {staging:Identifier}.board_categories
SELECT m.condition_id_norm, argMin(t.category, (t.rank, t.category))
FROM (
  SELECT condition_id_norm, lower(trimBoth(arrayJoin(tags))) AS tag FROM {production:Identifier}.markets FINAL
) AS m
INNER JOIN {analytics:Identifier}.tag_categories AS t ON t.tag = m.tag
GROUP BY m.condition_id_norm

-- name: add_market_returns
-- Resolved markets of a range of owners. An owner's wallets are one, and so are the outcomes of a market.
INSERT INTO {staging:Identifier}.market_returns_next
  (owner, condition_id_norm, category, wallets, resolved_at, realized_micro, cost_micro, volume_micro, fees_micro,
   return, trades, first_activity, last_activity)
WITH
  mine AS (
    SELECT
      wallet, owner, condition_id_norm, outcome_idx, resolved_at, realized_cash_micro, volume_micro, fees_micro, fills,
      first_activity, last_activity
    FROM {production:Identifier}.wallet_token_pnl
    WHERE resolved = 1 AND owner BETWEEN {low:String} AND {high:String}
  ),
  summed AS (
    SELECT
      p.owner AS owner, p.condition_id_norm AS condition_id_norm, uniqExact(p.wallet) AS wallets,
      max(p.resolved_at) AS resolved_at, sum(p.realized_cash_micro) AS realized,
      sum(f.costs_micro + f.fees_micro + f.splits_micro) AS cost,
      sum(p.volume_micro) AS volume, sum(p.fees_micro) AS fees, sum(p.fills) AS trades,
      min(p.first_activity) AS first_activity, max(p.last_activity) AS last_activity
    FROM mine AS p
    LEFT JOIN (
      SELECT wallet, condition_id_norm, outcome_idx, costs_micro, fees_micro, splits_micro
      FROM {production:Identifier}.trade_cashflows_v3
      WHERE wallet IN (SELECT wallet FROM mine)
    ) AS f ON f.wallet = p.wallet AND f.condition_id_norm = p.condition_id_norm AND f.outcome_idx = p.outcome_idx
    GROUP BY p.owner, p.condition_id_norm
  )
SELECT
  s.owner, s.condition_id_norm, if(c.category = '', 'other', c.category), s.wallets, s.resolved_at, s.realized, s.cost,
  s.volume, s.fees,
  if(s.cost <= 0, NULL, toNullable(reinterpret(
    toInt128(intDiv(toInt256(s.realized) * 1000000000, toInt256(greatest(s.cost, 1)))), 'Decimal(38, 9)'))),
  s.trades, s.first_activity, s.last_activity
FROM summed AS s
LEFT JOIN {staging:Identifier}.board_categories AS c ON c.condition_id_norm = s.condition_id_norm

-- name: add_omega_daily
-- Gains and losses of a range of owners by day of resolution. A market's excess over theta is in 1e-15 dollars.
INSERT INTO {staging:Identifier}.omega_daily_next
  (owner, day, theta, markets, wins, trades, realized_micro, cost_micro, gains_usd, losses_usd, omega, no_losses)
WITH
  summed AS (
    SELECT
      owner, toDate(assumeNotNull(resolved_at)) AS on_day, count() AS markets, sum(trades) AS trades,
      sum(realized_micro) AS realized, sum(cost_micro) AS cost,
      countIf(excess > 0) AS wins,
      sumIf(excess, excess > 0) AS gains, -sumIf(excess, excess < 0) AS losses
    FROM (
      SELECT *,
        toInt256(realized_micro) * 1000000000 - toInt256(cost_micro) * {theta_nano:Int64} AS excess
      FROM {staging:Identifier}.market_returns_next
      WHERE owner BETWEEN {low:String} AND {high:String} AND isNotNull(resolved_at)
    )
    GROUP BY owner, on_day
  )
SELECT
  owner, on_day, toDecimal64({theta:String}, 9), markets, wins, trades, realized, cost,
  reinterpret(gains, 'Decimal(76, 15)'), reinterpret(losses, 'Decimal(76, 15)'),
  if(losses = 0, NULL, toNullable(
    reinterpret(intDiv(gains * 1000000000000, greatest(losses, toInt256(1))), 'Decimal(76, 12)'))),
  losses = 0 AND gains > 0
FROM summed

-- name: keep_leaderboard_omega_daily
-- What else is known as of that day: other periods, other thetas.
INSERT INTO {staging:Identifier}.leaderboard_omega_daily_next
SELECT * FROM {analytics:Identifier}.leaderboard_omega_daily
WHERE as_of = {as_of:Date}
  AND (period NOT IN {names:Array(String)} OR theta != toDecimal64({theta:String}, 9))

-- name: add_leaderboard_omega_daily
-- A range of owners by period and category. A period of N days has the last N that end with `as_of`; `all` (0 days)
-- also has the markets of which nobody knows when they were resolved.
INSERT INTO {staging:Identifier}.leaderboard_omega_daily_next
  (as_of, period, category, wallet, theta, wallets, markets, wins, trade_count, volume_usd, cost_usd,
   realized_pnl_usd, gains_usd, losses_usd, omega, no_losses, last_activity, fills_share, enough_trades,
   enough_markets, enough_coverage, eligible)
WITH
  items AS (
    SELECT
      owner, trades, volume_micro, cost_micro, realized_micro,
      toInt256(realized_micro) * 1000000000 - toInt256(cost_micro) * {theta_nano:Int64} AS excess,
      arrayJoin(['overall', toString(category)]) AS board,
      arrayJoin(arrayFilter(
        (name, days) -> days = 0 OR ifNull(toInt32(toDate(resolved_at)) > toInt32({as_of:Date}) - toInt32(days), 0),
        {names:Array(String)}, {days:Array(UInt16)})) AS span
    FROM {staging:Identifier}.market_returns_next
    WHERE owner BETWEEN {low:String} AND {high:String}
      AND (isNull(resolved_at) OR toDate(resolved_at) <= {as_of:Date})
  ),
  summed AS (
    SELECT
      owner, span, board, count() AS many, countIf(excess > 0) AS won, sum(trades) AS fills,
      sum(volume_micro) AS volume, sum(cost_micro) AS cost, sum(realized_micro) AS realized,
      sumIf(excess, excess > 0) AS gains, -sumIf(excess, excess < 0) AS losses
    FROM items
    GROUP BY owner, span, board
  ),
  people AS (
    SELECT owner, arraySort(groupUniqArray(wallet)) AS addresses, max(last_activity) AS latest
    FROM {production:Identifier}.wallet_token_pnl
    WHERE owner BETWEEN {low:String} AND {high:String}
    GROUP BY owner
  ),
  covered AS (
    SELECT wallet, fills_share, eligible AS enough
    FROM {staging:Identifier}.wallet_coverage_metrics_next
    WHERE wallet BETWEEN {low:String} AND {high:String}
  )
SELECT
  {as_of:Date}, s.span, s.board, s.owner, toDecimal64({theta:String}, 9), p.addresses, s.many, s.won, s.fills,
  reinterpret(s.volume, 'Decimal(38, 6)'), reinterpret(s.cost, 'Decimal(38, 6)'),
  reinterpret(s.realized, 'Decimal(38, 6)'),
  reinterpret(s.gains, 'Decimal(76, 15)'), reinterpret(s.losses, 'Decimal(76, 15)'),
  if(s.losses = 0, NULL, toNullable(
    reinterpret(intDiv(s.gains * 1000000000000, greatest(s.losses, toInt256(1))), 'Decimal(76, 12)'))),
  s.losses = 0 AND s.gains > 0,
  p.latest, c.fills_share,
  s.fills >= {min_trades:UInt64} AS trades_ok,
  s.many >= {min_markets:UInt64} AS markets_ok,
  {min_ppm:UInt32} = 0 OR c.enough = 1 AS coverage_ok,
  trades_ok AND markets_ok AND coverage_ok
FROM summed AS s
INNER JOIN people AS p ON p.owner = s.owner
LEFT JOIN covered AS c ON c.wallet = s.owner

-- name: swap_leaderboard_day
-- The day takes the place of what was there of it; other days are not touched.
ALTER TABLE {analytics:Identifier}.leaderboard_omega_daily
REPLACE PARTITION {day:String} FROM {staging:Identifier}.leaderboard_omega_daily_next

-- name: drop_leaderboard_day
-- A day that has come out empty.
ALTER TABLE {analytics:Identifier}.leaderboard_omega_daily DROP PARTITION {day:String}

-- name: keep_leaderboard_omega
-- The periods that are not built this time stay as they are.
INSERT INTO {staging:Identifier}.leaderboard_omega_next
SELECT * FROM {analytics:Identifier}.leaderboard_omega WHERE period NOT IN {names:Array(String)}

-- name: add_leaderboard_omega
-- Without losses omega is beyond every number, so those come first. The address decides what nothing else does. The
-- frame is of one row: from the first row on, as it is by default, a whole category would be held in memory.
INSERT INTO {staging:Identifier}.leaderboard_omega_next
  (period, rank, category, wallet, as_of, theta, wallets, markets, wins, trade_count, volume_usd, cost_usd,
   realized_pnl_usd, gains_usd, losses_usd, omega, no_losses, last_activity, fills_share, enough_trades,
   enough_markets, enough_coverage, eligible)
SELECT
  period,
  row_number() OVER (
    PARTITION BY period, category
    ORDER BY no_losses DESC, omega DESC, realized_pnl_usd DESC, markets DESC, wallet
    ROWS BETWEEN CURRENT ROW AND CURRENT ROW),
  category, wallet, as_of, theta, wallets, markets, wins, trade_count, volume_usd, cost_usd,
   realized_pnl_usd, gains_usd, losses_usd, omega, no_losses, last_activity, fills_share, enough_trades,
   enough_markets, enough_coverage, eligible
FROM {staging:Identifier}.leaderboard_omega_daily_next
WHERE theta = toDecimal64({theta:String}, 9) AND period IN {names:Array(String)} AND eligible = 1
  AND (isNotNull(omega) OR no_losses = 1)

-- name: keep_leaderboard_whales
-- The periods that are not built this time stay as they are.
INSERT INTO {staging:Identifier}.leaderboard_whales_next
SELECT * FROM {analytics:Identifier}.leaderboard_whales WHERE period NOT IN {names:Array(String)}

-- name: add_leaderboard_whales
-- Whoever made most. One market is enough to be here; unknown trades are not. The frame as in add_leaderboard_omega.
INSERT INTO {staging:Identifier}.leaderboard_whales_next
  (period, rank, category, wallet, as_of, theta, wallets, markets, wins, trade_count, volume_usd, cost_usd,
   realized_pnl_usd, gains_usd, losses_usd, omega, no_losses, last_activity, fills_share, enough_trades,
   enough_markets, enough_coverage, eligible)
SELECT
  period,
  row_number() OVER (
    PARTITION BY period, category
    ORDER BY realized_pnl_usd DESC, volume_usd DESC, markets DESC, wallet
    ROWS BETWEEN CURRENT ROW AND CURRENT ROW),
  category, wallet, as_of, theta, wallets, markets, wins, trade_count, volume_usd, cost_usd,
   realized_pnl_usd, gains_usd, losses_usd, omega, no_losses, last_activity, fills_share, enough_trades,
   enough_markets, enough_coverage, eligible
FROM {staging:Identifier}.leaderboard_omega_daily_next
WHERE theta = toDecimal64({theta:String}, 9) AND period IN {names:Array(String)} AND enough_coverage = 1

-- name: swap_board
EXCHANGE TABLES {staging:Identifier}.{beside:Identifier} AND {analytics:Identifier}.{table:Identifier}

-- name: count_board
SELECT count() FROM {staging:Identifier}.{table:Identifier}

-- name: add_wallet_fills
-- The fills of a range of tokens by owner: each token is in one range only, so that the counts of ranges add up.
INSERT INTO {staging:Identifier}.board_wallet_fills
SELECT
  person,
  groupUniqArrayArray(makers),
  sum(f.fills), sumIf(f.fills, m.condition_id_norm != ''),
  sum(f.volume), sumIf(f.volume, m.condition_id_norm != ''),
  count(), countIf(m.condition_id_norm != ''), countIf(m.closed OR m.paid), countIf(m.paid)
FROM (
  SELECT
    if(o.owner = '', maker, o.owner) AS person, token_id,
    groupUniqArray(maker) AS makers, count() AS fills, sum(toInt128(usdc_micro)) AS volume
  FROM {production:Identifier}.clob_fills
  LEFT JOIN (
    SELECT proxy_wallet, argMin(user_eoa, (evidence != 'create2', user_eoa)) AS owner
    FROM {production:Identifier}.pm_user_proxy_wallets
    WHERE proxy_wallet IN (
      SELECT maker FROM {production:Identifier}.clob_fills WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
    )
    GROUP BY proxy_wallet
  ) AS o ON o.proxy_wallet = maker
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND maker NOT IN {contracts:Array(String)}
  GROUP BY person, token_id
) AS f
LEFT JOIN (
  SELECT
    token_id, condition_id_norm,
    condition_id_norm IN (
      SELECT condition_id_norm FROM {production:Identifier}.markets FINAL WHERE closed = 1
    ) AS closed,
    condition_id_norm IN (
      SELECT condition_id_norm FROM {production:Identifier}.market_resolutions_final FINAL WHERE payout_denominator > 0
    ) AS paid
  FROM {production:Identifier}.ctf_token_map FINAL
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
) AS m ON m.token_id = f.token_id
GROUP BY person

-- name: add_market_fills
-- The fills of a range of mapped tokens, token by token.
INSERT INTO {staging:Identifier}.board_market_fills
SELECT m.condition_id_norm, f.fills, f.volume, f.priced, f.first_fill, f.last_fill
FROM (
  SELECT
    token_id, count() AS fills, sum(toInt128(usdc_micro)) AS volume, max(shares_micro > 0) AS priced,
    min(timestamp) AS first_fill, max(timestamp) AS last_fill
  FROM {production:Identifier}.clob_fills
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
  GROUP BY token_id
) AS f
INNER JOIN (
  SELECT token_id, condition_id_norm
  FROM {production:Identifier}.ctf_token_map FINAL
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
) AS m ON m.token_id = f.token_id

-- name: add_wallet_coverage
-- The sums of all ranges, with the positions that are open, and what the gates say of a range of owners.
INSERT INTO {staging:Identifier}.wallet_coverage_metrics_next
  (wallet, wallets, fills, mapped_fills, volume_micro, mapped_volume_micro, tokens, mapped_tokens, closed_tokens,
   paid_tokens, open_positions, priced_positions, fills_share, volume_share, tokens_share, payout_share, price_share,
   min_share, mapping_ok, payout_ok, price_ok, eligible)
WITH
  traded AS (
    SELECT
      owner, length(groupUniqArrayArray(wallets)) AS addresses, sum(fills) AS n, sum(mapped_fills) AS known_n,
      sum(volume) AS usd, sum(mapped_volume) AS known_usd, sum(tokens) AS ids, sum(mapped_tokens) AS known_ids,
      sum(closed_tokens) AS over, sum(paid_tokens) AS paid
    FROM {staging:Identifier}.board_wallet_fills
    WHERE owner BETWEEN {low:String} AND {high:String}
    GROUP BY owner
  ),
  held AS (
    SELECT owner, count() AS many, countIf(isNotNull(last_price)) AS priced
    FROM {production:Identifier}.wallet_unrealized_pnl_v2
    WHERE owner BETWEEN {low:String} AND {high:String}
    GROUP BY owner
  )
SELECT
  t.owner, t.addresses, n, known_n, usd, known_usd, ids, known_ids, over, paid, h.many AS open, h.priced AS priced,
  if(n = 0, NULL, toNullable(reinterpret(
    toInt32(intDiv(toInt256(known_n) * 1000000, toInt256(greatest(n, 1)))), 'Decimal(9, 6)'))) AS by_fills,
  if(usd = 0, NULL, toNullable(reinterpret(
    toInt32(intDiv(toInt256(known_usd) * 1000000, toInt256(greatest(usd, 1)))), 'Decimal(9, 6)'))) AS by_volume,
  if(ids = 0, NULL, toNullable(reinterpret(
    toInt32(intDiv(toInt256(known_ids) * 1000000, toInt256(greatest(ids, 1)))), 'Decimal(9, 6)'))),
  if(over = 0, NULL, toNullable(reinterpret(
    toInt32(intDiv(toInt256(paid) * 1000000, toInt256(greatest(over, 1)))), 'Decimal(9, 6)'))),
  if(open = 0, NULL, toNullable(reinterpret(
    toInt32(intDiv(toInt256(priced) * 1000000, toInt256(greatest(open, 1)))), 'Decimal(9, 6)'))),
  reinterpret(toInt32({min_ppm:UInt32}), 'Decimal(9, 6)'),
  if(n = 0, NULL, toNullable(
    toUInt8(toInt256(known_n) * 1000000 >= toInt256(n) * {min_ppm:UInt32}
            AND toInt256(known_usd) * 1000000 >= toInt256(usd) * {min_ppm:UInt32}))) AS mapping,
  if(over = 0, NULL, toNullable(toUInt8(toInt256(paid) * 1000000 >= toInt256(over) * {min_ppm:UInt32}))) AS payout,
  if(open = 0, NULL, toNullable(toUInt8(toInt256(priced) * 1000000 >= toInt256(open) * {min_ppm:UInt32}))),
  ifNull(mapping, 0) AND ifNull(payout, 1)
FROM traded AS t
LEFT JOIN held AS h ON h.owner = t.owner

-- name: add_market_coverage
-- Every condition that a listing, the map or a payout names.
INSERT INTO {staging:Identifier}.market_coverage_metrics_next
  (condition_id_norm, category, listed, outcomes, mapped_tokens, traded_tokens, priced_tokens, fills, volume_micro,
   listed_volume_usd, first_fill, last_fill, closed, resolved, resolved_at, mapping_ok, payout_ok, price_ok)
WITH
  facts AS (
    SELECT
      condition_id_norm, 1 AS listed,
      if(notEmpty(token_ids), toNullable(toUInt32(length(token_ids))),
         if(notEmpty(outcomes), toNullable(toUInt32(length(outcomes))), NULL)) AS outcomes,
      0 AS mapped, 0 AS traded, 0 AS priced, toUInt64(0) AS fills, toInt128(0) AS volume, volume_usd AS listed_volume,
      CAST(NULL AS Nullable(DateTime('UTC'))) AS first_fill, CAST(NULL AS Nullable(DateTime('UTC'))) AS last_fill,
      closed, 0 AS resolved, CAST(NULL AS Nullable(DateTime('UTC'))) AS resolved_at
    FROM {production:Identifier}.markets FINAL
    UNION ALL
    SELECT condition_id_norm, 0, NULL, count(), 0, 0, 0, 0, NULL, NULL, NULL, NULL, 0, NULL
    FROM {production:Identifier}.ctf_token_map FINAL
    GROUP BY condition_id_norm
    UNION ALL
    SELECT
      condition_id_norm, 0, NULL, 0, count(), sum(toUInt32(f.priced)), sum(f.fills), sum(f.volume), NULL,
      min(f.first_fill), max(f.last_fill), NULL, 0, NULL
    FROM {staging:Identifier}.board_market_fills AS f
    GROUP BY condition_id_norm
    UNION ALL
    SELECT
      condition_id_norm, 0, toUInt32(length(payout_numerators)), 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, 1, resolved_at
    FROM {production:Identifier}.market_resolutions_final FINAL
    WHERE payout_denominator > 0
  ),
  summed AS (
    SELECT
      condition_id_norm, max(f.listed) AS in_listing, max(f.outcomes) AS places, sum(f.mapped) AS known,
      sum(f.traded) AS moved, sum(f.priced) AS with_price, sum(f.fills) AS n, sum(f.volume) AS usd,
      max(f.listed_volume) AS told_usd, min(f.first_fill) AS since, max(f.last_fill) AS until,
      max(f.closed) AS shut, max(f.resolved) AS paid, max(f.resolved_at) AS paid_at
    FROM facts AS f
    GROUP BY condition_id_norm
  )
SELECT
  s.condition_id_norm, if(c.category = '', 'other', c.category), in_listing, places, known, moved, with_price, n, usd,
  told_usd, since, until, shut, paid, paid_at,
  if(isNull(places), NULL, toNullable(toUInt8(known >= assumeNotNull(places)))),
  if(ifNull(shut, 0) = 0 AND paid = 0, NULL, toNullable(toUInt8(paid))),
  if(moved = 0, NULL, toNullable(toUInt8(with_price = moved)))
FROM summed AS s
LEFT JOIN {staging:Identifier}.board_categories AS c ON c.condition_id_norm = s.condition_id_norm

-- name: leaderboard_top
-- The first rows of a ranking, in order.
SELECT *
FROM {analytics:Identifier}.{table:Identifier}
WHERE period = {period:String} AND category = {category:String}
ORDER BY rank
LIMIT {top:UInt32}

-- name: leaderboard_categories
-- What a period of a ranking can be asked for.
SELECT DISTINCT category
FROM {analytics:Identifier}.{table:Identifier}
WHERE period = {period:String}
ORDER BY category

-- name: board_source_files
-- The files of the tables that a build reads: every change of a row makes others of them.
SELECT count() AS parts, toString(groupBitXor(cityHash64(table, name, rows, hash_of_all_files))) AS files
FROM system.parts
WHERE active AND database = {database:String} AND table IN {tables:Array(String)}

-- name: board_tags
-- Which tags mean which category: a release may change it.
SELECT toString(groupBitXor(cityHash64(tag, category, rank))) FROM {analytics:Identifier}.tag_categories

-- name: board_last_build
-- What was built last.
SELECT wish, sources, rows FROM {analytics:Identifier}.leaderboard_state FINAL WHERE what = 'build'

-- name: board_rows
-- Rows of each table that a build makes, as they are now; of the daily one those of a day.
SELECT 'wallet_market_returns' AS table, count() AS rows FROM {analytics:Identifier}.wallet_market_returns
UNION ALL
SELECT 'wallet_omega_daily', count() FROM {analytics:Identifier}.wallet_omega_daily
UNION ALL
SELECT 'market_coverage_metrics', count() FROM {analytics:Identifier}.market_coverage_metrics
UNION ALL
SELECT 'wallet_coverage_metrics', count() FROM {analytics:Identifier}.wallet_coverage_metrics
UNION ALL
SELECT 'leaderboard_omega', count() FROM {analytics:Identifier}.leaderboard_omega
UNION ALL
SELECT 'leaderboard_whales', count() FROM {analytics:Identifier}.leaderboard_whales
UNION ALL
SELECT 'leaderboard_omega_daily', count() FROM {analytics:Identifier}.leaderboard_omega_daily
WHERE as_of = {as_of:Date}

-- name: board_old_days
-- Days that lie more than so many before a day.
SELECT DISTINCT toString(as_of) AS as_of
FROM {analytics:Identifier}.leaderboard_omega_daily AS d
WHERE toInt32(d.as_of) < toInt32({as_of:Date}) - {keep_days:Int32}
ORDER BY as_of
