-- name: unjudged_answers
-- The next distinct answers of a staging table that have no verdict yet, by token.
SELECT DISTINCT token_id, condition_id_norm, outcome_index
FROM {staging:Identifier}.{table:Identifier}
WHERE token_id >= {after:UInt256}
  AND (token_id, condition_id_norm, outcome_index) NOT IN (
    SELECT token_id, condition_id_norm, outcome_index
    FROM {staging:Identifier}.token_proofs
    WHERE token_id >= {after:UInt256}
  )
ORDER BY token_id, condition_id_norm, outcome_index
LIMIT {limit:UInt64}

-- name: answers_by_verdict
-- How many distinct answers of a staging table have which verdict.
SELECT verdict, count() AS answers
FROM (
  SELECT DISTINCT token_id, condition_id_norm, outcome_index, verdict
  FROM {staging:Identifier}.token_proofs
  WHERE (token_id, condition_id_norm, outcome_index) IN (
    SELECT token_id, condition_id_norm, outcome_index FROM {staging:Identifier}.{table:Identifier}
  )
)
GROUP BY verdict

-- name: disproven_answers
-- The answers of a staging table that recomputing contradicts, each once.
SELECT DISTINCT token_id, condition_id_norm, outcome_index, detail
FROM {staging:Identifier}.token_proofs
WHERE verdict = 'disproven'
  AND (token_id, condition_id_norm, outcome_index) IN (
    SELECT token_id, condition_id_norm, outcome_index FROM {staging:Identifier}.{table:Identifier}
  )
ORDER BY token_id, condition_id_norm, outcome_index
