"""The second version of the pretend Data API: feeds."""

from __future__ import annotations

import base64
from collections import Counter

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from backfill.simulator.data_api import DataApi
from backfill.simulator.faults import Faults
from backfill.simulator.ledger import Order
from backfill.simulator.reply import Wish
from backfill.simulator.world import World
from tests.simulator.test_sim_data_api_case import (
    BURST,
    EXCHANGE,
    WALLETS,
    Caller,
    caller,
    history,
    kinds,
    sample,
)

__all__ = ["caller", "history"]
Row = dict[str, object]
Key = tuple[object, ...]
TINY = 0.000001


def key_of_row(row: Row) -> Key:
    """What identifies a trade's row, as far as anything does."""
    return (row["proxy_wallet"], row["side"], row["token_id"], row["size"], row["transaction_hash"], row["timestamp"])


def key_of(order: Order) -> Key:
    """The same of an order."""
    return (order.maker, order.side, str(order.token), order.shares / 1e6, order.at.tx_hash, order.at.timestamp)


def truth(orders: list[Order]) -> Counter[Key]:
    """Rows that these orders make."""
    return Counter(map(key_of, orders))


def test_a_wallets_whole_history_is_the_ledgers_multiset_however_it_is_cut(caller: Caller, history: World) -> None:
    for wallet in WALLETS[:3]:
        expected = truth([order for order in history.ledger.orders if order.maker == wallet])
        for limit in (1000, 37):
            rows = caller.all("/v2/trades", user=wallet, taker_only="false", start=1, filter_amount=TINY, limit=limit)
            assert Counter(map(key_of_row, rows)) == expected
    assert max(expected.values()) == 2, "equal rows in one transaction stay two"


def test_rows_come_newest_first_and_more_than_a_page_of_one_second_is_not_lost(caller: Caller) -> None:
    rows = caller.all("/v2/trades", user=WALLETS[0], taker_only="false", start=1, filter_amount=TINY, limit=1000)
    times = [int(row["timestamp"]) for row in rows]
    assert times == sorted(times, reverse=True)
    assert Counter(times).most_common(1)[0][1] >= BURST > 1000


def test_conditions_are_taken_together_and_the_window_is_not_asked(caller: Caller, history: World) -> None:
    conditions = [market.condition for market in history.markets[:20]]
    tokens = {token for market in history.markets[:20] for token in market.tokens}
    now = history.ledger.head.timestamp + 1
    expected = truth([o for o in history.ledger.orders if o.token in tokens and o.at.timestamp >= now - 1095 * 86_400])
    text = ",".join(f"0x{each}" for each in conditions)
    rows = caller.all("/v2/trades", condition=text, taker_only="false", filter_amount=TINY, start=now, limit=400)
    assert Counter(map(key_of_row, rows)) == expected
    older = [o for o in history.ledger.orders if o.token in tokens and o.at.timestamp < now - 1095 * 86_400]
    assert older, "something of these markets is older than three years, and cannot be had by condition"


def test_without_a_start_three_years_are_told_and_both_bounds_are_inclusive(caller: Caller, history: World) -> None:
    now = history.ledger.head.timestamp + 1
    mine = [o for o in history.ledger.orders if o.maker == WALLETS[2]]
    usual = caller.all("/v2/trades", user=WALLETS[2], taker_only="false", filter_amount=TINY, limit=1000)
    assert Counter(map(key_of_row, usual)) == truth([o for o in mine if o.at.timestamp >= now - 1095 * 86_400])
    assert len(usual) < len(mine)
    low, high = mine[3].at.timestamp, mine[9].at.timestamp
    window = caller.all("/v2/trades", user=WALLETS[2], taker_only="false", filter_amount=TINY, start=low, end=high)
    assert Counter(map(key_of_row, window)) == truth([o for o in mine if low <= o.at.timestamp <= high])


def test_makers_and_dust_are_hidden_unless_asked_for(caller: Caller, history: World) -> None:
    mine = [o for o in history.ledger.orders if o.maker == WALLETS[3]]
    taken = caller.all("/v2/trades", user=WALLETS[3], start=1, limit=1000)
    assert Counter(map(key_of_row, taken)) == truth([o for o in mine if o.taker == o.exchange and o.shares >= 10_000])
    zero = caller.all("/v2/trades", user=WALLETS[3], start=1, filter_amount=0, taker_only="false", limit=1000)
    assert len(zero) == sum(o.shares >= 10_000 for o in mine) < len(mine), "0 means the default"
    sold = caller.all("/v2/trades", user=WALLETS[3], start=1, side="SELL", takerOnly="false", limit=1000)
    assert {row["side"] for row in sold} == {"SELL"}


