"""The first version of the pretend Data API: bare arrays, camel case, offsets with a cap."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import orjson

from .data_api_feeds import Feeds, activity_test, asked_window, trade_test
from .data_api_index import Combo, Event, Index, Window, walk
from .data_api_pnl import Profits
from .data_api_portfolio import Portfolio, Position
from .data_api_query import Query, Refused, Row, camel
from .data_api_rows import Rows
from .reply import Reply, Wish

FEED_CAP = 3000
"""Deepest offset into a feed, far below the documented one; callers go by time instead."""
MAX_TRADES, MAX_ACTIVITY, MAX_POSITIONS, MAX_CLOSED = 10_000, 500, 500, 50
POSITIONS_CAP, CLOSED_CAP = 10_000, 100_000
_NAMES = {
    "token_id": "asset",
    "opposite_token_id": "oppositeAsset",
    "current_size": "size",
    "entry_cost_usdc": "initialValue",
    "unrealized_pnl": "cashPnl",
    "total_size": "totalBought",
    "current_price": "curPrice",
}
_POSITION = (
    "proxy_wallet", "token_id", "condition_id", "current_size", "avg_price", "entry_cost_usdc", "current_value",
    "unrealized_pnl", "percent_pnl", "total_size", "realized_pnl", "percent_realized_pnl", "current_price",
    "redeemable", "mergeable", "title", "slug", "icon", "event_id", "event_slug", "outcome", "outcome_index",
    "opposite_outcome", "opposite_token_id", "end_date", "negative_risk",
)  # fmt: skip
_CLOSED = (
    "proxy_wallet", "token_id", "condition_id", "avg_price", "total_size", "realized_pnl", "current_price", "title",
    "slug", "icon", "event_slug", "outcome", "outcome_index", "opposite_outcome", "opposite_token_id", "end_date",
)  # fmt: skip


class FirstVersion:
    """Answers the paths without a version."""

    def __init__(self, index: Index, rows: Rows, feeds: Feeds, portfolio: Portfolio, profits: Profits) -> None:
        self._profits = profits
        self._index = index
        self._facts = index.facts
        self._rows = rows
        self._feeds = feeds
        self._portfolio = portfolio

    def answer(self, path: str, query: Query, wish: Wish) -> Reply:
        """One page; what cannot be answered is a bare text under `error`."""
        routes = {
            "/trades": self._trades,
            "/activity": self._activity,
            "/positions": self._positions,
            "/closed-positions": self._closed,
            "/holders": self._holders,
            "/v1/leaderboard": self._leaderboard,
        }
        if (route := routes.get(path)) is None:
            return refusal(404, "not found")
        try:
            return route(query, wish)
        except Refused as refused:
            return refusal(400, str(refused))

    def _trades(self, query: Query, wish: Wish) -> Reply:
        conditions = self._markets(query)
        user = self._feeds.user(query)
        lists: Sequence[Sequence[Event]]
        if user is not None:
            lists = [self._index.trades_by_wallet.get(user, [])]
        elif conditions is not None:
            lists = [self._facts.orders_by_condition.get(each, []) for each in conditions]
        else:
            lists = [self._index.trades]
        found = self._walked(lists, query, wish, conditions)
        wanted = trade_test(query)
        events = _part(filter(wanted, found), query, 100, MAX_TRADES, FEED_CAP)
        return _array([self._old(self._rows.trade(event)) for event in events], wish)

    def _leaderboard(self, query: Query, wish: Wish) -> Reply:
        return _array(self._profits.first_board(query, wish), wish)

    def _activity(self, query: Query, wish: Wish) -> Reply:
        user = self._feeds.user(query)
        if user is None:
            raise Refused("required query param 'user' not provided")
        ascending = query.word("sort_direction", ("ASC", "DESC"), "DESC") == "ASC"
        found = self._walked(self._index.of_wallet(user), query, wish, self._markets(query), ascending)
        wanted = activity_test(query)
        events = _part(filter(wanted, found), query, 100, MAX_ACTIVITY, FEED_CAP)
        return _array([self._old(self._rows.activity(event)) for event in events], wish)

    def _walked(
        self,
        lists: Sequence[Sequence[Event]],
        query: Query,
        wish: Wish,
        conditions: list[str] | None,
        ascending: bool = False,
    ) -> Iterable[Event]:
        """Events in order, without bundles: they came with the second version."""
        asked = asked_window(query, self._facts.now(wish.before))
        window = Window(query.whole("start") or 0, asked.last)
        allowed = None if conditions is None else frozenset(f"0x{each}" for each in conditions)
        for event in walk(lists, window, None, ascending=ascending):
            if not isinstance(event, Combo) and (allowed is None or self._rows.condition_of(event) in allowed):
                yield event

    def _positions(self, query: Query, wish: Wish) -> Reply:
        least = query.number("size_threshold") if query.text("size_threshold") else 1.0
        found = [
            each for each in self._held(query, wish)
            if each.holding.shares > 0 and each.holding.shares >= (least or 0) * 1_000_000
        ]  # fmt: skip
        found.sort(key=lambda each: (-each.value, each.holding.token))
        page = _part(found, query, 100, MAX_POSITIONS, POSITIONS_CAP)
        return _array([_picked(self._portfolio.row(each), _POSITION) for each in page], wish)

    def _closed(self, query: Query, wish: Wish) -> Reply:
        found = [each for each in self._held(query, wish) if each.holding.shares == 0]
        found.sort(key=lambda each: (-each.holding.realized, each.holding.token))
        page = _part(found, query, 10, MAX_CLOSED, CLOSED_CAP)
        rows = [_picked(self._portfolio.row(each), _CLOSED) | {"timestamp": each.holding.last_at} for each in page]
        return _array(rows, wish)

    def _held(self, query: Query, wish: Wish) -> list[Position]:
        user = self._feeds.user(query)
        if user is None:
            raise Refused("required query param 'user' not provided")
        return list(self._portfolio.positions(user, self._markets(query), wish.before))

    def _holders(self, query: Query, wish: Wish) -> Reply:
        """The greatest holders by token. A market without any is a bare null."""
        conditions = self._markets(query)
        if conditions is None:
            raise Refused("required query param 'market' not provided")
        by_token: dict[str, list[Position]] = {}
        for each in self._portfolio.positions(None, conditions, wish.before):
            if each.holding.shares > 0:
                by_token.setdefault(str(each.holding.token), []).append(each)
        rows = []
        for token, holders in by_token.items():
            best = heapq.nlargest(100, holders, key=lambda each: (each.holding.shares, each.wallet))
            rows.append({"token": token, "holders": [self._holder(each) for each in best]})
        return Reply(200, orjson.dumps(rows or None), applied=wish.fault is None)

    def _holder(self, each: Position) -> Row:
        profile = {camel(name): value for name, value in self._rows.profile(each.wallet).items()}
        return {
            "proxyWallet": each.wallet,
            "asset": str(each.holding.token),
            "amount": each.holding.shares / 1_000_000,
            "outcomeIndex": each.outcome,
            "displayUsernamePublic": bool(profile["name"]),
            "verified": False,
            **profile,
        }

    def _markets(self, query: Query) -> list[str] | None:
        text = query.text("market")
        return None if text is None else [each.removeprefix("0x").lower() for each in text.split(",") if each]

    def _old(self, row: Row) -> Row:
        """A row under its old names, with the outcome's index known to all."""
        old = {_NAMES.get(name, camel(name)): value for name, value in row.items()}
        if old["asset"]:
            text = self._rows.token(int(old["asset"]))
            old |= {"outcomeIndex": text["outcome_index"], "eventSlug": text["event_slug"]}
        return old


def refusal(status: int, text: str) -> Reply:
    """An error of the first version."""
    return Reply(status, orjson.dumps({"error": text}))


def _picked(row: Row, names: Iterable[str]) -> Row:
    return {_NAMES.get(name, camel(name)): row[name] for name in names}


def _part(rows: Iterable[Any], query: Query, default: int, largest: int, cap: int) -> list[Any]:
    """The rows asked for by limit (clamped) and offset (refused beyond the cap)."""
    limit, offset = query.whole("limit"), query.whole("offset") or 0
    if offset > cap:
        text = "max historical activity offset of {} exceeded" if cap == FEED_CAP else "max offset of {} exceeded"
        raise Refused(text.format(cap))
    limit = default if limit is None else min(limit, largest)
    return list(islice(rows, offset, offset + limit))


def _array(rows: list[Row], wish: Wish) -> Reply:
    """A bare array. A short page cannot say that it is one."""
    applied = wish.fault == "short_page_unsaid" and len(rows) > 1
    return Reply(200, orjson.dumps(rows[: len(rows) // 2] if applied else rows), applied=applied or wish.fault is None)
