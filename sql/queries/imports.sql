-- name: prepare_import_fills
-- An empty place for the fills of one import; whatever an earlier import left there goes. Hashes and addresses are
-- bytes. `tail` is what an id has behind its transaction where that is not its order. Four columns are worked out: `id`
-- is a hash of the id (of the part that equal fills share), `fact` of what happened but for the dollars, `h` of the
-- transaction (by it the rows are compared in portions); `layer` is 0 where orders are known, and else 2 where the
-- dollars come from a price, as they do in `rounded` rows.
CREATE OR REPLACE TABLE {staging:Identifier}.import_fills (
  file UInt32,
  line UInt64,
  tx_hash FixedString(32),
  order_hash Nullable(FixedString(32)),
  tail String,
  ordinal UInt32,
  needs_ordinal UInt8,
  token_id UInt256,
  maker FixedString(20),
  taker Nullable(FixedString(20)),
  side Enum8('BUY' = 1, 'SELL' = 2),
  shares_micro UInt64,
  usdc_micro UInt64,
  fee_micro Nullable(UInt64),
  fee_asset Nullable(Enum8('none' = 0, 'shares' = 1, 'usdc' = 2)),
  timestamp DateTime('UTC'),
  log_index Nullable(UInt32),
  block_number Nullable(UInt64),
  exchange_version Nullable(UInt8),
  source LowCardinality(String),
  stem String ALIAS concat(
    '0x', lower(hex(tx_hash)), '_', if(tail = '', concat('0x', lower(hex(assumeNotNull(order_hash)))), tail)
  ),
  h UInt64 MATERIALIZED cityHash64(tx_hash),
  id UInt128 MATERIALIZED reinterpretAsUInt128(sipHash128(stem)),
  fact UInt64 MATERIALIZED cityHash64(tx_hash, token_id, maker, toUInt8(side), shares_micro),
  layer UInt8 MATERIALIZED multiIf(order_hash IS NOT NULL, 0, position(source, 'data_api') > 0, 2, 1),
  rounded UInt8 MATERIALIZED position(source, 'data_api') > 0 OR position(source, 'dome') > 0
)
ENGINE = MergeTree
ORDER BY h

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
-- An empty place for what was found out about these fills: those that are not new, and the numbers of those that need
-- one. A row that is not here is new, and the first of its kind.
CREATE OR REPLACE TABLE {staging:Identifier}.import_fills_sorted (
  file UInt32,
  line UInt64,
  h UInt64,
  state Enum8('new' = 1, 'duplicate' = 2, 'conflict' = 3),
  ordinal UInt32
)
ENGINE = MergeTree
ORDER BY h

-- name: prepare_import_fills_known
-- An empty place for what production has of the same tokens, in the same hashes.
CREATE OR REPLACE TABLE {staging:Identifier}.import_fills_known (
  h UInt64,
  id UInt128,
  ordinal UInt32,
  fact UInt64,
  usdc_micro UInt64,
  layer UInt8,
  rounded UInt8
)
ENGINE = MergeTree
ORDER BY h

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

-- name: know_stored_fills
-- What production has of the imported tokens. An id of a fill whose order is not known ends with its number among equal
-- fills.
INSERT INTO {staging:Identifier}.import_fills_known
WITH
  match(fill_id, '_k[0-9a-f]{32}_[0-9]{1,9}$') AS is_numbered,
  length(fill_id) - position(reverse(fill_id), '_') AS stem_length
SELECT
  cityHash64(toFixedString(unhex(substring(tx_hash, 3)), 32)),
  reinterpretAsUInt128(sipHash128(if(is_numbered, substring(fill_id, 1, stem_length), fill_id))),
  if(is_numbered, toUInt32OrZero(substring(fill_id, stem_length + 2)), 4294967295),
  cityHash64(
    toFixedString(unhex(substring(tx_hash, 3)), 32), token_id, toFixedString(unhex(substring(maker, 3)), 20),
    toUInt8(side), shares_micro
  ),
  usdc_micro,
  multiIf(ifNull(order_hash, '') != '', 0, position(source, 'data_api') > 0, 2, 1),
  position(source, 'data_api') > 0 OR position(source, 'dome') > 0
