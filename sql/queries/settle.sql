-- name: next_markets
-- The place beside the table of markets, emptied for what it is to be.
TRUNCATE TABLE {staging:Identifier}.markets_next

-- name: fill_markets
-- One row a market: each fact from Gamma where Gamma knows it, then from the order book's listing, then as it was.
INSERT INTO {staging:Identifier}.markets_next
SELECT
    condition_id_norm,
    argMinIf(question_id, rank, isNotNull(question_id)),
    argMinIf(question, rank, isNotNull(question)),
    argMinIf(market_slug, rank, isNotNull(market_slug)),
    argMinIf(event_slug, rank, isNotNull(event_slug)),
    argMinIf(oracle, rank, isNotNull(oracle)),
    argMinIf(neg_risk, rank, isNotNull(neg_risk)),
    argMinIf(neg_risk_market_id, rank, isNotNull(neg_risk_market_id)),
    argMinIf(outcomes, rank, notEmpty(outcomes)),
    argMinIf(token_ids, rank, notEmpty(token_ids)),
    argMinIf(tags, rank, notEmpty(tags)),
    argMinIf(start_at, rank, isNotNull(start_at)),
    argMinIf(end_at, rank, isNotNull(end_at)),
    argMinIf(closed_at, rank, isNotNull(closed_at)),
    argMinIf(closed, rank, isNotNull(closed)),
    argMinIf(active, rank, isNotNull(active)),
    argMinIf(archived, rank, isNotNull(archived)),
    argMinIf(volume_usd, rank, isNotNull(volume_usd)),
    argMinIf(fee_rate, rank, isNotNull(fee_rate)),
    argMinIf(fee_exponent, rank, isNotNull(fee_exponent)),
    argMinIf(fee_taker_only, rank, isNotNull(fee_taker_only)),
    argMinIf(uma_status, rank, isNotNull(uma_status)),
    argMin(source, rank),
    now()
FROM (
    SELECT * EXCEPT (unit, inserted_at), if(source = 'gamma', 0, 1) AS rank
    FROM {staging:Identifier}.markets_v2 FINAL
    UNION ALL
    SELECT * EXCEPT inserted_at, 2 AS rank FROM {production:Identifier}.markets
)
GROUP BY condition_id_norm

-- name: swap_markets
EXCHANGE TABLES {staging:Identifier}.markets_next AND {production:Identifier}.markets

-- name: add_payouts
-- Payouts that a source reports and that are not noted yet; a source that changes its mind is noted anew.
INSERT INTO {production:Identifier}.resolutions_external_ingest
    (condition_id_norm, payout_numerators, payout_denominator, resolved_at, source)
SELECT condition_id_norm, payout_numerators, payout_denominator, resolved_at, source
FROM {staging:Identifier}.payouts_v2 FINAL
WHERE (condition_id_norm, source, payout_numerators) NOT IN (
    SELECT condition_id_norm, source, payout_numerators
    FROM {production:Identifier}.resolutions_external_ingest
)

-- name: compact_payouts
OPTIMIZE TABLE {production:Identifier}.resolutions_external_ingest FINAL

-- name: next_payouts
TRUNCATE TABLE {staging:Identifier}.resolutions_next

-- name: fill_payouts
-- One resolution a market: the chain before its indexers (those that tell numerators before the one that tells
-- decimals), and those before what people imported. The moment is that of the believed source, or of the next one that
-- knows it.
INSERT INTO {staging:Identifier}.resolutions_next
    (condition_id_norm, payout_numerators, payout_denominator, resolved_at, source)
SELECT
    condition_id_norm,
    argMin(payout_numerators, rank),
    argMin(payout_denominator, rank),
    argMinIf(resolved_at, rank, isNotNull(resolved_at)),
    argMin(source, rank)
FROM (
    SELECT *, transform(source, ['chain', 'goldsky', 'data_api', 'goldsky_positions'], [0, 1, 2, 3], 4) AS rank
    FROM {production:Identifier}.resolutions_external_ingest FINAL
)
GROUP BY condition_id_norm

-- name: swap_payouts
EXCHANGE TABLES {staging:Identifier}.resolutions_next AND {production:Identifier}.market_resolutions_final

-- name: next_wallets
TRUNCATE TABLE {staging:Identifier}.wallets_next

-- name: fill_wallets
-- One row a pair: a recomputed address before a reported one. Computed candidates count only where the wallet trades, or
-- where somebody else reports the pair as well.
INSERT INTO {staging:Identifier}.wallets_next
    (user_eoa, proxy_wallet, wallet_type, evidence, name, source)
