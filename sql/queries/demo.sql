-- name: demo_map
-- Every row of the map as it stands (no FINAL: a doubled row must show), for the demo's comparison with the truth.
SELECT toString(token_id) AS token_id, condition_id_norm, outcome_index, source
FROM {production:Identifier}.ctf_token_map
