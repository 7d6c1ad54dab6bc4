-- name: rebuild_still_running
-- Statements of a rebuild whose client was killed: the server may still be busy with them.
SELECT count()
FROM system.processes
WHERE match(query, '(?s)^(\\s|--[^\\n]*\\n)*INSERT INTO[^(]*(rebuild_|positions_v2_next|cashflows_v3_next|_pnl_next)')

-- name: rebuild_sources
-- Whether there is anything to compute from.
SELECT
  (SELECT count() FROM {production:Identifier}.clob_fills) AS fills,
  (SELECT count() FROM {production:Identifier}.ctf_activity) AS events,
  (SELECT count() FROM {production:Identifier}.erc1155_transfers) AS transfers,
  (SELECT count() FROM {production:Identifier}.ctf_token_map) AS tokens

-- name: clear_rebuild
-- A scratch table of the rebuild, emptied.
TRUNCATE TABLE IF EXISTS {staging:Identifier}.{table:Identifier}

-- name: prepare_rebuild_conditions
-- An empty place for what is known of each condition: how many outcomes, whose group, how it ended.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_conditions (
  condition_id_norm String,
  outcomes UInt16,
  neg_risk Nullable(UInt8),
  numerators Array(UInt64),
  denominator UInt64,
  resolved_at Nullable(DateTime('UTC'))
)
ENGINE = MergeTree
ORDER BY condition_id_norm

-- name: prepare_rebuild_questions
-- An empty place for the questions of each neg-risk market; `place` counts those that we know.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_questions (
  market_id String,
  question UInt16,
  place UInt16,
  condition_id_norm String
)
ENGINE = MergeTree
ORDER BY (market_id, question)

-- name: prepare_rebuild_hashes
-- An empty place for what the rows of each wallet add up to now.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_hashes (wallet String, rows_hash UInt64)
ENGINE = MergeTree
ORDER BY wallet

-- name: prepare_rebuild_changed_conditions
-- An empty place for the conditions of which something else is known than last time.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_changed_conditions (condition_id_norm String, facts_hash UInt64)
ENGINE = MergeTree
ORDER BY condition_id_norm

-- name: prepare_rebuild_changed
-- An empty place for the wallets that have other rows than last time, or rows that mean something else now.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_changed (wallet String, rows_hash UInt64)
ENGINE = MergeTree
ORDER BY wallet

-- name: prepare_rebuild_wallets
-- An empty place for the wallets that are to be computed.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_wallets (wallet String)
ENGINE = MergeTree
ORDER BY wallet

-- name: prepare_rebuild_gifts
-- An empty place for movements of shares between wallets.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_gifts (
  token_id UInt256,
  sender String,
  receiver String,
  amount UInt256,
  at DateTime('UTC'),
  block UInt64,
  log_index UInt32
)
ENGINE = MergeTree
ORDER BY token_id

-- name: prepare_rebuild_conversions
-- An empty place for conversions: `bits` says of which questions the NO shares go, `chosen` how many those are.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_conversions (
  wallet String,
  conversion UInt64,
  market_id String,
  bits UInt256,
  amount Int128,
  chosen UInt16,
  questions UInt16,
  at DateTime('UTC'),
  block UInt64,
  log_index UInt32
)
ENGINE = MergeTree
ORDER BY (wallet, conversion)

-- name: prepare_rebuild_no_prices
-- An empty place for what the NO shares of each conversion had cost on average, added up.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_no_prices (wallet String, conversion UInt64, total Int256)
ENGINE = MergeTree
ORDER BY (wallet, conversion)

-- name: prepare_rebuild_events
-- An empty place for everything that happened to a wallet's shares of an outcome, a row each. Kinds stand in the order
-- in which they are taken when nothing else tells: what brings shares comes before what takes them. `usdc` is what was
-- paid or received, before fees; `price` micro-dollars a share. A redemption may be of all that is held (`burns_all`),
-- or for the average cost of all that is tracked (`sells_all`); `priced` is 0 where the payout is not known.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_events (
  bucket UInt16 DEFAULT cityHash64(wallet) % 1024,
  wallet String,
  condition_id_norm String,
  outcome_idx UInt8,
  at DateTime('UTC'),
  block UInt64,
  log_index UInt32,
  kind Enum8('split' = 1, 'buy' = 2, 'get' = 3, 'receive' = 4, 'sell' = 5, 'convert' = 6, 'merge' = 7, 'give' = 8,
             'redeem' = 9),
  shares Int128,
  fee_shares Int128,
  usdc Int128,
  fee_usdc Int128,
  fee_unknown UInt8,
  price Int128,
  burns_all UInt8,
  sells_all UInt8,
  priced UInt8,
  conversion UInt64
)
ENGINE = MergeTree
ORDER BY (bucket, wallet, condition_id_norm, outcome_idx)

