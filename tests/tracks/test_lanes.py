"""The token lanes: what is asked, and how answers become rows, letters, or a smaller question."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Lane, Page, Unit
from backfill.errors import PageTooLarge, Unreadable
from backfill.tracks import batches
from backfill.tracks.dome_tokens import DomeTokens
from backfill.tracks.goldsky_tokens import GoldskyTokens
from backfill.tracks.tokens import TOKEN_TRACKS, enabled, lane

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples" / "dome"
CONDITION = "0x" + "aB" * 32
UNIT = Unit(7, ("11", "12", "13", "14"))
DOME, GOLDSKY = DomeTokens(), GoldskyTokens("activity/1")
LANES: list[Lane] = [DOME, GOLDSKY]


def market(a: object = "11", b: object = "12", **more: object) -> dict[str, object]:
    sides = {"side_a": {"id": a, "label": "Yes"}, "side_b": {"id": b, "label": "No"}}
    return {"market_slug": "a-market", "condition_id": CONDITION, **sides, "winning_side": None, **more}


def markets(*rows: object, **paging: object) -> bytes:
    return orjson.dumps({"markets": rows, "pagination": {"limit": 100, "total": len(rows), "has_more": False} | paging})


def position(token: object = "11", index: object = "0", **more: object) -> dict[str, object]:
    return {"id": token, "condition": CONDITION, "outcomeIndex": index, **more}


def positions(*rows: object) -> bytes:
    return orjson.dumps({"data": {"positions": rows}})


def rows(page: Page) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in page.lines]


def test_dome_asks_for_its_ids_and_always_says_the_limit() -> None:
    request = DOME.request(UNIT, None)
    assert request.params == (*(("token_id", item) for item in UNIT.items), ("limit", "100"))
    assert (request.method, request.path, request.asked) == ("GET", "/polymarket/markets", 4)
    assert DOME.request(UNIT, "2/1").params == (("token_id", "13"), ("limit", "100"))


def test_goldsky_asks_for_its_ids_and_always_says_first() -> None:
    for cursor, ids in ((None, ["11", "12", "13", "14"]), ("2/2", ["13", "14"]), ("3/1", ["14"])):
        request = GOLDSKY.request(UNIT, cursor)
        assert request.body is not None and request.path == "/activity/1/gn" and request.asked == len(ids)
        document = orjson.loads(request.body)
        assert document["variables"] == {"ids": ids, "n": len(ids)}
        assert "first:$n" in document["query"] and "id_in:$ids" in document["query"]


def test_a_market_gives_both_sides_that_were_asked_for() -> None:
    page = DOME.parse(UNIT, None, markets(market()))
    plain = {"condition_id_norm": "ab" * 32, "market_slug": "a-market", "source": "dome", "unit": 7}
    assert rows(page) == [
        {"token_id": "11", "outcome_index": 0, "outcome": "Yes", **plain},
        {"token_id": "12", "outcome_index": 1, "outcome": "No", **plain},
    ]
    assert (page.asked, page.letters, page.next) == (4, (), None)


def test_a_market_gives_only_the_side_that_was_asked_for() -> None:
    (row,) = rows(DOME.parse(UNIT, None, markets(market("99", "13"))))
    assert (row["token_id"], row["outcome_index"], row["outcome"]) == ("13", 1, "No")


@pytest.mark.parametrize("winner", [None, "Yes", {"id": "11", "label": "Yes"}, [], 7])
def test_the_shape_of_the_winning_side_does_not_matter(winner: object) -> None:
    assert len(DOME.parse(UNIT, None, markets(market(winning_side=winner))).lines) == 2


def test_what_dome_does_not_say_is_null_and_not_an_empty_text() -> None:
    bare = market(market_slug="")
    bare["side_a"] = {"id": "11", "label": ""}
    del bare["side_b"]
    bare["side_b"] = {"id": "12"}
    for row in rows(DOME.parse(UNIT, None, markets(bare))):
        assert row["outcome"] is None and row["market_slug"] is None


BROKEN_MARKETS: list[Any] = [
    "text",
    None,
    {},
    market(condition_id=None),
    market(condition_id="0x12"),
    market(condition_id="ab" * 32),
    market(condition_id="0x" + "zz" * 32),
    market(None, "12"),
    market("", "12"),
    market("011", "12"),
    market(11, "12"),
    market("11", str(2**256)),
    market("11x", "12"),
    market(side_a=None),
    market(side_b="12"),
    market(side_a={"id": "11", "label": 5}),
    market(market_slug=5),
]


@pytest.mark.parametrize("broken", BROKEN_MARKETS, ids=lambda row: orjson.dumps(row).decode()[-60:])
def test_a_broken_market_is_a_letter_with_its_raw_text_and_the_rest_goes_in(broken: object) -> None:
    page = DOME.parse(UNIT, None, markets(broken, market("13", "14")))
    assert [row["token_id"] for row in rows(page)] == ["13", "14"]
    (letter,) = page.letters
    assert (letter.cls, letter.unit, letter.track) == ("contract", 7, "dome_tokens")
    assert orjson.loads(letter.raw) == broken and letter.reason


def test_a_market_that_nobody_asked_for_is_a_letter() -> None:
    page = DOME.parse(UNIT, None, markets(market(), market("98", "99")))
    assert len(page.lines) == 2 and [letter.cls for letter in page.letters] == ["contract"]


@pytest.mark.parametrize(
    ("lane_", "body"),
    [
        (DOME, markets(market("98", "99"))),
        (GOLDSKY, positions(position("99"))),
        (DOME, markets(market("11", "99"), market("95", "96"), market("97", "98"))),
        (GOLDSKY, positions(position("11"), position("98"), position("99"))),
    ],
    ids=["dome", "goldsky", "dome, with one of ours by chance", "goldsky, with one of ours by chance"],
)
def test_an_answer_to_another_question_is_unreadable_and_not_empty(lane_: Lane, body: bytes) -> None:
    with pytest.raises(Unreadable, match="another question"):
        lane_.parse(UNIT, None, body)


@pytest.mark.parametrize("paging", [{"has_more": True}, {"total": 2}, {"total": 100, "has_more": True}])
def test_a_cut_answer_asks_for_less(paging: dict[str, object]) -> None:
    with pytest.raises(PageTooLarge):
        DOME.parse(UNIT, None, markets(market(), **paging))


def test_an_answer_without_paging_could_be_cut_so_it_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="pagination"):
        DOME.parse(UNIT, None, orjson.dumps({"markets": [market()]}))


def test_a_repeated_market_is_one_row() -> None:
    page = DOME.parse(UNIT, None, markets(market(), market(), total=2))
    assert len(page.lines) == 2 and not page.letters


def test_a_token_that_is_answered_twice_differently_keeps_the_first_and_a_letter() -> None:
    other = market(condition_id="0x" + "cd" * 32)
    page = DOME.parse(UNIT, None, markets(market(), other))
    assert {row["condition_id_norm"] for row in rows(page)} == {"ab" * 32}
    assert {letter.cls for letter in page.letters} == {"conflict"}
    assert all(orjson.loads(letter.raw) == other for letter in page.letters)
    again = GOLDSKY.parse(UNIT, None, positions(position(index="0"), position(index="1")))
    assert [row["outcome_index"] for row in rows(again)] == [0]
    assert [letter.cls for letter in again.letters] == ["conflict"]


def test_positions_become_rows() -> None:
    page = GOLDSKY.parse(UNIT, None, positions(position("11", "0"), position("12", "1"), position("13", 2)))
    plain = {"condition_id_norm": "ab" * 32, "source": "goldsky", "unit": 7}
    assert rows(page) == [{"token_id": str(11 + n), "outcome_index": n, **plain} for n in range(3)]
    assert (page.asked, page.letters, page.next) == (4, (), None)


@pytest.mark.parametrize("index", ["0", 0, "1", 1, "7", 7, "255", 255])
def test_an_index_may_be_text_or_a_number(index: object) -> None:
    (row,) = rows(GOLDSKY.parse(UNIT, None, positions(position(index=index))))
    assert row["outcome_index"] == int(str(index))


BROKEN_POSITIONS: list[Any] = [
    position(index=None),
    position(index=True),
    position(index="-1"),
    position(index="1.0"),
    position(index=1.0),
    position(index="256"),
    position(index=""),
    position(index=[]),
    position(index="²"),
    position(None),
    position(11),
    position("0x0b"),
    position(str(2**256)),
    position(condition=None),
    position(condition="0x"),
    position(condition="ab" * 33),
    position(condition="0x" + "a " * 32),
    position(condition={}),
    position("99"),
    {},
    None,
    "text",
    7,
    [],
]


@pytest.mark.parametrize("broken", BROKEN_POSITIONS, ids=lambda row: orjson.dumps(row).decode()[:60])
def test_a_broken_position_is_a_letter_with_its_raw_text_and_the_rest_goes_in(broken: object) -> None:
    page = GOLDSKY.parse(UNIT, None, positions(broken, position("14")))
    assert [row["token_id"] for row in rows(page)] == ["14"]
    (letter,) = page.letters
    assert (letter.cls, letter.unit, letter.track) == ("contract", 7, "goldsky_tokens")
    assert orjson.loads(letter.raw) == broken and letter.reason


def test_a_repeated_position_is_one_row() -> None:
    page = GOLDSKY.parse(UNIT, None, positions(position(), position(), position(index=0)))
    assert len(page.lines) == 1 and not page.letters


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"<html>", b'{"data":null}', b'{"markets":{}}', b'{"x":1}']
)
@pytest.mark.parametrize("lane_", LANES, ids=["dome", "goldsky"])
def test_an_answer_that_is_no_answer_is_unreadable_with_its_bytes(lane_: Lane, body: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        lane_.parse(UNIT, None, body)
    assert caught.value.raw == body


@pytest.mark.parametrize(("lane_", "body"), [(DOME, markets()), (GOLDSKY, positions())], ids=["dome", "goldsky"])
def test_an_empty_answer_is_an_empty_page(lane_: Lane, body: bytes) -> None:
    page = lane_.parse(UNIT, None, body)
    assert (page.lines, page.asked, page.letters, page.next) == ((), 4, (), None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ID = st.sampled_from([*UNIT.items, "99"]) | JSON
POSITIONS = st.builds(position, ID, st.sampled_from(["0", "1", 0]) | JSON) | JSON
MARKETS = st.builds(market, ID, ID) | st.builds(market, ID, ID, condition_id=JSON, market_slug=JSON) | JSON


def nothing_lost(parse: Callable[[], Page], count: int, gives: int) -> None:
    try:
        page = parse()
    except Unreadable:
        return
    tokens = [row["token_id"] for row in rows(page)]
    assert len(tokens) == len(set(tokens)) and set(tokens) <= set(UNIT.items)
    assert all(len(row["condition_id_norm"]) == 64 and isinstance(row["outcome_index"], int) for row in rows(page))
    assert len(page.lines) <= gives * count and len(page.letters) <= gives * count


@settings(deadline=None, max_examples=150)
@given(st.lists(POSITIONS, max_size=6))
def test_no_position_breaks_the_lane_and_none_goes_missing(found: list[object]) -> None:
    nothing_lost(lambda: GOLDSKY.parse(UNIT, None, positions(*found)), len(found), 1)
    distinct = {orjson.dumps(row) for row in found}
    if len(distinct) == len(found) and not any(isinstance(row, dict) and row.get("id") in UNIT.items for row in found):
        with suppress(Unreadable):
            assert len(GOLDSKY.parse(UNIT, None, positions(*found)).letters) == len(found)


@settings(deadline=None, max_examples=150)
@given(st.lists(MARKETS, max_size=6))
def test_no_market_breaks_the_lane(found: list[object]) -> None:
    nothing_lost(lambda: DOME.parse(UNIT, None, markets(*found)), len(found), 2)


@settings(deadline=None, max_examples=200)
@given(st.sets(st.sampled_from(UNIT.items)), st.lists(st.sampled_from(BROKEN_POSITIONS[:-6]), max_size=4))
def test_decoded_rows_are_lines_and_letters(good: set[str], broken: list[object]) -> None:
    answer = [*(position(token) for token in sorted(good)), *broken]
    if good or not any(isinstance(row, dict) and row.get("id") == "99" for row in broken):
        page = GOLDSKY.parse(UNIT, None, positions(*answer))
        assert len(page.lines) + len(page.letters) == len(answer)


def test_plain_and_careful_reading_give_the_same_row() -> None:
    (plain,) = GOLDSKY.parse(UNIT, None, positions(position("11", "1"))).lines
    (careful,) = GOLDSKY.parse(UNIT, None, positions(position("11", 1))).lines
    assert plain == careful


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 60), st.lists(st.booleans(), max_size=60))
def test_cursors_cover_the_unit_exactly_however_pages_shrink(size: int, too_large: list[bool]) -> None:
    unit = Unit(0, tuple(map(str, range(size))))
    refusals, covered, cursor = iter(too_large), list[str](), None
    for _ in range(500):
        if next(refusals, False) and (smaller := batches.smaller(unit, cursor)) is not None:
            assert 0 < len(batches.asked(unit, smaller)) <= len(batches.asked(unit, cursor))
            assert batches.window(unit, smaller)[1] < batches.window(unit, cursor)[1]
            cursor = smaller
            continue
        covered += batches.asked(unit, cursor)
        cursor = batches.following(unit, cursor)
        if cursor is None:
            break
    assert covered == list(unit.items)


@pytest.mark.parametrize("lane_", LANES, ids=["dome", "goldsky"])
def test_pages_shrink_to_one_and_then_no_more(lane_: Lane) -> None:
    sizes, cursor = [], None
    while (cursor := lane_.smaller(UNIT, cursor)) is not None:
        sizes.append(lane_.request(UNIT, cursor).asked)
    assert sizes == [2, 1]


def test_the_lanes_of_the_dataset() -> None:
    config = Config()
    assert enabled(config) == tuple(TOKEN_TRACKS) == ("dome_tokens", "goldsky_tokens")
    assert [lane(name, config).name for name in TOKEN_TRACKS] == list(TOKEN_TRACKS)
    assert lane("goldsky_tokens", config).request(UNIT, None).path == "/activity-subgraph/0.0.4/gn"


@pytest.mark.parametrize("name", ["markets_open_2025-12-23.json", "market_single_2025-12-23.json", "docs/markets.json"])
def test_recorded_markets_give_both_sides(name: str) -> None:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST RECORDED MARKETS: {path} is not here")
    found = list(_recorded(orjson.loads(path.read_bytes())))
    assert found
    tokens = tuple(row[side]["id"] for row in found for side in ("side_a", "side_b"))
    page = DOME.parse(Unit(1, tokens), None, markets(*found))
    assert not page.letters, [letter.reason for letter in page.letters]
    assert [row["token_id"] for row in rows(page)] == list(tokens)
    assert [row["outcome_index"] for row in rows(page)] == [0, 1] * len(found)
    assert all(row["outcome"] and row["market_slug"] for row in rows(page))


def _recorded(value: Any) -> Any:
    """Every market row in a recorded file, however it is wrapped."""
    if isinstance(value, dict) and {"side_a", "condition_id"} <= value.keys():
        if batches.is_token(value["side_a"].get("id")):
            yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _recorded(inner)
