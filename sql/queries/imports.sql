-- name: prepare_import_fills
-- An empty place for the fills of one import; whatever an earlier import left there goes. Replacing, because a block
-- whose answer was lost is sent again.
CREATE OR REPLACE TABLE {staging:Identifier}.import_fills (
  file UInt32,
  line UInt64,
  needs_ordinal UInt8,
  fill_id String,
  token_id UInt256,
  maker String,
  taker Nullable(String),
  side Enum8('BUY' = 1, 'SELL' = 2),
  shares_micro UInt64,
  usdc_micro UInt64,
  fee_micro Nullable(UInt64),
  fee_asset Nullable(Enum8('none' = 0, 'shares' = 1, 'usdc' = 2)),
  price Decimal(18, 9),
  timestamp DateTime('UTC'),
  tx_hash String,
  order_hash Nullable(String),
  log_index Nullable(UInt32),
  block_number Nullable(UInt64),
  exchange_version Nullable(UInt8),
  source String
)
ENGINE = ReplacingMergeTree
ORDER BY (token_id, fill_id, file, line)

-- name: prepare_import_token_map
-- An empty place for the mappings of one import; whatever an earlier import left there goes.
CREATE OR REPLACE TABLE {staging:Identifier}.import_token_map (
  file UInt32,
  line UInt64,
  token_id UInt256,
  condition_id_norm String,
  outcome_index UInt8,
  outcome Nullable(String),
  market_slug Nullable(String),
  source String,
  proven UInt8
)
ENGINE = ReplacingMergeTree
ORDER BY (token_id, file, line, outcome_index)

-- name: prepare_import_fills_sorted
-- An empty place for the same fills with their final ids and states.
CREATE OR REPLACE TABLE {staging:Identifier}.import_fills_sorted
ENGINE = MergeTree
ORDER BY (token_id, fill_id, file, line)
EMPTY AS
SELECT * EXCEPT needs_ordinal, CAST('new', 'Enum8(\'new\' = 1, \'duplicate\' = 2, \'conflict\' = 3)') AS state
FROM {staging:Identifier}.import_fills

-- name: prepare_import_token_map_sorted
-- An empty place for the same mappings with their states.
CREATE OR REPLACE TABLE {staging:Identifier}.import_token_map_sorted
ENGINE = MergeTree
ORDER BY (token_id, file, line)
EMPTY AS
SELECT *, CAST('new', 'Enum8(\'new\' = 1, \'duplicate\' = 2, \'conflict\' = 3)') AS state
FROM {staging:Identifier}.import_token_map

-- name: import_spread
-- How many imported rows have a token with this first byte; ids are hashes, so this is where to cut.
SELECT toUInt16(bitShiftRight(token_id, 248)) AS first_byte, count() AS rows
FROM {staging:Identifier}.{table:Identifier}
GROUP BY first_byte
ORDER BY first_byte

-- name: sort_import_fills
-- Each imported fill of one portion with its final id and its state: new, duplicate (seen in this import or in
-- production), or conflict (its id is taken by a fill with other facts). A fill that another source shows under another
-- id (with or without an order hash) is known by transaction, wallet, token, side and shares; the n-th such fill is new
-- only when the other kind of source shows fewer than n.
INSERT INTO {staging:Identifier}.import_fills_sorted
WITH
  loaded AS (
    SELECT *
    FROM {staging:Identifier}.import_fills FINAL
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
  ),
  stored AS (
    SELECT fill_id, token_id, maker, side, shares_micro, usdc_micro, tx_hash, ifNull(order_hash, '') = '' AS hashless
    FROM {production:Identifier}.clob_fills
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
      AND token_id IN (SELECT token_id FROM loaded)
  ),
  named AS (
    SELECT * REPLACE (
        if(
          needs_ordinal = 1,
          concat(fill_id, '_', toString(row_number() OVER (PARTITION BY file, fill_id, needs_ordinal ORDER BY line) - 1)),
          fill_id
        ) AS fill_id
      )
    FROM loaded
  ),
  others AS (
    SELECT tx_hash, maker, token_id, side, shares_micro,
      uniqExactIf(fill_id, hashless = 0) AS with_hash,
      uniqExactIf(fill_id, hashless = 1 AND is_stored = 1) AS without_hash
    FROM (
      SELECT fill_id, token_id, maker, toString(side) AS side, shares_micro, tx_hash, hashless, 1 AS is_stored FROM stored
      UNION ALL
      SELECT fill_id, token_id, maker, toString(side), shares_micro, tx_hash, 0, 0
      FROM loaded
      WHERE order_hash IS NOT NULL
    )
    GROUP BY tx_hash, maker, token_id, side, shares_micro
  ),
  placed AS (
    SELECT *,
      (token_id, maker, side, shares_micro, usdc_micro, tx_hash) AS facts,
      row_number() OVER by_id AS place,
      first_value(facts) OVER by_id AS first_facts,
      fill_id IN (SELECT fill_id FROM stored) AS is_known,
      (fill_id, token_id, maker, toString(side), shares_micro, usdc_micro) IN (
        SELECT fill_id, token_id, maker, toString(side), shares_micro, usdc_micro FROM stored
      ) AS is_equal
    FROM named
    WINDOW by_id AS (PARTITION BY fill_id ORDER BY file, line)
  ),
  ranked AS (
    SELECT *,
      dense_rank() OVER (
        PARTITION BY is_known, order_hash IS NULL, tx_hash, maker, token_id, side, shares_micro ORDER BY fill_id
      ) AS nth
    FROM placed
  )
