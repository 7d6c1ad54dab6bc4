-- Staged fills remember which track brought them: two tracks may show the same fill, and both rows stay until merged.
ALTER TABLE {staging:Identifier}.clob_fills_v2
    ADD COLUMN IF NOT EXISTS track LowCardinality(String) COMMENT 'the track that brought it',
    ADD COLUMN IF NOT EXISTS unit UInt32 COMMENT 'the unit of the plan that asked for it',
    MODIFY ORDER BY (token_id, timestamp, fill_id, track);
-- down
ALTER TABLE {staging:Identifier}.clob_fills_v2
    MODIFY ORDER BY (token_id, timestamp, fill_id);
ALTER TABLE {staging:Identifier}.clob_fills_v2
    DROP COLUMN IF EXISTS unit,
    DROP COLUMN IF EXISTS track;
