"""The pretend Dome's trade history: `GET /polymarket/orders`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import orjson
from multidict import MultiMapping

from .dome_query import BadRequest, cursor, limit_of, number_of, place_of
from .ledger import Order
from .model import Fill
from .reply import Reply
from .world import World

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_OFFSET = 10_000
MICRO = 1_000_000
SUBJECTS = ("market_slug", "token_id", "condition_id")
"""Filters of which a request may have one, with one value: there is no batching here."""


class Orders:
    """V1 orders of the tokens that Dome knows, newest first. Indexed when first asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.shows_places = True
        """Whether rows carry block numbers and log indexes; before January 2026 they did not."""

    @cached_property
    def _index(self) -> dict[tuple[str, str], list[Order]]:
        """Orders, oldest first, by each filter and value they fall under."""
        known = self._world.known_to("dome")
        found: dict[tuple[str, str], list[Order]] = {}
        orders = (order for order in self._world.ledger.orders if order.version == 1 and order.token in known)
        for order in sorted(orders, key=_key):
            truth = self._world.truth[order.token]
            for key in (("token_id", str(order.token)), ("condition_id", f"0x{truth.condition}"),
                        ("market_slug", truth.slug or ""), ("user", order.maker)):  # fmt: skip
                found.setdefault(key, []).append(order)
        return found

    def page(self, query: MultiMapping[str], before: int | None = None) -> Reply:
        """One page, of what is older than `before` (unix seconds); BadRequest where the parameters make no sense."""
        limit, start = limit_of(query, DEFAULT_LIMIT, MAX_LIMIT), _start(query)
        found = self._find(query, before)
        page = found[start : start + limit]
        more = start + len(page) < len(found)
        pagination: dict[str, Any] = {"limit": limit, "total": len(found), "has_more": more}
        if more:
            last = page[-1].at
            at = datetime.fromtimestamp(last.timestamp, UTC).isoformat()
            shown = {"block_timestamp": at, "tx_hash": last.tx_hash, "log_index": last.log_index, "total": len(found)}
            pagination["pagination_key"] = cursor(start + len(page), **shown)
        return Reply(200, orjson.dumps({"orders": [self._row(order) for order in page], "pagination": pagination}))

    def _find(self, query: MultiMapping[str], before: int | None) -> list[Order]:
        subjects = [name for name in SUBJECTS if name in query]
        if len(subjects) > 1:
            raise BadRequest("Invalid filter combination", f"only one of {', '.join(SUBJECTS)} can be given")
        if not subjects and "user" not in query:
            raise BadRequest("Missing required filter parameter", f"one of {', '.join(SUBJECTS)} or user is needed")
        name = subjects[0] if subjects else "user"
        low, high = time_range(query)
        orders = self._index.get((name, query[name].lower() if name == "user" else query[name]), [])
        if subjects and "user" in query:
            user = query["user"].lower()
            orders = [order for order in orders if order.maker == user]
        first = 0 if low is None else bisect_left(orders, low, key=_time)
        last = len(orders) if high is None else bisect_right(orders, high, key=_time)
        if before is not None:
            last = min(last, bisect_left(orders, before, key=_time))
        return orders[first:last][::-1]

    def _row(self, order: Order) -> dict[str, Any]:
        """An order from its owner's side. The price is the bare quotient, and the money itself is not told."""
        truth = self._world.truth[order.token]
        row: dict[str, Any] = {
            "token_id": str(order.token),
            "token_label": truth.label,
            "side": order.side,
            "market_slug": truth.slug,
            "condition_id": f"0x{truth.condition}",
            **shares_of(order.shares),
            "price": order.usdc / order.shares,
            "tx_hash": order.at.tx_hash,
            "title": truth.slug,
            "timestamp": order.at.timestamp,
            "order_hash": order.order_hash,
            "user": order.maker,
            "taker": order.taker,
        }
        if self.shows_places:
            row |= {"block_number": order.at.block, "log_index": order.at.log_index}
        return row


def token_of(fill: Fill) -> int:
    """The token traded: collateral is asset 0."""
    return int(fill.takerAssetId if fill.makerAssetId == "0" else fill.makerAssetId)


def shares_of(shares: int) -> dict[str, Any]:
    """Both ways in which rows tell a number of shares."""
    return {"shares": shares, "shares_normalized": shares // MICRO if shares % MICRO == 0 else shares / MICRO}


def time_range(query: MultiMapping[str]) -> tuple[float | None, float | None]:
    """The asked seconds, both ends included; BadRequest where they make no range."""
    low, high = number_of(query, "start_time"), number_of(query, "end_time")
    if low is not None and high is not None and low >= high:
        raise BadRequest("Invalid time range", "start_time must be before end_time")
    return low, high


def _start(query: MultiMapping[str]) -> int:
    """Where the page starts. A deep offset is refused with 401, which is not about the key."""
    offset = number_of(query, "offset") or 0
    if offset > MAX_OFFSET:
        raise BadRequest("Offset deprecated", f"offsets above {MAX_OFFSET} are not served; use pagination_key", 401)
    return place_of(query) or int(offset)


def _key(order: Order) -> tuple[int, str, int]:
    return order.at.timestamp, order.at.tx_hash, order.at.log_index


def _time(order: Order) -> int:
    return order.at.timestamp
