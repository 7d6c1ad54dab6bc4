"""Collections of rows asked the way graph-node lets one ask: filters, order, paging."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import Any

from graphql import GraphQLError

Row = dict[str, Any]
Test = Callable[[Row], bool]
Where = ReadOnly[str, Any]

AT = "__at"
"""Key of a row's age (unix seconds): not a field, only what a stale upstream goes by."""
DEFAULT_FIRST = 100
MAX_FIRST = 1000
MAX_SKIP = 2**31 - 1
NUMBERS = ("BigInt", "Int", "BigDecimal")
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda value, part: part in value,
    "starts_with": lambda value, part: value.startswith(part),
    "ends_with": lambda value, part: value.endswith(part),
}
_ORDER_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda a, b: a > b,
    "lt": lambda a, b: a < b,
    "gte": lambda a, b: a >= b,
    "lte": lambda a, b: a <= b,
}
OPERATORS = (
    "not_contains_nocase", "contains_nocase", "starts_with_nocase", "ends_with_nocase", "not_contains", "contains",
    "starts_with", "ends_with", "not_in", "not", "in", "gte", "lte", "gt", "lt",
)  # fmt: skip
"""Suffixes of filter fields, longest first so that `_not_in` is not read as `_in`."""


@dataclass
class Collection:
    """All rows of one entity. Values are kept as they are sent: ids and BigInts as strings."""

    entity: str
    plural: str
    fields: ReadOnly[str, str]
    """Field name to its type in the schema language, such as `BigInt!` or `[BigInt!]!`."""
    source: Callable[[], list[Row]]
    """Makes the rows, when they are first asked for: the fills of a large world take seconds."""
    relations: dict[str, Collection] = field(default_factory=dict)
    """Fields that hold the id of a row of another collection."""
    _sorted: dict[str, list[Row]] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def _by_id(self) -> dict[str, Row]:
        with self._lock:
            return self._index

    @cached_property
    def _index(self) -> dict[str, Row]:
        return {row["id"]: row for row in self.source()}

    @property
    def single(self) -> str:
        """Name of the query for one row: only the first letter is lowered."""
        return self.entity[0].lower() + self.entity[1:]

    def get(self, identity: str) -> Row | None:
        """The row of this id."""
        return self._by_id.get(identity)

    def key(self, name: str) -> Callable[[Row], Any]:
        """What a field is compared by: numbers as numbers, everything else (ids too) as text. Nulls come first."""
        if self.base_type(name) in NUMBERS:
            return lambda row: -1 if row[name] is None else Decimal(row[name])
        return lambda row: "" if row[name] is None else row[name]

    def base_type(self, name: str) -> str:
        """The named type of a field, without `!` and list brackets."""
        return self.fields[name].strip("[]!")

    def is_list(self, name: str) -> bool:
        """Whether the field holds a list."""
        return self.fields[name].startswith("[")

    def find(self, page: Page) -> list[Row]:
        """The rows of a page, in order."""
        return _scan(self, page)

    def sorted_by(self, name: str) -> list[Row]:
        """All rows ascending by a field, ties by id. Sorted once, then kept."""
        if name not in self._sorted:
            key = self.key(name)
            self._sorted[name] = sorted(self._by_id.values(), key=lambda row: (key(row), row["id"]))
        return self._sorted[name]


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a collection is wanted."""

    where: Where
    order_by: str = "id"
    descending: bool = False
    first: int = DEFAULT_FIRST
    skip: int = 0
    before: int | None = None
    """Leave out rows of this age or younger (unix seconds)."""

    def __post_init__(self) -> None:
        if not 1 <= self.first <= MAX_FIRST:
            raise GraphQLError(f"The `first` argument must be between 0 and {MAX_FIRST}, but is {self.first}")
        if not 0 <= self.skip <= MAX_SKIP:
            raise GraphQLError(f"The `skip` argument must be between 0 and {MAX_SKIP}, but is {self.skip}")


def select(collection: Collection, page: Page) -> list[Row]:
    """The rows of a page, in order."""
    return collection.find(page)


def _scan(collection: Collection, page: Page) -> list[Row]:
    by_id = "id_in" in page.where
    tests = list(compile_where(collection, {k: v for k, v in page.where.items() if k != "id_in"}))
    if page.before is not None:
        before = page.before
        tests.append(lambda row: row.get(AT, 0) < before)
    candidates = _by_ids(collection, page, page.where["id_in"] or ()) if by_id else _candidates(collection, page)
    found = (row for row in candidates if all(test(row) for test in tests)) if tests else candidates
    return list(islice(found, page.skip, page.skip + page.first))


def _candidates(collection: Collection, page: Page) -> Iterable[Row]:
    """Rows that may match, in the wanted order, from where the order's lower bound begins."""
    if page.where.get("id") is not None:
        return _by_ids(collection, page, [page.where["id"]])
    ordered = collection.sorted_by(page.order_by)
    if page.descending:
        return reversed(ordered)
    bound = lower_bound(collection, page.where, page.order_by)
    if bound is None:
        return ordered
    return islice(ordered, bisect_left(ordered, bound, key=collection.key(page.order_by)), None)


