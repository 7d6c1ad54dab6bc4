"""All that the comparisons of profit need of some wallets, read from the warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from backfill.stages.pnl_rows import DEFINITIONS, Claim, Definition, Row, Stray, read_claim, read_row, read_stray
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

T = TypeVar("T", Row, Stray, Claim)

BY_SOURCE: Final[Mapping[str, Definition]] = {
    "dome": "dome",
    "goldsky": "avg_cost",
    "subgraph": "avg_cost",
    "pnl_subgraph": "avg_cost",
    "positions": "avg_cost",
    "data_api": "avg_cost_net",
    "user_pnl": "avg_cost_net",
    "leaderboard": "avg_cost_net",
    "polymarket": "marked",
    "site": "marked",
    "ui": "marked",
    **{name: name for name in DEFINITIONS},
}
"""Which definition a source of expectations goes by; cash for one that is not here."""
ITEMIZED: Final = frozenset({"positions", "data_api", "user_pnl"})
"""Sources whose figure the positions of the Data API make up."""
NO_POSITIONS_BEFORE: Final = 2
"""The first version of the Data API shows open positions only."""


def definition_of(source: str | None) -> Definition:
    """The definition that a source goes by."""
    return BY_SOURCE.get((source or "").lower(), "cash")


@dataclass(frozen=True, slots=True)
class Book:
    """One person's wallets: outcomes, fills without a market, and what the Data API says of them.

    `complete` says that those claims are of closed positions too.
    """

    wallets: tuple[str, ...]
    rows: tuple[Row, ...]
    strays: tuple[Stray, ...]
    claims: tuple[Claim, ...]
    complete: bool

    @property
    def empty(self) -> bool:
        """Whether nothing is known of what they did."""
        return not self.rows and not self.strays


async def read_books(warehouse: Warehouse, addresses: Sequence[str], *, owned: bool = True) -> dict[str, Book]:
    """The book of each address.

    Args:
        owned: the wallets that trade for an address belong to it.
    """
    groups: dict[str, list[str]] = {address: [address] for address in addresses}
    if owned:
        for pair in await warehouse.fetch(queries.load("validate_owned"), {"wallets": list(addresses)}):
            if pair["wallet"] not in groups[pair["owner"]]:
                groups[pair["owner"]].append(pair["wallet"])
    everyone = sorted({wallet for group in groups.values() for wallet in group})
    rows = [read_row(found) for found in await _fetch(warehouse, "validate_rows", everyone)]
    strays = [read_stray(found) for found in await _fetch(warehouse, "validate_strays", everyone)]
    said = await _fetch(warehouse, "validate_claims", everyone)
    claims = [read_claim(found) for found in said]
    current = {str(found["wallet"]) for found in said if int(str(found["api_version"])) >= NO_POSITIONS_BEFORE}
    return {
        address: Book(
            tuple(group), _of(rows, group), _of(strays, group), _of(claims, group), not current.isdisjoint(group)
        )
        for address, group in groups.items()
    }


async def _fetch(warehouse: Warehouse, name: str, wallets: Sequence[str]) -> list[dict[str, object]]:
    return await warehouse.fetch(queries.load(name), {"wallets": list(wallets)})


def _of(found: Iterable[T], wallets: Sequence[str]) -> tuple[T, ...]:
    return tuple(each for each in found if each.wallet in wallets)


async def notes(warehouse: Warehouse) -> list[str]:
    """What is known to be missing, or of another moment, whichever wallet is looked at."""
    built = await warehouse.fetch(queries.load("validate_built"))
    told = [] if built else ["the derived tables were never built: backfill rebuild"]
    for row in built:
        if row["cutoff"] is not None:
            at = datetime.fromtimestamp(int(row["cutoff"]), UTC)
            told.append(f"the derived tables show the state of {at:%Y-%m-%d %H:%M:%S} UTC, not of today")
    (loaded,) = await warehouse.fetch(queries.load("validate_loaded"))
    if not int(loaded["payouts"]):
        told.append("it is not known how any market ended: backfill run payouts, then backfill rebuild")
    if built and int(loaded["newer_fills"]):
        told.append("fills have come in since the derived tables were made: backfill rebuild")
    for row in await warehouse.fetch(queries.load("validate_gaps")):
        told.append(f"{row['dataset']} of {row['source']} are not complete (to {row['covered_to']}): {row['note']}")
    return told
