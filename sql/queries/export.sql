-- name: export_fills_spread
-- How many of the wanted fills have a token with this first byte; ids are hashes, so this is where to cut.
SELECT toUInt16(bitShiftRight(token_id, 248)) AS first_byte, count() AS rows
FROM {production:Identifier}.clob_fills
WHERE timestamp >= toDateTime({since:UInt32}, 'UTC') AND timestamp < toDateTime({until:UInt32}, 'UTC')
  AND ({wallet:String} = '' OR maker = {wallet:String})
  AND ({token:String} = '' OR token_id = toUInt256OrZero({token:String}))
  AND ({condition:String} = '' OR token_id IN (
    SELECT token_id FROM {production:Identifier}.ctf_token_map WHERE condition_id_norm = {condition:String}
    UNION ALL
    SELECT arrayJoin(token_ids) FROM {production:Identifier}.markets WHERE condition_id_norm = {condition:String}
  ))
GROUP BY first_byte
ORDER BY first_byte

-- name: export_fills
-- The wanted fills of one portion; ids as text, because no number of other programs holds them.
SELECT
  fill_id, toString(token_id) AS token_id, maker, taker, toString(side) AS side, shares_micro, usdc_micro, fee_micro,
  toString(fee_asset) AS fee_asset, price, toDateTime64(timestamp, 0, 'UTC') AS timestamp, tx_hash, order_hash,
  log_index, block_number, exchange_version, toString(source) AS source
FROM {production:Identifier}.clob_fills FINAL
WHERE clob_fills.token_id BETWEEN {low:UInt256} AND {high:UInt256}
  AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
  AND clob_fills.timestamp >= toDateTime({since:UInt32}, 'UTC')
  AND clob_fills.timestamp < toDateTime({until:UInt32}, 'UTC')
  AND ({wallet:String} = '' OR maker = {wallet:String})
  AND ({token:String} = '' OR clob_fills.token_id = toUInt256OrZero({token:String}))
  AND ({condition:String} = '' OR clob_fills.token_id IN (
    SELECT token_id FROM {production:Identifier}.ctf_token_map WHERE condition_id_norm = {condition:String}
    UNION ALL
    SELECT arrayJoin(token_ids) FROM {production:Identifier}.markets WHERE condition_id_norm = {condition:String}
  ))
ORDER BY clob_fills.token_id, clob_fills.timestamp, fill_id
SETTINGS date_time_output_format = 'iso', format_csv_null_representation = '', output_format_parquet_string_as_string = 1

-- name: export_token_map_spread
-- How many mappings have a token with this first byte.
SELECT toUInt16(bitShiftRight(token_id, 248)) AS first_byte, count() AS rows
FROM {production:Identifier}.ctf_token_map
GROUP BY first_byte
ORDER BY first_byte

-- name: export_token_map
-- The mappings of one portion; ids as text.
SELECT
  toString(token_id) AS token_id, condition_id_norm, outcome_index, outcome, market_slug, toString(source) AS source,
  proven
FROM {production:Identifier}.ctf_token_map FINAL
WHERE ctf_token_map.token_id BETWEEN {low:UInt256} AND {high:UInt256}
  AND cityHash64(ctf_token_map.token_id) % {parts:UInt32} = {part:UInt32}
ORDER BY ctf_token_map.token_id
SETTINGS format_csv_null_representation = '', output_format_parquet_string_as_string = 1

-- name: export_markets_spread
-- How many markets there are for each first byte of their condition.
SELECT toUInt16(reinterpretAsUInt8(unhex(substring(condition_id_norm, 1, 2)))) AS first_byte, count() AS rows
FROM {production:Identifier}.markets
GROUP BY first_byte
ORDER BY first_byte

-- name: export_markets
-- The markets of one portion; lists as JSON, ids as text.
SELECT
  condition_id_norm, question_id, question, market_slug, event_slug, oracle, neg_risk, neg_risk_market_id,
  toJSONString(outcomes) AS outcomes,
  toJSONString(arrayMap(id -> toString(id), token_ids)) AS token_ids,
  toJSONString(tags) AS tags,
  toDateTime64(start_at, 0, 'UTC') AS start_at,
  toDateTime64(end_at, 0, 'UTC') AS end_at,
  toDateTime64(closed_at, 0, 'UTC') AS closed_at,
  closed, active, archived, volume_usd, fee_rate, fee_exponent, fee_taker_only, uma_status, toString(source) AS source
FROM {production:Identifier}.markets FINAL
WHERE bitShiftLeft(toUInt256(reinterpretAsUInt8(unhex(substring(condition_id_norm, 1, 2)))), 248)
    BETWEEN {low:UInt256} AND {high:UInt256}
  AND cityHash64(condition_id_norm) % {parts:UInt32} = {part:UInt32}
ORDER BY condition_id_norm
SETTINGS date_time_output_format = 'iso', format_csv_null_representation = '', output_format_parquet_string_as_string = 1
