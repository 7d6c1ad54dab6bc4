"""When to try again: what upstreams ask for, the jitter, the budget, and when an upstream counts as away or gone."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import AsyncRetrying, RetryCallState

from backfill.engine.health import Health, Missing
from backfill.engine.retry import MAX_WAIT_S, Budget, FullJitter, Policy, retry_after, spread
from backfill.errors import PageTooLarge, Throttled, Unavailable, UpstreamUnusable

NOW = dt.datetime(2026, 11, 21, 10, 0, 0, tzinfo=dt.UTC)
HERE = "Sat, 21 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0.5 "}, 0.5),
        ({"Retry-After": "Sat, 21 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"Retry-After": "Sat, 21 Nov 2026 09:59:00 GMT"}, 0.0),
        # Our clock is an hour off: the answer's own Date counts.
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:10 GMT", "Date": "Sat, 21 Nov 2026 11:00:00 GMT"}, 10.0),
        ({"Retry-After": "99999999"}, MAX_WAIT_S),
        ({"Retry-After": "inf"}, MAX_WAIT_S),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 12)}, 12.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) - 12)}, 0.0),
        ({"x-ratelimit-reset": "rubbish"}, None),
        ({"Retry-After": "3", "x-ratelimit-reset": "1"}, 3.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 5), "Date": HERE}, 5.0),
    ],
)
def test_what_the_headers_ask_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_header_text_breaks_us_or_makes_us_wait_for_ever(said: str, date: str, reset: str) -> None:
    seconds = retry_after({"Retry-After": said, "Date": date, "x-ratelimit-reset": reset}, NOW)
    assert seconds is None or 0 <= seconds <= MAX_WAIT_S


def after_failure(error: Exception, attempt: int) -> RetryCallState:
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    return state


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 60), st.none() | st.floats(0, 100))
def test_waits_are_full_jitter_but_never_less_than_asked(attempt: int, asked: float | None) -> None:
    policy = Policy()
    wait = FullJitter(policy)(after_failure(Throttled("slow", wait_s=asked), attempt))
    bound = min(policy.cap_s, policy.base_s * 2 ** (attempt - 1))
    assert (asked or 0.0) <= wait <= max(asked or 0.0, bound)


def test_jitter_is_full_so_that_workers_do_not_return_together() -> None:
    waits = [FullJitter(Policy())(after_failure(Unavailable("x"), 4)) for _ in range(400)]
    assert min(waits) < 0.25 and 1.75 < max(waits) <= 2
    assert len({round(wait, 6) for wait in waits}) > 390


@given(st.floats(0, MAX_WAIT_S))
def test_a_shared_wait_is_a_little_longer_than_asked(seconds: float) -> None:
    assert seconds <= spread(seconds) <= seconds + 1


def test_retries_are_a_share_of_the_successes_and_a_reserve() -> None:
    budget = Budget(Policy(budget=3, budget_share=0.5))
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    budget.earned()
    assert not budget.spend()
    budget.earned()
    assert budget.spend() and not budget.spend()
    for _ in range(100):
        budget.earned()
    assert budget.left == 3


def health(*, ended: bool = False, policy: Policy | None = None) -> Health:
    return Health("dome", policy or Policy(), ended=ended, now=0.0)


def test_the_circuit_opens_after_failures_in_a_row_and_closes_with_a_success() -> None:
    found = health(policy=Policy(open_after=3))
    for at in (1.0, 2.0):
        found.failed(Unavailable("x"), at)
        assert not found.away
    found.failed(Unavailable("x"), 3.0)
    found.failed(Unavailable("x"), 4.0)
    assert found.away and found.away_since == 3.0
    found.succeeded()
    assert not found.away


def test_a_success_in_between_keeps_the_circuit_closed() -> None:
    found = health(policy=Policy(open_after=3))
    for at in range(20):
        found.failed(Unavailable("x"), at)
        found.failed(Unavailable("x"), at)
        found.succeeded()
    assert not found.away


def test_a_used_up_budget_opens_the_circuit_and_a_return_refills_it() -> None:
    found = health(policy=Policy(open_after=1000, budget=4, budget_share=0))
    for at in range(5):
        assert not found.away
        found.failed(Unavailable("x"), at)
    assert found.away
    found.succeeded()
    assert found.budget.left >= 1


def test_probes_of_an_upstream_that_is_away_come_ever_more_rarely() -> None:
    found = health()
    waits = [found.next_probe() for _ in range(40)]
    assert waits == sorted(waits) and waits[1] == 2 * waits[0] and waits[-1] == Policy().probe_cap_s
    found.succeeded()
    assert found.next_probe() == waits[0]


def test_a_pause_that_was_asked_for_holds_everybody_and_is_never_shortened() -> None:
    found = health()
    pause = found.failed(Throttled("slow", wait_s=30.0), 10.0)
    assert pause is not None and 30 <= pause <= 31
    assert 30 <= found.hold(10.0) <= 31
    found.failed(Throttled("slow", wait_s=1.0), 11.0)
    assert found.hold(11.0) >= 29
    assert found.hold(50.0) == 0
    assert not found.away


def test_complaints_without_a_wait_double_it() -> None:
    found = health()
    pauses = [found.failed(Throttled("slow"), 0.0) or 0.0 for _ in range(5)]
    assert all(math.isclose(pause, 0.25 * 2 ** (n + 1), abs_tol=0.45 + 0.05 * 2**n) for n, pause in enumerate(pauses))
    assert pauses[4] > 3 * pauses[1]


def test_a_page_that_is_too_large_says_nothing_against_the_upstream() -> None:
    found = health(policy=Policy(open_after=1))
    assert found.failed(PageTooLarge("timed out"), 0.0) is None
    assert not found.away


def test_404_to_everything_means_retired() -> None:
    found = health()
    found.failed(Missing("HTTP 404"), 0.0)
    found.failed(Missing("HTTP 404"), 1.0)
    with pytest.raises(UpstreamUnusable) as caught:
        found.failed(Missing("HTTP 404"), 2.0)
    assert caught.value.kind == "retired"


@pytest.mark.parametrize("other", ["success", "error"])
def test_404_once_in_a_while_does_not(other: str) -> None:
    found = health()
    for at in range(20):
        found.failed(Missing("HTTP 404"), at)
        found.succeeded() if other == "success" else found.failed(Unavailable("HTTP 500"), at)
        found.succeeded()
    assert not found.away


def unreachable(found: Health, until: float) -> None:
    for at in range(int(until)):
        found.failed(Unavailable("no connection", reached=False), float(at))


def test_no_connection_ever_after_the_end_of_life_means_retired() -> None:
    found = health(ended=True)
    unreachable(found, 20)
    with pytest.raises(UpstreamUnusable, match="end of life"):
        found.failed(Unavailable("no connection", reached=False), 20.5)


def test_no_connection_without_an_end_of_life_is_only_away() -> None:
    found = health(ended=False)
    unreachable(found, 500)
    assert found.away


def test_no_connection_to_one_that_answered_before_is_only_away() -> None:
    found = health(ended=True)
    found.failed(Unavailable("HTTP 503", reached=True), 0.0)
    unreachable(found, 500)
    assert found.away
