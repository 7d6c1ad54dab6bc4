"""The rate windows, seen from the other side: when do requests arrive, and how much of the allowance is used?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from aiolimiter import AsyncLimiter
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Limit
from backfill.engine.limits import GUARD, GUARD_S, HEAD, STALL_S, Pace, RateGate
from tests.clock import now, run

DOME = (Limit(requests=10, seconds=1), Limit(requests=100, seconds=10))
AT_ONCE_S = 0.01
GOLDSKY = (Limit(requests=50, seconds=10),)


def most_in_any_window(arrivals: Sequence[float], seconds: float) -> int:
    """The largest number of arrivals in a half-open window of this length, wherever it begins."""
    times, most, first = sorted(arrivals), 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= seconds - 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most


@dataclass
class Line:
    """The way to the upstream and back. Times in seconds; `stalls` is the share of requests that stand still on it."""

    seed: int
    base: float = 0.05
    jitter: float = GUARD_S
    stalls: float = 0.0
    longest: float = STALL_S / 2
    slow_answers: float = 0.0
    arrivals: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    async def send(self, gate: RateGate) -> None:
        dice = self.random
        booking = await gate.admit()
        booking.left()
        out = self.base + dice.uniform(0, self.jitter)
        if dice.random() < self.stalls:
            out += dice.uniform(0, self.longest)
        self.arrivals.append(now() + out)
        back = self.base / 2 + (dice.uniform(0, 30) if dice.random() < self.slow_answers else 0.0)
        await asyncio.sleep(out + back)
        booking.answered()


async def process(path: Path, windows: Sequence[Limit], line: Line, workers: int, lifetime: float) -> None:
    """One life of a process: its workers send as fast as they may, then it is killed in the middle of everything."""
    gate = RateGate(windows, path, clock=now)

    async def worker() -> None:
        while True:
            await line.send(gate)

    try:
        async with asyncio.timeout(lifetime), asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(worker())
    except TimeoutError:
        pass
    finally:
        gate.close()


async def lives(path: Path, windows: Sequence[Limit], line: Line, workers: int, lifetimes: Sequence[float]) -> None:
    for lifetime in lifetimes:
        await process(path, windows, line, workers, lifetime)


WINDOWS = st.lists(
    st.builds(Limit, requests=st.integers(1, 30), seconds=st.sampled_from([0.5, 1.0, 3.0, 10.0])),
    min_size=1,
    max_size=3,
)
LIFETIMES = st.lists(st.floats(0.01, 12), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(
    windows=WINDOWS,
    lifetimes=st.lists(LIFETIMES, min_size=1, max_size=2),
    workers=st.integers(1, 12),
    base=st.floats(0.001, 0.4),
    stalls=st.sampled_from([0.0, 0.0, 0.05, 0.15]),
    slow_answers=st.sampled_from([0.0, 0.0, 0.1]),
    seed=st.integers(0, 999),
)
def test_no_sliding_window_is_exceeded_by_any_processes_over_any_restarts(
    tmp_path_factory: pytest.TempPathFactory,
    windows: list[Limit],
    lifetimes: list[list[float]],
    workers: int,
    base: float,
    stalls: float,
    slow_answers: float,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("rates") / "x.log"
    line = Line(seed, base=base, stalls=stalls, slow_answers=slow_answers)

    async def all_processes() -> None:
        async with asyncio.TaskGroup() as group:
            for each in lifetimes:
                group.create_task(lives(path, windows, line, workers, each))

    run(all_processes())
    for window in windows:
        assert most_in_any_window(line.arrivals, window.seconds) <= window.requests


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("windows", [DOME, GOLDSKY], ids=["dome", "goldsky"])
def test_98_percent_of_the_allowance_is_used(tmp_path: Path, windows: tuple[Limit, ...], processes: int) -> None:
    line, seconds = Line(1, base=0.08, jitter=0.0), 300.0

    async def all_processes() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(processes):
                group.create_task(process(tmp_path / "x.log", windows, line, 16, seconds))

    run(all_processes())
    rate = min(window.requests / window.seconds for window in windows)
    used = len(line.arrivals) / (rate * seconds)
    print(f"\n{processes} process(es): {used:.2%} of the allowance")
    assert used >= 0.98
    for window in windows:
        assert most_in_any_window(line.arrivals, window.seconds) <= window.requests


def test_a_leaky_bucket_of_the_same_figures_sends_nearly_twice_as_much() -> None:
    arrivals: list[float] = []

    async def naive() -> None:
        limiter = AsyncLimiter(10, 1)
        for _ in range(100):
            await limiter.acquire()
            arrivals.append(now())

    run(naive())
    assert most_in_any_window(arrivals, 1) > 15


@pytest.mark.parametrize("windows", [DOME, GOLDSKY], ids=["dome", "goldsky"])
def test_a_late_request_does_not_push_an_unexpired_one_out_of_the_log(
    tmp_path: Path, windows: tuple[Limit, ...]
) -> None:
    """Requests leave the windows in the order of their arrivals, which is not the order of their sendings."""
    for seed in range(6):
        line = Line(seed, stalls=0.2, longest=STALL_S - 0.2)
        run(process(tmp_path / f"{seed}.log", windows, line, 20, 60))
        for window in windows:
            assert most_in_any_window(line.arrivals, window.seconds) <= window.requests


def test_an_answer_after_its_slot_was_given_away_does_not_erase_a_newer_sending(tmp_path: Path) -> None:
    async def story() -> list[float]:
        gate, sent = RateGate((Limit(requests=2, seconds=1),), tmp_path / "x.log", clock=now), list[float]()

        async def send() -> float:
            booking = await gate.admit()
            booking.left()
            sent.append(now())
            return booking.sent

        forgotten = await gate.admit()
        forgotten.left()
        for _ in range(6):
            await send()
        forgotten.answered()
        for _ in range(6):
            await send()
        gate.close()
        return sent

    assert most_in_any_window(run(story()), 1) <= 2


def test_stamps_from_the_future_do_not_lock_out(tmp_path: Path) -> None:
    windows = (Limit(requests=3, seconds=2),)

    async def ahead() -> None:
        gate = RateGate(windows, tmp_path / "x.log", clock=lambda: now() + 1_000_000)
        for _ in range(3):
            (await gate.admit()).left()
        gate.close()

    async def back() -> float:
        gate, begin = RateGate(windows, tmp_path / "x.log", clock=now), now()
        for _ in range(4):
            (await gate.admit()).left()
        gate.close()
        return now() - begin

    run(ahead())
    waited = run(back())
    assert 2 <= waited < 2 * (2 * (1 + GUARD) + GUARD_S + STALL_S) + 1


@pytest.mark.parametrize("requests", [5, 2, 9], ids=["same", "fewer", "more"])
def test_what_was_sent_under_other_limits_still_counts(tmp_path: Path, requests: int) -> None:
    path, arrivals = tmp_path / "x.log", list[float]()

    async def some(windows: Sequence[Limit], count: int) -> None:
        gate = RateGate(windows, path, clock=now)
        for _ in range(count):
            booking = await gate.admit()
            booking.left()
            arrivals.append(now())
            booking.answered()
        gate.close()

    async def story() -> None:
        await some((Limit(requests=5, seconds=10),), 5)
        await some((Limit(requests=requests, seconds=10),), 2 * requests)

    run(story())
    assert most_in_any_window(arrivals, 10) <= max(5, requests)
    later = arrivals[5:]
    expected = arrivals[0] + 10 if requests <= 5 else arrivals[0]
    assert later[0] >= expected


def test_stamps_of_another_boot_mean_nothing(tmp_path: Path) -> None:
    async def booked(path: Path) -> float:
        gate, begin = RateGate((Limit(requests=1, seconds=9),), path, clock=now), now()
        await gate.admit()
        gate.close()
        return now() - begin

    path = tmp_path / "x.log"
    assert run(booked(path)) < AT_ONCE_S
    raw = bytearray(path.read_bytes())
    raw[8] ^= 1
    path.write_bytes(raw)
    assert run(booked(path)) < AT_ONCE_S


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * HEAD.size, b"\xff" * 5000])
def test_a_damaged_log_is_made_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(content)

    async def some() -> float:
        gate, begin = RateGate((Limit(requests=2, seconds=5),), path, clock=now), now()
        for _ in range(3):
            await gate.admit()
        gate.close()
        return now() - begin

    assert 5 <= run(some()) < 7


def test_without_limits_nobody_waits(tmp_path: Path) -> None:
    async def many() -> float:
        gate, begin = RateGate((), tmp_path / "x.log", clock=now), now()
        for _ in range(500):
            (await gate.admit()).answered()
        gate.close()
        return now() - begin

    assert run(many()) < AT_ONCE_S


def test_who_is_cancelled_while_waiting_leaves_the_turn_to_the_next(tmp_path: Path) -> None:
    async def story() -> list[float]:
        gate, begin, admitted = RateGate((Limit(requests=1, seconds=4),), tmp_path / "x.log", clock=now), now(), []

        async def one() -> None:
            (await gate.admit()).left()
            admitted.append(now() - begin)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one()) for _ in range(4)]
            await asyncio.sleep(1)
            tasks[1].cancel()
            tasks[2].cancel()
        gate.close()
        return admitted

    admitted = run(story())
    assert len(admitted) == 2
    assert admitted[0] < AT_ONCE_S and 4 <= admitted[1] < 6


def test_a_complaint_halves_the_pace_and_good_answers_bring_it_back() -> None:
    async def story() -> None:
        pace = Pace(10)
        pace.complained(now())
        assert pace.share == 0.5
        pace.complained(now() + 0.1)
        assert pace.share == 0.5, "requests that were under way together complained twice"
        pace.complained(now() + 1)
        assert pace.share == 0.25
        answers = 0
        while pace.share < 1:
            before = pace.share
            pace.answered(0.1)
            assert pace.share > before
            answers += 1
        assert 5 < answers < 200

    run(story())


def test_the_pace_never_falls_to_nothing() -> None:
    async def story() -> None:
        pace = Pace(10)
        for second in range(100):
            pace.complained(now() + second)
        assert pace.share == Pace.FLOOR

    run(story())


def test_rising_latency_slows_down_and_never_speeds_up() -> None:
    async def story() -> None:
        pace = Pace(10)
        for _ in range(50):
            pace.answered(0.1)
        shares = [pace.share]
        for _ in range(10):
            pace.answered(5.0)
            shares.append(pace.share)
        assert shares == sorted(shares, reverse=True) and shares[-1] < 0.6
        pace.complained(now())
        slow = pace.share
        pace.answered(5.0)
        assert pace.share <= slow

    run(story())


def test_a_slower_pace_admits_evenly(tmp_path: Path) -> None:
    async def story() -> list[float]:
        gate = RateGate((Limit(requests=10, seconds=1),), tmp_path / "x.log", clock=now)
        gate.pace.complained(now())
        times = []
        for _ in range(12):
            (await gate.admit()).left()
            times.append(now())
        gate.close()
        return times

    times = run(story())
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert min(gaps) >= 0.2 - 1e-6
