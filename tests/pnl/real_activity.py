"""A day of three bots on five-minute markets: fills, merges and redemptions through our rebuild, beside what they got.

The recording names a market by its title and has no ids, so the hash of the title stands in for the condition. It does
not tell a merge from a redemption either, nor how a market ended. What it shows of both is this: no row of less than
187 seconds after a market's end ever paid for the larger side, so such a row is a merge; and a redemption pays the
shares of the side that won, so where it is one side's shares to the millionth, that side has won.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from backfill import ids
from backfill.config import Config
from backfill.stages.pnl_book import Book, read_books
from backfill.stages.pnl_causes import Reference, explain
from backfill.stages.pnl_rows import MICRO, Claim, Row, total
from backfill.warehouse.client import Warehouse
from tests.pnl.real_table import Compared, Part, build, emptied, money, units
from tests.stages.planted import put, put_mapped

FILE = "wallet_activity_updown_2026-03-22.parquet"
OTHER = f"0x{'0' * 39}1"
"""The other side of a fill, which the recording does not name."""
SIDES = ("Up", "Down")
SETTLED_AFTER = 180
"""Seconds after a market's end before which nobody was paid for the larger side."""
EXACT = 10
"""Millionths of a share by which a redemption may miss the shares that it is for: the recording has floats."""
KEPT = 4
"""Markets of each wallet that go into the regression set besides those that differ."""
_TITLE = re.compile(r"(.+) Up or Down - March (\d+), .+-(\d+:\d\d[AP]M) ET")
_EASTERN = timedelta(hours=4)


@dataclass(slots=True)
class Deals:
    """What one wallet did in one market, in millionths; `redeemed` None where no redemption was recorded."""

    bought: list[int] = field(default_factory=lambda: [0, 0])
    costs: list[int] = field(default_factory=lambda: [0, 0])
    merged: int = 0
    redeemed: int | None = None

    def held(self, side: int) -> int:
        """Shares of a side that were left for the redemption."""
        return self.bought[side] - self.merged

    @property
    def winners(self) -> set[int]:
        """The sides that the redemption can have been for."""
        return {side for side in (0, 1) if self.redeemed and abs(self.redeemed - self.held(side)) <= EXACT}

    @property
    def flow(self) -> int:
        """Dollars in less dollars out, as recorded."""
        return self.merged + (self.redeemed or 0) - sum(self.costs)


@dataclass(frozen=True, slots=True)
class Move:
    """A row of the recording."""

    wallet: str
    title: str
    at: int
    tx_hash: str
    side: int | None
    shares: int
    usdc: int


def condition_of(title: str) -> str:
    """What stands in for the condition of a market."""
    return ids.keccak256(title.encode()).hex()


def end_of(title: str) -> int:
    """Unix second of a market's end.

    Raises:
        ValueError: the title is of another kind.
    """
    found = _TITLE.fullmatch(title)
    if found is None:
        raise ValueError(title)
    clock = datetime.strptime(found[3], "%I:%M%p")
    end = datetime(2026, 3, int(found[2]), clock.hour, clock.minute, tzinfo=UTC) + _EASTERN
    begins_before_midnight = "PM-12:" in title and found[3].endswith("AM")
    return int(end.timestamp()) + 86_400 * begins_before_midnight


