-- What the leaderboards were last built from, so that a build of the same again can be left out.
CREATE TABLE IF NOT EXISTS {analytics:Identifier}.leaderboard_state
(
    what LowCardinality(String) COMMENT 'always build; the newest row counts',
    wish String COMMENT 'periods, theta, day and gates, as JSON',
    sources String COMMENT 'hash of the files of all tables that were read, and of the statements; empty: not finished',
    rows Map(String, UInt64) COMMENT 'rows of each table that was built; of leaderboard_omega_daily those of the day',
    built_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(built_at)
ORDER BY what
SETTINGS fsync_after_insert = 1
COMMENT 'What the leaderboards were last built from.';
-- down
DROP TABLE IF EXISTS {analytics:Identifier}.leaderboard_state;
