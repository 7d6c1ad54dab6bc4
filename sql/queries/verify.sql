-- name: verify_coverage
-- Traded tokens, their fills and volume, and the mapped part of each; `planted` adds tokens that nobody can have mapped.
SELECT
    count() AS tokens,
    countIf(known) AS mapped,
    sum(fills) AS all_fills,
    sumIf(fills, known) AS mapped_fills,
    sum(volume) AS all_volume,
    sumIf(volume, known) AS mapped_volume
FROM (
    SELECT token_id, fills, volume,
        token_id IN (SELECT token_id FROM {production:Identifier}.ctf_token_map) AS known
    FROM (
        SELECT token_id, count() AS fills, sum(toUInt128(usdc_micro)) AS volume
        FROM {production:Identifier}.clob_fills
        GROUP BY token_id
        UNION ALL
        SELECT toUInt256(number + 1), 1, 0 FROM numbers({planted:UInt64})
    )
)

-- name: verify_wallets
-- Different tokens of each wallet (on either side of a fill), and the mapped part; `planted` gives `control` unmapped ones.
SELECT
    wallet,
    uniqExact(token_id) AS tokens,
    uniqExactIf(token_id, token_id IN (SELECT token_id FROM {production:Identifier}.ctf_token_map)) AS mapped
FROM (
    SELECT arrayJoin([maker, taker]) AS wallet, token_id
    FROM {production:Identifier}.clob_fills
    WHERE has({wallets:Array(String)}, maker) OR has({wallets:Array(String)}, taker)
    UNION ALL
    SELECT {control:String}, toUInt256(number + 1) FROM numbers({planted:UInt64})
)
WHERE has({wallets:Array(String)}, wallet)
GROUP BY wallet
ORDER BY wallet

-- name: verify_duplicates
-- Rows of the map that repeat a token; `planted` repeats that many rows.
SELECT count() - uniqExact(token_id)
FROM (
    SELECT token_id FROM {production:Identifier}.ctf_token_map
    UNION ALL
    SELECT token_id FROM {production:Identifier}.ctf_token_map LIMIT {planted:UInt64}
)

-- name: verify_resolved
-- Positions (wallet and token) of some wallets whose condition has been resolved.
SELECT wallet, uniqExact(token_id) AS positions
FROM (
    SELECT arrayJoin([maker, taker]) AS wallet, token_id
    FROM {production:Identifier}.clob_fills
    WHERE has({wallets:Array(String)}, maker) OR has({wallets:Array(String)}, taker)
) AS f
INNER JOIN (SELECT token_id, condition_id_norm FROM {production:Identifier}.ctf_token_map) AS m USING (token_id)
WHERE has({wallets:Array(String)}, wallet)
  AND condition_id_norm IN (SELECT condition_id_norm FROM {production:Identifier}.market_resolutions_final)
GROUP BY wallet
ORDER BY wallet

-- name: resolutions_loaded
-- How many conditions have a resolution.
SELECT count() FROM {production:Identifier}.market_resolutions_final

-- name: map_rows
-- The map's answers, for recomputing.
SELECT token_id, condition_id_norm, outcome_index, proven
FROM {production:Identifier}.ctf_token_map
WHERE token_id > {after:UInt256}
ORDER BY token_id
LIMIT {limit:UInt64}
