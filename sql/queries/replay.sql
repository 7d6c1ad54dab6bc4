-- name: staged_among
-- Which of the given tokens a track has staged an answer for.
SELECT DISTINCT toString(token_id) AS token_id
FROM {staging:Identifier}.{table:Identifier}
WHERE token_id IN {tokens:Array(UInt256)}
