"""The account's own trades as the pretend CLOB tells them: by match, with the taker on top whoever asks."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, NamedTuple

from .clob_auth import key_of
from .gamma_facts import Facts
from .ledger import At, Order
from .world import World

MICRO = 1_000_000
FAILED_EVERY, RETRYING_EVERY, HASHLESS_EVERY = 23, 41, 37
"""Every so many matches: one beside it that failed, one that is tried again, and a hash that is not told."""
DIGITS = 12
BASIS_POINTS = 10_000
_MATCHED = {"BUY": "SELL", "SELL": "BUY"}
Row = dict[str, Any]
Status = Literal["CONFIRMED", "FAILED", "RETRYING"]


class Match(NamedTuple):
    """One taker's order against some makers' in one transaction. `own` is its own row, where the ledger has one."""

    number: int
    taker: str
    own: Order | None
    makers: tuple[Order, ...]
    status: Status = "CONFIRMED"

    @property
    def at(self) -> At:
        """Where and when it was settled."""
        return (self.own or self.makers[0]).at

    @property
    def hash_told(self) -> bool:
        """Whether the row names its transaction: failed ones have none, and now and then it is left out."""
        return self.status == "CONFIRMED" and self.number % HASHLESS_EVERY != HASHLESS_EVERY // 2


class Trades:
    """The trades of one account, newest first."""

    def __init__(self, world: World, facts: Facts) -> None:
        self._world = world
        self._facts = facts

    @cached_property
    def account(self) -> str:
        """The wallet with the most orders among those that a key of another address owns; among all where none is."""
        counts = Counter(order.maker for order in self._facts.ledger.orders)
        owned = {pair.wallet for pair in self._facts.ledger.wallets if pair.owner != pair.wallet}
        known = [wallet for wallet in counts if wallet in owned] or list(counts)
        if not known:
            raise ValueError("nobody has traded in this world, so there is no account")
        return min(known, key=lambda wallet: (-counts[wallet], wallet))

    @property
    def owner(self) -> str:
        """The key that owns the account."""
        pair = self._facts.pairs.get(self.account)
        return pair.owner if pair is not None else self.account

    @cached_property
    def matches(self) -> list[Match]:
        """Matches in which the account took part, newest first; beside them some that never reached the chain."""
        found: list[Match] = []
        for number, match in enumerate(self._real):
            match = match._replace(number=number)
            found.append(match)
            if number % FAILED_EVERY == 1:
                found.append(match._replace(status="FAILED"))
            if number % RETRYING_EVERY == 2:
                found.append(match._replace(status="RETRYING"))
        return found

    def told(self, before: int | None = None) -> list[Order]:
        """The account's orders that a careful reader learns of: settled, with their transaction named."""
        now = self._facts.now(before)
        return [
            order
            for match in self.matches if match.hash_told and match.at.timestamp < now
            for order in self._mine(match)
        ]  # fmt: skip

    @cached_property
    def _real(self) -> list[Match]:
        mine = {order.at.tx_hash for order in self._facts.ledger.orders if order.maker == self.account}
        by_tx: dict[str, list[Order]] = {}
        for order in self._facts.ledger.orders:
            if order.at.tx_hash in mine:
                by_tx.setdefault(order.at.tx_hash, []).append(order)
        matches = [match for orders in by_tx.values() for match in _matches(orders) if self._mine(match)]
        return sorted(matches, key=lambda match: (match.at.timestamp, match.at), reverse=True)

    def _mine(self, match: Match) -> list[Order]:
        """The account's orders in a match: the taker's if it took, else those it made."""
        if match.own is not None and match.own.maker == self.account:
            return [match.own]
        return [order for order in match.makers if order.maker == self.account]

    def row(self, match: Match) -> Row:
        """A match as a row. What stands on top is the taker's, even where the account was a maker."""
        top = _top(match)
        seed = f"{top.order_hash}:{top.at.tx_hash}:{top.at.log_index}:{match.status}"
        is_taker = match.own is not None and match.own.maker == self.account
        row: Row = {
            "id": str(uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16])),
            "taker_order_id": top.order_hash,
            "market": f"0x{self._world.truth[top.token].condition}",
            "asset_id": str(top.token),
            "side": top.side,
            "size": decimal(top.shares, MICRO),
            "fee_rate_bps": fee_rate(top),
            "price": decimal(top.usdc, top.shares),
            "status": f"TRADE_STATUS_{match.status}",
            "match_time": str(match.at.timestamp),
            "last_update": str(match.at.timestamp + 3),
            "outcome": self._world.truth[top.token].label or "",
            "bucket_index": 0,
            "owner": key_of(top.maker),
            "maker_address": top.maker,
            "transaction_hash": top.at.tx_hash if match.hash_told else "",
            "trader_side": "TAKER" if is_taker else "MAKER",
            "type": "TRADE",
            "maker_orders": [self._maker(order) for order in match.makers],
        }
        return row if match.status != "FAILED" else row | {"err_msg": "execution reverted"}

    def _maker(self, order: Order) -> Row:
        return {
            "order_id": order.order_hash,
            "owner": key_of(order.maker),
            "maker_address": order.maker,
            "matched_amount": decimal(order.shares, MICRO),
            "price": decimal(order.usdc, order.shares),
            "fee_rate_bps": "" if int(order.order_hash[-1], 16) % 2 else "0",
            "asset_id": str(order.token),
            "outcome": self._world.truth[order.token].label or "",
            "side": order.side,
        }


def _matches(orders: Sequence[Order]) -> list[Match]:
    """The matches of one transaction. Makers' rows name the taker; the taker's own names the exchange."""
    takers: dict[str, list[Order]] = {}
    makers: dict[str, list[Order]] = {}
    for order in orders:
        if order.taker == order.exchange:
            takers.setdefault(order.maker, []).append(order)
        else:
            makers.setdefault(order.taker, []).append(order)
    matches = []
    for taker in dict.fromkeys((*takers, *makers)):
        own = takers.get(taker, [])
        matches.append(Match(0, taker, own[0] if own else None, tuple(makers.get(taker, ()))))
        matches += [Match(0, taker, each, ()) for each in own[1:]]  # the chain does not tell whose makers they met
    return matches


def _top(match: Match) -> Order:
    """The taker's order; where the ledger has none, what its makers leave for it."""
    if match.own is not None:
        return match.own
    first = match.makers[0]
    same = [order for order in match.makers if order.token == first.token and order.side == first.side]
    return first._replace(
        order_hash=f"0x{hashlib.sha256(first.order_hash.encode()).hexdigest()}",
        maker=match.taker,
        side="SELL" if first.side == "BUY" else "BUY",
        shares=sum(order.shares for order in same),
        usdc=sum(order.usdc for order in same),
        fee=0,
    )


def fee_rate(order: Order) -> str:
    """The taker's rate in basis points of the cheaper side, from what the first version charged; else not told."""
    if order.version != 1 or not order.fee or not order.usdc:
        return "" if order.fee else "0"
    price = order.usdc / order.shares
    worth = order.fee * price if order.side == "BUY" else order.fee
    return str(round(worth * BASIS_POINTS / (order.shares * min(price, 1 - price))))


def decimal(part: int, whole: int) -> str:
    """A quotient as a decimal number without an exponent and without zeros at its end."""
    value = round(Decimal(part) / Decimal(whole), DIGITS).normalize()
    return f"{value:f}"
