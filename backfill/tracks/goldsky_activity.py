"""Activity from the activity subgraph: splits, merges, redemptions and conversions of a window, four lists a request.

Each list is read in the order of its ids from behind the last one seen, so nothing is lost however many rows a second
has. A short list may be a cut one; a list has ended when it comes empty. Its ids tell the log index: `<tx>_0x<hex>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.tracks import graph, values
from backfill.tracks.reading import Foreign, Made, Reading, stretch
from backfill.tracks.track import Envelope, Track, Window
from backfill.tracks.values import Drift, Row, need

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "goldsky_activity"
SOURCE: Final = "goldsky"
_EVENT: Final = re.compile(r"(0x[0-9a-f]{64})_0x([0-9a-f]{1,8})")


class Listed(NamedTuple):
    """One of the four lists: its root, the fields asked for beside id and timestamp, and what its rows become."""

    root: str
    fields: str
    facts: Callable[[Row], Row]


class Place(NamedTuple):
    """Where a window's reading stands: rows a list, and for each list the last id seen, None when it has ended.

    As a cursor of the engine: JSON of the two.
    """

    first: int
    last: tuple[str | None, ...]

    def __str__(self) -> str:
        return orjson.dumps([self.first, self.last]).decode()

    @property
    def open(self) -> list[tuple[Listed, str]]:
        """The lists that have not ended, with the last id seen in each."""
        return [(each, last) for each, last in zip(LISTS, self.last, strict=True) if last is not None]


class GoldskyActivity:
    """The lane of the `goldsky_activity` track; `subgraph` is name/version of the activity subgraph."""

    name = NAME

    def __init__(self, subgraph: str) -> None:
        self._subgraph = subgraph

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        place, window = _place(cursor), stretch(unit)
        query = " ".join(_root(each, graph.named(each.root, unit, cursor)) for each, _ in place.open)
        ids = "".join(f",${each.root}:ID!" for each, _ in place.open)
        variables: dict[str, Any] = {each.root: last for each, last in place.open}
        variables |= {"n": place.first, "from": str(window.start), "to": str(window.end)}
        text = f"query($n:Int!,$from:BigInt!,$to:BigInt!{ids}){{{query}}}"
        return graph.question(self._subgraph, text, variables, asked=1)

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        del unit
        place = _place(cursor)
        return str(place._replace(first=place.first // 2)) if place.first > 1 else None

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        place, window = _place(cursor), stretch(unit)
        found = graph.lists(NAME, body, [graph.named(each.root, unit, cursor) for each, _ in place.open])
        lists = {each.root: rows for (each, _), rows in zip(place.open, found, strict=True)}
        reading = Reading(NAME, unit, body)
        for each, last in place.open:
            reading.take(lists[each.root], _converter(each, window, last))
        last_ids = [
            None if last is None else _last_id(lists[each.root], last)
            for each, last in zip(LISTS, place.last, strict=True)
        ]
        following = place._replace(last=tuple(last_ids))
        over = not following.open
        return reading.page(int(over), None if over else str(following))

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`. Splits and merges look alike: which of the two it was, only its answer tells."""
        root = "redemptions" if "payout" in row else "negRiskConversions" if "questionCount" in row else None
        if root is None:
            raise ValueError("a row alone does not tell whether it was split or merged")
        found = {each.root: [row] if each.root == root else [] for each in LISTS}
        return Envelope(None, graph.answer({graph.named(name, unit, None): one for name, one in found.items()}))

    def head(self) -> Request:
        """See `Headed`."""
        return graph.head_question(self._subgraph, [each.root for each in LISTS])

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return graph.read_head(NAME, body, [each.root for each in LISTS])


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return Place(graph.MOST_ROWS, ("",) * len(LISTS))
    first, last = orjson.loads(cursor)
    return Place(first, tuple(last))


def _root(each: Listed, name: str) -> str:
    where = f"{{timestamp_gte:$from,timestamp_lt:$to,id_gt:${each.root}}}"
    return f"{name}:{each.root}(first:$n,orderBy:id,orderDirection:asc,where:{where}){{id timestamp {each.fields}}}"


def _last_id(rows: list[Any], before: str) -> str | None:
    """Where to go on: the greatest id that came, None after an empty list."""
    found = [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    return max(found, default=before) if rows else None


def _converter(each: Listed, window: Window, last: str) -> Callable[[Row], Iterator[Made]]:
    def convert(row: Row) -> Iterator[Made]:
        event, at = need(values.text, row, "id"), need(values.moment, row, "timestamp")
        if event <= last or not window.start <= at < window.end:
            raise Foreign
        found = _EVENT.fullmatch(event)
        if found is None:
            raise Drift("id", "<transaction>_0x<log index>", event)
        log_index = int(found[2], 16)
        event_id = f"{found[1]}_{log_index}"
        place = {"event_id": event_id, "timestamp": at, "tx_hash": found[1], "log_index": log_index}
        yield f"{each.root}/{event_id}", {**each.facts(row), **place, "source": SOURCE}

    return convert


def _moved(kind: str) -> Callable[[Row], Row]:
    def facts(row: Row) -> Row:
        return {
            "kind": kind,
            "wallet": need(values.address, row, "stakeholder"),
            "condition_id_norm": need(values.condition, row, "condition"),
            "index_sets": [],
            "amount_micro": need(values.amount, row, "amount"),
        }

    return facts


def _redeemed(row: Row) -> Row:
    return {
        "kind": "redeem",
        "wallet": need(values.address, row, "redeemer"),
        "condition_id_norm": need(values.condition, row, "condition"),
        "index_sets": [str(each) for each in values.wholes(row, "indexSets")],
        "payout_micro": need(values.amount, row, "payout"),
    }


def _converted(row: Row) -> Row:
    return {
        "kind": "convert",
        "wallet": need(values.address, row, "stakeholder"),
        "neg_risk_market_id": need(values.hash32, row, "negRiskMarketId"),
        "index_sets": [str(need(values.whole, row, "indexSet"))],
        "amount_micro": need(values.amount, row, "amount"),
        "question_count": need(values.whole, row, "questionCount"),
    }


LISTS: Final = (
    Listed("splits", "stakeholder condition amount", _moved("split")),
    Listed("merges", "stakeholder condition amount", _moved("merge")),
    Listed("redemptions", "redeemer condition indexSets payout", _redeemed),
    Listed("negRiskConversions", "stakeholder negRiskMarketId amount indexSet questionCount", _converted),
)


def _make(config: Config) -> GoldskyActivity:
    return GoldskyActivity(config.upstreams.goldsky.subgraphs.activity)


TRACK = Track(NAME, "activity", "goldsky", "staging.ctf_activity_v2", "windows", _make)
