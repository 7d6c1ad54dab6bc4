"""The lane of the activity feed: one wallet, one window, equal rows kept apart, whatever the size of the pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Page, Request, Unit
from backfill.errors import PageTooLarge, Unreadable
from backfill.tracks import data_api
from backfill.tracks.data_api_activity import TRACK, TYPES, DataApiActivity
from backfill.tracks.track import Headed
from tests.tracks.lane_kit import reasons, recorded, rows, sample, walk

LANE = DataApiActivity()
WALLET = "0x379a410a36c101e3b8dfb6c90d1176eb0def4b1a"
UNIT = Unit(9, (f"{WALLET}@1000-2000",))
CONDITION = "0x" + "cd" * 32


def event(kind: str = "SPLIT", at: int = 1500, tx: int = 1, **more: Any) -> dict[str, Any]:
    facts = {"proxy_wallet": WALLET, "type": kind, "timestamp": at, "transaction_hash": f"0x{tx:064x}"}
    return {**facts, "condition_id": CONDITION, "token_id": "", "size": 2.5, "usdc_size": 2.5, **more}


def page_of(found: list[Any], after: str | None = None) -> bytes:
    paging = {"limit": 1000, "offset": 0, "has_more": after is not None, "next_cursor": after}
    return orjson.dumps({"data": found, "pagination": paging})


def parse(*found: Any) -> Page:
    return LANE.parse(UNIT, None, page_of(list(found)))


def test_a_wallet_is_asked_for_in_a_window_without_its_trades() -> None:
    request = LANE.request(UNIT, None)
    assert (request.path, request.asked) == ("/v2/activity", 1)
    params = dict(request.params)
    assert (params["user"], params["start"], params["end"], params["limit"]) == (WALLET, "1000", "1999", "1000")
    assert params["type"] == ",".join(TYPES) and "TRADE" not in TYPES and "cursor" not in params
    whole = dict(LANE.request(Unit(0, (f"{WALLET}@0-2000",)), None).params)
    assert whole["start"] == "1", "a start of 0 means the last three years"


def test_events_become_rows() -> None:
    page = parse(
        event("SPLIT"),
        event("MERGE", usdc_size=None),
        event("REDEEM", size=7.25, usdc_size=None),
        event("CONVERSION"),
        event("YIELD", condition_id="", size=0.5, usdc_size=0.4),
    )
    plain = {"wallet": WALLET, "timestamp": 1500, "tx_hash": f"0x{1:064x}", "source": "data_api", "unit": 9}
    condition = {"index_sets": [], "condition_id_norm": "cd" * 32}
    found = rows(page)
    assert len({row["event_id"] for row in found}) == 5
    assert all(row["event_id"].startswith(f"0x{1:064x}_k") and row["event_id"].endswith("_0") for row in found)
    assert [{key: row[key] for key in row if key != "event_id"} for row in found] == [
        {"kind": "split", "amount_micro": 2_500_000} | condition | plain,
        {"kind": "merge", "amount_micro": 2_500_000} | condition | plain,
        {"kind": "redeem", "payout_micro": 7_250_000} | condition | plain,
        {"kind": "convert", "index_sets": [], "neg_risk_market_id": CONDITION, "amount_micro": 2_500_000} | plain,
        {"kind": "yield", "index_sets": [], "payout_micro": 400_000} | plain,
    ]
    assert (page.asked, page.letters, page.next) == (1, (), None)


def test_recorded_trades_are_not_what_was_asked_for() -> None:
    document = sample("data-api/v2_activity.json")
    unit = Unit(0, (f"{WALLET}@1789000000-1790000000",))
    with pytest.raises(Unreadable, match="another question"):
        LANE.parse(unit, None, orjson.dumps(document))
    as_splits = [{**row, "type": "SPLIT"} for row in document["data"]]
    page = LANE.parse(unit, None, orjson.dumps(document | {"data": as_splits}))
    assert [row["amount_micro"] for row in rows(page)] == [22_840_000, 7_440_000] and not page.letters
    assert page.next is not None and document["pagination"]["next_cursor"] in page.next


def test_equal_rows_of_a_transaction_are_events_of_their_own() -> None:
    page = parse(event(), event(), event(tx=2), event())
    assert [row["event_id"].rpartition("_")[2] for row in rows(page)] == ["0", "1", "0", "2"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"type": "AIRDROP"}, "was not asked for"),
        ({"type": "TRADE"}, "was not asked for"),
        ({"timestamp": 2000}, "was not asked for"),
        ({"proxy_wallet": "0x" + "12" * 20}, "was not asked for"),
        ({"type": None}, "field type: expected a value"),
        ({"timestamp": "soon"}, "field timestamp: expected a time"),
        ({"transaction_hash": "0x12"}, "field transaction_hash: expected 0x and 64 hex digits"),
        ({"condition_id": "0x12"}, "field condition_id: expected 0x and 64 (or 62) hex digits"),
        ({"size": "2,5"}, "field size: expected a number"),
        ({"size": None}, "field size: expected a value"),
        ({"size": -2.5}, "field size: expected an amount that is not negative"),
        ({"token_id": 5}, "field token_id: expected text"),
    ],
)
def test_drift_is_named_and_the_rest_goes_on(changed: dict[str, Any], named: str) -> None:
    page = parse(event() | changed, event(tx=2))
    assert [row["tx_hash"] for row in rows(page)] == [f"0x{2:064x}"]
    assert len(page.letters) == 1 and page.letters[0].reason.startswith(named), reasons(page)


def test_the_page_before_is_unreadable() -> None:
    page = LANE.parse(UNIT, None, page_of([event()], "abc"))
    with pytest.raises(Unreadable, match="another question"):
        LANE.parse(UNIT, page.next, page_of([event()], "abc"))


def test_only_the_first_page_can_be_smaller() -> None:
    smaller = LANE.smaller(UNIT, None)
    assert smaller is not None and dict(LANE.request(UNIT, smaller).params)["limit"] == "500"
    following = LANE.parse(UNIT, smaller, page_of([event()], "abc")).next
    assert LANE.smaller(UNIT, following) is None
    assert dict(LANE.request(UNIT, following).params)["cursor"] == "abc"


def feed(events: list[dict[str, Any]], most: int) -> Callable[[Request], bytes]:
    """A wallet's feed, newest first, in pages of at most `most` rows; a larger limit takes too long."""
    ordered = list(reversed(events))

    def reply(request: Request) -> bytes:
        asked = dict(request.params)
        start, limit = map(int, asked["cursor"].split("|")) if "cursor" in asked else (0, int(asked["limit"]))
        if limit > most:
            raise PageTooLarge("the request took too long")
        low, high, kinds = int(asked["start"]), int(asked["end"]), asked["type"].split(",")
        found = [row for row in ordered if low <= row["timestamp"] <= high and row["type"] in kinds]
        more = f"{start + limit}|{limit}" if start + limit < len(found) else None
        return page_of(found[start : start + limit], more)

    return reply


