"""The two feeds of the pretend Data API's second version: trades and activity, by keyset cursors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from .data_api_index import Combo, Event, Index, Window, is_taker, place_of, taken, walk
from .data_api_query import Query, Refused, Row, cut, envelope, envelope_of, make_cursor, too_much
from .data_api_rows import MICRO, Rows, paid
from .ledger import Conversion, Order, Redemption, Split
from .reply import Reply, Wish

DAY = 86_400
USUAL_SECONDS = 3 * 365 * DAY
"""How far back a query reaches that does not say: longer histories are cut without a word."""
SMALLEST = 0.01
"""Least size of a trade that is shown; asking for 0 means the same."""
ACTIVITY_TYPES = (
    "TRADE", "SPLIT", "MERGE", "REDEEM", "CONVERSION", "MIGRATION", "REWARD", "YIELD", "MAKER_REBATE", "TAKER_REBATE",
    "REFERRAL_REWARD", "DEPOSIT", "WITHDRAWAL", "TIP",
)  # fmt: skip
UP, DOWN = 1, 2
"""Directions as a cursor has them."""
Test = Callable[[Event], bool]


class Feeds:
    """Answers for `/v2/trades` and `/v2/activity`."""

    def __init__(self, index: Index, rows: Rows) -> None:
        self._index = index
        self._facts = index.facts
        self._rows = rows

    def trades(self, query: Query, wish: Wish, lag: int = 0) -> Reply:
        """A page of trades. A first page is `lag` seconds old: it comes from a cache."""
        anchor = query.cursor("trades")
        limit = anchor["l"] if anchor else query.limit()
        now = self._facts.now(wish.before) - (0 if anchor else lag)
        lists, window = self._trades_of(query, now)
        wanted = self._within(self._conditions(query) if query.user() else None, trade_test(query))
        return self._page("trades", (lists, window, wanted), (anchor, limit, False), wish)

    def activity(self, query: Query, wish: Wish) -> Reply:
        """A page of everything that one wallet did."""
        user = self.user(query)
        if user is None:
            raise Refused("required query param 'user' not provided", parameter="user")
        anchor = query.cursor("activity")
        limit = anchor["l"] if anchor else query.limit()
        if query.text("sort_by") not in (None, "TIMESTAMP"):
            raise Refused("only sortBy=TIMESTAMP with sortDirection=DESC is supported", parameter="sort_by")
        ascending = query.word("sort_direction", ("ASC", "DESC"), "DESC") == "ASC"
        if anchor:
            ascending = anchor["d"] == UP
        wanted = self._within(self._conditions(query), activity_test(query))
        window = asked_window(query, self._facts.now(wish.before))
        lists = self._index.of_wallet(user)
        return self._page("activity", (lists, window, wanted), (anchor, limit, ascending), wish)

    def user(self, query: Query) -> str | None:
        """The wallet asked for. A contract of the protocol is not one."""
        user = query.user()
        if user in self._facts.contracts:
            raise Refused(f"user is a protocol contract: {user}", parameter="user")
        return user

    def _page(
        self,
        kind: str,
        found: tuple[Sequence[Sequence[Event]], Window, Test],
        where: tuple[Row | None, int, bool],
        wish: Wish,
    ) -> Reply:
        lists, window, wanted = found
        anchor, limit, ascending = where
        if too_much(limit, wish):
            raise Refused("the request took too long", "request_timeout")
        after = (int(anchor["ts"]), int(anchor["sq"])) if anchor else None
        rows = taken(walk(lists, window, after, ascending=ascending), wanted, limit)
        page, more, applied = cut(rows, limit, wish)
        cursor = None
        if more:
            at, sequence = place_of(page[-1])
            # As recorded: a number in one feed, a string in the other.
            shown = sequence if kind == "trades" else str(sequence)
            cursor = make_cursor(kind, l=limit, ts=at, sq=shown, d=UP if ascending else DOWN)
        if kind == "trades":
            return envelope_of(list(map(self._rows.trade_line, page)), limit, cursor, applied)
        return envelope(list(map(self._rows.activity, page)), limit, cursor, applied)

    def _conditions(self, query: Query) -> list[str] | None:
        """Conditions asked for, by themselves or by their event."""
        conditions, events = query.conditions(), query.event_ids()
        if conditions is not None and events is not None:
            raise Refused("condition and event_id exclude each other", parameter="event_id")
        if events is None:
            return conditions
        groups = [group for group in self._facts.groups.values() if group.number in events]
        return [self._facts.listing[place].condition for group in groups for place in group.places]

    def _within(self, conditions: list[str] | None, wanted: Test) -> Test:
        """The same test, of events of these conditions only."""
        if conditions is None:
            return wanted
        allowed = frozenset(f"0x{condition}" for condition in conditions)
        return lambda event: wanted(event) and self._rows.condition_of(event) in allowed

    def _trades_of(self, query: Query, now: int) -> tuple[list[Sequence[Event]], Window]:
        user, conditions = self.user(query), self._conditions(query)
        if user is not None:
            return [self._index.trades_by_wallet.get(user, [])], asked_window(query, now)
        if conditions is not None:
            by_condition = self._facts.orders_by_condition
            return [by_condition.get(each, []) for each in conditions], Window(now - USUAL_SECONDS, now - 1)
        today = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        first = (today - timedelta(days=1)).replace(day=1)
        return [self._index.trades], Window(int(first.timestamp()), now - 1)


def asked_window(query: Query, now: int) -> Window:
    """The seconds asked for. Only a start of 1 or more reaches back further than usual."""
    start, end = query.whole("start"), query.whole("end")
    return Window(start or now - USUAL_SECONDS, min(end or now + DAY, now - 1))


def trade_test(query: Query) -> Test:
    """Whether a trade is wanted, its condition apart."""
    side = query.word("side", ("BUY", "SELL"))
    taker_only = query.flag("taker_only", True)
    by_money = query.word("filter_type", ("CASH", "TOKENS"), "TOKENS") == "CASH"
    least = (query.number("filter_amount") or SMALLEST) * MICRO

    def wanted(event: Event) -> bool:
        order = event.beside if isinstance(event, Combo) else event
        assert isinstance(order, Order), "the trade feed holds trades"
        return (
            (not taker_only or is_taker(order))
            and (side is None or order.side == side)
            and (paid(order) if by_money else order.shares) >= least
        )

    return wanted


def activity_test(query: Query) -> Test:
    """Whether an event is of a wanted kind and side."""
    side = query.word("side", ("BUY", "SELL"))
    kinds = frozenset((query.text("type") or ",".join(ACTIVITY_TYPES)).upper().split(","))
    if unknown := kinds - set(ACTIVITY_TYPES):
        raise Refused(f"invalid activity type: {', '.join(sorted(unknown))}", parameter="type")
    return lambda event: _kind(event) in kinds and (side is None or _side(event) == side)


def _kind(event: Event) -> str:
    match event:
        case Split():
            return "MERGE" if event.merge else "SPLIT"
        case Redemption():
            return "REDEEM"
        case Conversion():
            return "CONVERSION"
        case _:
            return "TRADE"


def _side(event: Event) -> str | None:
    order = event.beside if isinstance(event, Combo) else event
    return order.side if isinstance(order, Order) else None
