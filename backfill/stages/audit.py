"""The official leaderboard beside ours: who is on both, how far ranks drift, how far profits differ."""

from __future__ import annotations

import csv
import gzip
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from backfill.errors import UsageError
from backfill.stages.pnl_gates import variance
from backfill.stages.pnl_rows import Definition, usd
from backfill.tracks.pnl_pages import Place, read_place
from backfill.tracks.values import Drift
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

PERIODS: Final[Mapping[str, str]] = {"all": "all", "month": "30d", "week": "7d", "day": "1d"}
"""Our names of the official periods."""
TOPS: Final = (10, 25, 50, 100)
AT: Final = ("timestamp_utc", "timestamp", "polled_at", "snapshot_at", "captured_at", "fetched_at")
"""What files with many snapshots call the moment of each."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An official place beside ours; profits in micro-dollars, None where we know nothing of the wallet."""

    place: Place
    owner: str
    rank: int | None
    pnl: int | None

    @property
    def drift(self) -> int | None:
        """Our rank among those of the official board that we know, less theirs."""
        return None if self.rank is None else self.rank - self.place.rank

    @property
    def share(self) -> float | None:
        """The difference of profits as a share of theirs."""
        return None if self.pnl is None else variance(self.pnl, self.place.pnl)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "rank": self.place.rank,
            "wallet": self.place.wallet,
            "owner": self.owner,
            "name": self.place.name,
            "pnl_usd": usd(self.place.pnl),
            "our_rank": self.rank,
            "our_pnl_usd": None if self.pnl is None else usd(self.pnl),
            "rank_drift": self.drift,
            "delta_usd": None if self.pnl is None else usd(self.pnl - self.place.pnl),
            "delta_share": self.share,
        }


@dataclass(slots=True)
class Audit:
    """What `leaderboard audit` found. `overlap` is the share of the official top N that is in our top N, by N."""

    source: str
    ours: str
    tolerance: float
    standings: list[Standing]
    overlap: dict[int, float] = field(default_factory=dict)

    @property
    def known(self) -> list[Standing]:
        """Places of wallets that we know anything of."""
        return [each for each in self.standings if each.pnl is not None]

    @property
    def beyond(self) -> list[Standing]:
        """Those whose profit differs by the tolerance or more."""
        return [each for each in self.known if each.share is None or each.share >= self.tolerance]

    @property
    def passed(self) -> bool | None:
        """Whether every profit that we know agrees; None when we know none of them."""
        return not self.beyond if self.known else None

    def document(self) -> dict[str, Any]:
        """The JSON of `leaderboard audit`."""
        drifts = [abs(each.drift) for each in self.known if each.drift is not None]
        shares = [each.share for each in self.known if each.share is not None]
        return {
            "passed": self.passed,
            "source": self.source,
            "ours": self.ours,
            "places": len(self.standings),
            "known": len(self.known),
            "overlap": {str(top): share for top, share in self.overlap.items()},
            "rank_drift": {"median": statistics.median(drifts), "max": max(drifts)} if drifts else None,
            "delta_share": {"median": statistics.median(shares), "max": max(shares)} if shares else None,
            "delta_usd": usd(sum((each.pnl or 0) - each.place.pnl for each in self.known)),
            "beyond_tolerance": len(self.beyond),
            "tolerance": self.tolerance,
            "rows": [each.document() for each in self.standings],
        }


async def run_audit(
    warehouse: Warehouse, places: Sequence[Place], *, source: str, period: str, definition: Definition, tolerance: float
) -> Audit:
    """Compare. Ours is the leaderboard table where it has rows of the period and cash is asked for, else the profits.

    Wallets of one owner are one place, as ours are: the owner's best official rank counts, with the sum of the profits.
    """
    owners = await warehouse.fetch(queries.load("audit_owners"), {"wallets": [place.wallet for place in places]})
    by_wallet = {row["wallet"]: row["owner"] for row in owners}
    ours, rows = await _ours(warehouse, period, definition)
    profits = {row["owner"]: int(row["pnl"]) for row in rows}
    merged = _by_owner(places, by_wallet)
    shared = [row["owner"] for row in rows if row["owner"] in merged]
    ranks = {owner: number for number, owner in enumerate(shared, 1)}
    standings = [Standing(place, owner, ranks.get(owner), profits.get(owner)) for owner, place in merged.items()]
    found = Audit(source, ours, tolerance, standings)
    leaders, best = list(merged), [row["owner"] for row in rows]
    for top in (each for each in TOPS if each <= len(leaders)):
        found.overlap[top] = round(len({*leaders[:top]} & {*best[:top]}) / top, 6)
    return found


async def _ours(warehouse: Warehouse, period: str, definition: Definition) -> tuple[str, list[dict[str, Any]]]:
    if definition == "cash" and PERIODS[period] != "1d":
        rows = await warehouse.fetch(queries.load("audit_board"), {"period": PERIODS[period]})
        if rows:
            return "leaderboard_whales", rows
    if period == "day":
        raise UsageError("--period day: our leaderboards have no window of one day", remedy="--period week")
    if period != "all":
        raise UsageError(
            f"--period {period}: profits of a window are in our leaderboard only, by cash",
            remedy="backfill leaderboard build, and --definition cash",
        )
    rows = await warehouse.fetch(queries.load("audit_ours"), {"definition": definition})
    return f"wallet_token_pnl ({definition})", rows


def _by_owner(places: Sequence[Place], owners: Mapping[str, str]) -> dict[str, Place]:
    """The official places by owner, in their order."""
    found: dict[str, Place] = {}
    for place in sorted(places):
        owner = owners.get(place.wallet, place.wallet)
        known = found.get(owner)
        found[owner] = place if known is None else known._replace(pnl=known.pnl + place.pnl)
    return found


def read_board_file(path: Path) -> list[Place]:
    """A leaderboard out of a file: JSON as the API gives it, or CSV, either of them compressed; of many snapshots the
    newest.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        body = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rows = _rows_of(path, body)
        places = [read_place(row) for row in _ranked(_newest(rows))]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, Drift) as error:
        raise UsageError(f"--file {path}: no leaderboard: {error}") from None
    if len({place.wallet for place in places}) != len(places):
        raise UsageError(f"--file {path}: a wallet stands there twice, and no column tells the moments apart")
    return places


def _rows_of(path: Path, body: bytes) -> list[dict[str, Any]]:
    if ".csv" in path.suffixes:
        return list(csv.DictReader(body.decode().splitlines()))
    document = orjson.loads(body)
    rows = document["data"] if isinstance(document, dict) else document
    return list(rows)


def _ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """With a rank by profit where the file has none of that name."""
    if all("rank" in row for row in rows):
        return list(rows)
    by_profit = sorted(rows, key=lambda row: -float(row["pnl"]))
    return [{**row, "rank": number} for number, row in enumerate(by_profit, 1)]


def _newest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    column = next((name for name in AT if rows and name in rows[0]), None)
    if column is None:
        return list(rows)
    newest = max(row[column] for row in rows)
    return [row for row in rows if row[column] == newest]
