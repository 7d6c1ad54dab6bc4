-- name: staged_any
-- Token ids for which a track has staged a row, believable or not, ascending.
SELECT toString(token_id)
FROM {staging:Identifier}.{table:Identifier}
GROUP BY token_id
ORDER BY token_id

-- name: staged_believed
-- Token ids for which a track has staged a row that arithmetic does not contradict, ascending.
SELECT toString(token_id)
FROM {staging:Identifier}.{table:Identifier} FINAL
WHERE (token_id, condition_id_norm, outcome_index) NOT IN (
    SELECT token_id, condition_id_norm, outcome_index
    FROM {staging:Identifier}.token_proofs
    WHERE verdict = 'disproven'
)
GROUP BY token_id
ORDER BY token_id

-- name: staged_disproven
-- The rows of a track that arithmetic contradicts, whole, with the reason.
SELECT s.token_id AS token_id, s.condition_id_norm AS condition_id_norm, s.outcome_index AS outcome_index,
    s.outcome AS outcome, s.market_slug AS market_slug, s.unit AS unit, p.detail AS detail
FROM (SELECT * FROM {staging:Identifier}.{table:Identifier} FINAL) AS s
INNER JOIN (
    SELECT token_id, condition_id_norm, outcome_index, detail
    FROM {staging:Identifier}.token_proofs FINAL
    WHERE verdict = 'disproven'
) AS p ON s.token_id = p.token_id AND s.condition_id_norm = p.condition_id_norm AND s.outcome_index = p.outcome_index
ORDER BY token_id
