"""Stopping, in steps: hand out nothing more, finish the page, a deadline, cancel. A second signal hurries."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from backfill.errors import Interrupted

T = TypeVar("T")


class DrainOver(Exception):
    """Raised inside a task group to cancel what is still running; filtered out at the rim."""


class StopSignal:
    """Set by signals (or by a test); read by everything that hands out work."""

    def __init__(self) -> None:
        self.soft = asyncio.Event()
        self.hard = asyncio.Event()
        self.signum: int | None = None

    def request(self, signum: int) -> None:
        """The first call drains, the second hurries."""
        if self.soft.is_set():
            self.hard.set()
        self.signum = self.signum or signum
        self.soft.set()

    @property
    def stopping(self) -> bool:
        """Whether no new work should begin."""
        return self.soft.is_set()

    @property
    def exit_code(self) -> int:
        """128 + the signal, as shells have it."""
        return 128 + (self.signum or signal.SIGTERM)

    def check(self) -> None:
        """Leave if the run is stopping.

        Raises:
            Interrupted: it is.
        """
        if self.stopping:
            raise Interrupted(
                "stopped by a signal", exit_code=self.exit_code, remedy="the same command goes on from here"
            )

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work that may be dropped at any moment: a stop ends it at once.

        Raises:
            Interrupted: the run is stopping.
        """
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            watch = group.create_task(self._drop(task))
            task.add_done_callback(lambda _: watch.cancel())
        self.check()
        return task.result()

    async def _drop(self, task: asyncio.Task[T]) -> None:
        await self.soft.wait()
        task.cancel()

    async def enforce(self, drain_s: float) -> None:
        """Wait for a stop, then for the deadline or a second signal, then cancel the group this runs in.

        Raises:
            DrainOver: always, in the end.
        """
        await self.soft.wait()
        try:
            async with asyncio.timeout(drain_s):
                await self.hard.wait()
        except TimeoutError:
            pass
        raise DrainOver


@contextmanager
def on_signals(stop: StopSignal) -> Iterator[None]:
    """SIGINT and SIGTERM ask `stop` for as long as the block runs."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.request, signum)
    try:
        yield
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(signum)
