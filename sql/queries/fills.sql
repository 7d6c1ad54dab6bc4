-- name: prepare_fills_fresh
-- An empty place for the arrivals of staged fills that this merge is about.
CREATE OR REPLACE TABLE {staging:Identifier}.fills_fresh (block UInt64, staged_at DateTime('UTC'))
ENGINE = ReplacingMergeTree
ORDER BY (block, staged_at)

-- name: prepare_fill_groups
-- An empty place for the transactions (each for one token) of one portion that have fresh rows; `t` is a hash of both,
-- `g` of the only track besides; `shared` ones have rows of several tracks, or rows in production.
CREATE OR REPLACE TABLE {staging:Identifier}.fill_groups (token_id UInt256, t UInt64, g UInt64, shared UInt8)
ENGINE = MergeTree
ORDER BY (shared, token_id)

-- name: prepare_fill_candidates
-- An empty place for every row, staged or in production, of the shared transactions of one portion.
CREATE OR REPLACE TABLE {staging:Identifier}.fill_candidates (
  token_id UInt256,
  tx_hash String,
  fill_id String,
  layer LowCardinality(String),
  rank UInt8,
  stored UInt8,
  content UInt64,
  maker String,
  taker Nullable(String),
  side Enum8('BUY' = 1, 'SELL' = 2),
  shares_micro UInt64,
  usdc_micro UInt64,
  fee_micro Nullable(UInt64),
  fee_asset Nullable(Enum8('none' = 0, 'shares' = 1, 'usdc' = 2)),
  price Decimal(18, 9),
  timestamp DateTime('UTC'),
  order_hash Nullable(String),
  log_index Nullable(UInt32),
  block_number Nullable(UInt64),
  exchange_version Nullable(UInt8),
  source LowCardinality(String)
)
ENGINE = MergeTree
ORDER BY (token_id, tx_hash, stored, rank, fill_id)

-- name: prepare_fill_verdicts
-- An empty place for what became of those transactions: the best track shows all that the others do, or not.
CREATE OR REPLACE TABLE {staging:Identifier}.fill_verdicts (
  token_id UInt256,
  tx_hash String,
  covered UInt8,
  best LowCardinality(String)
)
ENGINE = MergeTree
ORDER BY (covered, token_id, tx_hash)

-- name: prepare_fill_arrivals
-- An empty place for rows that production is to get, besides those of transactions that are not shared.
CREATE OR REPLACE TABLE {staging:Identifier}.fill_arrivals
ENGINE = ReplacingMergeTree
ORDER BY (token_id, fill_id)
EMPTY AS
SELECT * EXCEPT ingested_at FROM {production:Identifier}.clob_fills

-- name: prepare_fill_departures
-- An empty place for the rows of production that a better one replaces.
CREATE OR REPLACE TABLE {staging:Identifier}.fill_departures (token_id UInt256, fill_id String)
ENGINE = ReplacingMergeTree
ORDER BY (token_id, fill_id)

-- name: find_fresh_fills
-- Arrivals of staged fills that no finished merge has seen; all of them when `everything` is 1.
INSERT INTO {staging:Identifier}.fills_fresh
SELECT _block_number AS block, ingested_at AS staged_at
FROM {staging:Identifier}.clob_fills_v2
GROUP BY block, staged_at
HAVING {everything:UInt8} = 1 OR (block, staged_at) NOT IN (
  SELECT block, staged_at FROM {staging:Identifier}.fills_merged
)

-- name: fresh_spread
-- How many rows, and fresh ones, have a token with this first byte; ids are hashes, so this is where to cut.
SELECT
  toUInt16(bitShiftRight(token_id, 248)) AS first_byte,
  count() AS staged,
  countIf((_block_number, ingested_at) IN (SELECT block, staged_at FROM {staging:Identifier}.fills_fresh)) AS rows
FROM {staging:Identifier}.clob_fills_v2
GROUP BY first_byte
HAVING rows > 0
ORDER BY first_byte

