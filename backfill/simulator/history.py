"""The ledger of a world: everything that happened on its chain, from the first fill to the head."""

from __future__ import annotations

import random
from collections.abc import Mapping as ReadOnly
from collections.abc import Sequence
from dataclasses import dataclass

from .accounts import complete, invent
from .blocks import HEAD_TIME, Blocks, block_of, time_of
from .ids import keccak
from .ledger import At, Ledger, WalletPair
from .model import Fill, Market
from .moves import Mover
from .orders import first_orders, later_orders
from .transfers import Transfers, make_transfers

FEWEST_NEWCOMERS = 20
ORDERS_FOR_A_NEWCOMER = 50
"""Accounts that trade after the cutover only: one for so many orders."""


@dataclass(frozen=True, slots=True)
class Story:
    """What the history of a world is made from."""

    seed: int
    markets: Sequence[Market]
    traded: Sequence[int]
    neg_risk: ReadOnly[int, bool | None]
    fills: Sequence[Fill]
    accounts: Sequence[WalletPair]
    """Accounts behind the makers of the fills, as far as they were made up from owners."""
    after_cutover: float
    """Share of the orders that are V2."""
    bursts: bool


def make_ledger(story: Story) -> Ledger:
    """Tell the story. Deterministic; orders and moves are made now, transfers when they are first looked at."""
    rng, blocks = random.Random(f"history:{story.seed}"), Blocks()
    first = first_orders(blocks, story.fills, story.neg_risk)
    old = list(dict.fromkeys(order.maker for order in first))
    wanted = round(len(first) * story.after_cutover / (1 - story.after_cutover))
    newcomers = invent(f"new:{story.seed}", max(FEWEST_NEWCOMERS, wanted // ORDERS_FOR_A_NEWCOMER))
    crowd = [pair.wallet for pair in newcomers]
    crowd += rng.sample(old, min(len(old), len(crowd) // 2))
    traded = frozenset(story.traded)
    tradable = {token: market for market in story.markets for token in market.tokens if token in traded}
    later = later_orders(blocks, rng, tradable, crowd, wanted, story.bursts)
    orders = [*first, *later]
    traders = list(dict.fromkeys(wallet for order in orders for wallet in (order.maker, order.taker)))
    exchanges = {order.exchange for order in orders}
    wallets = complete([*story.accounts, *newcomers], (each for each in traders if each not in exchanges))
    moves = Mover(story.seed, story.markets, orders, [pair.wallet for pair in wallets]).make(blocks)
    return Ledger(
        orders=orders,
        splits=moves.splits,
        redemptions=moves.redemptions,
        conversions=moves.conversions,
        transfers=Transfers(lambda: make_transfers(story.markets, orders, moves)),
        resolutions=moves.resolutions,
        wallets=wallets,
        head=_head(),
    )


def _head() -> At:
    block = block_of(HEAD_TIME)
    return At(block, 0, f"0x{keccak(b'head').hex()}", time_of(block))
