"""What the pretend Gamma, CLOB and Data API all know of markets: order, events, questions, endings, prices."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from functools import cached_property
from typing import NamedTuple

from .ids import NEG_RISK_ORACLE, UMA_ORACLE
from .ledger import At, Ledger, Order, Resolution, WalletPair
from .model import Market
from .world import World

ICON = "https://images.invalid/market.png"
FIRST_EVENT = 10_000
"""Number of the first event; markets are numbered from `FIRST_MARKET`."""
FIRST_MARKET = 500_000
_ATTRIBUTE = "_facts"


class Group(NamedTuple):
    """An event: markets that belong together, in listing order (places in `Facts.listing`)."""

    number: int
    slug: str
    places: tuple[int, ...]


class Facts:
    """Everything is made when first asked for, and once for a world: see `facts_of`."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def ledger(self) -> Ledger:
        """The history behind the world."""
        return self._world.ledger

    def now(self, before: int | None) -> int:
        """The clock (unix seconds): what is at or after it has not happened. Without one, all has happened."""
        return self.ledger.head.timestamp + 1 if before is None else before

    def head(self, before: int | None) -> At:
        """The newest block that has any event at this time; the ledger's head without a clock."""
        if before is None or before > self.ledger.head.timestamp:
            return self.ledger.head
        place = bisect_left(self.ledger.orders, before, key=_order_time)
        return self.ledger.orders[place - 1].at if place else At(0, 0, "", before - 1)

    @cached_property
    def listing(self) -> list[Market]:
        """Markets as they came up, so that a later one never shifts an earlier one's place."""
        return sorted(self._world.markets, key=lambda market: (market.start, market.condition))

    def listed(self, before: int | None) -> int:
        """How many of `listing` had begun."""
        return len(self.listing) if before is None else bisect_left(self.listing, before, key=_start)

    @cached_property
    def places(self) -> dict[str, int]:
        """Place in `listing` by condition (without 0x)."""
        return {market.condition: place for place, market in enumerate(self.listing)}

    @cached_property
    def places_by_token(self) -> dict[str, int]:
        """Place in `listing` by decimal token id."""
        return {str(token): place for place, market in enumerate(self.listing) for token in market.tokens}

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Events by slug, numbered as they came up."""
        places: dict[str, list[int]] = {}
        for place, market in enumerate(self.listing):
            if market.event_slug is not None:
                places.setdefault(market.event_slug, []).append(place)
        return {slug: Group(FIRST_EVENT + n, slug, tuple(each)) for n, (slug, each) in enumerate(places.items())}

    @cached_property
    def resolutions(self) -> dict[str, Resolution]:
        """How conditions ended, by condition."""
        return {each.condition: each for each in self.ledger.resolutions}

    @cached_property
    def orders_by_condition(self) -> dict[str, list[Order]]:
        """Orders in chain order, by condition."""
        truth = self._world.truth
        found: dict[str, list[Order]] = {}
        for order in self.ledger.orders:
            if (known := truth.get(order.token)) is not None:
                found.setdefault(known.condition, []).append(order)
        return found

    @cached_property
    def pairs(self) -> dict[str, WalletPair]:
        """Accounts by either address."""
        pairs = {pair.owner: pair for pair in self.ledger.wallets}
        return {**pairs, **{pair.wallet: pair for pair in self.ledger.wallets}}

    def market(self, condition: str) -> Market | None:
        """The market of a condition, where it is listed."""
        place = self.places.get(condition)
        return None if place is None else self.listing[place]

    def question(self, market: Market) -> str:
        """Question id with 0x; empty where nobody knows it."""
        question = getattr(market, "question_id", None)
        if question is None:
            ending = self.resolutions.get(market.condition)
            question = ending.question_id if ending is not None else ""
        return f"0x{question.removeprefix('0x')}" if question else ""

    def oracle(self, market: Market) -> str:
        """Address that reports the market's outcome, with 0x."""
        ending = self.resolutions.get(market.condition)
        if ending is not None:
            return ending.oracle
        return f"0x{(NEG_RISK_ORACLE if market.neg_risk else UMA_ORACLE).hex()}"

    def ending(self, condition: str, before: int | None) -> Resolution | None:
        """How a condition ended, once it has."""
        ending = self.resolutions.get(condition)
        return ending if ending is not None and ending.at.timestamp < self.now(before) else None

    def closed(self, market: Market, before: int | None) -> bool:
        """Whether trading is over."""
        return market.closed_at is not None and market.closed_at < self.now(before)

    def prices(self, condition: str, tokens: tuple[int, ...], before: int | None) -> tuple[float, ...]:
        """Dollars for a share, by outcome: what it paid, else what the newest trade says, else an even split."""
        ending = self.ending(condition, before)
        if ending is not None:
            total = sum(ending.numerators)
            return tuple(each / total for each in ending.numerators)
        orders = self.orders_by_condition.get(condition, [])
        place = bisect_left(orders, self.now(before), key=_order_time)
        if not place:
            return tuple(1 / len(tokens) for _ in tokens)
        newest = orders[place - 1]
        price = round(newest.usdc / newest.shares, 4)
        return tuple(price if token == newest.token else round(1 - price, 4) for token in tokens)


def facts_of(world: World) -> Facts:
    """The facts of a world. They are kept with it: three upstreams need the same ones."""
    facts: Facts = vars(world).setdefault(_ATTRIBUTE, Facts(world))
    return facts


def iso(at: int) -> str:
    """A time as `2026-05-01T00:00:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(at: int) -> str:
    """A time's date, `2026-05-01`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _order_time(order: Order) -> int:
    return order.at.timestamp


def _start(market: Market) -> int:
    return market.start
