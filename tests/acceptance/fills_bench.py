"""The part of `make bench` that is about fills: rows a second end to end, the share of what latency allows, memory."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import orjson
import psutil
import uvloop

from backfill.app import DatasetRun, book_of, open_doors
from backfill.config import Config, load
from backfill.engine.checkpoint import now_text
from backfill.engine.plan import Outline, Share
from backfill.engine.stop import StopSignal
from backfill.log import configure
from backfill.stages import legs
from backfill.stages.packing import Load, packed
from backfill.stages.setup import fingerprint
from backfill.tracks.track import Window, item, read_item
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.launcher import stop
from backfill.warehouse.migrate import migrate_up
from tests.acceptance.fills_server import START, token

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1000
TRACK = "goldsky_fills"
TABLE = "staging.clob_fills_v2"
WINDOW = Window(START, START + 10**7)
FLUSH = 20 * ROWS
CONNECTIONS = 20
MARKETS, FILLS = 171_305, 36_000_000
Figures = list[tuple[str, str, str]]
Measure = Callable[[Config, Warehouse, int], Awaitable[float]]


def write_config(folder: Path, port: int, *, connections: int, workers: int, keep: bool) -> Config:
    """A config that points the track at the server, without limits."""
    text = f"""
[raw]
keep = {str(keep).lower()}
[upstreams.goldsky]
base_url = "http://127.0.0.1:{port}"
limits = []
connections = {connections}
[tracks.goldsky_fills]
workers = {workers}
"""
    (folder / "config.toml").write_text(text)
    return load(folder / "config.toml", {})


@contextmanager
def fills_server(latency_ms: float) -> Iterator[int]:
    """The server in a process of its own; its port."""
    command = [sys.executable, "-m", "tests.acceptance.fills_server", str(ROWS), str(latency_ms)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)


async def through_engine(config: Config, warehouse: Warehouse, units: int) -> float:
    """Seconds that the engine takes: crew, door, checked rows, sink, archive, checkpoints, live file."""
    items = [item(token(unit), WINDOW) for unit in range(units)]
    outline = Outline(await fingerprint(config, warehouse), "", {}, {TRACK: Share(items, 1)}, now_text(), name=TRACK)
    plan = book_of(config, TRACK).write(outline)
    log = configure(config.run.log_file, secrets=(), run_id="bench", stderr="quiet")
    run = DatasetRun(config, log, "bench", StopSignal())
    async with open_doors(config, [TRACK], log) as doors, run.runners(warehouse, {TRACK: plan}, doors) as runners:
        started = time.perf_counter()
        await legs.work(runners[TRACK], runners[TRACK].primary, run.stop)
        took = time.perf_counter() - started
        inserted = runners[TRACK].desk.progress.counters.inserted
    if inserted != units * ROWS:
        raise SystemExit(f"the engine inserted {inserted} of {units * ROWS}")
    return took


async def through_plain_loop(config: Config, warehouse: Warehouse, units: int) -> float:
    """The same pages by the shortest honest loop: as many tasks; no checks, no retries, no ledger, no archive."""
    url, questions = config.upstreams.goldsky.base_url, iter(range(units))
    waiting = list[bytes]()

    async def flush() -> None:
        body = b"\n".join(waiting)
        waiting.clear()
        await warehouse.insert(TABLE, body)

    async def work(session: aiohttp.ClientSession) -> None:
        for unit in questions:
            query = "{m_00000000:orderFilledEvents t_00000000:orderFilledEvents}"
            body = orjson.dumps({"query": query, "variables": {"ids": [token(unit)]}})
            async with session.post(url, data=body) as response:
                found = orjson.loads(await response.read())["data"]
            waiting.extend(plain_row(row, unit) for rows in found.values() for row in rows)
            if len(waiting) >= FLUSH:
                await flush()

    started = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(work(session))
    if waiting:
        await flush()
    return time.perf_counter() - started


def plain_row(row: dict[str, str], unit: int) -> bytes:
    """A row of the table, from an event that is believed."""
    buys = row["makerAssetId"] == "0"
    shares, usdc = row["takerAmountFilled"], row["makerAmountFilled"]
    if not buys:
        shares, usdc = usdc, shares
    tx, order = row["id"].split("_")
    return orjson.dumps(
        {
            "fill_id": row["id"],
            "token_id": row["takerAssetId"] if buys else row["makerAssetId"],
            "maker": row["maker"],
            "taker": row["taker"],
            "side": "BUY" if buys else "SELL",
            "shares_micro": shares,
            "usdc_micro": usdc,
            "fee_micro": row["fee"],
            "fee_asset": "none",
            "price": str(int(usdc) / int(shares)),
            "timestamp": int(row["timestamp"]),
            "tx_hash": tx,
            "order_hash": order,
            "exchange_version": 1,
            "source": "plain",
            "track": "plain",
            "unit": unit,
        }
    )


async def in_fresh_place(
    units: int, measure: Measure, *, latency_ms: float, workers: int, keep: bool
) -> tuple[float, int]:
    """Measure in a new folder with a new embedded warehouse; seconds, and our process's peak memory in bytes."""
    with tempfile.TemporaryDirectory() as name, fills_server(latency_ms) as port:
        folder = Path(name)
        config = write_config(folder, port, connections=CONNECTIONS, workers=workers, keep=keep)
        async with open_warehouse(config) as warehouse:
            await migrate_up(warehouse)
            peak, watching = [0], asyncio.Event()

            async def watch() -> None:
                mine = psutil.Process()
                while not watching.is_set():
                    peak[0] = max(peak[0], mine.memory_info().rss)
                    await asyncio.sleep(0.1)

            async with asyncio.TaskGroup() as group:
                group.create_task(watch())
                took = await measure(config, warehouse, units)
                watching.set()
        await asyncio.to_thread(stop, config.run.data_dir)
        return took, peak[0]


