"""Profits of some wallets as others tell them, fetched through the doors, into a table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import orjson

from backfill.config import Config
from backfill.engine.model import Request
from backfill.errors import BackfillError, Skip, UpstreamUnusable
from backfill.log import Logger
from backfill.sources.client import Door, open_session
from backfill.sources.opening import open_door
from backfill.stages.pnl_book import Book
from backfill.stages.pnl_causes import Reference
from backfill.stages.pnl_rows import Claim, Definition
from backfill.tracks import pnl_pages
from backfill.tracks.pnl_pages import Figure, Place
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

WORKERS: Final = 8
TABLE: Final = "analytics.pnl_references"
DEFINITION: Final[Mapping[tuple[str, str], Definition]] = {
    ("dome", "realized"): "dome",
    ("data_api", "realized"): "avg_cost_net",
    ("data_api", "position"): "marked",
    ("positions", "realized"): "avg_cost",
    ("positions", "total"): "marked_gross",
}
"""Which of our definitions each figure is compared with."""
CUT: Final = 100
"""Micro-dollars of the last decimal of a position; cut off, not rounded."""
Read = Callable[[str, bytes], list[Figure]]
ASKED: Final[Mapping[str, tuple[Callable[[str], Request], Read]]] = {
    "dome": (pnl_pages.dome_request, pnl_pages.read_dome),
    "data_api": (pnl_pages.data_api_request, pnl_pages.read_data_api),
}


async def fetch_references(
    config: Config, warehouse: Warehouse, wallets: Sequence[str], log: Logger
) -> list[BackfillError]:
    """Ask every source about every wallet; each answer is in the table before the next is asked for.

    Returns what could not be had: sources that cannot be used, and wallets that one refuses.
    """
    problems: list[BackfillError] = []
    limits = any(getattr(config.upstreams, name).limits for name in ASKED)
    async with open_session(stamped=limits) as session:
        for name, (request, read) in ASKED.items():
            if name == "data_api" and config.upstreams.data_api.version == 1:
                problems.append(UpstreamUnusable("version 1 tells no profit", kind="retired", where=name))
                continue
            with ExitStack() as stack:
                door = stack.enter_context(open_door(config, name, session, log.bind(track=f"{name}_pnl")))
                if isinstance(door, UpstreamUnusable):
                    problems.append(door)
                    continue
                asking = _Asking(door, request, read, warehouse, config.gates.reconcile_variance)
                problems += await asking.all(wallets)
    return problems


class _Asking:
    """One source, some wallets, a few at once."""

    def __init__(
        self, door: Door, request: Callable[[str], Request], read: Read, warehouse: Warehouse, tolerance: float
    ) -> None:
        self._door, self._request, self._read = door, request, read
        self._warehouse, self._tolerance = warehouse, tolerance
        self._problems: list[BackfillError] = []

    async def all(self, wallets: Sequence[str]) -> list[BackfillError]:
        queue = iter(wallets)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(WORKERS, len(wallets))):
                group.create_task(self._take(queue))
        return self._problems

    async def _take(self, queue: Iterator[str]) -> None:
        for wallet in queue:
            try:
                figures = await self._door.fetch(self._request(wallet), partial(self._read, wallet))
            except Skip as error:
                self._problems.append(error)
            except UpstreamUnusable as error:
                if not any(isinstance(each, UpstreamUnusable) for each in self._problems):
                    self._problems.append(error)
                return
            else:
                await keep(self._warehouse, figures, self._tolerance)


async def keep(warehouse: Warehouse, figures: Iterable[Figure], tolerance: float) -> None:
    """Put figures into the table; a newer one of the same wallet, source and metric takes the place of the older."""
    if lines := [orjson.dumps(_line(figure, tolerance)) for figure in figures]:
        await warehouse.insert(TABLE, b"\n".join(lines))


def _line(figure: Figure, tolerance: float) -> dict[str, Any]:
    at = None if figure.as_of is None else f"{datetime.fromtimestamp(figure.as_of, UTC):%Y-%m-%d %H:%M:%S}"
    return {
        "wallet": figure.wallet,
        "source": figure.source,
        "metric": figure.metric,
        "definition": DEFINITION.get((figure.source, figure.metric), "cash"),
        "as_of": at,
        "value_micro": str(figure.value),
        "step_micro": figure.step,
        "tolerance": tolerance,
        "raw": figure.raw,
    }


def positions_of(wallet: str, claims: Sequence[Claim], *, complete: bool) -> list[Figure]:
    """What the positions of a wallet add up to; nothing where the closed ones were not told."""
    own = [claim for claim in claims if claim.wallet == wallet]
    if not own or not complete:
        return []
    sums = {"realized": sum(claim.realized for claim in own), "total": sum(claim.total for claim in own)}
    return [Figure(wallet, "positions", metric, value, CUT, None, "") for metric, value in sums.items()]


async def read_references(warehouse: Warehouse, books: Mapping[str, Book]) -> dict[str, list[Reference]]:
    """The figures in the table, by wallet. Where its positions are here, the Data API tells tokens one by one."""
    found: dict[str, list[Reference]] = {wallet: [] for wallet in books}
    for row in await warehouse.fetch(queries.load("reconcile_references"), {"wallets": list(books)}):
        wallet, source = row["wallet"], row["source"]
        found[wallet].append(
            Reference(
                source,
                row["metric"],
                row["definition"],
                int(row["value_micro"]),
                int(row["step_micro"]),
                None if row["as_of"] is None else int(row["as_of"]),
                source in ("positions", "data_api") and books[wallet].complete,
            )
        )
    return found


async def fetch_board(config: Config, log: Logger, period: str, most: int) -> list[Place]:
    """The official leaderboard, as far as wanted.

    Args:
        period: day, week, month or all.

    Raises:
        UpstreamUnusable, Skip: it cannot be had.
    """
    upstream = config.upstreams.data_api
    found: list[Place] = []
    cursor: str | None = None
    async with open_session(stamped=bool(upstream.limits)) as session:
        with open_door(config, "data_api", session, log.bind(track="leaderboard")) as door:
            if isinstance(door, UpstreamUnusable):
                raise door
            while True:
                request = pnl_pages.board_request(upstream.version, period, cursor)
                read = partial(pnl_pages.read_board, upstream.version, cursor)
                places, cursor = await door.fetch(request, read)
                found += places
                if cursor is None or len(found) >= most:
                    return found[:most]
