"""The pretend Dome's trade history."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from multidict import MultiDict

from backfill.simulator.dome_orders import Orders, token_of
from backfill.simulator.dome_query import BadRequest
from backfill.simulator.fills import BASELINE_WALLETS
from backfill.simulator.world import World

WALLET = BASELINE_WALLETS[0]


@pytest.fixture(scope="module")
def orders(world: World) -> Orders:
    """Trade history of the small world."""
    return Orders(world)


def page(orders: Orders, **query: object) -> dict[str, Any]:
    """One page."""
    return dict(orjson.loads(orders.page(MultiDict({k: str(v) for k, v in query.items()})).body))


def test_following_the_cursor_gets_every_fill_of_a_wallet_once_newest_first(orders: Orders, world: World) -> None:
    expected = [f for f in world.fills if f.maker == WALLET and token_of(f) in world.known_to("dome")]
    rows: list[dict[str, Any]] = []
    query: dict[str, object] = {"user": WALLET, "limit": 7}
    while True:
        answer = page(orders, **query)
        rows += answer["orders"]
        if not answer["pagination"]["has_more"]:
            break
        query["pagination_key"] = answer["pagination"]["pagination_key"]
    assert [(r["tx_hash"], r["order_hash"]) for r in rows] == [
        (f.transactionHash, f.orderHash) for f in reversed(expected)
    ]
    assert answer["pagination"]["total"] == len(expected) > 7


def test_price_times_shares_is_the_money(orders: Orders, world: World) -> None:
    fills = {(f.transactionHash, f.orderHash): f for f in world.fills}
    for row in page(orders, user=WALLET, limit=1000)["orders"]:
        fill = fills[row["tx_hash"], row["order_hash"]]
        money = fill.makerAmountFilled if row["side"] == "BUY" else fill.takerAmountFilled
        assert round(row["price"] * row["shares"]) == int(money)
        assert row["token_id"] in (fill.makerAssetId, fill.takerAssetId)


def test_both_ends_of_a_time_range_are_included(orders: Orders, world: World) -> None:
    rows = page(orders, user=WALLET, limit=1000)["orders"]
    newer, older = rows[3]["timestamp"], rows[10]["timestamp"]
    inside = page(orders, user=WALLET, limit=1000, start_time=older, end_time=newer)["orders"]
    assert inside == rows[3:11]


def test_a_token_and_its_market_and_condition_agree(orders: Orders, world: World) -> None:
    token = next(t for t in world.traded if t in world.known_to("dome"))
    truth = world.truth[token]
    by_condition = page(orders, condition_id=f"0x{truth.condition}")["orders"]
    assert page(orders, market_slug=truth.slug)["orders"] == by_condition
    assert page(orders, token_id=token)["orders"] == [r for r in by_condition if r["token_id"] == str(token)]


def test_a_deep_offset_is_refused_with_401_though_the_key_is_good(orders: Orders) -> None:
    with pytest.raises(BadRequest) as refusal:
        page(orders, user=WALLET, offset=10_001)
    assert (refusal.value.status, refusal.value.error) == (401, "Offset deprecated")


@pytest.mark.parametrize(
    "query",
    [{}, {"token_id": 1, "market_slug": "a"}, {"user": WALLET, "limit": 1001},
     {"user": WALLET, "start_time": 5, "end_time": 5}, {"user": WALLET, "start_time": "noon"}],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_a_400(orders: Orders, query: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as refusal:
        page(orders, **query)
    assert refusal.value.status == 400
