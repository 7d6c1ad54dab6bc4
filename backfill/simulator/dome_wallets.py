"""What the pretend Dome tells of wallets: owners, activity beside trades, and realized profit."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import orjson
from multidict import MultiMapping

from .cost_basis import curve
from .dome_orders import MICRO, shares_of, time_range
from .dome_query import BadRequest, cursor, limit_of, place_of
from .generate import CUTOVER, DAY
from .ledger import At, Ledger, Order, WalletPair
from .model import Market
from .reply import Reply
from .world import World

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
NO_DATA_START = 1_609_459_200
"""2021-01-01T00:00:00Z: where the answer about a wallet begins that was never processed."""
STEPS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY, "year": 365 * DAY}
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_SUBJECTS = ("eoa", "proxy", "handle")


class Activity(NamedTuple):
    """A split, merge or redemption."""

    at: At
    side: str
    user: str
    market: Market
    shares: int


class Wallets:
    """Answers about the accounts that were there before the cutover. Indexed when first asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known = world.known_to("dome")

    @property
    def _ledger(self) -> Ledger:
        return self._world.ledger

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], WalletPair]:
        """Accounts whose owner has a wallet, by owner, wallet and handle. Of the newest ones Dome missed a part."""
        traders = {order.maker for order in self._ledger.orders if order.version == 1}
        found: dict[tuple[str, str], WalletPair] = {}
        for pair in self._ledger.wallets:
            if pair.kind != "eoa" and (pair.wallet in traders or int(pair.wallet[-1], 16) % 4):
                names = ("eoa", pair.owner), ("proxy", pair.wallet), ("handle", pair.name or "")
                found.update(dict.fromkeys(names, pair))
        return found

    def wallet(self, query: MultiMapping[str], before: int | None = None) -> Reply:
        """Who owns a wallet, or which wallet somebody has."""
        given = [name for name in _SUBJECTS if name in query]
        if len(given) != 1:
            raise BadRequest("BAD_REQUEST", f"exactly one of {', '.join(_SUBJECTS)} must be given, got {len(given)}")
        name, value = given[0], query[given[0]].removeprefix("@")
        if name != "handle" and not _ADDRESS.fullmatch(value.lower()):
            raise BadRequest("BAD_REQUEST", "not the address of a wallet")
        pair = self._pairs.get((name, value if name == "handle" else value.lower()))
        if pair is None or not value:
            raise BadRequest("NOT_FOUND", "no such wallet", 404)
        row: dict[str, Any] = {"eoa": pair.owner, "proxy": pair.wallet, "wallet_type": pair.kind}
        row |= {"handle": pair.name, "pseudonym": pair.name and pair.name.title(), "image": None}
        if query.get("with_metrics") == "true":
            row["wallet_metrics"] = self._metrics(pair.wallet, query, before)
        return Reply(200, orjson.dumps(row))

    def _metrics(self, wallet: str, query: MultiMapping[str], before: int | None) -> dict[str, Any]:
        low, high = _window(query, before)
        orders = [order for order in self._orders.get(wallet, ()) if low <= order.at.timestamp <= high]
        days: Counter[str] = Counter()
        for order in orders:
            days[_day(order.at.timestamp)] += order.shares
        others = Counter(each.side for each in self._activities if each.user == wallet and low <= _time(each) <= high)
        best = days.most_common(1)
        trades = sum(_day(order.at.timestamp) == best[0][0] for order in orders) if best else 0
        return {
            "total_volume": sum(order.usdc for order in orders) / MICRO,
            "total_trades": len(orders),
            "total_markets": len({self._world.truth[order.token].condition for order in orders}),
            "highest_volume_day": {"date": best[0][0], "volume": best[0][1] / MICRO, "trades": trades}
            if best
            else None,
            "merges": others["MERGE"],
            "splits": others["SPLIT"],
            "conversions": sum(c.stakeholder == wallet and low <= _time(c) <= high for c in self._ledger.conversions),
            "redemptions": others["REDEEM"],
        }

    @cached_property
    def _orders(self) -> dict[str, list[Order]]:
        found: dict[str, list[Order]] = {}
        for order in self._ledger.orders:
            if order.version == 1 and order.token in self._known:
                found.setdefault(order.maker, []).append(order)
        return found

    @cached_property
    def _activities(self) -> list[Activity]:
        """Everything in known markets before the cutover, oldest first."""
        markets = {market.condition: market for market in self._world.markets if market.tokens[0] in self._known}
        found = [
            Activity(
                each.at, "MERGE" if each.merge else "SPLIT", each.stakeholder, markets[each.condition], each.amount
            )
            for each in self._ledger.splits
            if each.condition in markets
        ]
        found += [
            Activity(each.at, "REDEEM", each.redeemer, markets[each.condition], each.payout)
            for each in self._ledger.redemptions
            if each.condition in markets
        ]
        return sorted((each for each in found if _time(each) < CUTOVER), key=lambda each: each.at)

    def activity(self, query: MultiMapping[str], before: int | None = None) -> Reply:
        """One page of splits, merges and redemptions, newest first. `count` is the total."""
        limit, start = limit_of(query, DEFAULT_LIMIT, MAX_LIMIT), place_of(query)
        if "market_slug" in query and "condition_id" in query:
            raise BadRequest("Invalid filter combination", "only one of market_slug and condition_id can be given")
        low, high = _window(query, before)
        found = [each for each in self._activities if low <= _time(each) <= high and _matches(each, query)][::-1]
        page = found[start : start + limit]
        more = start + len(page) < len(found)
        pagination: dict[str, Any] = {"limit": limit, "count": len(found), "has_more": more}
        if more:
            last = page[-1]
            shown = {"block_timestamp": datetime.fromtimestamp(_time(last), UTC).isoformat(), "side": last.side}
            pagination["pagination_key"] = cursor(start + len(page), **shown, tx_hash=last.at.tx_hash)
        return Reply(200, orjson.dumps({"activities": [_row(each) for each in page], "pagination": pagination}))

    def profit(self, wallet: str, query: MultiMapping[str], before: int | None = None) -> Reply:
        """Realized profit so far, in dollars. An unredeemed share, won or lost, has realized nothing."""
        granularity, wallet = query.get("granularity", ""), wallet.lower()
        if granularity not in ("all", *STEPS) or not _ADDRESS.fullmatch(wallet):
            raise BadRequest("BAD_REQUEST", "a wallet's address and a granularity of day, week, month, year or all")
        low, high = _window(query, before)
        points = [point for point in self._curve(wallet) if point[0] <= high]
        if not points:
            return _profit(wallet, granularity, NO_DATA_START, int(high), [(int(high), 0)])
        times = [at for at, _ in points]
        first = max(times[0], int(low))
        step = STEPS.get(granularity)
        marks = [int(high)] if step is None else [*range(first - first % step, int(high) + 1, step)]
        shown = [(mark, points[place - 1][1] if (place := bisect_right(times, mark)) else 0) for mark in marks]
        return _profit(wallet, granularity, first, int(high), shown)

    def _curve(self, wallet: str) -> list[tuple[int, int]]:
        return curve(self._ledger, self._world.markets, wallet, CUTOVER)