SELECT
    user_eoa,
    proxy_wallet,
    argMin(wallet_type, rank),
    argMin(evidence, rank),
    argMinIf(name, rank, isNotNull(name)),
    argMin(source, rank)
FROM (
    SELECT
        user_eoa, proxy_wallet, wallet_type, evidence, name, source,
        (if(evidence = 'create2', 0, 10)
            + transform(source, ['goldsky', 'gamma', 'dome', 'derive'], [0, 1, 2, 3], 4)) AS rank
    FROM {staging:Identifier}.pm_user_proxy_wallets_v2 FINAL
    WHERE source != 'derive'
       OR proxy_wallet IN (SELECT maker FROM {production:Identifier}.clob_fills)
    UNION ALL
    SELECT user_eoa, proxy_wallet, wallet_type, evidence, name, source, 20
    FROM {production:Identifier}.pm_user_proxy_wallets
)
GROUP BY user_eoa, proxy_wallet

-- name: swap_wallets
EXCHANGE TABLES {staging:Identifier}.wallets_next AND {production:Identifier}.pm_user_proxy_wallets

-- name: transfer_bounds
-- The blocks of the staged transfers.
SELECT min(block_number) AS low, max(block_number) AS high, count() AS rows
FROM {staging:Identifier}.erc1155_transfers_v2

-- name: add_transfers
-- Transfers of some blocks that are not there yet.
INSERT INTO {production:Identifier}.erc1155_transfers
    (block_number, log_index, batch_index, tx_hash, timestamp, operator, from_address, to_address, token_id,
     amount_micro, source)
SELECT
    block_number, log_index, batch_index, tx_hash, timestamp, operator, from_address, to_address, token_id,
    amount_micro, source
FROM {staging:Identifier}.erc1155_transfers_v2 FINAL
WHERE block_number >= {low:UInt64} AND block_number < {high:UInt64}
  AND (block_number, log_index, batch_index) NOT IN (
      SELECT block_number, log_index, batch_index
      FROM {production:Identifier}.erc1155_transfers
      WHERE block_number >= {low:UInt64} AND block_number < {high:UInt64}
  )

-- name: add_activity
-- Events that are not there yet, each from the best source that shows it. Chain and subgraph name an event alike; the
-- Data API has no log indexes, so its n-th like event of a transaction counts only where the others show fewer than n.
INSERT INTO {production:Identifier}.ctf_activity
    (event_id, kind, wallet, condition_id_norm, neg_risk_market_id, index_sets, amount_micro, amounts_micro,
     payout_micro, question_count, timestamp, tx_hash, log_index, block_number, source)
WITH
    staged AS (
        SELECT *, transform(source, ['chain', 'goldsky'], [0, 1], 2) AS rank
        FROM {staging:Identifier}.ctf_activity_v2 FINAL
        WHERE cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
    ),
    named AS (
        SELECT * FROM staged WHERE rank < 2 ORDER BY rank LIMIT 1 BY event_id
    ),
    better AS (
        SELECT tx_hash, kind, wallet, count() AS many
        FROM (
            SELECT tx_hash, kind, wallet, event_id FROM named
            UNION DISTINCT
            SELECT tx_hash, kind, wallet, event_id FROM {production:Identifier}.ctf_activity
            WHERE source IN ('chain', 'goldsky') AND cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
        )
        GROUP BY tx_hash, kind, wallet
    ),
    keyless AS (
        SELECT s.* EXCEPT rank,
            row_number() OVER (PARTITION BY s.tx_hash, s.kind, s.wallet ORDER BY s.event_id) AS nth
        FROM staged AS s
        WHERE s.rank = 2
    )
SELECT
    event_id, kind, wallet, condition_id_norm, neg_risk_market_id, index_sets, amount_micro, amounts_micro,
    payout_micro, question_count, timestamp, tx_hash, log_index, block_number, source
FROM (
    SELECT * EXCEPT rank FROM named
    UNION ALL
    SELECT k.* EXCEPT nth
    FROM keyless AS k
    LEFT JOIN better AS b ON b.tx_hash = k.tx_hash AND b.kind = k.kind AND b.wallet = k.wallet
    WHERE k.nth > b.many
)
WHERE event_id NOT IN (
    SELECT event_id FROM {production:Identifier}.ctf_activity
    WHERE cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
)

