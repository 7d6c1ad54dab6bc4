"""The lane of the Data API's trades, in both versions: requests, ids of equal rows, windows, and nothing lost."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
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
from backfill.simulator.data_api import DataApi
from backfill.simulator.data_api_query import Query
from backfill.simulator.faults import Faults
from backfill.simulator.reply import PLAIN
from backfill.simulator.world import World
from backfill.stages import fields, shapes
from backfill.tracks import rows
from backfill.tracks.catalog import track
from backfill.tracks.data_api_fills import TAGS, DataApiFills, spot
from backfill.tracks.track import Headed

SHARED = Path(__file__).resolve().parents[3] / "shared"
START, END = 1_700_000_000, 1_700_003_600
ONE, TWO = "ab" * 32, "cd" * 32
WALLET = "0x" + "12" * 20
UNIT = Unit(7, (f"{ONE}@{START}-{END}", f"{TWO}@{START}-{END}"))
MINE = Unit(8, (f"wallet:{WALLET}@{START}-{END}",))
LANE, OLD = DataApiFills(2), DataApiFills(1)
Row = dict[str, Any]
MOST_PAGES = 500
"""Of one unit in these tests: a lane that does not get on is to fail, not to hang."""
RENAMED = {
    "proxy_wallet": "proxyWallet",
    "token_id": "asset",
    "condition_id": "conditionId",
    "transaction_hash": "transactionHash",
    "outcome_index": "outcomeIndex",
}


def trade(number: int, *, at: int = START, condition: str = ONE, **more: object) -> Row:
    return {
        "proxy_wallet": WALLET,
        "side": "BUY",
        "token_id": "11",
        "condition_id": f"0x{condition}",
        "size": 22.84,
        "price": 0.52,
        "timestamp": at,
        "title": "?",
        "outcome": "Yes",
        "outcome_index": 999,
        "transaction_hash": f"0x{number:064x}",
        **more,
    }


def old(row: Row) -> Row:
    return {RENAMED.get(name, name): value for name, value in row.items()}


class Feed:
    """Both versions of the feed: newest first, equal seconds in the order of the list, pages of up to `most` rows."""

    def __init__(self, trades: Sequence[Row], most: int = 1000) -> None:
        self.trades = sorted(trades, key=lambda row: -int(row["timestamp"]))
        self.most, self.requests = most, list[Request]()

    def answer(self, request: Request) -> bytes:
        self.requests.append(request)
        asked = dict(request.params)
        if request.path == "/trades":
            return self._first(asked)
        assert request.path == "/v2/trades" and asked["taker_only"] == "false" and float(asked["filter_amount"]) < 1e-5
        found = self._wanted(asked, asked.get("condition"))
        place, size = 0, min(self.most, int(asked["limit"]))
        if "cursor" in asked:
            place, size = map(int, asked["cursor"].split("+"))
        page, more = found[place : place + size], place + size < len(found)
        paging = {"limit": int(asked["limit"]), "offset": 0, "has_more": more}
        return orjson.dumps(
            {"data": page, "pagination": paging | {"next_cursor": f"{place + size}+{size}" if more else None}}
        )

    def _first(self, asked: Mapping[str, str]) -> bytes:
        assert asked["takerOnly"] == "false" and int(asked["offset"]) <= 3000
        found = self._wanted(asked, asked.get("market"))
        place = int(asked["offset"])
        return orjson.dumps([old(row) for row in found[place : place + min(self.most, int(asked["limit"]))]])

    def _wanted(self, asked: Mapping[str, str], conditions: str | None) -> list[Row]:
        start, end = int(asked.get("start", 0)), int(asked.get("end", 2**40))
        return [
            row for row in self.trades
            if start <= row["timestamp"] <= end
            and (conditions is None or row["condition_id"] in conditions.split(","))
            and asked.get("user", row["proxy_wallet"]) == row["proxy_wallet"]
        ]  # fmt: skip


def read(lane: DataApiFills, feed: Feed, unit: Unit = UNIT, cursor: str | None = None) -> list[Page]:
    """All pages of a unit, as the pipeline reads them."""
    pages = []
    while True:
        page = lane.parse(unit, cursor, feed.answer(lane.request(unit, cursor)))
        pages.append(page)
        if page.next is None:
            return pages
        assert page.next != cursor and len(pages) < MOST_PAGES
        cursor = page.next


def lines(pages: Sequence[Page]) -> list[Row]:
    return [orjson.loads(line) for page in pages for line in page.lines]


def body(*found: object, more: str | None = None, **paging: object) -> bytes:
    told = {"limit": 100, "offset": 0, "has_more": more is not None, "next_cursor": more}
    return orjson.dumps({"data": found, "pagination": told | paging})


def limit_of(unit: Unit) -> int:
    return int(dict(LANE.request(unit, None).params)["limit"])


def test_conditions_are_asked_for_without_a_window_and_with_all_their_trades() -> None:
    request = LANE.request(UNIT, None)
    asked = dict(request.params)
    assert (request.method, request.path, request.asked) == ("GET", "/v2/trades", 2)
    assert asked.pop("condition") == f"0x{ONE},0x{TWO}" and 1000 - TAGS < int(asked.pop("limit")) <= 1000
    assert asked == {"taker_only": "false", "filter_type": "TOKENS", "filter_amount": "0.000001"}
    following = LANE.parse(UNIT, None, body(trade(1), more="opaque+/=")).next
    again = dict(LANE.request(UNIT, following).params)
    assert again.pop("cursor") == "opaque+/=" and again == dict(request.params)


def test_a_wallet_is_asked_for_by_its_window() -> None:
    asked = dict(LANE.request(MINE, None).params)
    assert (asked["user"], asked["start"], asked["end"]) == (
        WALLET,
        str(START),
        str(END - 1),
    ) and "condition" not in asked
    ever = Unit(8, (f"wallet:{WALLET}@0-{END}",))
    assert dict(LANE.request(ever, None).params)["start"] == "1"  # 0 would mean three years


def test_the_first_version_is_asked_in_its_own_words() -> None:
    asked = dict(OLD.request(UNIT, None).params)
    assert (asked["market"], asked["offset"], asked["end"]) == (f"0x{ONE},0x{TWO}", "0", str(END - 1))
    assert dict(OLD.request(MINE, None).params)["user"] == WALLET


@pytest.mark.parametrize(("lane", "unit"), [(LANE, UNIT), (LANE, MINE), (OLD, UNIT), (OLD, MINE)])
def test_trades_become_rows_of_the_table(lane: DataApiFills, unit: Unit) -> None:
    pages = read(lane, Feed([trade(1, proxy_wallet=WALLET)]), unit)
    (row,) = lines(pages)
    stem = rows.keyless_id(f"0x{1:064x}", "11", "BUY", WALLET, 22_840_000, 11_876_800)
    assert row == {
        "fill_id": f"{stem}_0", "token_id": "11", "maker": WALLET, "side": "BUY", "shares_micro": 22_840_000,
        "usdc_micro": 11_876_800, "price": "0.520000000", "timestamp": START, "tx_hash": f"0x{1:064x}",
        "source": "data_api", "track": "data_api_fills", "unit": unit.number,
    }  # fmt: skip
    assert [page.asked for page in pages] == [0] * (len(pages) - 1) + [len(unit.items)]


SECONDS = st.sampled_from([START, START + 1, END - 1, START - 1, END, END + 500]) | st.integers(START - 50, END + 50)


@st.composite
def trades(draw: st.DrawFn) -> list[Row]:
    """Transactions of one to six rows, many of them equal."""
    found = []
    for number in range(draw(st.integers(0, 12))):
        at, condition = draw(SECONDS), draw(st.sampled_from([ONE, TWO]))
        kinds = st.sampled_from([(1.0, 0.5), (1.0, 0.25), (0.000001, 0.999), (3.5, 0.1)])
        for size, price in draw(st.lists(kinds, min_size=1, max_size=6)):
            side = draw(st.sampled_from(["BUY", "SELL"]))
            found.append(trade(number, at=at, condition=condition, size=size, price=price, side=side))
    return found


def imported(found: Sequence[Row]) -> Counter[str]:
    """The ids that `import` gives to a file of these rows."""
    given_: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    for row in found:
        shape = shapes.recognise(row.keys(), shapes.FILLS, where="test")
        (fill,) = shape.convert(row)
        ids[f"{fill.fill_id}_{given_[fill.fill_id]}"] += 1
        given_[fill.fill_id] += 1
    return ids


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(trades(), st.integers(1, 9), st.sampled_from([UNIT, MINE]))
def test_equal_rows_are_all_kept_whatever_the_page_size(found: list[Row], size: int, unit: Unit) -> None:
    feed = Feed(found, size)
    wanted = [row for row in feed.trades if START <= row["timestamp"] < END]
    pages = read(LANE, feed, unit)
    assert Counter(row["fill_id"] for row in lines(pages)) == imported(wanted)
    assert not any(page.letters for page in pages)


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(trades(), st.integers(2, 9), st.sampled_from([UNIT, MINE]))
def test_the_first_version_gives_the_same(found: list[Row], size: int, unit: Unit) -> None:
    feed = Feed(found, size)
    wanted = [row for row in feed.trades if START <= row["timestamp"] < END]
    pages = read(OLD, feed, unit)
    assert Counter(row["fill_id"] for row in lines(pages)) == imported([old(row) for row in wanted])
    assert not any(page.letters for page in pages)


@pytest.mark.parametrize("lane", [LANE, OLD])
def test_a_burst_in_one_second_comes_whole(lane: DataApiFills) -> None:
    """3,000 rows in one second, in threes that are equal; the pages end inside of them."""
    found = [trade(number // 3, at=START + 60) for number in range(3000)] + [trade(5000, at=START)]
    pages = read(lane, Feed(found))
    assert len({row["fill_id"] for row in lines(pages)}) == 3001
    assert len(pages) >= 4


def test_without_the_counts_in_the_cursor_equal_rows_would_be_lost() -> None:
    """The twin that must fail: it forgets at each page what the transaction has had."""
    found, feed = [], Feed([trade(1) for _ in range(5)], 2)
    cursor: str | None = None
    while True:
        page = LANE.parse(UNIT, cursor, feed.answer(LANE.request(UNIT, cursor)))
        found += lines([page])
        if page.next is None:
            break
        cursor = orjson.dumps(orjson.loads(page.next) | {"tx": "", "k": {}}).decode()
    assert len(found) == 5 and len({row["fill_id"] for row in found}) == 2


def test_reading_ends_where_the_window_begins() -> None:
    feed = Feed([trade(number, at=END + 500 - number) for number in range(6000)], 500)
    pages = read(LANE, feed)
    assert len(lines(pages)) == 3600 and len(feed.requests) == 9 and not any(page.letters for page in pages)


def test_conditions_may_have_windows_of_their_own() -> None:
    unit = Unit(7, (f"{ONE}@{START}-{START + 10}", f"{TWO}@{START + 10}-{START + 20}"))
    found = [trade(n, at=START + n, condition=each) for n in range(20) for each in (ONE, TWO)]
    assert {(row["timestamp"] - START) for row in lines(read(LANE, Feed(found), unit))} == set(range(20))
    assert len(lines(read(OLD, Feed(found), unit))) == 20


def test_a_wallet_has_its_unit_to_itself() -> None:
    with pytest.raises(ValueError, match="to itself"):
        LANE.request(Unit(1, (*MINE.items, *MINE.items)), None)


BROKEN: list[tuple[object, str]] = [
    ("text", "row: expected an object, saw 'text' (text)"),
    (trade(2, proxy_wallet=None), "field proxy_wallet: expected 0x and 40 hex digits, saw null"),
    (trade(2, side="buy"), "field side: expected BUY or SELL, saw 'buy' (text)"),
    (trade(2, token_id=11), "field token_id: expected a token id in decimal digits, saw 11 (number)"),
    (trade(2, token_id=""), "field token_id: expected a token id in decimal digits, saw '' (text)"),
    (trade(2, size="22.84"), "field size: expected a number, saw '22.84' (text)"),
    (trade(2, size=-1.0), "field size: expected a number, saw -1.0 (number)"),
    (trade(2, price=None), "field price: expected a number, saw null"),
    (trade(2, timestamp=str(START)), f"field timestamp: expected unix seconds, saw '{START}' (text)"),
    (trade(2, transaction_hash="0x1"), "field transaction_hash: expected 0x and 64 hex digits, saw '0x1' (text)"),
    (trade(2, condition_id="ab"), "field condition_id: expected 0x and 64 hex digits, saw 'ab' (text)"),
    ({k: v for k, v in trade(2).items() if k != "price"}, "field price: expected a number, saw no such field"),
    (trade(2, size=0.0), "no shares changed hands"),
    (trade(2, size=1e18), "size does not fit 64 bits"),
    (trade(2, condition="ef" * 32), "was not asked for"),
    (trade(2, condition="ef" * 31), "was not asked for"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_change_of_the_contract_is_named_and_the_rest_goes_in(broken: object, reason: str) -> None:
    page = LANE.parse(UNIT, None, body(trade(1), broken, trade(3)))
    assert len(page.lines) == 2 and page.next is None
    (letter,) = page.letters
    assert (letter.cls, letter.track, letter.unit) == ("contract", "data_api_fills", 7)
    assert letter.reason.startswith(reason) and orjson.loads(letter.raw) == broken


def test_a_broken_row_outside_the_window_is_another_units_matter() -> None:
    page = LANE.parse(UNIT, None, body(trade(1, at=END, price=None), trade(2)))
    assert len(page.lines) == 1 and not page.letters


def test_a_combination_is_named_as_such() -> None:
    page = LANE.parse(MINE, None, body(trade(1), trade(2, condition="03" + "0" * 60)))
    assert len(page.lines) == 1
    assert [letter.reason for letter in page.letters] == ["a combination (Protocol V2), not supported"]


@pytest.mark.parametrize("row", [trade(2, at=END), trade(2, proxy_wallet="0x" + "34" * 20), trade(2, at=START - 1)])
def test_a_wallets_page_holds_its_own_trades_only(row: Row) -> None:
    found = sorted([trade(1), row, trade(3, at=START + 5)], key=lambda each: -each["timestamp"])
    page = LANE.parse(MINE, None, body(*found))
    assert len(page.lines) == 2 and [letter.reason for letter in page.letters] == ["was not asked for"]


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"<html>", b"null", b"[]", b"{}", b'{"data":[]}', b'{"data":{},"pagination":{"has_more":false}}',
        b'{"data":[],"pagination":{}}', body(trade(1), has_more=True), body(trade(1), more=""),
        body(trade(1, condition="ef" * 32)), body(trade(1), trade(2, at=START + 1)),
        body(limit=1000 if limit_of(UNIT) != 1000 else 999),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_answer_is_unreadable_with_its_bytes(answer: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        LANE.parse(UNIT, None, answer)
    assert caught.value.raw == answer


def test_a_page_that_was_sent_before_is_unreadable() -> None:
    feed = Feed([trade(number, at=END - 1 - number) for number in range(9)], 3)
    first = feed.answer(LANE.request(UNIT, None))
    cursor = LANE.parse(UNIT, None, first).next
    with pytest.raises(Unreadable, match="does not advance"):
        LANE.parse(UNIT, cursor, first)
    second = feed.answer(LANE.request(UNIT, cursor))
    after = LANE.parse(UNIT, cursor, second).next
    with pytest.raises(Unreadable, match="not newest first"):
        LANE.parse(UNIT, after, first)
    cursor = OLD.parse(UNIT, None, feed.answer(OLD.request(UNIT, None))).next
    with pytest.raises(Unreadable, match="does not go on"):
        OLD.parse(UNIT, cursor, feed.answer(OLD.request(UNIT, None)))


@pytest.mark.parametrize("answer", [b"", b"{}", b"null", b'{"error":"x"}'])
def test_the_first_version_answers_with_a_list(answer: bytes) -> None:
    with pytest.raises(Unreadable):
        OLD.parse(UNIT, None, answer)


def test_less_is_asked_for_on_the_first_page_only() -> None:
    smaller = LANE.smaller(UNIT, None)
    assert smaller is not None and dict(LANE.request(UNIT, smaller).params)["limit"] == str(limit_of(UNIT) // 2)
    following = LANE.parse(UNIT, smaller, body(trade(1), more="x")).next
    assert LANE.smaller(UNIT, following) is None and spot(following).limit == limit_of(UNIT) // 2
    cursor, sizes = None, []
    while (cursor := OLD.smaller(UNIT, cursor)) is not None:
        sizes.append(spot(cursor).limit)
    assert 2 <= sizes[-1] <= 3  # a page of one row would be its predecessor's last


@given(st.integers(0, 10**15), st.integers(1, 10**6))
def test_sizes_below_a_thousand_million_survive_a_float(micro: int, price: int) -> None:
    text = f"{micro // 10**6}.{micro % 10**6:06d}"
    assert rows.micro(float(text), "size") == micro == fields.micro(Decimal(text), "size")
    cost = fields.micro(Decimal(repr(float(text))) * Decimal(repr(price / 10**6)), "cost")
    assert rows.money(float(text), price / 10**6) == cost


@given(st.integers(0, 10**11), st.sampled_from([(2, 1, 0.5), (4, 2, 0.25), (10, 5, 0.1), (10, 5, 0.3), (20, 10, 0.05)]))
def test_a_half_goes_to_the_even_side_as_in_imports(number: int, tie: tuple[int, int, float]) -> None:
    step, odd, price = tie
    size = float(Decimal(number * step + odd) / 10**6)
    assert rows.money(size, price) == fields.micro(Decimal(repr(size)) * Decimal(repr(price)), "cost")
    shares = number * step + odd
    assert rows.worth(shares, price) == fields.micro(Decimal(shares) / 10**6 * Decimal(repr(price)), "cost")


@given(st.integers(0, 2**64 - 1))
def test_larger_sizes_are_read_from_their_digits(micro: int) -> None:
    text = f"{micro // 10**6}.{micro % 10**6:06d}"
    answer = body(trade(1) | {"size": -1}).replace(b'"size":-1', b'"size":' + text.encode())
    page = LANE.parse(UNIT, None, answer)
    if micro == 0 or micro * 0.52 > 2**64:
        return
    (row,) = lines([page])
    assert row["shares_micro"] == micro
    assert row["usdc_micro"] == fields.micro(Decimal(text) * Decimal("0.52"), "cost")


def test_a_float_would_have_lost_them() -> None:
    assert round(float("12345678901.123457") * 10**6) != 12345678901123457


@given(st.integers(1, 2**60), st.integers(0, 2**60), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_prices_and_ids_are_those_of_imports(shares: int, usdc: int, digits: str) -> None:
    try:
        price = shapes.price_of(usdc, shares)
    except ValueError:
        with pytest.raises(ValueError, match="does not fit"):
            rows.price_text(usdc, shares)
    else:
        assert rows.price_text(usdc, shares) == price
    facts = (f"0x{digits}", 11, "SELL", WALLET, shares, usdc)
    assert rows.keyless_id(*facts) == shapes.keyless_id(*facts)


def status(computed_at: object = "2026-09-14T10:24:36Z", lag: object = 4) -> bytes:
    return orjson.dumps({"data": {"computed_at": computed_at, "serving": {"lag_seconds": lag}}})


def test_the_head_leaves_room_for_the_lag_and_for_pages_that_were_kept() -> None:
    assert isinstance(LANE, Headed) and LANE.head() == Request("GET", "/v2/status")
    assert LANE.read_head(status()) == 1_789_381_476 - 4 - 300
    path = SHARED / "reference" / "samples" / "data-api" / "v2_status.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST A RECORDED ANSWER: {path} is not here")
    assert LANE.read_head(path.read_bytes()) == 1_789_381_476 - 304


@pytest.mark.parametrize(
    "answer", [b"{}", b"[]", status(None), status("yesterday"), status("2026-09-14T10:24:36"), status(lag=None)]
)
def test_a_head_that_says_nothing_is_unreadable(answer: bytes) -> None:
    with pytest.raises(Unreadable):
        LANE.read_head(answer)


def test_recorded_trades_are_read() -> None:
    path = SHARED / "reference" / "samples" / "data-api" / "v2_trades.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST A RECORDED ANSWER: {path} is not here")
    recorded = orjson.loads(path.read_bytes())
    unit = Unit(1, tuple(f"{row['condition_id'][2:]}@0-1900000000" for row in recorded["data"]))
    page = LANE.parse(unit, None, path.read_bytes())
    assert [(row["shares_micro"], row["usdc_micro"]) for row in lines([page])] == [
        (22_840_000, 11_876_800),
        (5_000_000, 10_000),
    ]
    assert not page.letters and spot(page.next).cursor == recorded["pagination"]["next_cursor"]


@pytest.mark.parametrize("name", ["fills_dataapi_alpharaccoon.jsonl.gz", "fills_dataapi_global_2026-02-28.jsonl.gz"])
def test_thousands_of_recorded_trades_are_read_as_imports_read_them(name: str) -> None:
    path = SHARED / "data" / "real" / name
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST RECORDED TRADES: {path} is not here")
    recorded = [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    recorded.sort(key=lambda row: (-row["timestamp"], row["transactionHash"]))
    names = {new: before for before, new in RENAMED.items()}
    found = [{names.get(name, name): value for name, value in row.items()} for row in recorded]
    unit = Unit(1, tuple(f"{each[2:]}@0-1900000000" for each in sorted({row["conditionId"] for row in recorded})))
    pages = read(LANE, Feed(found, 700), unit)
    exact = [json.loads(orjson.dumps(row), parse_float=Decimal) for row in recorded]
    assert Counter(row["fill_id"] for row in lines(pages)) == imported(exact)
    assert len(lines(pages)) == len(recorded) > 2000 and not any(page.letters for page in pages)


@pytest.fixture(scope="module")
def world() -> World:
    return World.generate(seed=5, traded=400, mapped=100)


@pytest.mark.parametrize("lane", [LANE, OLD])
@pytest.mark.parametrize("by", ["condition", "wallet"])
def test_the_simulators_trades_come_whole(world: World, lane: DataApiFills, by: str) -> None:
    upstream = DataApi(world, Faults(world), combos=lane is LANE)
    orders = world.ledger.orders
    keys = [world.truth[order.token].condition if by == "condition" else order.maker for order in orders]
    chosen = sorted(set(keys))[:40]
    units = [
        Unit(n, (f"{'' if by == 'condition' else 'wallet:'}{key}@1650000000-1900000000",))
        for n, key in enumerate(chosen)
    ]
    if by == "condition":
        units = [Unit(n, tuple(u.items[0] for u in units[n : n + 20])) for n in range(0, 40, 20)]
    found: Counter[tuple[object, ...]] = Counter()
    for unit in units:
        cursor: str | None = lane.smaller(unit, None)
        while cursor is not None:
            request = lane.request(unit, cursor)
            reply = upstream._answer(request.method, request.path, Query(MultiDict(request.params)), PLAIN)
            assert reply.status == 200, reply.body
            page = lane.parse(unit, cursor, reply.body)
            assert {letter.reason for letter in page.letters} <= {"a combination (Protocol V2), not supported"}
            for row in lines([page]):
                found[row["tx_hash"], row["token_id"], row["side"], row["shares_micro"], row["usdc_micro"]] += 1
            cursor = page.next
    wanted = Counter(
        (order.at.tx_hash, str(order.token), order.side, order.shares, order.usdc)
        for order, key in zip(orders, keys, strict=True) if key in chosen
    )  # fmt: skip
    assert found == wanted and sum(wanted.values()) > 40


def test_the_track_is_in_the_catalogue() -> None:
    entry = track("data_api_fills")
    assert (entry.dataset, entry.upstream, entry.scope, entry.after) == (
        "fills",
        "data_api",
        "conditions",
        "goldsky_fills",
    )
    assert entry.make(Config()).request(UNIT, None).path == "/v2/trades"
