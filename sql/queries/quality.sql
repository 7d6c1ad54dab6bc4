-- name: prepare_quality_control
-- An empty place for rows of our own making, good ones and planted faults.
CREATE OR REPLACE TABLE {staging:Identifier}.quality_control
ENGINE = MergeTree
ORDER BY tuple()
EMPTY AS
SELECT * EXCEPT ingested_at FROM {production:Identifier}.clob_fills

-- name: clear_quality_control
TRUNCATE TABLE IF EXISTS {staging:Identifier}.quality_control

-- name: drop_quality_control
DROP TABLE IF EXISTS {staging:Identifier}.quality_control SYNC

-- name: quality_rows
-- One row for each kind of impossible value: how many fills have it, and some of them. The versions change hands within
-- an hour of the cutover.
SELECT name, count() AS rows, groupArray(3)(fill_id) AS examples
FROM (
  SELECT
    fill_id,
    arrayJoin(arrayFilter(each -> each != '', [
      if(price < 0 OR price > 1, 'price_range', ''),
      if(price = 0, 'price_zero', ''),
      if(price = 1, 'price_one', ''),
      if(shares_micro = 0 OR usdc_micro = 0, 'size_zero', ''),
      if(shares_micro > {most_shares:UInt64} OR usdc_micro > {most_usdc:UInt64}, 'size_absurd', ''),
      if(
        fill_id = '' OR maker = '' OR tx_hash = '' OR source = '' OR token_id = 0
          OR ifNull(taker = '', 0) OR ifNull(order_hash = '', 0),
        'empty_values', ''
      ),
      if(timestamp < toDateTime({first_day:UInt32}, 'UTC'), 'too_early', ''),
      if(timestamp > toDateTime({now:UInt32}, 'UTC'), 'in_future', ''),
      if(
        NOT match(maker, '^0x[0-9a-f]{40}$') OR NOT ifNull(match(taker, '^0x[0-9a-f]{40}$'), 1),
        'bad_addresses', ''
      ),
      if(
        NOT match(tx_hash, '^0x[0-9a-f]{64}$') OR NOT ifNull(match(order_hash, '^0x[0-9a-f]{64}$'), 1)
          OR NOT startsWith(fill_id, concat(tx_hash, '_')),
        'bad_hashes', ''
      ),
      if(
        shares_micro > 0
          AND intDiv(toInt256(usdc_micro) * 1000000000, toInt256(shares_micro))
            != toInt256(toDecimal128(price, 9) * 1000000000),
        'price_wrong', ''
      ),
      if(
        ifNull(exchange_version = 1 AND timestamp >= toDateTime({cutover:UInt32} + 3600, 'UTC'), 0)
          OR ifNull(exchange_version = 2 AND timestamp < toDateTime({cutover:UInt32} - 3600, 'UTC'), 0),
        'wrong_version', ''
      )
    ])) AS name
  FROM {place:Identifier}.{table:Identifier}
)
GROUP BY name

-- name: quality_totals
-- Rows, and what part of them buys, is a taker's own order, or lacks something.
SELECT
  count() AS rows,
  countIf(side = 'BUY') AS buys,
  countIf(ifNull(has({exchanges:Array(String)}, taker), 0)) AS taker_rows,
  countIf(isNull(taker)) AS no_taker,
  countIf(isNull(order_hash)) AS no_order_hash,
  countIf(isNull(log_index)) AS no_log_index,
  countIf(isNull(block_number)) AS no_block_number,
  countIf(isNull(fee_micro)) AS no_fee,
  countIf(isNull(exchange_version)) AS no_exchange_version
FROM {place:Identifier}.{table:Identifier}

-- name: quality_months
-- Fills of each month, those of impossible times left out.
SELECT formatDateTime(toStartOfMonth(timestamp), '%Y-%m') AS month, count() AS rows, countIf(side = 'BUY') AS buys
FROM {place:Identifier}.{table:Identifier}
WHERE timestamp >= toDateTime({first_day:UInt32}, 'UTC') AND timestamp <= toDateTime({now:UInt32}, 'UTC')
GROUP BY month
ORDER BY month