SELECT ranked.* EXCEPT (facts, first_facts, place, is_known, is_equal, nth, needs_ordinal),
  multiIf(
    is_known, if(is_equal, 'duplicate', 'conflict'),
    place > 1, if(facts = first_facts, 'duplicate', 'conflict'),
    nth <= if(order_hash IS NULL, others.with_hash, others.without_hash), 'duplicate',
    'new'
  ) AS state
FROM ranked
LEFT JOIN others
  ON ranked.tx_hash = others.tx_hash AND ranked.maker = others.maker AND ranked.token_id = others.token_id
  AND toString(ranked.side) = others.side AND ranked.shares_micro = others.shares_micro

-- name: sort_import_token_map
-- Each imported mapping of one portion with its state: new, duplicate (the same mapping is in this import or in
-- production), or conflict (the token is mapped otherwise there). Proven mappings come before others.
INSERT INTO {staging:Identifier}.import_token_map_sorted
WITH
  loaded AS (
    SELECT *
    FROM {staging:Identifier}.import_token_map FINAL
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(token_id) % {parts:UInt32} = {part:UInt32}
  ),
  stored AS (
    SELECT token_id, condition_id_norm, outcome_index
    FROM {production:Identifier}.ctf_token_map
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND token_id IN (SELECT token_id FROM loaded)
  ),
  placed AS (
    SELECT *,
      (condition_id_norm, outcome_index) AS answer,
      row_number() OVER by_token AS place,
      first_value(answer) OVER by_token AS first_answer,
      token_id IN (SELECT token_id FROM stored) AS is_known,
      (token_id, condition_id_norm, outcome_index) IN (SELECT * FROM stored) AS is_equal
    FROM loaded
    WINDOW by_token AS (PARTITION BY token_id ORDER BY proven DESC, file, line)
  )
SELECT * EXCEPT (answer, first_answer, place, is_known, is_equal),
  multiIf(
    is_known, if(is_equal, 'duplicate', 'conflict'),
    place > 1, if(answer = first_answer, 'duplicate', 'conflict'),
    'new'
  ) AS state
FROM placed

-- name: import_states
-- How many rows of each file came to which state.
SELECT file, state, count() AS rows
FROM {staging:Identifier}.{sorted:Identifier}
GROUP BY file, state

-- name: import_conflicts
-- The rows that contradict another row, as they would be stored.
SELECT file, line, formatRowNoNewline('JSONEachRow', * EXCEPT (file, line, state)) AS raw
FROM {staging:Identifier}.{sorted:Identifier}
WHERE state = 'conflict'
ORDER BY file, line

-- name: insert_new_fills
-- The new fills of one portion into production, unless this second look finds them there after all.
INSERT INTO {production:Identifier}.clob_fills (
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
)
SELECT
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
FROM {staging:Identifier}.import_fills_sorted
WHERE state = 'new'
  AND token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
  AND fill_id NOT IN (
    SELECT fill_id FROM {production:Identifier}.clob_fills
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
      AND token_id IN (
        SELECT token_id FROM {staging:Identifier}.import_fills_sorted
        WHERE state = 'new' AND token_id BETWEEN {low:UInt256} AND {high:UInt256}
      )
  )

-- name: insert_new_mappings
-- The new mappings of one portion into production, unless this second look finds their tokens there after all.
INSERT INTO {production:Identifier}.ctf_token_map (
  token_id, condition_id_norm, outcome_index, outcome, market_slug, source, proven
)
SELECT token_id, condition_id_norm, outcome_index, outcome, market_slug, source, proven
FROM {staging:Identifier}.import_token_map_sorted
WHERE state = 'new'
  AND token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(token_id) % {parts:UInt32} = {part:UInt32}
  AND token_id NOT IN (
    SELECT token_id FROM {production:Identifier}.ctf_token_map WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256}
  )

-- name: imports_still_running
-- Inserts of an import whose client was killed: the server may still be busy with them.
SELECT count()
FROM system.processes
WHERE match(query, '(?s)^\\s*INSERT INTO.*import_(fills|token_map)')

-- name: clear_import
-- The scratch tables of an import, emptied.
TRUNCATE TABLE IF EXISTS {staging:Identifier}.{table:Identifier}
