"""The pretend CLOB has the real one's manners."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict, MultiDict

from backfill.simulator.clob import Clob, cursor_of
from backfill.simulator.clob_auth import signature
from backfill.simulator.faults import Faults
from backfill.simulator.ledger import At, Ledger, Order, WalletPair
from backfill.simulator.reply import PLAIN, Reply, Wish
from backfill.simulator.world import World
from tests.simulator.test_sim_data_api_case import EXCHANGE, kinds, sample

Row = dict[str, Any]
NOW = 1_793_000_000
END = "LTE="


@pytest.fixture(scope="module")
def chronicle() -> World:
    """A full world in which the account trades a few hundred times."""
    return World.generate(seed=13, traded=500, mapped=0, full=True, busy=40.0)


@pytest.fixture(scope="module")
def clob(chronicle: World) -> Clob:
    """A CLOB with pages of a hundred, whose clock stands."""
    return Clob(chronicle, Faults(chronicle), page_size=100, clock=lambda: NOW)


def headers_of(clob: Clob, **changed: str) -> CIMultiDict[str]:
    """Signed headers of a request for the account's trades, with some changed after signing."""
    known, at = clob.credentials, changed.get("POLY_TIMESTAMP", str(NOW))
    return CIMultiDict({
        "POLY_ADDRESS": known.address,
        "POLY_SIGNATURE": signature(known.secret, at, "GET", "/data/trades"),
        "POLY_TIMESTAMP": at,
        "POLY_API_KEY": known.api_key,
        "POLY_PASSPHRASE": known.passphrase,
        **changed,
    })  # fmt: skip


def ask(clob: Clob, path: str, wish: Wish = PLAIN, signed: bool = False, **query: object) -> Reply:
    """An answer."""
    headers: CIMultiDict[str] = headers_of(clob) if signed else CIMultiDict()
    return clob.reply("GET", path, MultiDict({name: str(value) for name, value in query.items()}), headers, wish)


def body_of(clob: Clob, path: str, wish: Wish = PLAIN, signed: bool = False, **query: object) -> Row:
    """The document of a good answer."""
    reply = ask(clob, path, wish, signed, **query)
    assert reply.status == 200, reply.body
    return dict(orjson.loads(reply.body))


def all_rows(clob: Clob, path: str, wish: Wish = PLAIN, signed: bool = False, **query: object) -> list[Row]:
    """The rows of every page, by following cursors."""
    found: list[Row] = []
    cursor = "MA=="
    while cursor != END:
        body = body_of(clob, path, wish, signed, next_cursor=cursor, **query)
        assert body["count"] == len(body["data"])
        found += body["data"]
        cursor = body["next_cursor"]
    return found


def test_the_list_is_every_market_and_one_malformed_row(clob: Clob, chronicle: World) -> None:
    found = all_rows(clob, "/markets")
    assert sorted(row["condition_id"][2:] for row in found if row["condition_id"]) == sorted(
        market.condition for market in chronicle.markets
    )
    bad = [row for row in found if not row["condition_id"]]
    assert len(bad) == 1 and [token["token_id"] for token in bad[0]["tokens"]] == ["", ""]


def test_cursors_can_be_computed_and_end_in_nothing(clob: Clob, chronicle: World) -> None:
    total = len(chronicle.markets) + 1
    assert cursor_of(0) == "MA==" and cursor_of(100) == "MTAw"
    pages = [body_of(clob, "/markets", next_cursor=cursor_of(at)) for at in range(0, total, 100)]
    assert [row for page in pages for row in page["data"]] == all_rows(clob, "/markets")
    assert [page["next_cursor"] for page in pages] == [*(cursor_of(at) for at in range(100, total, 100)), END]
    for past in (cursor_of(total), cursor_of(10**7), END):
        page = body_of(clob, "/markets", next_cursor=past)
        assert (page["data"], page["count"], page["next_cursor"]) == ([], 0, END)
    assert ask(clob, "/markets", next_cursor="!").status == 400


def test_a_page_tells_its_size(chronicle: World) -> None:
    clob = Clob(chronicle, Faults(chronicle))
    page = body_of(clob, "/markets")
    assert page["limit"] == 1000 and page["count"] == len(chronicle.markets) + 1 and page["next_cursor"] == END
    clob.configure("page_size", 100)
    assert body_of(clob, "/markets")["limit"] == body_of(clob, "/markets")["count"] == 100
    with pytest.raises(ValueError, match="no option 'page_size' with a value 7"):
        clob.configure("page_size", 7)


