-- Which token belongs to which outcome of which market: the map, and what each track found.
CREATE TABLE IF NOT EXISTS {production:Identifier}.ctf_token_map
(
    token_id UInt256 COMMENT 'ERC-1155 id of the outcome token',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_index UInt8 COMMENT 'place of the outcome in the market, from 0',
    outcome Nullable(String) COMMENT 'the outcome''s label, where the source says it',
    market_slug Nullable(String) COMMENT 'the market''s name in addresses, where the source says it',
    source LowCardinality(String) COMMENT 'the track or the import that brought it',
    proven UInt8 COMMENT '1: the id was recomputed from condition and index, and is the same',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY token_id
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Token to market and outcome; one row a token.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.clob_asset_map_dome
(
    token_id UInt256 COMMENT 'ERC-1155 id of the outcome token',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_index UInt8 COMMENT 'place of the outcome in the market, from 0',
    outcome Nullable(String) COMMENT 'the outcome''s label, where the source says it',
    market_slug Nullable(String) COMMENT 'the market''s name in addresses, where the source says it',
    source LowCardinality(String) COMMENT 'the track or the import that brought it',
    proven UInt8 COMMENT '1: the id was recomputed from condition and index, and is the same',
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY token_id
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'What the dome track found.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.clob_asset_map_goldsky
(
    token_id UInt256 COMMENT 'ERC-1155 id of the outcome token',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    outcome_index UInt8 COMMENT 'place of the outcome in the market, from 0',
    outcome Nullable(String) COMMENT 'the outcome''s label, where the source says it',
    market_slug Nullable(String) COMMENT 'the market''s name in addresses, where the source says it',
    source LowCardinality(String) COMMENT 'the track or the import that brought it',
    proven UInt8 COMMENT '1: the id was recomputed from condition and index, and is the same',
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY token_id
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'What the goldsky track found.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.token_proofs
(
    token_id UInt256 COMMENT 'the token that was claimed',
    condition_id_norm String COMMENT 'the condition it was claimed for',
    outcome_index UInt8 COMMENT 'the outcome it was claimed for',
    verdict Enum8('proven' = 1, 'disproven' = 2, 'unprovable' = 3) COMMENT 'what recomputing the id said',
    detail String COMMENT 'why, in words; empty when proven',
    judged_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(judged_at)
ORDER BY (token_id, condition_id_norm, outcome_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Every claimed mapping that was recomputed, and the verdict.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.token_proofs;
DROP TABLE IF EXISTS {staging:Identifier}.clob_asset_map_goldsky;
DROP TABLE IF EXISTS {staging:Identifier}.clob_asset_map_dome;
DROP TABLE IF EXISTS {production:Identifier}.ctf_token_map;
