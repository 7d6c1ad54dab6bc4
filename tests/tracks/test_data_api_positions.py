"""The lane of positions: both versions of the API, every status, every page in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Page, Request, Unit
from backfill.errors import PageTooLarge, Unreadable
from backfill.tracks.data_api_positions import CAPPED, LOG, TRACK, DataApiPositions
from tests.tracks.lane_kit import Walked, reasons, rows, sample, sample_lines, walk

SECOND, FIRST = DataApiPositions(2), DataApiPositions(1)
WALLET = "0x379a410a36c101e3b8dfb6c90d1176eb0def4b1a"
UNIT = Unit(6, (WALLET,))
CONDITION = "0x" + "ab" * 32


def position(token: int = 11, status: str = "OPEN", **more: Any) -> dict[str, Any]:
    facts = {"proxy_wallet": WALLET, "token_id": str(token), "condition_id": CONDITION, "status": status}
    return {**facts, "current_size": 1.5, "outcome_index": 0, **more}


def page_of(found: list[Any], after: str | None = None) -> bytes:
    paging = {"limit": 1000, "offset": 0, "has_more": after is not None, "next_cursor": after}
    return orjson.dumps({"data": found, "pagination": paging})


def log_of(page: Page) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in page.asides[LOG]]


def test_the_second_version_is_asked_status_by_status() -> None:
    first = SECOND.request(UNIT, None)
    plain = (("filter_amount", "0"), ("include_archived", "true"))
    assert first.path == "/v2/positions"
    assert first.params == (("user", WALLET), ("status", "OPEN"), ("limit", "1000"), *plain)
    walked = walk(SECOND, UNIT, lambda _request: page_of([]))
    assert [dict(each.params)["status"] for each in walked.requests] == ["OPEN", "REDEEMABLE_LOST", "CLOSED"]
    assert walked.asked == 1


def test_recorded_positions_of_the_second_version() -> None:
    document = sample("data-api/v2_positions_open.json")
    page = SECOND.parse(UNIT, None, orjson.dumps(document))
    assert not page.letters and page.next == f"1 0 1000 {document['pagination']['next_cursor']}"
    assert rows(page)[0] == {
        "wallet": WALLET,
        "token_id": "56134520934827987450354834210862718136281318820368118025608831884832419413779",
        "condition_id_norm": "21f6ce98ea79b65ec014ed5a13eafbc6730afcdd3f2cc958984cc618785e2758",
        "outcome_index": 1,
        "outcome": "No",
        "status": "OPEN",
        "size_micro": 28_090_000,
        "total_size_micro": 28_090_000,
        "avg_price": "0.669900000",
        "entry_cost_micro": 18_820_200,
        "entry_fees_micro": 310_530,
        "current_price": "0.715000000",
        "current_value_micro": 20_084_300,
        "realized_pnl_micro": 0,
        "unrealized_pnl_micro": 1_264_000,
        "total_pnl_micro": 1_264_000,
        "redeemable": 0,
        "mergeable": 0,
        "neg_risk": 1,
        "first_entry_at": 1791292984,
        "last_event_at": 1791292984,
        "api_version": 2,
        "source": "data_api",
        "unit": 6,
    }
    assert rows(page)[1]["total_pnl_micro"] == -1_240_400
    closed = SECOND.parse(UNIT, "3 2 1000 ", orjson.dumps(sample("data-api/v2_positions_closed.json")))
    assert [row["status"] for row in rows(closed)] == ["CLOSED"] * 2 and not closed.letters
    assert [row["size_micro"] for row in rows(closed)] == [0, 0]


def test_recorded_positions_of_the_first_version() -> None:
    found = sample("data-api/v1_positions.json")
    page = FIRST.parse(Unit(0, (found[0]["proxyWallet"],)), None, orjson.dumps(found))
    row = rows(page)[0]
    assert (row["size_micro"], row["avg_price"], row["current_price"]) == (69_982_788_569, "0.906546000", "0.977500000")
    assert (row["entry_cost_micro"], row["unrealized_pnl_micro"]) == (63_442_617_046, 4_965_558_780)
    assert (row["realized_pnl_micro"], row["api_version"]) == (-41_784_348, 1)
    assert "status" not in row and "total_pnl_micro" not in row and "first_entry_at" not in row
    assert rows(page)[1]["redeemable"] == 1 and not page.letters


def test_real_positions_of_three_wallets_are_read() -> None:
    found = sample_lines("positions_dataapi_669.jsonl.gz")
    wallets = {row["proxyWallet"] for row in found}
    total = 0
    for wallet in wallets:
        own = [row for row in found if row["proxyWallet"] == wallet]
        page = FIRST.parse(Unit(0, (wallet,)), None, orjson.dumps(own))
        assert not page.letters, reasons(page)
        total += len(page.lines)
        for row, source in zip(rows(page), own, strict=True):
            assert row["size_micro"] == round(source["size"] * 10**6) and row["token_id"] == source["asset"]
            assert abs(row["current_value_micro"] - row["entry_cost_micro"] - row["unrealized_pnl_micro"]) <= 200
    assert (len(wallets), total) == (3, 669)


def test_what_is_not_known_yet_is_left_out() -> None:
    (row,) = rows(SECOND.parse(UNIT, None, page_of([position(outcome_index=999, outcome="", avg_price=None)])))
    assert row.keys() == {
        *("wallet", "token_id", "condition_id_norm", "status", "size_micro", "api_version", "source", "unit")
    }


def test_a_combination_has_a_shorter_condition() -> None:
    (row,) = rows(SECOND.parse(UNIT, None, page_of([position(condition_id="0x03" + "ab" * 30)])))
    assert row["condition_id_norm"] == "03" + "ab" * 30


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"token_id": 11}, "field token_id: expected text, saw 11 (number)"),
        ({"token_id": "-5"}, "field token_id: expected a token id in decimal digits"),
        ({"condition_id": "0xab"}, "field condition_id: expected 0x and 64 (or 62) hex digits"),
        ({"current_size": None}, "field current_size: expected a value, saw null"),
        ({"current_size": -1}, "field current_size: expected an amount that is not negative"),
        ({"current_size": True}, "field current_size: expected a number, saw True"),
        ({"realized_pnl": "much"}, "field realized_pnl: expected a number"),
        ({"realized_pnl": 1e15}, "field realized_pnl: expected an amount within 64 bits"),
        ({"outcome_index": 300}, "field outcome_index: expected an outcome index within 0..255"),
        ({"redeemable": 1}, "field redeemable: expected true or false"),
        ({"last_event_at": "now"}, "field last_event_at: expected a time"),
        ({"status": None}, "field status: expected a value"),
        ({"proxy_wallet": "0x" + "12" * 20}, "was not asked for"),
        ({"status": "CLOSED"}, "was not asked for"),
    ],
)
def test_drift_is_named_and_the_rest_goes_on(changed: dict[str, Any], named: str) -> None:
    page = SECOND.parse(UNIT, None, page_of([position() | changed, position(12)]))
    assert [row["token_id"] for row in rows(page)] == ["12"]
    assert len(page.letters) == 1 and page.letters[0].reason.startswith(named), reasons(page)


def test_anothers_positions_are_unreadable_and_so_is_the_page_before() -> None:
    with pytest.raises(Unreadable, match="another question"):
        SECOND.parse(Unit(0, ("0x" + "12" * 20,)), None, page_of([position()]))
    with pytest.raises(Unreadable, match="another question"):
        SECOND.parse(UNIT, "1 0 1000 abc", page_of([position()], "abc"))
    with pytest.raises(Unreadable, match="another question"):
        FIRST.parse(UNIT, None, orjson.dumps(sample("data-api/v1_positions.json")))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data":[]}',
        b'{"data":[],"pagination":{"has_more":true,"next_cursor":null}}',
        b'{"data":[],"pagination":{"has_more":false,"next_cursor":"x"}}',
        b'{"data":[],"pagination":{"has_more":true,"next_cursor":5}}',
    ],
)
def test_an_answer_that_could_be_cut_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        SECOND.parse(UNIT, None, body)
    assert caught.value.raw == body


def test_every_page_is_in_the_log() -> None:
    page = SECOND.parse(UNIT, "4 1 1000 abc", page_of([position(n) for n in (11, 12)], "def"))
    told = {"wallet": WALLET, "page": 4, "api_version": 2, "status": "page", "rows": 2, "unit": 6}
    assert log_of(page) == [told] and page.asked == 0
    last = SECOND.parse(UNIT, "7 2 1000 abc", page_of([]))
    assert log_of(last) == [{**told, "page": 7, "status": "done", "rows": 0}] and (last.asked, last.next) == (1, None)


def test_the_first_version_ends_at_its_cap_and_says_so() -> None:
    found = [{"proxyWallet": WALLET, "asset": str(n + 11), "conditionId": CONDITION, "size": 1} for n in range(500)]
    page = FIRST.parse(UNIT, "20 0 500 10000", orjson.dumps(found))
    assert page.next is None and len(page.lines) == 500 and reasons(page) == [CAPPED]
    (told,) = log_of(page)
    assert (told["status"], told["detail"]) == ("failed", CAPPED)


def test_pages_shrink_where_the_limit_is_free() -> None:
    assert SECOND.smaller(UNIT, None) == "0 0 500 " and SECOND.smaller(UNIT, "1 0 1000 abc") is None
    assert FIRST.smaller(UNIT, "3 0 500 1500") == "3 0 250 1500" and FIRST.smaller(UNIT, "3 0 1 1500") is None
    assert dict(FIRST.request(UNIT, None).params) == {
        **{"user": WALLET, "limit": "500", "offset": "0", "sizeThreshold": "0"}
    }


def second_version(held: dict[str, str], most: int) -> Callable[[Request], bytes]:
    """Positions (status by token) in pages, by signed cursors; too large a limit takes too long."""

    def reply(request: Request) -> bytes:
        asked = dict(request.params)
        limit, start = int(asked["limit"]), 0
        if "cursor" in asked:
            bound, start_text, limit_text = asked["cursor"].split("|")
            assert bound == asked["status"]
            start, limit = int(start_text), int(limit_text)
        if limit > most:
            raise PageTooLarge("the request took too long")
        closed = asked["status"] == "CLOSED"
        found = [each for each in sorted(held) if (held[each] == "CLOSED") == closed]
        if asked["status"] == "REDEEMABLE_LOST":
            found = [each for each in found if held[each] == "REDEEMABLE_LOST"]
        shown = [position(int(each), held[each]) for each in found[start : start + limit]]
        more = f"{asked['status']}|{start + limit}|{limit}" if start + limit < len(found) else None
        return page_of(shown, more)

    return reply


STATUS = st.sampled_from(["OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "CLOSED"])


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.integers(1, 500).map(str), STATUS, max_size=60), st.integers(1, 1000))
def test_every_position_arrives_whatever_its_status_and_the_size_of_pages(held: dict[str, str], most: int) -> None:
    walked = walk(SECOND, UNIT, second_version(held, most))
    assert {(row["token_id"], row["status"]) for row in walked.rows} == set(held.items())
    assert not walked.letters and walked.asked == 1
    check_log(walked)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1200), st.integers(1, 500))
def test_offsets_cover_a_wallet_exactly(total: int, most: int) -> None:
    def reply(request: Request) -> bytes:
        asked = dict(request.params)
        offset, limit = int(asked["offset"]), min(int(asked["limit"]), most)
        found = range(offset, min(offset + limit, total))
        facts = {"proxyWallet": WALLET, "conditionId": CONDITION, "size": 1}
        return orjson.dumps([{**facts, "asset": str(n + 11)} for n in found])

    walked = walk(FIRST, UNIT, reply)
    assert [row["token_id"] for row in walked.rows] == [str(n + 11) for n in range(total)]
    check_log(walked)


def check_log(walked: Walked) -> None:
    told = walked.asides[LOG]
    assert [each["page"] for each in told] == list(range(len(told)))
    assert [each["status"] for each in told] == ["page"] * (len(told) - 1) + ["done"]
    assert sum(each["rows"] for each in told) >= len(walked.rows)


def test_the_track() -> None:
    assert (TRACK.scope, TRACK.table, TRACK.asides) == ("wallets", "staging.wallet_positions_v2", (LOG,))
    assert TRACK.make(Config()).request(UNIT, None).path == "/v2/positions"
    first = Config.model_validate({"upstreams": {"data_api": {"version": 1}}})
    assert TRACK.make(first).request(UNIT, None).path == "/positions"
