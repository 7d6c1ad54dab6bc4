-- name: demo_map
-- Every row of the map as it stands (no FINAL: a doubled row must show), for the demo's comparison with the truth.
SELECT toString(token_id) AS token_id, condition_id_norm, outcome_index, source
FROM {production:Identifier}.ctf_token_map

-- name: demo_fills
-- Every fill as it stands (no FINAL: a doubled row must show), for the demo's comparison with the ledger.
SELECT tx_hash, maker, toString(token_id) AS token_id, toString(side) AS side, shares_micro, usdc_micro
FROM {production:Identifier}.clob_fills