@cache
def moves(folder: Path) -> tuple[Move, ...]:
    """Every row that names a market."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(folder / FILE).to_pylist()
    return tuple(
        Move(
            row["wallet_addr"], row["market"], row["timestamp"], row["tx_hash"],
            SIDES.index(row["outcome"]) if row["side"] else None, units(row["size"]), units(row["usdc"]),
        )
        for row in rows if row["market"]
    )  # fmt: skip


def is_merge(move: Move) -> bool:
    """Whether a row that is no trade is a merge, by its time."""
    return move.at < end_of(move.title) + SETTLED_AFTER


def dealt(rows: Sequence[Move]) -> dict[tuple[str, str], Deals]:
    """What every wallet did in every market."""
    found: dict[tuple[str, str], Deals] = defaultdict(Deals)
    for move in rows:
        deals = found[move.wallet, move.title]
        if move.side is not None:
            deals.bought[move.side] += move.shares
            deals.costs[move.side] += move.usdc
        elif is_merge(move):
            deals.merged += move.shares
        else:
            deals.redeemed = (deals.redeemed or 0) + move.shares
    return dict(found)


def winners(deals: Mapping[tuple[str, str], Deals]) -> tuple[dict[str, int], int, int]:
    """How markets ended, where a redemption tells; how many several wallets tell, and how many of those contradict."""
    said: dict[str, list[set[int]]] = defaultdict(list)
    for (_, title), each in deals.items():
        if each.winners:
            said[title].append(each.winners)
    common = {title: set.intersection(*sets) for title, sets in said.items()}
    several = [title for title, sets in said.items() if len(sets) > 1]
    against = sum(not common[title] for title in several)
    return {title: min(sides) for title, sides in common.items() if len(sides) == 1}, len(several), against


async def compare(warehouse: Warehouse, config: Config, folder: Path) -> Part:
    """The rebuild's cash profit of each wallet beside its recorded dollars, over markets that were redeemed."""
    part, rows = Part(), moves(folder)
    deals = dealt(rows)
    won, several, against = winners(deals)
    await _load(warehouse, config, rows, won)
    wallets = sorted({move.wallet for move in rows})
    books = await read_books(warehouse, wallets)
    for wallet in wallets:
        own = {title: each for (who, title), each in deals.items() if who == wallet}
        _wallet(part, books[wallet], own, won, early(rows), told_by_others(deals, wallet))
    part.facts.append(
        f"Of {len({move.title for move in rows})} markets {len(won)} have a side that a redemption was for; two or "
        f"three wallets tell the side of {several}, and contradict each other in {against}."
    )
    return part


async def _load(warehouse: Warehouse, config: Config, rows: Sequence[Move], won: Mapping[str, int]) -> None:
    await emptied(warehouse)
    conditions = {title: condition_of(title) for title in {move.title for move in rows}}
    tokens = {title: ids.token_ids(condition) for title, condition in conditions.items()}
    places = [(tokens[title][side], condition, side) for title, condition in conditions.items() for side in (0, 1)]
    await put_mapped(warehouse, places)
    payouts: list[dict[str, object]] = [
        {"condition_id_norm": conditions[title], "payout_numerators": [int(side == 0), int(side == 1)],
         "payout_denominator": 1, "source": "real"}
        for title, side in won.items()
    ]  # fmt: skip
    await put(warehouse, "production.market_resolutions_final", payouts)
    fills = [_fill(n, move, tokens[move.title][move.side]) for n, move in enumerate(rows) if move.side is not None]
    await put(warehouse, "production.clob_fills", fills)
    events = [_event(n, move, conditions[move.title]) for n, move in enumerate(rows) if move.side is None]
    await put(warehouse, "production.ctf_activity", events)
    await build(warehouse, config)


def _fill(number: int, move: Move, token: int) -> dict[str, object]:
    return {
        "fill_id": f"{move.tx_hash}_{number}", "token_id": str(token), "maker": move.wallet, "taker": OTHER,
        "side": "BUY", "shares_micro": move.shares, "usdc_micro": move.usdc, "source": "real",
        "price": f"{move.usdc / move.shares:.9f}", "timestamp": move.at, "tx_hash": move.tx_hash,
    }  # fmt: skip


def _event(number: int, move: Move, condition: str) -> dict[str, object]:
    merge = is_merge(move)
    return {
        "event_id": f"{move.tx_hash}_{number}", "kind": "merge" if merge else "redeem", "wallet": move.wallet,
        "condition_id_norm": condition, "index_sets": [] if merge else ["1", "2"], "timestamp": move.at,
        "amount_micro": move.shares if merge else None, "payout_micro": None if merge else move.shares,
        "tx_hash": move.tx_hash, "source": "real",
    }  # fmt: skip


def early(rows: Sequence[Move]) -> set[tuple[str, str]]:
    """Wallets and markets where a merge took more than had been bought until then, by the recorded times."""
    stock: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    found = set()
    for move in sorted(rows, key=lambda each: (each.at, each.side is None)):
        key = move.wallet, move.title
        if move.side is not None:
            stock[key][move.side] += move.shares
        elif is_merge(move):
            stock[key] = [shares - move.shares for shares in stock[key]]
            if min(stock[key]) < 0:
                found.add(key)
    return found