def _by_ids(collection: Collection, page: Page, wanted: Iterable[str]) -> list[Row]:
    rows = [row for identity in dict.fromkeys(wanted) if (row := collection.get(identity)) is not None]
    key = collection.key(page.order_by)
    return sorted(rows, key=lambda row: (key(row), row["id"]), reverse=page.descending)


def lower_bound(collection: Collection, where: Where, name: str) -> Any:
    """Smallest value of a field that the filter can let through, None where it sets none. Spares scanning the past."""
    if "or" in where:
        branches = [lower_bound(collection, branch, name) for branch in where["or"] or ()]
        return None if not branches or any(bound is None for bound in branches) else min(branches)
    named = (where.get(f) for f in (name, f"{name}_gt", f"{name}_gte"))
    bounds = [comparable(collection, name, value) for value in named if value is not None]
    nested = (lower_bound(collection, part, name) for part in where.get("and") or ())
    bounds += [bound for bound in nested if bound is not None]
    return max(bounds, default=None)


def compile_where(collection: Collection, where: Where) -> Iterator[Test]:
    """One test for every condition of a filter; a row must pass them all."""
    columns = columns_of(where)
    for part in where.get("and") or ():
        yield from compile_where(collection, part)
    if "or" in where:
        yield _any_of([list(compile_where(collection, part)) for part in where["or"] or ()])
    for name in columns:
        yield column_test(collection, name, where[name])


def columns_of(where: Where) -> list[str]:
    """The filters of a level that are about columns; GraphQLError where they stand beside `or`."""
    columns = [name for name in where if name not in ("and", "or", "_change_block")]
    if "or" in where and columns:
        raise GraphQLError(
            "Cannot mix column filters with 'or' operator at the same level. "
            f"Found column filter(s) {', '.join(columns)} alongside 'or' operator."
        )
    return columns


def _any_of(branches: Sequence[Sequence[Test]]) -> Test:
    return lambda row: any(all(test(row) for test in branch) for branch in branches)


def column_test(collection: Collection, filter_name: str, wanted: Any) -> Test:
    """The test that one condition of a filter makes."""
    name, operator = split_operator(collection, filter_name)
    if operator == "child":
        return _child_test(collection, name, wanted)
    if collection.is_list(name):
        return _list_test(name, operator, wanted)
    if operator in ("in", "not_in"):
        return _membership_test(collection, name, operator, wanted or ())
    if "contains" in operator or "with" in operator:
        return _text_test(name, operator, wanted)
    value = None if wanted is None else comparable(collection, name, wanted)
    key = collection.key(name)
    if operator in ("", "not"):
        return lambda row: (row[name] is None if value is None else key(row) == value) == (operator == "")
    compare = _ORDER_TESTS[operator]
    return lambda row: row[name] is not None and compare(key(row), value)


def split_operator(collection: Collection, filter_name: str) -> tuple[str, str]:
    """Field and operator of a filter field: `id_not_in` → id, not_in; `asset_` → asset, child."""
    if filter_name in collection.fields:
        return filter_name, ""
    if filter_name.endswith("_"):
        return filter_name[:-1], "child"
    for operator in OPERATORS:
        if filter_name.endswith(f"_{operator}"):
            return filter_name[: -len(operator) - 1], operator
    raise GraphQLError(f"Type `{collection.entity}` has no field `{filter_name}`")


def _child_test(collection: Collection, name: str, wanted: Where) -> Test:
    other = collection.relations[name]
    tests = list(compile_where(other, wanted))

    def passes(row: Row) -> bool:
        child = other.get(row[name])
        return child is not None and all(test(child) for test in tests)

    return passes


def _list_test(name: str, operator: str, wanted: Sequence[Any] | None) -> Test:
    if wanted is None:
        return lambda row: (row[name] is None) == (operator == "")
    values = [str(value) for value in wanted]
    if operator in ("", "not"):
        return lambda row: (row[name] == values) == (operator == "")
    return lambda row: row[name] is not None and set(values).issubset(row[name]) == (operator == "contains")


def _membership_test(collection: Collection, name: str, operator: str, wanted: Sequence[Any]) -> Test:
    """An empty list lets nothing through, with `not_in` too: that is what graph-node does."""
    if not wanted:
        return lambda row: False
    values = {comparable(collection, name, value) for value in wanted}
    key = collection.key(name)
    return lambda row: (key(row) in values) == (operator == "in")


def _text_test(name: str, operator: str, wanted: str) -> Test:
    no_case, negated = operator.endswith("_nocase"), operator.startswith("not_")
    part = str(wanted).lower() if no_case else str(wanted)
    compare = _TEXT_TESTS[operator.removesuffix("_nocase").removeprefix("not_")]
    return lambda row: compare(row[name].lower() if no_case else row[name], part) != negated


def comparable(collection: Collection, name: str, value: Any) -> Any:
    """A filter's value as a field's key is; GraphQLError where it should be a number and is none."""
    if collection.base_type(name) not in NUMBERS:
        return str(value)
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise GraphQLError(f"Failed to decode value `{value}` of `{name}` as a number") from None
