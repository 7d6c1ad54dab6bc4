"""The lane that computes token ids: the ids that Polymarket published, and none that nobody knows to exist."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill import ids
from backfill.config import Config
from backfill.engine.model import Unit
from backfill.errors import Unreadable
from backfill.tracks.derive_tokens import TRACK, DeriveTokens, derive
from tests.tracks.lane_kit import rows, sample, walk

LANE = DeriveTokens()
CONDITION = "ab" * 32


def test_published_tokens_are_computed() -> None:
    vectors = sample("chain/token_id_vectors.json")["vectors"]
    items = tuple(f"{each['condition_id'][2:]}/{int(each['neg_risk'])}" for each in vectors)
    walked = walk(LANE, Unit(4, items), lambda request: derive(request.body or b""))
    by_condition: dict[str, list[str]] = {}
    for row in walked.rows:
        assert (row["source"], row["proven"], row["unit"]) == ("derive", 1, 4)
        assert row["outcome_index"] == len(by_condition.setdefault(row["condition_id_norm"], []))
        by_condition[row["condition_id_norm"]].append(row["token_id"])
    assert len(vectors) >= 11 and walked.asked == len(items) and not walked.letters
    for each in vectors:
        assert by_condition[each["condition_id"][2:]] == each["token_ids"][:2]


def test_the_request_is_for_nobody_but_us() -> None:
    request = LANE.request(Unit(0, (f"{CONDITION}/0", CONDITION)), None)
    assert (request.method, request.asked) == ("LOCAL", 2)
    assert orjson.loads(request.body or b"") == [f"{CONDITION}/0", CONDITION]
    assert TRACK.compute is derive and TRACK.upstream == "local"


def test_where_the_collateral_is_unknown_no_token_is_made_up() -> None:
    walked = walk(LANE, Unit(0, (CONDITION, f"0x{CONDITION.upper()}/1")), lambda request: derive(request.body or b""))
    assert [row["token_id"] for row in walked.rows] == [str(each) for each in ids.token_ids(CONDITION, ids.WCOL)]
    assert {row["condition_id_norm"] for row in walked.rows} == {CONDITION}
    assert walked.asked == 2 and not walked.letters


@pytest.mark.parametrize("item", ["12", "ab" * 31 + "zz/0", f"{CONDITION}/2", f"{CONDITION}/yes", "/0"])
def test_what_is_no_condition_is_a_letter(item: str) -> None:
    page = LANE.parse(Unit(0, (item,)), None, derive(orjson.dumps([item])))
    assert not page.lines and [letter.raw for letter in page.letters] == [item]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8, unique=True), st.integers(0, 1))
def test_every_row_proves_itself(conditions: list[bytes], flag: int) -> None:
    unit = Unit(0, tuple(f"{each.hex()}/{flag}" for each in conditions))
    for row in walk(LANE, unit, lambda request: derive(request.body or b"")).rows:
        verdict = ids.judge(int(row["token_id"]), row["condition_id_norm"], row["outcome_index"])
        # An id may be too small to be told from a number that was made otherwise: once in 2^56.
        assert verdict.result == "proven"


def test_an_answer_of_another_length_is_unreadable() -> None:
    for body in (b"[]", b"[[],[]]", b"{}", b"x"):
        with pytest.raises(Unreadable):
            LANE.parse(Unit(0, (CONDITION,)), None, body)


def test_pages_halve_and_go_on() -> None:
    unit = Unit(0, tuple(f"{n:064x}/0" for n in range(5)))
    assert LANE.smaller(unit, None) == "0/2"
    page = LANE.parse(unit, "0/2", derive(LANE.request(unit, "0/2").body or b""))
    assert (len(rows(page)), page.asked, page.next) == (4, 2, "2/2")


def test_the_track() -> None:
    assert (TRACK.scope, TRACK.table) == ("conditions", "staging.clob_asset_map_derived")
    assert TRACK.make(Config()).name == TRACK.name == "derive_tokens"
