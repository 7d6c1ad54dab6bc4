"""The workers of one track: hand out units, watch for stalls, drain.

Workers pull from one iterator; there is no queue, and what each worker holds is the only buffer. A worker that is
silent for too long is reported, cancelled and replaced, and its unit handed out again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from backfill.engine.model import Failure, Unit
from backfill.engine.stop import StopSignal
from backfill.errors import Retry, Skip
from backfill.log import Logger

WAITING = frozenset({"idle", "waiting", "cooling", "retrying"})
PATIENT = WAITING | {"storing"}
MOST_STALLS = 3


class Draining(Exception):
    """Raised in a worker that was about to wait while the run is stopping."""


@dataclass(eq=False, slots=True)
class Worker:
    """What one worker is doing since when. Called with a state, it notes it: that is its heartbeat."""

    name: str
    stop: StopSignal
    clock: Callable[[], float]
    state: str = "idle"
    since: float = 0.0
    unit: Unit | None = None
    stalled: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def __call__(self, state: str) -> None:
        """Note the state.

        Raises:
            Draining: the state is one of waiting, and the run is stopping.
        """
        self.state, self.since = state, self.clock()
        if state in WAITING and self.stop.stopping:
            raise Draining


Job = Callable[[Unit, Worker], Awaitable[None]]


class Crew:
    """`size` workers that do `job` for each unit they are given.

    Args:
        ready: awaited before a unit is taken, so that a cooling upstream leaves its workers without a unit.
        failed: hears of units that were given up.
        stall_after: seconds of silence after which a worker is replaced.
    """

    def __init__(
        self,
        name: str,
        size: int,
        job: Job,
        *,
        ready: Callable[[Worker], Awaitable[None]],
        failed: Callable[[Unit, Failure], None],
        stop: StopSignal,
        stall_after: float,
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.size = name, size
        self._job, self._ready, self._failed, self._stop = job, ready, failed, stop
        self._stall_after, self._log, self._clock = stall_after, log, clock
        self._units: Iterator[Unit] = iter(())
        self._returned: deque[Unit] = deque()
        self._stalls: Counter[int] = Counter()
        self.workers: dict[Worker, None] = {}
        self._hired = 0
        self._quiet = asyncio.Event()

    async def run(self, units: Iterator[Unit]) -> None:
        """Work until there are no more units, or the run is stopping.

        Raises:
            Stop (in an exception group): going on would be wrong.
        """
        self._units = units
        self._quiet.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(self.size):
                self._hire(group)
            release = group.create_task(self._release_on_stop())
            group.create_task(self._watch(group)).add_done_callback(lambda _: release.cancel())

    @property
    def active(self) -> int:
        """Workers that are fetching or storing right now."""
        return sum(worker.unit is not None and worker.state not in {"idle", "cooling"} for worker in self.workers)

    def stalled(self) -> list[dict[str, object]]:
        """The workers that are silent for too long, for `status`."""
        now = self._clock()
        return [
            {"worker": w.name, "seconds": round(now - w.since, 1), "unit": w.unit.number if w.unit else None}
            for w in self.workers
            if self._is_stalled(w, now)
        ]

    def _hire(self, group: asyncio.TaskGroup) -> None:
        self._hired += 1
        worker = Worker(f"{self.name}-{self._hired}", self._stop, self._clock, since=self._clock())
        self.workers[worker] = None
        worker.task = group.create_task(self._work(worker), name=worker.name)
        worker.task.add_done_callback(lambda _: self._left(worker))

    def _left(self, worker: Worker) -> None:
        self.workers.pop(worker, None)
        if not self.workers:
            self._quiet.set()

    async def _work(self, worker: Worker) -> None:
        try:
            while not self._stop.stopping:
                await self._ready(worker)
                worker.unit = self._take()
                if worker.unit is None:
                    return
                await self._do(worker.unit, worker)
                worker.unit, worker.state = None, "idle"
        except Draining:
            return

    async def _do(self, unit: Unit, worker: Worker) -> None:
        try:
            await self._job(unit, worker)
        except (Retry, Skip) as error:
            kind = error.kind if isinstance(error, Skip) else "unavailable"
            self._failed(unit, Failure(kind, str(error), 1))
            self._log.error("unit_failed", unit=unit.number, error=str(error), **{"class": kind})

    def _take(self) -> Unit | None:
        return self._returned.popleft() if self._returned else next(self._units, None)

    def _is_stalled(self, worker: Worker, now: float) -> bool:
        return worker.unit is not None and worker.state not in PATIENT and now - worker.since > self._stall_after

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        while self.workers:
            try:
                async with asyncio.timeout(min(1.0, self._stall_after / 4)):
                    await self._quiet.wait()
            except TimeoutError:
                self._replace_stalled(group)

    def _replace_stalled(self, group: asyncio.TaskGroup) -> None:
        now = self._clock()
        for worker in list(self.workers):
            if not self._is_stalled(worker, now) or worker.task is None or worker.unit is None or worker.stalled:
                continue
            worker.stalled = True
            unit, seconds = worker.unit, round(now - worker.since, 1)
            self._log.warning(
                "worker_stalled", worker=worker.name, seconds=seconds, unit=unit.number, state=worker.state
            )
            worker.task.cancel()
            self._hand_back(unit)
            self._hire(group)

    def _hand_back(self, unit: Unit) -> None:
        self._stalls[unit.number] += 1
        if self._stalls[unit.number] < MOST_STALLS:
            self._returned.append(unit)
        else:
            self._failed(unit, Failure("stalled", f"{MOST_STALLS} workers stalled on it", MOST_STALLS))

    async def _release_on_stop(self) -> None:
        """When the run stops, workers that only wait are let go; those with a page in hand finish it."""
        await self._stop.soft.wait()
        for worker in list(self.workers):
            if worker.state in WAITING and worker.task is not None:
                worker.task.cancel()