-- name: group_fresh_fills
-- The transactions of one portion that have fresh rows, and whether more than one track shows them.
INSERT INTO {staging:Identifier}.fill_groups
WITH fresh AS (
  SELECT token_id, tx_hash
  FROM {staging:Identifier}.clob_fills_v2
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
    AND (_block_number, ingested_at) IN (SELECT block, staged_at FROM {staging:Identifier}.fills_fresh)
)
SELECT any(token_id), t, cityHash64(t, min(layer)), max(stored) OR min(layer) != max(layer)
FROM (
  SELECT token_id, cityHash64(token_id, tx_hash) AS t, toString(track) AS layer, 0 AS stored
  FROM {staging:Identifier}.clob_fills_v2
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND token_id IN (SELECT token_id FROM fresh)
  UNION ALL
  SELECT token_id, cityHash64(token_id, tx_hash) AS t, '' AS layer, 1 AS stored
  FROM {production:Identifier}.clob_fills
  WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND token_id IN (SELECT token_id FROM fresh)
)
WHERE t IN (SELECT cityHash64(token_id, tx_hash) FROM fresh)
GROUP BY t

-- name: count_shared_groups
-- How many transactions of the portion want comparing.
SELECT count() FROM {staging:Identifier}.fill_groups WHERE shared = 1

-- name: gather_fill_candidates
-- Every row of the shared transactions. The order of precedence: chain, Goldsky, CLOB, Data API, Dome, other tracks, and
-- then what production has from elsewhere (imports); a row in production counts as its source. `content` is all that a
-- row says; that a row was imported from a source and not read from it makes no difference.
INSERT INTO {staging:Identifier}.fill_candidates
SELECT
  token_id, tx_hash, fill_id, layer, rank, stored,
  cityHash64(
    fill_id, token_id, maker, ifNull(taker, ''), side, shares_micro, usdc_micro, ifNull(toString(fee_micro), ''),
    ifNull(toString(fee_asset), ''), price, timestamp, tx_hash, ifNull(order_hash, ''),
    ifNull(toString(log_index), ''), ifNull(toString(block_number), ''), ifNull(toString(exchange_version), ''),
    replaceOne(toString(source), 'import_', '')
  ) AS content,
  maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, order_hash, log_index,
  block_number, exchange_version, source
FROM (
  SELECT
    * EXCEPT (track, unit, ingested_at), toString(track) AS layer, 0 AS stored,
    transform(
      toString(track), ['chain_fills', 'goldsky_fills', 'clob_fills', 'data_api_fills', 'dome_fills'],
      [0, 1, 2, 3, 4], 5
    ) AS rank
  FROM {staging:Identifier}.clob_fills_v2
  WHERE token_id IN (SELECT token_id FROM {staging:Identifier}.fill_groups WHERE shared = 1)
    AND cityHash64(token_id, tx_hash) IN (SELECT t FROM {staging:Identifier}.fill_groups WHERE shared = 1)
  ORDER BY _block_number DESC
  LIMIT 1 BY token_id, timestamp, fill_id, track
  UNION ALL
  SELECT
    * EXCEPT ingested_at, '' AS layer, 1 AS stored,
    transform(toString(source), ['chain', 'goldsky', 'clob', 'data_api', 'dome'], [0, 1, 2, 3, 4], 6) AS rank
  FROM {production:Identifier}.clob_fills
  WHERE token_id IN (SELECT token_id FROM {staging:Identifier}.fill_groups WHERE shared = 1)
    AND cityHash64(token_id, tx_hash) IN (SELECT t FROM {staging:Identifier}.fill_groups WHERE shared = 1)
)

-- name: judge_fill_candidates
-- Whether the best track's rows of a transaction are all that there is: then they are what production is to show. A layer
-- is one track's rows, or production's. It adds nothing when its ids and facts are the best one's; when all rows of both
-- know their order, none is a further fill of one, and the best has every id; or when one of the two knows no orders and
-- the facts agree, dollars within a few micro and a millionth of the shares.
INSERT INTO {staging:Identifier}.fill_verdicts
WITH
  layers AS (
    SELECT
      token_id, tx_hash, stored, layer, min(rank) AS rank,
      arraySort(groupArray(fill_id)) AS ids,
      arraySort(groupArray((maker, side, shares_micro, usdc_micro))) AS facts,
      countIf(ifNull(order_hash, '') = '') AS keyless,
      countIf(fill_id != concat(tx_hash, '_', ifNull(order_hash, ''))) AS odd_ids
    FROM {staging:Identifier}.fill_candidates
    GROUP BY token_id, tx_hash, stored, layer
  ),
  transactions AS (
    SELECT
      token_id, tx_hash,
      arraySort(l -> (l.1, l.2, l.3), groupArray((stored, rank, toString(layer), ids, facts, keyless, odd_ids))) AS found,
      found[1] AS b
    FROM layers
    GROUP BY token_id, tx_hash
  )
