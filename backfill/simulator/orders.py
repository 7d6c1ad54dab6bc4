"""The orders of a world's ledger: its V1 fills with places on the chain, and the V2 ones after the cutover."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as ReadOnly
from itertools import groupby
from operator import attrgetter

from .blocks import HEAD_TIME, Blocks, block_of, time_of
from .deals import Ground, Leg, Players, fee_rate, make_match
from .fills import EXCHANGE, NEG_RISK_EXCHANGE
from .generate import CUTOVER, DAY
from .ledger import At, Order
from .lively import BURST_MATCHES, sister_of
from .model import Fill, Market

EXCHANGE_V2 = "0xe111180000d2663c0091e4f400237545b87b996b"
NEG_RISK_EXCHANGE_V2 = "0xe2222d279d744050d28e00520010520000310f59"
SLOTS = 6
"""Log indexes that an order takes up: its own is the last, the transfers it causes stand before it."""
QUIET_BLOCKS = 1_700
"""Blocks after the cutover without a fill: about an hour."""
RECENT_DAYS = 10
RECENT_SHARE = 0.35
"""Share of the V2 matches that fall into the last days, so that even a small world has news."""
_V1_EXCHANGES = frozenset((EXCHANGE, NEG_RISK_EXCHANGE))
Match = tuple[int, str, list[Leg]]
"""Block, transaction and legs."""


def first_orders(blocks: Blocks, fills: Iterable[Fill], neg_risk: ReadOnly[int, bool | None]) -> list[Order]:
    """The V1 orders, one for each fill (in time order), in chain order."""
    tokens: dict[str, int] = {"0": 0}
    orders: list[Order] = []
    block = 0
    for at, second in groupby(fills, key=attrgetter("timestamp")):
        block = blocks.at_exactly(at, block)
        for tx, group in groupby(second, key=attrgetter("transactionHash")):
            rows = sorted(group, key=_is_own)
            place = blocks.logs(block, SLOTS * len(rows) + 1) - 1
            for row in rows:
                place += SLOTS
                orders.append(_order(row, At(block, place, tx, at), tokens, neg_risk))
    return orders


def _is_own(fill: Fill) -> bool:
    """Whether the row is the taker's own order, which comes last."""
    return fill.taker in _V1_EXCHANGES


def _order(fill: Fill, at: At, tokens: dict[str, int], neg_risk: ReadOnly[int, bool | None]) -> Order:
    buys = fill.makerAssetId == "0"
    asset = fill.takerAssetId if buys else fill.makerAssetId
    token = tokens.get(asset)
    if token is None:
        token = tokens[asset] = int(asset)
    gives, receives = int(fill.makerAmountFilled), int(fill.takerAmountFilled)
    return Order(
        at=at,
        order_hash=fill.orderHash,
        maker=fill.maker,
        taker=fill.taker,
        token=token,
        side="BUY" if buys else "SELL",
        shares=receives if buys else gives,
        usdc=gives if buys else receives,
        fee=int(fill.fee),
        exchange=NEG_RISK_EXCHANGE if neg_risk.get(token) else EXCHANGE,
        version=1,
    )


def later_orders(
    blocks: Blocks, rng: random.Random, tradable: ReadOnly[int, Market], crowd: Sequence[str], wanted: int, burst: bool
) -> list[Order]:
    """About `wanted` V2 orders in chain order, for the tokens whose market (given with each) outlived the cutover."""
    opened = {token: market for token, market in tradable.items() if _last_block(market) > _first_block()}
    if not opened or wanted <= 0:
        return []
    players, known = Players(rng, crowd), frozenset(tradable)
    grounds = [_ground(token, market, known) for token, market in opened.items()]
    lasts = [_last_block(market) for market in opened.values()]
    matches = list(_matches(rng, grounds, lasts, players, wanted))
    if burst:
        matches.extend(_burst(rng, grounds[0], players, lasts[0]))
    matches.sort(key=lambda match: match[:2])
    return [order for match in matches for order in _placed(blocks, match)]


def _first_block() -> int:
    return block_of(CUTOVER) + QUIET_BLOCKS


def _last_block(market: Market) -> int:
    end = HEAD_TIME if market.closed_at is None else min(HEAD_TIME, market.closed_at)
    return block_of(end) - 1


def _ground(token: int, market: Market, known: frozenset[int]) -> Ground:
    exchange = NEG_RISK_EXCHANGE_V2 if market.neg_risk else EXCHANGE_V2
    return Ground(token, sister_of(token, market, known), exchange, fee_rate(market))


def _matches(
    rng: random.Random, grounds: Sequence[Ground], lasts: Sequence[int], players: Players, wanted: int
) -> Iterator[Match]:
    count, recent = 0, RECENT_DAYS * DAY * 10 // 21
    while count < wanted:
        place = rng.randrange(len(grounds))
        low = max(_first_block(), lasts[place] - recent) if rng.random() < RECENT_SHARE else _first_block()
        legs = make_match(rng, grounds[place], players)
        count += len(legs)
        yield rng.randint(low, lasts[place]), f"0x{rng.randbytes(32).hex()}", legs


def _burst(rng: random.Random, ground: Ground, players: Players, last: int) -> Iterator[Match]:
    """More fills in one second than a page has rows."""
    block, busiest = rng.randint(_first_block(), last), players.pick()
    for _ in range(BURST_MATCHES):
        yield block, f"0x{rng.randbytes(32).hex()}", make_match(rng, ground, players, busiest, "plain")


def _placed(blocks: Blocks, match: Match) -> Iterator[Order]:
    """The orders of a match with their places on the chain."""
    block, tx, legs = match
    block, at = blocks.near(time_of(block))
    place = blocks.logs(block, SLOTS * len(legs) + 1) - 1
    own = legs[-1]
    for leg in legs:
        place += SLOTS
        order_hash, maker, taker, token, side, shares, usdc, fee = leg
        yield Order(At(block, place, tx, at), order_hash, maker, taker, token, side, shares, usdc, fee, own.taker, 2)


def by_transaction(orders: Iterable[Order]) -> Iterator[tuple[list[Order], Order | None]]:
    """Matches: the makers' orders of each transaction, and the taker's own where it is known."""
    for _, group in groupby(orders, key=lambda order: order.at.tx_hash):
        rows = list(group)
        own = rows.pop() if rows[-1].taker == rows[-1].exchange else None
        yield rows, own


def share_fee(order: Order) -> int:
    """Shares that were kept back as a fee: V1 takes it from what the order received."""
    return order.fee if order.version == 1 and order.side == "BUY" else 0
