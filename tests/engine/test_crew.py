"""The crew: every unit once, stalls seen and replaced, stops that drain."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest

from backfill.app import drain
from backfill.engine.crew import MOST_STALLS, Crew, Worker
from backfill.engine.model import Failure, Unit
from backfill.engine.stop import StopSignal
from backfill.errors import Interrupted, Refused, Unavailable, WarehouseUnusable
from tests.clock import now, run
from tests.quiet import Kept

STALL_S = 10.0
Job = Callable[[Unit, Worker], Awaitable[None]]


class Team:
    """A crew with a log, a stop and a list of what was given up."""

    def __init__(self, job: Job, size: int = 4, ready: Callable[[Worker], Awaitable[None]] | None = None) -> None:
        async def at_once(_worker: Worker) -> None:
            return

        self.log, self.stop, self.failed = Kept(), StopSignal(), dict[int, Failure]()
        self.crew = Crew(
            "t",
            size,
            job,
            ready=ready or at_once,
            failed=lambda unit, failure: self.failed.update({unit.number: failure}),
            stop=self.stop,
            stall_after=STALL_S,
            log=self.log,
            clock=now,
        )


def units(count: int) -> Iterator[Unit]:
    return (Unit(number, (str(number),)) for number in range(count))


@pytest.mark.parametrize("size", [1, 3, 16, 200])
def test_every_unit_is_done_once_by_any_number_of_workers(size: int) -> None:
    done: Counter[int] = Counter()

    async def job(unit: Unit, worker: Worker) -> None:
        worker("fetching")
        await asyncio.sleep(0.1 * (unit.number % 7))
        done[unit.number] += 1

    async def story() -> None:
        team = Team(job, size)
        await team.crew.run(units(100))
        assert not team.crew.workers and not team.failed

    run(story())
    assert done == Counter(range(100))


def test_a_worker_that_hangs_is_reported_and_replaced_and_its_unit_done_by_another() -> None:
    done: Counter[int] = Counter()
    tried: Counter[int] = Counter()

    async def job(unit: Unit, worker: Worker) -> None:
        worker("fetching")
        tried[unit.number] += 1
        await asyncio.sleep(9999 if unit.number == 3 and tried[3] == 1 else 0.1)
        done[unit.number] += 1

    async def story() -> Team:
        team = Team(job)
        await team.crew.run(units(12))
        return team

    team = run(story())
    assert done == Counter(range(12)) and tried[3] == 2
    (line,) = team.log.of("worker_stalled")
    assert line["unit"] == 3 and STALL_S <= line["seconds"] < STALL_S + 2 and line["worker"].startswith("t-")


def test_the_status_shows_who_stalls() -> None:
    shown: list[list[dict[str, object]]] = []

    async def job(unit: Unit, worker: Worker) -> None:
        await asyncio.sleep(0.5)
        worker("fetching")
        await asyncio.sleep(STALL_S + 0.4)

    async def story() -> None:
        team = Team(job, size=2)
        async with asyncio.TaskGroup() as group:
            group.create_task(team.crew.run(units(2)))
            await asyncio.sleep(STALL_S / 2)
            shown.append(team.crew.stalled())
            assert team.crew.active == 2
            await asyncio.sleep(STALL_S / 2 + 0.7)
            shown.append(team.crew.stalled())

    run(story())
    assert shown[0] == [] and [entry["unit"] for entry in shown[1]] == [0, 1]


def test_a_unit_on_which_three_workers_stalled_fails_and_the_rest_goes_on() -> None:
    done: Counter[int] = Counter()

    async def job(unit: Unit, worker: Worker) -> None:
        worker("fetching")
        await asyncio.sleep(9999 if unit.number == 3 else 0.1)
        done[unit.number] += 1

    async def story() -> Team:
        team = Team(job)
        await team.crew.run(units(12))
        return team

    team = run(story())
    assert team.failed[3].cls == "stalled" and team.failed[3].attempts == MOST_STALLS
    assert done == Counter(set(range(12)) - {3})
    assert len(team.log.of("worker_stalled")) == MOST_STALLS


@pytest.mark.parametrize("state", ["waiting", "cooling", "retrying", "storing"])
def test_waiting_for_somebody_else_is_no_stall(state: str) -> None:
    async def job(unit: Unit, worker: Worker) -> None:
        worker(state)
        await asyncio.sleep(20 * STALL_S)

    async def story() -> Team:
        team = Team(job)
        await team.crew.run(units(4))
        return team

    assert not run(story()).log.of("worker_stalled")


def test_a_stop_hands_out_nothing_more_and_finishes_the_pages_in_hand() -> None:
    begun: list[int] = []
    done: list[int] = []

    async def job(unit: Unit, worker: Worker) -> None:
        worker("fetching")
        begun.append(unit.number)
        await asyncio.sleep(3)
        worker("storing")
        await asyncio.sleep(3)
        done.append(unit.number)

    async def story() -> None:
        team = Team(job)
        async with asyncio.TaskGroup() as group:
            group.create_task(team.crew.run(units(100)))
            await asyncio.sleep(1)
            team.stop.request(signal.SIGTERM)

    run(story())
    assert sorted(begun) == sorted(done) == [0, 1, 2, 3]


def test_workers_that_only_wait_leave_at_once() -> None:
    async def job(unit: Unit, worker: Worker) -> None:
        worker("waiting" if unit.number else "cooling")
        await asyncio.sleep(9999)

    async def story() -> float:
        team = Team(job)
        async with asyncio.TaskGroup() as group:
            group.create_task(team.crew.run(units(100)))
            await asyncio.sleep(1)
            team.stop.request(signal.SIGINT)
            asked = now()
        assert not team.failed
        return now() - asked

    assert run(story()) < 0.1


def test_a_worker_that_would_begin_to_wait_while_stopping_leaves_instead() -> None:
    begun: list[str] = []

    async def job(unit: Unit, worker: Worker) -> None:
        worker("fetching")
        await asyncio.sleep(2)
        worker("retrying")
        begun.append("a wait")

    async def story() -> Team:
        team = Team(job, size=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(team.crew.run(units(5)))
            await asyncio.sleep(1)
            team.stop.request(signal.SIGINT)
        return team

    team = run(story())
    assert begun == [] and not team.failed


def test_a_crew_that_is_told_to_stop_before_it_begins_does_nothing() -> None:
    async def job(unit: Unit, worker: Worker) -> None:
        raise AssertionError

    async def story() -> None:
        team = Team(job)
        team.stop.request(signal.SIGINT)
        await team.crew.run(units(5))

    run(story())


@pytest.mark.parametrize("signals", [1, 2])
def test_after_the_deadline_or_a_second_signal_what_still_runs_is_cancelled(signals: int) -> None:
    async def job(unit: Unit, worker: Worker) -> None:
        worker("storing")
        await asyncio.sleep(9999)

    async def story() -> float:
        team = Team(job)

        async def asks() -> None:
            for _ in range(signals):
                await asyncio.sleep(1)
                team.stop.request(signal.SIGINT)

        begin = now()
        async with asyncio.TaskGroup() as group:
            group.create_task(asks())
            await drain(team.stop, 30, team.crew.run(units(100)))
        return now() - begin

    took = run(story())
    assert (31 <= took < 31.5) if signals == 1 else (2 <= took < 2.5)


def test_a_drain_without_a_stop_ends_with_the_work() -> None:
    async def story() -> float:
        begin = now()
        await drain(StopSignal(), 30, asyncio.sleep(5))
        return now() - begin

    assert run(story()) == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize(
    ("error", "kind"), [(Refused("no"), "refused"), (Unavailable("gone"), "unavailable")], ids=["skip", "retry"]
)
def test_an_error_of_one_unit_fails_that_unit_only(error: Exception, kind: str) -> None:
    done: list[int] = []

    async def job(unit: Unit, worker: Worker) -> None:
        worker("fetching")
        if unit.number == 2:
            raise error
        done.append(unit.number)

    async def story() -> Team:
        team = Team(job)
        await team.crew.run(units(6))
        return team

    team = run(story())
    assert sorted(done) == [0, 1, 3, 4, 5]
    assert {number: failure.cls for number, failure in team.failed.items()} == {2: kind}
    (line,) = team.log.of("unit_failed")
    assert line["unit"] == 2 and line["class"] == kind


@pytest.mark.parametrize("error", [WarehouseUnusable("disk gone"), RuntimeError("a bug")], ids=["stop", "bug"])
def test_an_error_that_forbids_going_on_ends_the_crew(error: Exception) -> None:
    async def job(unit: Unit, worker: Worker) -> None:
        worker("fetching")
        await asyncio.sleep(0.1)
        if unit.number == 2:
            raise error
        await asyncio.sleep(9999)

    async def story() -> float:
        team = Team(job)
        begin = now()
        with pytest.raises(ExceptionGroup) as caught:
            await team.crew.run(units(100))
        assert caught.value.exceptions == (error,)
        assert not team.failed
        return now() - begin

    assert run(story()) < 1


def test_a_cooling_upstream_leaves_its_workers_without_a_unit() -> None:
    taken: list[int] = []

    async def job(unit: Unit, worker: Worker) -> None:
        taken.append(unit.number)

    async def ready(worker: Worker) -> None:
        worker("cooling")
        await asyncio.sleep(100)

    async def story() -> None:
        team = Team(job, ready=ready)
        async with asyncio.TaskGroup() as group:
            group.create_task(team.crew.run(units(100)))
            await asyncio.sleep(50)
            assert taken == [] and team.crew.active == 0
            team.stop.request(signal.SIGINT)

    run(story())
    assert taken == []


def test_the_first_signal_decides_the_exit_code() -> None:
    async def story() -> None:
        stop = StopSignal()
        stop.check()
        stop.request(signal.SIGINT)
        assert stop.stopping and not stop.hard.is_set()
        stop.request(signal.SIGTERM)
        assert stop.hard.is_set() and stop.exit_code == 130
        with pytest.raises(Interrupted) as caught:
            stop.check()
        assert caught.value.exit_code == 130

    run(story())


def test_work_that_may_be_dropped_is_dropped_by_a_stop() -> None:
    async def story() -> None:
        stop = StopSignal()

        async def seven() -> int:
            await asyncio.sleep(1)
            return 7

        assert await stop.unless(seven()) == 7
        asyncio.get_running_loop().call_later(5, stop.request, signal.SIGTERM)
        begin = now()
        with pytest.raises(Interrupted):
            await stop.unless(asyncio.sleep(9999))
        assert now() - begin == pytest.approx(5, abs=0.01)

    run(story())
