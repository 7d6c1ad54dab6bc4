"""Pages become inserts: many pages share one, and each page learns when its rows are durable.

While one insert is under way the pages that come in meanwhile gather for the next, so batches grow with the load and
nobody waits for a timer. An insert is named by its content and its sink: when the warehouse was too busy for it, it is
sent again under the same name, and the table keeps one copy. Another run may bring the same rows because they were lost
in between, so its names are others; where they were not lost, the table's key takes the copies out. While the warehouse
is away the rows wait here; workers hold one page each, so the memory is bounded by the crew.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from backfill.errors import StoreBusy
from backfill.log import Logger
from backfill.warehouse.patience import patiently

MOST_ROWS = 50_000
# While the warehouse works on one insert, the next one is on its way.
PUMPS = 3
JSON, TABS = "JSONEachRow", "TabSeparated"


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
    """Writes lines into one table: JSONEachRow, or tab-separated ones where `columns` are named. Use `open_sink`."""

    def __init__(
        self,
        store: Store,
        table: str,
        log: Logger,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        *,
        columns: Sequence[str] = (),
    ) -> None:
        self._store, self._table, self._log, self._sleep = store, table, log, sleep
        self._columns, self._format = columns, TABS if columns else JSON
        self._waiting: deque[tuple[Sequence[bytes], asyncio.Future[None]]] = deque()
        self._more = asyncio.Event()
        self._salt = secrets.token_hex(8)
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
        named = _Named(body, self._salt)

        async def send() -> None:
            try:
                await self._store.insert(self._table, body, columns=self._columns, fmt=self._format, token=named.token)
            except StoreBusy as error:
                named.failed(error)
                raise

        await patiently(send, self._log, sleep=self._sleep, rows_waiting=len(lines))
        self.inserts += 1


class _Named:
    """The name of an insert: its content, who sends it, and how often a connection was lost over it.

    A server that is killed may have noted a name whose rows never came into place. Under the same name they would be
    taken for a repetition and dropped, so after a lost connection the name is a new one; if the rows did come in, the
    table's key takes the copy out.
    """

    def __init__(self, body: bytes, salt: str) -> None:
        self._digest, self._lost = f"{hashlib.sha256(body).hexdigest()}-{salt}", 0

    @property
    def token(self) -> str:
        return f"{self._digest}-{self._lost}" if self._lost else self._digest

    def failed(self, error: StoreBusy) -> None:
        self._lost += error.uncertain


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
async def open_sink(store: Store, table: str, log: Logger, columns: Sequence[str] = ()) -> AsyncIterator[Sink]:
    """A sink that inserts for as long as the block runs. Leave the block only when all writers are done."""
    sink = Sink(store, table, log, columns=columns)
    async with asyncio.TaskGroup() as group:
        pumps = [group.create_task(sink.pump(), name=f"sink {table} {number}") for number in range(PUMPS)]
        yield sink
        for pump in pumps:
            pump.cancel()
