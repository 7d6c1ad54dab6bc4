"""Opens and closes everything that a run needs, in order, from the configuration."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from backfill import files
from backfill.config import Config
from backfill.engine.checkpoint import CheckpointFile, now_text
from backfill.engine.deadletters import DeadLetters
from backfill.engine.desk import Desk, lock_path
from backfill.engine.limits import RateGate
from backfill.engine.model import DeadLetter
from backfill.engine.pipeline import Pipeline
from backfill.engine.plan import Plan, PlanBook
from backfill.engine.stop import DrainOver, StopSignal
from backfill.errors import StateError, UpstreamUnusable
from backfill.files import held
from backfill.log import Logger
from backfill.sources.client import Door, open_session
from backfill.sources.dome import DomeSource
from backfill.sources.goldsky import GoldskySource
from backfill.sources.source import Source
from backfill.stages.setup import fingerprint
from backfill.stages.tokens import Relay, Runner
from backfill.tracks.tokens import TOKEN_TRACKS, lane
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.migrate import migrate_up
from backfill.warehouse.patience import patiently
from backfill.warehouse.sink import open_sink

if TYPE_CHECKING:
    import aiohttp

MERGE_LOCK = "merge"


def new_run_id() -> str:
    """A name for this run that sorts by time."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def current_plan(config: Config) -> Plan:
    """The plan in force.

    Raises:
        StateError: there is none.
    """
    plan = PlanBook(config.run.checkpoint_dir).current()
    if plan is None:
        raise StateError(
            "there is no plan yet", where=str(config.run.checkpoint_dir), remedy="backfill setup makes one"
        )
    return plan


def work_left(config: Config, plan: Plan, only: str | None = None) -> dict[str, dict[str, int]]:
    """By track: the units that still want work, and the items in them. Nothing is locked or changed.

    Raises:
        StateError: a checkpoint or plan file does not fit.
    """
    folder, left = config.run.checkpoint_dir, {}
    for name in plan.shares:
        if only in (None, name):
            track = PlanBook(folder).track(plan, name)
            progress = CheckpointFile(folder, name).peek(plan.plan_id, warn=lambda _: None)
            units = [track.unit(number) for number in progress.pending(0, track.units_total)]
            left[name] = {"units": len(units), "tokens": sum(len(unit.items) for unit in units)}
    return left


def make_source(config: Config, upstream: str) -> Source | UpstreamUnusable:
    """The client of an upstream; the error instead when it cannot even be asked."""
    try:
        if upstream == "dome":
            return DomeSource(config.upstreams.dome, config.secrets.dome_api_key)
        return GoldskySource(config.upstreams.goldsky)
    except UpstreamUnusable as error:
        return error


@contextmanager
def open_door(
    config: Config, upstream: str, session: aiohttp.ClientSession, log: Logger
) -> Iterator[Door | UpstreamUnusable]:
    """The door to an upstream, with its rate windows shared through the checkpoint folder."""
    source = make_source(config, upstream)
    if isinstance(source, UpstreamUnusable):
        yield source
        return
    settings = getattr(config.upstreams, upstream)
    gate = RateGate(settings.limits, config.run.checkpoint_dir / "rates" / f"{upstream}.log")
    try:
        yield Door(source, session, gate, log, timeout_s=settings.timeout_s)
    finally:
        gate.close()


@asynccontextmanager
async def ready_warehouse(config: Config, log: Logger) -> AsyncIterator[Warehouse]:
    """The warehouse with its schema in place; waits for one that is away."""
    async with open_warehouse(config) as warehouse:
        await patiently(lambda: migrate_up(warehouse), log, stage="start")
        yield warehouse


