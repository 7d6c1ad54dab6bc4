"""The second version of the pretend Data API: positions, resolutions. And its first version."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest

from backfill.simulator.data_api import DataApi
from backfill.simulator.data_api_portfolio import SORTS
from backfill.simulator.faults import Faults
from backfill.simulator.ledger import Order
from backfill.simulator.reply import Wish
from backfill.simulator.world import World
from tests.simulator.test_sim_data_api import key_of, truth
from tests.simulator.test_sim_data_api_case import (
    EXCHANGE,
    WALLETS,
    Caller,
    caller,
    history,
    kinds,
    sample,
)

__all__ = ["caller", "history"]


def cost_of(orders: list[Order]) -> tuple[int, float]:
    """Shares held and their cost after buys and sells only, in floats: another way to the same numbers."""
    shares, cost = 0.0, 0.0
    for order in orders:
        if order.side == "BUY":
            shares += order.shares - (order.fee if order.version == 1 else 0)
            cost += order.usdc
        elif shares:
            gone = min(order.shares, shares)
            cost -= cost * gone / shares
            shares -= gone
    return round(shares), cost


def test_sizes_and_costs_are_what_the_trades_leave(caller: Caller, history: World) -> None:
    ledger = history.ledger
    touched = {s.condition for s in ledger.splits} | {r.condition for r in ledger.redemptions}
    seen = 0
    for wallet in WALLETS:
        rows = caller.all("/v2/positions", user=wallet, filter_amount=0, limit=1000)
        for row in rows:
            if row["condition_id"][2:] in touched:
                continue
            orders = [o for o in ledger.orders if o.maker == wallet and str(o.token) == row["token_id"]]
            shares, cost = cost_of(orders)
            assert row["current_size"] == pytest.approx(shares / 1e6, abs=1e-4)
            assert row["entry_cost_usdc"] == pytest.approx(cost / 1e6, abs=2e-4)
            assert 0 <= cost / shares - row["avg_price"] < 1.01e-4, "cut, not rounded"
            seen += 1
    assert seen >= 0


def test_gains_add_up(caller: Caller) -> None:
    seen: Counter[str] = Counter()
    for wallet in WALLETS:
        for status in ("OPEN", "CLOSED"):
            for row in caller.all("/v2/positions", user=wallet, status=status, filter_amount=0, limit=1000):
                worth = row["current_size"] * row["current_price"]
                assert row["current_value"] == pytest.approx(worth, abs=2e-4)
                assert row["unrealized_pnl"] == pytest.approx(worth - row["entry_cost_usdc"], abs=3e-4)
                assert row["total_pnl"] == pytest.approx(row["realized_pnl"] + row["unrealized_pnl"], abs=2e-4)
                paid = row["entry_cost_usdc"] + row["entry_fees_usdc"]
                assert row["total_cost_usdc"] == pytest.approx(paid, abs=2e-5)
                seen[row["status"]] += 1
    assert all(seen[name] for name in ("OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "CLOSED")), seen


def test_redeemable_means_resolved_and_not_won(caller: Caller) -> None:
    rows = [row for wallet in WALLETS for row in caller.all("/v2/positions", user=wallet, limit=1000)]
    assert {row["redeemable"] for row in rows if row["status"] == "REDEEMABLE_LOST"} == {True}
    assert {row["current_price"] for row in rows if row["status"] == "REDEEMABLE_LOST"} == {0.0}
    assert 0.5 in {row["current_price"] for row in rows if row["redeemable"]}
    won = caller.rows("/v2/positions", user=WALLETS[0], status="REDEEMABLE")
    assert won and all(row["current_price"] > 0 for row in won)
    both = caller.rows("/v2/positions", user=WALLETS[0], status="MERGEABLE", limit=1000)
    assert both and all(row["mergeable"] for row in both)


@pytest.mark.parametrize("status", ["OPEN", "CLOSED"])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_are_the_whole_in_any_order(caller: Caller, sort: str, status: str) -> None:
    asked: dict[str, Any] = {"user": WALLETS[1], "sort_by": sort, "status": status, "filter_amount": 0}
    whole = caller.all("/v2/positions", limit=1000, **asked)
    assert caller.all("/v2/positions", limit=4, **asked) == whole
    upwards = caller.all("/v2/positions", limit=4, sort_direction="ASC", **asked)
    assert Counter(row["token_id"] for row in upwards) == Counter(row["token_id"] for row in whole)
    assert len(whole) > 4
    if sort == "TIMESTAMP":
        times = [row["last_event_at"] for row in whole]
        assert times == sorted(times, reverse=True)


def test_everybody_in_a_market(caller: Caller, history: World) -> None:
    market = history.markets[0]
    rows = caller.all("/v2/positions", condition=f"0x{market.condition}", filter_amount=0, limit=3)
    single = [
        row
        for wallet in WALLETS
        for row in caller.all("/v2/positions", user=wallet, filter_amount=0, limit=1000)
        if row["condition_id"] == f"0x{market.condition}"
    ]
    key = lambda row: (row["proxy_wallet"], row["token_id"])  # noqa: E731
    assert sorted(rows, key=key) == sorted(single, key=key)
    assert len({row["proxy_wallet"] for row in rows}) > 3


def test_dust_is_hidden_until_it_is_asked_for(caller: Caller) -> None:
    counts = []
    for amount in (None, 0):
        rows = [r for w in WALLETS for r in caller.all("/v2/positions", user=w, filter_amount=amount, limit=1000)]
        counts.append(len(rows))
        if amount is None:
            assert min(row["current_size"] for row in rows) >= 0.1
    assert counts[0] < counts[1]


def test_a_cursor_holds_the_walk_to_what_it_began_as(caller: Caller) -> None:
    first = orjson.loads(caller.ask("/v2/positions", user=WALLETS[0], limit=2, sort_by="TOKENS").body)
    cursor = first["pagination"]["next_cursor"]
    assert caller.ask("/v2/positions", user=WALLETS[0], cursor=cursor).status == 200
    assert caller.ask("/v2/positions", user=WALLETS[0], cursor=cursor, sort_by="TOKENS").status == 200
    for other in ({"sort_by": "PRICE"}, {"status": "CLOSED"}, {"sort_direction": "ASC"}, {"user": WALLETS[1]}):
        asked: dict[str, Any] = {"user": WALLETS[0], **other}
        assert caller.refusal("/v2/positions", cursor=cursor, **asked) == (400, "invalid_request", "invalid cursor")
    needed = "required query param 'user' or 'condition' not provided"
    assert caller.refusal("/v2/positions", cursor=cursor)[2] == needed
    assert caller.refusal("/v2/positions", user=EXCHANGE)[0] == 400


def test_positions_have_the_recorded_shape(caller: Caller) -> None:
    for name, status in (("open", "OPEN"), ("closed", "CLOSED")):
        page = orjson.loads(caller.ask("/v2/positions", user=WALLETS[1], status=status, filter_amount=0, limit=2).body)
        assert kinds(page) == kinds(sample(f"data-api/v2_positions_{name}.json"))


def test_the_clock_turns_positions_back(caller: Caller, history: World) -> None:
    resolution = history.ledger.resolutions[0].at.timestamp
    before = caller.all("/v2/positions", Wish(before=resolution), user=WALLETS[0], filter_amount=0, limit=1000)
    assert {row["status"] for row in before} == {"OPEN"}


def resolved(caller: Caller, **parameters: Any) -> list[dict[str, Any]]:
    """Rows of resolutions."""
    return caller.rows("/v2/resolutions", **parameters)


def test_resolutions_tell_payouts_of_both_forms_and_what_is_pending(caller: Caller, history: World) -> None:
    truth = {r.condition: r for r in history.ledger.resolutions}
    listed = [m.condition for m in history.markets]
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(listed), 20):
        text = ",".join(f"0x{each}" for each in listed[start : start + 20])
        found |= {row["condition_id"][2:]: row for row in resolved(caller, condition=text)}
    for condition, resolution in truth.items():
        numerators = resolution.numerators
        assert found[condition]["payouts"] == [each * 1_000_000 // sum(numerators) for each in numerators]
        assert found[condition]["resolved_block"] == resolution.at.block
    assert [500_000, 500_000] in [row.get("payouts") for row in found.values()]
    pending = {condition for condition, row in found.items() if row["status"] != "resolved"}
    assert pending == {m.condition for m in history.markets if m.closed_at and m.condition not in truth}
    assert pending and {row["status"] for row in found.values()} > {"resolved"}
    forms = {frozenset(row) for row in found.values() if row["status"] == "resolved"}
    recorded = sample("data-api/v2_resolutions.json")["data"][0]
    assert len(forms) == 2 and frozenset(recorded) in forms
    full = {kind for row in found.values() for kind in kinds(row)}
    for row in sample("data-api/v2_resolutions_pending.json")["data"]:
        missing = (
            kinds(row) - full - {".expected_settlement_time:str", ".settlement_time_basis:str", ".question_id:str"}
        )
        assert not missing


def test_resolutions_are_asked_in_one_way_at_a_time(caller: Caller, history: World) -> None:
    ending = history.ledger.resolutions[0]
    by_question = resolved(caller, question_id=ending.question_id)
    assert by_question == resolved(caller, condition=f"0x{ending.condition}")
    exactly = "provide exactly one of 'question_id', 'condition', or 'event_id'"
    assert caller.refusal("/v2/resolutions")[2] == exactly
    assert caller.refusal("/v2/resolutions", event_id=1, condition=f"0x{1:064x}")[2] == exactly
    assert caller.refusal("/v2/resolutions", condition=f"0x{1:062x}")[0] == 400
    assert resolved(caller, condition=f"0x{1:064x}") == []


def test_a_pending_row_has_an_estimate_for_two_hours(caller: Caller, history: World) -> None:
    pending = next(m for m in history.markets if m.closed_at and m.condition not in
                   {r.condition for r in history.ledger.resolutions})  # fmt: skip
    assert pending.closed_at is not None
    asked = f"0x{pending.condition}"
    early = caller.rows("/v2/resolutions", Wish(before=pending.closed_at + 10), condition=asked)[0]
    late = caller.rows("/v2/resolutions", Wish(before=pending.closed_at + 7300), condition=asked)[0]
    assert "expected_settlement_time" in early and "expected_settlement_time" not in late
    assert caller.rows("/v2/resolutions", Wish(before=pending.closed_at), condition=asked) == []


def test_the_first_version_pages_by_offset_up_to_a_cap(caller: Caller, history: World) -> None:
    orders = [o for o in history.ledger.orders if o.maker == WALLETS[0]]
    found: list[dict[str, Any]] = []
    for offset in range(0, 3000, 500):
        found += caller.rows(
            "/trades", user=WALLETS[0], takerOnly="false", limit=500, offset=offset, filterAmount=0.000001
        )
    keys = Counter((r["proxyWallet"], r["side"], r["asset"], r["size"], r["transactionHash"], r["timestamp"])
                   for r in found)  # fmt: skip
    assert keys == truth(orders)
    assert {row["outcomeIndex"] for row in found} == {0, 1}
    for path in ("/trades", "/activity"):
        text = "max historical activity offset of 3000 exceeded"
        assert caller.refusal(path, user=WALLETS[0], offset=3001) == (400, "", text)
    assert key_of(orders[0]) in keys


def test_the_first_version_has_the_recorded_shapes(caller: Caller) -> None:
    asked: dict[str, dict[str, Any]] = {
        "positions": {"sizeThreshold": 0},
        "closed-positions": {},
        "trades": {},
        "activity": {},
    }
    for path, parameters in asked.items():
        rows = caller.rows(f"/{path}", user=WALLETS[1], limit=40, **parameters)
        assert rows
        shape = sample(f"data-api/v1_shape_data__{path}.json")["shape"]
        recorded = {line.removeprefix("$[]") for line in shape if line.startswith("$[].")}
        assert {kind for row in rows for kind in kinds(row)} == recorded, path
    holders = caller.rows("/holders", market=caller.rows("/trades", limit=1)[0]["conditionId"])
    shape = sample("data-api/v1_shape_data__holders.json")["shape"]
    recorded = {line.removeprefix("$[]") for line in shape if line.startswith("$[].") and ":object" not in line}
    made = {kind.replace(":list", ":array") for row in holders for kind in kinds(row)}
    assert made == recorded
    recorded_rows = kinds(sample("data-api/v1_positions.json"))
    rows = caller.rows("/positions", user=WALLETS[1])
    assert kinds(rows) == recorded_rows


def test_the_first_version_has_its_own_manners(caller: Caller) -> None:
    assert caller.refusal("/positions") == (400, "", "required query param 'user' not provided")
    assert caller.refusal("/holders") == (400, "", "required query param 'market' not provided")
    assert caller.ask("/holders", market=f"0x{1:064x}").body == b"null"
    assert len(caller.rows("/activity", user=WALLETS[0], limit=9999)) == 500, "clamped, not refused"
    unsaid = caller.ask("/trades", Wish("short_page_unsaid"), limit=10)
    assert len(orjson.loads(unsaid.body)) == 5
    assert not caller.ask("/trades", Wish("short_page"), limit=10).applied


@pytest.mark.parametrize(("mode", "status"), [("404", 404), ("410", 410)])
def test_the_first_version_can_be_gone(history: World, mode: str, status: int) -> None:
    api = DataApi(history, Faults(history))
    api.configure("v1", mode)
    caller = Caller(api)
    assert caller.refusal("/trades")[0] == status
    assert caller.rows("/v2/trades", user=WALLETS[0])
    api.configure("v1", "alive")
    assert caller.rows("/trades", user=WALLETS[0])


@pytest.fixture(scope="module")
def chronicle() -> World:
    """A full world with its own ledger."""
    return World.generate(seed=11, traded=260, mapped=0, full=True, busy=6.0)


def test_sizes_are_the_balances_that_transfers_leave(chronicle: World) -> None:
    caller = Caller(DataApi(chronicle, Faults(chronicle)))
    balances: Counter[tuple[str, str]] = Counter()
    short: set[tuple[str, str]] = set()
    for transfer in chronicle.ledger.transfers:
        for token, amount in zip(transfer.tokens, transfer.amounts, strict=True):
            balances[transfer.sender, str(token)] -= amount
            if balances[transfer.sender, str(token)] < 0:
                short.add((transfer.sender, str(token)))
            balances[transfer.receiver, str(token)] += amount
    compared = 0
    for wallet in sorted({pair.wallet for pair in chronicle.ledger.wallets}):
        rows = caller.all("/v2/positions", user=wallet, filter_amount=0, limit=1000)
        rows = [row for row in rows if (wallet, row["token_id"]) not in short]
        kept = {t: n for (owner, t), n in balances.items() if owner == wallet and n > 0 and (owner, t) not in short}
        assert {row["token_id"]: row["current_size"] for row in rows} == {t: n // 100 / 10_000 for t, n in kept.items()}
        compared += len(rows)
    assert compared > 200


def test_every_order_of_a_generated_world_is_told_once(chronicle: World) -> None:
    caller = Caller(DataApi(chronicle, Faults(chronicle)))
    told: Counter[tuple[object, ...]] = Counter()
    for wallet in {order.maker for order in chronicle.ledger.orders}:
        rows = caller.all("/v2/trades", user=wallet, start=1, taker_only="false", filter_amount=0.000001, limit=1000)
        told.update((r["proxy_wallet"], r["side"], r["token_id"], r["size"], r["transaction_hash"], r["timestamp"])
                    for r in rows)  # fmt: skip
    assert told == truth(list(chronicle.ledger.orders))