-- name: prepare_rebuild_rows
-- An empty place for what the events of one portion add up to, by wallet and outcome; each lane has its own.
CREATE OR REPLACE TABLE {staging:Identifier}.{rebuild_rows:Identifier} (
  wallet String,
  condition_id_norm String,
  outcome_idx UInt8,
  net Int128,
  bought Int128,
  sold Int128,
  fee_shares Int128,
  split Int128,
  merged Int128,
  converted Int128,
  redeemed Int128,
  transferred Int128,
  fills UInt64,
  first_at DateTime('UTC'),
  last_at DateTime('UTC'),
  proceeds Int128,
  costs Int128,
  fees Int128,
  fees_unknown UInt64,
  splits Int128,
  merges Int128,
  conversions Int128,
  redemptions Int128,
  tracked Int128,
  avg_price Int128,
  realized Int128,
  realized_dome Int128
)
ENGINE = MergeTree
ORDER BY (wallet, condition_id_norm, outcome_idx)

-- name: prepare_rebuild_prices
-- An empty place for the last fill of every token whose condition is open.
CREATE OR REPLACE TABLE {staging:Identifier}.rebuild_prices (
  condition_id_norm String,
  outcome_idx UInt8,
  usdc UInt64,
  shares UInt64,
  price Decimal(18, 9),
  at DateTime('UTC')
)
ENGINE = MergeTree
ORDER BY (condition_id_norm, outcome_idx)

-- name: fill_rebuild_conditions
-- What is known of each condition up to a moment. A resolution of unknown time is not part of any past state.
INSERT INTO {staging:Identifier}.rebuild_conditions
SELECT
  condition_id_norm, max(outcomes), max(neg_risk), argMax(numerators, denominator), max(denominator), max(resolved_at)
FROM (
  SELECT
    condition_id_norm, toUInt16(length(payout_numerators)) AS outcomes, CAST(NULL, 'Nullable(UInt8)') AS neg_risk,
    payout_numerators AS numerators, payout_denominator AS denominator, resolved_at
  FROM {production:Identifier}.market_resolutions_final FINAL
  WHERE payout_denominator > 0
    AND ({cutoff:UInt32} = 4294967295 OR ifNull(resolved_at <= toDateTime({cutoff:UInt32}, 'UTC'), 0))
  UNION ALL
  SELECT
    condition_id_norm, toUInt16(length(token_ids)), neg_risk,
    CAST([], 'Array(UInt64)'), 0, CAST(NULL, 'Nullable(DateTime(\'UTC\'))')
  FROM {production:Identifier}.markets FINAL
)
GROUP BY condition_id_norm

-- name: fill_rebuild_questions
-- The number of a question is the last byte of its id.
INSERT INTO {staging:Identifier}.rebuild_questions
SELECT
  assumeNotNull(neg_risk_market_id) AS market_id,
  reinterpretAsUInt8(unhex(right(assumeNotNull(question_id), 2))) AS question,
  row_number() OVER (PARTITION BY market_id ORDER BY question, condition_id_norm) - 1,
  condition_id_norm
FROM {production:Identifier}.markets FINAL
WHERE isNotNull(neg_risk_market_id) AND isNotNull(question_id)

-- name: fill_rebuild_gifts
-- Movements between wallets: neither end is a contract of the protocol or nobody, nor did one of those bring it about.
INSERT INTO {staging:Identifier}.rebuild_gifts
SELECT token_id, from_address, to_address, amount_micro, timestamp, block_number, log_index
FROM {production:Identifier}.erc1155_transfers
WHERE from_address NOT IN {contracts:Array(String)} AND to_address NOT IN {contracts:Array(String)}
  AND operator NOT IN {contracts:Array(String)} AND from_address != to_address AND amount_micro > 0
  AND timestamp <= toDateTime({cutoff:UInt32}, 'UTC')

-- name: hash_rebuild_wallets
-- What the rows of each wallet add up to: facts that the results depend on, whatever their order. In tuples, because
-- the hash of a NULL alone is NULL, and a sum leaves that out.
INSERT INTO {staging:Identifier}.rebuild_hashes
SELECT wallet, sum(h) AS rows_hash
FROM (
  SELECT maker AS wallet,
    cityHash64(1, tuple(token_id, side, shares_micro, usdc_micro, fee_micro, fee_asset, timestamp, block_number,
                        log_index, exchange_version)) AS h
  FROM {production:Identifier}.clob_fills
  UNION ALL
  SELECT wallet,
    cityHash64(2, tuple(event_id, kind, condition_id_norm, neg_risk_market_id, index_sets, amount_micro, amounts_micro,
                        payout_micro, question_count, timestamp, block_number, log_index))
  FROM {production:Identifier}.ctf_activity
  UNION ALL
  SELECT arrayJoin([sender, receiver]), cityHash64(3, token_id, sender, receiver, amount, at, block, log_index)
  FROM {staging:Identifier}.rebuild_gifts
  UNION ALL
  SELECT proxy_wallet, cityHash64(4, user_eoa, evidence) FROM {production:Identifier}.pm_user_proxy_wallets FINAL
)
GROUP BY wallet

