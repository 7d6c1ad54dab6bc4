"""Leaderboards once more, small and slow: fractions, market after market, without SQL or the product's code."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

DAYS = {"7d": 7, "30d": 30, "90d": 90, "all": None}
PLACES = 10**12
"""Omega is cut off behind this."""


class Row(NamedTuple):
    """A wallet's share of an outcome: dollars in millionths, the moment of resolution or None, resolved or not."""

    wallet: str
    owner: str
    condition: int
    outcome: int
    realized: int
    bought: int
    fees: int
    split: int
    volume: int
    fills: int
    at: dt.datetime | None
    resolved: bool = True


@dataclass
class Score:
    """What an owner made in some markets."""

    markets: int = 0
    wins: int = 0
    trades: int = 0
    realized: Fraction = Fraction(0)
    gains: Fraction = Fraction(0)
    losses: Fraction = Fraction(0)
    volume: Fraction = Fraction(0)

    @property
    def omega(self) -> Fraction | None:
        """Gains over losses, cut off to twelve digits as it is stored."""
        if not self.losses:
            return None
        return Fraction(int(self.gains / self.losses * PLACES), PLACES)

    @property
    def no_losses(self) -> bool:
        """There are gains, and nothing to divide them by."""
        return self.gains > 0 and self.losses == 0


@dataclass
class _Market:
    realized: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
    volume: Fraction = Fraction(0)
    trades: int = 0
    at: dt.datetime | None = None


@dataclass
class Reference:
    """The right answer for some rows; `category` is that of each condition."""

    rows: Sequence[Row]
    category: dict[int, str] = field(default_factory=dict)

    def markets(self) -> dict[tuple[str, int], _Market]:
        """Owner and condition; wallets and outcomes together, only what is resolved."""
        found: dict[tuple[str, int], _Market] = defaultdict(_Market)
        for row in self.rows:
            if row.resolved:
                market = found[row.owner, row.condition]
                market.realized += Fraction(row.realized, 10**6)
                market.cost += Fraction(row.bought + row.fees + row.split, 10**6)
                market.volume += Fraction(row.volume, 10**6)
                market.trades += row.fills
                market.at = row.at
        return found

    def scores(self, theta: Fraction, as_of: dt.date) -> dict[tuple[str, str, str], Score]:
        """By period, category and owner."""
        found: dict[tuple[str, str, str], Score] = defaultdict(Score)
        for (owner, condition), market in self.markets().items():
            for period in _periods(market.at, as_of):
                for board in ("overall", self.category.get(condition, "other")):
                    _add(found[period, board, owner], market, theta)
        return found

    def days(self, theta: Fraction) -> dict[tuple[str, dt.date], Score]:
        """By owner and day."""
        found: dict[tuple[str, dt.date], Score] = defaultdict(Score)
        for (owner, _), market in self.markets().items():
            if market.at is not None:
                _add(found[owner, market.at.date()], market, theta)
        return found


def _periods(at: dt.datetime | None, as_of: dt.date) -> Iterable[str]:
    for name, days in DAYS.items():
        if at is None:
            if days is None:
                yield name
        elif at.date() <= as_of and (days is None or (as_of - at.date()).days < days):
            yield name


def _add(score: Score, market: _Market, theta: Fraction) -> None:
    excess = market.realized - theta * market.cost
    score.markets += 1
    score.wins += excess > 0
    score.trades += market.trades
    score.realized += market.realized
    score.volume += market.volume
    if excess > 0:
        score.gains += excess
    else:
        score.losses -= excess


def omega_order(scores: dict[str, Score]) -> list[str]:
    """Owners from first to last: those without losses, then by omega, profit, markets, address."""
    ranked = [owner for owner, score in scores.items() if score.omega is not None or score.no_losses]

    def place(owner: str) -> tuple[Any, ...]:
        score = scores[owner]
        return (not score.no_losses, -(score.omega or 0), -score.realized, -score.markets, owner)

    return sorted(ranked, key=place)


def whale_order(scores: dict[str, Score]) -> list[str]:
    """Owners from first to last: by profit, volume, markets, address."""
    return sorted(scores, key=lambda o: (-scores[o].realized, -scores[o].volume, -scores[o].markets, o))


def shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    """The same rows in another order."""
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    return mixed