EVENTS = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from(["SPLIT", "MERGE", "TRADE"]), st.sampled_from([1.0, 2.5])), max_size=40
)


@settings(deadline=None, max_examples=120)
@given(EVENTS, st.integers(1, 1000))
def test_every_event_arrives_once_whatever_the_pages(made: list[tuple[int, str, float]], most: int) -> None:
    # Transactions stand in the order of their time, their rows together; some are outside the window.
    events = [event(kind, 985 + 5 * tx, tx, size=size) for tx, kind, size in sorted(made, key=lambda one: one[0])]
    walked = walk(LANE, UNIT, feed(events, most))
    wanted = [row for row in events if row["type"] != "TRADE" and 1000 <= row["timestamp"] < 2000]
    counted = Counter((row["transaction_hash"], row["type"].lower(), round(row["size"] * 10**6)) for row in wanted)
    assert Counter((row["tx_hash"], row["kind"], row["amount_micro"]) for row in walked.rows) == counted
    ids = [row["event_id"] for row in walked.rows]
    assert len(ids) == len(set(ids)) == len(wanted)
    # The ids do not depend on how the pages fell.
    assert set(ids) == {row["event_id"] for row in walk(LANE, UNIT, feed(events, 1000)).rows}


def test_the_head_as_recorded() -> None:
    assert isinstance(LANE, Headed) and LANE.head().path == "/v2/status"
    # 10:24:36, less 4 seconds of serving lag, less one block of the slowest reader.
    assert LANE.read_head(recorded("data-api/v2_status.json")) == 1789381476 - 4 - data_api.BLOCK_SECONDS


@pytest.mark.parametrize("gone", ["computed_at", "serving", "ingestion"])
def test_a_status_that_does_not_say_is_unreadable(gone: str) -> None:
    document = sample("data-api/v2_status.json")
    del document["data"][gone]
    with pytest.raises(Unreadable, match=f"field {gone}"):
        LANE.read_head(orjson.dumps(document))
    for body in (b"", b"[]", b"{}", b'{"data":null}'):
        with pytest.raises(Unreadable):
            LANE.read_head(body)


def test_the_track() -> None:
    assert (TRACK.scope, TRACK.upstream, TRACK.table) == ("wallets", "data_api", "staging.ctf_activity_v2")
    assert TRACK.make(Config()).name == TRACK.name == "data_api_activity"
