"""The lane of payouts from the pnl subgraph."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Page, Request, Unit
from backfill.errors import Unreadable
from backfill.tracks import graph
from backfill.tracks.goldsky_payouts import TRACK, GoldskyPayouts
from tests.tracks.lane_kit import reasons, rows, sample, walk

LANE = GoldskyPayouts("pnl/1")
ONE, TWO, THREE = "ab" * 32, "cd" * 32, "ef" * 32
UNIT = Unit(3, (ONE, f"0x{TWO.upper()}", THREE))


def condition(name: str, numerators: Any, denominator: Any = None) -> dict[str, Any]:
    total = str(sum(map(int, numerators))) if denominator is None else denominator
    return {"id": f"0x{name}", "payoutNumerators": numerators, "payoutDenominator": total}


def parse(*found: Any, unit: Unit = UNIT, cursor: str | None = None) -> Page:
    return LANE.parse(unit, cursor, orjson.dumps({"data": {graph.named("conditions", unit, cursor): found}}))


def test_conditions_are_asked_for_with_first() -> None:
    request = LANE.request(UNIT, None)
    assert (request.method, request.path, request.asked) == ("POST", "/pnl/1/gn", 3)
    document = orjson.loads(request.body or b"")
    assert document["variables"] == {"ids": [f"0x{ONE}", f"0x{TWO}", f"0x{THREE}"], "n": 3}
    assert "conditions(first:$n,where:{id_in:$ids})" in document["query"]


def test_payouts_are_in_lowest_terms_and_an_even_split_stays_one() -> None:
    page = parse(condition(ONE, ["0", "1"]), condition(TWO, ["5", "5"]), condition(THREE, ["54", "46"]))
    payouts = [(row["payout_numerators"], row["payout_denominator"]) for row in rows(page)]
    assert payouts == [([0, 1], 1), ([1, 1], 2), ([27, 23], 50)]
    assert rows(page)[0].keys() == {"condition_id_norm", "payout_numerators", "payout_denominator", "source", "unit"}
    assert (page.asked, page.letters, page.next) == (3, (), None)


def test_a_recorded_payout() -> None:
    found = sample("goldsky/pnl_condition.json")["data"]["condition"]
    (row,) = rows(parse(found, unit=Unit(0, (found["id"][2:],))))
    assert (row["payout_numerators"], row["payout_denominator"], row["source"]) == ([0, 1], 1, "goldsky")


def test_what_is_unresolved_gives_no_row_and_no_letter() -> None:
    page = parse(condition(ONE, [], "0"), condition(TWO, ["0", "0"], "0"))
    assert (page.lines, page.letters, page.asked) == ([], (), 3)


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (condition(ONE, ["1", "0"], "2"), "field payoutDenominator: expected the sum of payoutNumerators, 1, saw 2"),
        (condition(ONE, ["1", "x"], "1"), "field payoutNumerators: expected a whole number, saw 'x'"),
        (condition(ONE, ["1", -1], "1"), "field payoutNumerators: expected a whole number within"),
        (condition(ONE, "10", "1"), "field payoutNumerators: expected a list of whole numbers"),
        (condition(ONE, ["1", "0"], "") | {"payoutDenominator": None}, "field payoutDenominator: expected a value"),
        (condition(ONE, ["1", "0"], 1.0), "field payoutDenominator: expected a whole number, saw 1.0"),
        (condition("12", ["1", "0"]), "field id: expected 0x and 64 hex digits"),
        ("text", "field (row): expected an object"),
        (condition("12" * 32, ["1", "0"]), "was not asked for"),
    ],
)
def test_drift_is_named_and_the_rest_goes_on(broken: Any, named: str) -> None:
    page = parse(broken, condition(TWO, ["1", "0"]))
    assert [row["condition_id_norm"] for row in rows(page)] == [TWO]
    assert len(page.letters) == 1 and page.letters[0].reason.startswith(named)
    assert orjson.loads(page.letters[0].raw) == broken


def test_two_answers_for_one_condition_are_a_conflict() -> None:
    page = parse(condition(ONE, ["1", "0"]), condition(ONE, ["2", "0"]), condition(ONE, ["0", "1"]))
    assert [row["payout_numerators"] for row in rows(page)] == [[1, 0]]
    assert [letter.cls for letter in page.letters] == ["conflict"], reasons(page)


def test_an_answer_to_another_question_is_known_even_when_it_is_empty() -> None:
    with pytest.raises(Unreadable, match="another question"):
        parse(condition("12" * 32, ["1", "0"]))
    other = Unit(4, (ONE,))
    body = orjson.dumps({"data": {graph.named("conditions", other, None): []}})
    assert LANE.parse(other, None, body).asked == 1
    for unit, cursor in ((UNIT, None), (other, "0/1")):
        with pytest.raises(Unreadable):
            LANE.parse(unit, cursor, body)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)))
def test_every_payout_arrives_however_pages_shrink(size: int, resolved: set[int], known: set[int]) -> None:
    names = [f"{n:064x}" for n in range(size)]

    def reply(request: Request) -> bytes:
        document = orjson.loads(request.body or b"")
        alias = document["query"].partition("{")[2].partition(":")[0]
        asked = [int(each, 16) for each in document["variables"]["ids"]]
        found = [condition(names[n], ["1", "1"] if n in resolved else [], None) for n in asked if n in known | resolved]
        return orjson.dumps({"data": {alias: found}})

    walked = walk(LANE, Unit(0, tuple(names)), reply)
    assert {row["condition_id_norm"] for row in walked.rows} == {names[n] for n in resolved if n < size}
    assert walked.asked == size


def test_the_track() -> None:
    assert (TRACK.scope, TRACK.upstream, TRACK.table) == ("conditions", "goldsky", "staging.payouts_v2")
    assert TRACK.make(Config()).request(UNIT, None).path == "/pnl-subgraph/0.0.14/gn"
    assert LANE.smaller(UNIT, None) == "0/1" and LANE.smaller(UNIT, "0/1") is None
