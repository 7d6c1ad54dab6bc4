"""`/v2/positions` of the pretend Data API: a wallet's positions, or everybody's in some conditions."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from .data_api_book import Book, Holding
from .data_api_index import Event, Index, place_of
from .data_api_query import Query, Refused, Row, cut, envelope, make_cursor, too_much
from .data_api_rows import MICRO, Rows
from .gamma_facts import ICON, day
from .ledger import Conversion, Transfer
from .model import Market
from .reply import Reply, Wish
from .world import World

STATUSES = ("OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED")
SORTS = ("CURRENT_VALUE", "PRICE", "TOKENS", "UNREALIZED_PNL", "REALIZED_PNL", "TOTAL_PNL", "TIMESTAMP")
BY_REALIZED = ("CURRENT_VALUE", "PRICE", "TOKENS", "UNREALIZED_PNL")
"""What closed positions cannot be sorted by: they come by realized gain instead, under the name asked for."""
DUST = 0.1
KEPT_BOOKS = 4096


class Position(NamedTuple):
    """A holding with what it is worth. Money in micro-dollars."""

    wallet: str
    holding: Holding
    market: Market
    outcome: int
    price: float
    resolved: bool
    mergeable: bool

    @property
    def value(self) -> int:
        """What the shares held are worth."""
        return round(self.holding.shares * self.price)

    @property
    def unrealized(self) -> int:
        """Value less cost."""
        return self.value - self.holding.cost

    @property
    def status(self) -> str:
        """How the position stands. `REDEEMABLE` may be claimed; a lost one is worth nothing."""
        if self.holding.shares == 0:
            return "CLOSED"
        if not self.resolved:
            return "OPEN"
        return "REDEEMABLE" if self.price > 0 else "REDEEMABLE_LOST"


class Portfolio:
    """Positions as they were at the clock's time. The last wallets asked about are kept."""

    def __init__(self, world: World, index: Index, rows: Rows) -> None:
        self._world = world
        self._index = index
        self._facts = index.facts
        self._rows = rows
        self._books: OrderedDict[tuple[str, int], Mapping[int, Holding]] = OrderedDict()

    def page(self, query: Query, user: str | None, wish: Wish) -> Reply:
        """One page."""
        conditions = query.conditions()
        if user is None and conditions is None:
            raise Refused("required query param 'user' or 'condition' not provided")
        order = _order(query, user, conditions)
        if too_much(order.limit, wish):
            raise Refused("the request took too long", "request_timeout")
        least = (query.number("filter_amount") if query.text("filter_amount") else DUST) or 0
        found = [
            each for each in self.positions(user, conditions, wish.before)
            if _has(each, order.status) and _size(each) >= least * MICRO and _in_window(each, query)
        ]  # fmt: skip
        behind = [each for each in found if order.after is None or _rank(each, order) < order.after]
        rows = heapq.nlargest(order.limit + 1, behind, key=lambda each: _rank(each, order))
        page, more, applied = cut(rows, order.limit, wish)
        cursor = order.cursor_at(page[-1]) if more else None
        return envelope([self.row(each) for each in page], order.limit, cursor, applied)

    def positions(self, user: str | None, conditions: Sequence[str] | None, before: int | None) -> Iterable[Position]:
        """Every position of a wallet, or of everybody in some conditions, closed ones too."""
        by_condition = self._index.wallets_by_condition
        wanted = None if conditions is None else frozenset(conditions)
        wallets = {user} if user else {wallet for each in wanted or () for wallet in by_condition.get(each, ())}
        for wallet in wallets:
            book = self._book(wallet, before)
            for holding in book.values():
                market = self._facts.market(self._world.truth[holding.token].condition)
                if market is not None and (wanted is None or market.condition in wanted):
                    yield self._position(wallet, holding, market, book, before)

    def _position(
        self, wallet: str, holding: Holding, market: Market, book: Mapping[int, Holding], before: int | None
    ) -> Position:
        outcome = market.tokens.index(holding.token)
        other = book.get(market.tokens[1 - outcome])
        price = self._facts.prices(market.condition, market.tokens, before)[outcome]
        resolved = self._facts.ending(market.condition, before) is not None
        both = holding.shares > 0 and other is not None and other.shares > 0
        return Position(wallet, holding, market, outcome, price, resolved, both)

    def _book(self, wallet: str, before: int | None) -> Mapping[int, Holding]:
        now = self._facts.now(before)
        if (wallet, now) not in self._books:
            lists: list[Sequence[Event | Transfer]] = [*self._index.of_wallet(wallet)]
            lists.append(self._index.gifts_by_wallet.get(wallet, []))
            past = takewhile(lambda event: event.at.timestamp < now, heapq.merge(*lists, key=place_of))
            self._books[wallet, now] = Book(wallet, self._tokens, self._questions, self._payouts).replay(past)
            while len(self._books) > KEPT_BOOKS:
                self._books.popitem(last=False)
        return self._books[wallet, now]

    def _tokens(self, condition: str) -> tuple[int, ...]:
        market = self._facts.market(condition)
        return market.tokens if market is not None else ()

    def _payouts(self, condition: str) -> tuple[int, ...]:
        ending = self._facts.resolutions.get(condition)
        return ending.numerators if ending is not None else ()

    def _questions(self, conversion: Conversion) -> Mapping[int, str]:
        return self._facts.questions(conversion.market_id)

    def row(self, each: Position) -> Row:
        """A position as the second version shows it."""
        held = each.holding
        return {
            "proxy_wallet": each.wallet,
            "token_id": str(held.token),
            "condition_id": f"0x{each.market.condition}",
            "current_size": _shown(held.shares),
            "avg_price": _average(held),
            "entry_cost_usdc": _shown(held.cost),
            "entry_fees_usdc": _shown(held.fees, 5),
            "total_cost_usdc": _shown(held.cost // 100 * 100 + held.fees, 5),
            "current_price": each.price,
            "current_value": _shown(each.value),
            "total_size": _shown(held.bought),
            **_gains(each),
            "status": each.status,
            "redeemable": each.resolved and held.shares > 0,
            "mergeable": each.mergeable,
            "negative_risk": bool(each.market.neg_risk),
            "archived": False,
            **self._about(each),
            **_times(held),
            "name": self._rows.profile(each.wallet)["name"],
            "profile_image": "",
            "verified": False,
        }

    def _about(self, each: Position) -> Row:
        market = each.market
        group = self._facts.groups.get(market.event_slug or "")
        return {
            "title": market.title,
            "slug": market.slug,
            "icon": ICON,
            "event_id": str(group.number) if group else "",
            "event_slug": market.event_slug or "",
            "outcome": market.labels[each.outcome],
            "outcome_index": each.outcome,
            "opposite_outcome": market.labels[1 - each.outcome],
            "opposite_token_id": str(market.tokens[1 - each.outcome]),
            "end_date": day(market.end) if market.end is not None else "",
        }


class Walk(NamedTuple):
    """What a walk over positions is bound to: all of it is in the cursor."""

    limit: int
    status: str
    sort: str
    ascending: bool
    anchor: str
    """`u` and the wallet, or `c` and the conditions."""
    after: tuple[int, int, int] | None

    def cursor_at(self, last: Position) -> str:
        """The cursor that goes on behind this row."""
        key, token, wallet = _rank(last, self)
        return make_cursor(
            "positions",
            l=self.limit,
            d=1 if self.ascending else 2,
            k=str(key),
            t=str(token),
            w=f"{wallet:040x}",
            a=self.anchor[0],
            av=self.anchor[1:],
            st=self.status,
            s=self.sort,
            dir="ASC" if self.ascending else "DESC",
        )


def _order(query: Query, user: str | None, conditions: list[str] | None) -> Walk:
    anchor = f"u{user}" if user is not None else "c" + ",".join(conditions or ())
    cursor = query.cursor("positions")
    status = query.word("status", STATUSES)
    sort = query.word("sort_by", SORTS)
    direction = query.word("sort_direction", ("ASC", "DESC"))
    if cursor is None:
        return Walk(query.limit(), status or "OPEN", sort or "CURRENT_VALUE", direction == "ASC", anchor, None)
    said = (("st", status), ("s", sort), ("dir", direction), ("a", anchor[0]), ("av", anchor[1:]))
    if any(value is not None and cursor[name] != value for name, value in said):
        raise Refused("invalid cursor", parameter="cursor")
    after = (int(cursor["k"]), int(cursor["t"]), int(cursor["w"], 16))
    return Walk(cursor["l"], cursor["st"], cursor["s"], cursor["dir"] == "ASC", anchor, after)


def _rank(each: Position, order: Walk) -> tuple[int, int, int]:
    """What positions are sorted by, greatest first; the token and the wallet make the order total."""
    sort = "REALIZED_PNL" if order.status == "CLOSED" and order.sort in BY_REALIZED else order.sort
    keys = {
        "CURRENT_VALUE": each.value,
        "PRICE": round(each.price * MICRO),
        "TOKENS": each.holding.shares,
        "UNREALIZED_PNL": each.unrealized,
        "REALIZED_PNL": each.holding.realized,
        "TOTAL_PNL": each.holding.realized + each.unrealized,
        "TIMESTAMP": each.holding.last_at,
    }
    return (-keys[sort] if order.ascending else keys[sort]), each.holding.token, int(each.wallet, 16)


def _has(each: Position, status: str) -> bool:
    """Whether a position belongs under a status. All that is still held is open, whatever became of the market."""
    if status == "MERGEABLE":
        return each.mergeable
    if status == "OPEN":
        return each.holding.shares > 0
    return each.status == status


def _size(each: Position) -> int:
    """What the dust filter measures."""
    return each.holding.shares or each.holding.bought


def _in_window(each: Position, query: Query) -> bool:
    start, end = query.whole("start"), query.whole("end")
    return (not start or each.holding.last_at >= start) and (not end or each.holding.last_at <= end)


def _times(held: Holding) -> Row:
    """When it was traded; shares that came as a gift alone have no time."""
    return {"last_event_at": held.last_at, "first_entry_at": held.first_at} if held.last_at else {}


def _gains(each: Position) -> Row:
    """Gains before fees. Percentages are of what was paid: for what is held, and for everything."""
    held = each.holding
    total = held.realized + each.unrealized
    return {
        "realized_pnl": _shown(held.realized),
        "unrealized_pnl": _shown(each.unrealized),
        "total_pnl": _shown(total),
        "percent_pnl": _percent(each.unrealized, held.cost),
        "percent_realized_pnl": _percent(total, held.spent),
    }


def _shown(micro: int, places: int = 4) -> float:
    """A micro-amount as it is shown: cut after some decimals, not rounded."""
    unit = int(10 ** (6 - places))
    whole = abs(micro) // unit * unit
    return (whole if micro >= 0 else -whole) / MICRO


def _average(held: Holding) -> float:
    """Price paid for a share, cut to four decimals: cost cannot be recomputed from it."""
    cost, shares = (held.cost, held.shares) if held.shares else (held.spent, held.bought)
    return float(cost * 10_000 // shares / 10_000) if shares else 0.0


def _percent(part: int, whole: int) -> float:
    return round(part / whole * 100, 4) if whole else 0.0
