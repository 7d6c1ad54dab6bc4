-- The answers of both tracks side by side, each with its verdict: what merge decides on.

CREATE OR REPLACE VIEW {staging:Identifier}.token_answers AS
SELECT
    a.token_id AS token_id,
    a.condition_id_norm AS condition_id_norm,
    a.outcome_index AS outcome_index,
    a.outcome AS outcome,
    a.market_slug AS market_slug,
    a.source AS source,
    p.verdict AS verdict
FROM (
    SELECT token_id, condition_id_norm, outcome_index, outcome, market_slug, source
    FROM {staging:Identifier}.clob_asset_map_dome FINAL
    UNION ALL
    SELECT token_id, condition_id_norm, outcome_index, outcome, market_slug, source
    FROM {staging:Identifier}.clob_asset_map_goldsky FINAL
) AS a
INNER JOIN (
    SELECT token_id, condition_id_norm, outcome_index, verdict FROM {staging:Identifier}.token_proofs FINAL
) AS p
ON a.token_id = p.token_id AND a.condition_id_norm = p.condition_id_norm AND a.outcome_index = p.outcome_index;

-- down

DROP VIEW IF EXISTS {staging:Identifier}.token_answers;
