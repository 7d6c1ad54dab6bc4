"""THE invariant: progress never runs ahead of durable rows; at the end nothing is lost, doubled or invented.

A store that loses acknowledgements, applies things twice and is away at times; an upstream that fails; a crew that is
killed at random moments and begins again from the last saved document. The same check is shown to catch a sink that
acknowledges before it has written.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.engine.crew import Crew, Worker
from backfill.engine.model import DeadLetter, Page, Request, Unit
from backfill.engine.pipeline import Answered, Pipeline
from backfill.engine.progress import Progress
from backfill.engine.stop import StopSignal
from backfill.errors import PageTooLarge, Refused, StoreBusy, Unavailable, Unreadable
from backfill.tracks import batches
from backfill.warehouse.sink import open_sink
from tests.clock import now, run
from tests.quiet import Kept

UNITS, SIZE = 8, 6


def items(unit: int) -> tuple[str, ...]:
    return tuple(str(unit * SIZE + place) for place in range(SIZE))


def bad(item: str) -> bool:
    """Every fifth row is one that has to be refused."""
    return int(item) % 5 == 0


ALL = [item for unit in range(UNITS) for item in items(unit)]
TRUTH = {item for item in ALL if not bad(item)}
REFUSED = {item for item in ALL if bad(item)}


class Echo:
    """The answer to an id is the id."""

    name = "echo"

    def request(self, unit: Unit, cursor: str | None) -> Request:
        asked = batches.asked(unit, cursor)
        return Request("POST", "/", body=orjson.dumps(asked), asked=len(asked))

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        found: list[str] = orjson.loads(body)
        letters = tuple(DeadLetter("echo", unit.number, "contract", "bad", item) for item in found if bad(item))
        lines = tuple(item.encode() for item in found if not bad(item))
        return Page(lines, len(found), letters, batches.following(unit, cursor))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        return batches.smaller(unit, cursor)


@dataclass
class World:
    """What outlives a process: the durable rows and letters, and the last saved document."""

    seed: int
    trouble: float
    rows: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    letters: set[str] = field(default_factory=set)
    saved: bytes = b""
    ahead: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def bad_luck(self) -> bool:
        return self.dice.random() < self.trouble

    async def fetch(
        self, request: Request, read: Callable[[bytes], Answered], *, beat: Worker, shrinks: bool
    ) -> Answered:
        beat("fetching")
        await asyncio.sleep(self.dice.uniform(0, 1))
        assert request.body is not None
        if shrinks and self.bad_luck():
            raise PageTooLarge("timed out")
        if self.bad_luck():
            raise Unavailable("gone")
        return read(request.body)

    async def insert(
        self, table: str, body: bytes, *, columns: Sequence[str] = (), fmt: str = "", token: str | None = None
    ) -> None:
        await asyncio.sleep(self.dice.uniform(0, 2))
        if self.bad_luck():
            raise StoreBusy("away")
        # A token is a bonus: here its memory fails at times, and the natural key has to do.
        if token not in self.tokens or self.bad_luck():
            self.rows += body.decode().split("\n")
        self.tokens.add(str(token))
        await asyncio.sleep(self.dice.uniform(0, 1))
        if self.bad_luck():
            raise StoreBusy("the acknowledgement was lost")

    async def keep(self, letters: Sequence[DeadLetter]) -> None:
        await asyncio.sleep(self.dice.uniform(0, 0.2))
        self.letters |= {letter.raw for letter in letters}

    def save(self, progress: Progress) -> None:
        """Save, and look whether the document claims rows that are not there."""
        self.saved = orjson.dumps(progress.document())
        durable = {*self.rows, *self.letters}
        for item in sorted(claimed(progress) - durable):
            self.ahead.append(f"{item} is claimed but not durable")

    def load(self) -> Progress:
        return Progress.from_document(orjson.loads(self.saved)) if self.saved else Progress()


def claimed(progress: Progress) -> set[str]:
    """The items that a ledger says are in."""
    found = {item for unit in progress.done for item in items(unit)}
    for unit, cursor in progress.open.items():
        found.update(items(unit)[: int(cursor.partition("/")[0])])
    return found


async def one_life(world: World, lifetime: float, *, planted: bool) -> bool:
    """A process that works until it is done, or is killed; whether it was done."""
    progress, stop = world.load(), StopSignal()
    progress.retry_failed()
    async with asyncio.timeout(lifetime) as mortal:
        async with open_sink(world, "s.t", Kept()) as sink, asyncio.TaskGroup() as group:

            async def durable(page: Page) -> None:
                await sink.write(page.lines)

            async def acknowledged_too_early(page: Page) -> None:
                group.create_task(sink.write(page.lines))

            async def keep_saved() -> None:
                while True:
                    world.save(progress)
                    await asyncio.sleep(world.dice.uniform(0, 0.5))

            saver = group.create_task(keep_saved())
            write = acknowledged_too_early if planted else durable
            pipeline = Pipeline(Echo(), world, write, world.keep, progress)
            crew = Crew(
                "t",
                3,
                pipeline.work,
                ready=_at_once,
                failed=lambda unit, failure: progress.fail(unit.number, failure),
                stop=stop,
                stall_after=60,
                log=Kept(),
                clock=now,
            )
            await crew.run(iter([Unit(number, items(number)) for number in progress.pending(0, UNITS)]))
            world.save(progress)
            saver.cancel()
    return not mortal.expired() and not progress.failed


async def _at_once(_worker: Worker) -> None:
    return


async def to_the_end(world: World, lifetimes: Iterator[float], *, planted: bool) -> Progress:
    for lifetime in lifetimes:
        try:
            if await one_life(world, lifetime, planted=planted):
                break
        except TimeoutError:
            continue
    return world.load()


def check(seed: int, trouble: float, lifetimes: list[float], *, planted: bool = False) -> None:
    """The whole property; raises AssertionError when anything is lost, doubled, invented or claimed too early."""
    world = World(seed, trouble)
    progress = run(to_the_end(world, iter([*lifetimes, *[10_000.0] * 200]), planted=planted))
    assert world.ahead == []
    assert set(world.rows) == TRUTH
    assert world.letters == REFUSED
    assert progress.done.pairs() == [(0, UNITS)] and not progress.open and not progress.failed
    counters = progress.counters
    assert (counters.processed, counters.inserted, counters.quarantined) == (len(ALL), len(TRUTH), len(REFUSED))


LIVES = st.lists(st.floats(0.05, 15), max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.3]), LIVES)
def test_progress_never_runs_ahead_of_durable_rows(seed: int, trouble: float, lifetimes: list[float]) -> None:
    check(seed, trouble, lifetimes)


def test_the_same_check_catches_a_write_that_is_acknowledged_too_early() -> None:
    caught = 0
    for seed in range(10):
        try:
            check(seed, 0.1, [2.0, 3.0], planted=True)
        except AssertionError:
            caught += 1
    assert caught == 10


class Script:
    """A door that answers each request from a list."""

    def __init__(self, *steps: Any) -> None:
        self.steps, self.asked = list(steps), list[list[str]]()

    async def fetch(
        self, request: Request, read: Callable[[bytes], Answered], *, beat: Worker, shrinks: bool
    ) -> Answered:
        assert request.body is not None
        self.asked.append(orjson.loads(request.body))
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, Exception):
            raise step
        return read(request.body)


@dataclass
class Desk:
    progress: Progress = field(default_factory=Progress)
    written: list[bytes] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    stop: StopSignal = field(default_factory=StopSignal)

    async def write(self, page: Page) -> None:
        self.written += page.lines

    async def keep(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    async def work(self, door: Script, unit: Unit, lane: Any = None) -> None:
        worker = Worker("w", self.stop, now)
        await Pipeline(lane or Echo(), door, self.write, self.keep, self.progress).work(unit, worker)


def test_a_page_that_is_too_large_is_asked_in_halves_and_nothing_is_asked_twice() -> None:
    desk, door = Desk(), Script(PageTooLarge("x"), PageTooLarge("x"))
    run(desk.work(door, Unit(1, items(1))))
    assert [len(asked) for asked in door.asked] == [6, 3, 1, 1, 1, 1, 1, 1]
    assert Counter(item for asked in door.asked[2:] for item in asked) == Counter(items(1))
    assert desk.progress.counters.processed == SIZE and 1 in desk.progress.done


def test_a_single_id_that_is_too_large_is_given_up_with_its_place_kept() -> None:
    desk, door = Desk(), Script(*[PageTooLarge("x")] * 9)
    with pytest.raises(PageTooLarge):
        run(desk.work(door, Unit(1, items(1))))
    assert desk.progress.open == {1: "0/1"} and desk.written == []


def test_a_unit_goes_on_at_its_cursor() -> None:
    desk, door = Desk(), Script()
    desk.progress.turn(1, "4/2")
    run(desk.work(door, Unit(1, items(1))))
    assert door.asked == [list(items(1)[4:])]


def test_an_unreadable_answer_becomes_a_dead_letter_with_its_bytes() -> None:
    desk, door = Desk(), Script(Unreadable("not JSON", raw=b"<html>\xff"))
    with pytest.raises(Unreadable):
        run(desk.work(door, Unit(1, items(1))))
    (letter,) = desk.letters
    assert (letter.cls, letter.unit) == ("unreadable", 1) and letter.raw.startswith("<html>")
    assert list(desk.progress.pending(1, 1)) == [1]


def test_a_stopping_worker_ends_after_its_page_and_keeps_its_place() -> None:
    async def story() -> None:
        desk, door = Desk(), Script()
        desk.progress.turn(1, "0/2")
        desk.stop.request(15)
        await desk.work(door, Unit(1, items(1)))
        assert desk.progress.open == {1: "2/2"} and len(door.asked) == 1

    run(story())


def test_a_cursor_that_does_not_move_is_refused_instead_of_followed_for_ever() -> None:
    class Stuck(Echo):
        def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
            return Page((), 0, (), "0/2")

    desk, door = Desk(), Script()
    with pytest.raises(Refused, match="does not advance"):
        run(desk.work(door, Unit(1, items(1)), Stuck()))
    assert len(door.asked) == 2


def test_rows_of_a_repeat_are_counted_but_its_items_are_not() -> None:
    desk = Desk()
    run(desk.work(Script(), Unit(1, items(1), repeat=True)))
    assert desk.progress.counters.processed == 0 and desk.progress.counters.inserted == len(desk.written) > 0