def test_the_bare_feed_reaches_back_to_last_month(caller: Caller, history: World) -> None:
    wish = Wish(before=1_780_000_001)
    rows = caller.all("/v2/trades", wish, taker_only="false", filter_amount=TINY, limit=1000)
    assert Counter(map(key_of_row, rows)) == truth(
        [o for o in history.ledger.orders if 1_775_001_600 <= o.at.timestamp <= 1_780_000_000]
    )


def test_some_labels_are_unknown_and_prices_are_the_quotient(caller: Caller, history: World) -> None:
    rows = caller.all("/v2/trades", user=WALLETS[0], taker_only="false", start=1, filter_amount=TINY, limit=1000)
    indexes = Counter(row["outcome_index"] for row in rows)
    assert indexes[999] > 10 and indexes[0] > 10 and indexes[1] > 10
    by_key = {key_of(order): order for order in history.ledger.orders}
    for row in rows:
        order = by_key[key_of_row(row)]
        assert row["price"] == order.usdc / order.shares
        assert row["outcome"] == history.truth[order.token].label


def test_rows_that_are_put_together_from_encoded_parts_are_the_rows(caller: Caller, history: World) -> None:
    rows = caller.api._feeds._rows
    for order in history.ledger.orders:
        assert orjson.loads(rows.trade_line(order)) == orjson.loads(orjson.dumps(rows.trade(order)))


@pytest.mark.parametrize("path", ["/v2/trades", "/v2/activity"])
def test_an_edited_cursor_is_refused(caller: Caller, path: str) -> None:
    first = orjson.loads(caller.ask(path, user=WALLETS[0], limit=5).body)
    cursor = first["pagination"]["next_cursor"]
    assert "=" not in cursor
    data = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    data["data"]["params"]["l"] = 1000
    edited = base64.urlsafe_b64encode(orjson.dumps(data)).decode().rstrip("=")
    for bad in (edited, cursor[:-2], cursor + "A", "not a cursor", base64.urlsafe_b64encode(b"{}").decode()):
        assert caller.refusal(path, user=WALLETS[0], cursor=bad) == (400, "invalid_request", "invalid cursor")
    other = "/v2/activity" if path == "/v2/trades" else "/v2/trades"
    assert caller.refusal(other, user=WALLETS[0], cursor=cursor)[0] == 400


def test_a_cursor_keeps_its_page_size_and_not_its_filters(caller: Caller) -> None:
    first = orjson.loads(caller.ask("/v2/trades", user=WALLETS[0], limit=5, taker_only="false").body)
    cursor = first["pagination"]["next_cursor"]
    again = orjson.loads(caller.ask("/v2/trades", user=WALLETS[1], cursor=cursor, limit=77).body)
    assert again["pagination"]["limit"] == len(again["data"]) == 5
    assert {row["proxy_wallet"] for row in again["data"]} == {WALLETS[1]}, "the walk went on as somebody else's"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"limit": 1001}, "limit must be between 1 and 1000"),
        ({"offset": 0}, "offset is not supported, use cursor"),
        ({"user": EXCHANGE}, f"user is a protocol contract: {EXCHANGE}"),
        ({"user": "0x12"}, "invalid user address: 0x12"),
        ({"condition": "0x12"}, "invalid condition id: 0x12"),
        ({"condition": ",".join(f"0x{n:064x}" for n in range(21))}, "at most 20 condition values, got 21"),
        ({"condition": f"0x{1:064x}", "event_id": 1}, "condition and event_id exclude each other"),
        ({"side": "BOTH"}, "side must be one of BUY, SELL"),
        ({"filter_amount": "much"}, "invalid filter_amount: much"),
    ],
)
def test_what_makes_no_sense_is_refused_in_the_shape_of_errors(
    caller: Caller, parameters: dict[str, object], text: str
) -> None:
    assert caller.refusal("/v2/trades", **parameters) == (400, "invalid_request", text)


