-- Which wallet trades for which owner: as each track says, and one row a pair.
CREATE TABLE IF NOT EXISTS {staging:Identifier}.pm_user_proxy_wallets_v2
(
    user_eoa String COMMENT 'the owner, 0x, lower case',
    proxy_wallet String COMMENT 'the wallet that trades, 0x, lower case',
    wallet_type LowCardinality(String) COMMENT 'proxy, safe, deposit, eoa or unknown',
    evidence LowCardinality(String) COMMENT 'create2: the address was recomputed from the owner; reported: the source says so',
    name Nullable(String),
    source LowCardinality(String),
    unit UInt32 COMMENT 'the unit of the plan that asked for it',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (proxy_wallet, user_eoa, source)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'Pairs of owner and wallet as each track reports them.';

CREATE TABLE IF NOT EXISTS {production:Identifier}.pm_user_proxy_wallets
(
    user_eoa String COMMENT 'the owner, 0x, lower case',
    proxy_wallet String COMMENT 'the wallet that trades, 0x, lower case',
    wallet_type LowCardinality(String) COMMENT 'proxy, safe, deposit, eoa or unknown',
    evidence LowCardinality(String) COMMENT 'create2: the address was recomputed from the owner; reported: a source says so',
    name Nullable(String),
    source LowCardinality(String) COMMENT 'the source that was believed',
    inserted_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (proxy_wallet, user_eoa)
SETTINGS fsync_after_insert = 1
COMMENT 'Owner and wallet; one row a pair.';
-- down
DROP TABLE IF EXISTS {production:Identifier}.pm_user_proxy_wallets;
DROP TABLE IF EXISTS {staging:Identifier}.pm_user_proxy_wallets_v2;
