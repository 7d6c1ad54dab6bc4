"""Payouts from the pnl subgraph: conditions → numerators, up to 1,000 a request. Unresolved ones give no row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from backfill.engine.model import Page, Request, Unit
from backfill.tracks import batches, graph, values
from backfill.tracks.reading import Foreign, Made, Reading
from backfill.tracks.track import Envelope, Track
from backfill.tracks.values import Drift, Row, need

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "goldsky_payouts"
SOURCE = "goldsky"
QUERY = "query($ids:[ID!]!,$n:Int!){%s:conditions(first:$n,where:{id_in:$ids}){id payoutNumerators payoutDenominator}}"


class GoldskyPayouts:
    """The lane of the `goldsky_payouts` track; `subgraph` is name/version of the pnl subgraph."""

    name = NAME

    def __init__(self, subgraph: str) -> None:
        self._subgraph = subgraph

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        conditions = [f"0x{_plain(each)}" for each in batches.asked(unit, cursor)]
        variables = {"ids": conditions, "n": len(conditions)}
        query = QUERY % graph.named("conditions", unit, cursor)
        return graph.question(self._subgraph, query, variables, asked=len(conditions))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        return batches.smaller(unit, cursor)

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        items = set(batches.asked(unit, cursor))
        wanted = set(map(_plain, items))
        reading = Reading(NAME, unit, body)
        (rows,) = graph.lists(NAME, body, [graph.named("conditions", unit, cursor)])
        reading.take(rows, lambda row: _payout(row, wanted))
        return reading.page(len(items), batches.following(unit, cursor))

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        return Envelope(None, graph.answer({graph.named("conditions", unit, None): [row]}))

    def head(self) -> Request:
        """See `Headed`."""
        return graph.head_question(self._subgraph, ())

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return graph.read_head(NAME, body, ())


def _plain(condition: str) -> str:
    return condition.removeprefix("0x").lower()


def _payout(row: Row, wanted: set[str]) -> Iterator[Made]:
    condition = need(values.condition, row, "id")
    if condition not in wanted:
        raise Foreign
    denominator = need(values.amount, row, "payoutDenominator")
    numerators = values.wholes(row, "payoutNumerators")
    if denominator == 0:
        return
    if sum(numerators) != denominator:
        raise Drift("payoutDenominator", f"the sum of payoutNumerators, {sum(numerators)}", denominator)
    lowest, total = values.reduced(numerators)
    yield (
        condition,
        {
            "condition_id_norm": condition,
            "payout_numerators": lowest,
            "payout_denominator": total,
            "source": SOURCE,
        },
    )


def _make(config: Config) -> GoldskyPayouts:
    return GoldskyPayouts(config.upstreams.goldsky.subgraphs.pnl)


TRACK = Track(NAME, "payouts", "goldsky", "staging.payouts_v2", "conditions", _make)
