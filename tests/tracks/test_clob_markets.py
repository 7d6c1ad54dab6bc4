"""The lane of the order book's listing: computed cursors, pages of any size, stretches that meet without a gap."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill import ids
from backfill.config import Config
from backfill.engine.model import Request, Unit
from backfill.errors import Unreadable
from backfill.tracks.clob_markets import OPEN_END, TRACK, ClobMarkets, cursor_of, offset_of
from tests.tracks.lane_kit import reasons, rows, sample, walk

LANE = ClobMarkets()
REST = Unit(0, (f"0-{OPEN_END}",))
OVER = "LTE="


def market(number: int = 1, **more: Any) -> dict[str, Any]:
    tokens = [{"token_id": str(2 * number + n + 11), "outcome": label} for n, label in enumerate(("Yes", "No"))]
    facts = {"condition_id": f"0x{number:064x}", "question_id": "", "market_slug": f"m{number}", "tokens": tokens}
    return {**facts, "neg_risk": False, "tags": None, "end_date_iso": None, **more}


def blank() -> dict[str, Any]:
    return market(condition_id="", tokens=[{"token_id": "", "outcome": ""}, {"token_id": "", "outcome": ""}])


def answer(markets: list[Any], following: str, *, limit: int = 100, count: int | None = None) -> bytes:
    counted = len(markets) if count is None else count
    return orjson.dumps({"limit": limit, "count": counted, "next_cursor": following, "data": markets})


def test_cursors_are_computed_as_the_upstream_has_them() -> None:
    assert (cursor_of(0), cursor_of(100), offset_of(OVER), offset_of("MTAw")) == ("MA==", "MTAw", -1, 100)
    assert offset_of("?") is None and offset_of("eA==") is None
    unit = Unit(3, ("100-300",))
    assert LANE.request(unit, None).params == (("next_cursor", "MTAw"),)
    assert LANE.request(unit, "200").params == LANE.request(unit, "200 7").params == (("next_cursor", "MjAw"),)


def test_a_recorded_page_is_read_and_says_where_it_ends() -> None:
    found = sample("clob/markets_page_first3.json")
    body = orjson.dumps(found | {"count": len(found["data"]), "next_cursor": cursor_of(len(found["data"]))})
    page = LANE.parse(REST, None, body)
    assert not page.letters and page.next == "3"
    for row, source in zip(rows(page), found["data"], strict=True):
        assert row["condition_id_norm"] == source["condition_id"][2:] and row["neg_risk"] == 0
        assert row["token_ids"] == [str(each) for each in ids.token_ids(row["condition_id_norm"])]
        assert row["outcomes"] == ["Yes", "No"] and row["tags"] == source["tags"]
    assert rows(page)[0]["end_at"] == 1725926400 and "start_at" not in rows(page)[0]


def test_real_markets_are_read_and_their_tokens_are_their_conditions() -> None:
    found = [
        *sample("alpharaccoon_clob_markets.json.gz"),
        sample("clob/market_closed_accepting_true.json"),
        sample("clob/market_closed_accepting_false.json"),
    ]
    page = LANE.parse(REST, None, answer(found, cursor_of(len(found))))
    assert not page.letters and len(page.lines) == len(found) == 61
    for row in rows(page):
        collateral = ids.WCOL if row["neg_risk"] else ids.USDC_E
        assert row["token_ids"] == [str(each) for each in ids.token_ids(row["condition_id_norm"], collateral)]
        assert ("neg_risk_market_id" in row) == bool(row["neg_risk"])


def test_the_blank_row_is_no_market_and_a_row_half_blank_is_a_letter() -> None:
    half = market(2, condition_id="")
    odd = market(3, tokens=[{"token_id": "11", "outcome": "Yes"}, {"token_id": "", "outcome": "No"}])
    page = LANE.parse(REST, None, answer([blank(), half, odd, market(4)], cursor_of(4)))
    assert [row["market_slug"] for row in rows(page)] == ["m4"]
    assert [reason.split(":")[0] for reason in reasons(page)] == ["field condition_id", "field tokens.token_id"]


def test_labels_never_shift() -> None:
    tokens = [{"token_id": "11", "outcome": ""}, {"token_id": "12", "outcome": "No"}]
    (row,) = rows(LANE.parse(REST, None, answer([market(tokens=tokens)], cursor_of(1))))
    assert (row["outcomes"], row["token_ids"]) == ([], ["11", "12"])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"condition_id": "0xzz"}, "field condition_id: expected 0x and 64 hex digits"),
        ({"tokens": {"yes": "1"}}, "field tokens: expected a list of objects"),
        ({"tokens": [{"token_id": 11, "outcome": "Yes"}]}, "field token_id: expected text, saw 11 (number)"),
        ({"neg_risk": 0}, "field neg_risk: expected true or false, saw 0 (number)"),
        ({"tags": "Politics"}, "field tags: expected a list of texts"),
        ({"end_date_iso": "whenever"}, "field end_date_iso: expected a time"),
    ],
)
def test_drift_is_named_and_the_rest_goes_on(changed: dict[str, Any], named: str) -> None:
    page = LANE.parse(REST, None, answer([market() | changed, market(2)], cursor_of(2)))
    assert [row["market_slug"] for row in rows(page)] == ["m2"]
    assert len(page.letters) == 1 and page.letters[0].reason.startswith(named)


def test_a_page_from_elsewhere_is_unreadable() -> None:
    for following in (cursor_of(700), "?", 5):
        with pytest.raises(Unreadable, match="another question"):
            LANE.parse(REST, "100", answer([market()], following))  # type: ignore[arg-type]
    with pytest.raises(Unreadable, match="another question"):
        LANE.read_end(answer([market()], cursor_of(700)), 100)
    with pytest.raises(Unreadable, match="though the listing is longer"):
        LANE.parse(Unit(0, ("0-300",)), "100", answer([market()], OVER))
    with pytest.raises(Unreadable, match="though the listing is longer"):
        LANE.parse(Unit(0, ("0-300",)), "100", answer([], OVER))
    with pytest.raises(Unreadable, match="though the listing is longer"):
        LANE.parse(REST, None, answer([], OVER, count=100))


def test_the_end_is_told_by_a_probe() -> None:
    assert LANE.end_probe(2000) == LANE.request(Unit(0, ("2000-3000",)), None)
    assert LANE.read_end(answer([], OVER, limit=1000)) == (0, 1000)
    assert LANE.read_end(answer([market()] * 3, OVER, limit=1000), 7) == (3, 1000)
    with pytest.raises(Unreadable):
        LANE.read_end(orjson.dumps({"data": []}))


def upstream(total: int, size: int, cut: set[int], *, said: bool) -> Callable[[Request], bytes]:
    """A listing; requests numbered in `cut` get half a page: `said` (the cursor follows from it), or as if it ended."""
    numbers = iter(range(10**6))

    def reply(request: Request) -> bytes:
        offset = offset_of(dict(request.params)["next_cursor"])
        assert offset is not None
        found = [blank() if n % 7 == 5 else market(n) for n in range(offset, min(offset + size, total))]
        if next(numbers) in cut and len(found) > 1:
            found = found[: len(found) // 2]
            return answer(found, cursor_of(offset + len(found)) if said else OVER, limit=size)
        return answer(found, cursor_of(offset + size) if offset + size < total else OVER, limit=size)

    return reply


EVERY_THIRD = st.sets(st.integers(0, 9).map(lambda n: 3 * n), max_size=6)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 90), st.integers(1, 30), st.integers(1, 40), EVERY_THIRD, st.booleans())
def test_stretches_together_are_the_listing(total: int, size: int, step: int, cut: set[int], said: bool) -> None:
    bounds = [*range(0, max(total - 1, 0) // step * step + 1, step), OPEN_END]
    reply, slugs = upstream(total, size, cut, said=said), list[str]()
    for number, (start, end) in enumerate(pairwise(bounds)):
        walked = walk(LANE, Unit(number, (f"{start}-{end}",)), reply)
        assert not walked.letters and walked.asked == 1
        found = [row["market_slug"] for row in walked.rows]
        assert end == OPEN_END or len(found) == len(set(found)), "a row is read twice"
        slugs += dict.fromkeys(found)
    assert sorted(slugs) == sorted(f"m{n}" for n in range(total) if n % 7 != 5)


def test_the_end_of_the_listing_is_believed_when_it_is_said_twice() -> None:
    walked = walk(LANE, REST, upstream(250, 100, set(), said=False))
    assert len(walked.requests) == 4 and len(walked.rows) == sum(n % 7 != 5 for n in range(250))


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"markets":[]}', b'{"data":{}}', b"error code: 1015"])
def test_what_is_no_page_is_unreadable_with_its_bytes(body: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        LANE.parse(REST, None, body)
    assert caught.value.raw == body


def test_the_track() -> None:
    assert (TRACK.scope, TRACK.upstream, TRACK.table) == ("offsets", "clob", "staging.markets_v2")
    assert TRACK.make(Config()).name == TRACK.name == "clob_markets"
