"""The pretend Gamma: markets and events by keyset and by offset, and public profiles."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import orjson
from aiohttp import web
from multidict import MultiMapping

from .faults import Faults, RequestFault
from .gamma_facts import FIRST_MARKET, Group, facts_of
from .gamma_rows import Rows, position_ids
from .reply import PLAIN, Reply, Wish
from .world import World

PREFIX = "/gamma"
DEFAULT_LIMIT, MAX_LIMIT, MAX_OLD_LIMIT = 20, 100, 500
SHORT: frozenset[RequestFault] = frozenset(("short_page", "short_page_unsaid"))
LISTS = ("condition_ids", "clob_token_ids", "question_ids", "position_ids", "slug", "id")
"""Filters that take several values, each as a parameter of its own."""
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_DEPRECATED = {
    "deprecation": "true",
    "sunset": "Fri, 01 May 2026 00:00:00 GMT",
    "cache-control": "public, max-age=300",
}
Render = Callable[[int], dict[str, Any]]


class Invalid(Exception):
    """A parameter that is not taken."""


class Gamma:
    """Answers from the markets and the wallets of the world, in the order in which markets came up."""

    own_faults: frozenset[RequestFault] = SHORT
    """Special faults that are played here."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._facts = facts_of(world)
        self._rows = Rows(self._facts)

    def warm_up(self) -> None:
        """Make the indexes now instead of at the first request."""
        _ = (self._by_question, self._by_slug, self._by_position, self._facts.places_by_token, self._facts.groups)

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Answer one request, in a thread: the first one makes the indexes."""
        path = request.path.removeprefix(PREFIX).rstrip("/")
        if request.method != "GET":
            return error(405, "method error", "method not allowed")
        return await asyncio.to_thread(self.reply, path, request.query, wish)

    def reply(self, path: str, query: MultiMapping[str], wish: Wish = PLAIN) -> Reply:
        """The answer to a path and its parameters."""
        routes: dict[str, Callable[[], Reply]] = {
            "/markets/keyset": lambda: self._keyset("markets", query, wish),
            "/events/keyset": lambda: self._keyset("events", query, wish),
            "/markets": lambda: self._offset("markets", query, wish),
            "/events": lambda: self._offset("events", query, wish),
            "/public-profile": lambda: self._profile(query),
        }
        try:
            return routes[path]() if path in routes else self._single(path, wish)
        except Invalid as invalid:
            return error(422, "validation error", str(invalid))

    def _keyset(self, kind: str, query: MultiMapping[str], wish: Wish) -> Reply:
        """A page with a cursor, which is absent on the last one. Too large a limit is clamped without a word."""
        if "offset" in query:
            raise Invalid("offset is not allowed on keyset endpoints")
        limit = min(_whole(query, "limit", DEFAULT_LIMIT), MAX_LIMIT)
        places = list(islice(self._found(kind, query, wish, _after(query)), limit + 1))
        page, more, applied = _cut(places, limit, wish)
        body: dict[str, Any] = {kind: list(map(self._render(kind, query, wish), page))}
        if more:
            body["next_cursor"] = _cursor(page[-1])
        return Reply(200, orjson.dumps(body), applied=applied)

    def _offset(self, kind: str, query: MultiMapping[str], wish: Wish) -> Reply:
        """A page of the old lists, past their end of life and still there."""
        limit = min(_whole(query, "limit", DEFAULT_LIMIT), MAX_OLD_LIMIT)
        offset = _whole(query, "offset", 0)
        places = list(islice(self._found(kind, query, wish, -1), offset, offset + limit))
        applied = wish.fault == "short_page_unsaid" and len(places) > 1
        rows = list(map(self._render(kind, query, wish), places[: len(places) // 2] if applied else places))
        headers = {**_DEPRECATED, "warning": f'299 - "use /{kind}/keyset"'}
        return Reply(200, orjson.dumps(rows), headers=headers, applied=applied or wish.fault is None)

    def _render(self, kind: str, query: MultiMapping[str], wish: Wish) -> Render:
        if kind == "markets":
            return lambda place: self._rows.market(place, wish.before)
        nested = _flag(query, "include_markets", True)
        return lambda place: self._rows.event(self._groups[place], wish.before, with_markets=nested)

    def _found(self, kind: str, query: MultiMapping[str], wish: Wish, after: int) -> Iterator[int]:
        """Places behind `after` of what is wanted. Closed ones are hidden unless they are asked for."""
        closed = _flag(query, "closed", False)
        version = query.get("version", "v1")
        if version not in ("v1", "v2"):
            raise Invalid("version must be v1 or v2")
        if version == "v2":
            return iter(())
        if kind == "events":
            return self._events(query, wish, after, closed)
        places = self._filtered(query)
        known = self._facts.listed(wish.before)
        candidates: Iterable[int] = range(after + 1, known) if places is None else sorted(places)
        listing = self._facts.listing
        return (
            place for place in candidates
            if after < place < known and self._facts.closed(listing[place], wish.before) == closed
        )  # fmt: skip

    def _events(self, query: MultiMapping[str], wish: Wish, after: int, closed: bool) -> Iterator[int]:
        slugs, ids = frozenset(query.getall("slug", [])), frozenset(query.getall("id", []))
        known = self._facts.listed(wish.before)
        for place, group in enumerate(self._groups):
            named = (not slugs or group.slug in slugs) and (not ids or str(group.number) in ids)
            there = named and after < place and group.places[0] < known
            if there and self._rows.event_closed(group, wish.before) == closed:
                yield place

    def _filtered(self, query: MultiMapping[str]) -> set[int] | None:
        """Places by the lists of ids, which narrow each other; None without any."""
        found: set[int] | None = None
        for name in LISTS:
            if values := query.getall(name, []):
                hits = {place for value in values if (place := self._place(name, value)) is not None}
                found = hits if found is None else found & hits
        return found

    def _place(self, name: str, value: str) -> int | None:
        """The market that has this id."""
        match name:
            case "condition_ids":
                return self._facts.places.get(value.lower().removeprefix("0x"))
            case "clob_token_ids":
                return self._facts.places_by_token.get(value)
            case "question_ids":
                return self._by_question.get(value.lower())
            case "position_ids":
                return self._by_position.get(value)
            case "slug":
                return self._by_slug.get(value)
            case _:
                return _place_of_id(value)

    def _single(self, path: str, wish: Wish) -> Reply:
        """One market or event, by Gamma's own number or by slug."""
        kind, _, name = path.removeprefix("/").partition("/")
        if kind not in ("markets", "events") or not name:
            return error(404, "not found error", "not found")
        by_slug = name.startswith("slug/")
        name = name.removeprefix("slug/")
        if not by_slug and not name.isdigit():
            raise Invalid("id is invalid")
        if kind == "markets":
            place = self._by_slug.get(name) if by_slug else _place_of_id(name)
            known = place is not None and 0 <= place < self._facts.listed(wish.before)
            row = self._rows.market(place, wish.before) if known and place is not None else None
        else:
            groups = [group for group in self._groups if name == (group.slug if by_slug else str(group.number))]
            row = self._rows.event(groups[0], wish.before) if groups else None
        return Reply(200, orjson.dumps(row)) if row else error(404, "not found error", f"{kind[:-1]} not found")

    def _profile(self, query: MultiMapping[str]) -> Reply:
        address = query.get("address", "").lower()
        if not _ADDRESS.fullmatch(address):
            raise Invalid("address is invalid")
        pair = self._facts.pairs.get(address)
        if pair is None:
            return error(404, "not found error", "profile not found")
        return Reply(200, orjson.dumps(self._rows.profile(pair)))

    @cached_property
    def _groups(self) -> list[Group]:
        return list(self._facts.groups.values())

    @cached_property
    def _by_slug(self) -> dict[str, int]:
        return {market.slug: place for place, market in enumerate(self._facts.listing)}

    @cached_property
    def _by_question(self) -> dict[str, int]:
        questions = map(self._facts.question, self._facts.listing)
        return {question: place for place, question in enumerate(questions) if question}

    @cached_property
    def _by_position(self) -> dict[str, int]:
        return {each: place for place, market in enumerate(self._facts.listing) for each in position_ids(market)}


