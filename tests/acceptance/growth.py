"""The part of `make bench` that is about profits: how long a rebuild takes as the history grows, and questions then.

Run as `python -m tests.acceptance.growth 1 3 10` (millions of fills). The history is made in the warehouse: wallets
with heavy tails, two hundred fills a market, four markets in five resolved.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import psutil

from backfill.config import Config, load
from backfill.log import configure
from backfill.stages import leaderboard
from backfill.stages.leaderboard import Gates, Wish, read_theta
from backfill.stages.rebuild import rebuild
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.launcher import running, stop
from backfill.warehouse.migrate import migrate_up

MILLION = 1_000_000
BASE = 10**70
FILLS_A_MARKET, FILLS_A_WALLET = 200, 15
WALLET = "concat('0x', lower(hex(sipHash128(w))), leftPad(lower(hex(toUInt32(w))), 8, '0'))"
CONDITION = "concat(lower(hex(sipHash128(c))), lower(hex(sipHash128(c + 1000000007))))"
Figures = list[tuple[str, str, str]]

TOKENS = f"""
INSERT INTO {{production:Identifier}}.ctf_token_map (token_id, condition_id_norm, outcome_index, source, proven)
SELECT toUInt256('{BASE}') + number, {CONDITION.replace("(c", "(intDiv(number, 2)")}, number % 2, 'bench', 1
FROM numbers(2 * {{markets:UInt64}})
"""
MARKETS = f"""
INSERT INTO {{production:Identifier}}.markets
    (condition_id_norm, question_id, question, market_slug, event_slug, outcomes, token_ids, tags, start_at, end_at,
     closed, neg_risk, source)
WITH toString(number) AS n
SELECT {CONDITION.replace("(c", "(number")}, concat('0x', lower(hex(sipHash128(n))), lower(hex(sipHash128(number)))),
    concat('Will what was asked under number ', n, ' have come true by the end of the month after the next?'),
    concat('will-what-was-asked-under-number-', n), concat('event-', toString(intDiv(number, 5))), ['Yes', 'No'],
    [toUInt256('{BASE}') + 2 * number, toUInt256('{BASE}') + 2 * number + 1],
    [['Politics', 'Elections'], ['Sports'], ['Crypto', 'Bitcoin']][1 + number % 3], 1680000000, 1760000000,
    number % 5 > 0, 0, 'bench'
FROM numbers({{markets:UInt64}})
"""
RESOLUTIONS = f"""
INSERT INTO {{production:Identifier}}.market_resolutions_final
    (condition_id_norm, payout_numerators, payout_denominator, resolved_at, source)
SELECT {CONDITION.replace("(c", "(number")}, if(number % 2 = 0, [1, 0], [0, 1]), 1, 1760000000 + number % 1000000,
    'bench'
FROM numbers({{markets:UInt64}}) WHERE number % 5 > 0
"""
FILLS = f"""
INSERT INTO {{production:Identifier}}.clob_fills
    (fill_id, token_id, maker, taker, side, shares_micro, usdc_micro, fee_micro, fee_asset, price, timestamp, tx_hash,
     order_hash, exchange_version, source)
WITH
    sipHash64(number) AS h,
    toUInt64(pow(h % 1000003 / 1000003, 3) * {{wallets:UInt64}}) AS w,
    (1 + h % 100000) * 10000 AS shares,
    1 + intDiv(h, 131) % 99 AS cents,
    concat('0x', lower(hex(sipHash128(number))), lower(hex(sipHash128(number + 1)))) AS tx,
    concat('0x', lower(hex(sipHash128(number + 2))), lower(hex(sipHash128(number + 3)))) AS made
SELECT
    concat(tx, '_', made), toUInt256('{BASE}') + intDiv(h, 7) % (2 * {{markets:UInt64}}), {WALLET}, NULL,
    if(h % 3 = 0, 'SELL', 'BUY'), shares, intDiv(shares * cents, 100), 0, 'none', cents / 100,
    1680000000 + number % 80000000, tx, made, 1, 'bench'
