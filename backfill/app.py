"""Opens and closes everything that a run needs, in order, from the configuration."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from backfill import files
from backfill.config import Config
from backfill.engine.archive import GIGABYTE, Archive
from backfill.engine.checkpoint import CheckpointFile, now_text
from backfill.engine.deadletters import DeadLetters, Tally
from backfill.engine.desk import Desk, lock_path
from backfill.engine.model import DeadLetter, Lane, Page, Unit
from backfill.engine.pipeline import Answered, Pipeline
from backfill.engine.plan import Plan, PlanBook
from backfill.engine.stop import DrainOver, StopSignal
from backfill.errors import StateError, UpstreamUnusable
from backfill.files import held
from backfill.log import Logger
from backfill.sources.client import Door, open_session
from backfill.sources.local import LocalDoor
from backfill.sources.opening import open_door
from backfill.stages.legs import Named, Runner
from backfill.stages.setup import fingerprint
from backfill.stages.tokens import Relay
from backfill.tracks import catalog
from backfill.tracks.tokens import TOKEN_TRACKS, lane
from backfill.tracks.track import Track, settings_of
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.migrate import migrate_up
from backfill.warehouse.patience import patiently
from backfill.warehouse.sink import open_sink

T = TypeVar("T", bound=Named)
AnyDoor = Door | LocalDoor | UpstreamUnusable
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


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What one track is to do, how, and where its rows go."""

    track: T
    lane: Lane
    table: str
    book: PlanBook
    plan: Plan


@dataclass(slots=True)
class TrackRun:
    """What a run of some tracks holds open."""

    config: Config
    log: Logger
    run_id: str
    stop: StopSignal
    workers: int | None = None
    letters: DeadLetters = field(init=False)

    def __post_init__(self) -> None:
        self.letters = DeadLetters(self.config.run.data_dir)

    async def _check_warehouse(self, warehouse: Warehouse, plans: Mapping[str, Plan]) -> None:
        here = await patiently(lambda: fingerprint(self.config, warehouse), self.log, stage="start")
        for name, plan in plans.items():
            if here != plan.warehouse:
                raise StateError(
                    f"plan {plan.plan_id} was made for another warehouse",
                    where=str(self.config.run.checkpoint_dir),
                    remedy=f"use that warehouse, or {book_of(self.config, name).remedy}",
                )

    async def _runner(self, work: Work[T], door: AnyDoor, stack: AsyncExitStack, warehouse: Warehouse) -> Runner[T]:
        track, settings = work.track, getattr(self.config.tracks, work.track.name)
        log = self.log.bind(track=track.name)
        desk = self._desk(work, log, self.workers or settings.workers)
        plan_id, tally = work.plan.plan_id, Tally(self.letters, track.name, work.plan.plan_id)
        desk.letters, desk.refused = tally.total, tally.of_plan
        pipeline = None
        if not isinstance(door, UpstreamUnusable):
            write = await landing(warehouse, work.table, track, stack, log)
            desk.cooling = lambda: door.state != "open"
            desk.counted = lambda: (door.figures.retries, door.figures.throttled)

            async def keep(rows: Sequence[DeadLetter]) -> None:
                named = [replace(row, plan=plan_id) for row in rows]
                await keep_letters(self.letters, track.name, named, log)
                tally.add(named)
                desk.letters, desk.refused = tally.total, tally.of_plan

            archive = self._archive(work, log)
            pipeline = Pipeline(work.lane, door, write, keep, desk.progress, archive)
        batch = getattr(settings, "batch", 1)
        return Runner(track, desk, door, pipeline, batch, self.config.run.stall_after_s)

    def _desk(self, work: Work[T], log: Logger, workers: int) -> Desk:
        name, plan = work.track.name, work.plan
        file = CheckpointFile(self.config.run.checkpoint_dir, name)
        progress = file.load(plan.plan_id, warn=lambda text: log.warning("checkpoint_fallback", detail=text))
        desk = Desk(name, work.book.track(plan, name), progress, file, log, self.run_id, workers)
        desk.one_row_an_item = name in TOKEN_TRACKS
        return desk

    def _archive(self, work: Work[T], log: Logger) -> Any:
        """What keeps the answers of a track; None when nothing is to be kept."""
        raw = self.config.raw
        if not raw.keep:
            return None

        def full(used: int) -> None:
            log.warning("raw_limit_reached", used_gb=round(used / GIGABYTE, 3), max_gb=raw.max_gb)

        folder = self.config.run.data_dir / "raw"
        about = settings_of(self.config, work.track.upstream)
        archive = Archive(folder, work.track.name, work.plan.plan_id, raw.max_gb * GIGABYTE, full, about)

        async def keep(unit: Unit, answered: Answered) -> None:
            await until_taken(lambda: archive.keep(unit, answered), log, "raw_not_written")

        return keep

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


