"""The lane of Gamma's listings: its quirks, and its end, which only a missing cursor marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill import ids
from backfill.config import Config
from backfill.engine.model import Request, Unit
from backfill.errors import Unreadable
from backfill.tracks.gamma_markets import TRACK, GammaMarkets
from tests.tracks.lane_kit import reasons, recorded, rows, sample, sample_lines, walk

LANE = GammaMarkets()
OPEN, CLOSED = Unit(0, ("open",)), Unit(1, ("closed",))
CONDITION = "0x" + "ab" * 32


def answer(*markets: Any, after: str | None = None) -> bytes:
    return orjson.dumps({"markets": markets} | ({"next_cursor": after} if after else {}))


def market(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"conditionId": f"0x{number:064x}", "closed": False, "slug": f"m{number}", **more}


def test_a_listing_is_asked_for_page_by_page() -> None:
    first, later = LANE.request(OPEN, None), LANE.request(CLOSED, "abc=")
    assert (first.method, first.path) == ("GET", "/markets/keyset")
    assert first.params == (("closed", "false"), ("limit", "100"))
    assert later.params == (("closed", "true"), ("limit", "100"), ("after_cursor", "abc="))
    assert LANE.smaller(OPEN, None) is None


def test_recorded_markets_are_read() -> None:
    for name, closed in (
        ("gamma/market_btc_updown_5m.json", False),
        ("gamma/market_closed_resolved_yes.json", True),
        ("gamma/market_legacy_nonbinary.json", True),
        ("gamma/market_legacy_zero_zero_prices.json", True),
    ):
        page = LANE.parse(CLOSED if closed else OPEN, None, answer(sample(name), after="x"))
        assert not page.letters, reasons(page)
        (row,) = rows(page)
        assert len(row["condition_id_norm"]) == 64 and len(row["token_ids"]) == len(row["outcomes"]) == 2
        assert row["source"] == "gamma" and row["closed"] == int(closed)


def test_every_fact_of_a_recorded_market() -> None:
    found = sample("gamma/market_closed_sports_v1_with_positionIds.json")
    (row,) = rows(LANE.parse(CLOSED, None, answer(found, after="x")))
    assert row == {
        "condition_id_norm": "c7528fbf34f6690317786bb55ba14f6af6a388721f34cbecedaf0d1254e34e8e",
        "question_id": "0xacfc6d3b9ba3c516937eb4815602ee79cefcb0fe215e092368ccfdf03e4b437f",
        "market_slug": "kor-gwa-jej-2026-09-09-team-total-away-0pt5",
        "oracle": "0x65070be91477460d8a7aeeb94ef92fe056c2f2a7",
        "neg_risk": 0,
        "outcomes": ["Over", "Under"],
        "token_ids": [
            "44871785249965661354040520708695197583096446892727680375407349954334221467517",
            "62519124713633742581104728580581515203181220954731613638552641852676277934263",
        ],
        "tags": [],
        "end_at": 1788949800,
        "closed_at": 1788963904,
        "volume_usd": "1000.000000",
        "fee_rate": "0.050000000",
        "fee_exponent": "1.000000000",
        "fee_taker_only": 1,
        "uma_status": "resolved",
        "source": "gamma",
        "unit": 1,
    }


def test_a_recorded_group_names_its_event() -> None:
    event = sample("gamma/event_negrisk_2_markets.json")[0]
    event = event if isinstance(event, dict) else event[0]
    markets = [
        each | {"events": [{key: event[key] for key in ("slug", "negRiskMarketID")}]} for each in event["markets"]
    ]
    for row in rows(LANE.parse(OPEN, None, answer(*markets, after="x"))):
        assert row["event_slug"] == event["slug"] and row["neg_risk"] == 1
        assert row["neg_risk_market_id"] == event["negRiskMarketID"]
        expected = ids.token_ids(row["condition_id_norm"], ids.WCOL)
        assert row["token_ids"] == [str(each) for each in expected]


def test_real_markets_of_all_kinds_are_read_and_the_collateral_is_proven_where_the_flag_is_missing() -> None:
    found = sample_lines("raw_gamma_markets_sample.jsonl.gz")
    known = [each for each in found if each.get("conditionId")]
    assert len(known) == len(found) - 1, "one row was never put on the chain"
    for unit, listing in ((OPEN, [m for m in found if not m["closed"]]), (CLOSED, [m for m in found if m["closed"]])):
        page = LANE.parse(unit, None, answer(*listing, after="x"))
        assert not page.letters, reasons(page)
        made = rows(page)
        assert len(made) == sum(bool(each.get("conditionId")) for each in listing)
        for row in made:
            if row["token_ids"]:
                collateral = ids.WCOL if row["neg_risk"] else ids.USDC_E
                assert int(row["token_ids"][0]) == ids.position_id(row["condition_id_norm"], 0, collateral)
    said = {f"0x{row['condition_id_norm']}" for row in known and made if "neg_risk" in row}
    missing = {each["conditionId"] for each in known if "negRisk" not in each and each.get("clobTokenIds")}
    assert missing & said, "no market without the flag was proven"


def test_a_real_page_of_the_open_listing_is_read() -> None:
    page_file = orjson.loads(recorded("raw_gamma_active_markets_page_00893_offset_00022325.json.gz"))
    (markets,) = [value for value in page_file.values() if isinstance(value, list)]
    page = LANE.parse(OPEN, None, answer(*markets, after="x"))
    assert len(page.lines) == len(markets) > 0 and not page.letters


def test_rows_that_were_never_on_the_chain_are_no_markets_and_nothing_else_is_dropped() -> None:
    page = LANE.parse(OPEN, None, answer(market(conditionId=""), market(conditionId=None), market(2), after="x"))
    assert len(page.lines) == 1 and not page.letters
    broken = market(conditionId="", clobTokenIds='["11","12"]')
    page = LANE.parse(OPEN, None, answer(broken, market(2), after="x"))
    assert len(page.lines) == 1 and reasons(page) == ["field conditionId: expected a value, saw '' (text)"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"conditionId": "0x12"}, "field conditionId: expected 0x and 64 hex digits"),
        ({"outcomes": "Yes,No"}, "field outcomes: expected a list of texts, as JSON in a text"),
        ({"outcomes": '{"0":"Yes"}'}, "field outcomes"),
        ({"clobTokenIds": '["1e77","12"]'}, "field clobTokenIds: expected a token id in decimal digits"),
        ({"clobTokenIds": '["11"]', "outcomes": '["Yes","No"]'}, "field clobTokenIds: expected 2 tokens"),
        ({"negRisk": "true"}, "field negRisk: expected true or false, saw 'true' (text)"),
        ({"endDate": "soon"}, "field endDate: expected a time"),
        ({"closedTime": 1.5}, "field closedTime: expected a time"),
        ({"volume": "many"}, "field volume: expected a number"),
        ({"feeSchedule": [1]}, "field feeSchedule: expected an object"),
        ({"resolvedBy": "0x0"}, "field resolvedBy: expected 0x and 40 hex digits"),
        ({"events": "none"}, "field events: expected a list of objects"),
        ({"question": 5}, "field question: expected text, saw 5 (number)"),
    ],
)
def test_drift_is_named_and_the_rest_goes_on(changed: dict[str, Any], named: str) -> None:
    page = LANE.parse(OPEN, None, answer(market() | changed, market(2), after="x"))
    assert [row["market_slug"] for row in rows(page)] == ["m2"]
    (letter,) = page.letters
    assert letter.reason.startswith(named) and ", saw " in letter.reason
    assert orjson.loads(letter.raw) == market() | changed and (letter.cls, letter.unit) == ("contract", 0)


def test_what_is_unknown_is_left_out() -> None:
    bare = market(question=None, negRisk=None, endDate="", volume="", startDate="0001-01-01T00:00:00Z")
    (row,) = rows(LANE.parse(OPEN, None, answer(bare, after="x")))
    assert row.keys() == {
        *("condition_id_norm", "market_slug", "outcomes", "token_ids", "tags", "closed", "source", "unit")
    }


def test_tags_are_labels_whether_objects_or_text_the_markets_own_or_the_events() -> None:
    own = market(1, tags=[{"id": "1", "label": "Crypto"}])
    theirs = market(2, events=[{"slug": "e", "tags": ["Sports", "Tennis"]}])
    found = rows(LANE.parse(OPEN, None, answer(own, theirs, after="x")))
    assert [row["tags"] for row in found] == [["Crypto"], ["Sports", "Tennis"]]


def test_the_other_listing_is_the_answer_to_another_question() -> None:
    with pytest.raises(Unreadable, match="another question"):
        LANE.parse(CLOSED, None, answer(market(1), market(2), after="x"))
    with pytest.raises(Unreadable, match="another question"):
        LANE.parse(OPEN, "x", answer(market(1), after="x"))
    page = LANE.parse(CLOSED, None, answer(market(1), market(2, closed=True), market(3, closed=True), after="x"))
    assert len(page.lines) == 2 and reasons(page) == ["belongs to the other listing"]


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"data":[]}', b'{"markets":{}}', b"<html>"])
def test_what_is_no_page_is_unreadable_with_its_bytes(body: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        LANE.parse(OPEN, None, body)
    assert caught.value.raw == body


def listing(total: int, size: int, cut: set[int]) -> Callable[[Request], bytes]:
    """A listing whose cursors are places; requests numbered in `cut` get half a page, as if it were the last."""
    numbers = iter(range(10**6))

    def reply(request: Request) -> bytes:
        after = int(dict(request.params).get("after_cursor", "0"))
        page = [market(n) for n in range(after, min(after + size, total))]
        if next(numbers) in cut and len(page) > 1:
            return answer(*page[: len(page) // 2])
        return answer(*page, after=str(after + size) if after + size < total else None)

    return reply


@settings(deadline=None, max_examples=120)
@given(st.integers(0, 60), st.integers(1, 12), st.sets(st.integers(0, 12).map(lambda n: 2 * n), max_size=6))
def test_a_listing_is_read_to_its_end_however_pages_are_cut(total: int, size: int, cut: set[int]) -> None:
    walked = walk(LANE, OPEN, listing(total, size, cut))
    assert {row["market_slug"] for row in walked.rows} == {f"m{n}" for n in range(total)}
    assert walked.asked == 1


def test_the_last_page_is_asked_for_twice_and_counted_once() -> None:
    walked = walk(LANE, OPEN, listing(250, 100, set()))
    assert len(walked.rows) == 250 and len(walked.requests) == 4
    assert walked.requests[-1] == walked.requests[-2]


def test_the_track() -> None:
    assert (TRACK.scope, TRACK.upstream, TRACK.table) == ("listing", "gamma", "staging.markets_v2")
    assert TRACK.make(Config()).name == TRACK.name == "gamma_markets"
