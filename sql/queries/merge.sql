-- name: merge_counts
-- Staged tokens of each track, those that both have, and those on which the two differ.
SELECT
    (SELECT uniqExact(token_id) FROM {staging:Identifier}.clob_asset_map_dome) AS dome,
    (SELECT uniqExact(token_id) FROM {staging:Identifier}.clob_asset_map_goldsky) AS goldsky,
    (
        SELECT uniqExact(token_id) FROM {staging:Identifier}.clob_asset_map_dome
        WHERE token_id IN (SELECT token_id FROM {staging:Identifier}.clob_asset_map_goldsky)
    ) AS overlap

-- name: merge_conflicts
-- Tokens on which the tracks differ: both answers with their verdicts. Proven wins, then Dome, and never a disproven one.
SELECT
    token_id,
    any(condition_id_norm) FILTER (WHERE source = 'dome') AS dome_condition,
    any(outcome_index) FILTER (WHERE source = 'dome') AS dome_index,
    any(toString(verdict)) FILTER (WHERE source = 'dome') AS dome_verdict,
    any(condition_id_norm) FILTER (WHERE source = 'goldsky') AS goldsky_condition,
    any(outcome_index) FILTER (WHERE source = 'goldsky') AS goldsky_index,
    any(toString(verdict)) FILTER (WHERE source = 'goldsky') AS goldsky_verdict
FROM {staging:Identifier}.token_answers
WHERE source IN ('dome', 'goldsky')
GROUP BY token_id
HAVING uniqExact(source) = 2 AND (dome_condition, dome_index) != (goldsky_condition, goldsky_index)
ORDER BY token_id

-- name: merge_winners
-- One believable answer for each staged token that the map lacks: proven before unprovable, then Dome, then computed, then Goldsky.
SELECT
    token_id,
    tupleElement(best, 1) AS condition_id_norm,
    tupleElement(best, 2) AS outcome_index,
    tupleElement(best, 3) AS outcome,
    tupleElement(best, 4) AS market_slug,
    tupleElement(best, 5) AS source,
    tupleElement(best, 6) AS proven
FROM (
    SELECT
        token_id,
        argMin(
            tuple(condition_id_norm, outcome_index, outcome, market_slug, source, toUInt8(verdict = 'proven')),
            (verdict != 'proven', transform(source, ['dome', 'derive', 'goldsky'], [0, 1, 2], 3))
        ) AS best
    FROM {staging:Identifier}.token_answers
    WHERE verdict != 'disproven'
      AND token_id NOT IN (SELECT token_id FROM {production:Identifier}.ctf_token_map)
    GROUP BY token_id
)
ORDER BY token_id

-- name: map_size
-- Rows of the map, and how many of them repeat a token; without FINAL, because readers do without it too.
SELECT count() AS rows, count() - uniqExact(token_id) AS duplicates
FROM {production:Identifier}.ctf_token_map

-- name: map_compact
-- Make the table drop rows that repeat a key.
OPTIMIZE TABLE {production:Identifier}.ctf_token_map FINAL