class RunFile:
    """`run.json`: which run it is and what it is doing, for `status`."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._path, self._run_id, self._started = folder / "run.json", run_id, now_text()

    def phase(self, name: str) -> None:
        """The run has come to this phase; a disk that refuses the note does not stop it."""
        document = {
            "run_id": self._run_id,
            "pid": os.getpid(),
            "phase": name,
            "started_at": self._started,
            "updated_at": now_text(),
        }
        try:
            files.replace(self._path, orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE), durable=False)
        except OSError:
            # The checkpoint writer reports the same disk, with a remedy and a limit on repeats.
            return


@dataclass(slots=True)
class TokenRun:
    """Everything a run of the token tracks holds open."""

    config: Config
    plan: Plan
    log: Logger
    run_id: str
    stop: StopSignal
    only: str | None = None
    workers: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The tracks of the plan that this process runs."""
        return tuple(name for name in self.plan.shares if self.only in (None, name))

    @contextmanager
    def leases(self) -> Iterator[None]:
        """Hold this process's tracks.

        Raises:
            TrackHeld: another process works on one of them.
        """
        with ExitStack() as stack:
            for name in self.names:
                stack.enter_context(held(lock_path(self.config.run.checkpoint_dir, name), what=name))
            yield

    @asynccontextmanager
    async def relay(self, warehouse: Warehouse) -> AsyncIterator[Relay]:
        """The relay with all that its tracks need; what was done is saved when the block ends, however it ends.

        Raises:
            StateError: the plan was made for another warehouse, or a checkpoint does not fit.
        """
        await self._check_warehouse(warehouse)
        letters = DeadLetters(self.config.run.data_dir)
        async with AsyncExitStack() as stack:
            stamped = any(getattr(self.config.upstreams, t.upstream).limits for t in TOKEN_TRACKS.values())
            session = await stack.enter_async_context(open_session(stamped=stamped))
            runners = {name: await self._runner(name, stack, session, warehouse, letters) for name in self.names}
            others = tuple(name for name in self.plan.shares if name not in runners)
            async with self._upkeep([runner.desk for runner in runners.values()]):
                yield Relay(runners, others, warehouse, letters, self.stop)

    async def _check_warehouse(self, warehouse: Warehouse) -> None:
        here = await patiently(lambda: fingerprint(self.config, warehouse), self.log, stage="start")
        if here != self.plan.warehouse:
            raise StateError(
                f"plan {self.plan.plan_id} was made for another warehouse",
                where=str(self.config.run.checkpoint_dir),
                remedy="use that warehouse, or backfill setup --replace",
            )

    async def _runner(
        self,
        name: str,
        stack: AsyncExitStack,
        session: aiohttp.ClientSession,
        warehouse: Warehouse,
        letters: DeadLetters,
    ) -> Runner:
        track, settings = TOKEN_TRACKS[name], getattr(self.config.tracks, name)
        log = self.log.bind(track=name)
        desk = self._desk(name, log, self.workers or settings.workers)
        desk.letters = letters.count(name)
        door = stack.enter_context(open_door(self.config, track.upstream, session, log))
        pipeline = None
        if isinstance(door, Door):
            sink = await stack.enter_async_context(open_sink(warehouse, f"staging.{track.table}", log))
            desk.cooling = lambda: door.state != "open"
            desk.counted = lambda: (door.figures.retries, door.figures.throttled)

            async def keep(rows: Sequence[DeadLetter]) -> None:
                await keep_letters(letters, name, rows, log)
                desk.letters += len(rows)

            pipeline = Pipeline(lane(name, self.config), door, sink.write, keep, desk.progress)
        return Runner(track, desk, door, pipeline, settings.batch, self.config.run.stall_after_s)

    def _desk(self, name: str, log: Logger, workers: int) -> Desk:
        folder = self.config.run.checkpoint_dir
        file = CheckpointFile(folder, name)
        progress = file.load(self.plan.plan_id, warn=lambda text: log.warning("checkpoint_fallback", detail=text))
        plan = PlanBook(folder).track(self.plan, name)
        return Desk(name, plan, progress, file, log, self.run_id, workers)

    @asynccontextmanager
    async def _upkeep(self, desks: list[Desk]) -> AsyncIterator[None]:
        """Save, show and tell for as long as the block runs, and once more at its end."""
        try:
            async with asyncio.TaskGroup() as group:
                chores = [
                    group.create_task(chore)
                    for desk in desks
                    for chore in (
                        desk.keep_saved(),
                        desk.keep_shown(),
                        desk.keep_told(self.config.run.progress_interval_s),
                    )
                ]
                try:
                    yield
                finally:
                    for chore in chores:
                        chore.cancel()
        finally:
            await self._last_word(desks)

    async def _last_word(self, desks: list[Desk]) -> None:
        for desk in desks:
            if desk.state == "running":
                desk.state = "interrupted"
            await self._saved(desk)
            desk.show()

    async def _saved(self, desk: Desk) -> None:
        """A disk that is full now may have room in a moment; a second signal gives up on it."""
        if await desk.save() or self.stop.hard.is_set():
            return
        await asyncio.sleep(1)
        await self._saved(desk)


async def keep_letters(letters: DeadLetters, track: str, rows: Sequence[DeadLetter], log: Logger) -> None:
    """Write dead letters; a full disk is waited for, because without them a page may not count as done."""
    told = False
    while True:
        try:
            await asyncio.to_thread(letters.append, track, rows)
            return
        except OSError as error:
            if not told:
                log.warning("dead_letters_not_written", error=str(error), waits="until the disk takes them")
            told = True
            await asyncio.sleep(2)


async def drain(stop: StopSignal, drain_s: float, work: Any) -> None:
    """Await `work`; after a stop it has `drain_s` seconds to finish what it has in hand."""
    try:
        async with asyncio.TaskGroup() as group:
            guard = group.create_task(stop.enforce(drain_s))
            await work
            guard.cancel()
    except* DrainOver:
        pass
