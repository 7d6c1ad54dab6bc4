"""The pretend Dome's answers about wallets: owners, activity, realized profit; and what it knew when."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from multidict import MultiDict

from backfill.simulator.cost_basis import positions
from backfill.simulator.dome import Dome
from backfill.simulator.dome_query import BadRequest
from backfill.simulator.dome_wallets import NO_DATA_START
from backfill.simulator.faults import Faults
from backfill.simulator.generate import CUTOVER
from backfill.simulator.reply import PLAIN, Wish
from backfill.simulator.world import World

ORDERS, ACTIVITY, WALLET, PROFIT = (f"/polymarket/{name}" for name in ("orders", "activity", "wallet", "wallet/pnl/"))
HANDLES = 3


@pytest.fixture(scope="module")
def full() -> World:
    """A world in which everything occurs."""
    return World.generate(seed=31, traded=300, mapped=100, full=True)


@pytest.fixture(scope="module")
def dome(full: World) -> Dome:
    """Its Dome."""
    return Dome(full, Faults(full))


def ask(dome: Dome, path: str, wish: Wish = PLAIN, **query: object) -> dict[str, Any]:
    """An answer."""
    return dict(orjson.loads(dome.history(path, MultiDict({k: str(v) for k, v in query.items()}), wish).body))


def sweep(dome: Dome, path: str, name: str, wish: Wish = PLAIN, **query: object) -> list[dict[str, Any]]:
    """All rows of a list, by its cursors."""
    rows: list[dict[str, Any]] = []
    while True:
        answer = ask(dome, path, wish, **query)
        rows += answer[name]
        if not answer["pagination"]["has_more"]:
            return rows
        query["pagination_key"] = answer["pagination"]["pagination_key"]


def test_orders_are_the_v1_ones_of_the_chain_with_their_places(dome: Dome, full: World) -> None:
    known = full.known_to("dome")
    for token in [token for token in full.traded if token in known][:40]:
        rows = sweep(dome, ORDERS, "orders", token_id=token, limit=3)
        expected = [o for o in full.ledger.orders if o.token == token and o.version == 1]
        assert {(r["block_number"], r["log_index"], r["order_hash"], r["shares"], r["user"]) for r in rows} == {
            (o.at.block, o.at.log_index, o.order_hash, o.shares, o.maker) for o in expected
        }
        assert len(rows) == len(expected)


def test_an_older_dome_tells_no_places(full: World) -> None:
    dome = Dome(full, Faults(full))
    dome.configure("log_index", False)
    user = full.ledger.orders[0].maker
    rows = ask(dome, ORDERS, user=user)["orders"]
    assert rows
    assert not any({"block_number", "log_index"} & row.keys() for row in rows)
    with pytest.raises(ValueError, match="log_index"):
        dome.configure("log_index", "yes")


def test_activity_has_splits_merges_and_redemptions_newest_first(dome: Dome, full: World) -> None:
    rows = sweep(dome, ACTIVITY, "activities", limit=17)
    known = {full.truth[token].condition for token in full.known_to("dome")}
    expected = {(s.at.tx_hash, "MERGE" if s.merge else "SPLIT", s.amount) for s in full.ledger.splits
                if s.condition in known and s.at.timestamp < CUTOVER}  # fmt: skip
    expected |= {(r.at.tx_hash, "REDEEM", r.payout) for r in full.ledger.redemptions
                 if r.condition in known and r.at.timestamp < CUTOVER}  # fmt: skip
    assert {(r["tx_hash"], r["side"], r["shares"]) for r in rows} == expected
    assert len(rows) == len(expected)
    assert {row["side"] for row in rows} == {"SPLIT", "MERGE", "REDEEM"}
    assert [r["timestamp"] for r in rows] == sorted((r["timestamp"] for r in rows), reverse=True)
    assert ask(dome, ACTIVITY, limit=17)["pagination"]["count"] == len(expected)


def test_activity_narrows_by_user_and_condition(dome: Dome) -> None:
    rows = sweep(dome, ACTIVITY, "activities", limit=1000)
    user, condition = rows[0]["user"], rows[0]["condition_id"]
    mine = ask(dome, ACTIVITY, user=user, limit=1000)["activities"]
    assert mine == [row for row in rows if row["user"] == user]
    there = ask(dome, ACTIVITY, condition_id=condition, limit=1000)["activities"]
    assert there == [row for row in rows if row["condition_id"] == condition]


def test_a_wallet_is_found_by_owner_proxy_and_handle(dome: Dome, full: World) -> None:
    traders = {order.maker for order in full.ledger.orders if order.version == 1}
    handles = 0
    for pair in full.ledger.wallets:
        if pair.kind == "eoa" or pair.wallet not in traders:
            continue
        found = ask(dome, WALLET, eoa=pair.owner.upper().replace("0X", "0x"))
        assert (found["eoa"], found["proxy"], found["wallet_type"]) == (pair.owner, pair.wallet, pair.kind)
        assert ask(dome, WALLET, proxy=pair.wallet) == found
        if pair.name:
            assert ask(dome, WALLET, handle=f"@{pair.name}") == found
            handles += 1
    assert handles >= HANDLES


def test_metrics_count_what_the_wallet_did(dome: Dome, full: World) -> None:
    known = full.known_to("dome")
    pair = next(
        p for p in full.ledger.wallets if p.kind == "safe" and any(o.maker == p.wallet for o in full.ledger.orders)
    )
    mine = [o for o in full.ledger.orders if o.maker == pair.wallet and o.version == 1 and o.token in known]
    metrics = ask(dome, WALLET, proxy=pair.wallet, with_metrics="true")["wallet_metrics"]
    assert metrics["total_trades"] == len(mine)
    assert round(metrics["total_volume"] * 1e6) == sum(order.usdc for order in mine)


@pytest.mark.parametrize(
    ("query", "status"),
    [({}, 400), ({"eoa": "0x1", "proxy": "0x2"}, 400), ({"eoa": "nobody"}, 400), ({"eoa": f"0x{'0' * 40}"}, 404),
     ({"handle": "@"}, 404)],
)  # fmt: skip
def test_questions_about_no_wallet_are_refused(dome: Dome, query: dict[str, Any], status: int) -> None:
    with pytest.raises(BadRequest) as refusal:
        ask(dome, WALLET, **query)
    assert refusal.value.status == status


def test_realized_profit_is_the_sum_over_positions(dome: Dome, full: World) -> None:
    held = positions(full.ledger, full.markets, CUTOVER)
    wallets = list(dict.fromkeys(wallet for wallet, _ in held))[:20]
    for wallet in wallets:
        answer = ask(dome, PROFIT + wallet, granularity="all")
        assert answer["wallet_address"] == wallet
        (point,) = answer["pnl_over_time"]
        assert round(point["pnl_to_date"] * 1e6) == sum(p.realized for (w, _), p in held.items() if w == wallet)
        days = ask(dome, PROFIT + wallet, granularity="week")["pnl_over_time"]
        assert [day["timestamp"] for day in days] == sorted(day["timestamp"] for day in days)
        assert len(days) >= 1


def test_an_unknown_wallet_has_no_profit_since_2021(dome: Dome) -> None:
    answer = ask(dome, PROFIT + f"0x{'1' * 40}", granularity="all")
    assert answer["start_time"] == NO_DATA_START
    assert answer["pnl_over_time"][0]["pnl_to_date"] == 0


@pytest.mark.parametrize("query", [{}, {"granularity": "hour"}])
def test_a_profit_needs_its_granularity(dome: Dome, query: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        ask(dome, PROFIT + f"0x{'1' * 40}", **query)


def test_at_an_earlier_moment_dome_knows_nothing_later(dome: Dome, full: World) -> None:
    moment = full.fills[len(full.fills) // 2].timestamp
    past = Wish(before=moment)
    rows = sweep(dome, ACTIVITY, "activities", past, limit=1000)
    assert rows
    assert max(row["timestamp"] for row in rows) < moment
    condition = next(f"0x{m.condition}" for m in full.markets if m.closed_at and moment < m.closed_at < CUTOVER
                     and m.start < moment and m.tokens[0] in full.known_to("dome"))  # fmt: skip
    query = MultiDict({"condition_id": condition})
    before, now = (orjson.loads(dome.markets(query, wish).body)["markets"][0] for wish in (past, PLAIN))
    assert (before["status"], before["winning_side"], before["close_time"]) == ("open", None, None)
    assert now["status"] == "closed"


def test_what_ended_after_the_cutover_is_open_for_dome(dome: Dome, full: World) -> None:
    late = [m for m in full.markets if m.closed_at and m.closed_at > CUTOVER and m.tokens[0] in full.known_to("dome")]
    assert late
    for market in late:
        (row,) = orjson.loads(dome.markets(MultiDict({"condition_id": f"0x{market.condition}"})).body)["markets"]
        assert (row["status"], row["winning_side"]) == ("open", None)
