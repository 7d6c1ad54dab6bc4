"""The datasets as users run them: a config that suits a small world, and what a run has left held against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from backfill.simulator.clob import Clob
from backfill.simulator.faults import Faults
from backfill.simulator.process import SimulatorProcess
from backfill.simulator.world import World
from tests.acceptance import truth
from tests.acceptance.harness import Project, Shape, Verdict, simulator
from tests.acceptance.truth import Told

LIMITLESS = ("clob", "data_api", "gamma", "polygon")
CONFIG = """
[upstreams.polygon]
limits = []
block_range = 4_000_000
[upstreams.clob]
limits = []
[upstreams.data_api]
limits = []
[upstreams.gamma]
limits = []
[tracks.goldsky_fills]
workers = 4
rows = 900
[tracks.data_api_fills]
workers = 4
[tracks.chain_fills]
workers = 3
batch = 40_000_000
[tracks.chain_payouts]
workers = 3
batch = 40_000_000
[tracks.chain_transfers]
workers = 3
batch = 40_000_000
[tracks.chain_activity]
workers = 3
batch = 40_000_000
[tracks.goldsky_activity]
workers = 3
hours = 9000
[tracks.clob_fills]
workers = 3
hours = 9000
"""
"""As fast as can be, with few large units: a small world has little in a block."""
SHAPE = Shape(stall_s=20, timeout_s=10)

DATASETS: Mapping[str, tuple[str, ...]] = {
    "markets": ("gamma_markets", "clob_markets"),
    "fills": ("goldsky_fills", "data_api_fills", "chain_fills"),
    "payouts": ("goldsky_payouts", "data_api_payouts", "chain_payouts"),
    "wallets": ("derive_wallets", "goldsky_wallets", "gamma_wallets"),
    "transfers": ("chain_transfers",),
    "positions": ("data_api_positions",),
    "activity": ("goldsky_activity", "chain_activity"),
}
"""Datasets in the order in which they are run, with the lanes that are switched on."""
ASKED_FOR = {
    "dome_fills": "fills",
    "clob_fills": "fills",
    "goldsky_positions_payouts": "payouts",
    "dome_wallets": "wallets",
    "data_api_activity": "activity",
}
"""Lanes that work only when they are named, with their datasets."""
BY_WALLET = ("wallets", "positions", "data_api_activity")


@dataclass(frozen=True)
class Setting:
    """A world, and the moment (unix seconds) at which it is looked at. Faults come from the seed."""

    seed: int = 11
    tokens: int = 100
    bursts: int = 1
    busy: float = 0.0

    @property
    def world(self) -> World:
        """The world, made once."""
        return _world(self)

    @property
    def now(self) -> int:
        """The latest moment at which every source has told all there is."""
        return _moment(self)

    @property
    def wallets(self) -> tuple[str, ...]:
        """Some owners and some wallets, to be asked by name: the most active accounts, and the baseline's."""
        return _wallets(self)

    @property
    def account(self) -> str:
        """The wallet whose trades the order book tells to its owner's key."""
        return Clob(self.world, Faults(self.world)).account

    def told(self, **changes: Any) -> Told:
        """The truth about it."""
        return Told(self.world, **{"now": self.now, "wallets": self.wallets, **changes})

    def options(self) -> dict[str, Any]:
        """For the simulator."""
        history = {"full": True, "bursts": self.bursts, "busy": self.busy}
        limits = {f"{name}_limits": "off" for name in (*LIMITLESS, "dome", "goldsky")}
        world = {"seed": self.seed, "tokens": self.tokens, "mapped": self.tokens // 3}
        return {**world, **history, **limits, "now": self.now, "latency_ms": 2.0, "jitter_ms": 1.0}


@cache
def _world(setting: Setting) -> World:
    return World.generate(
        setting.seed, setting.tokens, setting.tokens // 3, full=True, bursts=setting.bursts, busy=setting.busy
    )


@cache
def _moment(setting: Setting) -> int:
    return truth.quiet_moment(setting.world)


@cache
def _wallets(setting: Setting) -> tuple[str, ...]:
    ledger = setting.world.ledger
    active = {order.maker for order in ledger.orders if order.at.timestamp <= setting.now}
    pairs = [pair for pair in ledger.wallets if pair.kind != "eoa" and pair.wallet in active][:8]
    return tuple(dict.fromkeys((*(pair.wallet for pair in pairs), *(pair.owner for pair in pairs[:5]))))


@contextmanager
def serving(setting: Setting, **options: Any) -> Iterator[SimulatorProcess]:
    """A simulator of a setting."""
    with simulator(**{**setting.options(), **options}) as sim:
        yield sim


@contextmanager
def project_at(folder: Path, sim: SimulatorProcess, extra: str = "", shape: Shape = SHAPE) -> Iterator[Project]:
    """A project that asks a simulator; its warehouse stops with the block."""
    project = Project(folder, sim.env, shape, CONFIG + extra)
    try:
        yield project
    finally:
        project.close()


def command(dataset: str, setting: Setting, track: str = "") -> tuple[str, ...]:
    """The command for a dataset, or for one lane of it; lanes that ask by wallet are told the setting's."""
    named = ("--track", track) if track else ()
    wallets: Iterable[str] = setting.wallets if dataset in BY_WALLET or track in BY_WALLET else ()
    return ("run", dataset, *named, *(word for wallet in wallets for word in ("--wallet", wallet)), "--json")


@dataclass
class Judge:
    """Compares a project's tables with the truth."""

    project: Project
    told: Told
    problems: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0

    def staged(self, tracks: Iterable[str], told: Told | None = None) -> None:
        """What these lanes have brought."""
        for track in tracks:
            found = truth.staged_rows(self.project.query, track)
            self._compare(track, found, (told or self.told).staged(track))

    def production(self, datasets: Iterable[str]) -> None:
        """What these datasets have come to."""
        for dataset in datasets:
            self._compare(dataset, truth.production_rows(self.project.query, dataset), self.told.production(dataset))

    def believed(self, dataset: str, track: str) -> None:
        """Production is exactly what one lane has to tell, whatever the others say besides."""
        self._compare(dataset, truth.production_rows(self.project.query, dataset), self.told.staged(track))

    def state(self, tracks: Sequence[str]) -> None:
        """Every unit of these lanes is done, and no command has shown a traceback."""
        for track in tracks:
            document = self.project.checkpoint(track)
            if not document:
                self.problems.append(f"{track}: no readable checkpoint")
                continue
            done = sum(end - start for start, end in document["done"])
            if done != document["units_total"] or document["failed"] or document["open"]:
                failed, opened = len(document["failed"]), len(document["open"])
                text = f"{done} of {document['units_total']} units done, {failed} failed, {opened} open"
                self.problems.append(f"{track}: {text}")
        self.problems += self.project.tracebacks()

    def verdict(self) -> Verdict:
        """All of it."""
        return Verdict(self.lost, self.doubled, self.problems)

    def _compare(self, name: str, found: truth.Rows, expected: truth.Rows) -> None:
        self.lost += (expected - found).total()
        self.doubled += sum(count for row, count in (found - expected).items() if row in expected)
        if text := truth.difference(found, expected):
            self.problems.append(f"{name}: {text}")
