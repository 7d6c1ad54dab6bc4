"""The lane of an account's trades at the order book: whose fills they are, which states count, and its pages."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict
from pydantic import SecretStr

from backfill.config import Clob, Config, Secrets
from backfill.engine.model import Page, Unit
from backfill.errors import Unreadable, UpstreamUnusable
from backfill.simulator.clob import Clob as PretendClob
from backfill.simulator.faults import Faults
from backfill.simulator.world import World
from backfill.sources.clob import ClobSource
from backfill.tracks.catalog import track
from backfill.tracks.clob_fills import ClobFills

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples" / "clob"
START, END = 1_700_000_000, 1_700_086_400
WALLET, OTHER = "0x" + "Ab" * 20, "0x" + "cd" * 20
UNIT = Unit(7, (f"{START}-{END}",))
LANE = ClobFills(WALLET)
TX = "0x" + "9F" * 32
Row = dict[str, Any]


def hashed(number: int) -> str:
    return f"0x{number:064x}"


def taken(**more: object) -> Row:
    return {
        "id": "83b5c849",
        "taker_order_id": hashed(1),
        "asset_id": "11",
        "side": "SELL",
        "size": "15",
        "price": "0.35",
        "fee_rate_bps": "",
        "status": "TRADE_STATUS_CONFIRMED",
        "match_time": str(START),
        "maker_address": OTHER,
        "transaction_hash": TX,
        "trader_side": "TAKER",
        "maker_orders": [maker(5, address=OTHER)],
        **more,
    }


def maker(number: int, *, address: str = WALLET.lower(), amount: str = "5.5", **more: object) -> Row:
    row = {"order_id": hashed(number), "maker_address": address, "matched_amount": amount, "price": "0.4"}
    return row | {"asset_id": "12", "side": "BUY", "fee_rate_bps": "0"} | more


def made(*orders: object, **more: object) -> Row:
    return taken(trader_side="MAKER", maker_orders=list(orders), **more)


def cursor_of(offset: int) -> str:
    return base64.b64encode(str(offset).encode()).decode()


def body(*found: object, following: str = "LTE=", **more: object) -> bytes:
    return orjson.dumps({"limit": 100, "count": len(found), "next_cursor": following, "data": found} | more)


def lines(page: Page) -> list[Row]:
    return [orjson.loads(line) for line in page.lines]


def test_the_accounts_trades_of_a_window_are_asked_for() -> None:
    request = LANE.request(UNIT, None)
    assert (request.method, request.path, request.asked) == ("GET", "/data/trades", 1)
    assert dict(request.params) == {
        "maker_address": WALLET.lower(), "after": str(START - 1), "before": str(END), "next_cursor": "MA==",
    }  # fmt: skip
    assert dict(LANE.request(UNIT, "MTAw").params)["next_cursor"] == "MTAw"
    assert LANE.smaller(UNIT, None) is None


def test_when_the_account_took_the_top_is_its_fill() -> None:
    page = LANE.parse(UNIT, None, body(taken(side="BUY")))
    assert lines(page) == [{
        "fill_id": f"{TX.lower()}_{hashed(1)}", "token_id": "11", "maker": WALLET.lower(), "side": "BUY",
        "shares_micro": 15_000_000, "usdc_micro": 5_250_000, "price": "0.350000000", "timestamp": START,
        "tx_hash": TX.lower(), "order_hash": hashed(1), "source": "clob", "track": "clob_fills", "unit": 7,
    }]  # fmt: skip
    assert (page.asked, page.letters, page.next) == (1, (), None)


def test_when_it_made_only_its_own_orders_are_its_fills() -> None:
    trade = made(maker(2), maker(3, address=OTHER), maker(4, amount="1.25", side="SELL", asset_id="11"))
    two, four = lines(LANE.parse(UNIT, None, body(trade)))
    assert (two["fill_id"], two["token_id"], two["side"]) == (f"{TX.lower()}_{hashed(2)}", "12", "BUY")
    assert (two["shares_micro"], two["usdc_micro"]) == (5_500_000, 2_200_000)
    assert (four["order_hash"], four["side"], four["token_id"]) == (hashed(4), "SELL", "11")


def test_the_recorded_trade_of_a_maker_is_read() -> None:
    path = SAMPLES / "trade_maker_side_ws.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST A RECORDED TRADE: {path} is not here")
    recorded = orjson.loads(path.read_bytes())
    unit = Unit(7, ("1762776000-1762777000",))
    lane = ClobFills("0xa3D82Ed56F4c68d2328Fb8c29e568Ba2cAF7d7c8")
    found = lines(lane.parse(unit, None, body(recorded)))
    own = [order for order in recorded["maker_orders"] if order["maker_address"].startswith("0xa3D8")]
    assert [(row["order_hash"], row["usdc_micro"]) for row in found] == [
        (own[0]["order_id"], 2_000_000), (own[1]["order_id"], 1_500_000),
    ]  # fmt: skip
    assert {row["side"] for row in found} == {"BUY"} and recorded["side"] == "SELL"


@pytest.mark.parametrize("prefix", ["", "TRADE_STATUS_"])
@pytest.mark.parametrize("status", ["MATCHED", "MINED", "RETRYING", "FAILED", "MATCHED_NOT_BROADCASTED", "CONFIRMED"])
def test_only_what_is_settled_is_a_fill(prefix: str, status: str) -> None:
    page = LANE.parse(UNIT, None, body(taken(status=prefix + status)))
    assert len(page.lines) == (status == "CONFIRMED") and not page.letters


@pytest.mark.parametrize("absent", ["", None])
def test_a_trade_without_its_transaction_is_left_to_a_later_run(absent: object) -> None:
    page = LANE.parse(UNIT, None, body(taken(transaction_hash=absent), taken()))
    assert len(page.lines) == 1 and not page.letters


BROKEN: list[tuple[object, str]] = [
    (None, "row: expected an object, saw null"),
    (taken(status="TRADE_STATUS_LOST"), "field status: expected TRADE_STATUS_{CONFIRMED"),
    (taken(match_time="2026-01-01T00:00:00Z"), "field match_time: expected unix seconds in decimal digits"),
    (taken(trader_side="BOTH"), "field trader_side: expected TAKER or MAKER, saw 'BOTH' (text)"),
    (taken(transaction_hash="0x1"), "field transaction_hash: expected a transaction hash, or nothing"),
    (taken(taker_order_id=""), "field taker_order_id: expected 0x and 64 hex digits, saw '' (text)"),
    (taken(size=15), "field size: expected a decimal number as text, saw 15 (number)"),
    (taken(size="100000000"), "a size of a million or more without a point"),
    (taken(price="1e-3"), "field price: expected a decimal number as text"),
    (taken(size="0"), "no shares changed hands"),
    (made(), "field maker_orders: expected orders of 0xabab"),
    (made(maker(2, address=OTHER)), "field maker_orders: expected orders of 0xabab"),
    (taken(trader_side="MAKER", maker_orders=None), "field maker_orders: expected orders of"),
    (made(maker(2, side="LONG")), "field side: expected BUY or SELL, saw 'LONG' (text)"),
    (made(maker(2, amount="1000000")), "a size of a million or more without a point"),
    (taken(match_time=str(END + 1)), "was not asked for"),
    (taken(match_time=str(START - 2)), "was not asked for"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=lambda value: str(value)[:50])
def test_a_change_of_the_contract_is_named_and_the_rest_goes_in(broken: object, reason: str) -> None:
    page = LANE.parse(UNIT, None, body(made(maker(8)), broken, made(maker(9))))
    assert len(page.lines) == 2
    (letter,) = page.letters
    assert (letter.cls, letter.track, letter.unit) == ("contract", "clob_fills", 7)
    assert letter.reason.startswith(reason) and orjson.loads(letter.raw) == broken


@pytest.mark.parametrize(("at", "count"), [(START - 1, 0), (START, 1), (END - 1, 1), (END, 0)])
def test_a_second_more_is_asked_for_at_each_end_and_passed_over(at: int, count: int) -> None:
    page = LANE.parse(UNIT, None, body(taken(match_time=str(at))))
    assert len(page.lines) == count and not page.letters


def test_a_million_shares_with_a_point_are_shares() -> None:
    (row,) = lines(LANE.parse(UNIT, None, body(taken(size="1000000.0"))))
    assert row["shares_micro"] == 10**12


def test_an_order_filled_twice_in_one_transaction_cannot_be_told_apart() -> None:
    page = LANE.parse(UNIT, None, body(made(maker(2)), made(maker(2)), made(maker(2, amount="9"))))
    assert len(page.lines) == 1 and [letter.cls for letter in page.letters] == ["conflict"]


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"<html>", b"[]", b"{}", b'{"data":[]}', body(following=""), body(taken(), count=2),
        body(taken(), following="MA=="), body(taken(), following=cursor_of(2)), body(taken(match_time="5")),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_used_is_unreadable_with_its_bytes(answer: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        LANE.parse(UNIT, None, answer)
    assert caught.value.raw == answer


def test_a_page_that_was_sent_before_is_unreadable() -> None:
    first = body(taken(), following=cursor_of(1))
    assert LANE.parse(UNIT, None, first).next == cursor_of(1)
    with pytest.raises(Unreadable, match="the cursor goes from 1 to 1"):
        LANE.parse(UNIT, cursor_of(1), first)


def test_cursors_of_another_kind_are_followed_as_they_are() -> None:
    page = LANE.parse(UNIT, "opaque", body(taken(), following="next!"))
    assert page.next == "next!" and page.asked == 0
    with pytest.raises(Unreadable):
        LANE.parse(UNIT, "next!", body(taken(), following="next!"))


@given(st.integers(1, 40), st.integers(1, 17))
def test_every_trade_comes_once_whatever_the_page_size(count: int, size: int) -> None:
    trades = [made(maker(number + 10), match_time=str(START + number % 3)) for number in range(count)]
    found: list[str] = []
    cursor = None
    while True:
        place = int(base64.b64decode(dict(LANE.request(UNIT, cursor).params)["next_cursor"]))
        more = place + size < count
        page = LANE.parse(
            UNIT, cursor, body(*trades[place : place + size], following=cursor_of(place + size) if more else "LTE=")
        )
        found += [row["order_hash"] for row in lines(page)]
        if (cursor := page.next) is None:
            break
    assert found == [hashed(number + 10) for number in range(count)]


def test_without_an_account_nothing_is_asked() -> None:
    with pytest.raises(UpstreamUnusable, match="POLYMARKET_CLOB_ADDRESS") as caught:
        ClobFills("").request(UNIT, None)
    assert caught.value.kind == "no_credentials"


def test_the_simulators_account_is_read_whole_through_signed_requests() -> None:
    world = World.generate(seed=5, traded=400, mapped=100)
    now = 1_800_000_000.0
    upstream = PretendClob(world, Faults(world), clock=lambda: now)
    secrets = Secrets.model_validate({name.lower(): SecretStr(value) for name, value in upstream.env.items()})
    source = ClobSource(Clob(), secrets, clock=lambda: now)
    lane = ClobFills(upstream.account)
    found: Counter[tuple[object, ...]] = Counter()
    unit, cursor = Unit(0, ("1600000000-1900000000",)), None
    while True:
        request = lane.request(unit, cursor)
        headers = CIMultiDict(source.sign(request))
        reply = upstream.reply(request.method, request.path, MultiDict(request.params), headers)
        assert reply.status == 200, reply.body
        page = lane.parse(unit, cursor, reply.body)
        assert not page.letters
        for row in lines(page):
            found[row["fill_id"], row["token_id"], row["side"], row["shares_micro"], row["usdc_micro"]] += 1
        if (cursor := page.next) is None:
            break
    wanted = Counter(
        (f"{order.at.tx_hash}_{order.order_hash}", str(order.token), order.side, order.shares, order.usdc)
        for order in upstream.told()
    )
    assert found == wanted and len(wanted) > 5
    assert upstream.reply("GET", "/data/trades", MultiDict(request.params), CIMultiDict({})).status == 401


def test_the_track_is_in_the_catalogue() -> None:
    entry = track("clob_fills")
    assert (entry.dataset, entry.upstream, entry.scope) == ("fills", "clob", "windows")
    config = Config(secrets=Secrets(polymarket_clob_address=SecretStr(WALLET)))
    assert dict(entry.make(config).request(UNIT, None).params)["maker_address"] == WALLET.lower()