def once(
    units: int, measure: Measure, *, latency_ms: float = 0, workers: int = 60, keep: bool = True
) -> tuple[float, int]:
    """One measurement in a loop of its own."""
    return uvloop.run(in_fresh_place(units, measure, latency_ms=latency_ms, workers=workers, keep=keep))


def speed(rows: int, times: int) -> Figures:
    """End to end at 0 ms, beside a plain loop in the same run, pair by pair."""
    units = rows // ROWS
    pairs = [(once(units, through_engine)[0], once(units, through_plain_loop)[0]) for _ in range(times)]
    bare = once(units, through_engine, keep=False)[0]
    engine, plain = (statistics.median(rows / pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
    return [
        ("fills at 0 ms, rows/s", f"{engine:,.0f}", "≥ 120,000"),
        ("the same without keeping answers", f"{rows / bare:,.0f}", ""),
        ("plain loop, rows/s", f"{plain:,.0f}", ""),
        ("ratio, median of the pairs", f"{ratio:.2f}", ""),
    ]


def latency(rows: int) -> Figures:
    """At 200 ms with 20 connections: the share of the 100,000 rows a second that this allows."""
    took = once(rows // ROWS, through_engine, latency_ms=200)[0]
    allowed = rows / ROWS / CONNECTIONS * 0.2
    return [
        ("fills at 200 ms, 20 connections, rows/s", f"{rows / took:,.0f}", ""),
        ("share of what the latency allows", f"{allowed / took:.1%}", "≥ 90 %"),
    ]


def memory() -> Figures:
    """Our peak memory at 0.2 and at 2 million rows."""
    small, large = (once(rows // ROWS, through_engine)[1] for rows in (200_000, 2_000_000))
    return [
        ("peak memory, 200,000 fills", f"{small / 2**20:.0f} MB", ""),
        ("peak memory, 2,000,000 fills", f"{large / 2**20:.0f} MB", "the same"),
    ]


def requests() -> Figures:
    """Requests for all markets of the system that is to be back-filled, as the planner packs them.

    Computed, not sent: 36 million fills do not fit a bench. Fills by token are drawn from a lognormal with the mean
    that is known (36.0 million fills of 171,305 markets); the pages of a unit are counted list by list, as Goldsky cuts
    them.
    """
    dice = random.Random(11)
    drawn = [dice.lognormvariate(0, 2.2) for _ in range(2 * MARKETS)]
    scale = FILLS / sum(drawn)
    counts = {token(at): int(scale * each) for at, each in enumerate(drawn)}
    settings = Config().tracks.goldsky_fills
    loads = (Load(key, WINDOW, rows) for key, rows in counts.items())
    plan = packed(loads, most_keys=settings.batch, most_rows=settings.rows)
    cut = Counter(read_item(text).key for text in plan.items)
    items, sent = iter(plan.items), -(-len(counts) // 1000)
    for size in plan.sizes:
        keys = [read_item(next(items)).key for _ in range(size)]
        rows = sum(counts[key] / cut[key] for key in keys)
        given = sum(dice.random() < 0.5 for _ in range(int(rows)))
        sent += max(given // 1000, (int(rows) - given) // 1000) + 1
    return [
        ("requests for 171,305 markets, 36 M fills", f"{sent:,}", "< 171,305"),
        ("minutes of that at 100 requests/s", f"{sent / 6000:.1f}", "< 28.6"),
    ]


def figures(times: int) -> Figures:
    """All figures about fills."""
    return [*speed(1_000_000, times), *latency(1_000_000), *memory(), *requests()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    for line in figures(parser.parse_args().times):
        sys.stdout.write("  ".join(line) + "\n")
