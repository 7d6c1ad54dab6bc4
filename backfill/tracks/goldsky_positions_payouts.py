"""Payouts from the positions subgraph: conditions → what a share of each outcome pays, as decimals.

A second opinion of an indexer that is asked already, so it works only when it is named. It divides before it tells: one
third comes as 0.333…, cut somewhere, which is not the payout any more. So decimals are believed where they cannot be
such a rest, and are a letter otherwise; the chain and the pnl subgraph, which tell the numerators themselves, know it.

- They add up to exactly 1.
- None of them is, to less than one unit of its last place, a far simpler fraction. Of n decimals, that is one with a
  denominator q of q² · 100 ≤ 10ⁿ: 1/3 for 0.333, nothing for 0.33. By chance, one decimal in two hundred is refused.
- Over their common denominator they fit 64 bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from math import isqrt, lcm
from typing import TYPE_CHECKING, Final

from backfill.tracks import payouts, values
from backfill.tracks.track import Track
from backfill.tracks.values import Drift, Row

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "goldsky_positions_payouts"
SOURCE = "goldsky_positions"
FIELD: Final = "payouts"
FAR_SIMPLER: Final = 100
"""By how much the square of a denominator has to be below a decimal's own."""
_DECIMAL = re.compile(r"[0-9]{1,78}(?:\.([0-9]{1,78}))?")


class GoldskyPositionsPayouts(payouts.SubgraphPayouts):
    """The lane of the `goldsky_positions_payouts` track; `subgraph` is name/version of the positions subgraph."""

    name = NAME
    source = SOURCE
    fields = FIELD

    def numerators(self, row: Row) -> Sequence[int] | None:
        """See `SubgraphPayouts`."""
        return _payout(row)


def _payout(row: Row) -> Sequence[int] | None:
    texts = values.strings(row, FIELD)
    if not texts:
        return None
    shares = [_share(each) for each in texts]
    if sum(shares) != 1:
        raise Drift(FIELD, "decimals that add up to exactly 1", texts)
    total = lcm(*(share.denominator for share in shares))
    if total >= 1 << 64:
        raise Drift(FIELD, "fractions with a denominator within 64 bits", texts)
    return [share.numerator * (total // share.denominator) for share in shares]


def _share(text: str) -> Fraction:
    """A decimal, exactly."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise Drift(FIELD, "decimals that are not negative", text)
    share, unit = Fraction(text), 10 ** len(found[1] or "")
    simple = share.limit_denominator(max(1, isqrt(unit // FAR_SIMPLER)))
    if 0 < abs(simple - share) * unit < 1:
        raise Drift(FIELD, f"an exact decimal, and not what may be {simple} rounded", text)
    return share


def _make(config: Config) -> GoldskyPositionsPayouts:
    return GoldskyPositionsPayouts(config.upstreams.goldsky.subgraphs.positions)


TRACK = Track(NAME, "payouts", "goldsky", payouts.TABLE, "conditions", _make)
