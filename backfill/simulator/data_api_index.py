"""What happened, indexed as the pretend Data API is asked for it: by wallet, by condition, newest first."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from .gamma_facts import Facts
from .ledger import At, Conversion, Order, Redemption, Split, Transfer

ZERO = f"0x{'0' * 40}"
"""Where shares come from and go to."""
PER_BLOCK = 10**10
STEP = 10
COMBO_EVERY = 125
"""One trade in so many has a combo beside it, where combos are asked for: about as many as were seen."""


class Combo(NamedTuple):
    """A trade in a bundle of outcomes, which no event of the ledger tells. It stands right after another trade."""

    at: At
    beside: Order


Event = Order | Split | Redemption | Conversion | Combo
Place = tuple[int, int]
"""Where a feed stands: time and sequence."""


class Window(NamedTuple):
    """Times (unix seconds) of what is wanted, both included."""

    first: int
    last: int


def place_of(event: Event | Transfer) -> Place:
    """Where an event stands in every feed: by time, then block and place within the block."""
    sequence = event.at.block * PER_BLOCK + event.at.log_index * STEP
    return event.at.timestamp, sequence + 5 if isinstance(event, Combo) else sequence


def actor_of(event: Event) -> str:
    """The wallet whose feed an event is in."""
    match event:
        case Order():
            return event.maker
        case Combo():
            return event.beside.maker
        case Redemption():
            return event.redeemer
        case _:
            return event.stakeholder


def is_taker(order: Order) -> bool:
    """Whether this is the row of the order that took: its counterparty is the exchange."""
    return order.taker == order.exchange


class Index:
    """Lists in feed order, oldest first. Each is made when first asked for."""

    def __init__(self, facts: Facts, combos: bool = False) -> None:
        self.facts = facts
        self.combos = combos

    @cached_property
    def trades(self) -> Sequence[Order | Combo]:
        """Every trade."""
        orders = self.facts.ledger.orders
        if not self.combos:
            return orders
        bundles = [Combo(order.at, order) for order in islice(filter(is_taker, orders), 0, None, COMBO_EVERY)]
        return sorted([*orders, *bundles], key=place_of)

    @cached_property
    def trades_by_wallet(self) -> dict[str, list[Order | Combo]]:
        """Trades by the owner of the order."""
        found: dict[str, list[Order | Combo]] = {}
        for trade in self.trades:
            found.setdefault(actor_of(trade), []).append(trade)
        return found

    @cached_property
    def others_by_wallet(self) -> dict[str, list[Event]]:
        """What else wallets did: splits, merges, redemptions, conversions."""
        ledger = self.facts.ledger
        found: dict[str, list[Event]] = {}
        kinds: tuple[Sequence[Event], ...] = (ledger.splits, ledger.redemptions, ledger.conversions)
        for event in heapq.merge(*kinds, key=place_of):
            found.setdefault(actor_of(event), []).append(event)
        return found

    @cached_property
    def gifts_by_wallet(self) -> dict[str, list[Transfer]]:
        """Shares that wallets sent each other without a trade, by either of them. Feeds do not tell of them."""
        found: dict[str, list[Transfer]] = {}
        contracts = self.facts.contracts
        for transfer in self.facts.ledger.transfers:
            own = transfer.operator == transfer.sender not in contracts
            if own and transfer.receiver not in (ZERO, transfer.sender):
                for wallet in (transfer.sender, transfer.receiver):
                    found.setdefault(wallet, []).append(transfer)
        return found

    @cached_property
    def wallets_by_condition(self) -> dict[str, set[str]]:
        """Who ever held an outcome of a condition."""
        found: dict[str, set[str]] = {}
        for condition, orders in self.facts.orders_by_condition.items():
            found[condition] = {order.maker for order in orders}
        for split in self.facts.ledger.splits:
            found.setdefault(split.condition, set()).add(split.stakeholder)
        for wallet, gifts in self.gifts_by_wallet.items():
            for token in {token for gift in gifts for token in gift.tokens}:
                if (known := self.facts.condition(token)) is not None:
                    found.setdefault(known, set()).add(wallet)
        for conversion in self.facts.ledger.conversions:
            for condition in self.facts.questions(conversion.market_id).values():
                found.setdefault(condition, set()).add(conversion.stakeholder)
        return found

    def of_wallet(self, wallet: str) -> list[Sequence[Event]]:
        """All that a wallet did, as two lists that are to be merged."""
        return [self.trades_by_wallet.get(wallet, []), self.others_by_wallet.get(wallet, [])]


def walk(
    lists: Sequence[Sequence[Event]], window: Window, after: Place | None, *, ascending: bool = False
) -> Iterator[Event]:
    """Events of several lists within the window in one order, those behind `after` (a cursor's anchor) only."""
    parts = [_part(events, window, after, ascending) for events in lists if events]
    if len(parts) == 1:
        return parts[0]
    return heapq.merge(*parts, key=place_of, reverse=not ascending)


def _part(events: Sequence[Event], window: Window, after: Place | None, ascending: bool) -> Iterator[Event]:
    """One list's share, found by bisection: a deep page costs what a shallow one does."""
    low = bisect_left(events, window.first, key=_time)
    high = bisect_right(events, window.last, key=_time)
    if after is not None and ascending:
        low = max(low, bisect_right(events, after, key=place_of))
    elif after is not None:
        high = min(high, bisect_left(events, after, key=place_of))
    places = range(low, high) if ascending else range(high - 1, low - 1, -1)
    return (events[place] for place in places)


def taken(events: Iterator[Event], wanted: Callable[[Event], bool], limit: int) -> list[Event]:
    """The first rows that pass, one more than the page has, so that it is known whether there are more."""
    return list(islice(filter(wanted, events), limit + 1))


def _time(event: Event) -> int:
    return event.at.timestamp
