-- name: tracks_with_windows
-- What each track has read: the kind of its windows, and how far they reach (unix seconds; blocks for blocks).
SELECT dataset, source, kind, min(covered_from) AS low, max(covered_to) AS high
FROM {staging:Identifier}.covered_windows
WHERE covered_from < covered_to
GROUP BY dataset, source, kind
ORDER BY dataset, source, kind

-- name: interrupted_windows
-- Keys of which a track has read what lies before and behind something that it has not.
SELECT
    dataset,
    source,
    kind,
    key,
    arraySort(groupUniqArray((covered_from, covered_to))) AS stretches
FROM {staging:Identifier}.covered_windows
WHERE covered_from < covered_to
GROUP BY dataset, source, kind, key
HAVING intervalLengthSum(covered_from, covered_to) < max(covered_to) - min(covered_from)
ORDER BY dataset, source, kind, key

-- name: block_times
-- Moments known to lie before or at one block, and behind or at another (unix seconds; 0 where none is known).
SELECT
    toUInt64(maxIf(toUnixTimestamp(timestamp), block_number <= {low:UInt64})) AS before,
    toUInt64(minIf(toUnixTimestamp(timestamp), block_number >= {high:UInt64})) AS behind
FROM (
    SELECT block_number, timestamp FROM {production:Identifier}.clob_fills WHERE block_number > 0
    UNION ALL
    SELECT toNullable(block_number), timestamp FROM {production:Identifier}.erc1155_transfers
    UNION ALL
    SELECT block_number, timestamp FROM {production:Identifier}.ctf_activity WHERE block_number > 0
)

-- name: unread_tokens
-- Known tokens whose fills nobody was asked for all the time, with the stretches for which somebody was: by token, by
-- market, or by tracks that read every token (`whole`). A market is of interest until a day after it closed.
WITH
    known AS (
        SELECT
            token_id,
            max(condition) AS condition,
            max(closed) AS closed_at,
            if(closed_at > 0, least({end:UInt64}, closed_at + 86400), {end:UInt64}) AS until
        FROM (
            SELECT
                arrayJoin(token_ids) AS token_id,
                concat('0x', condition_id_norm) AS condition,
                toUInt64(ifNull(toUnixTimestamp(closed_at), 0)) AS closed
            FROM {production:Identifier}.markets
            UNION ALL
            SELECT token_id, concat('0x', condition_id_norm), 0 FROM {production:Identifier}.ctf_token_map
            UNION ALL
            SELECT DISTINCT token_id, '', 0 FROM {production:Identifier}.clob_fills
        )
        GROUP BY token_id
    ),
    windows AS (
        SELECT toUInt256OrZero(key) AS token_id, covered_from AS low, covered_to AS high
        FROM {staging:Identifier}.covered_windows
        WHERE dataset = 'fills' AND kind = 'token'
        UNION ALL
        SELECT k.token_id, w.covered_from, w.covered_to
        FROM (SELECT * FROM {staging:Identifier}.covered_windows WHERE dataset = 'fills' AND kind = 'condition') AS w
        INNER JOIN known AS k ON k.condition = w.key
        UNION ALL
        SELECT token_id, toUInt64(stretch.1), toUInt64(stretch.2)
        FROM known
        ARRAY JOIN arrayZip({lows:Array(UInt64)}, {highs:Array(UInt64)}) AS stretch
    )
SELECT
    toString(token_id) AS key,
    any(until) AS until,
    arraySort(groupUniqArrayIf((low, high), low < high)) AS stretches
FROM (
    SELECT k.token_id AS token_id, k.until AS until,
        greatest(w.low, {start:UInt64}) AS low, least(w.high, k.until) AS high
    FROM known AS k
    LEFT JOIN windows AS w ON w.token_id = k.token_id
    WHERE k.until > {start:UInt64}
)
GROUP BY token_id
HAVING intervalLengthSumIf(low, high, low < high) < until - {start:UInt64}
ORDER BY key

-- name: hourly_rows
-- Rows of a table hour by hour.
SELECT toUInt64(toUnixTimestamp(toStartOfHour(timestamp))) AS hour, count() AS rows
FROM {production:Identifier}.{table:Identifier}
GROUP BY hour
ORDER BY hour

-- name: staged_between
-- Rows that any track has staged of a stretch of time.
SELECT count()
FROM {staging:Identifier}.{table:Identifier}
WHERE timestamp >= {low:DateTime('UTC')} AND timestamp < {high:DateTime('UTC')}

-- name: blocks_between
-- The last block with rows before a stretch of time and the first behind it, each with its time.
SELECT
    toUInt64(ifNull(maxIf(block_number, timestamp < {low:DateTime('UTC')}), 0)) AS before,
    toUInt64(maxIf(toUnixTimestamp(timestamp), timestamp < {low:DateTime('UTC')})) AS before_at,
    toUInt64(ifNull(minIf(block_number, timestamp >= {high:DateTime('UTC')}), 0)) AS behind,
    toUInt64(minIf(toUnixTimestamp(timestamp), timestamp >= {high:DateTime('UTC')})) AS behind_at
FROM {production:Identifier}.{table:Identifier}
WHERE block_number > 0

