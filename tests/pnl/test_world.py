"""A whole generated world: average cost as the pretend subgraph keeps it, positions as the chain's transfers say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from heapq import merge
from operator import attrgetter
from typing import Any

import orjson
import pytest

from backfill.config import Config
from backfill.log import configure
from backfill.simulator.cost_basis import Book, Event
from backfill.simulator.ledger import At, Order
from backfill.simulator.orders import by_transaction
from backfill.simulator.world import World
from backfill.stages.rebuild import rebuild
from backfill.warehouse.client import Warehouse

TRADED = 300
Rows = Iterator[dict[str, Any]]


@cache
def world() -> World:
    """The world, with everything that occurs at all."""
    return World.generate(seed=11, traded=TRADED, mapped=0, full=True, busy=20.0)


def _place(at: At) -> dict[str, Any]:
    return {"timestamp": at.timestamp, "block_number": at.block, "log_index": at.log_index, "tx_hash": at.tx_hash}


def _fills() -> Rows:
    for order in world().ledger.orders:
        in_shares = order.version == 1 and order.side == "BUY"
        yield {
            **_place(order.at),
            "fill_id": f"{order.at.tx_hash}_{order.order_hash}_{order.at.log_index}",
            "token_id": str(order.token),
            "maker": order.maker,
            "taker": order.taker,
            "side": order.side,
            "shares_micro": order.shares,
            "usdc_micro": order.usdc,
            "fee_micro": order.fee,
            "fee_asset": "none" if not order.fee else "shares" if in_shares else "usdc",
            "price": "0",
            "exchange_version": order.version,
            "source": "test",
        }


def _activity() -> Rows:
    ledger, adapter = world().ledger, {market.condition for market in world().markets if market.neg_risk}
    for split in ledger.splits:
        kind = "merge" if split.merge else "split"
        about = {"kind": kind, "wallet": split.stakeholder, "condition_id_norm": split.condition}
        yield {**_event(split.at), **about, "amount_micro": split.amount}
    for event in ledger.redemptions:
        about = {"kind": "redeem", "wallet": event.redeemer, "condition_id_norm": event.condition}
        amounts = event.amounts if event.condition in adapter else ()
        told = {"index_sets": event.index_sets, "amounts_micro": amounts, "payout_micro": event.payout}
        yield {**_event(event.at), **about, **told}
    for each in ledger.conversions:
        about = {"kind": "convert", "wallet": each.stakeholder, "neg_risk_market_id": each.market_id}
        yield {**_event(each.at), **about, "index_sets": [each.index_set], "amount_micro": each.amount}


def _event(at: At) -> dict[str, Any]:
    return {**_place(at), "event_id": f"{at.tx_hash}_{at.log_index}", "source": "test"}


def _transfers() -> Rows:
    for each in world().ledger.transfers:
        ends = {"operator": each.operator, "from_address": each.sender, "to_address": each.receiver, "source": "test"}
        for number, (token, amount) in enumerate(zip(each.tokens, each.amounts, strict=True)):
            moved = {"token_id": str(token), "amount_micro": str(amount), "batch_index": number}
            yield {**_place(each.at), **ends, **moved}


def _markets() -> Iterator[tuple[str, dict[str, Any]]]:
    for market in world().markets:
        about: dict[str, Any] = {"condition_id_norm": market.condition, "source": "test"}
        for outcome, token in enumerate(market.tokens):
            yield "ctf_token_map", {**about, "token_id": str(token), "outcome_index": outcome, "proven": 1}
        group: dict[str, Any] = {"question_id": market.question_id, "neg_risk_market_id": market.neg_risk_market}
        tokens = [str(token) for token in market.tokens]
        yield "markets", {**about, **group, "neg_risk": int(bool(market.neg_risk)), "token_ids": tokens}
    for ending in world().ledger.resolutions:
        about = {"condition_id_norm": ending.condition, "source": "test", "resolved_at": ending.at.timestamp}
        told = {"payout_numerators": ending.numerators, "payout_denominator": sum(ending.numerators)}
        yield "market_resolutions_final", {**about, **told}


async def _load(warehouse: Warehouse, config: Config) -> None:
    tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for table, row in _markets():
        tables[table].append(row)
    tables["clob_fills"] += _fills()
    tables["ctf_activity"] += _activity()
    tables["erc1155_transfers"] += _transfers()
    for table, rows in tables.items():
        await warehouse.insert(f"production.{table}", b"\n".join(map(orjson.dumps, rows)))
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    told = await rebuild(warehouse, config, log)
    assert len(told.events) == 9, told.events


def _history() -> Iterable[Event]:
    ledger = world().ledger
    return merge(ledger.orders, ledger.splits, ledger.redemptions, ledger.conversions, key=attrgetter("at"))


def _half_told() -> set[str]:
    """Wallets with a trade that no order of theirs tells: filled straight, without an order of the taker's own."""
    found: set[str] = set()
    for legs, own in by_transaction(world().ledger.orders):
        found |= set() if own is not None else {order.taker for order in legs}
    return found


async def test_average_cost_is_what_the_subgraph_keeps(warehouse: Warehouse, config: Config) -> None:
    await _load(warehouse, config)
    book = Book(world().markets)
    for event in _history():
        book.take(event)
    places = {token: (m.condition, i) for m in world().markets for i, token in enumerate(m.tokens)}
    rows = await warehouse.fetch("SELECT * FROM polymarket.wallet_token_pnl")
    found = {(row["wallet"], row["condition_id_norm"], int(row["outcome_idx"])): row for row in rows}
    dealt = 0
    for (wallet, token), held in book.positions.items():
        if token not in places:
            continue
        row = found[wallet, *places[token]]
        told = [int(row[name]) for name in ("tracked_micro", "avg_price_micro", "realized_avg_cost_micro")]
        assert told == [held.amount, held.average, held.realized], (wallet, token)
        dealt += 1
    assert dealt > TRADED


async def test_positions_are_what_the_transfers_add_up_to(warehouse: Warehouse, config: Config) -> None:
    """Fees in shares, gifts, conversions, redemptions of one leg: all of it is in the balance."""
    await _load(warehouse, config)
    rows = await warehouse.fetch("SELECT * FROM polymarket.vw_positions_vs_transfers")
    half = _half_told()
    checked = [row for row in rows if row["wallet"] not in half]
    wrong = [row for row in checked if int(row["difference_micro"])]
    assert len(checked) > TRADED and not wrong, wrong[:5]


@pytest.mark.parametrize("kind", ["fee_micro", "transferred_micro", "converted_micro", "redeemed_micro"])
async def test_the_world_has_what_matters(warehouse: Warehouse, config: Config, kind: str) -> None:
    """A world without gifts, conversions and fees would prove nothing."""
    if kind == "fee_micro":
        assert any(isinstance(order, Order) and order.version == 1 and order.fee for order in world().ledger.orders)
        return
    await _load(warehouse, config)
    sql = f"SELECT countIf({kind} != 0) FROM polymarket.outcome_positions_v2"
    assert int(await warehouse.fetch_value(sql)) > 0
