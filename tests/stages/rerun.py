"""Runs of datasets against a simulator in this process, and what is in a table afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson

from backfill.app import TokenRun
from backfill.commands.bars import no_bars
from backfill.config import Config, load
from backfill.engine.deadletters import DeadLetters
from backfill.engine.model import DeadLetter
from backfill.engine.stop import StopSignal
from backfill.runs import Outcome, Run
from backfill.simulator.model import UPSTREAMS
from backfill.simulator.server import Settings, Simulator
from backfill.simulator.world import World
from backfill.stages.planning import Wish
from backfill.stages.setup import run_setup
from backfill.tracks.catalog import TRACK_NAMES
from backfill.warehouse.client import Warehouse
from tests.quiet import Kept
from tests.stages.planted import put_fills

WIDE = 4_000_000
"""Blocks in one unit and one request, so that the pretend chain is a dozen pages."""
VOLATILE = ("inserted_at", "ingested_at")


def project(data_dir: Path, folder: Path, sim: Simulator, **more: str) -> Config:
    """A config below `folder` that points at a simulator; `more` are further variables, without their prefix."""
    (folder / "config.toml").write_text("[run]\n")
    env = {**sim.env, "BACKFILL_RUN__DATA_DIR": str(data_dir)}
    env |= {f"BACKFILL_UPSTREAMS__{name.upper()}__LIMITS": "[]" for name in UPSTREAMS}
    env["BACKFILL_UPSTREAMS__POLYGON__BLOCK_RANGE"] = str(WIDE)
    env |= {f"BACKFILL_TRACKS__{name.upper()}__BATCH": str(WIDE) for name in TRACK_NAMES if name.startswith("chain_")}
    env["BACKFILL_TRACKS__GOLDSKY_ACTIVITY__HOURS"] = "20000"
    env |= {f"BACKFILL_{name}": value for name, value in more.items()}
    return load(folder / "config.toml", env)


def simulator(tokens: int = 60, world: World | None = None) -> Simulator:
    """A small one without limits."""
    none: dict[str, Any] = {f"{name}_limits": () for name in UPSTREAMS}
    return Simulator(world or World.generate(1, tokens, 0), Settings(**none))


async def run(config: Config, warehouse: Warehouse, dataset: str, only: str | None = None, **wish: Any) -> Outcome:
    """One run of a dataset, as `backfill run` does it."""
    made = Run(
        config, warehouse, dataset, Wish(only=only, **wish), Kept(), f"r{time.time_ns()}", StopSignal(),
        lambda _desks: no_bars(), lambda _phase: None,
    )  # fmt: skip
    return await made.run()


async def run_tokens(config: Config, warehouse: Warehouse, tokens: list[int]) -> None:
    """Both asking tracks over these tokens."""
    await put_fills(warehouse, tokens)
    found = await run_setup(config, warehouse, replace=True, dry_run=False)
    assert found.plan is not None
    made = TokenRun(config, Kept(), "r", StopSignal(), plan=found.plan)
    with made.leases():
        async with made.relay(warehouse) as relay:
            await relay.run()


async def rows(warehouse: Warehouse, table: str, *, without: tuple[str, ...] = VOLATILE) -> list[bytes]:
    """The rows of a table that count, without when they came, sorted."""
    found = await warehouse.fetch(f"SELECT * FROM {table} FINAL")
    return sorted(orjson.dumps({k: v for k, v in row.items() if k not in without}, default=str) for row in found)


def bury(config: Config, track: str, cls: str, raw: object, *, unit: int = 0, plan: str = "") -> str:
    """Put a letter in; its id."""
    text = raw if isinstance(raw, str) else orjson.dumps(raw).decode()
    letters = DeadLetters(config.run.data_dir)
    letters.append(track, [DeadLetter(track, unit, cls, "a rule of yesterday", text, plan)])
    return str(list(letters.copies(track))[-1]["id"])