-- name: find_changed_conditions
-- Conditions whose tokens, payout, kind or group are not what they were.
INSERT INTO {staging:Identifier}.rebuild_changed_conditions
SELECT condition_id_norm, sumIf(h, now) AS facts_hash
FROM (
  SELECT condition_id_norm, cityHash64(1, token_id, outcome_index) AS h, 1 AS now
  FROM {production:Identifier}.ctf_token_map FINAL
  UNION ALL
  SELECT condition_id_norm, cityHash64(2, tuple(outcomes, neg_risk, numerators, denominator, resolved_at)), 1
  FROM {staging:Identifier}.rebuild_conditions
  UNION ALL
  SELECT q.condition_id_norm, cityHash64(3, q.market_id, g.h), 1
  FROM {staging:Identifier}.rebuild_questions AS q
  INNER JOIN (
    SELECT market_id, sum(cityHash64(question, condition_id_norm)) AS h
    FROM {staging:Identifier}.rebuild_questions
    GROUP BY market_id
  ) AS g ON g.market_id = q.market_id
  UNION ALL
  SELECT condition_id_norm, facts_hash, 0 FROM {staging:Identifier}.rebuild_seen_conditions FINAL
)
GROUP BY condition_id_norm
HAVING facts_hash != sumIf(h, now = 0)

-- name: find_changed_wallets
-- Wallets that have other rows than last time, and those that have, or had, to do with a changed condition.
INSERT INTO {staging:Identifier}.rebuild_changed
SELECT wallet, sumIf(h, now = 1) AS rows_hash
FROM (
  SELECT wallet, rows_hash AS h, 1 AS now FROM {staging:Identifier}.rebuild_hashes
  UNION ALL
  SELECT wallet, rows_hash, 0 FROM {staging:Identifier}.rebuild_seen FINAL
  UNION ALL
  SELECT wallet, 0, 2
  FROM (
    WITH
      conditions AS (SELECT condition_id_norm FROM {staging:Identifier}.rebuild_changed_conditions),
      tokens AS (
        SELECT token_id FROM {production:Identifier}.ctf_token_map WHERE condition_id_norm IN (conditions)
      )
    SELECT DISTINCT maker AS wallet FROM {production:Identifier}.clob_fills WHERE token_id IN (tokens)
    UNION DISTINCT
    SELECT wallet FROM {production:Identifier}.ctf_activity
    WHERE condition_id_norm IN (conditions) OR neg_risk_market_id IN (
      SELECT market_id FROM {staging:Identifier}.rebuild_questions WHERE condition_id_norm IN (conditions)
    )
    UNION DISTINCT
    SELECT arrayJoin([sender, receiver]) FROM {staging:Identifier}.rebuild_gifts WHERE token_id IN (tokens)
    UNION DISTINCT
    SELECT wallet FROM {production:Identifier}.outcome_positions_v2 WHERE condition_id_norm IN (conditions)
    UNION DISTINCT
    SELECT wallet FROM {production:Identifier}.trade_cashflows_v3 WHERE condition_id_norm IN (conditions)
    UNION DISTINCT
    SELECT wallet FROM {production:Identifier}.wallet_token_pnl WHERE condition_id_norm IN (conditions)
  )
)
GROUP BY wallet
HAVING rows_hash != sumIf(h, now = 0) OR max(now) = 2

-- name: note_changed_wallets
INSERT INTO {staging:Identifier}.rebuild_seen (wallet, rows_hash, run)
SELECT wallet, rows_hash, {run:UInt64} FROM {staging:Identifier}.rebuild_changed

-- name: note_changed_conditions
INSERT INTO {staging:Identifier}.rebuild_seen_conditions (condition_id_norm, facts_hash, run)
SELECT condition_id_norm, facts_hash, {run:UInt64} FROM {staging:Identifier}.rebuild_changed_conditions

-- name: fill_rebuild_wallets
-- The wallets that changed after a rebuild, by those before and by this one.
INSERT INTO {staging:Identifier}.rebuild_wallets
SELECT DISTINCT wallet
FROM (
  SELECT wallet FROM {staging:Identifier}.rebuild_seen FINAL WHERE run > {run:UInt64}
  UNION ALL
  SELECT wallet FROM {staging:Identifier}.rebuild_changed
)

-- name: rebuild_last_run
-- The number of the last rebuild that looked for changes.
SELECT greatest(
  (SELECT max(run) FROM {staging:Identifier}.rebuild_seen),
  (SELECT max(run) FROM {staging:Identifier}.rebuild_seen_conditions),
  (SELECT max(run) FROM {production:Identifier}.rebuild_state)
)

-- name: rebuild_known
-- What the tables were last built from, and whether they still are those.
SELECT
  target, run, cutoff, rows,
  (toString(target), table_id) IN (
    SELECT
      transform(name, ['outcome_positions_v2', 'trade_cashflows_v3', 'wallet_token_pnl'],
                ['positions', 'cashflows', 'pnl'], ''),
      toString(uuid)
    FROM system.tables
    WHERE database = {database:String}
  ) AS sound
FROM {production:Identifier}.rebuild_state FINAL

-- name: rebuild_counts
-- How many wallets there are, and how many of them are to be computed.
SELECT
  (SELECT count() FROM {staging:Identifier}.rebuild_hashes) AS wallets,
  (SELECT count() FROM {staging:Identifier}.rebuild_wallets) AS changed,
  (SELECT count() FROM {staging:Identifier}.rebuild_changed_conditions) AS conditions