FROM {production:Identifier}.clob_fills
WHERE token_id IN (SELECT token_id FROM {staging:Identifier}.import_fills)

-- name: import_fill_layers
-- How many kinds of sources there are among imported and known fills; one has nothing to be compared with.
SELECT uniqExact(layer)
FROM (
  SELECT layer FROM {staging:Identifier}.import_fills
  UNION ALL
  SELECT layer FROM {staging:Identifier}.import_fills_known
)

-- name: import_fill_spread
-- How many imported fills have a transaction whose hash begins with this byte: where to cut.
SELECT toUInt16(bitShiftRight(h, 56)) AS first_byte, count() AS rows
FROM {staging:Identifier}.import_fills
GROUP BY first_byte
ORDER BY first_byte

-- name: sort_import_fills
-- What becomes of the imported fills of one portion of the transactions, as far as it is not plain. Looked at are fills
-- whose id is in production or twice in this import, and with several kinds of sources (`mixed`) those that two of them
-- show.
--   numbers    equal fills of a file whose order is not known are numbered; where every row of a transaction is there k
--              times in a file that shows all sides of a transaction (layer 1), it was written down k times
--   by id      duplicate: its id is known, or came before in this import; conflict: there with other facts. Dollars
--              that were computed from a price may be off by a rounding
--   by fact    of the fills of one fact (transaction, wallet, token, side, shares), the sources that know orders come
--              first; another kind of source adds as many as it shows (now, or in production) beyond those that are
--              there by then
INSERT INTO {staging:Identifier}.import_fills_sorted
WITH
  loaded AS (
    SELECT file, line, h, id, ordinal, needs_ordinal, fact, usdc_micro, shares_micro, layer, rounded
    FROM {staging:Identifier}.import_fills
    WHERE h BETWEEN {low:UInt64} AND {high:UInt64} AND h % {parts:UInt32} = {part:UInt32}
  ),
  known AS (
    SELECT id, ordinal, fact, usdc_micro, layer, rounded
    FROM {staging:Identifier}.import_fills_known
    WHERE h BETWEEN {low:UInt64} AND {high:UInt64} AND h % {parts:UInt32} = {part:UInt32}
  ),
  open AS (
    SELECT *
    FROM loaded
    WHERE id IN (SELECT id FROM known)
      OR id IN (SELECT id FROM loaded GROUP BY id HAVING count() > 1)
      OR layer = 1 AND h IN (SELECT h FROM loaded WHERE layer = 1 GROUP BY h, id HAVING count() > 1)
      OR fact IN (
        SELECT fact
        FROM (
          SELECT fact, layer FROM loaded WHERE {mixed:UInt8} = 1
          UNION ALL
          SELECT fact, layer FROM known WHERE {mixed:UInt8} = 1
        )
        GROUP BY fact
        HAVING min(layer) != max(layer)
      )
  ),
  counted AS (
    SELECT *,
      row_number() OVER (PARTITION BY file, id ORDER BY line) - 1 AS turn,
      count() OVER (PARTITION BY file, id) AS times
    FROM open
  ),
  numbered AS (
    SELECT * REPLACE (
        multiIf(
          needs_ordinal = 0, ordinal,
          layer = 1, turn % intDiv(times + copies - 1, copies),
          turn
        ) AS ordinal
      )
    FROM (SELECT *, min(times) OVER (PARTITION BY file, h, layer) AS copies FROM counted)
  ),
  placed AS (
    SELECT *,
      row_number() OVER by_id AS place,
      first_value(fact) OVER by_id AS first_fact,
      first_value(usdc_micro) OVER by_id AS first_usdc,
      first_value(rounded) OVER by_id AS first_rounded
    FROM numbered
    WINDOW by_id AS (PARTITION BY id, ordinal ORDER BY layer, rounded, file, line)
  ),
  judged AS (
    SELECT placed.*,
      stored.is_known AS is_known,
      is_known AND stored.layer = placed.layer AS is_own,
      if(is_known, stored.fact, first_fact) AS other_fact,
      if(is_known, stored.usdc_micro, first_usdc) AS other_usdc,
      if(rounded OR if(is_known, stored.rounded, first_rounded), 5 + intDiv(shares_micro, 1000000), 0) AS slack,
      multiIf(
        NOT is_known AND place = 1, 'new',
        fact = other_fact AND greatest(usdc_micro, other_usdc) - least(usdc_micro, other_usdc) <= slack, 'duplicate',
        'conflict'
      ) AS by_id
    FROM placed
    LEFT ANY JOIN (SELECT *, 1 AS is_known FROM known) AS stored
      ON placed.id = stored.id AND placed.ordinal = stored.ordinal
  ),
  compared AS (
    SELECT judged.*,
      row_number() OVER (PARTITION BY by_id, fact, layer ORDER BY id, ordinal) AS nth,
      countIf(by_id = 'new') OVER (PARTITION BY fact, layer) AS more,
      uniqExactIf((id, ordinal), layer = 0 AND NOT is_own) OVER (PARTITION BY fact) + had_0 AS shown_0,
      uniqExactIf((id, ordinal), layer = 1 AND NOT is_own) OVER (PARTITION BY fact) + had_1 AS shown_1,
      uniqExactIf((id, ordinal), layer = 2 AND NOT is_own) OVER (PARTITION BY fact) + had_2 AS shown_2,
      had_0 + had_1 + had_2 AS there_0,
      greatest(there_0, shown_0) AS there_1,
      greatest(there_1, shown_1) AS there_2,
      multiIf(
        layer = 0, greatest(shown_0, there_0) - there_0,
        layer = 1, greatest(shown_1, there_1) - there_1,
        greatest(shown_2, there_2) - there_2
      ) AS lacking
    FROM judged
    LEFT ANY JOIN (
      SELECT fact,
        uniqExactIf((id, ordinal), layer = 0) AS had_0,
        uniqExactIf((id, ordinal), layer = 1) AS had_1,
        uniqExactIf((id, ordinal), layer = 2) AS had_2
      FROM known
      WHERE {mixed:UInt8} = 1
      GROUP BY fact
    ) AS had ON judged.fact = had.fact
  ),
  settled AS (
    SELECT file, line, h, ordinal,
      multiIf(
        by_id != 'new', by_id,
        {mixed:UInt8} = 1 AND nth + lacking <= more, 'duplicate',
        'new'
      ) AS state
    FROM compared
  )
