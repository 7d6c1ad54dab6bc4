"""Random histories of wallets, and how they get into the warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backfill.warehouse.client import Warehouse
from tests.pnl.reference import At, Change, Conversion, Event, Fill, Gift, Market, Redemption

START = 1_700_000_000
LONGEST = 24
"""Events of a history; so many seconds after the start it is over."""
BLOCKS = 1_000
"""Blocks of a history; each has its own, because a transfer is known by its place on the chain alone."""
EXCHANGE = "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e"
ADAPTER = "0xd91e80cf2e7be2e162c6513ced06f1dd0da35296"
ENDINGS = ((1, 0), (0, 1), (1, 1), (3, 1), (54, 46))
AMOUNTS = st.one_of(st.integers(1, 30), st.integers(1, 10**8), st.integers(1, 10**16))
KINDS = ("fill", "fill", "fill", "split", "merge", "redeem", "convert", "gift", "contract")


class History(NamedTuple):
    """What happened to two wallets in a few markets. `contracts` are events that belong to no wallet."""

    wallets: tuple[str, str]
    markets: tuple[Market, ...]
    events: tuple[Event, ...]
    contracts: tuple[Event, ...]


def collect(count: int) -> list[History]:
    """So many histories, each with wallets and conditions of its own."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(_drafts())
    def gather(draft: Any) -> None:
        found.append(draft)

    gather()
    return [_history(number, draft) for number, draft in enumerate(found)]


@st.composite
def _drafts(draw: st.DrawFn) -> Any:
    """The endings of the markets (the first two stand alone, the others are questions of one market), and moves."""
    ending = st.one_of(st.none(), st.tuples(st.sampled_from(ENDINGS), st.integers(0, LONGEST)))
    endings = draw(st.lists(ending, min_size=2, max_size=6))
    move = st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 1),
        st.integers(0, 5),
        st.integers(0, 1),
        AMOUNTS,
        AMOUNTS,
        st.integers(0, 7),
        st.integers(0, 3),
    )
    return endings, draw(st.lists(move, min_size=1, max_size=LONGEST))


def _history(number: int, draft: Any) -> History:
    endings, moves = draft
    wallets = (f"0x{number:08x}{1:032x}", f"0x{number:08x}{2:032x}")
    markets = []
    for place, ended in enumerate(endings):
        group = f"0x{number:08x}{0:056x}" if place >= 2 else None
        numerators, at = ended or (None, 0)
        name = f"{number + 1:08x}{place:056x}"
        markets.append(Market(name, group, max(0, place - 2) * (1 + number % 3), numerators, START + at))
    events: list[Event] = []
    contracts: list[Event] = []
    at = At(START, None, None)
    for place, move in enumerate(moves):
        at = _later(at, BLOCKS * number + place, START + place + 1, move[7])
        known = at if at.block is not None or move[0] != "gift" else At(at.time, BLOCKS * number + place, 0)
        event = _event(known, move, wallets, markets)
        (contracts if move[0] == "contract" else events).append(event)
    return History(wallets, tuple(markets), tuple(events), tuple(contracts))


def _later(before: At, block: int, time: int, how: int) -> At:
    """The next place in time: later in the same block, in a later one, or without any place on the chain."""
    if how == 0 and before.block is not None:
        return before._replace(log=(before.log or 0) + 3)
    return At(time, None, None) if how == 1 else At(time, block, block % 5)


def _event(at: At, move: Any, wallets: Sequence[str], markets: Sequence[Market]) -> Event:
    kind, who, which, outcome, amount, money, fee, _ = move
    wallet, market = wallets[who], markets[which % len(markets)]
    if kind == "fill":
        return _fill(at, wallet, wallets[1 - who] if fee % 2 else EXCHANGE, market, outcome, amount, money, fee)
    if kind == "gift":
        return Gift(at, wallet, wallets[1 - who], market.condition, outcome, amount)
    if kind == "redeem":
        sets = ((1, 2), (1,), (2,), ())[fee % 4]
        amounts = (amount, money) if market.group and fee >= 2 else ()
        return Redemption(at, wallet, market.condition, (1, 2) if amounts else sets, amounts, money)
    questions = [each for each in markets if each.group]
    if kind == "convert" and questions:
        chosen = [each for place, each in enumerate(questions) if money >> place & 1] or questions[:1]
        then = len(questions) if fee < 6 else questions.index(chosen[-1]) + 1
        bits = sum(1 << each.question for each in chosen)
        return Conversion(at, wallet, questions[0].group or "", bits, amount, then if fee % 2 else None)
    if kind == "contract":
        return Change(at, ADAPTER, market.condition, amount, bool(fee % 2))
    return Change(at, wallet, market.condition, amount, kind == "merge")


