"""A run of a dataset from its plan to its place: every track plans or resumes, works, notes what it covered; then the
rows of all are settled. Each track has a plan of its own, so that several processes may run different tracks at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from backfill.app import AnyDoor, DatasetRun, book_of, drain, leases, open_doors
from backfill.config import Config
from backfill.engine.checkpoint import CheckpointFile, live_path
from backfill.engine.desk import Desk
from backfill.engine.plan import Plan
from backfill.engine.stop import StopSignal
from backfill.errors import BackfillError, Unfinished, UpstreamUnusable
from backfill.log import Logger
from backfill.stages import coverage, legs
from backfill.stages.legs import Runner
from backfill.stages.planning import Planner, Wish
from backfill.stages.settle import alone, settle
from backfill.tracks import catalog
from backfill.tracks.track import Track
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from backfill.warehouse.patience import patiently

LOCAL = "local"
Bars = Callable[[list[Desk]], AbstractAsyncContextManager[None]]
Phase = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What became of the tracks. `problems` keep the run from ending with 0; the worst of them is the exit code."""

    dataset: str
    tracks: list[dict[str, Any]] = field(default_factory=list)
    unusable: dict[str, UpstreamUnusable] = field(default_factory=dict)
    settled: dict[str, Any] = field(default_factory=dict)
    problems: list[BackfillError] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        lost = {name: {"kind": error.kind, "error": str(error)} for name, error in self.unusable.items()}
        return {"dataset": self.dataset, "tracks": self.tracks, "unusable": lost, "settled": self.settled}