def _window(query: MultiMapping[str], before: int | None) -> tuple[float, float]:
    """The asked seconds, both ends included, within what has happened."""
    low, high = time_range(query)
    newest = CUTOVER if before is None else min(CUTOVER, before - 1)
    return low or 0, newest if high is None else min(newest, high)


def _profit(wallet: str, granularity: str, start: int, end: int, points: list[tuple[int, int]]) -> Reply:
    rows = [{"timestamp": at, "pnl_to_date": realized / MICRO} for at, realized in points]
    head = {"granularity": granularity, "start_time": start, "end_time": end, "wallet_address": wallet}
    return Reply(200, orjson.dumps({**head, "pnl_over_time": rows}))


def _matches(each: Activity, query: MultiMapping[str]) -> bool:
    wanted = {
        "user": each.user,
        "market_slug": each.market.slug,
        "condition_id": f"0x{each.market.condition}",
    }
    return all(name not in query or query[name].lower() == value.lower() for name, value in wanted.items())


def _row(each: Activity) -> dict[str, Any]:
    return {
        "token_id": "",
        "side": each.side,
        "market_slug": each.market.slug,
        "condition_id": f"0x{each.market.condition}",
        **shares_of(each.shares),
        "price": 1,
        "block_number": each.at.block,
        "log_index": each.at.log_index,
        "tx_hash": each.at.tx_hash,
        "title": each.market.title,
        "timestamp": each.at.timestamp,
        "order_hash": "",
        "user": each.user,
    }


def _time(event: Any) -> int:
    at: At = event.at
    return at.timestamp


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