-- name: count_worse_activity
-- Rows of production that the chain has come to show since they went in from elsewhere, or that stand without a place in
-- the chain beside events of their transaction that are new.
SELECT count() AS rows
FROM {production:Identifier}.ctf_activity
WHERE cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
  AND (
      (source = 'goldsky' AND event_id IN (
          SELECT event_id FROM {staging:Identifier}.ctf_activity_v2 WHERE source = 'chain'
      ))
      OR (source NOT IN ('chain', 'goldsky') AND (tx_hash, kind, wallet) IN (
          SELECT tx_hash, kind, wallet FROM {staging:Identifier}.ctf_activity_v2
          WHERE source IN ('chain', 'goldsky')
            AND event_id NOT IN (SELECT event_id FROM {production:Identifier}.ctf_activity)
      ))
  )

-- name: remove_worse_activity
-- They leave, for what is added then. A crash in between leaves production without them until it is settled again.
DELETE FROM {production:Identifier}.ctf_activity
WHERE cityHash64(tx_hash) % {parts:UInt32} = {part:UInt32}
  AND (
      (source = 'goldsky' AND event_id IN (
          SELECT event_id FROM {staging:Identifier}.ctf_activity_v2 WHERE source = 'chain'
      ))
      OR (source NOT IN ('chain', 'goldsky') AND (tx_hash, kind, wallet) IN (
          SELECT tx_hash, kind, wallet FROM {staging:Identifier}.ctf_activity_v2
          WHERE source IN ('chain', 'goldsky')
            AND event_id NOT IN (SELECT event_id FROM {production:Identifier}.ctf_activity)
      ))
  )

-- name: count_activity
SELECT count() AS rows FROM {staging:Identifier}.ctf_activity_v2

-- name: next_positions
TRUNCATE TABLE {staging:Identifier}.positions_next

-- name: fill_positions
-- The wallets that were read this time have what was read; the others keep what they had.
INSERT INTO {staging:Identifier}.positions_next
SELECT * EXCEPT (unit)
FROM {staging:Identifier}.wallet_positions_v2 FINAL
WHERE wallet IN {wallets:Array(String)}
UNION ALL
SELECT * FROM {production:Identifier}.wallet_positions_api
WHERE wallet NOT IN {wallets:Array(String)}

-- name: swap_positions
EXCHANGE TABLES {staging:Identifier}.positions_next AND {production:Identifier}.wallet_positions_api

-- name: clear_positions
TRUNCATE TABLE {staging:Identifier}.wallet_positions_v2

-- name: next_wallet_metadata
TRUNCATE TABLE {staging:Identifier}.wallet_metadata_next

-- name: fill_wallet_metadata
-- What the positions of each wallet add up to.
INSERT INTO {staging:Identifier}.wallet_metadata_next
SELECT
    p.wallet,
    nullIf(any(w.name), ''),
    NULL,
    toUInt32(count()),
    sum(ifNull(p.realized_pnl_micro, 0)),
    sum(ifNull(p.unrealized_pnl_micro, 0)),
    max(p.inserted_at),
    any(p.source)
FROM {production:Identifier}.wallet_positions_api AS p
LEFT JOIN (
    SELECT proxy_wallet, ifNull(any(name), '') AS name FROM {production:Identifier}.pm_user_proxy_wallets GROUP BY proxy_wallet
) AS w ON w.proxy_wallet = p.wallet
GROUP BY p.wallet

-- name: swap_wallet_metadata
EXCHANGE TABLES {staging:Identifier}.wallet_metadata_next AND {production:Identifier}.wallet_metadata_api

-- name: label_derived
-- Labels and names for computed tokens, from the markets that they were computed from.
INSERT INTO {staging:Identifier}.clob_asset_map_derived
    (token_id, condition_id_norm, outcome_index, outcome, market_slug, source, proven, unit)
SELECT
    d.token_id,
    d.condition_id_norm,
    d.outcome_index,
    if(length(m.outcomes) > d.outcome_index, toNullable(m.outcomes[d.outcome_index + 1]), NULL),
    m.market_slug,
    d.source,
    d.proven,
    d.unit
FROM {staging:Identifier}.clob_asset_map_derived AS d FINAL
INNER JOIN {production:Identifier}.markets AS m ON m.condition_id_norm = d.condition_id_norm
WHERE d.market_slug IS NULL AND m.market_slug IS NOT NULL

-- name: count_rows
SELECT count() AS rows FROM {production:Identifier}.{table:Identifier}

-- name: settles_still_running
-- Statements of a settling whose client was killed: the server may still be busy with them.
SELECT count()
FROM system.processes
WHERE match(query, '(?s)^(\\s|--[^\\n]*\\n)*(INSERT INTO|DELETE FROM|OPTIMIZE|ALTER).*(markets_next|resolutions_next|wallets_next|[.]positions_next|wallet_metadata_next|resolutions_external_ingest|[.]erc1155_transfers\\s|[.]ctf_activity\\s)')
