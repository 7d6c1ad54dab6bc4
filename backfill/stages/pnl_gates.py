"""The decisions of `validate-pnl`, pure: how far a profit is from the one expected, whether the rows of a wallet are
right in themselves, and whether three old bugs, each planted on a copy, are caught."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from backfill.stages.pnl_rows import MICRO, Definition, Row, cut, total

FEWEST: Final = 20
"""Positions from which on a distribution says something."""
LOPSIDED: Final = 0.02
"""Share of the winners on one side below which a distribution is lopsided."""


def variance(actual: int, expected: int) -> float | None:
    """The difference as a share of what was expected; None where nothing was expected, but something is there."""
    if actual == expected:
        return 0.0
    return abs(actual - expected) / abs(expected) if expected else None


def within(actual: int, expected: int, tolerance: float) -> bool:
    """Whether the variance is below the tolerance; no difference at all always is."""
    found = variance(actual, expected)
    return found is not None and (found == 0 or found < tolerance)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Fills, resolved positions and winning positions by outcome index; `beyond` are rows of an index that is none."""

    fills: tuple[int, ...]
    positions: tuple[int, ...]
    wins: tuple[int, ...]
    beyond: int

    @property
    def lopsided(self) -> bool:
        """Whether one of the first two outcomes hardly ever wins although both are held, as by the old index bug."""
        held, won = self.positions[:2], self.wins[:2]
        if len(held) < 2 or min(held) < FEWEST or not sum(won):
            return False
        return min(won) < LOPSIDED * sum(won)

    def document(self) -> dict[str, Any]:
        """Shares and counts by outcome index."""
        return {
            "fills": _shares(self.fills),
            "positions": _shares(self.positions),
            "wins": _shares(self.wins),
            "counts": {"fills": self.fills, "positions": self.positions, "wins": self.wins},
            "lopsided": self.lopsided,
            "beyond": self.beyond,
        }


def _shares(counts: Sequence[int]) -> list[float]:
    return [round(count / (sum(counts) or 1), 6) for count in counts]


def distribution(rows: Sequence[Row]) -> Distribution:
    """Where the fills and the winners are. A position wins when its shares are paid for."""
    size = max([2, *(row.outcome + 1 for row in rows)])
    fills, positions, wins = [0] * size, [0] * size, [0] * size
    for row in rows:
        fills[row.outcome] += row.fills
        positions[row.outcome] += row.resolved
        wins[row.outcome] += row.resolved and row.payout > 0
    beyond = sum(bool(row.numerators) and row.outcome >= len(row.numerators) for row in rows)
    return Distribution(tuple(fills), tuple(positions), tuple(wins), beyond)


def arithmetic(rows: Sequence[Row]) -> int:
    """Rows whose profit is not what positions, cash flows and payouts, each from its own table, come to."""
    return sum(not _sound(row) for row in rows)


def _sound(row: Row) -> bool:
    flow = row.proceeds - row.costs - row.fees - row.splits + row.merges + row.conversions
    if row.resolved != bool(row.numerators) or row.leftover != row.net + row.redeemed or row.trade_cash != flow:
        return False
    if not row.resolved:
        return row.payout == row.cash == 0
    return row.payout == row.due(row.leftover) and row.cash == flow + row.payout


# --- the old bugs


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """An old bug on copies of the wallets' numbers: on how many it was planted, and by what it was caught on each."""

    name: str
    caught: bool
    planted: int
    by: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "caught": self.caught, "planted": self.planted, "by": dict(self.by)}


def micro_units(row: Row) -> Row:
    """Millionths read as whole dollars."""
    values = {name: getattr(row, name) * MICRO for name in ("trade_cash", "payout", "cash", "avg_cost", "dome")}
    return replace(row, **values)