def test_rows_tell_the_truth_with_odd_flags(clob: Clob, chronicle: World) -> None:
    known = {market.condition: market for market in chronicle.markets}
    endings = {each.condition: each.numerators for each in chronicle.ledger.resolutions}
    found = {row["condition_id"][2:]: row for row in all_rows(clob, "/markets") if row["condition_id"]}
    for condition, row in found.items():
        market = known[condition]
        assert [int(token["token_id"]) for token in row["tokens"]] == list(market.tokens)
        assert [token["outcome"] for token in row["tokens"]] == list(market.labels)
        assert row["question_id"] == market.question_id
        winners = [token["winner"] for token in row["tokens"]]
        assert winners == [each == 1 for each in endings.get(condition, (0, 0))] or endings[condition] == (1, 1)
        if endings.get(condition) == (1, 1):
            assert winners == [False, False] and [token["price"] for token in row["tokens"]] == [0.5, 0.5]
        assert row["neg_risk_market_id"] == (market.neg_risk_market or "")
    assert any(row["closed"] and row["accepting_orders"] for row in found.values())
    assert any(row["closed"] and not row["accepting_orders"] for row in found.values())
    assert (1, 1) in endings.values()


def test_one_market(clob: Clob, chronicle: World) -> None:
    market = chronicle.markets[0]
    row = body_of(clob, f"/markets/0x{market.condition}")
    assert row in all_rows(clob, "/markets")
    assert ask(clob, f"/markets/0x{7:064x}").status == 404
    assert ask(clob, "/ok").body == b'"OK"' and ask(clob, "/time").body == str(NOW).encode()


def test_markets_have_the_recorded_shape(clob: Clob) -> None:
    recorded: set[str] = set()
    for name in ("markets_page_first3", "market_closed_accepting_true", "market_closed_accepting_false"):
        whole = sample(f"clob/{name}.json")
        recorded = recorded.union(*(kinds(row) for row in whole.get("data", [whole])))
    shape = sample("clob/shape_clob__markets_condition_id.json")["shape"]
    lines = {line.removeprefix("$").replace(":null", ":NoneType").replace(":array", ":list") for line in shape}
    recorded |= {line for line in lines if ":object" not in line} | {".tags:NoneType"}  # seen, but in no sample
    found = all_rows(clob, "/markets")
    made = set[str]().union(*map(kinds, found))
    assert made <= recorded, made - recorded
    assert {kind.rpartition(":")[0] for kind in made} == {kind.rpartition(":")[0] for kind in recorded}
    assert set(body_of(clob, "/markets")) == set(sample("clob/markets_page_first3.json"))


def test_the_clock_hides_what_is_younger_and_shifts_nothing(clob: Clob, chronicle: World) -> None:
    moment = sorted(market.start for market in chronicle.markets)[200]
    then = all_rows(clob, "/markets", Wish(before=moment))
    now = all_rows(clob, "/markets")
    ids = [row["condition_id"] for row in then]
    assert len(ids) == 201 and ids == [row["condition_id"] for row in now][:201]
    assert all(not row["closed"] or row["end_date_iso"] is None or row["end_date_iso"] < "2026" for row in then)


def test_hmac_is_the_published_vector() -> None:
    for vector in sample("clob/hmac_vector.json")["vectors"]:
        made = signature(vector["secret"], vector["timestamp"], vector["method"], vector["path"], vector["body"])
        assert made == vector["signature"]


@pytest.mark.parametrize(
    "changed",
    [
        {"POLY_SIGNATURE": "AAAA"},
        {"POLY_API_KEY": "another"},
        {"POLY_PASSPHRASE": "another"},
        {"POLY_ADDRESS": f"0x{7:040x}"},
        {"POLY_TIMESTAMP": str(NOW - 3600)},
        {"POLY_TIMESTAMP": str(NOW + 3600)},
        {"POLY_TIMESTAMP": "soon"},
    ],
)
def test_trades_need_the_accounts_fresh_signature(clob: Clob, changed: dict[str, str]) -> None:
    query = MultiDict({"maker_address": clob.account})
    assert clob.reply("GET", "/data/trades", query, headers_of(clob)).status == 200
    refused = clob.reply("GET", "/data/trades", query, headers_of(clob, **changed))
    assert (refused.status, orjson.loads(refused.body)) == (401, {"error": "Unauthorized/Invalid api key"})
    unsigned = clob.reply("GET", "/data/trades", query, CIMultiDict())
    recorded = next(each for each in sample("clob/errors.json") if "/data/trades" in each["call"])
    assert (unsigned.status, orjson.loads(unsigned.body)) == (recorded["status"], recorded["body"])


