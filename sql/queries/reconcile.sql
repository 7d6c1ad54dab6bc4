-- name: prepare_reconcile_cover
-- An empty place for what each track has read of the fills: of a token, of a maker, or (token 0, no maker) of all.
CREATE OR REPLACE TABLE {staging:Identifier}.reconcile_cover (
  track LowCardinality(String),
  token_id UInt256,
  maker String,
  start UInt64,
  end UInt64
)
ENGINE = MergeTree
ORDER BY (token_id, maker)

-- name: cover_by_key
-- Stretches that were asked for by token or by wallet, and those of all.
INSERT INTO {staging:Identifier}.reconcile_cover
SELECT source, if(kind = 'token', toUInt256OrZero(key), 0), if(kind = 'wallet', key, ''), covered_from, covered_to
FROM {staging:Identifier}.covered_windows FINAL
WHERE dataset = 'fills' AND (
  kind = 'wallet' OR kind = 'token' AND toUInt256OrZero(key) > 0 OR kind = 'all' AND source != 'clob_fills'
)

-- name: cover_by_condition
-- Stretches that were asked for by market, for each token of it.
INSERT INTO {staging:Identifier}.reconcile_cover
SELECT w.source, t.token_id, '', w.covered_from, w.covered_to
FROM (
  SELECT source, replaceOne(lower(key), '0x', '') AS condition_id_norm, covered_from, covered_to
  FROM {staging:Identifier}.covered_windows FINAL
  WHERE dataset = 'fills' AND kind = 'condition'
) AS w
INNER JOIN (
  SELECT DISTINCT condition_id_norm, token_id
  FROM (
    SELECT condition_id_norm, token_id FROM {production:Identifier}.ctf_token_map
    UNION ALL
    SELECT condition_id_norm, arrayJoin(token_ids) AS token_id FROM {production:Identifier}.markets
  )
) AS t ON t.condition_id_norm = w.condition_id_norm

-- name: cover_by_account
-- The order book's own trades are those of one account, whatever the time: only its orders can be compared.
INSERT INTO {staging:Identifier}.reconcile_cover
SELECT w.source, 0, m.maker, w.covered_from, w.covered_to
FROM (
  SELECT source, covered_from, covered_to
  FROM {staging:Identifier}.covered_windows FINAL
  WHERE dataset = 'fills' AND kind = 'all' AND source = 'clob_fills'
) AS w
CROSS JOIN (SELECT DISTINCT maker FROM {staging:Identifier}.clob_fills_v2 WHERE track = 'clob_fills') AS m

-- name: cover_by_blocks
-- Stretches of blocks are known by time from the track's own account of how far it has come.
INSERT INTO {staging:Identifier}.reconcile_cover
SELECT source, 0, '', toUnixTimestamp(assumeNotNull(covered_from)), toUnixTimestamp(assumeNotNull(covered_to))
FROM {analytics:Identifier}.data_sync_status FINAL
WHERE dataset = 'fills' AND isNotNull(covered_from) AND isNotNull(covered_to)
  AND source IN (
    SELECT source FROM {staging:Identifier}.covered_windows WHERE dataset = 'fills' AND kind = 'blocks'
  )

-- name: reconcile_tracks
-- The tracks that have staged fills, with how many, and whether it is known what they have read.
SELECT
  toString(track) AS track, count() AS rows, track IN (SELECT track FROM {staging:Identifier}.reconcile_cover) AS known
FROM {staging:Identifier}.clob_fills_v2
GROUP BY track
ORDER BY track

-- name: reconcile_spread
-- How many rows of two tracks have a token with this first byte.
SELECT toUInt16(bitShiftRight(token_id, 248)) AS first_byte, count() AS rows
FROM {staging:Identifier}.clob_fills_v2
WHERE track IN ({ours:String}, {theirs:String})
GROUP BY first_byte
ORDER BY first_byte

-- name: prepare_reconcile_rows
-- An empty place for the rows of two tracks of one portion.
CREATE OR REPLACE TABLE {staging:Identifier}.reconcile_rows (
  token_id UInt256,
  tx_hash String,
  theirs UInt8,
  fill_id String,
  order_hash Nullable(String),
  maker String,
  side Enum8('BUY' = 1, 'SELL' = 2),
  shares_micro UInt64,
  usdc_micro UInt64,
  fee_micro Nullable(UInt64),
  timestamp DateTime('UTC'),
  layer LowCardinality(String)
)
ENGINE = MergeTree
ORDER BY (token_id, tx_hash, theirs, fill_id)