def error(status: int, kind: str, text: str) -> Reply:
    """An error in Gamma's shape."""
    return Reply(status, orjson.dumps({"type": kind, "error": text}))


def _cut(places: list[int], limit: int, wish: Wish) -> tuple[list[int], bool, bool]:
    """The places to send of up to `limit` + 1, whether a cursor follows, and whether the fault took effect."""
    page, more = places[:limit], len(places) > limit
    if wish.fault not in SHORT or len(page) < 2:
        return page, more, wish.fault not in SHORT
    return page[: len(page) // 2], wish.fault == "short_page", True


def _cursor(place: int) -> str:
    return base64.b64encode(orjson.dumps({"place": place})).decode()


def _after(query: MultiMapping[str]) -> int:
    """The last place that was sent; -1 at the start."""
    text = query.get("after_cursor")
    if not text:
        return -1
    try:
        return int(orjson.loads(base64.b64decode(text, validate=True))["place"])
    except (ValueError, KeyError, TypeError):
        raise Invalid("after_cursor is invalid") from None


def _place_of_id(text: str) -> int | None:
    return int(text) - FIRST_MARKET if text.isascii() and text.isdigit() else None


def _whole(query: MultiMapping[str], name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{name} is invalid")
    return int(text)


def _flag(query: MultiMapping[str], name: str, default: bool) -> bool:
    text = query.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise Invalid(f"{name} is invalid")
    return default if not text else text == "true"