SELECT
  token_id, tx_hash,
  b.1 = 0 AND arrayAll(
    l -> l.2 >= b.2 AND length(l.4) = length(arrayDistinct(l.4)) AND multiIf(
      l.4 = b.4 AND l.5 = b.5, 1,
      l.6 = 0 AND b.6 = 0, l.7 = 0 AND b.7 = 0 AND hasAll(b.4, l.4),
      l.6 = length(l.4) OR b.6 = length(b.4),
        arrayAll(f -> countEqual(l.5, f) <= countEqual(b.5, f), l.5)
        OR length(l.5) = length(b.5) AND arrayAll(
          (x, y) -> x.1 = y.1 AND x.2 = y.2 AND x.3 = y.3
            AND abs(toInt128(x.4) - toInt128(y.4)) <= {slack:UInt64} + intDiv(x.3, 1000000),
          l.5, b.5
        ),
      0
    ),
    found
  ) AS covered,
  b.3 AS best
FROM transactions

-- name: add_covered_arrivals
-- What the best track shows and production does not, or not so.
INSERT INTO {staging:Identifier}.fill_arrivals (
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
)
SELECT
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
FROM {staging:Identifier}.fill_candidates
WHERE stored = 0
  AND (token_id, tx_hash, layer) IN (
    SELECT token_id, tx_hash, best FROM {staging:Identifier}.fill_verdicts WHERE covered = 1
  )
  AND (token_id, content) NOT IN (SELECT token_id, content FROM {staging:Identifier}.fill_candidates WHERE stored = 1)

-- name: add_covered_departures
-- What production shows, and the best track does not, or not so.
INSERT INTO {staging:Identifier}.fill_departures (token_id, fill_id)
SELECT token_id, fill_id
FROM {staging:Identifier}.fill_candidates
WHERE stored = 1
  AND (token_id, tx_hash) IN (SELECT token_id, tx_hash FROM {staging:Identifier}.fill_verdicts WHERE covered = 1)
  AND (token_id, content) NOT IN (
    SELECT token_id, content
    FROM {staging:Identifier}.fill_candidates
    WHERE stored = 0 AND (token_id, tx_hash, layer) IN (
      SELECT token_id, tx_hash, best FROM {staging:Identifier}.fill_verdicts WHERE covered = 1
    )
  )

-- name: open_fill_candidates
-- The rows of the transactions that no single track covers, transaction by transaction, the best first.
SELECT *
FROM {staging:Identifier}.fill_candidates
WHERE (token_id, tx_hash) IN (SELECT token_id, tx_hash FROM {staging:Identifier}.fill_verdicts WHERE covered = 0)
ORDER BY token_id, tx_hash, stored, rank, layer, fill_id

-- name: insert_plain_fills
-- Of one portion: the fills of transactions that one track alone shows, and that production has nothing of.
INSERT INTO {production:Identifier}.clob_fills (
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
)
SELECT
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
FROM {staging:Identifier}.clob_fills_v2 FINAL
WHERE token_id IN (SELECT token_id FROM {staging:Identifier}.fill_groups WHERE shared = 0)
  AND cityHash64(cityHash64(token_id, tx_hash), toString(track)) IN (
    SELECT g FROM {staging:Identifier}.fill_groups WHERE shared = 0
  )

-- name: insert_few_plain_fills
-- The same for a portion of which little is fresh: FINAL would read and compare the whole of it.
INSERT INTO {production:Identifier}.clob_fills (
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
)
SELECT
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
FROM {staging:Identifier}.clob_fills_v2
WHERE token_id IN (SELECT token_id FROM {staging:Identifier}.fill_groups WHERE shared = 0)
  AND cityHash64(cityHash64(token_id, tx_hash), toString(track)) IN (
    SELECT g FROM {staging:Identifier}.fill_groups WHERE shared = 0
  )