-- name: quality_sources
-- Fills of each source and version of the exchange.
SELECT toString(source) AS source, exchange_version AS version, count() AS rows
FROM {place:Identifier}.{table:Identifier}
GROUP BY source, version
ORDER BY source, version

-- name: quality_tokens
-- Different tokens with their fills, and the part that the map does not know.
SELECT
  count() AS tokens,
  countIf(NOT known) AS unmapped_tokens,
  sumIf(fills, NOT known) AS unmapped_rows
FROM (
  SELECT
    token_id,
    count() AS fills,
    token_id IN (SELECT token_id FROM {production:Identifier}.ctf_token_map) AS known
  FROM {place:Identifier}.{table:Identifier}
  GROUP BY token_id
)

-- name: quality_repeats
-- Ids that several rows have, among a part of all ids: rows too many, and ids that stand under different tokens. Staged
-- rows repeat each other's ids rightly when they are of different tracks.
SELECT
  sum(rows - 1) AS repeats,
  countIf(first_token != last_token) AS across,
  groupArray(3)(example) AS examples,
  groupArrayIf(3)(example, first_token != last_token) AS across_examples
FROM (
  SELECT
    cityHash64(fill_id, if({staged:UInt8} = 1, toString(source), '')) AS id,
    count() AS rows,
    min(cityHash64(token_id)) AS first_token,
    max(cityHash64(token_id)) AS last_token,
    any(fill_id) AS example
  FROM {place:Identifier}.{table:Identifier}
  WHERE cityHash64(fill_id) % {parts:UInt32} = {part:UInt32}
  GROUP BY id
  HAVING rows > 1
)

-- name: quality_twins
-- Rows that say the same under different ids, among a part of all transactions. Certain copies are those of the same
-- order and log (or of the same order, where no log is known). Those of which some know their order and some do not may
-- be copies: the sources' numbers of them differ. Different orders may well say the same. Where no row knows its order,
-- those beyond the first (`equal`) were filled again, or written down again.
SELECT
  sum(copies) AS certain,
  sumIf(rows - 1, keyless = rows) AS equal,
  countIf(copies = 0 AND keyless > 0 AND keyless < rows) AS mixed,
  groupArrayIf(3)(example, copies > 0) AS examples,
  groupArrayIf(3)(example, keyless = rows AND rows > 1) AS equal_examples,
  groupArrayIf(3)(example, copies = 0 AND keyless > 0 AND keyless < rows) AS mixed_examples
FROM (
  SELECT
    count() AS rows,
    countIf(isNull(order_hash)) AS keyless,
    uniqExactIf(fill_id, isNotNull(order_hash))
      - uniqExactIf((ifNull(order_hash, ''), ifNull(log_index, 0), isNull(log_index)), isNotNull(order_hash)) AS copies,
    min(fill_id) AS example
  FROM {place:Identifier}.{table:Identifier}
  WHERE cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
    AND cityHash64(tx_hash, token_id, maker, side, shares_micro, usdc_micro) IN (
      SELECT cityHash64(tx_hash, token_id, maker, side, shares_micro, usdc_micro) AS facts
      FROM {place:Identifier}.{table:Identifier}
      WHERE cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
      GROUP BY facts
      HAVING count() > 1
    )
  GROUP BY tx_hash, token_id, maker, side, shares_micro, usdc_micro, if({staged:UInt8} = 1, toString(source), '')
)

-- name: quality_size
-- How many rows there are to look at.
SELECT count() AS rows FROM {place:Identifier}.{table:Identifier}

-- name: quality_mapped
-- Some tokens that the map knows, for rows of our own making.
SELECT token_id FROM {production:Identifier}.ctf_token_map ORDER BY token_id LIMIT 8
