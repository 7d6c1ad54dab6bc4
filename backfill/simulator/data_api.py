"""The pretend Data API: trades, activity, positions and resolutions, in its second version and its first."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, get_args

from aiohttp import web

from .data_api_feeds import Feeds
from .data_api_index import Index
from .data_api_pnl import Profits
from .data_api_portfolio import Portfolio
from .data_api_query import PLAYED, Query, Refused
from .data_api_resolutions import Resolutions, status
from .data_api_rows import Rows
from .data_api_v1 import FirstVersion, refusal
from .faults import Faults, RequestFault
from .gamma_facts import facts_of
from .reply import PLAIN, Reply, Wish
from .world import World

PREFIX = "/data-api"
CACHED = {"/v2/trades": 300, "/v2/activity": 15, "/v2/positions": 5}
"""Seconds that answers may be kept on the way."""
V1Mode = Literal["alive", "404", "410"]
"""What the first version answers: as ever, not found, or gone."""


class DataApi:
    """Answers from the ledger of the world. Everything is indexed once, when first asked for."""

    own_faults: frozenset[RequestFault] = PLAYED
    """Special faults that are played here."""

    def __init__(
        self, world: World, faults: Faults, *, v1: V1Mode = "alive", combos: bool = False, feed_lag: int = 0
    ) -> None:
        """`combos` mixes trades of bundles in; first pages of the trade feed are `feed_lag` seconds old."""
        self.v1: V1Mode = v1
        self.feed_lag = feed_lag
        self._world = world
        self._make(combos)

    def configure(self, name: str, value: object) -> None:
        """Change an option while the server runs; ValueError for one there is not."""
        match name, value:
            case "v1", str() if value in get_args(V1Mode):
                self.v1 = value  # type: ignore[assignment]
            case "combos", bool():
                self._make(value)
            case "feed_lag", int() if value >= 0:
                self.feed_lag = value
            case _:
                raise ValueError(f"the Data API has no option {name!r} with a value {value!r}")

    def warm_up(self) -> None:
        """Make the indexes now instead of at the first request."""
        index = self._index
        _ = (index.trades_by_wallet, index.others_by_wallet, index.facts.orders_by_condition, index.facts.pairs)

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Answer one request, in a thread: the first one makes the indexes."""
        path = request.path.removeprefix(PREFIX).rstrip("/")
        return await asyncio.to_thread(self._answer, request.method, path, Query(request.query), wish)

    def _make(self, combos: bool) -> None:
        facts = facts_of(self._world)
        self._index = Index(facts, combos)
        rows = Rows(self._world, facts)
        self._feeds = Feeds(self._index, rows)
        self._portfolio = Portfolio(self._world, self._index, rows)
        self._resolutions = Resolutions(facts)
        self._profits = Profits(self._index, self._portfolio, rows)
        self._first = FirstVersion(self._index, rows, self._feeds, self._portfolio, self._profits)

    def _answer(self, method: str, path: str, query: Query, wish: Wish) -> Reply:
        if not path.startswith("/v2/"):
            if self.v1 != "alive":
                return refusal(int(self.v1), "not found" if self.v1 == "404" else "gone")
            return self._first.answer(path, query, wish)
        try:
            if method != "GET":
                raise Refused("method not allowed", "method_not_allowed")
            reply = self._second(path, query, wish)
        except Refused as refused:
            return refused.reply()
        if path in CACHED:
            reply.headers["cache-control"] = f"public, max-age={CACHED[path]}"
        return reply

    def _second(self, path: str, query: Query, wish: Wish) -> Reply:
        routes: dict[str, Any] = {
            "/v2/trades": lambda: self._feeds.trades(query, wish, self.feed_lag),
            "/v2/activity": lambda: self._feeds.activity(query, wish),
            "/v2/positions": lambda: self._portfolio.page(query, self._feeds.user(query), wish),
            "/v2/resolutions": lambda: self._resolutions.page(query, wish),
            "/v2/user-pnl": lambda: self._profits.curve(query, self._feeds.user(query), wish),
            "/v2/leaderboard": lambda: self._profits.board(query, wish),
            "/v2/status": lambda: status(self._index.facts, wish.before),
        }
        if path not in routes:
            raise Refused("not found", "not_found")
        reply: Reply = routes[path]()
        return reply
