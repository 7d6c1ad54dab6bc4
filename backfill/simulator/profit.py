"""What the wallets of a world made: the right answer, added up event by event without any database.

By cash: what sells, merges and conversions brought, less what buys, splits and fees cost, and what each share that was
left is worth once its condition has ended, redeemed or not. Conditions that are open count for nothing yet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from .ledger import Transfer
from .world import World


def cash_profit(world: World, wallets: Iterable[str]) -> dict[str, int]:
    """Profit of each wallet in micro-dollars."""
    books = {wallet: _Book(world) for wallet in wallets}
    for order in world.ledger.orders:
        if (book := books.get(order.maker)) is not None:
            sign = 1 if order.side == "BUY" else -1
            in_shares = order.version == 1 and order.side == "BUY"
            book.move(order.token, sign * order.shares - (order.fee if in_shares else 0))
            book.pay(order.token, -sign * order.usdc - (0 if in_shares else order.fee))
    for split in world.ledger.splits:
        if (book := books.get(split.stakeholder)) is not None:
            sign = -1 if split.merge else 1
            for token in book.tokens[split.condition]:
                book.move(token, sign * split.amount)
            book.cash[split.condition] -= sign * split.amount
    _convert(world, books)
    for gift in _gifts(world):
        for token, amount in zip(gift.tokens, gift.amounts, strict=True):
            for wallet, moved in ((gift.sender, -amount), (gift.receiver, amount)):
                if (book := books.get(wallet)) is not None:
                    book.move(token, moved)
    return {wallet: book.total() for wallet, book in books.items()}


class _Book:
    """Cash by condition and shares by token of one wallet."""

    def __init__(self, world: World) -> None:
        self.tokens = {market.condition: market.tokens for market in world.markets}
        self._place = {token: (m.condition, index) for m in world.markets for index, token in enumerate(m.tokens)}
        self._ended = {ending.condition: ending.numerators for ending in world.ledger.resolutions}
        self.cash: Counter[str] = Counter()
        self.shares: Counter[int] = Counter()

    def move(self, token: int, shares: int) -> None:
        self.shares[token] += shares

    def pay(self, token: int, money: int) -> None:
        self.cash[self._place[token][0]] += money

    def total(self) -> int:
        profit = sum(money for condition, money in self.cash.items() if condition in self._ended)
        for token, count in self.shares.items():
            condition, index = self._place[token]
            if (numerators := self._ended.get(condition)) is not None:
                worth = abs(count) * numerators[index] // sum(numerators)
                profit += worth if count >= 0 else -worth
        return profit


def _convert(world: World, books: dict[str, _Book]) -> None:
    """NO shares of some questions of a group become YES shares of the others, and collateral."""
    groups: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    conditions = {}
    for market in world.markets:
        if market.neg_risk_market and market.question_id:
            number = int(market.question_id[-2:], 16)
            groups[market.neg_risk_market][number] = market.tokens
            conditions[market.neg_risk_market, number] = market.condition
    for event in world.ledger.conversions:
        book, group = books.get(event.stakeholder), groups.get(event.market_id, {})
        if book is None:
            continue
        given = [number for number in group if event.index_set >> number & 1]
        for number, (yes, no) in group.items():
            book.move(*((no, -event.amount) if number in given else (yes, event.amount)))
        for place, number in enumerate(given):
            # The first question's collateral pays for the YES shares; which one that is does not matter once all end.
            book.cash[conditions[event.market_id, number]] += event.amount if place else 0


def _gifts(world: World) -> Iterator[Transfer]:
    """Transfers that no other event explains."""
    ledger = world.ledger
    explained = {event.at.tx_hash for kind in (ledger.orders, ledger.splits, ledger.redemptions) for event in kind}
    explained |= {event.at.tx_hash for event in ledger.conversions}
    return (transfer for transfer in ledger.transfers if transfer.at.tx_hash not in explained)
