"""What the pnl subgraph tracks: every wallet's shares at their average cost, in integers that divide by cutting off.

Selling more than is tracked counts for as much as is tracked; transfers and fees count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from heapq import merge
from itertools import takewhile
from operator import attrgetter

from .ledger import Conversion, Ledger, Order, Redemption, Split
from .model import Market

Event = Order | Split | Redemption | Conversion
UNIT = 1_000_000
"""A share, or a dollar."""
HALF = UNIT // 2
"""What a split share is taken to cost."""


@dataclass(slots=True)
class Tracked:
    """Shares of one token that a wallet holds: amounts in micro-shares, prices and profits in micro-dollars."""

    amount: int = 0
    average: int = 0
    realized: int = 0
    bought: int = 0
    """Shares ever bought."""

    def buy(self, price: int, shares: int) -> None:
        """More shares at a price."""
        if shares > 0:
            self.average = _cut(self.average * self.amount + price * shares, self.amount + shares)
            self.amount += shares
            self.bought += shares

    def sell(self, price: int, shares: int) -> None:
        """Fewer shares; the difference to their cost is realized."""
        sold = min(shares, self.amount)
        self.realized += _cut(sold * (price - self.average), UNIT)
        self.amount -= sold


def _cut(amount: int, by: int) -> int:
    """Division towards zero."""
    return -(-amount // by) if amount < 0 else amount // by


class Book:
    """The positions of all wallets, event by event."""

    def __init__(self, markets: Iterable[Market]) -> None:
        self.positions: dict[tuple[str, int], Tracked] = {}
        self._markets = {market.condition: market for market in markets}
        self._groups: dict[str, dict[int, Market]] = {}
        for market in self._markets.values():
            if market.neg_risk_market is not None and market.question_id is not None:
                self._groups.setdefault(market.neg_risk_market, {})[int(market.question_id[-2:], 16)] = market

    def take(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case Order():
                self._trade(event)
            case Split():
                self._split(event)
            case Redemption():
                self._redeem(event)
            case Conversion():
                self._convert(event)

    def of(self, wallet: str, token: int) -> Tracked:
        """The position of a wallet in a token."""
        return self.positions.setdefault((wallet, token), Tracked())

    def _trade(self, order: Order) -> None:
        if order.shares:
            position, price = self.of(order.maker, order.token), order.usdc * UNIT // order.shares
            (position.buy if order.side == "BUY" else position.sell)(price, order.shares)

    def _split(self, split: Split) -> None:
        for token in self._tokens(split.condition):
            position = self.of(split.stakeholder, token)
            (position.sell if split.merge else position.buy)(HALF, split.amount)

    def _redeem(self, redemption: Redemption) -> None:
        """An ordinary redemption sells all that is tracked, one through the adapter the amounts it names."""
        market = self._markets[redemption.condition]
        numerators = market.numerators or (0, 0)
        for token, numerator, amount in zip(market.tokens, numerators, redemption.amounts, strict=True):
            position = self.of(redemption.redeemer, token)
            position.sell(numerator * UNIT // sum(numerators), amount if market.neg_risk else position.amount)

    def _convert(self, conversion: Conversion) -> None:
        """NO shares go at what they cost; the YES shares that come cost what that leaves."""
        questions = self._groups[conversion.market_id]
        chosen = [market for number, market in questions.items() if conversion.index_set >> number & 1]
        others = [market for market in questions.values() if market not in chosen]
        total = 0
        for market in chosen:
            position = self.of(conversion.stakeholder, market.tokens[1])
            total += position.average
            position.sell(position.average, conversion.amount)
        if others:
            count = len(chosen)
            price = _cut(_cut(total, count) * count - UNIT * (count - 1), len(others))
            for market in others:
                self.of(conversion.stakeholder, market.tokens[0]).buy(price, conversion.amount)

    def _tokens(self, condition: str) -> tuple[int, int]:
        return self._markets[condition].tokens


def _events(ledger: Ledger, end: int, wallet: str | None = None) -> Iterator[Event]:
    """Everything before a time (unix seconds) that a V1 subgraph sees, in chain order; of one wallet where named."""
    kinds: Sequence[Iterable[Event]] = (
        [each for each in ledger.orders if each.version == 1 and wallet in (None, each.maker)],
        [each for each in ledger.splits if wallet in (None, each.stakeholder)],
        [each for each in ledger.redemptions if wallet in (None, each.redeemer)],
        [each for each in ledger.conversions if wallet in (None, each.stakeholder)],
    )
    return takewhile(lambda event: event.at.timestamp < end, merge(*kinds, key=attrgetter("at")))


def curve(ledger: Ledger, markets: Iterable[Market], wallet: str, end: int) -> list[tuple[int, int]]:
    """A wallet's realized profit so far (micro-dollars) after each of its events, with their times (unix seconds)."""
    book, points = Book(markets), []
    for event in _events(ledger, end, wallet):
        book.take(event)
        points.append((event.at.timestamp, sum(held.realized for held in book.positions.values())))
    return points


def positions(ledger: Ledger, markets: Iterable[Market], end: int) -> ReadOnly[tuple[str, int], Tracked]:
    """Every wallet's tracked positions just before a time (unix seconds)."""
    book = Book(markets)
    for event in _events(ledger, end):
        book.take(event)
    return book.positions
