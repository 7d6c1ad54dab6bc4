"""Ranges against a plain set of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.engine.ranges import Ranges

NUMBERS = st.integers(0, 60)
PAIRS = st.lists(st.tuples(NUMBERS, st.integers(1, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=8)


def runs(numbers: set[int]) -> list[tuple[int, int]]:
    """The maximal runs of a set."""
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n + 1 for n in numbers if n + 1 not in numbers)
    return list(zip(starts, ends, strict=True))


@settings(deadline=None, max_examples=300)
@given(PAIRS, st.lists(NUMBERS, max_size=40), NUMBERS, NUMBERS)
def test_ranges_are_a_set(pairs: list[tuple[int, int]], added: list[int], start: int, length: int) -> None:
    ranges = Ranges(pairs)
    plain = {number for a, b in pairs for number in range(a, b)}
    for number in added:
        ranges.add(number)
        plain.add(number)
        assert ranges.pairs() == runs(plain)
    assert list(ranges) == sorted(plain)
    assert len(ranges) == len(plain)
    assert [n for n in range(75) if n in ranges] == sorted(plain)
    assert list(ranges.missing(start, start + length)) == [n for n in range(start, start + length) if n not in plain]
    assert Ranges(ranges.pairs()) == ranges


@pytest.mark.parametrize("pair", [(3, 3), (4, 3), (-1, 2)])
def test_what_is_no_range_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not a range"):
        Ranges([pair])


def test_ranges_have_no_hash_because_they_change() -> None:
    with pytest.raises(TypeError):
        hash(Ranges())