def test_a_signature_over_the_query_or_another_method_is_not_taken(clob: Clob) -> None:
    known, at = clob.credentials, str(NOW)
    for method, path in (
        ("GET", "/data/trades?maker_address=x"),
        ("GET", "/clob/data/trades"),
        ("POST", "/data/trades"),
    ):
        forged = headers_of(clob, POLY_SIGNATURE=signature(known.secret, at, method, path))
        assert clob.reply("GET", "/data/trades", MultiDict(), forged).status == 401


def fills_of(rows: list[Row], account: str) -> Counter[tuple[object, ...]]:
    """The account's own fills as a careful reader takes them from the rows."""
    found: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        if row["status"] != "TRADE_STATUS_CONFIRMED" or not row["transaction_hash"]:
            continue
        mine = [row | {"order_id": row["taker_order_id"], "matched_amount": row["size"]}]
        if row["trader_side"] == "MAKER":
            mine = [each for each in row["maker_orders"] if each["maker_address"] == account]
            assert mine and row["maker_address"] != account, "what stands on top is somebody else's"
        for each in mine:
            shares = int(Decimal(each["matched_amount"]) * 1_000_000)
            usdc = round(Decimal(each["matched_amount"]) * Decimal(each["price"]) * 1_000_000)
            key = (row["transaction_hash"], each["order_id"], each["asset_id"], each["side"], shares, usdc)
            found[key] += 1
    return found


def test_a_careful_reader_gets_just_the_accounts_orders(clob: Clob, chronicle: World) -> None:
    found = all_rows(clob, "/data/trades", signed=True, maker_address=clob.account)
    mine = [order for order in chronicle.ledger.orders if order.maker == clob.account]
    told = clob.told()
    assert fills_of(found, clob.account) == Counter(
        (o.at.tx_hash, o.order_hash, str(o.token), o.side, o.shares, o.usdc) for o in told
    )
    assert set(told) < set(mine) and len(told) > 0.9 * len(mine) > 50
    times = [int(row["match_time"]) for row in found]
    assert times == sorted(times, reverse=True)
    assert len(set(row["id"] for row in found)) == len(found)


def test_the_rows_have_their_traps(clob: Clob) -> None:
    found = all_rows(clob, "/data/trades", signed=True, maker_address=clob.account)
    statuses = Counter(row["status"] for row in found)
    assert set(statuses) == {f"TRADE_STATUS_{name}" for name in ("CONFIRMED", "FAILED", "RETRYING")}
    hashless = [row for row in found if not row["transaction_hash"]]
    assert {row["status"] for row in hashless} == set(statuses)
    made = [row for row in found if row["trader_side"] == "MAKER"]
    foreign = [each for row in made for each in row["maker_orders"] if each["asset_id"] != row["asset_id"]]
    assert made and foreign, "an order in the complementary token"
    assert any(each["side"] == row["side"] for row in made for each in row["maker_orders"])
    assert {each["fee_rate_bps"] for row in made for each in row["maker_orders"]} == {"", "0"}
    assert {row["fee_rate_bps"] for row in found} == {"", "0", "200", "1000"}
    several = [row for row in made if sum(e["maker_address"] == clob.account for e in row["maker_orders"]) > 1]
    assert several, "several orders of the account in one match"


def test_rows_have_the_documented_fields(clob: Clob) -> None:
    shape = sample("clob/shape_clob__data_trades.json")["shape"]
    lines = [line.removeprefix("$.data[].").split(":")[0] for line in shape if line.startswith("$.data[].")]
    documented = {line for line in lines if "[]" not in line}
    inner = {line.removeprefix("maker_orders[].") for line in lines if "[]" in line}
    for row in body_of(clob, "/data/trades", signed=True, maker_address=clob.account)["data"]:
        assert set(row) <= documented and documented - set(row) <= {"match_time_nano", "err_msg"}
        assert all(set(each) == inner for each in row["maker_orders"])
        assert all(isinstance(row[name], str) for name in ("size", "price", "match_time", "last_update"))
        assert re.fullmatch(r"[0-9a-f-]{36}", row["id"]) and row["market"].startswith("0x")
    recorded = sample("clob/trade_maker_side_ws.json")
    assert kinds(recorded["maker_orders"]) == kinds(row["maker_orders"] or recorded["maker_orders"])


