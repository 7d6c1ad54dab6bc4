"""The pure pieces of the token stage: what is absent, and what should be asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.stages.tokens import absent, doubtful

TOKENS = st.sets(st.integers(1, 40) | st.integers(2**255, 2**255 + 5), max_size=25).map(sorted)


async def stream(tokens: Iterable[int]) -> AsyncIterator[int]:
    for token in tokens:
        yield token


@settings(deadline=None, max_examples=300)
@given(TOKENS, TOKENS)
def test_absent_is_the_difference_of_the_sets_in_order(items: list[int], staged: list[int]) -> None:
    async def found() -> list[int]:
        return [token async for token in absent(tuple(map(str, items)), stream(staged))]

    assert asyncio.run(found()) == sorted(set(items) - set(staged))


@settings(deadline=None, max_examples=200)
@given(TOKENS, st.integers(1, 7), st.data())
def test_what_is_asked_again_was_missing_and_of_sparse_units_only_where_that_is_asked_for(
    items: list[int], batch: int, data: st.DataObject
) -> None:
    missing = sorted(data.draw(st.sets(st.sampled_from(items)))) if items else []
    assert doubtful(items, missing, batch, sparse=False) == missing
    again = doubtful(items, missing, batch, sparse=True)
    assert set(again) <= set(missing)
    for start in range(0, len(items), batch):
        unit = items[start : start + batch]
        gap = [item for item in unit if item in missing]
        assert [item for item in again if item in unit] == (gap if 4 * len(gap) >= len(unit) else [])
