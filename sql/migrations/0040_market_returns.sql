-- What each owner made in each resolved market, and which category a market belongs to.

CREATE OR REPLACE VIEW {analytics:Identifier}.tag_categories AS
SELECT tag, category, rank
FROM values(
    'tag String, category String, rank UInt8',
    ('weather', 'weather', 1), ('temperature', 'weather', 1), ('hurricanes', 'weather', 1), ('climate', 'weather', 1),
    ('mentions', 'mentions', 2), ('tweet markets', 'mentions', 2), ('mention markets', 'mentions', 2),
    ('sports', 'sports', 3), ('nfl', 'sports', 3), ('nba', 'sports', 3), ('nhl', 'sports', 3), ('mlb', 'sports', 3),
    ('soccer', 'sports', 3), ('tennis', 'sports', 3), ('basketball', 'sports', 3), ('esports', 'sports', 3),
    ('ufc', 'sports', 3), ('cricket', 'sports', 3), ('golf', 'sports', 3), ('f1', 'sports', 3), ('hockey', 'sports', 3),
    ('crypto', 'crypto', 4), ('crypto prices', 'crypto', 4), ('bitcoin', 'crypto', 4), ('ethereum', 'crypto', 4),
    ('solana', 'crypto', 4), ('xrp', 'crypto', 4), ('dogecoin', 'crypto', 4),
    ('economy', 'economics', 5), ('economic policy', 'economics', 5), ('fed', 'economics', 5),
    ('fed rates', 'economics', 5), ('inflation', 'economics', 5),
    ('politics', 'politics', 6), ('elections', 'politics', 6), ('us-current-affairs', 'politics', 6),
    ('global politics', 'politics', 6), ('geopolitics', 'politics', 6), ('world', 'politics', 6),
    ('trump', 'politics', 6), ('congress', 'politics', 6),
    ('finance', 'finance', 7), ('business', 'finance', 7), ('earnings', 'finance', 7), ('stocks', 'finance', 7),
    ('tech', 'tech', 8), ('ai', 'tech', 8), ('big tech', 'tech', 8), ('science', 'tech', 8),
    ('culture', 'culture', 9), ('pop-culture', 'culture', 9), ('pop culture', 'culture', 9),
    ('celebrities', 'culture', 9), ('movies', 'culture', 9), ('music', 'culture', 9), ('art', 'culture', 9),
    ('awards', 'culture', 9)
);

CREATE TABLE IF NOT EXISTS {analytics:Identifier}.wallet_market_returns
(
    owner String COMMENT 'the key behind the wallets where it is known, else the wallet; 0x, lower case',
    condition_id_norm String COMMENT '64 hex digits, lower case, no 0x',
    category LowCardinality(String) COMMENT 'from the tags, by tag_categories; other where none of them is there',
    wallets UInt32 COMMENT 'addresses of the owner that have to do with the market',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'NULL where no source knows when it was',
    realized_micro Int128 COMMENT 'cash definition, all outcomes and wallets, in millionths of a dollar',
    realized_usd Decimal(38, 6) DEFAULT reinterpret(realized_micro, 'Decimal(38, 6)') COMMENT 'the same, in US dollars',
    cost_micro Int128 COMMENT 'dollars that went in: shares bought, fees in dollars, splits; nothing is netted',
    volume_micro Int128 COMMENT 'dollars of all fills, before fees',
    fees_micro Int128 COMMENT 'fees in dollars',
    return Nullable(Decimal(38, 9)) COMMENT 'realized / cost, cut off; NULL where nothing went in',
    trades UInt64 COMMENT 'fills of orders of the owner',
    first_activity DateTime('UTC') COMMENT 'of fills, events and transfers in this market',
    last_activity DateTime('UTC') COMMENT 'of fills, events and transfers in this market'
)
ENGINE = MergeTree
ORDER BY (owner, condition_id_norm)
SETTINGS fsync_after_insert = 1
COMMENT 'Profit of every owner in every resolved market.';

CREATE TABLE IF NOT EXISTS {staging:Identifier}.market_returns_next
AS {analytics:Identifier}.wallet_market_returns COMMENT 'The next generation, or the one before.';
-- down
DROP TABLE IF EXISTS {staging:Identifier}.market_returns_next;
DROP TABLE IF EXISTS {analytics:Identifier}.wallet_market_returns;
DROP VIEW IF EXISTS {analytics:Identifier}.tag_categories;
