-- What there is and how whole it is, a row for each check, read from the tables as they are.
CREATE OR REPLACE VIEW {analytics:Identifier}.mv_data_quality_summary
(
    check_name String COMMENT 'what is looked at',
    rows UInt64 COMMENT 'how many were looked at',
    good UInt64 COMMENT 'of those the ones that are as they should be',
    share Nullable(Decimal(9, 6)) COMMENT 'good / rows, cut off; NULL without rows',
    newest_row Nullable(DateTime('UTC')) COMMENT 'time of the newest row; NULL where rows have none',
    note String COMMENT 'what good means, or what the source says of itself'
)
AS
SELECT
    check_name, rows, good,
    if(rows = 0, NULL, toNullable(reinterpret(
        toInt32(intDiv(toInt256(good) * 1000000, toInt256(greatest(rows, 1)))), 'Decimal(9, 6)'))) AS share,
    newest AS newest_row, note
FROM (
    SELECT
        'fills_mapped' AS check_name, count() AS rows,
        countIf(token_id IN (SELECT token_id FROM {production:Identifier}.ctf_token_map)) AS good,
        if(rows = 0, NULL, toNullable(max(timestamp))) AS newest, 'fills whose token is mapped' AS note
    FROM {production:Identifier}.clob_fills
    UNION ALL
    SELECT 'fills_once', (SELECT count() FROM {production:Identifier}.clob_fills),
        (SELECT count() FROM {production:Identifier}.clob_fills FINAL), NULL, 'fills without repetitions'
    UNION ALL
    SELECT 'tokens_once', count(), uniqExact(token_id), toNullable(max(inserted_at)), 'tokens that are mapped once'
    FROM {production:Identifier}.ctf_token_map
    UNION ALL
    SELECT 'tokens_proven', count(), countIf(proven = 1), toNullable(max(inserted_at)),
        'tokens whose id was recomputed and is the same'
    FROM {production:Identifier}.ctf_token_map
    UNION ALL
    SELECT 'closed_resolved', count(),
        countIf(condition_id_norm IN (
            SELECT condition_id_norm FROM {production:Identifier}.market_resolutions_final
            WHERE payout_denominator > 0)),
        max(closed_at), 'markets listed as closed whose payout is known'
    FROM {production:Identifier}.markets FINAL
    WHERE closed = 1
    UNION ALL
    SELECT 'resolutions_dated', count(), countIf(isNotNull(resolved_at)), max(resolved_at),
        'payouts whose moment is known'
    FROM {production:Identifier}.market_resolutions_final FINAL
    UNION ALL
    SELECT 'positions_not_short', count(), countIf(leftover_micro >= 0), toNullable(max(last_activity)),
        'wallets and outcomes that gave no more shares than they got'
    FROM {production:Identifier}.wallet_token_pnl
    UNION ALL
    SELECT 'open_positions_priced', count(), countIf(isNotNull(last_price)), max(last_trade_at),
        'held positions with a last price'
    FROM {production:Identifier}.wallet_unrealized_pnl_v2
    UNION ALL
    SELECT 'wallets_proven', count(), countIf(evidence = 'create2'), toNullable(max(inserted_at)),
        'pairs of owner and wallet that were recomputed'
    FROM {production:Identifier}.pm_user_proxy_wallets FINAL
    UNION ALL
    SELECT concat('source ', dataset, ' ', source), 1, complete, newest_row,
        concat(if(note = '', 'covered', note), ' to ', ifNull(toString(covered_to), 'nowhere'))
    FROM {analytics:Identifier}.data_sync_status FINAL
);
-- down
DROP VIEW IF EXISTS {analytics:Identifier}.mv_data_quality_summary;