-- name: rebuild_token_spread
-- How many mapped tokens begin with the same two bytes; ids are hashes, so this is where to cut.
SELECT toUInt32(bitShiftRight(token_id, 240)) AS head, count() AS rows
FROM {production:Identifier}.ctf_token_map
GROUP BY head
ORDER BY head

-- name: add_fill_events
-- The fills of a range of tokens. Each counts for its maker, the taker's own order as well. V1 charges a buyer in
-- shares; everybody else is charged in dollars.
INSERT INTO {staging:Identifier}.rebuild_events
  (wallet, condition_id_norm, outcome_idx, at, block, log_index, kind, shares, fee_shares, usdc, fee_usdc, fee_unknown,
   price)
SELECT
  f.maker, m.condition_id_norm, m.outcome_index, f.timestamp, ifNull(f.block_number, 0), ifNull(f.log_index, 0),
  if(f.side = 'BUY', 'buy', 'sell'),
  f.shares_micro,
  if(ifNull(f.fee_asset = 'shares', f.side = 'BUY' AND ifNull(f.exchange_version, 1) = 1), ifNull(f.fee_micro, 0), 0),
  f.usdc_micro,
  if(ifNull(f.fee_asset = 'shares', f.side = 'BUY' AND ifNull(f.exchange_version, 1) = 1), 0, ifNull(f.fee_micro, 0)),
  isNull(f.fee_micro),
  if(f.shares_micro = 0, 0, intDiv(toInt128(f.usdc_micro) * 1000000, toInt128(f.shares_micro)))
FROM {production:Identifier}.clob_fills AS f
INNER JOIN (
  SELECT token_id, condition_id_norm, outcome_index
  FROM {production:Identifier}.ctf_token_map FINAL
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
) AS m ON m.token_id = f.token_id
WHERE f.token_id BETWEEN {low:UInt256} AND {high:UInt256}
  AND f.timestamp <= toDateTime({cutoff:UInt32}, 'UTC')
  AND f.maker NOT IN {contracts:Array(String)}
  AND ({everything:UInt8} = 1 OR f.maker IN (SELECT wallet FROM {staging:Identifier}.rebuild_wallets))

-- name: add_split_events
-- Splits and merges, a row for each outcome; the collateral is shared evenly among them, to the last micro-dollar.
INSERT INTO {staging:Identifier}.rebuild_events
  (wallet, condition_id_norm, outcome_idx, at, block, log_index, kind, shares, usdc, price)
SELECT
  a.wallet, assumeNotNull(a.condition_id_norm), o, a.timestamp, ifNull(a.block_number, 0), ifNull(a.log_index, 0),
  toString(a.kind),
  assumeNotNull(a.amount_micro) AS amount,
  intDiv((toInt128(o) + 1) * amount, n) - intDiv(toInt128(o) * amount, n),
  intDiv(1000000, n)
FROM (
  SELECT e.*, toInt128(if(c.outcomes < 2, 2, c.outcomes)) AS n
  FROM {production:Identifier}.ctf_activity AS e
  LEFT JOIN {staging:Identifier}.rebuild_conditions AS c ON c.condition_id_norm = assumeNotNull(e.condition_id_norm)
  WHERE e.kind IN ('split', 'merge') AND isNotNull(e.condition_id_norm) AND isNotNull(e.amount_micro)
    AND e.timestamp <= toDateTime({cutoff:UInt32}, 'UTC')
    AND e.wallet NOT IN {contracts:Array(String)}
    AND ({everything:UInt8} = 1 OR e.wallet IN (SELECT wallet FROM {staging:Identifier}.rebuild_wallets))
) AS a
ARRAY JOIN range(toUInt16(n)) AS o

-- name: add_redeem_events
-- Redemptions, a row for each outcome. Where the amounts are known they came through the neg-risk adapter; otherwise
-- the contract has burned all that was held of the outcomes named. What was paid is shared out by what each outcome
-- was due, to the last micro-dollar.
INSERT INTO {staging:Identifier}.rebuild_events
  (wallet, condition_id_norm, outcome_idx, at, block, log_index, kind, shares, usdc, price, burns_all, sells_all,
   priced)
WITH
  range(toUInt16(n)) AS places,
  notEmpty(amounts_micro) AS told,
  arrayMap(o -> empty(index_sets) OR arrayExists(s -> bitAnd(bitShiftRight(s, o), 1) = 1, index_sets), places) AS named,
  arrayMap(o -> if(told, toInt256(amounts_micro[o + 1]), toInt256(named[o + 1])), places) AS held,
  arrayMap(o -> held[o + 1] * if(denominator = 0, 1, numerators[o + 1]), places) AS due,
  if(arraySum(due) = 0, arrayMap(o -> toInt256(1), places), due) AS weights,
  arrayCumSum(weights) AS upto,
  toInt256(ifNull(payout_micro, 0)) AS paid,
  arrayMap(o -> intDiv(paid * upto[o + 1], upto[-1]) - intDiv(paid * (upto[o + 1] - weights[o + 1]), upto[-1]),
           places) AS parts
