-- Profits as others have them, and ours beside them, like for like.
CREATE TABLE IF NOT EXISTS {analytics:Identifier}.pnl_references
(
    wallet String COMMENT 'address that was asked about, 0x, lower case',
    source LowCardinality(String) COMMENT 'dome, data_api, positions, leaderboard, or as the file that was read says',
    metric LowCardinality(String) COMMENT 'what the source calls it: realized, position, total, pnl',
    definition LowCardinality(String) COMMENT 'ours that it is compared with: cash, avg_cost, avg_cost_net, dome, marked, marked_gross',
    as_of Nullable(DateTime('UTC')) COMMENT 'the moment that the figure is of; NULL where the source does not say',
    value_micro Int128 COMMENT 'US dollars, in millionths',
    step_micro UInt64 COMMENT 'one unit of the last digit that the source shows',
    tolerance Float64 COMMENT 'share below which a difference is minor (gates.reconcile_variance)',
    raw String COMMENT 'the answer as it came; empty where it is a sum over many',
    fetched_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(fetched_at)
ORDER BY (wallet, source, metric)
SETTINGS fsync_after_insert = 1
COMMENT 'The newest figure of each source.';

CREATE OR REPLACE VIEW {analytics:Identifier}.vw_pnl_reconciliation AS
SELECT
    r.wallet AS wallet,
    r.source AS source,
    r.metric AS metric,
    r.definition AS definition,
    r.as_of AS as_of,
    reinterpret(r.value_micro, 'Decimal(38, 6)') AS reference_usd,
    if(s.who = '', NULL, toNullable(reinterpret(ours_micro, 'Decimal(38, 6)'))) AS ours_usd,
    ours_usd - reference_usd AS difference_usd,
    multiIf(s.who = '', NULL, ours_micro = r.value_micro, toNullable(toFloat64(0)), r.value_micro = 0, NULL,
            toNullable(abs(toFloat64(ours_micro - r.value_micro)) / abs(toFloat64(r.value_micro)))) AS difference_share,
    multiIf(s.who = '', 'NO_DATA', isNull(difference_share), 'MAJOR_DIFF', assumeNotNull(difference_share) < 0.001,
            'MATCH', assumeNotNull(difference_share) < r.tolerance, 'MINOR_DIFF', 'MAJOR_DIFF') AS status,
    r.tolerance AS tolerance,
    r.fetched_at AS fetched_at,
    multiIf(r.definition = 'avg_cost', s.avg_cost, r.definition = 'avg_cost_net', s.avg_cost - s.fees,
            r.definition = 'dome', s.dome, r.definition = 'marked', s.marked,
            r.definition = 'marked_gross', s.marked + s.fees, s.cash) AS ours_micro
FROM (SELECT * FROM {analytics:Identifier}.pnl_references FINAL) AS r
LEFT JOIN (
    SELECT
        arrayJoin(arrayDistinct([p.wallet, p.owner])) AS who,
        sum(p.cash) AS cash, sum(p.avg_cost) AS avg_cost, sum(p.dome) AS dome, sum(p.fees) AS fees,
        sum(p.marked) AS marked
    FROM (
        SELECT
            wallet, owner, realized_cash_micro AS cash, realized_avg_cost_micro AS avg_cost,
            realized_dome_micro AS dome, fees_micro AS fees,
            if(resolved = 1, realized_cash_micro, trade_cash_micro) AS marked
        FROM {production:Identifier}.wallet_token_pnl
        UNION ALL
        SELECT wallet, owner, 0, 0, 0, 0, ifNull(value_micro, 0)
        FROM {production:Identifier}.wallet_unrealized_pnl_v2
    ) AS p
    WHERE p.wallet IN (SELECT wallet FROM {analytics:Identifier}.pnl_references)
       OR p.owner IN (SELECT wallet FROM {analytics:Identifier}.pnl_references)
    GROUP BY who
) AS s ON s.who = r.wallet;
-- down
DROP VIEW IF EXISTS {analytics:Identifier}.vw_pnl_reconciliation;
DROP TABLE IF EXISTS {analytics:Identifier}.pnl_references;
