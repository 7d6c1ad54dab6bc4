"""The pretend Dome: markets, by which tokens are mapped, and the way to its other endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from multidict import MultiMapping

from .dome_orders import Orders
from .dome_query import BadRequest, cursor, error_reply, limit_of, number_of, place_of
from .dome_wallets import Wallets
from .faults import Faults, Lie
from .generate import CUTOVER
from .model import Market
from .reply import PLAIN, Reply, Wish
from .world import World

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_TOKENS = 100
MIN_SEARCH = 2
SHORT = ("short_page", "short_page_unsaid")
FILTERS = ("market_slug", "event_slug", "condition_id", "token_id", "tags", "status", "min_volume")
PROFIT = "/polymarket/wallet/pnl/"
Row = dict[str, Any]


class Dome:
    """Answers from the markets that Dome knows. Rows are rendered once, when the server starts."""

    def __init__(self, world: World, faults: Faults, keys: Iterable[str] = ("demo-key",)) -> None:
        self.keys = frozenset(keys)
        self._faults = faults
        self._orders = Orders(world)
        self._wallets = Wallets(world)
        known = world.known_to("dome")
        self._markets = [market for market in world.markets if market.tokens[0] in known]
        self._rows = [orjson.dumps(render(market.at(CUTOVER))) for market in self._markets]
        self._by_token = {str(t): n for n, market in enumerate(self._markets) for t in market.tokens}
        self._by_condition = {f"0x{market.condition}": n for n, market in enumerate(self._markets)}
        self._by_slug = {market.slug: n for n, market in enumerate(self._markets)}
        self._newest_first = sorted(range(len(self._markets)), key=lambda n: -self._markets[n].start)

    def allows(self, request: web.Request) -> bool:
        """Whether the request carries an accepted key."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and key.strip() in self.keys

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Answer a request whose credentials were accepted."""
        path = request.path.partition("/v1")[2]
        if request.method != "GET":
            return error_reply(404, "Not found", f"Cannot {request.method} {path}")
        try:
            if path == "/polymarket/markets":
                return self.markets(request.query, wish)
            # In a thread: the first request for orders makes the ledger, which takes seconds in a large world.
            return await asyncio.to_thread(self.history, path, request.query, wish)
        except BadRequest as refusal:
            return refusal.reply()

    def history(self, path: str, query: MultiMapping[str], wish: Wish = PLAIN) -> Reply:
        """An answer out of the ledger. Lies and short pages are about markets only."""
        if path == "/polymarket/orders":
            reply = self.orders(query, wish)
        elif path == "/polymarket/activity":
            reply = self._wallets.activity(query, wish.before)
        elif path == "/polymarket/wallet":
            reply = self._wallets.wallet(query, wish.before)
        elif path.startswith(PROFIT):
            reply = self._wallets.profit(path.removeprefix(PROFIT), query, wish.before)
        else:
            return error_reply(404, "Not found", f"Cannot GET {path}")
        return replace(reply, applied=wish.fault not in SHORT)

    def orders(self, query: MultiMapping[str], wish: Wish = PLAIN) -> Reply:
        """One page of trade history."""
        return replace(self._orders.page(query, wish.before), applied=wish.fault not in SHORT)

    def configure(self, name: str, value: object) -> None:
        """`log_index`: whether orders carry block numbers and log indexes; before January 2026 they did not."""
        if name != "log_index" or not isinstance(value, bool):
            raise ValueError(f"Dome has no option {name!r} with a value {value!r}")
        self._orders.shows_places = value

    def markets(self, query: MultiMapping[str], wish: Wish = PLAIN) -> Reply:
        """One page of markets."""
        limit = limit_of(query, DEFAULT_LIMIT, MAX_LIMIT)
        found = self._find(query, wish.before)
        if wish.before is not None:
            found = [n for n in found if self._markets[n].start < wish.before]
        start = place_of(query)
        page = found[start : start + limit]
        if wish.fault in SHORT:
            page = page[: len(page) // 2]
        more = start + len(page) < len(found) and wish.fault != "short_page_unsaid"
        pagination: Row = {"limit": limit, "total": len(found), "has_more": more}
        if more:
            last = self._markets[page[-1] if page else 0]
            shown = {"volume_total": last.volume, "condition_id": f"0x{last.condition}"}
            pagination["pagination_key"] = cursor(start + len(page), **shown)
        lies = self._faults.lied_about("dome")
        rows = b",".join(self._row(n, lies, wish.before) for n in page)
        body = b'{"markets":[' + rows + b'],"pagination":' + orjson.dumps(pagination) + b"}"
        return Reply(200, body, ids=len(query.getall("token_id", [])) + len(query.getall("condition_id", [])))

    def _row(self, number: int, lies: dict[int, Lie], before: int | None) -> bytes:
        market, row = self._markets[number], self._rows[number]
        if before is not None and before < CUTOVER and market.closed_at is not None and market.closed_at >= before:
            row = orjson.dumps(render(market.at(before)))
        lie = lies.get(market.tokens[0]) if lies else None
        if lie is None:
            return row
        return orjson.dumps(distort(orjson.loads(row), lie, self._markets[number - 1]))

    def _find(self, query: MultiMapping[str], before: int | None) -> list[int]:
        """Numbers of the wanted markets, by volume where a filter was given and newest first otherwise."""
        if (search := query.get("search")) is not None:
            return self._search(search, query)
        if not any(name in query for name in FILTERS):
            return self._in_time(self._newest_first, query)
        found = self._indexed(query)
        for test in _tests(query, CUTOVER if before is None else min(before, CUTOVER)):
            found = [n for n in found if test(self._markets[n])]
        return sorted(self._in_time(found, query), key=lambda n: (-self._markets[n].volume, n))

    def _indexed(self, query: MultiMapping[str]) -> Iterable[int]:
        """Candidates by the exact-match lists, which narrow each other."""
        tokens = query.getall("token_id", [])
        if len(tokens) > MAX_TOKENS:
            raise BadRequest("Invalid token_id parameter", f"at most {MAX_TOKENS} token_id values, got {len(tokens)}")
        if any(not (token.isascii() and token.isdigit()) for token in tokens):
            raise BadRequest("Invalid token_id parameter", "token_id must hold decimal digits only")
        found: set[int] | None = None
        lists = ((tokens, self._by_token), (query.getall("condition_id", []), self._by_condition),
                 (query.getall("market_slug", []), self._by_slug))  # fmt: skip
        for values, index in lists:
            if values:
                hits = {index[value] for value in values if value in index}
                found = hits if found is None else found & hits
        return range(len(self._markets)) if found is None else found

    def _search(self, text: str, query: MultiMapping[str]) -> list[int]:
        if len(text) < MIN_SEARCH:
            raise BadRequest("Invalid search parameter", f"search must be at least {MIN_SEARCH} characters long")
        if any(name in query for name in FILTERS):
            raise BadRequest("Invalid query parameters", "search cannot be combined with other filters")
        text = text.lower()
        return [n for n in self._newest_first if text in self._markets[n].title.lower()]

    def _in_time(self, found: Iterable[int], query: MultiMapping[str]) -> list[int]:
        """Markets that started within the asked seconds, both ends included."""
        low, high = number_of(query, "start_time"), number_of(query, "end_time")
        return [
            n for n in found
            if (low is None or self._markets[n].start >= low) and (high is None or self._markets[n].start <= high)
        ]  # fmt: skip


def _tests(query: MultiMapping[str], moment: int) -> Iterable[Callable[[Market], bool]]:
    events, tags = frozenset(query.getall("event_slug", [])), frozenset(query.getall("tags", []))
    if events:
        yield lambda market: market.event_slug in events
    if tags:
        yield lambda market: not tags.isdisjoint(market.tags)
    if (status := query.get("status")) is not None:
        if status not in ("open", "closed"):
            raise BadRequest("Invalid status parameter", "status must be open or closed")
        yield lambda market: _status(market.at(moment)) == status
    if (volume := number_of(query, "min_volume")) is not None:
        yield lambda market: market.volume >= volume


def render(market: Market) -> Row:
    """A market as Dome's row. Both documented shapes of `winning_side`, nulls and absent keys occur."""
    sides = [{"id": str(token), "label": label} for token, label in zip(market.tokens, market.labels, strict=True)]
    row: Row = {
        "market_slug": market.slug,
        "event_slug": market.event_slug,
        "condition_id": f"0x{market.condition}",
        "title": market.title,
        "start_time": market.start,
        "end_time": market.end,
        "completed_time": None,
        "close_time": market.closed_at,
        "tags": list(market.tags),
        "volume_1_week": 0,
        "volume_1_month": market.volume / 7,
        "volume_1_year": market.volume,
        "volume_total": market.volume,
        "resolution_source": "",
        "image": "https://images.invalid/market.png",
        "description": None,
        "negative_risk_id": f"0x{market.condition[:62]}00" if market.neg_risk else None,
        "side_a": sides[0],
        "side_b": sides[1],
        "winning_side": _winning_side(market, sides),
        "status": _status(market),
    }
    if market.game_start is not None:
        row["game_start_time"] = datetime.fromtimestamp(market.game_start, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    return row


def _winning_side(market: Market, sides: list[dict[str, str]]) -> dict[str, str] | str | None:
    """Clients met an object and the documentation says a string: one market in ten has the string."""
    if market.winner is None:
        return None
    side = sides[market.winner]
    return side["label"] if market.tokens[0] % 10 == 0 else side


def _status(market: Market) -> str:
    return "open" if market.closed_at is None else "closed"


def distort(row: Row, lie: Lie, other: Market) -> Row:
    """A wrong row: false in a well-formed way, or malformed."""
    match lie:
        case "swapped":
            row["side_a"]["id"], row["side_b"]["id"] = row["side_b"]["id"], row["side_a"]["id"]
        case "other_condition":
            row["condition_id"] = f"0x{other.condition}"
        case "missing_side_b":
            del row["side_b"]
        case "id_not_number":
            row["side_a"]["id"] = "not-a-number"
        case _:
            row["condition_id"] = "0x" + "z" * 64
    return row