SELECT
  wallet, condition, o, timestamp, ifNull(block_number, 0), ifNull(log_index, 0), 'redeem',
  if(told, amounts_micro[o + 1], 0),
  parts[o + 1],
  if(denominator = 0, 0, intDiv(toInt128(numerators[o + 1]) * 1000000, toInt128(denominator))),
  NOT told AND named[o + 1],
  NOT (told AND ifNull(neg_risk, 1) = 1),
  denominator > 0
FROM (
  SELECT
    e.*, assumeNotNull(e.condition_id_norm) AS condition, c.neg_risk AS neg_risk, c.numerators AS numerators,
    c.denominator AS denominator, if(c.outcomes < 2, 2, c.outcomes) AS n
  FROM {production:Identifier}.ctf_activity AS e
  LEFT JOIN {staging:Identifier}.rebuild_conditions AS c ON c.condition_id_norm = assumeNotNull(e.condition_id_norm)
  WHERE e.kind = 'redeem' AND isNotNull(e.condition_id_norm)
    AND e.timestamp <= toDateTime({cutoff:UInt32}, 'UTC')
    AND e.wallet NOT IN {contracts:Array(String)}
    AND ({everything:UInt8} = 1 OR e.wallet IN (SELECT wallet FROM {staging:Identifier}.rebuild_wallets))
)
ARRAY JOIN places AS o

-- name: add_gift_events
-- Shares that went from wallet to wallet, a row for each of the two.
INSERT INTO {staging:Identifier}.rebuild_events
  (wallet, condition_id_norm, outcome_idx, at, block, log_index, kind, shares)
SELECT side.1, m.condition_id_norm, m.outcome_index, g.at, g.block, g.log_index, side.2, toInt128(g.amount)
FROM {staging:Identifier}.rebuild_gifts AS g
INNER JOIN (
  SELECT token_id, condition_id_norm, outcome_index
  FROM {production:Identifier}.ctf_token_map FINAL
  WHERE token_id IN (SELECT token_id FROM {staging:Identifier}.rebuild_gifts)
) AS m ON m.token_id = g.token_id
ARRAY JOIN [(g.sender, 'give'), (g.receiver, 'receive')] AS side
WHERE {everything:UInt8} = 1 OR side.1 IN (SELECT wallet FROM {staging:Identifier}.rebuild_wallets)

-- name: fill_rebuild_conversions
-- Conversions whose questions are told. How many questions the market had then, or has by what we know.
INSERT INTO {staging:Identifier}.rebuild_conversions
SELECT
  e.wallet, cityHash64(e.event_id), assumeNotNull(e.neg_risk_market_id), e.index_sets[1] AS bits,
  assumeNotNull(e.amount_micro), bitCount(bits) AS chosen,
  greatest(ifNull(e.question_count, q.questions), chosen),
  e.timestamp, ifNull(e.block_number, 0), ifNull(e.log_index, 0)
FROM {production:Identifier}.ctf_activity AS e
LEFT JOIN (
  SELECT market_id, count() AS questions FROM {staging:Identifier}.rebuild_questions GROUP BY market_id
) AS q ON q.market_id = assumeNotNull(e.neg_risk_market_id)
WHERE e.kind = 'convert' AND isNotNull(e.neg_risk_market_id) AND isNotNull(e.amount_micro) AND notEmpty(e.index_sets)
  AND e.timestamp <= toDateTime({cutoff:UInt32}, 'UTC')
  AND e.wallet NOT IN {contracts:Array(String)}
  AND ({everything:UInt8} = 1 OR e.wallet IN (SELECT wallet FROM {staging:Identifier}.rebuild_wallets))

-- name: add_convert_events
-- The NO shares that conversions take; the collateral that comes is shared evenly among those that we know.
INSERT INTO {staging:Identifier}.rebuild_events
  (wallet, condition_id_norm, outcome_idx, at, block, log_index, kind, shares, usdc, conversion)
WITH
  row_number() OVER (PARTITION BY c.wallet, c.conversion ORDER BY q.question) AS place,
  count() OVER (PARTITION BY c.wallet, c.conversion) AS known,
  toInt256(c.amount) * (c.chosen - 1) AS given
SELECT
  c.wallet, q.condition_id_norm, 1, c.at, c.block, c.log_index, 'convert', c.amount,
  intDiv(given * place, known) - intDiv(given * (place - 1), known),
  c.conversion
FROM {staging:Identifier}.rebuild_conversions AS c
INNER JOIN {staging:Identifier}.rebuild_questions AS q ON q.market_id = c.market_id
WHERE bitAnd(bitShiftRight(c.bits, q.question), 1) = 1

