"""The fills of a subgraph, indexed so that a page for hundreds of tokens costs milliseconds among millions of rows."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import merge
from itertools import groupby, islice
from math import ceil
from threading import RLock
from typing import Any

from .graphnode import (
    NUMBERS,
    Collection,
    Page,
    Row,
    Test,
    Where,
    column_test,
    columns_of,
    comparable,
    split_operator,
)
from .model import Fill

FIELDS = Fill._fields
INDEXED = ("makerAssetId", "takerAssetId", "maker", "taker", "transactionHash", "orderHash")
MANY_BRANCHES = 64
"""Alternatives of one filter above which it is tried row by row instead of being planned."""
SORTED_BELOW = 8192
"""Candidates below which sorting them all is cheaper than merging their lists."""
FEW = 50_000
"""Rows of a window of time up to which they are sorted by id, instead of trying all ids for their time."""
END_OF_TIME = 2**62
Filter = tuple[str, str, Any]
"""Field, operator and value."""
Branch = list[Filter]
"""Filters that must all hold."""


class FillIndex:
    """Fills in (time, id) order; their place in it is their rank. Everything else is made when first needed."""

    def __init__(self, make: Callable[[], Iterable[Fill]]) -> None:
        self._make = make
        self._columns: dict[tuple[str, bool], dict[str, array[int]]] = {}
        self._lock = RLock()

    @cached_property
    def fills(self) -> list[Fill]:
        """The fills by rank. Of two with one id there is the later one."""
        return sorted({fill.id: fill for fill in self._make()}.values(), key=lambda fill: (fill.timestamp, fill.id))

    @cached_property
    def times(self) -> array[int]:
        """Times (unix seconds) by rank."""
        return array("q", (fill.timestamp for fill in self.fills))

    def row(self, rank: int) -> Row:
        """A fill as it is sent."""
        row: Row = dict(zip(FIELDS, self.fills[rank], strict=True))
        row["timestamp"] = str(row["timestamp"])
        return row

    @cached_property
    def by_id(self) -> array[int]:
        """Ranks in the order of ids."""
        return array("l", sorted(range(len(self.fills)), key=lambda rank: self.fills[rank].id))

    @cached_property
    def id_places(self) -> array[int]:
        """Place in the order of ids, by rank."""
        places = array("l", bytes(array("l").itemsize * len(self.fills)))
        for place, rank in enumerate(self.by_id):
            places[rank] = place
        return places

    def id_place(self, identity: str, *, after: bool = False) -> int:
        """Where an id stands, or would stand, in the order of ids."""
        find = bisect_right if after else bisect_left
        return find(self.by_id, identity, key=lambda rank: self.fills[rank].id)

    def places(self, name: str, value: str, by_id: bool) -> Sequence[int]:
        """Ranks (or places in the order of ids) of the rows with a value in a column, ascending."""
        if name == "id":
            place = self.id_place(value)
            known = place < len(self.by_id) and self.fills[self.by_id[place]].id == value
            return ([place] if by_id else [self.by_id[place]]) if known else []
        return self._column(name, by_id).get(value, ())

    def _column(self, name: str, by_id: bool) -> dict[str, array[int]]:
        with self._lock:
            if (name, by_id) not in self._columns:
                self._columns[name, by_id] = self._indexed(FIELDS.index(name), by_id)
            return self._columns[name, by_id]

    def _indexed(self, column: int, by_id: bool) -> dict[str, array[int]]:
        found: dict[str, array[int]] = {}
        for place, rank in enumerate(self.by_id if by_id else range(len(self.fills))):
            value = str(self.fills[rank][column])
            if (places := found.get(value)) is None:
                places = found[value] = array("l")
            places.append(place)
        return found


@dataclass
class FillCollection(Collection):
    """The fills as a collection that plans its queries."""

    index: FillIndex = field(kw_only=True)

    def get(self, identity: str) -> Row | None:
        """The row of this id."""
        ranks = self.index.places("id", identity, by_id=False)
        return self.index.row(ranks[0]) if ranks else None

    def find(self, page: Page) -> list[Row]:
        """The rows of a page, in order."""
        branches = list(_branches(self, page.where))
        if page.order_by not in ("timestamp", "id") or len(branches) > MANY_BRANCHES:
            return self._sorted_all(page, branches)
        plans = [_Plan(self, branch, page) for branch in branches]
        streams = [plan.places(page.skip + page.first) for plan in plans]
        places = streams[0] if len(streams) == 1 else _once(merge(*streams, reverse=page.descending))
        ranks: Iterable[int] = islice(places, page.skip, page.skip + page.first)
        if page.order_by == "id":
            ranks = (self.index.by_id[place] for place in ranks)
        return [self.index.row(rank) for rank in ranks]

    def _sorted_all(self, page: Page, branches: Sequence[Branch]) -> list[Row]:
        """The long way, for orders and filters that nobody is expected to use."""
        by_time = Page({}, "timestamp", before=page.before)
        ranks = sorted({rank for branch in branches for rank in _Plan(self, branch, by_time).places(None)})
        key = self.key(page.order_by)
        rows = [self.index.row(rank) for rank in ranks]
        rows.sort(key=lambda row: (key(row), row["id"]), reverse=page.descending)
        return rows[page.skip : page.skip + page.first]


def _branches(collection: Collection, where: Where) -> Iterator[Branch]:
    """A filter as alternatives, in each of which all filters hold."""
    found: list[Branch] = [[_filter(collection, name, where[name]) for name in columns_of(where)]]
    for part in where.get("and") or ():
        found = [[*left, *right] for left in found for right in _branches(collection, part)]
    if "or" in where:
        choices = [branch for part in where["or"] or () for branch in _branches(collection, part)]
        found = [[*left, *right] for left in found for right in choices]
    yield from found


def _filter(collection: Collection, filter_name: str, value: Any) -> Filter:
    """A filter taken apart. Numbers are read here, so that one that is none is refused whatever else is asked."""
    name, operator = split_operator(collection, filter_name)
    if collection.base_type(name) in NUMBERS and value is not None:
        many = operator in ("in", "not_in")
        value = [comparable(collection, name, each) for each in value] if many else comparable(collection, name, value)
    return name, operator, value


class _Plan:
    """How one branch is answered: an index, a stretch of the order, and tests for the rest."""

    def __init__(self, collection: FillCollection, branch: Branch, page: Page) -> None:
        self._index, self._page = collection.index, page
        self._by_id = page.order_by == "id"
        self._times = [0, END_OF_TIME if page.before is None else page.before]
        self._places = [0, len(self._index.fills)]
        self._id_bounds: list[tuple[str, str]] = []
        self._timed = False
        """Whether rows in the order of ids must still be held against the window of ranks."""
        self._sets: dict[str, set[str]] = {}
        self._tests: list[Test] = []
        for name, operator, value in branch:
            if not self._take(name, operator, value):
                filter_name = f"{name}_{operator}" if operator else name
                self._tests.append(column_test(collection, filter_name, value))
        self._bound(collection)

    def _take(self, name: str, operator: str, value: Any) -> bool:
        """Use a filter for the plan; False where it must be tested row by row."""
        if value is None:
            return False
        if name == "timestamp" and operator in ("", "gt", "gte", "lt", "lte"):
            here = ceil(value)
            self._limit(self._times, operator, here, here + 1 if here == value else here)
        elif name == "id" and operator in ("gt", "gte", "lt", "lte"):
            self._id_bounds.append((operator, str(value)))
        elif (name == "id" or name in INDEXED) and operator in ("", "in"):
            wanted = {str(each) for each in value} if operator == "in" else {str(value)}
            self._sets[name] = self._sets[name] & wanted if name in self._sets else wanted
        else:
            return False
        return True

    @staticmethod
    def _limit(bounds: list[int], operator: str, here: int, beyond: int) -> None:
        """Narrow a half-open stretch."""
        low = {"": here, "gte": here, "gt": beyond}.get(operator, bounds[0])
        high = {"": beyond, "lt": here, "lte": beyond}.get(operator, bounds[1])
        bounds[:] = max(bounds[0], low), min(bounds[1], high)

    def _bound(self, collection: FillCollection) -> None:
        """Times and ids as a stretch of the order, as far as they make one, and as tests where they do not."""
        index = self._index
        first, last = (bisect_left(index.times, time) for time in self._times)
        self._window = first, last
        if self._by_id:
            for operator, text in self._id_bounds:
                self._limit(self._places, operator, index.id_place(text), index.id_place(text, after=True))
            self._timed = (first, last) != (0, len(index.fills))
            return
        self._places = [first, last]
        one_second = self._times[1] - self._times[0] == 1  # within which the order is that of ids
        for operator, text in self._id_bounds:
            if one_second and first < last:
                self._limit(self._places, operator, *_bounds(index.fills, text, first, last))
            else:
                self._tests.append(column_test(collection, f"id_{operator}", text))

    def places(self, wanted: int | None) -> Iterator[int]:
        """Ranks, or places in the order of ids, of this branch's rows, in order: at least the wanted first ones."""
        lists = self._lists()
        limit = None if self._tests or self._timed else wanted
        found: Iterable[int]
        if lists is None:
            whole = range(*self._places) if self._places[0] < self._places[1] else range(0)
            found = reversed(whole) if self._page.descending else whole
        else:
            found = self._merged(lists, limit)
        if not self._tests and not self._timed:
            return iter(found)
        return (place for place in found if self._passes(place))

    def _passes(self, place: int) -> bool:
        rank = self._index.by_id[place] if self._by_id else place
        if self._timed and not self._window[0] <= rank < self._window[1]:
            return False
        row = self._index.row(rank) if self._tests else {}
        return all(test(row) for test in self._tests)

    def _lists(self) -> list[Sequence[int]] | None:
        """Ascending places by the column that narrows most, the others becoming tests; None where none is given."""
        if not self._sets:
            return None
        found = {
            name: [self._index.places(name, value, self._by_id) for value in wanted]
            for name, wanted in self._sets.items()
        }
        best = min(found, key=lambda name: sum(map(len, found[name])))
        self._tests += [_one_of(name, wanted) for name, wanted in self._sets.items() if name != best]
        if self._timed and (few := self._few(best)) is not None:
            self._timed = False
            return [few]
        cut = (_between(places, *self._places) for places in found[best])
        return [places for places in cut if places]

    def _few(self, column: str) -> list[int] | None:
        """Places by id of the rows within the window of time, where those are few enough to be put in order."""
        lists = [self._index.places(column, value, by_id=False) for value in self._sets[column]]
        cut = [_between(ranks, *self._window) for ranks in lists]
        if sum(map(len, cut)) > FEW:
            return None
        places = sorted(self._index.id_places[rank] for ranks in cut for rank in ranks)
        return places[bisect_left(places, self._places[0]) : bisect_left(places, self._places[1])]

    def _merged(self, lists: list[Sequence[int]], limit: int | None) -> Iterable[int]:
        descending = self._page.descending
        if limit is not None:
            lists = [places[-limit:] if descending else places[:limit] for places in lists]
        if sum(map(len, lists)) < SORTED_BELOW:
            return sorted((place for places in lists for place in places), reverse=descending)
        ordered = [reversed(places) for places in lists] if descending else lists
        return merge(*ordered, reverse=descending)


def _bounds(fills: Sequence[Fill], identity: str, first: int, last: int) -> tuple[int, int]:
    """Where an id would stand among fills that are in the order of ids, and where the ones after it begin."""
    found = [find(fills, identity, first, last, key=lambda fill: fill.id) for find in (bisect_left, bisect_right)]
    return found[0], found[1]


def _one_of(name: str, wanted: set[str]) -> Test:
    return lambda row: row[name] in wanted


def _between(places: Sequence[int], first: int, last: int) -> Sequence[int]:
    return places[bisect_left(places, first) : bisect_left(places, last)]


def _once(places: Iterable[int]) -> Iterator[int]:
    """Ordered places without repetitions: branches may overlap."""
    return (place for place, _ in groupby(places))
