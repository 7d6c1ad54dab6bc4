"""The pretend Dome's trade history: `GET /polymarket/orders`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import orjson
from multidict import MultiMapping

from .dome_query import BadRequest, cursor, limit_of, number_of, place_of
from .model import Fill
from .reply import Reply
from .world import World

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_OFFSET = 10_000
MICRO = 1_000_000
BLOCK_SECONDS = 2.1
FIRST_BLOCK, FIRST_TIME = 33_605_403, 1_663_200_000
SUBJECTS = ("market_slug", "token_id", "condition_id")
"""Filters of which a request may have one, with one value: there is no batching here."""


class Orders:
    """Fills of the tokens that Dome knows, newest first. Indexed when first asked for."""

    def __init__(self, world: World) -> None:
        self._world = world

    @cached_property
    def _index(self) -> dict[tuple[str, str], list[Fill]]:
        """Fills, oldest first, by each filter and value they fall under."""
        known = self._world.known_to("dome")
        found: dict[tuple[str, str], list[Fill]] = {}
        for fill in self._world.fills:
            token = token_of(fill)
            if token in known:
                truth = self._world.truth[token]
                for key in (("token_id", str(token)), ("condition_id", f"0x{truth.condition}"),
                            ("market_slug", truth.slug or ""), ("user", fill.maker)):  # fmt: skip
                    found.setdefault(key, []).append(fill)
        return found

    def page(self, query: MultiMapping[str], before: int | None = None) -> Reply:
        """One page, of what is older than `before` (unix seconds); BadRequest where the parameters make no sense."""
        limit, start = limit_of(query, DEFAULT_LIMIT, MAX_LIMIT), _start(query)
        found = [fill for fill in self._find(query) if before is None or fill.timestamp < before]
        page = found[start : start + limit]
        more = start + len(page) < len(found)
        pagination: dict[str, Any] = {"limit": limit, "total": len(found), "has_more": more}
        if more:
            at = datetime.fromtimestamp(page[-1].timestamp, UTC).isoformat()
            shown = {"block_timestamp": at, "tx_hash": page[-1].transactionHash, "total": len(found)}
            pagination["pagination_key"] = cursor(start + len(page), **shown)
        return Reply(200, orjson.dumps({"orders": [self._row(fill) for fill in page], "pagination": pagination}))

    def _find(self, query: MultiMapping[str]) -> list[Fill]:
        subjects = [name for name in SUBJECTS if name in query]
        if len(subjects) > 1:
            raise BadRequest("Invalid filter combination", f"only one of {', '.join(SUBJECTS)} can be given")
        if not subjects and "user" not in query:
            raise BadRequest("Missing required filter parameter", f"one of {', '.join(SUBJECTS)} or user is needed")
        name = subjects[0] if subjects else "user"
        fills = self._index.get((name, query[name].lower() if name == "user" else query[name]), [])
        if subjects and "user" in query:
            user = query["user"].lower()
            fills = [fill for fill in fills if fill.maker == user]
        return _in_time(fills, query)[::-1]

    def _row(self, fill: Fill) -> dict[str, Any]:
        """A fill from its maker's side. The price is the bare quotient, and the money itself is not told."""
        token = token_of(fill)
        truth = self._world.truth[token]
        buys = fill.makerAssetId == "0"
        gives, receives = int(fill.makerAmountFilled), int(fill.takerAmountFilled)
        money, shares = (gives, receives) if buys else (receives, gives)
        return {
            "token_id": str(token),
            "token_label": truth.label,
            "side": "BUY" if buys else "SELL",
            "market_slug": truth.slug,
            "condition_id": f"0x{truth.condition}",
            "shares": shares,
            "shares_normalized": shares // MICRO if shares % MICRO == 0 else shares / MICRO,
            "price": money / shares,
            "block_number": FIRST_BLOCK + int((fill.timestamp - FIRST_TIME) / BLOCK_SECONDS),
            "log_index": int(fill.orderHash[-2:], 16),
            "tx_hash": fill.transactionHash,
            "title": truth.slug,
            "timestamp": fill.timestamp,
            "order_hash": fill.orderHash,
            "user": fill.maker,
            "taker": fill.taker,
        }


def token_of(fill: Fill) -> int:
    """The token traded: collateral is asset 0."""
    return int(fill.takerAssetId if fill.makerAssetId == "0" else fill.makerAssetId)


def _start(query: MultiMapping[str]) -> int:
    """Where the page starts. A deep offset is refused with 401, which is not about the key."""
    offset = number_of(query, "offset") or 0
    if offset > MAX_OFFSET:
        raise BadRequest("Offset deprecated", f"offsets above {MAX_OFFSET} are not served; use pagination_key", 401)
    return place_of(query) or int(offset)


def _in_time(fills: list[Fill], query: MultiMapping[str]) -> list[Fill]:
    """Fills within the asked seconds, both ends included."""
    low, high = number_of(query, "start_time"), number_of(query, "end_time")
    if low is not None and high is not None and low >= high:
        raise BadRequest("Invalid time range", "start_time must be before end_time")
    first = 0 if low is None else bisect_left(fills, low, key=_time)
    last = len(fills) if high is None else bisect_right(fills, high, key=_time)
    return fills[first:last]


def _time(fill: Fill) -> int:
    return fill.timestamp
