-- name: known_tokens
-- Every token that anything here knows of, ascending.
SELECT DISTINCT toString(token_id) AS key
FROM (
    SELECT arrayJoin(token_ids) AS token_id FROM {production:Identifier}.markets
    UNION ALL
    SELECT token_id FROM {production:Identifier}.ctf_token_map
    UNION ALL
    SELECT token_id FROM {production:Identifier}.clob_fills
)
ORDER BY key

-- name: known_conditions
-- Every condition that anything here knows of, with when it was closed (0 when that is not known), whether it is
-- neg-risk ('' when that is not known), and how many fills its tokens have so far.
SELECT
    concat('0x', condition_id_norm) AS key,
    max(closed_at) AS closed_at,
    max(flag) AS flag,
    sum(fills) AS fills
FROM (
    SELECT
        condition_id_norm,
        toUInt64(ifNull(toUnixTimestamp(closed_at), 0)) AS closed_at,
        ifNull(toString(neg_risk), '') AS flag,
        0 AS fills
    FROM {production:Identifier}.markets
    UNION ALL
    SELECT condition_id_norm, 0, '', 0 FROM {production:Identifier}.ctf_token_map
    UNION ALL
    SELECT m.condition_id_norm, 0, '', f.fills
    FROM (SELECT token_id, count() AS fills FROM {production:Identifier}.clob_fills GROUP BY token_id) AS f
    INNER JOIN {production:Identifier}.ctf_token_map AS m ON m.token_id = f.token_id
)
WHERE length(condition_id_norm) = 64
GROUP BY condition_id_norm
ORDER BY key

-- name: derivable_conditions
-- Conditions of which it is known whether they are neg-risk, so that their tokens can be computed, and are not yet.
SELECT concat('0x', condition_id_norm, '/', toString(neg_risk)) AS key
FROM {production:Identifier}.markets
WHERE neg_risk IS NOT NULL AND length(condition_id_norm) = 64
  AND condition_id_norm NOT IN (SELECT condition_id_norm FROM {staging:Identifier}.clob_asset_map_derived)
ORDER BY key

-- name: unresolved_conditions
-- Conditions for which this source has not told a payout yet.
SELECT DISTINCT concat('0x', condition_id_norm) AS key
FROM (
    SELECT condition_id_norm FROM {production:Identifier}.markets
    UNION ALL
    SELECT condition_id_norm FROM {production:Identifier}.ctf_token_map
)
WHERE length(condition_id_norm) = 64
  AND condition_id_norm NOT IN (
      SELECT condition_id_norm FROM {production:Identifier}.resolutions_external_ingest WHERE source = {source:String}
  )
ORDER BY key

-- name: top_wallets
-- Wallets by what they have traded, the largest first.
SELECT maker AS key
FROM {production:Identifier}.clob_fills
GROUP BY maker
ORDER BY sum(usdc_micro) DESC, maker
LIMIT {most:UInt64}

-- name: covered_keys
-- The stretches of each key that a track has read, in order (unix seconds, half-open).
SELECT key, arraySort(groupUniqArray(tuple(covered_from, covered_to))) AS stretches
FROM {staging:Identifier}.covered_windows
WHERE dataset = {dataset:String} AND source = {source:String} AND kind = {kind:String}
GROUP BY key

-- name: covered_stretches
-- The stretches that a track has read, in order.
SELECT covered_from, covered_to
FROM {staging:Identifier}.covered_windows FINAL
WHERE dataset = {dataset:String} AND source = {source:String} AND kind = {kind:String}
ORDER BY covered_from, covered_to

-- name: measured
-- Rows that a track's upstream has said to have for each key.
SELECT key, rows
FROM {staging:Identifier}.density FINAL
WHERE dataset = {dataset:String} AND source = {source:String}

-- name: staged_markets
-- Markets that a listing is known to have.
SELECT uniqExact(condition_id_norm) AS markets FROM {staging:Identifier}.markets_v2 WHERE source = {source:String}

-- name: sync_status
-- How far each track has been read.
SELECT
    dataset,
    source,
    toUnixTimestamp(covered_from) AS covered_from,
    toUnixTimestamp(covered_to) AS covered_to,
    toUnixTimestamp(newest_row) AS newest_row,
    complete,
    note,
    toUnixTimestamp(updated_at) AS updated_at
FROM {analytics:Identifier}.data_sync_status FINAL
ORDER BY dataset, source

-- name: newest_row
-- Time of the newest row that a track has brought (unix seconds, 0 without rows).
SELECT toUnixTimestamp(max({column:Identifier})) AS newest
FROM {staging:Identifier}.{table:Identifier}
WHERE source = {source:String}