def told_by_others(deals: Mapping[tuple[str, str], Deals], wallet: str) -> set[str]:
    """Markets whose winner another wallet's redemption tells."""
    return {title for (who, title), each in deals.items() if who != wallet and len(each.winners) == 1}


def _wallet(
    part: Part,
    book: Book,
    own: Mapping[str, Deals],
    won: Mapping[str, int],
    capped: Collection[tuple[str, str]],
    others: Collection[str],
) -> None:
    """One line: what was redeemed is compared, and what is left out is counted."""
    (wallet,) = book.wallets
    compared = {title: each for title, each in own.items() if title in won and each.redeemed is not None}
    traded = {title: each for title, each in compared.items() if any(each.bought)}
    chosen = {condition_of(title): title for title in traded}
    rows = tuple(row for row in book.rows if row.condition in chosen)
    claims = tuple(claim for title, each in traded.items() for claim in _claims(wallet, title, each, won[title]))
    expected = sum(each.flow for each in traded.values())
    reference = Reference("activity", "cash_flow", "cash", expected, itemized=True)
    found = explain(rows, (), claims, reference)
    closed = {title for title, each in traded.items() if won[title] in each.winners}
    before = len(compared) - len(traded)
    open_ = Counter(each.redeemed is None for title, each in own.items() if title not in compared)
    remark = (
        f"{len(traded)} markets, {len(closed)} redeemed to the millionth of our shares ({len(closed & set(others))} "
        f"with a winner that another wallet tells, too); left out: {open_[True]} not redeemed, {open_[False]} redeemed "
        f"for neither side's shares, {before} redeemed but bought before"
    )
    figure = "merges + redemptions − buys"
    part.lines.append(Compared(wallet, FILE, figure, expected, found.actual, dict(found.parts), remark))
    part.facts.append(_closed(wallet, rows, closed, {title for title in closed if (wallet, title) in capped}))
    _kept(part, book, rows, claims)


def _claims(wallet: str, title: str, deals: Deals, winner: int) -> Iterator[Claim]:
    """What the wallet made of each side by the recording; at least what it redeemed and merged must have come."""
    tokens = ids.token_ids(condition_of(title))
    for side in (0, 1):
        paid = (deals.redeemed or 0) if side == winner else 0
        half = deals.merged // 2 if side == 0 else deals.merged - deals.merged // 2
        worth = paid + half - deals.costs[side]
        yield Claim(
            wallet, str(tokens[side]), condition_of(title), side, "CLOSED", worth, worth, deals.merged + paid
        )  # fmt: skip


def _closed(wallet: str, rows: Sequence[Row], closed: Collection[str], capped: Collection[str]) -> str:
    """Where all is closed, average cost must have realized what cash did, but for averages that were cut off."""
    sure = {condition_of(title) for title in closed if title not in capped}
    chosen = [row for row in rows if row.condition in sure]
    far = [row for row in chosen if not 0 <= row.avg_cost - row.cash <= (row.fills + 2) * (row.gained // MICRO + 1)]
    assert not far, far[:3]
    cash, average = total(chosen, "cash"), total(chosen, "avg_cost")
    told = f"; {len(capped)} left out, where a merge took what was bought later" if capped else ""
    return (
        f"{wallet}: {len(sure)} markets closed to the millionth, {money(cash)} by cash and {money(average)} by average "
        f"cost, {money(average - cash)} apart by averages cut off at each of {sum(row.fills for row in chosen):,} fills"
        f"{told}."
    )


def _kept(part: Part, book: Book, rows: Sequence[Row], claims: Sequence[Claim]) -> None:
    """Into the regression set go the markets that differ, and a few others."""
    by_key = {(claim.condition, claim.outcome): claim for claim in claims}
    away = {row.condition for row in rows if abs(row.cash - by_key[row.condition, row.outcome].total) > EXACT}
    same = sorted({row.condition for row in rows} - away)[:KEPT]
    chosen = away.union(same)
    some = tuple(row for row in rows if row.condition in chosen)
    told = tuple(claim for claim in claims if claim.condition in chosen)
    reference = Reference("activity", "cash_flow", "cash", sum(claim.total for claim in told), itemized=True)
    part.keep(Book(book.wallets, some, (), told, True), reference, explain(some, (), told, reference))