FROM numbers({{first:UInt64}}, {{fills:UInt64}})
"""


async def fill(warehouse: Warehouse, fills: int) -> None:
    """Make a history of so many fills."""
    for sql in (TOKENS, MARKETS, RESOLUTIONS):
        await warehouse.execute(sql, {"markets": fills // FILLS_A_MARKET})
    for first in range(0, fills, MILLION):
        await add_fills(warehouse, fills, first, min(MILLION, fills - first))


async def add_fills(warehouse: Warehouse, fills: int, first: int, count: int) -> None:
    """Add `count` fills, numbered from `first`, to a history of `fills`: by its wallets, in its markets."""
    markets, wallets = fills // FILLS_A_MARKET, fills // FILLS_A_WALLET
    await warehouse.execute(FILLS, {"markets": markets, "wallets": wallets, "first": first, "fills": count})


async def watched(config: Config, work: Callable[[], Awaitable[object]]) -> tuple[float, float, float]:
    """Seconds, seconds of the server's processor, and the server's peak memory in bytes while `work` goes on."""
    info = running(config.run.data_dir)
    assert info is not None
    server, peak, over = psutil.Process(info.pid), [0], asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            peak[0] = max(peak[0], server.memory_info().rss)
            await asyncio.sleep(0.1)

    before, begun = sum(server.cpu_times()[:2]), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await work()
        over.set()
    return time.perf_counter() - begun, sum(server.cpu_times()[:2]) - before, float(peak[0])


async def questions(warehouse: Warehouse) -> Figures:
    """How long a leaderboard, a wallet's profit and a wallet's positions take, in milliseconds."""
    busy = await warehouse.fetch_value("SELECT maker FROM {production:Identifier}.clob_fills LIMIT 1 OFFSET 12345")
    asked = {
        "leaderboard, first 100": "SELECT * FROM {analytics:Identifier}.leaderboard_omega WHERE period = 'all' "
        "AND category = 'overall' ORDER BY rank LIMIT 100",
        "profit of a wallet": "SELECT * FROM {production:Identifier}.wallet_pnl_summary_final "
        "WHERE wallet = {w:String}",
        "positions of a wallet": "SELECT * FROM {production:Identifier}.outcome_positions_v2 WHERE wallet = {w:String}",
        "the same in the Data API's words": "SELECT * FROM {analytics:Identifier}.vw_wallet_positions_api_format "
        "WHERE proxyWallet = {w:String}",
    }
    limits = ("< 200 ms", "< 100 ms", "< 150 ms", "< 150 ms")
    found: Figures = []
    for (name, sql), limit in zip(asked.items(), limits, strict=True):
        took = []
        for _ in range(9):
            begun = time.perf_counter()
            await warehouse.fetch(sql, {"w": busy} if "{w:" in sql else {})
            took.append((time.perf_counter() - begun) * 1000)
        found.append((f"{name}, ms (median of 9)", f"{statistics.median(took):.0f}", limit))
    return found


async def grown(millions: int) -> AsyncIterator[tuple[str, str, str]]:
    """Figures of one size, in a fresh folder, each as soon as it is known."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.toml").write_text("")
        config = load(folder / "config.toml", {})
        log = configure(config.run.log_file, secrets=(), run_id="bench", stderr="quiet")
        async with open_warehouse(config) as warehouse:
            await migrate_up(warehouse)
            await fill(warehouse, millions * MILLION)
            took, cpu, peak = await watched(config, lambda: rebuild(warehouse, config, log))
            told = f"{took:.0f} ({cpu:.0f} s of processor; load {os.getloadavg()[0]:.1f})"
            yield f"rebuild of {millions} M fills, s", told, ""
            yield "its peak memory, GB", f"{peak / 1e9:.2f}", "< 8"
            await add_fills(warehouse, millions * MILLION, 10**12, millions * MILLION // 1000)
            again, _, _ = await watched(config, lambda: rebuild(warehouse, config, log))
            yield "after a day's change of 0.1 %, s", f"{again:.0f}", ""
            wish = Wish(("all",), read_theta("0"), None, Gates())
            board, _, most = await watched(config, lambda: leaderboard.build(warehouse, config, log, wish))
            yield "leaderboard build, s", f"{board:.0f} (peak memory {most / 1e9:.2f} GB)", ""
            for line in await questions(warehouse):
                yield line
        await asyncio.to_thread(stop, config.run.data_dir)


async def main(sizes: Sequence[str]) -> None:
    """Print the figures of each size."""
    for size in sizes:
        async for line in grown(int(size)):
            sys.stdout.write("  ".join(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["1", "3"]))