SELECT file, line, h, state, ordinal
FROM settled
WHERE state != 'new' OR ordinal NOT IN (0, 4294967295)

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

-- name: import_map_states
-- How many mappings of each file came to which state.
SELECT file, state, count() AS rows
FROM {staging:Identifier}.import_token_map_sorted
GROUP BY file, state

-- name: import_map_conflicts
-- The mappings that contradict another, as they would be stored.
SELECT file, line, formatRowNoNewline('JSONEachRow', * EXCEPT (file, line, state)) AS raw
FROM {staging:Identifier}.import_token_map_sorted
WHERE state = 'conflict'
ORDER BY file, line

-- name: import_fill_rows
-- How many rows of each file came to the scratch table.
SELECT file, count() AS rows
FROM {staging:Identifier}.import_fills
GROUP BY file

-- name: import_fill_states
-- How many of them are not new.
SELECT file, state, count() AS rows, uniqExact(line) AS lines
FROM {staging:Identifier}.import_fills_sorted
WHERE state != 'new'
GROUP BY file, state

-- name: import_fill_conflicts
-- The rows that contradict another row, as they would be stored.
SELECT file, line, formatRowNoNewline(
    'JSONEachRow', if(ordinal = 4294967295, stem, concat(stem, '_', toString(ordinal))) AS fill_id,
    toString(token_id) AS token_id, concat('0x', lower(hex(maker))) AS maker, side, shares_micro, usdc_micro, fee_micro,
    fee_asset, timestamp, concat('0x', lower(hex(import_fills.tx_hash))) AS tx_hash,
    if(import_fills.order_hash IS NULL, NULL, concat('0x', lower(hex(assumeNotNull(import_fills.order_hash)))))
      AS order_hash,
    if(import_fills.taker IS NULL, NULL, concat('0x', lower(hex(assumeNotNull(import_fills.taker))))) AS taker,
    log_index, block_number, exchange_version, source
  ) AS raw
