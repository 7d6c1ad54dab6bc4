"""A track at work on a stretch of its plan: the crew that goes through the units, and the end of a lost upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from backfill.engine.crew import Crew, Worker
from backfill.engine.desk import Desk
from backfill.engine.model import Failure, Segment, Unit
from backfill.engine.pipeline import Pipeline
from backfill.engine.stop import StopSignal
from backfill.errors import UpstreamUnusable, first_of


class Named(Protocol):
    """Whatever kind of track it is."""

    @property
    def name(self) -> str: ...

    @property
    def upstream(self) -> str: ...


T = TypeVar("T", bound=Named)


@dataclass(slots=True)
class Runner(Generic[T]):
    """One track in this run. `door` is an error when its upstream cannot even be asked."""

    track: T
    desk: Desk
    door: Any
    pipeline: Pipeline | None
    batch: int
    stall_after: float
    unusable: UpstreamUnusable | None = None
    handed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def primary(self) -> Segment:
        """The track's own share."""
        return self.desk.plan.segments[0]


async def work(runner: Runner[Any], segment: Segment, stop: StopSignal) -> None:
    """Work through one segment; an upstream that turns out to be unusable ends it."""
    desk, pipeline = runner.desk, runner.pipeline
    if runner.unusable or stop.stopping or desk.progress.settled(segment.first_unit, segment.units):
        return
    if isinstance(runner.door, UpstreamUnusable):
        return lost(runner, runner.door)
    assert pipeline is not None
    crew = _crew(runner, pipeline, stop)
    try:
        await crew.run(pending(desk, segment))
    except* UpstreamUnusable as group:
        error = first_of(group)
        assert isinstance(error, UpstreamUnusable)
        lost(runner, error)
    finally:
        desk.crew = None


def lost(runner: Runner[Any], error: UpstreamUnusable) -> None:
    """The upstream is not to be had in this run."""
    runner.unusable = error
    runner.desk.last_error = str(error)
    runner.desk.log.warning("upstream_unusable", kind=error.kind, error=str(error))


def finish(runner: Runner[Any], stop: StopSignal) -> None:
    """The last word about a track: interrupted, failed or done."""
    desk = runner.desk
    if stop.stopping:
        desk.state = "interrupted"
    elif runner.unusable or desk.progress.failed:
        desk.state = "failed"
    elif desk.progress.settled(0, desk.plan.units_total):
        desk.state = "done"
    if not stop.stopping:
        desk.completed()


def pending(desk: Desk, segment: Segment) -> Iterator[Unit]:
    """The units that want work, each made when it is due."""
    # Listed before the first is handed out: the ledger moves while the crew works.
    for number in list(desk.progress.pending(segment.first_unit, segment.units)):
        yield desk.plan.unit(number)


def _crew(runner: Runner[Any], pipeline: Pipeline, stop: StopSignal) -> Crew:
    desk = runner.desk

    def failed(unit: Unit, failure: Failure) -> None:
        desk.last_error = failure.error
        desk.progress.fail(unit.number, failure)

    async def ready(worker: Worker) -> None:
        await runner.door.ready(worker)

    desk.crew = Crew(
        runner.track.name,
        desk.workers,
        pipeline.work,
        ready=ready,
        failed=failed,
        stop=stop,
        stall_after=runner.stall_after,
        log=desk.log,
    )
    return desk.crew
