"""Pages become inserts: many pages share one, and each page learns when its rows are durable.

While one insert is under way the pages that come in meanwhile gather for the next, so batches grow with the load and
nobody waits for a timer. An insert is named by its content: when its answer got lost it is sent again under the same
name, and the table keeps one copy. While the warehouse is away, the rows wait here; workers hold one page each, so the
memory is bounded by the crew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from backfill.errors import StoreBusy
from backfill.log import Logger

MOST_ROWS = 50_000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 10.0
NOTICE_S = 30.0


class Store(Protocol):
    """What the sink asks of a warehouse."""

    async def insert(
        self,
        table: str,
        body: bytes,
        *,
        columns: Sequence[str] = (),
        fmt: str = "JSONEachRow",
        token: str | None = None,
    ) -> None: ...


class Sink:
    """Writes JSONEachRow lines into one table. Use `open_sink`."""

    def __init__(
        self, store: Store, table: str, log: Logger, sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    ) -> None:
        self._store, self._table, self._log, self._sleep = store, table, log, sleep
        self._waiting: deque[tuple[Sequence[bytes], asyncio.Future[None]]] = deque()
        self._more = asyncio.Event()
        self.away_for = 0.0
        self.inserts = 0

    async def write(self, lines: Sequence[bytes]) -> None:
        """Hand in rows; returns when the warehouse has acknowledged them.

        Raises:
            WarehouseUnusable: the warehouse refuses them for good.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, done))
        self._more.set()
        await done

    async def pump(self) -> None:
        """Insert what is handed in, for ever."""
        while True:
            await self._more.wait()
            pages = self._gather()
            try:
                await self._insert([line for lines, _ in pages for line in lines])
            except BaseException as error:
                _settle(pages, error)
                raise
            _settle(pages, None)

    def _gather(self) -> list[tuple[Sequence[bytes], asyncio.Future[None]]]:
        pages, rows = [], 0
        while self._waiting and rows < MOST_ROWS:
            page = self._waiting.popleft()
            if not page[1].done():
                pages.append(page)
                rows += len(page[0])
        if not self._waiting:
            self._more.clear()
        return pages

    async def _insert(self, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        body = b"\n".join(lines)
        token = hashlib.sha256(body).hexdigest()
        wait, told = FIRST_WAIT_S, 0.0
        while True:
            try:
                await self._store.insert(self._table, body, token=token)
            except StoreBusy as error:
                if told <= self.away_for:
                    self._log.warning(
                        "warehouse_away", error=str(error), rows_waiting=len(lines), seconds=round(self.away_for, 1)
                    )
                    told = self.away_for + NOTICE_S
                await self._sleep(wait)
                self.away_for += wait
                wait = min(LONGEST_WAIT_S, wait * 2)
            else:
                if self.away_for:
                    self._log.info("warehouse_back", seconds=round(self.away_for, 1))
                self.away_for = 0.0
                self.inserts += 1
                return


def _settle(pages: list[tuple[Sequence[bytes], asyncio.Future[None]]], error: BaseException | None) -> None:
    for _, done in pages:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        elif isinstance(error, asyncio.CancelledError):
            done.cancel()
        else:
            done.set_exception(error)


@asynccontextmanager
async def open_sink(store: Store, table: str, log: Logger) -> AsyncIterator[Sink]:
    """A sink that inserts for as long as the block runs. Leave the block only when all writers are done."""
    sink = Sink(store, table, log)
    async with asyncio.TaskGroup() as group:
        pump = group.create_task(sink.pump(), name=f"sink {table}")
        yield sink
        pump.cancel()