-- name: add_no_prices
-- What the NO shares of each conversion had cost on average until then: their own buys and sells decide, because no
-- conversion brings NO shares.
INSERT INTO {staging:Identifier}.rebuild_no_prices
SELECT wallet, found.1, sum(found.2)
FROM (
  SELECT
    wallet,
    arrayJoin(arrayFold(
      (a, e) -> (
        a.1 + e.6 - least(e.7, a.1),
        if(e.6 > 0, intDiv(a.2 * a.1 + e.5 * e.6, greatest(a.1 + e.6, toInt256(1))), a.2),
        if(e.8 != 0, arrayPushBack(a.3, (e.8, a.2)), a.3)
      ),
      events,
      CAST((0, 0, []), 'Tuple(Int256, Int256, Array(Tuple(UInt64, Int256)))')
    ).3) AS found
  FROM (
    SELECT
      wallet,
      arraySort(groupArray((
        at, block, log_index, kind, toInt256(price),
        toInt256(if(kind IN ('split', 'buy', 'get'), shares, 0)),
        multiIf(kind IN ('sell', 'convert', 'merge'), toInt256(shares), kind != 'redeem' OR priced = 0, toInt256(0),
                sells_all = 1, bitShiftLeft(toInt256(1), 200), toInt256(shares)),
        conversion
      ))) AS events
    FROM {staging:Identifier}.rebuild_events
    WHERE bucket BETWEEN {low:UInt16} AND {high:UInt16}
      AND (wallet, condition_id_norm, outcome_idx) IN (
        SELECT wallet, condition_id_norm, outcome_idx FROM {staging:Identifier}.rebuild_events
        WHERE bucket BETWEEN {low:UInt16} AND {high:UInt16} AND kind = 'convert'
      )
    GROUP BY bucket, wallet, condition_id_norm, outcome_idx
  )
)
GROUP BY wallet, found.1

-- name: add_get_events
-- The YES shares that conversions bring, at what the NO shares leave for them. Questions are added behind the others, so
-- the first ones are those that the market had then.
INSERT INTO {staging:Identifier}.rebuild_events
  (wallet, condition_id_norm, outcome_idx, at, block, log_index, kind, shares, price)
SELECT
  c.wallet, q.condition_id_norm, 0, c.at, c.block, c.log_index, 'get', c.amount,
  intDiv(
    intDiv(p.total, toInt256(c.chosen)) * c.chosen - 1000000 * (toInt256(c.chosen) - 1),
    toInt256(greatest(c.questions - c.chosen, 1))
  )
FROM {staging:Identifier}.rebuild_conversions AS c
INNER JOIN {staging:Identifier}.rebuild_questions AS q ON q.market_id = c.market_id
LEFT JOIN {staging:Identifier}.rebuild_no_prices AS p ON p.wallet = c.wallet AND p.conversion = c.conversion
WHERE bitAnd(bitShiftRight(c.bits, q.question), 1) = 0 AND q.place < c.questions AND c.chosen > 0

-- name: rebuild_event_spread
-- How many events each bucket of wallets has.
SELECT bucket, count() AS rows
FROM {staging:Identifier}.rebuild_events
GROUP BY bucket
ORDER BY bucket

-- name: rebuild_event_counts
-- How many events of each kind there are.
SELECT kind, count() AS rows FROM {staging:Identifier}.rebuild_events GROUP BY kind ORDER BY kind

-- name: fold_rebuild_rows
-- Some buckets of wallets: sums of what commutes, and a walk through the events for what depends on their order. The
-- state of the walk: shares held, shares burned by redemptions of all, shares tracked, their average price, what was
-- realized, and the part of it that sells and redemptions have realized. Arrays of like length are walked together.
INSERT INTO {staging:Identifier}.{rebuild_rows:Identifier}
SELECT
  wallet, condition_id_norm, outcome_idx,
  toInt128(walked.1), bought, sold, fee_shares, split, merged, converted, toInt128(redeemed + walked.2), transferred,
  fills, first_at, last_at, proceeds, costs, fees, fees_unknown, splits, merges, conversions, redemptions,
  toInt128(walked.3), toInt128(walked.4), toInt128(walked.5), toInt128(walked.6)
