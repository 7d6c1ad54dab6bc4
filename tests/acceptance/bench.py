"""`make bench`: the figures that the project promises, measured here and now. Nothing is asserted; machines are noisy.

Speed is a ratio to a plain loop in the same run with the same processes: aiohttp, orjson, and raw inserts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from backfill.app import TokenRun
from backfill.config import Config, load
from backfill.engine.checkpoint import CheckpointFile, now_text
from backfill.engine.plan import Outline, PlanBook
from backfill.engine.progress import Progress
from backfill.engine.stop import StopSignal
from backfill.log import configure
from backfill.stages import legs
from backfill.stages.setup import fingerprint
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.migrate import migrate_up
from tests.acceptance.page_server import tokens_of

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1000
TABLE = "staging.clob_asset_map_goldsky"
Figures = list[tuple[str, str, str]]
Measure = Callable[[Config, Warehouse, int], Awaitable[float]]


def write_config(folder: Path, port: int) -> Config:
    """A config that points the Goldsky track at the page server, without limits."""
    text = f"""
[upstreams.goldsky]
base_url = "http://127.0.0.1:{port}"
limits = []
[upstreams.dome]
limits = []
"""
    (folder / "config.toml").write_text(text)
    return load(folder / "config.toml", {"DOME_API_KEY": "bench"})


@contextmanager
def page_server(units: int) -> Iterator[int]:
    """The page server in a process of its own; its port."""
    command = [sys.executable, "-m", "tests.acceptance.page_server", str(units), str(ROWS)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)


async def make_plan(config: Config, warehouse: Warehouse, units: int) -> float:
    """Write the plan for the pages; the seconds it took."""
    started = time.perf_counter()
    items = sorted(token for unit in range(units) for token in tokens_of(unit, ROWS))
    outline = Outline(await fingerprint(config, warehouse), "even", {}, {"goldsky_tokens": (items, ROWS)}, now_text())
    PlanBook(config.run.checkpoint_dir).write(outline)
    return time.perf_counter() - started


async def through_engine(config: Config, warehouse: Warehouse, units: int) -> float:
    """Seconds that the engine takes for the planned pages: crew, door, parsing, sink, checkpoints, live file."""
    plan = PlanBook(config.run.checkpoint_dir).current()
    assert plan is not None
    log = configure(config.run.log_file, secrets=(), run_id="bench", stderr="quiet")
    run = TokenRun(config, log, "bench", StopSignal(), plan=plan, only="goldsky_tokens")
    async with run.relay(warehouse) as relay:
        runner = relay.runners["goldsky_tokens"]
        started = time.perf_counter()
        await legs.work(runner, runner.primary, relay.stop)
        took = time.perf_counter() - started
        counters = runner.desk.progress.counters
    if counters.inserted != units * ROWS:
        raise SystemExit(f"the engine inserted {counters.inserted} of {units * ROWS}")
    return took


async def through_plain_loop(config: Config, warehouse: Warehouse, units: int) -> float:
    """The same pages by the shortest honest loop: as many tasks, no validation, no retries, no ledger."""
    url = f"{config.upstreams.goldsky.base_url}/activity-subgraph/0.0.4/gn"
    questions = iter([(unit, [str(token) for token in tokens_of(unit, ROWS)]) for unit in range(units)])
    waiting = list[bytes]()

    async def flush() -> None:
        body = b"\n".join(waiting)
        waiting.clear()
        await warehouse.insert(TABLE, body)

    async def work(session: aiohttp.ClientSession) -> None:
        for unit, ids in questions:
            body = orjson.dumps({"query": "q", "variables": {"ids": ids, "n": ROWS}})
            async with session.post(url, data=body) as response:
                rows = orjson.loads(await response.read())["data"]["positions"]
            waiting.extend(
                orjson.dumps(
                    {
                        "token_id": row["id"],
                        "condition_id_norm": row["condition"][2:],
                        "outcome_index": int(row["outcomeIndex"]),
                        "source": "plain",
                        "unit": unit,
                    }
                )
                for row in rows
            )
            if len(waiting) >= 20 * ROWS:
                await flush()

    started = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        for _ in range(config.tracks.goldsky_tokens.workers):
            group.create_task(work(session))
    if waiting:
        await flush()
    return time.perf_counter() - started


async def in_fresh_place(units: int, measure: Measure) -> float:
    """Run `measure` with an empty warehouse and a plan of its own."""
    with tempfile.TemporaryDirectory() as name, page_server(units) as port:
        config = write_config(Path(name), port)
        await in_place(config, units, make_plan)
        took = await in_place(config, units, measure)
        stop_warehouse(config)
        return took


async def in_place(config: Config, units: int, measure: Measure) -> float:
    """Run `measure` with the warehouse of a config."""
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await measure(config, warehouse, units)


def stop_warehouse(config: Config) -> None:
    """End the embedded server of a place that goes away."""
    from backfill.warehouse.launcher import stop

    stop(config.run.data_dir)


def bench_engine(figures: Figures, units: int, rounds: int) -> None:
    """Engine against plain loop, in turns, so that both meet the same noise."""
    engine, plain = [], []
    for _ in range(rounds):
        engine.append(units * ROWS / uvloop.run(in_fresh_place(units, through_engine)))
        plain.append(units * ROWS / uvloop.run(in_fresh_place(units, through_plain_loop)))
    ratios = sorted(ours / theirs for ours, theirs in zip(engine, plain, strict=True))
    figures.append((f"engine, tokens/s (median of {rounds})", f"{statistics.median(engine):,.0f}", ""))
    figures.append((f"plain loop, tokens/s (median of {rounds})", f"{statistics.median(plain):,.0f}", ""))
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    figures.append(("ratio, median of the pairs", spread, "≥ 0.8"))


def bench_memory(figures: Figures, units: int) -> None:
    """Peak memory of a process that puts so many units through the engine, and ten times as many.

    The plan is made by another process: making it is setup's work, and is done at once.
    """
    for size in (units, 10 * units):
        with tempfile.TemporaryDirectory() as name, page_server(size) as port:
            config = write_config(Path(name), port)
            for step in ("make_plan", "through_engine"):
                peak = _peak(_child(Path(name), size, step))
            stop_warehouse(config)
        promise = "" if size == units else "the same"
        figures.append((f"peak memory, {size * ROWS:,} tokens", f"{peak:,.0f} MB", promise))


def _child(folder: Path, units: int, step: str) -> psutil.Popen:
    """One step of a measurement in a process of its own."""
    code = (
        "import uvloop; from pathlib import Path; from backfill.config import load; "
        "from tests.acceptance import bench as b; "
        f"uvloop.run(b.in_place(load(Path({str(folder / 'config.toml')!r})), {units}, b.{step}))"
    )
    return psutil.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def _peak(process: psutil.Popen) -> float:
    peak = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit("the measured process failed")
    return peak


def bench_resume(figures: Figures, units: int) -> None:
    """From the files of a big plan to the first unit in hand, with a badly fragmented checkpoint."""
    with tempfile.TemporaryDirectory() as name:
        book = PlanBook(Path(name))
        items = sorted(token for unit in range(units // 1000 + 1) for token in tokens_of(unit, 1000))[:units]
        plan = book.write(Outline("bench", "even", {}, {"goldsky_tokens": (items, 1)}, now_text()))
        progress = Progress.from_document(
            {"done": [(n, n + 1) for n in range(0, units, 2)], "open": {}, "failed": {}, "counters": {}}
        )
        CheckpointFile(book.folder, "goldsky_tokens").save(plan.plan_id, units, progress.document())
        started = time.perf_counter()
        current = book.current()
        assert current is not None
        track = book.track(current, "goldsky_tokens")
        resumed = CheckpointFile(book.folder, "goldsky_tokens").load(current.plan_id, warn=print)
        track.unit(next(resumed.pending(0, track.units_total)))
        took = time.perf_counter() - started
        figures.append((f"resume, {units:,} units, half done in pieces of one", f"{took:.3f} s", "≤ 0.5 s"))
        bench_status(figures, Path(name))


def bench_status(figures: Figures, checkpoints: Path) -> None:
    """`backfill status` from the shell, Python's start included."""
    (checkpoints / "config.toml").write_text('[run]\ncheckpoint_dir = "."\n')
    command = [sys.executable, "-m", "backfill", "--config", str(checkpoints / "config.toml"), "status", "--json"]
    times = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    times.sort()
    figures.append(("status on that plan, median of 7", f"{times[3]:.3f} s", "≤ 0.3 s"))


