-- Tokens computed from known markets: a third track beside the two that ask.
CREATE TABLE IF NOT EXISTS {staging:Identifier}.clob_asset_map_derived
(
    token_id UInt256 COMMENT 'ERC-1155 id of the outcome token',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_index UInt8 COMMENT 'place of the outcome in the market, from 0',
    outcome Nullable(String) COMMENT 'the outcome''s label, where the market list says it',
    market_slug Nullable(String) COMMENT 'the market''s name in addresses, where the market list says it',
    source LowCardinality(String) COMMENT 'the track or the import that brought it',
    proven UInt8 COMMENT '1: the id was recomputed from condition and index, and is the same',
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY token_id
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'What computing the ids of known markets gave.';

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
ON a.token_id = p.token_id AND a.condition_id_norm = p.condition_id_norm AND a.outcome_index = p.outcome_index
UNION ALL
SELECT token_id, condition_id_norm, outcome_index, outcome, market_slug, source, 'proven' AS verdict
FROM {staging:Identifier}.clob_asset_map_derived FINAL;
-- down
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
DROP TABLE IF EXISTS {staging:Identifier}.clob_asset_map_derived;
