"""Sets of unit numbers as sorted half-open ranges; pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of non-negative integers, kept as disjoint half-open ranges that never touch."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        starts: list[int] = []
        ends: list[int] = []
        last = -1
        for start, end in sorted(pairs):
            if start < 0 or end <= start:
                raise ValueError(f"[{start}, {end}) is not a range")
            if start <= last:
                last = ends[-1] = max(last, end)
            else:
                starts.append(start)
                ends.append(end)
                last = end
        self._starts, self._ends = starts, ends

    def add(self, number: int) -> None:
        """Put one number in; nothing happens when it is there already."""
        at = bisect_right(self._starts, number)
        if at and number < self._ends[at - 1]:
            return
        joins_left = at > 0 and self._ends[at - 1] == number
        joins_right = at < len(self._starts) and self._starts[at] == number + 1
        if joins_left and joins_right:
            self._ends[at - 1] = self._ends.pop(at)
            self._starts.pop(at)
        elif joins_left:
            self._ends[at - 1] = number + 1
        elif joins_right:
            self._starts[at] = number
        else:
            self._starts.insert(at, number)
            self._ends.insert(at, number + 1)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number)
        return at > 0 and number < self._ends[at - 1]

    def __len__(self) -> int:
        return sum(self._ends) - sum(self._starts)

    def __iter__(self) -> Iterator[int]:
        for start, end in self.pairs():
            yield from range(start, end)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.pairs() == other.pairs()

    def __hash__(self) -> int:
        raise TypeError("Ranges change, so they have no hash")

    def __repr__(self) -> str:
        return f"Ranges({self.pairs()})"

    def pairs(self) -> list[tuple[int, int]]:
        """The ranges, in order."""
        return list(zip(self._starts, self._ends, strict=True))

    def missing(self, start: int, end: int) -> Iterator[int]:
        """The numbers of [start, end) that are not in the set, in order. The set may not change meanwhile."""
        at = bisect_left(self._ends, start + 1)
        position = start
        while position < end:
            gap_end = min(end, self._starts[at]) if at < len(self._starts) else end
            yield from range(position, gap_end)
            if at >= len(self._starts):
                return
            position = max(position, self._ends[at])
            at += 1
