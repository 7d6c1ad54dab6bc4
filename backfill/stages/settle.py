"""What the tracks have staged becomes what others read: one row for each fact, the best source's.

Two ways. Facts that never change (transfers, events) are added, and only those that are not there yet, or there from a
worse source. Facts that do (markets, payouts, wallets, positions) are put together beside the table and swapped in, so
that nobody ever sees half of them, or two of one. Either way doing it twice is doing it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

from backfill.config import Config
from backfill.engine.checkpoint import lock_path
from backfill.errors import TrackHeld
from backfill.files import held
from backfill.log import Logger
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

PORTION = 500_000
"""Rows that are compared at once."""
WAIT_S = 0.5

SWAPPED: Mapping[str, tuple[str, ...]] = {
    "markets": ("next_markets", "fill_markets", "swap_markets"),
    "payouts": ("add_payouts", "compact_payouts", "next_payouts", "fill_payouts", "swap_payouts"),
    "wallets": ("next_wallets", "fill_wallets", "swap_wallets"),
    "derive": ("label_derived",),
}
"""The statements of datasets that need nothing else, in order."""

METADATA = ("next_wallet_metadata", "fill_wallet_metadata", "swap_wallet_metadata")

TABLES: Mapping[str, str] = {
    "markets": "markets",
    "fills": "clob_fills",
    "payouts": "market_resolutions_final",
    "wallets": "pm_user_proxy_wallets",
    "transfers": "erc1155_transfers",
    "positions": "wallet_positions_api",
    "activity": "ctf_activity",
}
"""Where the rows of a dataset end up."""


@asynccontextmanager
async def alone(config: Config, dataset: str, log: Logger) -> AsyncIterator[None]:
    """One process settles a dataset at a time; another that does is waited for."""
    path = lock_path(config.run.checkpoint_dir, f"settle_{dataset}")
    told = False
    while True:
        with ExitStack() as stack:
            try:
                stack.enter_context(held(path, what=f"settling {dataset}"))
            except TrackHeld:
                if not told:
                    log.info("waiting", what=f"another process settles {dataset}")
                told = True
            else:
                yield
                return
        await asyncio.sleep(WAIT_S)


async def settle(dataset: str, warehouse: Warehouse, log: Logger, *, wallets: Sequence[str] = ()) -> dict[str, Any]:
    """Do it; the number of rows before and after. `wallets` are those whose positions were read to their end."""
    await _let_orphans_end(warehouse, log)
    before = await rows_of(dataset, warehouse)
    match dataset:
        case "fills":
            from backfill.stages.fills import merge_fills

            await merge_fills(warehouse, log)
        case "transfers":
            await _transfers(warehouse)
        case "activity":
            await _activity(warehouse)
        case "positions":
            await _positions(warehouse, wallets)
        case _:
            await _each(warehouse, SWAPPED[dataset])
    told = {"table": TABLES.get(dataset), "rows_before": before, "rows": await rows_of(dataset, warehouse)}
    log.info("settled", dataset=dataset, **told)
    return told


async def _let_orphans_end(warehouse: Warehouse, log: Logger) -> None:
    """A statement of a settling that was killed may still be running, and its rows would come beside ours."""
    told = False
    while int(await warehouse.fetch_value(queries.load("settles_still_running"))):
        if not told:
            log.warning("waiting", what="a statement of an earlier settling is still running")
        told = True
        await asyncio.sleep(WAIT_S)


async def rows_of(dataset: str, warehouse: Warehouse) -> int | None:
    """Rows of the table that a dataset ends up in."""
    if dataset not in TABLES:
        return None
    return int(await warehouse.fetch_value(queries.load("count_rows"), {"table": TABLES[dataset]}))


async def _each(warehouse: Warehouse, names: Sequence[str], **arguments: object) -> None:
    for name in names:
        sql = queries.load(name)
        await warehouse.execute(sql, {key: value for key, value in arguments.items() if f"{{{key}:" in sql})


async def _transfers(warehouse: Warehouse) -> None:
    (found,) = await warehouse.fetch(queries.load("transfer_bounds"))
    low, high, rows = int(found["low"]), int(found["high"]) + 1, int(found["rows"])
    if not rows:
        return
    pieces = -(-rows // PORTION)
    bounds = [low + (high - low) * place // pieces for place in range(pieces)] + [high]
    for start, end in pairwise(bounds):
        await _each(warehouse, ["add_transfers"], low=start, high=end)


async def _activity(warehouse: Warehouse) -> None:
    parts = -(-int(await warehouse.fetch_value(queries.load("count_activity"))) // PORTION)
    for part in range(parts):
        place = {"parts": parts, "part": part}
        # Lanes may be settled one by one, the best of them last; then its rows take the place of the others'.
        if int(await warehouse.fetch_value(queries.load("count_worse_activity"), place)):
            await _each(warehouse, ["remove_worse_activity"], **place)
        await _each(warehouse, ["add_activity"], **place)


async def _positions(warehouse: Warehouse, wallets: Sequence[str]) -> None:
    await _each(warehouse, ["next_positions", "fill_positions", "swap_positions"], wallets=list(wallets))
    await _each(warehouse, METADATA)
