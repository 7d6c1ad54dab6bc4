"""What every wallet holds, paid and made, worked out slowly: event by event, in dictionaries, with fractions.

Nothing here is shared with the SQL but the definitions. There is one walk through the whole history in its order; a
conversion looks at what the wallet's NO shares had cost at that moment; money is a fraction until a definition cuts it.
Amounts are micro-shares and micro-dollars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

UNIT = 1_000_000
FOREVER = 1 << 40
Place = tuple[str, str, int]
"""Wallet, condition, outcome."""


class At(NamedTuple):
    """When: unix seconds; block and log index where the source knows them."""

    time: int
    block: int | None
    log: int | None

    @property
    def order(self) -> tuple[int, int, int]:
        """Chain order; what is not known comes first."""
        return self.time, self.block or 0, self.log or 0


class Fill(NamedTuple):
    """A fill of an order of `maker`; `fee_in` is shares, usdc, or None where nobody says (and then `fee` is None)."""

    at: At
    maker: str
    taker: str
    condition: str
    outcome: int
    side: str
    shares: int
    usdc: int
    fee: int | None
    fee_in: str | None
    version: int


class Change(NamedTuple):
    """A split, or the reverse."""

    at: At
    wallet: str
    condition: str
    amount: int
    merge: bool


class Redemption(NamedTuple):
    """Shares for a payout; `amounts` are known where it came through the neg-risk adapter."""

    at: At
    wallet: str
    condition: str
    index_sets: tuple[int, ...]
    amounts: tuple[int, ...]
    payout: int


class Conversion(NamedTuple):
    """NO of the questions in the bitmap for YES of the others and collateral."""

    at: At
    wallet: str
    market: str
    bits: int
    amount: int
    questions: int | None


class Gift(NamedTuple):
    """Shares from one wallet to another."""

    at: At
    sender: str
    receiver: str
    condition: str
    outcome: int
    amount: int


class Market(NamedTuple):
    """A condition; a question of a neg-risk market where `group` is given. `ending` are numerators, at `ended`."""

    condition: str
    group: str | None
    question: int
    ending: tuple[int, ...] | None
    ended: int


Event = Fill | Change | Redemption | Conversion | Gift


@dataclass
class Line:
    """What is known of a wallet's dealings in one outcome."""

    bought: int = 0
    sold: int = 0
    fee_shares: int = 0
    split: int = 0
    merged: int = 0
    converted: int = 0
    redeemed: int = 0
    transferred: int = 0
    proceeds: int = 0
    costs: int = 0
    fees: int = 0
    fees_unknown: int = 0
    splits: int = 0
    merges: int = 0
    conversions: int = 0
    redemptions: int = 0
    fills: int = 0
    tracked: int = 0
    average: int = 0
    realized: int = 0
    realized_dome: int = 0
    first: int = FOREVER
    last: int = 0

    @property
    def net(self) -> int:
        """Shares held."""
        gained = self.bought - self.fee_shares + self.split + self.converted + self.transferred
        return gained - self.sold - self.merged - self.redeemed

    @property
    def trade_cash(self) -> int:
        """Dollars in less dollars out, but for redemptions."""
        return self.proceeds - self.costs - self.fees - self.splits + self.merges + self.conversions

    def buy(self, price: Fraction | int, shares: int) -> None:
        """Into the average; nothing is realized."""
        if shares:
            mean = Fraction(self.average * self.tracked + int(price) * shares, self.tracked + shares)
            self.tracked, self.average = self.tracked + shares, int(mean)

    def sell(self, price: Fraction | int, shares: int, *, dome: bool) -> None:
        """Out of what is tracked, and no more than that."""
        taken = min(shares, self.tracked)
        made = int(Fraction(taken * (int(price) - self.average), UNIT))
        self.tracked -= taken
        self.realized += made
        self.realized_dome += made if dome else 0


@dataclass
class Books:
    """All lines, and the last price of every outcome as (dollars, shares)."""

    markets: Mapping[str, Market]
    until: int = FOREVER
    lines: dict[Place, Line] = field(default_factory=dict)
    prices: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def at(self, wallet: str, condition: str, outcome: int, when: At) -> Line:
        """The line, which has been busy at this time."""
        line = self.lines.setdefault((wallet, condition, outcome), Line())
        line.first, line.last = min(line.first, when.time), max(line.last, when.time)
        return line

    def ending(self, condition: str) -> tuple[int, ...] | None:
        """The numerators, once the condition has ended."""
        market = self.markets[condition]
        return market.ending if market.ended <= self.until else None

    def payout(self, place: Place) -> int:
        """What the shares that were left of an ended condition are worth."""
        ending, line = self.ending(place[1]), self.lines[place]
        return int(Fraction((line.net + line.redeemed) * ending[place[2]], sum(ending))) if ending else 0

    def cash(self, place: Place) -> int:
        """Realized by the definition of cash."""
        return self.lines[place].trade_cash + self.payout(place) if self.ending(place[1]) else 0

    def paper(self, place: Place) -> tuple[int | None, int]:
        """Value at the last price (None without one) and average cost of what is held."""
        line, price = self.lines[place], self.prices.get(place[1:])
        value = int(Fraction(line.net * price[0], price[1])) if price else None
        return value, int(Fraction(line.net * line.average, UNIT))