FROM {staging:Identifier}.import_fills
WHERE (file, line) IN (SELECT file, line FROM {staging:Identifier}.import_fills_sorted WHERE state = 'conflict')
ORDER BY file, line

-- name: insert_new_fills
-- The new fills of one portion into production: those that nothing was found out about.
INSERT INTO {production:Identifier}.clob_fills (
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
)
SELECT
  multiIf(needs_ordinal = 1, concat(stem, '_0'), ordinal = 4294967295, stem, concat(stem, '_', toString(ordinal))),
  token_id, concat('0x', lower(hex(maker))),
  if(taker IS NULL, NULL, concat('0x', lower(hex(assumeNotNull(taker))))), side, shares_micro, usdc_micro, fee_micro,
  fee_asset, reinterpret(toInt64(intDiv(toUInt128(usdc_micro) * 1000000000, shares_micro)), 'Decimal64(9)'), timestamp,
  concat('0x', lower(hex(tx_hash))),
  if(order_hash IS NULL, NULL, concat('0x', lower(hex(assumeNotNull(order_hash))))), log_index, block_number,
  exchange_version, source
FROM {staging:Identifier}.import_fills
WHERE h BETWEEN {low:UInt64} AND {high:UInt64} AND h % {parts:UInt32} = {part:UInt32}
  AND (file, line) NOT IN (
    SELECT file, line FROM {staging:Identifier}.import_fills_sorted
    WHERE h BETWEEN {low:UInt64} AND {high:UInt64} AND h % {parts:UInt32} = {part:UInt32}
  )

-- name: insert_numbered_fills
-- And those that are new under a number.
INSERT INTO {production:Identifier}.clob_fills (
  fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
  order_hash, log_index, block_number, exchange_version, source
)
SELECT
  concat(stem, '_', toString(numbers.ordinal)), token_id, concat('0x', lower(hex(maker))),
  if(taker IS NULL, NULL, concat('0x', lower(hex(assumeNotNull(taker))))), side, shares_micro, usdc_micro, fee_micro,
  fee_asset, reinterpret(toInt64(intDiv(toUInt128(usdc_micro) * 1000000000, shares_micro)), 'Decimal64(9)'), timestamp,
  concat('0x', lower(hex(tx_hash))),
  if(order_hash IS NULL, NULL, concat('0x', lower(hex(assumeNotNull(order_hash))))), log_index, block_number,
  exchange_version, source
FROM {staging:Identifier}.import_fills
INNER JOIN (
  SELECT file, line, ordinal FROM {staging:Identifier}.import_fills_sorted
  WHERE state = 'new' AND h BETWEEN {low:UInt64} AND {high:UInt64} AND h % {parts:UInt32} = {part:UInt32}
) AS numbers ON import_fills.file = numbers.file AND import_fills.line = numbers.line
WHERE h BETWEEN {low:UInt64} AND {high:UInt64} AND h % {parts:UInt32} = {part:UInt32}

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
WHERE match(query, '(?s)^(\\s|--[^\\n]*\\n)*INSERT INTO.*import_(fills|token_map)')

-- name: fills_still_changing
-- Statements of whoever writes fills into production and was killed: an import, a merge, and removals not ended yet.
SELECT
  (
    SELECT count()
    FROM system.processes
    WHERE match(query, '(?s)^(\\s|--[^\\n]*\\n)*(INSERT INTO|DELETE FROM|OPTIMIZE)[^(]*clob_fills\\b')
  ) + (
    SELECT count()
    FROM system.mutations
    WHERE database = {database:String} AND table = 'clob_fills' AND is_done = 0
  )

-- name: clear_import
-- The scratch tables of an import, emptied.
TRUNCATE TABLE IF EXISTS {staging:Identifier}.{table:Identifier}