@dataclass(slots=True)
class TokenRun(TrackRun):
    """Everything a run of the token tracks holds open; they share one plan. `only` names the one that is to run."""

    plan: Plan = field(kw_only=True)
    only: str | None = field(default=None, kw_only=True)

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
        with leases(self.config, self.names):
            yield

    @asynccontextmanager
    async def relay(self, warehouse: Warehouse) -> AsyncIterator[Relay]:
        """The relay with all that its tracks need; what was done is saved when the block ends, however it ends.

        Raises:
            StateError: the plan was made for another warehouse, or a checkpoint does not fit.
        """
        await self._check_warehouse(warehouse, dict.fromkeys(self.names, self.plan))
        book = PlanBook(self.config.run.checkpoint_dir)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(open_session(stamped=stamped(self.config, TOKEN_TRACKS.values())))
            runners = {}
            for name in self.names:
                track = TOKEN_TRACKS[name]
                door = stack.enter_context(open_door(self.config, track.upstream, session, self.log.bind(track=name)))
                work = Work(track, lane(name, self.config), f"staging.{track.table}", book, self.plan)
                runners[name] = await self._runner(work, door, stack, warehouse)
            others = tuple(name for name in self.plan.shares if name not in runners)
            async with self._upkeep([runner.desk for runner in runners.values()]):
                yield Relay(runners, others, warehouse, self.letters, self.stop)


@dataclass(slots=True)
class DatasetRun(TrackRun):
    """Everything a run of tracks with plans of their own holds open."""

    @asynccontextmanager
    async def runners(
        self, warehouse: Warehouse, plans: Mapping[str, Plan], doors: Mapping[str, AnyDoor]
    ) -> AsyncIterator[dict[str, Runner[Track]]]:
        """The tracks with all that they need; what was done is saved when the block ends, however it ends.

        Raises:
            StateError: a plan was made for another warehouse, or a checkpoint does not fit.
        """
        await self._check_warehouse(warehouse, plans)
        async with AsyncExitStack() as stack:
            runners = {}
            for name, plan in plans.items():
                track = catalog.track(name)
                work = Work(track, track.make(self.config), track.table, book_of(self.config, name), plan)
                runners[name] = await self._runner(work, doors[name], stack, warehouse)
            async with self._upkeep([runner.desk for runner in runners.values()]):
                yield runners


def book_of(config: Config, track: str) -> PlanBook:
    """Where the plans of a track are kept."""
    if track in TOKEN_TRACKS:
        return PlanBook(config.run.checkpoint_dir)
    dataset = catalog.dataset_of(track)
    return PlanBook(config.run.checkpoint_dir, track, f"backfill run {dataset} --track {track} --replace")


@contextmanager
def leases(config: Config, names: Sequence[str]) -> Iterator[None]:
    """Hold some tracks.

    Raises:
        TrackHeld: another process works on one of them.
    """
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(held(lock_path(config.run.checkpoint_dir, name), what=name))
        yield


@asynccontextmanager
async def open_doors(config: Config, names: Sequence[str], log: Logger) -> AsyncIterator[dict[str, AnyDoor]]:
    """The doors of some tracks, over one session."""
    tracks = [catalog.track(name) for name in names]
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session(stamped=stamped(config, tracks)))
        doors: dict[str, AnyDoor] = {}
        for each in tracks:
            if each.compute is not None:
                doors[each.name] = LocalDoor(each.compute)
            else:
                bound = log.bind(track=each.name)
                doors[each.name] = stack.enter_context(open_door(config, each.upstream, session, bound))
        yield doors


def stamped(config: Config, tracks: Iterable[Any]) -> bool:
    """Whether any of these tracks has a rate window to keep."""
    upstreams = {track.upstream for track in tracks} - {"local"}
    return any(getattr(config.upstreams, upstream).limits for upstream in upstreams)


async def landing(
    warehouse: Warehouse, table: str, track: object, stack: AsyncExitStack, log: Logger
) -> Callable[[Page], Awaitable[None]]:
    """What makes the rows of a page durable: one sink for the track's table, one for each further table."""
    sink = await stack.enter_async_context(open_sink(warehouse, table, log, getattr(track, "columns", ())))
    asides: Sequence[str] = getattr(track, "asides", ())
    others = {name: await stack.enter_async_context(open_sink(warehouse, name, log)) for name in asides}

    async def write(page: Page) -> None:
        if not page.asides:
            return await sink.write(page.lines)
        async with asyncio.TaskGroup() as group:
            if page.lines:
                group.create_task(sink.write(page.lines))
            for name, lines in page.asides.items():
                group.create_task(others[name].write(lines))

    return write


async def keep_letters(letters: DeadLetters, track: str, rows: Sequence[DeadLetter], log: Logger) -> None:
    """Write dead letters; a full disk is waited for, because without them a page may not count as done."""
    await until_taken(lambda: letters.append(track, rows), log, "dead_letters_not_written")


async def until_taken(write: Callable[[], object], log: Logger, event: str) -> None:
    """Write in a thread, again and again until the disk takes it; it is told once that it does not."""
    told = False
    while True:
        try:
            await asyncio.to_thread(write)
            return
        except OSError as error:
            if not told:
                log.warning(event, error=str(error), waits="until the disk takes them")
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
