"""Limits are true sliding windows, and their measurement is exact."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.simulator.limits import Limit, SlidingWindows, busiest, parse_limits, utilisation
from backfill.simulator.record import Record, summarise


def test_ten_are_admitted_and_the_eleventh_is_not() -> None:
    windows = SlidingWindows([Limit(10, 1)])
    assert [windows.admit(0.05 * n) for n in range(11)] == [True] * 10 + [False]


def test_a_place_is_free_again_exactly_one_window_after_it_was_taken() -> None:
    windows = SlidingWindows([Limit(2, 1)])
    assert windows.admit(0.0)
    assert windows.admit(0.5)
    assert not windows.admit(0.999)
    assert windows.wait(0.75) == pytest.approx(0.25)
    assert windows.admit(1.0)
    assert not windows.admit(1.25)


def test_the_window_slides_and_does_not_start_afresh() -> None:
    windows = SlidingWindows([Limit(10, 1)])
    late = [windows.admit(0.95) for _ in range(10)]
    early = [windows.admit(1.05) for _ in range(10)]
    assert (sum(late), sum(early)) == (10, 0)


def test_all_limits_hold_at_once() -> None:
    windows = SlidingWindows([Limit(10, 1), Limit(15, 10)])
    admitted = sum(windows.admit(n / 10) for n in range(50))
    assert admitted == 15


def test_the_short_window_ends_exactly_too_while_a_longer_one_still_remembers() -> None:
    windows = SlidingWindows([Limit(1, 1), Limit(10, 10)])
    assert [windows.admit(at) for at in (0.0, 0.5, 1.0)] == [True, False, True]


def test_refused_requests_do_not_lock_the_client_out() -> None:
    windows = SlidingWindows([Limit(1, 1)])
    assert [windows.admit(t / 10) for t in range(11)] == [True] + [False] * 9 + [True]


def test_without_limits_everything_is_admitted() -> None:
    windows = SlidingWindows([])
    assert all(windows.admit(0.0) for _ in range(1000))
    assert windows.wait(0.0) == 0


@settings(deadline=None)
@given(st.lists(st.floats(0, 20), max_size=60), st.floats(0.01, 5))
def test_the_fullest_window_is_what_trying_every_start_finds(stamps: list[float], seconds: float) -> None:
    stamps.sort()
    by_hand = max((sum(0 <= b - a < seconds for b in stamps) for a in stamps), default=0)
    assert busiest(stamps, seconds) == by_hand


@settings(deadline=None)
@given(st.lists(st.floats(0, 20), max_size=200))
def test_what_is_admitted_never_exceeds_any_window(arrivals: list[float]) -> None:
    limits = [Limit(3, 1), Limit(8, 5)]
    windows = SlidingWindows(limits)
    admitted = [at for at in sorted(arrivals) if windows.admit(at)]
    assert all(busiest(admitted, limit.seconds) <= limit.requests for limit in limits)


def test_two_stamps_exactly_one_window_apart_are_not_in_one_window() -> None:
    assert busiest([0.0, 1.0], 1) == 1
    assert busiest([0.0, 0.9999], 1) == 2


def test_limits_are_read_from_text() -> None:
    assert parse_limits("10/1, 100/10") == (Limit(10, 1), Limit(100, 10))
    assert parse_limits("off") == parse_limits("") == ()


@pytest.mark.parametrize("text", ["10", "10/", "a/1", "0/1", "1/0", "-1/1", "10/1,"])
def test_what_is_not_a_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a limit"):
        parse_limits(text)


def test_a_steady_client_at_the_limit_uses_all_of_it() -> None:
    assert utilisation([n / 5 for n in range(500)], [Limit(50, 10)]) == pytest.approx(1.0)


def test_a_client_at_half_the_pace_uses_half() -> None:
    assert utilisation([n / 2.5 for n in range(500)], [Limit(50, 10)]) == pytest.approx(0.5)


def test_bursts_at_the_start_of_every_window_use_all_of_it() -> None:
    stamps = [10.0 * window for window in range(5) for _ in range(50)]
    assert utilisation(stamps, [Limit(50, 10)]) == 1.0


def test_the_tightest_limit_is_the_measure() -> None:
    stamps = [n / 5 for n in range(500)]
    assert utilisation(stamps, [Limit(10, 1), Limit(50, 10)]) == pytest.approx(1.0)
    assert utilisation(stamps, [Limit(10, 1)]) == pytest.approx(0.5)


def test_an_idle_stretch_is_left_out_unless_asked_for() -> None:
    steady = [n / 5 for n in range(251)]
    stamps = steady + [1000 + at for at in steady]
    assert utilisation(stamps, [Limit(50, 10)]) == pytest.approx(1.0)
    whole = utilisation(stamps, [Limit(50, 10)], cut_idle=False)
    assert whole is not None
    assert whole < 0.15


def test_what_fits_into_one_burst_counts_as_full_use_and_no_limit_as_no_figure() -> None:
    assert utilisation([0.0, 3.0], [Limit(50, 10)]) == 1.0
    assert utilisation([0.0], []) is None
    assert utilisation([], [Limit(50, 10)]) is None


def test_the_summary_tells_the_fullest_window_of_every_limit_and_whether_it_was_exceeded() -> None:
    record = Record()
    for n in range(12):
        arrival = record.arrive("dome", 100 + n * 0.09)
        arrival.status, arrival.limited = (200, False) if n < 10 else (429, True)
    summary = summarise(record.arrivals, [Limit(10, 1), Limit(100, 10)])
    assert summary["windows"] == [
        {"requests": 10, "seconds": 1, "max_count": 12, "exceeded": True},
        {"requests": 100, "seconds": 10, "max_count": 12, "exceeded": False},
    ]
    assert (summary["requests"], summary["served"], summary["throttled"], summary["sent_429"]) == (12, 10, 2, 2)


def test_request_numbers_go_on_after_a_reset_and_are_counted_by_upstream() -> None:
    record = Record()
    assert [record.arrive("dome", 0).number, record.arrive("dome", 1).number] == [0, 1]
    record.reset()
    assert record.arrivals == []
    assert (record.arrive("dome", 2).number, record.arrive("goldsky", 2).number) == (2, 0)