-- name: asked_over
-- The plans by which a track has asked for (nearly) all of a stretch, and for how many keys each.
SELECT plan_id, count() AS keys
FROM (
    SELECT plan_id, key
    FROM {staging:Identifier}.covered_windows
    WHERE dataset = {dataset:String} AND source = {source:String}
      AND covered_from < {high:UInt64} AND covered_to > {low:UInt64}
    GROUP BY plan_id, key
    HAVING intervalLengthSum(greatest(covered_from, {low:UInt64}), least(covered_to, {high:UInt64}))
        >= ({high:UInt64} - {low:UInt64}) * {share:Float64}
)
GROUP BY plan_id
ORDER BY keys DESC

-- name: short_tokens
-- Tokens of a range of which the source counts more rows than it has shown although it was asked for all of its time,
-- and by how many plans it was.
SELECT d.key AS key, d.rows AS counted, ifNull(s.rows, 0) AS staged, w.asked AS asked
FROM (
    SELECT key, toUInt256OrZero(key) AS token_id, rows
    FROM {staging:Identifier}.density FINAL
    WHERE dataset = {dataset:String} AND source = {source:String}
      AND toUInt256OrZero(key) BETWEEN {low:UInt256} AND {high:UInt256} AND rows > 0
) AS d
INNER JOIN (
    SELECT key, count() AS asked
    FROM (
        SELECT key, plan_id
        FROM {staging:Identifier}.covered_windows
        WHERE dataset = {dataset:String} AND source = {source:String} AND kind = 'token'
          AND covered_from < {end:UInt64} AND covered_to > {start:UInt64}
        GROUP BY key, plan_id
        HAVING intervalLengthSum(greatest(covered_from, {start:UInt64}), least(covered_to, {end:UInt64}))
            >= {end:UInt64} - {start:UInt64}
    )
    GROUP BY key
) AS w ON w.key = d.key
LEFT JOIN (
    SELECT token_id, uniqExact(timestamp, fill_id) AS rows
    FROM {staging:Identifier}.clob_fills_v2
    WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND track = {source:String}
    GROUP BY token_id
) AS s ON s.token_id = d.token_id
WHERE counted > staged

-- name: fills_spread
-- How many staged fills have a token with this first byte.
SELECT toUInt16(bitShiftRight(token_id, 248)) AS first_byte, count() AS rows
FROM {staging:Identifier}.clob_fills_v2
GROUP BY first_byte
ORDER BY first_byte

-- name: density_spread
-- How many counted tokens have this first byte; what they weigh is their rows.
SELECT toUInt16(bitShiftRight(toUInt256OrZero(key), 248)) AS first_byte, sum(rows) AS rows
FROM {staging:Identifier}.density FINAL
WHERE dataset = {dataset:String} AND source = {source:String}
GROUP BY first_byte
ORDER BY first_byte

-- name: unmerged_fills
-- Of one portion: tokens of which a track shows more fills of a transaction than production does. `fresh` counts those
-- that came in since the last merge, which the next one looks at anyway.
SELECT
    toString(token_id) AS key,
    argMax(track, missing) AS track,
    sum(missing) AS rows,
    sum(fresh) AS fresh,
    toUnixTimestamp(min(at)) AS low,
    toUnixTimestamp(max(at)) + 1 AS high
FROM (
    SELECT
        token_id,
        argMaxIf(layer, found, layer != '') AS track,
        toInt64(maxIf(found, layer != '')) - toInt64(maxIf(found, layer = '')) AS missing,
        if(max(new) = 1, missing, 0) AS fresh,
        minIf(at, layer != '') AS at
    FROM (
        SELECT
            token_id,
            cityHash64(tx_hash) AS t,
            toString(track) AS layer,
            uniqExact(fill_id) AS found,
            max((_block_number, ingested_at) NOT IN (SELECT block, staged_at FROM {staging:Identifier}.fills_merged)) AS new,
            min(timestamp) AS at
        FROM {staging:Identifier}.clob_fills_v2
        WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
        GROUP BY token_id, t, layer
        UNION ALL
        SELECT token_id, cityHash64(tx_hash) AS t, '' AS layer, uniqExact(fill_id), 0, min(timestamp)
        FROM {production:Identifier}.clob_fills
        WHERE token_id BETWEEN {low:UInt256} AND {high:UInt256} AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
        GROUP BY token_id, t
    )
    GROUP BY token_id, t
    HAVING missing > 0
)
GROUP BY token_id
ORDER BY key

-- name: unmerged_transfers
-- Staged transfers of some blocks that production does not have.
SELECT
    count() AS rows,
    toUnixTimestamp(min(timestamp)) AS low,
    toUnixTimestamp(max(timestamp)) + 1 AS high
FROM {staging:Identifier}.erc1155_transfers_v2 FINAL
WHERE block_number >= {low:UInt64} AND block_number < {high:UInt64}
  AND (block_number, log_index, batch_index) NOT IN (
      SELECT block_number, log_index, batch_index
      FROM {production:Identifier}.erc1155_transfers
      WHERE block_number >= {low:UInt64} AND block_number < {high:UInt64}
  )

-- name: unmerged_activity
-- Staged events of a share of the transactions that production does not have, of the sources that name events alike.
SELECT
    uniqExact(event_id) AS rows,
    toUnixTimestamp(min(timestamp)) AS low,
    toUnixTimestamp(max(timestamp)) + 1 AS high
FROM {staging:Identifier}.ctf_activity_v2
WHERE source IN ('chain', 'goldsky') AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
  AND event_id NOT IN (
      SELECT event_id FROM {production:Identifier}.ctf_activity
      WHERE cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
  )