-- name: gather_reconcile_rows
-- The rows of two tracks of one portion, as far as both have read there.
INSERT INTO {staging:Identifier}.reconcile_rows
WITH
  general AS (
    SELECT
      groupArrayIf((start, end), track = {ours:String}) AS ours,
      groupArrayIf((start, end), track = {theirs:String}) AS theirs
    FROM {staging:Identifier}.reconcile_cover
    WHERE token_id = 0 AND maker = ''
  ),
  by_token AS (
    SELECT
      token_id,
      groupArrayIf((start, end), track = {ours:String}) AS ours,
      groupArrayIf((start, end), track = {theirs:String}) AS theirs
    FROM {staging:Identifier}.reconcile_cover
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND token_id > 0
    GROUP BY token_id
  ),
  by_maker AS (
    SELECT
      maker,
      groupArrayIf((start, end), track = {ours:String}) AS ours,
      groupArrayIf((start, end), track = {theirs:String}) AS theirs
    FROM {staging:Identifier}.reconcile_cover
    WHERE maker != ''
    GROUP BY maker
  )
SELECT
  f.token_id, f.tx_hash, f.track = {theirs:String}, f.fill_id, f.order_hash, f.maker, f.side, f.shares_micro,
  f.usdc_micro, f.fee_micro, f.timestamp, toString(f.track)
FROM (
  SELECT *
  FROM {staging:Identifier}.clob_fills_v2 FINAL
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
    AND track IN ({ours:String}, {theirs:String})
) AS f
LEFT JOIN by_token AS t ON t.token_id = f.token_id
LEFT JOIN by_maker AS m ON m.maker = f.maker
WHERE arrayExists(
    w -> toUnixTimestamp(f.timestamp) >= w.1 AND toUnixTimestamp(f.timestamp) < w.2,
    arrayConcat((SELECT ours FROM general), t.ours, m.ours)
  )
  AND arrayExists(
    w -> toUnixTimestamp(f.timestamp) >= w.1 AND toUnixTimestamp(f.timestamp) < w.2,
    arrayConcat((SELECT theirs FROM general), t.theirs, m.theirs)
  )

-- name: prepare_reconcile_open
-- An empty place for the transactions of one portion on which the two do not plainly agree.
CREATE OR REPLACE TABLE {staging:Identifier}.reconcile_open (token_id UInt256, tx_hash String)
ENGINE = MergeTree
ORDER BY (token_id, tx_hash)

-- name: find_reconcile_open
-- They agree plainly where ids and facts are the same, or, where one of them knows no orders, the facts are, dollars
-- within a few micro and a millionth of the shares.
INSERT INTO {staging:Identifier}.reconcile_open
WITH transactions AS (
  SELECT
    token_id, tx_hash,
    arraySort(groupArrayIf((fill_id, maker, toString(side), shares_micro, usdc_micro), theirs = 0)) AS a,
    arraySort(groupArrayIf((fill_id, maker, toString(side), shares_micro, usdc_micro), theirs = 1)) AS b,
    arraySort(groupArrayIf((maker, toString(side), shares_micro, usdc_micro), theirs = 0)) AS fa,
    arraySort(groupArrayIf((maker, toString(side), shares_micro, usdc_micro), theirs = 1)) AS fb,
    countIf(isNotNull(order_hash) AND theirs = 0) = 0 OR countIf(isNotNull(order_hash) AND theirs = 1) = 0 AS keyless
  FROM {staging:Identifier}.reconcile_rows
  GROUP BY token_id, tx_hash
)
SELECT token_id, tx_hash
FROM transactions
WHERE NOT (a = b) AND NOT (
  keyless AND length(fa) = length(fb) AND arrayAll(
    (x, y) -> x.1 = y.1 AND x.2 = y.2 AND x.3 = y.3
      AND abs(toInt128(x.4) - toInt128(y.4)) <= {slack:UInt64} + intDiv(x.3, 1000000),
    fa, fb
  )
)

-- name: tally_reconcile
-- Rows of each that are compared, those on which the two agree plainly, and from when to when they are.
SELECT
  countIf(theirs = 0) AS rows_ours,
  countIf(theirs = 1) AS rows_theirs,
  countIf(theirs = 0 AND (token_id, tx_hash) NOT IN (SELECT token_id, tx_hash FROM {staging:Identifier}.reconcile_open))
    AS agreed,
  toUnixTimestamp(min(timestamp)) AS first,
  toUnixTimestamp(max(timestamp)) AS last
FROM {staging:Identifier}.reconcile_rows

-- name: open_reconcile_rows
-- The rows of the other transactions, transaction by transaction.
SELECT *
FROM {staging:Identifier}.reconcile_rows
WHERE (token_id, tx_hash) IN (SELECT token_id, tx_hash FROM {staging:Identifier}.reconcile_open)
ORDER BY token_id, tx_hash, theirs, fill_id

-- name: clear_reconcile
TRUNCATE TABLE IF EXISTS {staging:Identifier}.{table:Identifier}
