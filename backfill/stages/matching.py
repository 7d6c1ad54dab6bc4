"""Which rows of two sources are the same fill; pure.

Everything here is about the rows of one token in one transaction. Two rows with order hashes are the same fill when
they are of the same order and say the same, or else when they have the same id. It goes by what they say first, because
a source without log indexes keeps the *last* fill of an order in a transaction under the plain id, and the chain gives
that id to the *first*. A row without an order hash is the same fill as one that says the same. The dollars may differ
by a rounding, because some sources show a price instead. No row is the same fill as two rows of one source: the n-th
like row needs an n-th partner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

SLACK = 5
"""Millionths of a dollar by which a product of size and price may be off; besides a millionth of a dollar a share."""

_MILLION = 1_000_000


class Row(NamedTuple):
    """A row of a source, or of production (`stored`). `order` is empty where it is not known; a lower `rank` is better.

    `content` is equal for rows that say the same in every column; `raw` is the row as it is stored.
    """

    fill_id: str
    order: str
    maker: str
    side: str
    shares: int
    usdc: int
    layer: str = ""
    rank: int = 0
    stored: bool = False
    content: int = 0
    raw: Mapping[str, Any] | None = None

    @property
    def facts(self) -> tuple[str, str, int, int]:
        """What happened, but for the transaction and the token."""
        return self.maker, self.side, self.shares, self.usdc

    @property
    def further(self) -> bool:
        """Whether its id names a log, because the order was filled before in the same transaction."""
        return bool(self.order) and not self.fill_id.endswith(self.order)


class Change(NamedTuple):
    """What has to happen to production: rows to put in, after those with these ids were taken out."""

    arrivals: list[Row]
    departures: list[str]


def read_row(raw: Mapping[str, Any]) -> Row:
    """A row of the candidates' table, as JSON has it."""
    return Row(
        fill_id=raw["fill_id"],
        order=raw["order_hash"] or "",
        maker=raw["maker"],
        side=raw["side"],
        shares=int(raw["shares_micro"]),
        usdc=int(raw["usdc_micro"]),
        layer=raw["layer"],
        rank=int(raw["rank"]),
        stored=bool(int(raw["stored"])),
        content=int(raw["content"]),
        raw=raw,
    )


def slack(shares: int) -> int:
    """By how much the dollars of two rows may differ (millionths) when one of them was computed from a price."""
    return SLACK + shares // _MILLION


def near(one: Row, other: Row) -> bool:
    """Whether two rows say the same but for a rounding."""
    return one.facts[:3] == other.facts[:3] and abs(one.usdc - other.usdc) <= slack(one.shares)


def same_orders(one: Row, other: Row) -> bool:
    """Whether both know their order, and it is the same."""
    return bool(one.order) and one.order == other.order


def _keyless(one: Row, other: Row) -> bool:
    return not one.order or not other.order


_SAME: tuple[Callable[[Row, Row], bool], ...] = (
    lambda one, other: one.fill_id == other.fill_id and one.facts == other.facts,
    lambda one, other: same_orders(one, other) and one.facts == other.facts,
    lambda one, other: same_orders(one, other) and near(one, other),
    lambda one, other: one.fill_id == other.fill_id,
    lambda one, other: _keyless(one, other) and one.facts == other.facts,
    lambda one, other: _keyless(one, other) and near(one, other),
)
"""When two rows are the same fill; what is said first counts before what is said later."""


def pairs(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[int, int]:
    """For each of their rows that is one of our fills, which (both by place); nobody is in two pairs."""
    found: dict[int, int] = {}
    # Those that know their order choose first: they fit fewer.
    left = sorted(range(len(theirs)), key=lambda at: (not theirs[at].order, theirs[at].fill_id))
    free = list(range(len(ours)))
    for same in _SAME:
        for at in list(left):
            fitting = [place for place in free if same(ours[place], theirs[at])]
            if fitting:
                best = min(fitting, key=lambda place: abs(ours[place].usdc - theirs[at].usdc))
                found[at] = best
                free.remove(best)
                left.remove(at)
    return found


def settled(rows: Iterable[Row]) -> Change:
    """What production is to show of a transaction, compared with what it does. Staged rows come first, the best first.

    A row that is taken out always has a staged row that takes its place; so nothing is lost when the work is cut short
    in between, and doing it again mends it.
    """
    layers = [list(group) for _, group in groupby(rows, key=lambda row: row.layer)]
    stored = layers.pop() if layers and layers[-1][0].stored else []
    fills: list[Row] = []
    for layer in layers:
        fills = _joined(fills, layer)
    fills = _joined(fills, list({row.fill_id: row for row in stored}.values()))
    return _change(fills, stored)


def _joined(fills: Sequence[Row], layer: Sequence[Row]) -> list[Row]:
    """The fills that are known, each from its better source, and those that only this layer shows."""
    joined = list(fills)
    found = pairs(fills, layer)
    for at, place in found.items():
        joined[place] = _better(fills[place], layer[at])
    for at, row in enumerate(layer):
        # An id belongs to one fill: what is left over under a known id is another account of that one.
        if at not in found and all(row.fill_id != known.fill_id for known in joined):
            joined.append(row)
    return joined


def _better(known: Row, row: Row) -> Row:
    """Of two accounts of a fill: the better source's, but an id that names the log before one that does not."""
    if known.order and row.order and known.further != row.further:
        return row if row.further else known
    return row if row.stored and row.rank < known.rank else known


def _change(fills: Sequence[Row], stored: Sequence[Row]) -> Change:
    wanted = {row.fill_id: row for row in fills}
    there: dict[str, set[int]] = {}
    for row in stored:
        there.setdefault(row.fill_id, set()).add(row.content)
    leaving = [
        fill_id
        for fill_id, contents in there.items()
        if fill_id not in wanted or (not wanted[fill_id].stored and contents != {wanted[fill_id].content})
    ]
    coming = [row for row in fills if not row.stored and (row.fill_id not in there or row.fill_id in leaving)]
    return Change(coming, leaving)