FROM (
  SELECT
    * EXCEPT events,
    arrayFold(
      (a, e) -> (
        a.1 + if(e.9 = 1, -greatest(a.1, toInt256(0)), e.8),
        a.2 + if(e.9 = 1, greatest(a.1, toInt256(0)), toInt256(0)),
        a.3 + e.6 - least(e.7, a.3),
        if(e.6 > 0, intDiv(a.4 * a.3 + e.5 * e.6, greatest(a.3 + e.6, toInt256(1))), a.4),
        a.5 + intDiv(least(e.7, a.3) * if(e.4 = 'convert', toInt256(0), e.5 - a.4), toInt256(1000000)),
        a.6 + if(e.4 IN ('sell', 'redeem'), intDiv(least(e.7, a.3) * (e.5 - a.4), toInt256(1000000)), toInt256(0))
      ),
      events,
      CAST((0, 0, 0, 0, 0, 0), 'Tuple(Int256, Int256, Int256, Int256, Int256, Int256)')
    ) AS walked
  FROM (
    SELECT
      wallet, condition_id_norm, outcome_idx,
      sumIf(shares, kind = 'buy') AS bought,
      sumIf(shares, kind = 'sell') AS sold,
      sum(e.fee_shares) AS fee_shares,
      sumIf(shares, kind = 'split') AS split,
      sumIf(shares, kind = 'merge') AS merged,
      sumIf(shares, kind = 'get') - sumIf(shares, kind = 'convert') AS converted,
      sumIf(shares, kind = 'redeem') AS redeemed,
      sumIf(shares, kind = 'receive') - sumIf(shares, kind = 'give') AS transferred,
      countIf(kind IN ('buy', 'sell')) AS fills,
      min(at) AS first_at,
      max(at) AS last_at,
      sumIf(usdc, kind = 'sell') AS proceeds,
      sumIf(usdc, kind = 'buy') AS costs,
      sum(fee_usdc) AS fees,
      sum(fee_unknown) AS fees_unknown,
      sumIf(usdc, kind = 'split') AS splits,
      sumIf(usdc, kind = 'merge') AS merges,
      sumIf(usdc, kind = 'convert') AS conversions,
      sumIf(usdc, kind = 'redeem') AS redemptions,
      arraySort(groupArray((
        at, block, log_index, kind, toInt256(price),
        toInt256(if(kind IN ('split', 'buy', 'get'), shares, 0)),
        multiIf(kind IN ('sell', 'convert', 'merge'), toInt256(shares), kind != 'redeem' OR priced = 0, toInt256(0),
                sells_all = 1, bitShiftLeft(toInt256(1), 200), toInt256(shares)),
        toInt256(if(kind IN ('split', 'buy', 'get', 'receive'), shares - e.fee_shares, -shares)),
        burns_all
      ))) AS events
    FROM {staging:Identifier}.rebuild_events AS e
    WHERE bucket BETWEEN {low:UInt16} AND {high:UInt16}
    GROUP BY bucket, wallet, condition_id_norm, outcome_idx
    ORDER BY length(events)
  )
)

-- name: next_positions_v2
TRUNCATE TABLE {staging:Identifier}.positions_v2_next

-- name: next_cashflows_v3
TRUNCATE TABLE {staging:Identifier}.cashflows_v3_next

-- name: next_token_pnl
TRUNCATE TABLE {staging:Identifier}.token_pnl_next

-- name: next_unrealized_pnl
TRUNCATE TABLE {staging:Identifier}.unrealized_pnl_next

-- name: keep_positions_v2
-- The rows as they were: nothing is copied, both tables have the same files.
ALTER TABLE {staging:Identifier}.positions_v2_next ATTACH PARTITION ALL FROM {production:Identifier}.outcome_positions_v2

-- name: keep_cashflows_v3
-- The rows as they were: nothing is copied, both tables have the same files.
ALTER TABLE {staging:Identifier}.cashflows_v3_next ATTACH PARTITION ALL FROM {production:Identifier}.trade_cashflows_v3

-- name: keep_token_pnl
-- The rows as they were: nothing is copied, both tables have the same files.
ALTER TABLE {staging:Identifier}.token_pnl_next ATTACH PARTITION ALL FROM {production:Identifier}.wallet_token_pnl

-- name: drop_changed
-- The rows of the wallets that are computed anew leave the place beside.
DELETE FROM {staging:Identifier}.{table:Identifier}
WHERE wallet IN (SELECT wallet FROM {staging:Identifier}.rebuild_wallets)

-- name: add_positions_v2
INSERT INTO {staging:Identifier}.positions_v2_next
  (wallet, condition_id_norm, outcome_idx, net_shares_micro, bought_micro, sold_micro, fee_shares_micro, split_micro,
   merged_micro, converted_micro, redeemed_micro, transferred_micro, fills, first_activity, last_activity)
SELECT
  wallet, condition_id_norm, outcome_idx, net, bought, sold, fee_shares, split, merged, converted, redeemed,
  transferred, fills, first_at, last_at
FROM {staging:Identifier}.{rebuild_rows:Identifier}

-- name: add_cashflows_v3
INSERT INTO {staging:Identifier}.cashflows_v3_next
  (wallet, condition_id_norm, outcome_idx, cashflow_micro, proceeds_micro, costs_micro, fees_micro, fees_unknown,
   splits_micro, merges_micro, conversions_micro, redemptions_micro)
SELECT
  wallet, condition_id_norm, outcome_idx,
  proceeds - costs - fees - splits + merges + conversions + redemptions,
  proceeds, costs, fees, fees_unknown, splits, merges, conversions, redemptions
FROM {staging:Identifier}.{rebuild_rows:Identifier}

-- name: add_token_pnl
-- With the payout of each outcome, and with the wallet's owner: the one that arithmetic proves, where there is one.
INSERT INTO {staging:Identifier}.token_pnl_next
WITH
  if(c.denominator = 0 OR outcome_idx >= length(c.numerators), 0, c.numerators[outcome_idx + 1]) AS numerator,
  proceeds - costs - fees - splits + merges + conversions AS trade_cash,
  net + redeemed AS leftover,
  toInt128(if(c.denominator = 0, 0,
              intDiv(toInt256(leftover) * numerator, toInt256(greatest(c.denominator, 1))))) AS paid