def _fill(at: At, wallet: str, taker: str, market: Market, outcome: int, shares: int, price: int, fee: int) -> Fill:
    """A price between nothing and a dollar; fees of both versions, and some that nobody knows."""
    usdc = shares * (price % 1_000_001) // 1_000_000
    side, version = ("BUY", "SELL")[fee & 1], 1 + (fee >> 1 & 1)
    charged: int | None = (shares if version == 1 and side == "BUY" else usdc) * (price % 97) // 1000
    fee_in: str | None = "shares" if version == 1 and side == "BUY" else "usdc"
    if fee >= 6:
        charged, fee_in = None, None
    return Fill(at, wallet, taker, market.condition, outcome, side, shares, usdc, charged, fee_in, version)


# --- into the warehouse


def token_of(condition: str, outcome: int) -> int:
    """A token id of its own for each outcome, spread over all ids like the real ones."""
    number, place = int(condition[:8], 16), int(condition[8:], 16)
    return ((number * 40_503 % 65_536) << 240) + (number << 32) + (place << 8) + outcome + 1


async def load(warehouse: Warehouse, histories: Iterable[History], *, events: slice = slice(None)) -> None:
    """Insert the histories; of the events only some, by their number."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for history in histories:
        for market in history.markets:
            for table, row in _about(market):
                tables.setdefault(table, []).append(row)
        for number, event in list(enumerate((*history.events, *history.contracts)))[events]:
            table, row = _row(event, f"{history.wallets[0]}_{number}")
            tables.setdefault(table, []).append(row)
    for table, rows in tables.items():
        await warehouse.insert(f"production.{table}", b"\n".join(map(orjson.dumps, rows)))


def _about(market: Market) -> Iterable[tuple[str, dict[str, Any]]]:
    tokens = [token_of(market.condition, outcome) for outcome in range(2)]
    for outcome, token in enumerate(tokens):
        about = {"condition_id_norm": market.condition, "outcome_index": outcome, "source": "test", "proven": 1}
        yield "ctf_token_map", {"token_id": str(token), **about}
    question = f"{market.group[:-2]}{market.question:02x}" if market.group else None
    yield (
        "markets",
        {
            "condition_id_norm": market.condition,
            "question_id": question,
            "neg_risk": int(market.group is not None),
            "neg_risk_market_id": market.group,
            "token_ids": [str(token) for token in tokens],
            "source": "test",
        },
    )
    if market.ending:
        yield "market_resolutions_final", ended(market)


def ended(market: Market) -> dict[str, Any]:
    """The row of a resolution."""
    return {
        "condition_id_norm": market.condition,
        "payout_numerators": market.ending,
        "payout_denominator": sum(market.ending or ()),
        "resolved_at": market.ended,
        "source": "test",
    }


def _row(event: Event, name: str) -> tuple[str, dict[str, Any]]:
    place = {"timestamp": event.at.time, "block_number": event.at.block, "log_index": event.at.log, "tx_hash": name}
    if isinstance(event, Fill):
        return "clob_fills", {**place, **_fill_row(event), "fill_id": name, "source": "test"}
    if isinstance(event, Gift):
        about = {"from_address": event.sender, "to_address": event.receiver, "operator": event.sender}
        token = str(token_of(event.condition, event.outcome))
        moved = {"token_id": token, "amount_micro": str(event.amount), "batch_index": 0, "source": "test"}
        return "erc1155_transfers", {**place, **about, **moved}
    return "ctf_activity", {**place, **_activity_row(event), "event_id": name, "source": "test"}


def _fill_row(fill: Fill) -> dict[str, Any]:
    return {
        "token_id": str(token_of(fill.condition, fill.outcome)),
        "maker": fill.maker,
        "taker": fill.taker,
        "side": fill.side,
        "shares_micro": fill.shares,
        "usdc_micro": fill.usdc,
        "fee_micro": fill.fee,
        "fee_asset": "none" if fill.fee == 0 else fill.fee_in,
        "price": str(Decimal(fill.usdc * 10**9 // fill.shares).scaleb(-9)),
        "exchange_version": fill.version,
    }


def _activity_row(event: Change | Redemption | Conversion) -> dict[str, Any]:
    row: dict[str, Any] = {"wallet": event.wallet}
    match event:
        case Change():
            kind = "merge" if event.merge else "split"
            row |= {"kind": kind, "condition_id_norm": event.condition, "amount_micro": event.amount}
        case Redemption():
            row |= {"kind": "redeem", "condition_id_norm": event.condition, "payout_micro": event.payout}
            row |= {"index_sets": event.index_sets, "amounts_micro": event.amounts}
        case Conversion():
            row |= {"kind": "convert", "neg_risk_market_id": event.market, "amount_micro": event.amount}
            row |= {"index_sets": [event.bits], "question_count": event.questions}
    return row
