"""What a wallet holds and has made, by weighted-average cost: replayed from its events, in micro-units, fees apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .data_api_index import Event
from .ledger import Conversion, Order, Redemption, Split, Transfer

MICRO = 1_000_000
Tokens = Callable[[str], tuple[int, ...]]
"""Token ids of a condition by outcome index; none for a condition nobody knows."""
Questions = Callable[[Conversion], Mapping[int, str]]
"""Conditions of the event that a conversion is about, by question index, as far as they are known."""


@dataclass(slots=True)
class Holding:
    """One wallet's position in one token, past or present. `spent` and `bought` are of its whole life."""

    token: int
    shares: int = 0
    cost: int = 0
    """Dollars paid for the shares still held, without fees."""
    bought: int = 0
    spent: int = 0
    realized: int = 0
    fees: int = 0
    first_at: int = 0
    last_at: int = 0

    def buy(self, shares: int, paid: int, at: int) -> None:
        """Shares came in for money."""
        self.shares += shares
        self.cost += paid
        self.bought += shares
        self.spent += paid
        self.first_at = self.first_at or at
        self.last_at = at

    def sell(self, shares: int, got: int, at: int) -> None:
        """Shares went out for money. More than were held have no cost, so their money is not counted as made."""
        self.last_at = at
        held = min(shares, self.shares)
        if held == 0:
            return
        gone = self.cost * held // self.shares
        self.realized += got * held // shares - gone
        self.shares -= held
        self.cost -= gone


class Book:
    """Replays the events of one wallet."""

    def __init__(
        self, wallet: str, tokens: Tokens, questions: Questions, payouts: Callable[[str], tuple[int, ...]]
    ) -> None:
        self.wallet = wallet
        self.holdings: dict[int, Holding] = {}
        self._tokens = tokens
        self._questions = questions
        self._payouts = payouts

    def replay(self, events: Iterable[Event | Transfer]) -> dict[int, Holding]:
        """The holdings after these events, by token."""
        for event in events:
            match event:
                case Order():
                    self._trade(event)
                case Split():
                    self._split(event)
                case Redemption():
                    self._redeem(event)
                case Conversion():
                    self._convert(event)
                case Transfer():
                    self._give_or_get(event)
                case _:
                    pass  # bundles are listed elsewhere
        return self.holdings

    def _of(self, token: int) -> Holding:
        return self.holdings.setdefault(token, Holding(token))

    def _trade(self, order: Order) -> None:
        holding, at = self._of(order.token), order.at.timestamp
        if order.side == "SELL":
            holding.sell(order.shares, order.usdc, at)
            holding.fees += order.fee
        elif order.version == 1:  # the fee was taken from the shares
            holding.buy(order.shares - order.fee, order.usdc, at)
            holding.fees += order.fee * order.usdc // order.shares
        else:
            holding.buy(order.shares, order.usdc, at)
            holding.fees += order.fee

    def _split(self, split: Split) -> None:
        """Every outcome at an even price."""
        tokens = self._tokens(split.condition)
        for token in tokens:
            change = self._of(token).sell if split.merge else self._of(token).buy
            change(split.amount, split.amount // len(tokens), split.at.timestamp)

    def _redeem(self, redemption: Redemption) -> None:
        payouts = self._payouts(redemption.condition)
        for token, amount, payout in zip(self._tokens(redemption.condition), redemption.amounts, payouts, strict=False):
            if amount:
                self._of(token).sell(amount, amount * payout // sum(payouts), redemption.at.timestamp)

    def _convert(self, conversion: Conversion) -> None:
        """NO shares go at what they cost; the YES shares of the other questions come for what that leaves."""
        given = conversion.index_set.bit_count()
        left = conversion.question_count - given
        spent = 0
        conditions = {n: self._tokens(condition) for n, condition in self._questions(conversion).items()}
        pairs = {n: tokens for n, tokens in conditions.items() if len(tokens) == 2}
        for number, (_, no) in pairs.items():
            if conversion.index_set >> number & 1:
                spent += self._give(self._of(no), conversion)
        price = max(0, spent - conversion.amount * (given - 1)) // left if left else 0
        for number, (yes, _) in pairs.items():
            if not conversion.index_set >> number & 1:
                self._of(yes).buy(conversion.amount, price, conversion.at.timestamp)

    def _give_or_get(self, gift: Transfer) -> None:
        """Shares that go take their cost along; shares that come have none."""
        for token, amount in zip(gift.tokens, gift.amounts, strict=True):
            holding = self._of(token)
            if gift.receiver == self.wallet:
                holding.shares += amount
            elif holding.shares:
                gone = min(amount, holding.shares)
                holding.cost -= holding.cost * gone // holding.shares
                holding.shares -= gone

    def _give(self, holding: Holding, conversion: Conversion) -> int:
        """Give shares away at their cost, which is returned."""
        average = holding.cost * MICRO // holding.shares if holding.shares else 0
        worth = average * conversion.amount // MICRO
        holding.sell(conversion.amount, worth, conversion.at.timestamp)
        return worth
