"""What the lanes of payouts share: how conditions are written, their row, and how a subgraph is asked for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

from backfill.engine.model import Page, Request, Unit
from backfill.tracks import batches, graph, values
from backfill.tracks.reading import Foreign, Made, Reading
from backfill.tracks.track import Envelope
from backfill.tracks.values import Row, need

TABLE: Final = "staging.payouts_v2"
QUERY: Final = "query($ids:[ID!]!,$n:Int!){%s:conditions(first:$n,where:{id_in:$ids}){id %s}}"


class SubgraphPayouts(ABC):
    """A lane that asks a subgraph (`subgraph` is name/version) for up to 1,000 conditions a request.

    A subclass says its `name`, the `source` that signs its rows, and which `fields` of a condition tell the payout.
    """

    name: str
    source: str
    fields: str

    def __init__(self, subgraph: str) -> None:
        self._subgraph = subgraph

    @abstractmethod
    def numerators(self, row: Row) -> Sequence[int] | None:
        """The payout numerators of a condition by outcome index; None while it is unresolved.

        Raises:
            Drift: a field is not what it was.
        """

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        conditions = [f"0x{plain(each)}" for each in batches.asked(unit, cursor)]
        variables = {"ids": conditions, "n": len(conditions)}
        query = QUERY % (graph.named("conditions", unit, cursor), self.fields)
        return graph.question(self._subgraph, query, variables, asked=len(conditions))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        return batches.smaller(unit, cursor)

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        items = set(batches.asked(unit, cursor))
        wanted = set(map(plain, items))
        reading = Reading(self.name, unit, body)
        (rows,) = graph.lists(self.name, body, [graph.named("conditions", unit, cursor)])
        reading.take(rows, lambda row: self._made(row, wanted))
        return reading.page(len(items), batches.following(unit, cursor))

    def _made(self, row: Row, wanted: set[str]) -> Iterator[Made]:
        condition = need(values.condition, row, "id")
        if condition not in wanted:
            raise Foreign
        numerators = self.numerators(row)
        if numerators is not None:
            yield made(condition, numerators, self.source)

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        return Envelope(None, graph.answer({graph.named("conditions", unit, None): [row]}))

    def head(self) -> Request:
        """See `Headed`. The conditions have no time, so it is estimated by the subgraph's own newest block."""
        return graph.head_question(self._subgraph, ())

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return graph.read_head(self.name, body, ())


def plain(condition: str) -> str:
    """A condition id as 64 lower-case hex digits."""
    return condition.removeprefix("0x").lower()


def made(condition: str, numerators: Sequence[int], source: str, resolved_at: int | None = None) -> Made:
    """The row of a payout, in lowest terms; `resolved_at` in unix seconds, where the source knows it.

    Raises:
        ValueError: all numerators are zero.
    """
    lowest, total = values.reduced(numerators)
    row = {
        "condition_id_norm": condition,
        "payout_numerators": lowest,
        "payout_denominator": total,
        "resolved_at": resolved_at,
        "source": source,
    }
    return condition, row
