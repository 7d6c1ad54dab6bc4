-- The three databases, and the row that tells one warehouse from another.
CREATE DATABASE IF NOT EXISTS {production:Identifier} ENGINE = Atomic;

CREATE DATABASE IF NOT EXISTS {staging:Identifier} ENGINE = Atomic;

CREATE DATABASE IF NOT EXISTS {analytics:Identifier} ENGINE = Atomic;

CREATE TABLE IF NOT EXISTS {production:Identifier}.warehouse_identity
(
    id UUID COMMENT 'made once; plans and checkpoints remember it',
    created_at DateTime('UTC') DEFAULT now()
)
ENGINE = MergeTree
ORDER BY id
COMMENT 'One row, for ever.';

INSERT INTO {production:Identifier}.warehouse_identity (id)
SELECT generateUUIDv4() WHERE (SELECT count() FROM {production:Identifier}.warehouse_identity) = 0;
