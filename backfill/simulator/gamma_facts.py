"""What the pretend Gamma, CLOB and Data API all know of markets: order, events, questions, endings, prices."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from functools import cached_property
from typing import NamedTuple

from .blocks import block_of
from .ids import NEG_RISK_ORACLE, UMA_ORACLE
from .ledger import Ledger, Order, Resolution, WalletPair
from .model import Market
from .world import World

ICON = "https://images.invalid/market.png"
FIRST_EVENT = 10_000
"""Number of the first event; markets are numbered from `FIRST_MARKET`."""
FIRST_MARKET = 500_000
_ATTRIBUTE = "_facts"
CONTRACTS = frozenset((
    "0x4d97dcd97ec945f40cf65f87097ace5ea0476045",  # conditional tokens
    "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e",  # exchanges: first version, its neg-risk twin, and the second's
    "0xc5d563a36ae78145c45a50134d48a1215220f80a",
    "0xe111180000d2663c0091e4f400237545b87b996b",
    "0xe2222d279d744050d28e00520010520000310f59",
    "0xd91e80cf2e7be2e162c6513ced06f1dd0da35296",  # neg-risk adapter
))  # fmt: skip


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

    def head(self, before: int | None) -> int:
        """The newest block at this time, whether anything happened in it or not."""
        head = self.ledger.head
        return head.block if before is None or before > head.timestamp else block_of(before - 1)

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
    def contracts(self) -> frozenset[str]:
        """Addresses of the protocol, which are nobody's wallet."""
        return CONTRACTS.union(order.exchange for order in self.ledger.orders)

    @cached_property
    def pairs(self) -> dict[str, WalletPair]:
        """Accounts by either address."""
        pairs = {pair.owner: pair for pair in self.ledger.wallets}
        return {**pairs, **{pair.wallet: pair for pair in self.ledger.wallets}}

    def market(self, condition: str) -> Market | None:
        """The market of a condition, where it is listed."""
        place = self.places.get(condition)
        return None if place is None else self.listing[place]

    def condition(self, token: int) -> str | None:
        """Condition of a token, where it is known."""
        known = self._world.truth.get(token)
        return known.condition if known is not None else None

    def questions(self, neg_risk_market: str) -> dict[int, str]:
        """Conditions of a neg-risk market by question index, as far as they are known."""
        return self._questions.get(neg_risk_market.removeprefix("0x")[:62], {})

    @cached_property
    def _questions(self) -> dict[str, dict[int, str]]:
        """By the first 62 digits of the question id, then by its last byte."""
        found: dict[str, dict[int, str]] = {}
        for market in self.listing:
            question = self.question(market).removeprefix("0x")
            if market.neg_risk and question:
                found.setdefault(question[:62], {})[int(question[62:], 16)] = market.condition
        return found

    def question(self, market: Market) -> str:
        """Question id with 0x; empty where nobody knows it."""
        question = market.question_id
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
