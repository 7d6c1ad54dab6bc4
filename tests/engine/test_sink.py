"""The sink: pages share inserts, names are contents, and everybody learns what became of their own rows."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from backfill.errors import StoreBusy, WarehouseUnusable
from backfill.warehouse.patience import NOTICE_S, patiently
from backfill.warehouse.sink import MOST_ROWS, open_sink
from tests.clock import now, run
from tests.quiet import Kept


class Store:
    """Keeps what it is sent; `trouble` is asked before each insert, with its number."""

    def __init__(self, trouble: Callable[[int], Exception | None] = lambda _: None, takes: float = 1.0) -> None:
        self.trouble, self.takes = trouble, takes
        self.calls: list[tuple[str, bytes, str | None]] = []

    async def insert(
        self, table: str, body: bytes, *, columns: Sequence[str] = (), fmt: str = "", token: str | None = None
    ) -> None:
        self.calls.append((table, body, token))
        error = self.trouble(len(self.calls))
        await asyncio.sleep(self.takes)
        if error is not None:
            raise error

    @property
    def rows(self) -> list[bytes]:
        return [line for _, body, _ in self.calls for line in body.split(b"\n")]


def page(*numbers: int) -> tuple[bytes, ...]:
    return tuple(b"%d" % number for number in numbers)


def test_pages_that_come_meanwhile_share_the_next_insert() -> None:
    async def story() -> Store:
        store = Store()
        async with open_sink(store, "s.t", Kept()) as sink, asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(sink.write(page(number, number + 100)))
        return store

    store = run(story())
    assert sorted(store.rows) == sorted(line for n in range(50) for line in page(n, n + 100))
    assert len(store.calls) < 5


def test_a_write_returns_only_after_the_acknowledgement() -> None:
    async def story() -> float:
        async with open_sink(Store(takes=7.0), "s.t", Kept()) as sink:
            begin = now()
            await sink.write(page(1))
            return now() - begin

    assert run(story()) >= 7


def test_after_a_lost_connection_the_rows_are_sent_under_a_new_name() -> None:
    """A killed server may have noted the name without the rows: under it they would be dropped as a repetition."""

    async def story() -> Store:
        store = Store(trouble=lambda call: StoreBusy("lost", uncertain=True) if call <= 3 else None)
        async with open_sink(store, "s.t", Kept()) as sink:
            await sink.write(page(1, 2))
        return store

    calls = run(story()).calls
    assert len({body for _, body, _ in calls}) == 1
    assert len({token for _, _, token in calls}) == 4


def test_an_insert_that_the_warehouse_was_too_busy_for_is_sent_again_under_the_same_name() -> None:
    async def story() -> Store:
        store = Store(trouble=lambda call: StoreBusy("busy") if call <= 3 else None)
        async with open_sink(store, "s.t", Kept()) as sink:
            await sink.write(page(1, 2))
        return store

    store = run(story())
    assert len(store.calls) == 4 and len(set(store.calls)) == 1
    assert (store.calls[0][2] or "").startswith(hashlib.sha256(b"1\n2").hexdigest())


def test_another_run_has_other_names_for_the_same_rows() -> None:
    """They may have been lost in between, and a table that remembers the name would drop them as a repetition."""

    async def story() -> Store:
        store = Store()
        for _ in range(2):
            async with open_sink(store, "s.t", Kept()) as sink:
                await sink.write(page(1, 2))
        return store

    first, second = run(story()).calls
    assert first[1] == second[1] and first[2] != second[2]


def test_other_rows_have_another_name() -> None:
    async def story() -> Store:
        store = Store()
        async with open_sink(store, "s.t", Kept()) as sink:
            for rows in (page(1, 2), page(1), page(2, 1), page(12), page(1, 2)):
                await sink.write(rows)
        return store

    tokens = [token for _, _, token in run(story()).calls]
    assert len(set(tokens)) == 4 and tokens[0] == tokens[4]


def test_a_writer_that_was_cancelled_does_not_block_the_others() -> None:
    async def story() -> Store:
        store = Store()
        async with open_sink(store, "s.t", Kept()) as sink, asyncio.TaskGroup() as group:
            tasks = [group.create_task(sink.write(page(number))) for number in range(10)]
            await asyncio.sleep(0.5)
            late = [group.create_task(sink.write(page(number))) for number in range(10, 20)]
            await asyncio.sleep(0)
            for task in (*tasks[:5], *late[:5]):
                task.cancel()
            await asyncio.sleep(100)
            assert all(task.done() for task in (*tasks, *late))
        return store

    rows = run(story()).rows
    assert set(rows) >= set(page(*range(5, 10), *range(15, 20)))
    assert not set(rows) & set(page(*range(10, 15))), "rows of a writer that had left were sent"


def test_a_refusal_for_good_reaches_every_writer_of_the_insert() -> None:
    async def story() -> list[BaseException | None]:
        store = Store(trouble=lambda _: WarehouseUnusable("no such column"))
        outcomes: list[BaseException | None] = []

        async def write(sink: Any, number: int) -> None:
            try:
                await sink.write(page(number))
            except BaseException as error:
                outcomes.append(error)

        with pytest.raises(ExceptionGroup) as caught:
            async with open_sink(store, "s.t", Kept()) as sink, asyncio.TaskGroup() as group:
                for number in range(4):
                    group.create_task(write(sink, number))
        assert caught.group_contains(WarehouseUnusable)
        return outcomes

    outcomes = run(story())
    assert len(outcomes) == 4
    assert all(isinstance(error, WarehouseUnusable | asyncio.CancelledError) for error in outcomes)


def test_no_rows_make_no_insert() -> None:
    async def story() -> Store:
        store = Store()
        async with open_sink(store, "s.t", Kept()) as sink:
            await sink.write(())
        return store

    assert run(story()).calls == []


def test_an_insert_is_bounded() -> None:
    async def story() -> Store:
        store, rows = Store(), (b"1",) * 20_000
        async with open_sink(store, "s.t", Kept()) as sink, asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(sink.write(rows))
        return store

    store = run(story())
    assert len(store.rows) == 240_000
    assert all(body.count(b"\n") < MOST_ROWS + 20_000 for _, body, _ in store.calls)


def test_a_warehouse_that_is_away_is_told_of_once_in_half_a_minute() -> None:
    log = Kept()

    async def story() -> str:
        end = now() + 300

        async def work() -> str:
            if now() < end:
                raise StoreBusy("away")
            return "done"

        return await patiently(work, log, rows_waiting=5)

    assert run(story()) == "done"
    assert 300 / NOTICE_S - 3 <= len(log.of("warehouse_away")) <= 300 / NOTICE_S + 2
    assert log.of("warehouse_away")[0] == {"error": "away", "seconds": 0.0, "rows_waiting": 5}
    assert len(log.of("warehouse_back")) == 1