def outcome_index(row: Row) -> Row:
    """A list that begins with 1 read as one that begins with 0: each outcome is paid what the one before it is due."""
    if not row.resolved:
        return row
    wrong = row.numerators[row.outcome - 1] if 0 < row.outcome <= len(row.numerators) else 0
    paid = cut(row.leftover * wrong, row.denominator)
    change = paid - row.payout
    realized = change if row.redeemed else 0
    changed = replace(row, payout=paid, cash=row.cash + change)
    return replace(changed, avg_cost=row.avg_cost + realized, dome=row.dome + realized)


def loser_sign(row: Row) -> Row:
    """Losses counted as gains."""
    return replace(row, cash=abs(row.cash), avg_cost=abs(row.avg_cost), dome=abs(row.dome))


BUGS: Final[Mapping[str, Callable[[Row], Row]]] = {
    "micro_units": micro_units,
    "outcome_index": outcome_index,
    "loser_sign": loser_sign,
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A wallet's rows with what they are held against."""

    rows: Sequence[Row]
    definition: Definition
    expected: int
    tolerance: float


def controls(wallets: Sequence[Judged], bugs: Mapping[str, Callable[[Row], Row]] = BUGS) -> list[PlantedBug]:
    """Plant each bug on a copy of each wallet that it changes, and on a wallet made up for it; all must be caught."""
    return [_control(name, bug, wallets) for name, bug in bugs.items()]


def _control(name: str, bug: Callable[[Row], Row], wallets: Sequence[Judged]) -> PlantedBug:
    by: dict[str, int] = {}
    planted = missed = 0
    for wallet in (*wallets, made_up()):
        copy = [bug(row) for row in wallet.rows]
        if copy == list(wallet.rows):
            continue
        planted += 1
        caught = _catches(wallet, copy)
        missed += not caught
        for means in caught:
            by[means] = by.get(means, 0) + 1
    return PlantedBug(name, planted > 0 and not missed and _catches_made_up(bug), planted, by)


def _catches_made_up(bug: Callable[[Row], Row]) -> bool:
    """On the wallet that was made up, the variance alone must tell: it loses and wins enough."""
    example = made_up()
    return "variance" in _catches(example, [bug(row) for row in example.rows])


def _catches(wallet: Judged, copy: Sequence[Row]) -> list[str]:
    """What tells the copy from a wallet whose numbers are right."""
    actual = total(wallet.rows, wallet.definition)
    expected = wallet.expected if within(actual, wallet.expected, wallet.tolerance) else actual
    caught = []
    if not within(total(copy, wallet.definition), expected, wallet.tolerance):
        caught.append("variance")
    if distribution(copy).lopsided and not distribution(wallet.rows).lopsided:
        caught.append("distribution")
    if arithmetic(copy) > arithmetic(wallet.rows):
        caught.append("arithmetic")
    return caught


def made_up() -> Judged:
    """A wallet of four outcomes, two won and two lost, one of each on either side: 40 + 30 - 25 - 35 dollars."""
    rows = [_bet(0, 60, 100, won=True), _bet(1, 70, 100, won=True), _bet(0, 25, 50, won=False)]
    rows.append(_bet(1, 35, 50, won=False))
    return Judged(rows, "cash", 10 * MICRO, 0.02)


_UNUSED: Final = (
    "sold", "fee_shares", "split", "merged", "converted", "redeemed", "transferred", "proceeds", "fees", "splits",
    "merges", "conversions", "redemptions", "avg_cost", "dome", "tracked", "avg_price", "first_at", "last_at",
)  # fmt: skip


def _bet(outcome: int, dollars: int, shares: int, *, won: bool) -> Row:
    """Shares bought for dollars, and the condition's end."""
    numerators = (1, 0) if won == (outcome == 0) else (0, 1)
    zeros = dict.fromkeys(_UNUSED, 0)
    cost, held = dollars * MICRO, shares * MICRO
    paid = held if won else 0
    return Row(
        wallet="", condition=f"{outcome}{won}", outcome=outcome, label="", closed=True, resolved=True,
        numerators=numerators, denominator=1, net=held, bought=held, costs=cost, trade_cash=-cost, leftover=held,
        payout=paid, cash=paid - cost, volume=cost, fills=1, **zeros,
    )  # fmt: skip
