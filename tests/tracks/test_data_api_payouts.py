"""The lane of resolutions from the Data API."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Page, Unit
from backfill.errors import PageTooLarge, Unreadable
from backfill.tracks.data_api_payouts import TRACK, DataApiPayouts
from backfill.tracks.values import reduced
from tests.tracks.lane_kit import reasons, rows, sample

LANE = DataApiPayouts()
ONE, TWO = "ab" * 32, "cd" * 32
UNIT = Unit(3, (ONE, TWO))


def resolution(name: str = ONE, payouts: Any = (1_000_000, 0), **more: Any) -> dict[str, Any]:
    at = "2026-09-09T21:19:19Z"
    return {"condition_id": f"0x{name}", "status": "resolved", "payouts": payouts, "resolved_at": at, **more}


def parse(*found: Any, unit: Unit = UNIT, **more: Any) -> Page:
    return LANE.parse(unit, None, orjson.dumps({"data": found, **more}))


def test_conditions_are_one_parameter() -> None:
    request = LANE.request(UNIT, None)
    assert (request.path, request.asked) == ("/v2/resolutions", 2)
    assert request.params == (("condition", f"0x{ONE},0x{TWO}"),)
    assert LANE.request(UNIT, "1/1").params == (("condition", f"0x{TWO}"),)


def test_a_recorded_resolution() -> None:
    document = sample("data-api/v2_resolutions.json")
    unit = Unit(0, tuple(row["condition_id"][2:] for row in document["data"]))
    (row,) = rows(LANE.parse(unit, None, orjson.dumps(document)))
    assert row == {
        "condition_id_norm": "789f0872f66cfffd21a33020e5c90e11f95f947e03be77ac2df7e86b0cb71527",
        "payout_numerators": [1, 0],
        "payout_denominator": 1,
        "resolved_at": 1788988759,
        "source": "data_api",
        "unit": 0,
    }


def test_recorded_pending_resolutions_give_no_row() -> None:
    document = sample("data-api/v2_resolutions_pending.json")
    unit = Unit(0, tuple(row["condition_id"][2:] for row in document["data"]))
    page = LANE.parse(unit, None, orjson.dumps(document))
    assert (page.lines, page.letters, page.asked) == ([], (), 2)


def test_an_even_split_stays_one() -> None:
    (row,) = rows(parse(resolution(payouts=[500_000, 500_000], resolved_at=None)))
    assert (row["payout_numerators"], row["payout_denominator"]) == ([1, 1], 2)
    assert "resolved_at" not in row


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (resolution(payouts=None), "field payouts: expected what a resolved condition pays, saw null"),
        (resolution(payouts=[0, 0]), "field payouts: expected what a resolved condition pays"),
        (resolution(payouts=[0.5, 0.5]), "field payouts: expected a whole number, saw 0.5"),
        (resolution(status=None), "field status: expected a value, saw null"),
        (resolution(status=7), "field status: expected text"),
        (resolution(resolved_at="later"), "field resolved_at: expected a time"),
        (resolution(condition_id="0x12"), "field condition_id: expected 0x and 64 hex digits"),
        (resolution("12" * 32), "was not asked for"),
        (None, "field (row): expected an object, saw null"),
    ],
)
def test_drift_is_named_and_the_rest_goes_on(broken: Any, named: str) -> None:
    page = parse(broken, resolution(TWO))
    assert [row["condition_id_norm"] for row in rows(page)] == [TWO]
    assert len(page.letters) == 1 and page.letters[0].reason.startswith(named), reasons(page)


def test_another_questions_answer_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="another question"):
        parse(resolution("12" * 32))
    for body in (b"", b"[]", b'{"data":{}}', b'{"error":"x"}'):
        with pytest.raises(Unreadable):
            LANE.parse(UNIT, None, body)


def test_a_list_that_says_it_is_cut_asks_for_less() -> None:
    with pytest.raises(PageTooLarge):
        parse(resolution(), pagination={"has_more": True})
    assert LANE.smaller(UNIT, None) == "0/1"


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6).filter(any), st.integers(1, 10**6))
@settings(max_examples=200)
def test_equal_payouts_are_written_alike(numerators: list[int], factor: int) -> None:
    lowest, total = reduced(numerators)
    assert reduced([each * factor for each in numerators]) == (lowest, total) == (lowest, sum(lowest))
    assert [each * sum(numerators) for each in lowest] == [each * total for each in numerators]


def test_no_payout_is_no_payout() -> None:
    for nothing in ([], [0, 0]):
        with pytest.raises(ValueError, match="zero"):
            reduced(nothing)


def test_the_track() -> None:
    assert (TRACK.scope, TRACK.upstream, TRACK.table) == ("conditions", "data_api", "staging.payouts_v2")
    assert TRACK.make(Config()).name == TRACK.name == "data_api_payouts"
