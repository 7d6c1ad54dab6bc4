-- name: baseline
-- Unique traded token ids, and how many of them the map knows. Not a LEFT JOIN: that fills '' and counts it as known.
SELECT
    uniqExact(token_id) AS unique_ids,
    uniqExactIf(token_id, token_id IN (SELECT token_id FROM {production:Identifier}.ctf_token_map)) AS mapped,
    count() AS fills
FROM {production:Identifier}.clob_fills

-- name: unmapped_tokens
-- Traded token ids that the map lacks, ascending.
SELECT toString(token_id)
FROM {production:Identifier}.clob_fills
WHERE token_id NOT IN (SELECT token_id FROM {production:Identifier}.ctf_token_map)
GROUP BY token_id
ORDER BY token_id
