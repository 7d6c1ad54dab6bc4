"""A simulator in a process of its own, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from .door import RetryAfter
from .limits import Limit, parse_limits, text_of
from .model import UPSTREAMS, Upstream
from .server import Settings, Simulator
from .upstreams import REGISTRY
from .world import REAL_MAPPED, REAL_TRADED, World

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter: a tenth of the usual, so that a query delays arrival stamps less."""

PARENT_SECONDS = 0.5
"""How often a child looks whether its parent is still there."""


@dataclass(frozen=True)
class RunOptions:
    """What to simulate; the defaults of the `simulate` command."""

    seed: int = 1
    tokens: int = 2000
    """Traded tokens of the made-up world (with `data`: at most so many of the recorded ones, 0 for all)."""
    mapped: int | None = None
    """Tokens already mapped; by default the share of the system that is to be back-filled."""
    after_cutover: float = 0.25
    full: bool = False
    busy: float = 0.0
    bursts: int = 0
    """Of the made-up world's history: see `World.generate`."""
    data: str | None = None
    """Folder with recorded answers to serve instead of a made-up world."""
    dumps: str | None = None
    """Folder to write the world's fills and its existing token map to."""
    latency_ms: float = 20.0
    jitter_ms: float = 0.0
    faults: str | Mapping[str, Any] = "none"
    dome_limits: str = text_of(REGISTRY["dome"].limits)
    goldsky_limits: str = text_of(REGISTRY["goldsky"].limits)
    data_api_limits: str = text_of(REGISTRY["data_api"].limits)
    gamma_limits: str = text_of(REGISTRY["gamma"].limits)
    clob_limits: str = text_of(REGISTRY["clob"].limits)
    polygon_limits: str = text_of(REGISTRY["polygon"].limits)
    retry_after: RetryAfter = "none"
    key: str = "demo-key"
    """The key that Dome accepts."""
    host: str = "127.0.0.1"
    port: int = 0
    record: str | None = None
    """File that gets the record and the summary on exit."""
    parent: int | None = None
    """Process id of the starter: stop when it is gone, so that a killed test or demo leaves nothing behind."""
    now: int | None = None
    """Moment (unix seconds) that the upstreams' clock stands at; None for the end of the world's history."""
    quirks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By upstream, what its part is to be configured with, as in `{"data_api": {…}}`."""

    def limits(self) -> dict[Upstream, tuple[Limit, ...]]:
        """The limits of every upstream; ValueError where a text is none."""
        return {name: parse_limits(getattr(self, f"{name}_limits")) for name in UPSTREAMS}

    def world(self) -> World:
        """Make or load the world."""
        if self.data is not None:
            world = World.from_real(self.data, seed=self.seed, traded=self.tokens or None)
            return world.with_mapped(self._mapped(len(world.traded)))
        return World.generate(
            self.seed,
            self.tokens,
            self._mapped(self.tokens),
            after_cutover=self.after_cutover,
            full=self.full,
            busy=self.busy,
            bursts=self.bursts,
        )

    def _mapped(self, traded: int) -> int:
        return round(traded * REAL_MAPPED / REAL_TRADED) if self.mapped is None else self.mapped

    def settings(self) -> Settings:
        """The servers' settings."""
        return Settings(
            seed=self.seed,
            **{f"{name}_limits": limits for name, limits in self.limits().items()},
            retry_after=self.retry_after,
            latency_ms=self.latency_ms,
            jitter_ms=self.jitter_ms,
            faults=self.faults,
            dome_keys=(self.key,),
            host=self.host,
            port=self.port,
            now=self.now,
            quirks=self.quirks,
        )


def run(options: RunOptions, ready: Callable[[dict[str, Any]], None]) -> int:
    """Serve until SIGINT or SIGTERM and return the exit code; `ready` is given what clients need once it listens."""
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = options.settings()
    gc.disable()  # a large world is millions of objects that live to the end: collecting them again stalls the stamps
    world = options.world()
    dumps = world.write_dumps(options.dumps) if options.dumps else None
    simulator = Simulator(world, settings)
    simulator.warm_up()
    gc.freeze()
    gc.enable()
    extra = {} if dumps is None else {"fills": str(dumps.fills), "token_map": str(dumps.token_map)}
    number = asyncio.run(_serve(simulator, lambda: ready(announcement(simulator) | extra), options.parent))
    if options.record:
        _write_record(Path(options.record), simulator)
    return 128 + number


async def _serve(simulator: Simulator, ready: Callable[[], None], parent: int | None) -> int:
    """Serve until a signal; its number."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)

    def watch_parent() -> None:
        if os.getppid() != parent:
            stop(signal.SIGTERM)
        loop.call_later(PARENT_SECONDS, watch_parent)

    async with simulator:
        ready()
        if parent is not None:
            watch_parent()
        return int(await stopped)


def announcement(simulator: Simulator) -> dict[str, Any]:
    """What a client needs to know: addresses, environment variables that point the product here, and the world."""
    world = simulator.world
    return {
        "base_url": simulator.base_url,
        **{f"{name}_url": url for name, url in simulator.urls.items()},
        "pid": os.getpid(),
        "env": simulator.env,
        "world": {
            "seed": world.seed,
            "markets": len(world.markets),
            "traded": len(world.traded),
            "mapped": len(world.mapped),
            "best_coverage": round(world.best_coverage(), 6),
        },
    }


def _write_record(path: Path, simulator: Simulator) -> None:
    content = {"summary": simulator.summary(), "arrivals": simulator.record()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
