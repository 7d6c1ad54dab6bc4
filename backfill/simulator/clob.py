"""The pretend CLOB: its list of markets by computed cursors, and the account's own trades behind a signature."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import islice

import orjson
from aiohttp import web
from multidict import MultiMapping

from .clob_auth import Credentials, credentials_of, is_signed
from .clob_markets import Rows
from .clob_trades import Match, Trades
from .faults import Faults, RequestFault
from .gamma_facts import facts_of
from .ledger import Order
from .reply import PLAIN, Reply, Wish
from .world import World

PREFIX = "/clob"
START, END = "MA==", "LTE="
TRADES_PAGE = 100
PAGE_SIZES = (100, 1000)
SIGNED = ("/data/trades",)
SHORT: frozenset[RequestFault] = frozenset(("short_page", "short_page_unsaid"))


class Refused(Exception):
    """A request that is not taken."""


class Clob:
    """Answers from the markets and the ledger of the world. One wallet has an account: the one that trades most."""

    own_faults: frozenset[RequestFault] = SHORT
    """Special faults that are played here."""

    def __init__(
        self, world: World, faults: Faults, *, page_size: int = 1000, clock: Callable[[], float] = time.time
    ) -> None:
        """`page_size` is of the list of markets; `clock` (unix seconds) is what signatures are held against."""
        self.page_size = page_size
        self._world = world
        self._clock = clock
        facts = facts_of(world)
        self._facts = facts
        self._rows = Rows(facts)
        self._trades = Trades(world, facts)

    @property
    def account(self) -> str:
        """The wallet whose trades can be asked for."""
        return self._trades.account

    @cached_property
    def credentials(self) -> Credentials:
        """What the account signs with."""
        return credentials_of(self._trades.owner, self._world.seed)

    @property
    def env(self) -> Mapping[str, str]:
        """The account's keys as environment variables of the product."""
        names = ("ADDRESS", "API_KEY", "SECRET", "PASSPHRASE")
        return {f"POLYMARKET_CLOB_{name}": value for name, value in zip(names, self.credentials, strict=True)}

    def told(self, before: int | None = None) -> list[Order]:
        """The account's orders that can be learnt here: settled, and with their transaction named."""
        return self._trades.told(before)

    def configure(self, name: str, value: object) -> None:
        """Change an option while the server runs; ValueError for one there is not."""
        if name != "page_size" or value not in PAGE_SIZES:
            raise ValueError(f"the CLOB has no option {name!r} with a value {value!r}")
        self.page_size = 100 if value == 100 else 1000

    def warm_up(self) -> None:
        """Find the account and its trades now instead of at the first request."""
        _ = (self._trades.matches, self._facts.listing, self._facts.places)

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Answer one request, in a thread: the first one makes the indexes."""
        path = request.path.removeprefix(PREFIX).rstrip("/")
        return await asyncio.to_thread(self.reply, request.method, path, request.query, request.headers, wish)

    def reply(
        self, method: str, path: str, query: MultiMapping[str], headers: Mapping[str, str], wish: Wish = PLAIN
    ) -> Reply:
        """The answer to a path below the prefix."""
        if path in SIGNED and not is_signed(headers, self.credentials, method, path, self._clock()):
            return error(401, "Unauthorized/Invalid api key")
        if method != "GET":
            return error(405, "Method Not Allowed")
        try:
            return self._routed(path, query, wish)
        except Refused as refused:
            return error(400, str(refused))

    def _routed(self, path: str, query: MultiMapping[str], wish: Wish) -> Reply:
        if path == "/ok":
            return Reply(200, b'"OK"', applied=wish.fault is None)
        if path == "/time":
            return Reply(200, str(int(self._clock())).encode(), applied=wish.fault is None)
        if path == "/markets":
            return self._markets(query, wish)
        if path == "/data/trades":
            return self._account_trades(query, wish)
        if path.startswith("/markets/"):
            place = self._facts.places.get(path.removeprefix("/markets/").removeprefix("0x").lower())
            if place is not None and place < self._facts.listed(wish.before):
                return Reply(200, orjson.dumps(self._rows.market(place, wish.before)), applied=wish.fault is None)
            return error(404, "market not found")
        return error(404, "Not Found")

    def _markets(self, query: MultiMapping[str], wish: Wish) -> Reply:
        total = self._rows.count(wish.before)
        offset = _offset(query)
        places = list(range(offset, min(offset + self.page_size, total))) if offset >= 0 else []
        places, cursor, applied = _cut(places, offset, total, wish)
        rows = [self._rows.at(place, wish.before) for place in places]
        body = {"data": rows, "next_cursor": cursor, "limit": self.page_size, "count": len(rows)}
        return Reply(200, orjson.dumps(body), applied=applied)

    def _account_trades(self, query: MultiMapping[str], wish: Wish) -> Reply:
        """A page of the account's trades; nobody else's are told."""
        wanted = self._wanted(query, self._facts.now(wish.before))
        offset = _offset(query)
        found = list(islice(filter(wanted, self._trades.matches), max(0, offset) + TRADES_PAGE + 1))
        places = list(range(offset, min(offset + TRADES_PAGE, len(found)))) if offset >= 0 else []
        places, cursor, applied = _cut(places, offset, len(found), wish)
        rows = [self._trades.row(found[place]) for place in places]
        body = {"limit": TRADES_PAGE, "count": len(rows), "next_cursor": cursor, "data": rows}
        return Reply(200, orjson.dumps(body), applied=applied)

    def _wanted(self, query: MultiMapping[str], now: int) -> Callable[[Match], bool]:
        maker = query.get("maker_address", "").lower()
        after, before = _seconds(query, "after"), _seconds(query, "before")
        names = {name: query[name].lower() for name in ("market", "asset_id", "id") if query.get(name)}
        if not maker:
            raise Refused("Invalid trade params payload")
        if maker != self.account:
            return lambda _match: False

        def wanted(match: Match) -> bool:
            at = match.at.timestamp
            if at >= now or (after is not None and at <= after) or (before is not None and at >= before):
                return False
            row = self._trades.row(match) if names else {}
            return all(row[name] == value for name, value in names.items())

        return wanted


def error(status: int, text: str) -> Reply:
    """An error in the CLOB's shape."""
    return Reply(status, orjson.dumps({"error": text}))


def cursor_of(offset: int) -> str:
    """The cursor of an offset: base64 of the decimal number."""
    return base64.b64encode(str(offset).encode()).decode()


def _offset(query: MultiMapping[str]) -> int:
    """The offset asked for; negative at the end."""
    try:
        return int(base64.b64decode(query.get("next_cursor") or START, validate=True))
    except ValueError:
        raise Refused("invalid next_cursor") from None


def _cut(places: list[int], offset: int, total: int, wish: Wish) -> tuple[list[int], str, bool]:
    """The rows to send, the cursor behind them, and whether the fault took effect. Past the end there is nothing."""
    applied = wish.fault in SHORT and len(places) > 1
    if applied:
        places = places[: len(places) // 2]
    behind = offset + len(places)
    more = bool(places) and behind < total and wish.fault != "short_page_unsaid"
    return places, cursor_of(behind) if more else END, applied or wish.fault not in SHORT


def _seconds(query: MultiMapping[str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise Refused("Invalid trade params payload")
    return int(text)