def bench_rate(figures: Figures, traded: int, mapped: int) -> None:
    """The whole world with limits enforced by the simulator, judged by the simulator's own record."""
    from tests.acceptance.rate import measure_rate

    figures.extend(measure_rate(traded, mapped))


def bench_elsewhere(figures: Figures, module: str, *arguments: str) -> None:
    """Figures of another module, measured in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            what, measured, promised = line.rstrip("\n").split("  ")
            figures.append((what, measured, promised))
    if process.returncode:
        raise SystemExit(f"{module} failed")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=200, help="pages of 1,000 tokens for the engine's figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--traded", type=int, default=118_870)
    parser.add_argument("--mapped", type=int, default=41_130)
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 3, 10], help="fills of the histories rebuilt")
    parser.add_argument("--only", choices=["engine", "memory", "resume", "rate", "fills", "growth"], default=None)
    chosen = parser.parse_args()
    figures: Figures = []
    parts: dict[str, Callable[[], Any]] = {
        "engine": lambda: bench_engine(figures, chosen.units, chosen.rounds),
        "memory": lambda: bench_memory(figures, chosen.units),
        "resume": lambda: bench_resume(figures, 270_000),
        "rate": lambda: bench_rate(figures, chosen.traded, chosen.mapped),
        "fills": lambda: bench_elsewhere(figures, "tests.acceptance.fills_bench"),
        "growth": lambda: bench_elsewhere(figures, "tests.acceptance.growth", *map(str, chosen.millions)),
    }
    for name, part in parts.items():
        if chosen.only in (None, name):
            sys.stderr.write(f"measuring {name} …\n")
            part()
    table = Table(title=f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for title in ("what", "measured", "promised"):
        table.add_column(title, justify="left" if title == "what" else "right")
    for row in figures:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
