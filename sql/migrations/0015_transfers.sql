-- Movements of outcome tokens, as the chain has them.
CREATE TABLE IF NOT EXISTS {staging:Identifier}.erc1155_transfers_v2
(
    block_number UInt64,
    log_index UInt32 COMMENT 'within the block',
    batch_index UInt16 COMMENT 'place within a TransferBatch; 0 for a TransferSingle',
    tx_hash String COMMENT '0x, lower case',
    timestamp DateTime('UTC') COMMENT 'of the block',
    operator String COMMENT 'address, 0x, lower case',
    from_address String COMMENT 'address, 0x, lower case; zeros when minted',
    to_address String COMMENT 'address, 0x, lower case; zeros when burned',
    token_id UInt256,
    amount_micro UInt256 COMMENT 'shares, in millionths',
    source LowCardinality(String),
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (block_number, log_index, batch_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Transfers before they are merged.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.erc1155_transfers
(
    block_number UInt64,
    log_index UInt32 COMMENT 'within the block',
    batch_index UInt16 COMMENT 'place within a TransferBatch; 0 for a TransferSingle',
    tx_hash String COMMENT '0x, lower case',
    timestamp DateTime('UTC') COMMENT 'of the block',
    operator String COMMENT 'address, 0x, lower case',
    from_address String COMMENT 'address, 0x, lower case; zeros when minted',
    to_address String COMMENT 'address, 0x, lower case; zeros when burned',
    token_id UInt256,
    amount_micro UInt256 COMMENT 'shares, in millionths',
    source LowCardinality(String),
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (block_number, log_index, batch_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Every movement of an outcome token once.';
-- down
DROP TABLE IF EXISTS {production:Identifier}.erc1155_transfers;
DROP TABLE IF EXISTS {staging:Identifier}.erc1155_transfers_v2;