@dataclass(slots=True)
class Run:
    """One run of one dataset. `bars` shows the tracks while they work, `phase` hears what the run has come to.

    `anew` gives up unfinished plans.
    """

    config: Config
    warehouse: Warehouse
    dataset: str
    wish: Wish
    log: Logger
    run_id: str
    stop: StopSignal
    bars: Bars
    phase: Phase
    workers: int | None = None
    anew: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The tracks of this run."""
        return (self.wish.only,) if self.wish.only else catalog.enabled(self.config, self.dataset)

    async def run(self) -> Outcome:
        """Do it. An unfinished plan is finished first, whatever it was made for; then what was asked for is planned.

        Raises:
            TrackHeld: another process works on one of the tracks.
            StateError: there is nothing to plan from.
        """
        if self.wish != Wish(only=self.wish.only) and not self.anew and unfinished(self.config, self.names):
            self.log.info("unfinished_first", dataset=self.dataset)
            earlier = await replace(self, wish=Wish(only=self.wish.only)).once()
            if earlier.problems or self.stop.stopping:
                return earlier
        return await self.once()

    async def once(self) -> Outcome:
        """One round: every track with the plan it has, or a new one."""
        outcome = Outcome(self.dataset)
        self.phase(self.dataset)
        with leases(self.config, self.names):
            async with open_doors(self.config, self.names, self.log) as doors:
                planner, plans = await self.stop.unless(self._plans(doors))
                outcome.unusable = planner.unusable
                await self._work(plans, doors, outcome)
            if not self.stop.stopping:
                await self.stop.unless(self._settle(outcome, planner))
        outcome.problems += self._problems(outcome)
        return outcome

    # --- plans

    def _planner(self, doors: Mapping[str, AnyDoor]) -> Planner:
        now = int(time.time())
        return Planner(self.config, self.warehouse, self.dataset, doors, self.wish, self.log, now)

    async def _plans(self, doors: Mapping[str, AnyDoor]) -> tuple[Planner, dict[str, Plan]]:
        planner = self._planner(doors)
        await planner.look()
        found = {name: await self._plan(planner, name) for name in self.names}
        return planner, {name: plan for name, plan in found.items() if plan is not None}

    async def _plan(self, planner: Planner, name: str) -> Plan | None:
        """The unfinished plan of a track, or a new one; None when its source cannot be used."""
        book = book_of(self.config, name)
        current = None if self.anew else book.current()
        if current is not None and not book.is_finished:
            return None if name in planner.unusable else current
        outline = await planner.outline(name)
        if outline is None or (self.dataset == "derive" and not outline.shares[name][0]):
            return None  # without new markets there is nothing to compute, and no row in `status` to show for it
        await self._make_room(name)
        plan = book.write(outline)
        told = {"plan_id": plan.plan_id, "units": plan.shares[name].units, "items": plan.shares[name].tokens}
        self.log.info("planned", track=name, window=plan.baseline["window"], **told)
        return plan

    async def _make_room(self, name: str) -> None:
        """The plan before is through (or given up), and what it covered is noted in the warehouse."""
        folder = self.config.run.checkpoint_dir
        CheckpointFile(folder, name).discard()
        live_path(folder, name).unlink(missing_ok=True)
        if self.dataset == "positions":
            await self.warehouse.execute(queries.load("clear_positions"))

    async def preview(self) -> dict[str, dict[str, Any]]:
        """What each track would ask for, without asking it."""
        async with open_doors(self.config, self.names, self.log) as doors:
            planner = self._planner(doors)
            planner.keeps = False
            await planner.look()
            return {name: await self._previewed(planner, name) for name in self.names}

    async def _previewed(self, planner: Planner, name: str) -> dict[str, Any]:
        book = book_of(self.config, name)
        current = None if self.anew else book.current()
        if current is not None and not book.is_finished:
            progress = CheckpointFile(self.config.run.checkpoint_dir, name).peek(current.plan_id, warn=lambda _: None)
            left = sum(1 for _ in progress.pending(0, current.shares[name].units))
            return {"resumes": current.plan_id, "units": left, "window": current.baseline.get("window")}
        outline = await planner.outline(name)
        if outline is None:
            return {"unusable": str(planner.unusable[name])}
        share = outline.shares[name]
        units = len(share.sizes) if getattr(share, "sizes", ()) else -(-len(share[0]) // share[1])  # type: ignore[union-attr]
        return {"resumes": None, "units": units, "items": len(share[0]), "window": outline.baseline["window"]}

    # --- work

    async def _work(self, plans: Mapping[str, Plan], doors: Mapping[str, AnyDoor], outcome: Outcome) -> None:
        run = DatasetRun(self.config, self.log, self.run_id, self.stop, self.workers)
        async with run.runners(self.warehouse, plans, doors) as runners:
            async with self.bars([runner.desk for runner in runners.values()]):
                await drain(self.stop, self.config.run.drain_s, self._legs(runners))
            for name, runner in runners.items():
                legs.finish(runner, self.stop)
                if runner.unusable:
                    outcome.unusable[name] = runner.unusable
                outcome.tracks.append(_told(runner))
            if not self.stop.stopping:
                await self.stop.unless(self._record(runners, plans, outcome))

    async def _legs(self, runners: Mapping[str, Runner[Track]]) -> None:
        async with asyncio.TaskGroup() as group:
            for runner in runners.values():
                group.create_task(legs.work(runner, runner.primary, self.stop), name=runner.track.name)

    async def _record(self, runners: Mapping[str, Runner[Track]], plans: Mapping[str, Plan], outcome: Outcome) -> None:
        for name, runner in runners.items():
            await self._patiently(partial(coverage.record, self.warehouse, runner, plans[name]))
        for name, error in outcome.unusable.items():
            await self._patiently(partial(coverage.unusable, self.warehouse, catalog.track(name), error))

    # --- what follows

    async def _settle(self, outcome: Outcome, planner: Planner) -> None:
        self.phase("settle")
        through = [name for name in self.names if self._is_through(name)]
        wallets = [wallet for name in through for wallet in self._wallets(name)]
        async with alone(self.config, self.dataset, self.log):
            outcome.settled = await self._patiently(
                partial(settle, self.dataset, self.warehouse, self.log, wallets=wallets)
            )
        for name in through:
            book = book_of(self.config, name)
            if (plan := book.current()) is not None:
                book.finish(plan)

    def _is_through(self, name: str) -> bool:
        """Whether a track has nothing left to do, nor failed units to take up again."""
        plan = book_of(self.config, name).current()
        if plan is None:
            return False
        progress = CheckpointFile(self.config.run.checkpoint_dir, name).peek(plan.plan_id, warn=lambda _: None)
        return not progress.failed and progress.settled(0, plan.shares[name].units)

    def _wallets(self, name: str) -> list[str]:
        """The wallets whose positions a finished plan has read."""
        if self.dataset != "positions":
            return []
        book = book_of(self.config, name)
        plan = book.current()
        assert plan is not None
        return list(book.track(plan, name).items(plan.shares[name]))

    async def _patiently(self, work: Callable[[], Any]) -> Any:
        return await patiently(work, self.log, stage=self.dataset)

    def _problems(self, outcome: Outcome) -> list[BackfillError]:
        lost = list(outcome.unusable.values())
        found: list[BackfillError] = []
        # What is computed here does not stand in for what nobody could be asked.
        if lost and len(lost) == sum(catalog.track(name).upstream != LOCAL for name in self.names):
            found += lost
        failed = sum(row["failed_units"] for row in outcome.tracks)
        letters = sum(row["refused"] for row in outcome.tracks)
        if failed or letters:
            what = f"{failed:,} units failed, {letters:,} rows were refused"
            found.append(Unfinished(what, remedy="backfill dead-letters list; backfill retry-failed"))
        return found


def unfinished(config: Config, names: Sequence[str]) -> bool:
    """Whether any of these tracks has a plan that is not through."""
    books = [book_of(config, name) for name in names]
    return any(book.current() is not None and not book.is_finished for book in books)


def _told(runner: Runner[Track]) -> dict[str, Any]:
    document = runner.desk.document()
    return {key: document[key] for key in document if key not in {"pid", "stalled", "workers_active"}}