SELECT
  r.wallet, if(o.owner = '', r.wallet, o.owner), r.condition_id_norm, outcome_idx,
  c.denominator > 0, if(c.denominator > 0, c.resolved_at, NULL), numerator, c.denominator,
  trade_cash, leftover, redeemed, paid, if(c.denominator > 0, trade_cash + paid, 0),
  tracked, avg_price, realized, realized_dome, proceeds + costs, fees, fills, first_at, last_at
FROM {staging:Identifier}.{rebuild_rows:Identifier} AS r
LEFT JOIN (
  SELECT * FROM {staging:Identifier}.rebuild_conditions
  WHERE condition_id_norm IN (SELECT condition_id_norm FROM {staging:Identifier}.{rebuild_rows:Identifier})
) AS c ON c.condition_id_norm = r.condition_id_norm
LEFT JOIN (
  SELECT proxy_wallet, argMin(user_eoa, (evidence != 'create2', user_eoa)) AS owner
  FROM {production:Identifier}.pm_user_proxy_wallets
  WHERE proxy_wallet IN (SELECT wallet FROM {staging:Identifier}.{rebuild_rows:Identifier})
  GROUP BY proxy_wallet
) AS o ON o.proxy_wallet = r.wallet

-- name: add_prices
-- The last fill of each token of a range whose condition is open; among those of one moment the last on the chain.
INSERT INTO {staging:Identifier}.rebuild_prices
SELECT m.condition_id_norm, m.outcome_index, l.last.1, l.last.2, l.last.3, l.last.4
FROM (
  SELECT
    token_id,
    argMax(
      (usdc_micro, shares_micro, price, timestamp),
      (timestamp, ifNull(block_number, 0), ifNull(log_index, 0), price, shares_micro)
    ) AS last
  FROM {production:Identifier}.clob_fills
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND shares_micro > 0
    AND timestamp <= toDateTime({cutoff:UInt32}, 'UTC')
  GROUP BY token_id
) AS l
INNER JOIN (
  SELECT token_id, condition_id_norm, outcome_index
  FROM {production:Identifier}.ctf_token_map FINAL
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
    AND condition_id_norm NOT IN (
      SELECT condition_id_norm FROM {staging:Identifier}.rebuild_conditions WHERE denominator > 0
    )
) AS m ON m.token_id = l.token_id

-- name: add_unrealized_pnl
-- What is held of open conditions, at the last price and at its average cost.
INSERT INTO {staging:Identifier}.unrealized_pnl_next
  (wallet, owner, condition_id_norm, outcome_idx, net_shares_micro, last_price, last_trade_at, value_micro, cost_micro,
   unrealized_pnl_micro)
WITH
  t.leftover_micro - t.redeemed_micro AS net,
  toInt128(intDiv(toInt256(net) * p.usdc, toInt256(greatest(p.shares, 1)))) AS value,
  toInt128(intDiv(toInt256(net) * t.avg_price_micro, toInt256(1000000))) AS cost
SELECT
  t.wallet, t.owner, t.condition_id_norm, t.outcome_idx, net,
  if(p.shares = 0, NULL, p.price), if(p.shares = 0, NULL, p.at), if(p.shares = 0, NULL, value), cost,
  if(p.shares = 0, NULL, value - cost)
FROM {staging:Identifier}.token_pnl_next AS t
LEFT JOIN {staging:Identifier}.rebuild_prices AS p
  ON p.condition_id_norm = t.condition_id_norm AND p.outcome_idx = t.outcome_idx
WHERE t.resolved = 0 AND t.leftover_micro != t.redeemed_micro

-- name: count_next
SELECT count() FROM {staging:Identifier}.{table:Identifier}

-- name: note_swap
-- From here to the note after the swap, nobody takes the table for what the last note says.
INSERT INTO {production:Identifier}.rebuild_state (target, table_id, run, cutoff, wallets, rows)
VALUES ({target:String}, '', 0, NULL, 0, 0)

-- name: swap_positions_v2
EXCHANGE TABLES {staging:Identifier}.positions_v2_next AND {production:Identifier}.outcome_positions_v2

-- name: swap_cashflows_v3
EXCHANGE TABLES {staging:Identifier}.cashflows_v3_next AND {production:Identifier}.trade_cashflows_v3

-- name: swap_unrealized_pnl
EXCHANGE TABLES {staging:Identifier}.unrealized_pnl_next AND {production:Identifier}.wallet_unrealized_pnl_v2

-- name: swap_token_pnl
EXCHANGE TABLES {staging:Identifier}.token_pnl_next AND {production:Identifier}.wallet_token_pnl

-- name: note_rebuilt
-- What the table is now.
INSERT INTO {production:Identifier}.rebuild_state (target, table_id, run, cutoff, wallets, rows)
SELECT
  {target:String}, toString(uuid), {run:UInt64},
  if({cutoff:UInt32} = 4294967295, NULL, toDateTime({cutoff:UInt32}, 'UTC')),
  {wallets:UInt64}, {rows:UInt64}
FROM system.tables
WHERE database = {database:String} AND name = {table:String}
