"""Payouts from the pnl subgraph: conditions → numerators, up to 1,000 a request. Unresolved ones give no row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backfill.tracks import payouts, values
from backfill.tracks.track import Track
from backfill.tracks.values import Drift, Row, need

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "goldsky_payouts"
SOURCE = "goldsky"


class GoldskyPayouts(payouts.SubgraphPayouts):
    """The lane of the `goldsky_payouts` track; `subgraph` is name/version of the pnl subgraph."""

    name = NAME
    source = SOURCE
    fields = "payoutNumerators payoutDenominator"

    def numerators(self, row: Row) -> Sequence[int] | None:
        """See `SubgraphPayouts`."""
        return _payout(row)


def _payout(row: Row) -> Sequence[int] | None:
    denominator = need(values.amount, row, "payoutDenominator")
    numerators = values.wholes(row, "payoutNumerators")
    if denominator == 0:
        return None
    if sum(numerators) != denominator:
        raise Drift("payoutDenominator", f"the sum of payoutNumerators, {sum(numerators)}", denominator)
    return numerators


def _make(config: Config) -> GoldskyPayouts:
    return GoldskyPayouts(config.upstreams.goldsky.subgraphs.pnl)


TRACK = Track(NAME, "payouts", "goldsky", payouts.TABLE, "conditions", _make)