def test_an_event_is_all_of_its_markets(caller: Caller, history: World) -> None:
    group = max(caller.api._index.facts.groups.values(), key=lambda each: len(each.places))
    tokens = {token for place in group.places for token in caller.api._index.facts.listing[place].tokens}
    rows = caller.all("/v2/trades", event_id=group.number, taker_only="false", filter_amount=TINY, limit=1000)
    assert {row["token_id"] for row in rows} <= {str(token) for token in tokens}
    assert len(group.places) > 1


def test_the_clock_hides_what_is_younger(caller: Caller, history: World) -> None:
    middle = history.ledger.orders[len(history.ledger.orders) // 2].at
    wish = Wish(before=middle.timestamp)
    rows = caller.all("/v2/trades", wish, user=WALLETS[4], taker_only="false", filter_amount=TINY, start=1)
    expected = [o for o in history.ledger.orders if o.maker == WALLETS[4] and o.at.timestamp < middle.timestamp]
    assert Counter(map(key_of_row, rows)) == truth(expected)


def test_status_tells_the_newest_block_of_the_clock() -> None:
    world = World.generate(seed=4, traded=200, mapped=0)
    caller = Caller(DataApi(world, Faults(world)))

    def newest(before: int | None) -> int:
        body = orjson.loads(caller.ask("/v2/status", Wish(before=before)).body)
        return int(body["data"]["ingestion"]["max_synced_block"])

    assert newest(None) == world.ledger.head.block
    for order in world.ledger.orders[::50]:
        assert 0 <= order.at.block - newest(order.at.timestamp + 1) <= 5, "blocks shift a little where two seconds met"
        assert newest(order.at.timestamp + 86_400) > order.at.block + 30_000


def test_activity_is_everything_that_a_wallet_did(caller: Caller, history: World) -> None:
    ledger, wallet = history.ledger, WALLETS[2]
    rows = caller.all("/v2/activity", user=wallet, start=1, limit=100)
    expected = Counter(
        TRADE=sum(o.maker == wallet for o in ledger.orders),
        SPLIT=sum(s.stakeholder == wallet and not s.merge for s in ledger.splits),
        MERGE=sum(s.stakeholder == wallet and s.merge for s in ledger.splits),
        REDEEM=sum(r.redeemer == wallet for r in ledger.redemptions),
        CONVERSION=sum(c.stakeholder == wallet for c in ledger.conversions),
    )
    assert Counter(row["type"] for row in rows) == +expected
    upwards = caller.all("/v2/activity", user=wallet, start=1, sort_direction="ASC", limit=100)
    assert upwards == rows[::-1]
    redeemed = [row for row in rows if row["type"] == "REDEEM"]
    payouts = Counter(r.payout / 1e6 for r in ledger.redemptions if r.redeemer == wallet)
    assert Counter(row["size"] for row in redeemed) == payouts
    assert {row["token_id"] for row in redeemed} == {""}
    some = caller.all("/v2/activity", user=wallet, start=1, type="SPLIT,MERGE")
    assert {row["type"] for row in some} <= {"SPLIT", "MERGE"} and some


def test_money_of_a_trade_includes_the_fee_where_it_is_money(caller: Caller, history: World) -> None:
    rows = caller.all("/v2/activity", user=WALLETS[1], start=1, type="TRADE", limit=1000)
    by_place = {(o.at.tx_hash, o.side, o.shares / 1e6): o for o in history.ledger.orders if o.maker == WALLETS[1]}
    seen = set()
    for row in rows:
        order = by_place[row["transaction_hash"], row["side"], row["size"]]
        if order.side == "BUY" and order.fee:
            extra = order.fee if order.version == 2 else 0
            assert row["usdc_size"] == (order.usdc + extra) / 1e6
            seen.add(order.version)
    assert seen == {1, 2}


def test_activity_needs_a_wallet_and_known_words(caller: Caller) -> None:
    missing = (400, "invalid_request", "required query param 'user' not provided")
    assert caller.refusal("/v2/activity") == missing
    assert caller.refusal("/v2/activity", user=WALLETS[0], type="TRADE,NAP")[2] == "invalid activity type: NAP"
    assert caller.refusal("/v2/activity", user=WALLETS[0], sort_by="CASH")[0] == 400
    assert caller.refusal("/v2/nothing")[:2] == (404, "not_found")


def test_the_rows_have_the_recorded_shape(caller: Caller, history: World) -> None:
    page = orjson.loads(caller.ask("/v2/trades", user=WALLETS[0], limit=2).body)
    assert kinds(page) == kinds(sample("data-api/v2_trades.json"))
    page = orjson.loads(caller.ask("/v2/activity", user=WALLETS[0], limit=2).body)
    assert kinds(page) == kinds(sample("data-api/v2_activity.json"))
    recorded, made = (
        {k for k in orjson.loads(base64.b64decode(c + "=" * (-len(c) % 4)))["data"]["params"]}
        for c in (sample("data-api/v2_trades.json")["pagination"]["next_cursor"],
                  orjson.loads(caller.ask("/v2/trades", user=WALLETS[0], limit=2).body)["pagination"]["next_cursor"])
    )  # fmt: skip
    assert made == recorded
    status = orjson.loads(caller.ask("/v2/status").body)
    assert kinds(status) == kinds(sample("data-api/v2_status.json"))


def test_a_short_page_says_so_or_does_not(caller: Caller) -> None:
    said = orjson.loads(caller.ask("/v2/trades", Wish("short_page"), user=WALLETS[0], limit=10).body)
    assert len(said["data"]) == 5 and said["pagination"]["has_more"]
    follow = orjson.loads(caller.ask("/v2/trades", user=WALLETS[0], cursor=said["pagination"]["next_cursor"]).body)
    whole = orjson.loads(caller.ask("/v2/trades", user=WALLETS[0], limit=10).body)["data"]
    assert said["data"] + follow["data"][:5] == whole
    unsaid = orjson.loads(caller.ask("/v2/trades", Wish("short_page_unsaid"), user=WALLETS[0], limit=10).body)
    assert len(unsaid["data"]) == 5 and not unsaid["pagination"]["has_more"]


def test_a_large_page_may_take_too_long(caller: Caller) -> None:
    wish = Wish("query_timeout", timeout_above=200)
    reply = caller.ask("/v2/trades", wish, user=WALLETS[0], limit=500)
    body = orjson.loads(reply.body)
    assert (reply.status, body["code"], body["retryable"]) == (503, "request_timeout", True)
    small = caller.ask("/v2/trades", wish, user=WALLETS[0], limit=200)
    assert small.status == 200 and not small.applied


def test_bundles_are_mixed_in_where_asked_for(history: World) -> None:
    api = DataApi(history, Faults(history))
    caller = Caller(api)
    plain = caller.all("/v2/trades", user=WALLETS[1], start=1, limit=1000)
    api.configure("combos", True)
    mixed = caller.all("/v2/trades", user=WALLETS[1], start=1, limit=1000)
    bundles = [row for row in mixed if len(str(row["condition_id"])) == 64]
    assert bundles and {row["slug"] for row in bundles} == {row["outcome"] for row in bundles} == {""}
    assert [row for row in mixed if row not in bundles] == plain
    with pytest.raises(ValueError, match="no option 'combo'"):
        api.configure("combo", True)


def test_a_cached_first_page_is_older_than_the_next(history: World) -> None:
    late = Caller(DataApi(history, Faults(history), feed_lag=300))
    burst = Wish(before=1_780_000_200)
    assert late.rows("/v2/trades", burst, user=WALLETS[0])[0]["timestamp"] < 1_780_000_000
    later = Wish(before=1_780_000_301)
    assert late.rows("/v2/trades", later, user=WALLETS[1])[0]["timestamp"] == 1_780_000_000


async def test_it_answers_requests_below_its_prefix(history: World) -> None:
    api = DataApi(history, Faults(history))

    async def handle(request: web.Request) -> web.Response:
        reply = await api.answer(request)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    app = web.Application()
    app.router.add_route("*", "/data-api/{path:.*}", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        async with session.get(server.make_url(f"/data-api/v2/trades?user={WALLETS[0]}&limit=3")) as answer:
            assert len((await answer.json(content_type=None))["data"]) == 3
            assert answer.headers["cache-control"] == "public, max-age=300" and answer.headers["x-trace-id"]
        async with session.get(server.make_url("/data-api/trades?limit=3")) as answer:
            assert len(await answer.json(content_type=None)) == 3