def test_trades_can_be_narrowed(clob: Clob) -> None:
    everything = all_rows(clob, "/data/trades", signed=True, maker_address=clob.account)
    row = everything[len(everything) // 2]
    at = int(row["match_time"])
    inside = all_rows(clob, "/data/trades", signed=True, maker_address=clob.account, after=at - 1, before=at + 1)
    assert inside == [each for each in everything if int(each["match_time"]) == at]
    market = all_rows(clob, "/data/trades", signed=True, maker_address=clob.account, market=row["market"])
    assert market == [each for each in everything if each["market"] == row["market"]]
    assert all_rows(clob, "/data/trades", signed=True, maker_address=f"0x{7:040x}") == []
    hidden = all_rows(clob, "/data/trades", Wish(before=at), signed=True, maker_address=clob.account)
    assert hidden == [each for each in everything if int(each["match_time"]) < at]
    wrong: tuple[dict[str, Any], ...] = ({}, {"maker_address": clob.account, "after": "yesterday"})
    for query in wrong:
        refused = ask(clob, "/data/trades", signed=True, **query)
        assert (refused.status, orjson.loads(refused.body)) == (400, {"error": "Invalid trade params payload"})


@pytest.mark.parametrize(("path", "signed"), [("/markets", False), ("/data/trades", True)])
def test_a_short_page_goes_on_or_claims_to_be_the_last(clob: Clob, path: str, signed: bool) -> None:
    query: dict[str, Any] = {"maker_address": clob.account} if signed else {}
    whole = body_of(clob, path, signed=signed, **query)["data"]
    said = body_of(clob, path, Wish("short_page"), signed=signed, **query)
    assert said["data"] == whole[:50] and said["count"] == 50
    assert base64.b64decode(said["next_cursor"]) == b"50"
    unsaid = body_of(clob, path, Wish("short_page_unsaid"), signed=signed, **query)
    assert unsaid["data"] == whole[:50] and unsaid["next_cursor"] == END


def test_a_match_without_the_takers_own_row_still_has_a_top(chronicle: World) -> None:
    wallet, other, owner = f"0x{1:040x}", f"0x{2:040x}", f"0x{3:040x}"
    at = At(10, 3, "0xabc", 1_700_000_000)
    token = chronicle.traded[0]
    lone = Order(at, "0x11", wallet, other, token, "SELL", 2_500_000, 1_000_000, 0, EXCHANGE, 1)
    small = World.generate(seed=13, traded=500, mapped=0, full=True, busy=40.0)
    pair = WalletPair(owner, wallet, "safe", None)
    vars(small)["ledger"] = Ledger([lone], [], [], [], [], [], [pair], at)
    clob = Clob(small, Faults(small), clock=lambda: NOW)
    assert (clob.account, clob.credentials.address) == (wallet, owner)
    confirmed = all_rows(clob, "/data/trades", signed=True, maker_address=wallet)
    row = next(row for row in confirmed if row["status"] == "TRADE_STATUS_CONFIRMED")
    assert (row["maker_address"], row["side"], row["size"], row["price"]) == (other, "BUY", "2.5", "0.4")
    assert row["trader_side"] == "MAKER" and row["maker_orders"][0]["order_id"] == "0x11"


async def test_it_answers_requests_below_its_prefix(clob: Clob) -> None:
    async def handle(request: web.Request) -> web.Response:
        reply = await clob.answer(request)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    app = web.Application()
    app.router.add_route("*", "/clob/{path:.*}", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = server.make_url(f"/clob/data/trades?maker_address={clob.account}")
        async with session.get(url, headers=headers_of(clob)) as answer:
            assert json.loads(await answer.text())["count"] > 0
        async with session.get(url) as answer:
            assert answer.status == 401
        assert set(clob.env) == {f"POLYMARKET_CLOB_{n}" for n in ("ADDRESS", "API_KEY", "SECRET", "PASSPHRASE")}
