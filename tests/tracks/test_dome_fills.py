"""The lane of Dome's orders: requests, cut and repeated pages, further fills of one order, recorded rows."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import MultiDict

from backfill.config import Config
from backfill.engine.model import Page, Request, Unit
from backfill.errors import Unreadable
from backfill.simulator.dome_orders import Orders
from backfill.simulator.world import World
from backfill.tracks.catalog import track
from backfill.tracks.dome_fills import TAGS, DomeFills, spot

SHARED = Path(__file__).resolve().parents[3] / "shared"
START, END = 1_700_000_000, 1_700_003_600
CONDITION = "ab" * 32
WALLET = "0x" + "12" * 20
UNIT = Unit(7, (f"{CONDITION}@{START}-{END}",))
MINE = Unit(8, (f"wallet:{WALLET}@{START}-{END}",))
LANE = DomeFills()
Row = dict[str, Any]
MOST_PAGES = 500
"""Of one unit in these tests: a lane that does not get on is to fail, not to hang."""


def order(tx: int, log_index: int | None = 0, *, at: int = START, number: int = 1, **more: object) -> Row:
    row = {
        "token_id": "11",
        "token_label": "Yes",
        "side": "BUY",
        "condition_id": f"0x{CONDITION}",
        "shares": 4_995_000,
        "shares_normalized": 4.995,
        "price": 0.65,
        "block_number": 77,
        "log_index": log_index,
        "tx_hash": f"0x{tx:064x}",
        "timestamp": at,
        "order_hash": f"0x{number:064x}",
        "user": WALLET,
        "taker": "0x" + "34" * 20,
        **more,
    }
    return row if log_index is not None else {k: v for k, v in row.items() if k not in ("log_index", "block_number")}


class Dome:
    """Newest first by (time, transaction, log index); times at both ends included; opaque keys."""

    def __init__(self, orders: Sequence[Row], most: int = 1000) -> None:
        self.orders = sorted(
            orders, key=lambda row: (row["timestamp"], row["tx_hash"], row.get("log_index", 0)), reverse=True
        )
        self.most, self.requests = most, 0

    def answer(self, request: Request) -> bytes:
        self.requests += 1
        asked = dict(request.params)
        start, end, limit = (int(asked[name]) for name in ("start_time", "end_time", "limit"))
        assert start < end and 1 <= limit <= 1000
        found = [
            row for row in self.orders
            if start <= row["timestamp"] <= end
            and asked.get("condition_id", row["condition_id"]) == row["condition_id"]
            and asked.get("user", row["user"]) == row["user"]
        ]  # fmt: skip
        place = int(asked.get("pagination_key", "k0")[1:])
        page = found[place : place + min(limit, self.most)]
        return body(
            *page, limit=limit, total=len(found), key=place + len(page) if place + len(page) < len(found) else None
        )


def body(*found: object, total: int | None = None, key: object = None, limit: object = 100, **more: object) -> bytes:
    paging: Row = {"limit": limit, "total": len(found) if total is None else total, "has_more": key is not None}
    if key is not None:
        paging["pagination_key"] = f"k{key}"
    return orjson.dumps({"orders": found, "pagination": paging | more})


def read(dome: Dome, unit: Unit = UNIT) -> list[Page]:
    """All pages of a unit, as the pipeline reads them."""
    pages, cursor = [], None
    while True:
        page = LANE.parse(unit, cursor, dome.answer(LANE.request(unit, cursor)))
        pages.append(page)
        if page.next is None:
            return pages
        assert page.next != cursor and len(pages) < MOST_PAGES
        cursor = page.next


def lines(pages: Sequence[Page]) -> list[Row]:
    return [orjson.loads(line) for page in pages for line in page.lines]


def test_one_condition_is_asked_for_with_its_window() -> None:
    request = LANE.request(UNIT, None)
    asked = dict(request.params)
    assert (request.method, request.path, request.asked) == ("GET", "/polymarket/orders", 1)
    assert 1000 - TAGS < int(asked.pop("limit")) <= 1000
    assert asked == {"condition_id": f"0x{CONDITION}", "start_time": str(START), "end_time": str(END - 1)}
    following = LANE.parse(UNIT, None, body(order(1), key=1, total=2)).next
    again = dict(LANE.request(UNIT, following).params)
    assert (again["pagination_key"], again["limit"]) == ("k1", "1000")
    assert dict(LANE.request(MINE, None).params)["user"] == WALLET
    assert LANE.smaller(UNIT, None) is None


def test_orders_become_rows_of_the_table() -> None:
    (page,) = read(Dome([order(1, 42), order(2, None, price=0.9300000637000058, shares=1_000_000, taker="")]))
    assert (page.asked, page.letters, page.next) == (1, (), None)
    bare, full = lines([page])
    tx, one = f"0x{1:064x}", f"0x{1:064x}"
    assert full == {
        "fill_id": f"{tx}_{one}", "token_id": "11", "maker": WALLET, "taker": "0x" + "34" * 20, "side": "BUY",
        "shares_micro": 4_995_000, "usdc_micro": 3_246_750, "price": "0.650000000", "timestamp": START, "tx_hash": tx,
        "order_hash": one, "log_index": 42, "block_number": 77, "source": "dome", "track": "dome_fills", "unit": 7,
    }  # fmt: skip
    assert bare["usdc_micro"] == 930_000 and not bare.keys() & {"taker", "log_index", "block_number", "fee_micro"}


@st.composite
def orders(draw: st.DrawFn) -> list[Row]:
    """Transactions with up to five fills, some of them of the same order."""
    found = []
    for tx in range(draw(st.integers(0, 10))):
        at = draw(st.sampled_from([START, START + 1, END - 1, END, START - 1]) | st.integers(START, END - 1))
        for index in draw(st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=5)):
            found.append(order(tx, index, at=at, number=draw(st.integers(1, 2))))
    return found


def chain_ids(found: Sequence[Row]) -> Counter[str]:
    """Ids as the chain gives them: the first fill of an order in a transaction has the plain one."""
    ids: Counter[str] = Counter()
    for row in sorted(found, key=lambda each: int(each["log_index"])):
        stem = f"{row['tx_hash']}_{row['order_hash']}"
        ids[f"{stem}_{row['log_index']}" if ids[stem] else stem] += 1
    return ids


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(orders(), st.integers(1, 7), st.sampled_from([UNIT, MINE]))
def test_every_fill_comes_once_with_the_chains_id(found: list[Row], size: int, unit: Unit) -> None:
    pages = read(Dome(found, size), unit)
    wanted = [row for row in found if START <= row["timestamp"] < END]
    assert Counter(row["fill_id"] for row in lines(pages)) == chain_ids(wanted)
    assert not any(page.letters for page in pages)
    assert [page.asked for page in pages] == [0] * (len(pages) - 1) + [1]


def test_a_burst_in_one_second_comes_whole() -> None:
    dome = Dome([order(number, at=START + 9) for number in range(3000)])
    assert len({row["fill_id"] for row in lines(read(dome))}) == 3000 and dome.requests == 4


def test_a_window_of_one_second_is_asked_for_with_two() -> None:
    unit = Unit(7, (f"{CONDITION}@{START}-{START + 1}",))
    pages = read(Dome([order(1), order(2, at=START + 1)]), unit)
    assert [row["timestamp"] for row in lines(pages)] == [START] and not pages[0].letters


BROKEN: list[tuple[object, str]] = [
    (None, "row: expected an object, saw null"),
    (order(2, token_id=5), "field token_id: expected a token id in decimal digits, saw 5 (number)"),
    (order(2, side=None), "field side: expected BUY or SELL, saw null"),
    (order(2, shares="4995000"), "field shares: expected a whole number, saw '4995000' (text)"),
    (order(2, shares=4.5), "field shares: expected a whole number, saw 4.5 (number)"),
    (order(2, price="0.65"), "field price: expected a number, saw '0.65' (text)"),
    (order(2, order_hash=""), "field order_hash: expected 0x and 64 hex digits, saw '' (text)"),
    (order(2, timestamp="2025-01-01"), "field timestamp: expected unix seconds, saw '2025-01-01' (text)"),
    (order(2, user="me"), "field user: expected 0x and 40 hex digits, saw 'me' (text)"),
    (order(2, taker="you"), "field taker: expected 0x and 40 hex digits, saw 'you' (text)"),
    (order(2, 1) | {"log_index": "1"}, "field log_index: expected a whole number"),
    (order(2, shares=0), "no shares changed hands"),
    (order(2, condition_id="0x" + "cd" * 32), "was not asked for"),
    (order(2, at=START - 1), "was not asked for"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_change_of_the_contract_is_named_and_the_rest_goes_in(broken: object, reason: str) -> None:
    page = LANE.parse(UNIT, None, body(order(1), broken, order(3)))
    assert len(page.lines) == 2
    (letter,) = page.letters
    assert (letter.cls, letter.track, letter.unit) == ("contract", "dome_fills", 7) and letter.reason.startswith(reason)


def limit() -> int:
    return int(dict(LANE.request(UNIT, None).params)["limit"])


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"<html>", b"[]", b"{}", b'{"orders":[]}', b'{"orders":{},"pagination":{"has_more":false}}',
        body(order(1), total=2), body(order(1), key=1, pagination_key=None), body(key=1, total=5),
        body(order(1), order(2, at=START + 1)), body(order(1, condition_id="0x" + "cd" * 32)),
        body(limit=limit() - 1 if limit() > 1000 - TAGS + 1 else 1000),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_used_is_unreadable_with_its_bytes(answer: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        LANE.parse(UNIT, None, answer)
    assert caught.value.raw == answer


def test_a_page_that_was_sent_before_is_unreadable() -> None:
    dome = Dome([order(number) for number in range(9)], 3)
    first = dome.answer(LANE.request(UNIT, None))
    after_first = LANE.parse(UNIT, None, first).next
    second = dome.answer(LANE.request(UNIT, after_first))
    after_second = LANE.parse(UNIT, after_first, second).next
    with pytest.raises(Unreadable, match="sent before"):
        LANE.parse(UNIT, after_first, first)
    with pytest.raises(Unreadable, match="sent before"):
        LANE.parse(UNIT, after_second, second)
    moved = Dome([order(number, at=END - number - 1) for number in range(9)], 3)
    top = moved.answer(LANE.request(UNIT, None))
    behind = LANE.parse(UNIT, None, top).next
    third = LANE.parse(UNIT, behind, moved.answer(LANE.request(UNIT, behind))).next
    with pytest.raises(Unreadable, match="not newest first"):
        LANE.parse(UNIT, third, top)


def test_a_list_that_ends_early_is_unreadable_on_its_last_page() -> None:
    cursor = LANE.parse(UNIT, None, body(order(5), order(4), key=2, total=5)).next
    with pytest.raises(Unreadable, match="cut: 4 of 5"):
        LANE.parse(UNIT, cursor, body(order(3), order(2), total=5))
    assert LANE.parse(UNIT, cursor, body(order(3), order(2), order(1), total=5)).next is None


def test_rows_held_back_are_carried_in_the_cursor() -> None:
    page = LANE.parse(UNIT, None, body(order(5, 9), order(4, 8), order(4, 7), key=3, total=4))
    assert len(page.lines) == 1 and [row["log_index"] for row in spot(page.next).held] == [8, 7]
    last = LANE.parse(UNIT, page.next, body(order(4, 6), total=4))
    stem = f"0x{4:064x}_0x{1:064x}"
    assert [row["fill_id"] for row in lines([last])] == [f"{stem}_8", f"{stem}_7", stem]


@pytest.mark.parametrize(
    "path", ["reference/samples/dome/orders_user_2025-11.json", "data/real/dome_orders_page.json.gz"]
)
def test_recorded_orders_are_read(path: str) -> None:
    file = SHARED / path
    if not file.exists():
        pytest.skip(f"NOT CHECKED AGAINST RECORDED ORDERS: {file} is not here")
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    document = orjson.loads(raw)
    document = document[0] if isinstance(document, list) else document
    found = document["orders"]
    unit = Unit(1, (f"wallet:{found[0]['user']}@1600000000-1900000000",))
    page = LANE.parse(unit, None, body(*found))
    assert len({row["fill_id"] for row in lines([page])}) == len(found) == 100 and not page.letters
    for row, source in zip(lines([page]), found, strict=True):
        assert abs(row["usdc_micro"] / row["shares_micro"] - source["price"]) < 1e-6
        assert row["shares_micro"] == source["shares"]


def test_the_documented_order_is_read() -> None:
    file = SHARED / "reference" / "samples" / "dome" / "docs" / "orders.json"
    if not file.exists():
        pytest.skip(f"NOT CHECKED AGAINST THE DOCUMENTED ORDER: {file} is not here")
    (found,) = orjson.loads(file.read_bytes())["orders"]
    for name in ("order_hash", "tx_hash"):
        found[name] = found[name][:66].ljust(66, "0")  # the example's are too short and too long
    unit = Unit(1, (f"{found['condition_id']}@1600000000-1900000000",))
    (row,) = lines([LANE.parse(unit, None, body(found))])
    assert (row["log_index"], row["block_number"], row["usdc_micro"]) == (42, 123456789, 3_246_750)


def test_the_simulators_orders_come_whole() -> None:
    world = World.generate(seed=5, traded=300, mapped=100)
    upstream, known = Orders(world), world.known_to("dome")
    found: Counter[str] = Counter()
    conditions = sorted({world.truth[token].condition for token in known})
    for number, condition in enumerate(conditions):
        unit, cursor = Unit(number, (f"{condition}@1600000000-1900000000",)), None
        while True:
            page = LANE.parse(unit, cursor, upstream.page(MultiDict(LANE.request(unit, cursor).params)).body)
            found.update(row["fill_id"] for row in lines([page]))
            assert not page.letters
            if (cursor := page.next) is None:
                break
    tokens = {str(token) for token in known}
    wanted = [fill for fill in world.fills if {fill.makerAssetId, fill.takerAssetId} & tokens]
    assert found == Counter(fill.id for fill in wanted) and len(wanted) > 100


def test_the_track_is_in_the_catalogue() -> None:
    entry = track("dome_fills")
    assert (entry.dataset, entry.upstream, entry.scope) == ("fills", "dome", "conditions")
    assert entry.make(Config()).request(UNIT, None).path == "/polymarket/orders"