def keep(markets: Iterable[Market], events: Iterable[Event], until: int = FOREVER) -> Books:
    """The books at a moment (unix seconds, inclusive)."""
    books = Books({market.condition: market for market in markets}, until)
    for event in sorted((each for each in events if each.at.time <= until), key=lambda each: each.at.order):
        match event:
            case Fill():
                _fill(books, event)
            case Change():
                _change(books, event)
            case Redemption():
                _redeem(books, event)
            case Conversion():
                _convert(books, event)
            case Gift():
                books.at(event.sender, event.condition, event.outcome, event.at).transferred -= event.amount
                books.at(event.receiver, event.condition, event.outcome, event.at).transferred += event.amount
    return books


def _fill(books: Books, fill: Fill) -> None:
    line = books.at(fill.maker, fill.condition, fill.outcome, fill.at)
    line.fills += 1
    if fill.fee is None:
        line.fees_unknown += 1
    elif fill.fee_in == "shares":
        line.fee_shares += fill.fee
    else:
        line.fees += fill.fee
    price = Fraction(fill.usdc * UNIT, fill.shares)
    if fill.side == "BUY":
        line.bought, line.costs = line.bought + fill.shares, line.costs + fill.usdc
        line.buy(price, fill.shares)
    else:
        line.sold, line.proceeds = line.sold + fill.shares, line.proceeds + fill.usdc
        line.sell(price, fill.shares, dome=True)
    books.prices[fill.condition, fill.outcome] = (fill.usdc, fill.shares)


def _change(books: Books, change: Change) -> None:
    for outcome, money in enumerate((change.amount // 2, change.amount - change.amount // 2)):
        line = books.at(change.wallet, change.condition, outcome, change.at)
        if change.merge:
            line.merged, line.merges = line.merged + change.amount, line.merges + money
            line.sell(UNIT // 2, change.amount, dome=False)
        else:
            line.split, line.splits = line.split + change.amount, line.splits + money
            line.buy(UNIT // 2, change.amount)


def _redeem(books: Books, event: Redemption) -> None:
    ending = books.ending(event.condition)
    adapter = books.markets[event.condition].group is not None and bool(event.amounts)
    named = [not event.index_sets or any(bits >> outcome & 1 for bits in event.index_sets) for outcome in range(2)]
    held = event.amounts or [int(each) for each in named]
    parts = _shares_of(event.payout, [amount * (ending[n] if ending else 1) for n, amount in enumerate(held)])
    for outcome in range(2):
        line = books.at(event.wallet, event.condition, outcome, event.at)
        line.redemptions += parts[outcome]
        if event.amounts:
            line.redeemed += event.amounts[outcome]
        elif named[outcome]:
            line.redeemed += max(0, line.net)
        if ending:
            shares = event.amounts[outcome] if adapter else line.tracked
            line.sell(Fraction(ending[outcome] * UNIT, sum(ending)), shares, dome=True)


def _shares_of(money: int, weights: Sequence[int]) -> list[int]:
    """Money shared out by weight; what is cut off goes to the later ones, so that the parts add up to it."""
    weights = weights if sum(weights) else [1] * len(weights)
    upto = [Fraction(money * sum(weights[: n + 1]), sum(weights)) for n in range(len(weights))]
    return [int(each) - int(before) for before, each in zip([Fraction(0), *upto], upto, strict=False)]


def _convert(books: Books, event: Conversion) -> None:
    questions = {market.question: market.condition for market in books.markets.values() if market.group == event.market}
    chosen = [number for number in sorted(questions) if event.bits >> number & 1]
    many, count = event.bits.bit_count(), event.questions or len(questions)
    money = _shares_of((many - 1) * event.amount, [1] * len(chosen))
    total = 0
    for number, part in zip(chosen, money, strict=True):
        line = books.at(event.wallet, questions[number], 1, event.at)
        line.converted, line.conversions = line.converted - event.amount, line.conversions + part
        total += line.average
        line.sell(line.average, event.amount, dome=False)
    mean = int(Fraction(total, many))
    for number, condition in sorted(questions.items())[:count]:
        if number not in chosen:
            line = books.at(event.wallet, condition, 0, event.at)
            line.converted += event.amount
            line.buy(int(Fraction(mean * many - UNIT * (many - 1), count - many)), event.amount)
