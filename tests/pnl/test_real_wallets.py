"""Every recorded profit of a real wallet is compared, and each difference has a cause; or it is said why it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.config import Config
from backfill.stages.reconcile_pnl import replayed
from backfill.warehouse.client import Warehouse
from tests.pnl import real_activity, real_exports, real_positions, real_subgraph, real_wallets
from tests.pnl.real_subgraph import Position
from tests.pnl.real_table import Compared, units

TOKEN = 1 << 250


@pytest.mark.timeout(400)
async def test_every_recorded_profit_is_compared_or_it_is_said_why_not(
    warehouse: Warehouse, config: Config, real_data: Path
) -> None:
    """The table in the paper and the regression set are what the recordings come to today."""
    part = await real_wallets.compare_all(warehouse, config, real_data)
    counts = Counter(line.verdict for line in part.lines)
    assert counts == {"agrees": 6, "explained": 8, "cannot be compared": 27}
    for line in part.lines:
        assert line.not_comparable or sum(line.causes.values()) == line.difference, line
        assert "unexplained" not in line.causes, line
    wallets = {line.wallet for line in part.lines}
    assert wallets >= {each["canonical_wallet"] for each in real_exports.export(real_data)}
    assert wallets >= real_subgraph.stats(real_data).keys()
    assert wallets >= {row["proxyWallet"] for row in real_positions.recorded(real_data)}
    assert wallets >= {move.wallet for move in real_activity.moves(real_data)}
    text = real_wallets.PAPER.read_text(encoding="utf-8")
    assert real_wallets.rendered(part, text) == text, "python -m tests.pnl.real_wallets --write writes it anew"
    assert real_wallets.saved(part) == real_wallets.SET.read_bytes(), "as above"


def test_the_saved_pairs_notice_a_change() -> None:
    """A micro-dollar more in one saved sum of each wallet, and the replay says so of every pair."""
    saved = orjson.loads(real_wallets.SET.read_bytes())
    assert len(saved["wallets"]) == 9
    for entry in saved["wallets"]:
        row = entry["rows"][0]
        for name in ("cash", "avg_cost"):
            row[name] = row.get(name, 0) + 1
    assert len(replayed(orjson.dumps(saved))) == 9


def test_a_line_that_has_no_cause_is_no_agreement() -> None:
    assert Compared("w", "d", "f", 5, 7, {"fees": 2}).verdict == "explained"
    assert Compared("w", "d", "f", 5, 7, {"rounding": 2}).verdict == "agrees"
    assert Compared("w", "d", "f", 5, 7, {}, "", "why").verdict == "cannot be compared"


# --- the publisher of the export


def test_the_publisher_s_profits_are_done_again_to_the_micro_dollar(real_data: Path) -> None:
    for wallet in real_exports.export(real_data):
        made = sum(real_exports.publishers(wallet["trades"]).values())
        assert abs(float(made) - wallet["summary"]["realized_pnl"]) < 0.01, wallet["canonical_wallet"]


def test_another_rule_than_the_publisher_s_is_another_number() -> None:
    """Ten bought at 0.40, fifteen sold at 0.60, two more sold: the sale costs fifteen times 0.40, and then nothing."""
    trades = [
        {"asset_id": "1", "side": side, "size": shares, "cost": money}
        for side, shares, money in (("BUY", 10, 4), ("SELL", 15, 9), ("SELL", 2, 1))
    ]
    assert real_exports.publishers(trades) == {"1": 9 - 6 + 1}


def test_the_export_lists_the_counterparties_of_the_wallet_s_orders(real_data: Path) -> None:
    assert real_exports.overlap(real_data) == (17, 5, 4, 9)


# --- the subgraph's positions


def test_the_publisher_s_totals_are_those_of_the_positions(real_data: Path) -> None:
    by_wallet: dict[str, list[Position]] = {}
    for each in real_subgraph.positions(real_data):
        by_wallet.setdefault(each.wallet, []).append(each)
    told = real_subgraph.stats(real_data)
    assert len(told) == 22 and told.keys() == by_wallet.keys()
    for wallet, own in by_wallet.items():
        assert real_subgraph.counted(own) == real_subgraph.told(told[wallet]), wallet


def test_what_average_cost_allows_holds_but_for_ids_that_are_no_tokens(real_data: Path) -> None:
    faulty = [each for each in real_subgraph.positions(real_data) if real_subgraph.wrong(each)]
    alien = [each for each in real_subgraph.positions(real_data) if not each.outcome]
    assert (len(faulty), len(alien), sum(each.token < 0 for each in alien)) == (4, 7, 4)
    assert not any(each.outcome for each in faulty) and len({each.wallet for each in alien}) == 1


@pytest.mark.parametrize(
    ("realized", "bought", "held", "told"),
    [
        (0, 10, 10, None),
        (12, 10, 0, None),
        (-1, 10, 10, "nothing was sold, but something realized"),
        (0, 10, 11, "holds more than ever came"),
        (0, 10, -1, "holds more than ever came"),
        (13, 10, 0, "made or lost more than a dollar for a share that left"),
        (-8, 10, 5, "made or lost more than a dollar for a share that left"),
    ],
)
def test_what_a_position_can_contradict(realized: int, bought: int, held: int, told: str | None) -> None:
    assert real_subgraph.wrong(Position("w", TOKEN, realized, bought, held)) == told


# --- the Data API's positions


async def test_each_recorded_position_is_what_our_view_shows(warehouse: Warehouse, real_data: Path) -> None:
    """Every column that both have, in all 669; ours names the two that it lacks."""
    rows = real_positions.recorded(real_data)
    ours = await real_positions.shown(warehouse, rows)
    assert len(ours) == len(rows) == 669
    one = next(iter(ours.values()))
    assert set(rows[0]) - set(one) == real_positions.NOT_OURS and set(one) - set(rows[0]) == {"owner"}
    found = [d for row in rows for d in real_positions.differences(row, ours[_key(row)], ours.keys())]
    assert [each for each in found if each.cause is None] == []
    assert {each.name for each in found if each.cause != "rounding"} == {"mergeable", *real_positions.PERCENTS}
    ended = [row for row in rows if row["redeemable"] and row["mergeable"] and _other(row) in ours]
    assert len(ended) == 34 and all(ours[_key(row)]["mergeable"] for row in ended)


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["proxyWallet"], row["asset"]


def _other(row: dict[str, Any]) -> tuple[str, str]:
    return row["proxyWallet"], row["oppositeAsset"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cashPnl", lambda value: value + 0.1),
        ("currentValue", lambda value: -value),
        ("percentPnl", lambda value: value / 100),
        ("percentRealizedPnl", lambda value: value + 0.1),
        ("realizedPnl", lambda value: value * 1_000_000),
        ("redeemable", lambda value: not value),
        ("mergeable", lambda value: not value),
        ("oppositeAsset", lambda _: "7"),
        ("outcome", lambda _: "Perhaps"),
    ],
)
def test_a_field_that_is_otherwise_is_found(real_data: Path, name: str, change: Callable[[Any], Any]) -> None:
    row = real_positions.recorded(real_data)[0]
    assert row["mergeable"] and row["realizedPnl"]
    here = {_key(row), _other(row)}
    assert list(real_positions.differences(row, row, here)) == []
    found = list(real_positions.differences(row, {**row, name: change(row[name])}, here))
    assert [(each.name, each.cause) for each in found] == [(name, None)]


# --- the day of three bots


def test_ends_of_markets_are_read_from_their_titles() -> None:
    end = real_activity.end_of
    assert end("Bitcoin Up or Down - March 22, 5:35PM-5:40PM ET") == 1_774_215_600
    assert end("XRP Up or Down - March 22, 11:55PM-12:00AM ET") == 1_774_238_400
    assert end("XRP Up or Down - March 23, 12:00AM-12:05AM ET") == 1_774_238_700
    with pytest.raises(ValueError, match="Trump"):
        end("Trump out in March?")


def test_nobody_was_paid_for_the_larger_side_before_a_market_was_settled(real_data: Path) -> None:
    """The rule that tells merges from redemptions, on the recording itself; and all wallets tell the same winners."""
    moves = real_activity.moves(real_data)
    deals = real_activity.dealt(moves)
    paid = [move for move in moves if move.side is None and move.at >= real_activity.end_of(move.title)]
    pairs = Counter((move.wallet, move.title) for move in paid)
    larger = [
        move.at - real_activity.end_of(move.title)
        for move in paid
        if pairs[move.wallet, move.title] == 1 and _is_larger(deals[move.wallet, move.title], move)
    ]
    assert len(larger) > 500 and min(larger) == 187
    won, several, against = real_activity.winners(deals)
    assert (len(won), several, against) == (712, 374, 0)


def _is_larger(deals: real_activity.Deals, move: real_activity.Move) -> bool:
    held = [deals.held(side) for side in (0, 1)]
    return max(held) > min(held) + 100 and abs(move.shares - max(held)) <= real_activity.EXACT


def test_winners_that_contradict_each_other_are_counted() -> None:
    one = real_activity.Deals(bought=[10_000, 20_000], redeemed=10_000)
    other = real_activity.Deals(bought=[10_000, 20_000], redeemed=20_000)
    assert real_activity.winners({("a", "m"): one, ("b", "m"): one}) == ({"m": 0}, 1, 0)
    assert real_activity.winners({("a", "m"): one, ("b", "m"): other}) == ({}, 1, 1)


def test_fees_that_nobody_told_are_small_and_of_five_digits(real_data: Path) -> None:
    """What speaks for fees: shares that never came are whole hundred-thousandths, below one in a hundred."""
    deals = real_activity.dealt(real_activity.moves(real_data))
    won, _, _ = real_activity.winners(deals)
    never = {
        key: each.held(won[key[1]]) - each.redeemed
        for key, each in deals.items()
        if key[1] in won and each.redeemed is not None and any(each.bought)
    }
    kept = {key: amount for key, amount in never.items() if amount > real_activity.EXACT}
    small = {key: amount for key, amount in kept.items() if amount < deals[key].bought[won[key[1]]] // 100}
    assert len(kept) == len(small) + 1 and len(small) > 25
    assert all(min(amount % 10, -amount % 10) <= 1 for amount in small.values())


def test_a_position_is_read_in_millionths() -> None:
    assert units(-44.205536) == -44_205_536 and units(0.005) == 5_000
    assert replace(Position("w", TOKEN, 0, 0, 0), token=-5).outcome is False