ORDER BY _block_number DESC
LIMIT 1 BY token_id, timestamp, fill_id

-- name: count_plain_fills
-- How many fills that would be.
SELECT uniqExact(token_id, timestamp, fill_id)
FROM {staging:Identifier}.clob_fills_v2
WHERE token_id IN (SELECT token_id FROM {staging:Identifier}.fill_groups WHERE shared = 0)
  AND cityHash64(cityHash64(token_id, tx_hash), toString(track)) IN (
    SELECT g FROM {staging:Identifier}.fill_groups WHERE shared = 0
  )

-- name: stored_doubles
-- Rows in production that repeat another's key, among the candidates.
SELECT count() - uniqExact(token_id, timestamp, fill_id)
FROM {staging:Identifier}.fill_candidates
WHERE stored = 1

-- name: count_departures
-- How many rows of production would be replaced.
SELECT count() FROM {staging:Identifier}.fill_departures FINAL

-- name: count_arrivals
-- How many rows production would get for it, and besides.
SELECT count() FROM {staging:Identifier}.fill_arrivals FINAL

-- name: remove_fills
-- Exactly the noted rows of one range of tokens leave production. The server may go on with it after a crash, so the
-- notes stay as they are until it has ended.
DELETE FROM {production:Identifier}.clob_fills
WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
  AND (token_id, fill_id) IN (
    SELECT token_id, fill_id
    FROM {staging:Identifier}.fill_departures
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
  )

-- name: insert_arrivals
-- The better rows come in, unless they are there already.
INSERT INTO {production:Identifier}.clob_fills (
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
)
SELECT
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
FROM {staging:Identifier}.fill_arrivals FINAL
WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
  AND (token_id, fill_id) NOT IN (
    SELECT token_id, fill_id
    FROM {production:Identifier}.clob_fills
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
      AND token_id IN (
        SELECT token_id FROM {staging:Identifier}.fill_arrivals
        WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
      )
  )

-- name: mark_fills_merged
-- What this merge was about has been merged.
INSERT INTO {staging:Identifier}.fills_merged (block, staged_at)
SELECT block, staged_at FROM {staging:Identifier}.fills_fresh FINAL

-- name: note_fill_merge
-- Which table it went into, and how many rows that has now.
INSERT INTO {staging:Identifier}.fill_merges (production_id, production_rows)
SELECT toString(uuid), (SELECT count() FROM {production:Identifier}.clob_fills)
FROM system.tables
WHERE database = {database:String} AND name = 'clob_fills'

-- name: merged_into_this
-- 1 while production is the table that the last merge has left, with no fewer rows.
SELECT count()
FROM {staging:Identifier}.fill_merges AS m FINAL
WHERE production_rows <= (SELECT count() FROM {production:Identifier}.clob_fills)
  AND production_id IN (
    SELECT toString(uuid) FROM system.tables WHERE database = {database:String} AND name = 'clob_fills'
  )

-- name: fills_compact
-- Make production drop rows that repeat a key.
OPTIMIZE TABLE {production:Identifier}.clob_fills FINAL

-- name: fill_merges_still_running
-- Statements of a merge or an import whose client was killed: the server may still be busy with them.
SELECT count()
FROM system.processes
WHERE match(query, '(?s)^(\\s|--[^\\n]*\\n)*(INSERT INTO|DELETE FROM|OPTIMIZE).*(clob_fills|fill_groups|fill_candidates|fill_arrivals)')
  AND NOT match(query, '(?s)^(\\s|--[^\\n]*\\n)*INSERT INTO[^(]*clob_fills_v2')

-- name: fill_removals_unfinished
-- Removals from production that the server has not ended yet.
SELECT count()
FROM system.mutations
WHERE database = {database:String} AND table = 'clob_fills' AND is_done = 0

-- name: clear_fill_scratch
-- A scratch table of the merge, emptied.
TRUNCATE TABLE IF EXISTS {staging:Identifier}.{table:Identifier}
