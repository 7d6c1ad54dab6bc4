"""The heart: fetch, parse, write, advance. Between the rows being durable and the ledger moving nothing waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from backfill.engine.crew import Worker
from backfill.engine.model import DeadLetter, Lane, Page, Request, Unit
from backfill.engine.progress import Progress
from backfill.errors import PageTooLarge, Refused, Unreadable

RAW_KEPT = 65_536


class Fetch(Protocol):
    """What the pipeline asks of a door."""

    async def fetch(
        self, request: Request, read: Callable[[bytes], Answered], *, beat: Worker, shrinks: bool
    ) -> Answered: ...


class Answered(NamedTuple):
    """A page, with the answer it was read from and the cursor it was asked with."""

    page: Page
    body: bytes
    cursor: str | None


Write = Callable[[Page], Awaitable[None]]
Keep = Callable[[Sequence[DeadLetter]], Awaitable[None]]
Archive = Callable[[Unit, Answered], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One track's way from a unit to durable rows. `write` and `keep` return when what they got is durable.

    `archive` keeps the answer as it came, before anything is made of it.
    """

    lane: Lane
    door: Fetch
    write: Write
    keep: Keep
    progress: Progress
    archive: Archive | None = None

    async def work(self, unit: Unit, worker: Worker) -> None:
        """Take one unit page by page to its end, or to the page at which the run is stopping.

        Raises:
            Retry, Skip: the unit is given up.
            Stop: going on would be wrong.
        """
        cursor = self.progress.open.get(unit.number)
        while True:
            answered = await self._page(unit, cursor, worker)
            page = answered.page
            worker("storing")
            if self.archive is not None:
                await self.archive(unit, answered)
            if page.letters:
                await self.keep(page.letters)
            if page.lines or page.asides:
                await self.write(page)
            self.progress.advance(unit.number, page, repeat=unit.repeat)
            if page.next is None or worker.stop.stopping:
                return
            cursor = self._moved_on(unit, answered.cursor, page.next)

    def _moved_on(self, unit: Unit, cursor: str | None, following: str) -> str:
        if following == cursor:
            raise Refused(f"the cursor does not advance: {following!r}", where=f"{self.lane.name} unit {unit.number}")
        return following

    async def _page(self, unit: Unit, cursor: str | None, worker: Worker) -> Answered:
        while True:
            smaller = self.lane.smaller(unit, cursor)
            try:
                return await self._fetched(unit, cursor, worker, shrinks=smaller is not None)
            except PageTooLarge:
                if smaller is None:
                    raise
                cursor = smaller
                self.progress.turn(unit.number, smaller)

    async def _fetched(self, unit: Unit, cursor: str | None, worker: Worker, *, shrinks: bool) -> Answered:
        def read(body: bytes) -> Answered:
            return Answered(self.lane.parse(unit, cursor, body), body, cursor)

        try:
            return await self.door.fetch(self.lane.request(unit, cursor), read, beat=worker, shrinks=shrinks)
        except Unreadable as error:
            raw = error.raw[:RAW_KEPT].decode("utf-8", "replace")
            await self.keep([DeadLetter(self.lane.name, unit.number, error.kind, str(error), raw)])
            raise
