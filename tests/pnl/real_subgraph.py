"""22 wallets as the official subgraph had them: what average cost must satisfy, and the two tokens with fills here."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backfill.config import Config
from backfill.stages.pnl_book import Book, read_books
from backfill.stages.pnl_causes import Reference, explain
from backfill.stages.pnl_rows import MICRO, Claim
from backfill.warehouse.client import Warehouse
from tests.pnl.real_table import Compared, Part, emptied, known_payouts, known_tokens, money, units
from tests.stages.test_pnl_real import TRADER, put_fills_of_the_trader

POSITIONS, STATS = "pnl_subgraph_positions_22_wallets.parquet", "pnl_subgraph_wallet_stats.csv"
SHORTEST = 1 << 200
"""Ids of outcome tokens are hashes; a number below this is none."""
CUT = 2
"""Micro-dollars that divisions cut off at most in the profit of what was sold at one price."""


@dataclass(frozen=True, slots=True)
class Position:
    """One of the subgraph's, in millionths. `bought` and `held` count shares."""

    wallet: str
    token: int
    realized: int
    bought: int
    held: int

    @property
    def outcome(self) -> bool:
        """Whether its id can be that of an outcome token."""
        return self.token >= SHORTEST


def wrong(each: Position) -> str | None:
    """What a position contradicts of average cost with prices between 0 and 1; None if nothing."""
    if not 0 <= each.held <= each.bought:
        return "holds more than ever came"
    if each.held == each.bought and each.realized:
        return "nothing was sold, but something realized"
    if abs(each.realized) > each.bought - each.held + CUT:
        return "made or lost more than a dollar for a share that left"
    return None


@cache
def positions(folder: Path) -> tuple[Position, ...]:
    """All of them."""
    import pyarrow.parquet as parquet

    names = ("realized_pnl_usdc", "total_bought_shares", "amount_shares")
    return tuple(
        Position(row["wallet"].lower(), int(row["token_id"]), *(units(row[name]) for name in names))
        for row in parquet.read_table(folder / POSITIONS).to_pylist()
    )


def stats(folder: Path) -> dict[str, dict[str, str]]:
    """The publisher's totals by wallet."""
    with (folder / STATS).open() as file:
        return {row["wallet"].lower(): row for row in csv.DictReader(file)}


def counted(own: list[Position]) -> dict[str, int]:
    """What the publisher's totals must be by these positions; amounts in millionths."""
    return {
        "positions": len(own),
        "uniqueTokens": len({each.token for each in own}),
        "wins": sum(each.realized > 0 for each in own),
        "losses": sum(each.realized < 0 for each in own),
        "totalPnl": sum(each.realized for each in own),
        "totalVolume": sum(each.bought for each in own),
    }


def told(row: Mapping[str, str]) -> dict[str, int]:
    """The same as the publisher has it."""
    whole = {name: int(row[name]) for name in ("positions", "uniqueTokens", "wins", "losses")}
    return whole | {name: units(row[name]) for name in ("totalPnl", "totalVolume")}


async def compare(warehouse: Warehouse, config: Config, folder: Path) -> Part:
    """Every wallet's total beside our reading of its positions; the trader's tokens beside what our rebuild makes."""
    part, by_wallet = Part(), defaultdict[str, list[Position]](list)
    for each in positions(folder):
        by_wallet[each.wallet].append(each)
    for wallet, row in stats(folder).items():
        if wallet == TRADER:
            continue
        part.lines.append(_without_fills(folder, wallet, by_wallet[wallet], told(row)["totalPnl"]))
    await emptied(warehouse)
    await _with_fills(part, warehouse, config, folder, by_wallet[TRADER])
    part.facts += _facts(folder)
    return part


def _without_fills(folder: Path, wallet: str, own: list[Position], said: int) -> Compared:
    faults = Counter(filter(None, map(wrong, own)))
    alien = [each for each in own if not each.outcome]
    lost, shares = _unredeemed(folder, own)
    remark = f"{len(own):,} positions, sum {'as told' if counted(own)['totalPnl'] == said else 'NOT as told'}"
    if alien:
        remark += f"; {len(alien)} ids are no outcome tokens ({money(sum(each.realized for each in alien))})"
    if odd := sum(faults.values()):
        remark += f"; {odd} contradict average cost, {sum(wrong(each) is not None for each in alien)} of them such ids"
    if lost:
        remark += f"; {lost:,} lost positions ({shares / MICRO:,.2f} shares) never redeemed count as no loss"
    return Compared(
        wallet, POSITIONS, "totalPnl", said, None, remark=remark, not_comparable="its fills are not recorded here"
    )


def _unredeemed(folder: Path, own: list[Position]) -> tuple[int, int]:
    """Positions in outcomes that paid nothing, still held: how many, and their shares."""
    held = 0, 0
    for each in own:
        place = known_tokens(folder).get(str(each.token))
        paid = known_payouts(folder).get(place[0]) if place else None
        if place and paid and each.held and not paid[place[1]]:
            held = held[0] + 1, held[1] + each.held
    return held


async def _with_fills(part: Part, warehouse: Warehouse, config: Config, folder: Path, own: list[Position]) -> None:
    with tempfile.TemporaryDirectory() as place:
        places = await put_fills_of_the_trader(warehouse, config, folder, Path(place))
    whole = (await read_books(warehouse, [TRADER]))[TRADER]
    claims = tuple(_claim(each, places) for each in own)
    traded = tuple(claim for claim in claims if claim.token in places)
    rows = tuple(row for row in whole.rows if row.bought)
    for name, some in (("totalPnl", claims), (f"realizedPnl of {len(traded)} tokens", traded)):
        reference = Reference(
            "pnl_subgraph", "realized", "avg_cost", sum(each.realized for each in some), itemized=True
        )
        book = Book((TRADER,), rows, (), some, True)
        found = explain(rows, (), some, reference)
        remark = f"fills of {len(traded)} of its {len(claims):,} tokens are here"
        part.lines.append(
            Compared(TRADER, POSITIONS, name, found.expected, found.actual, dict(found.parts), remark)
        )  # fmt: skip
        if some is traded:
            part.keep(book, reference, found)


def _claim(each: Position, places: Mapping[str, tuple[str, int]]) -> Claim:
    condition, outcome = places.get(str(each.token), (str(each.token), 0))
    return Claim(each.wallet, str(each.token), condition, outcome, "CLOSED", each.realized, 0, each.bought)


def _facts(folder: Path) -> Iterator[str]:
    everything = positions(folder)
    faulty = [each for each in everything if wrong(each)]
    alien = [each for each in everything if not each.outcome]
    yield (
        f"Of {len(everything):,} positions of the subgraph {len(everything) - len(faulty):,} are what average cost "
        f"allows. The other {len(faulty)} have ids of 160 bits, as have {len(alien)} in all, of one wallet. They are "
        "no outcome tokens; as we read it, they are shares of old market makers by their address, which may cost more "
        f"than a dollar. {sum(each.token < 0 for each in alien)} of the ids are negative numbers."
    )
