"""The blocks of a stretch of time, found by asking a node for few of them."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from backfill.engine.model import Request
from backfill.stages.horizon import blocks_of
from backfill.tracks.track import Window

FIRST, MARGIN = 1_000, 20


class Node:
    """A node whose blocks have these times; counts what it is asked."""

    def __init__(self, times: list[int]) -> None:
        self.times, self.asked = times, 0

    async def fetch(self, request: Request, read: Callable[[bytes], Any]) -> Any:
        self.asked += 1
        assert request.body is not None
        tag = orjson.loads(request.body)["params"][0]
        number = len(self.times) - 1 + FIRST if tag == "latest" else int(tag, 16)
        found = {"number": hex(number), "timestamp": hex(self.times[number - FIRST])}
        return read(orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": found}))


@given(st.lists(st.integers(0, 5), min_size=MARGIN + 2, max_size=400), st.integers(0, 900), st.integers(1, 900))
def test_the_ends_are_the_first_blocks_that_are_not_older(steps: list[int], start: int, length: int) -> None:
    times = [sum(steps[: at + 1]) for at in range(len(steps))]
    window = Window(start, start + length)
    blocks, _ = asyncio.run(blocks_of(Node(times), window, first=FIRST, confirmations=MARGIN))
    head = len(times) - 1 - MARGIN
    assert blocks.start - FIRST == min(bisect_left(times, window.start), head)
    if window.end < times[-1]:
        assert blocks.end - FIRST == min(max(bisect_left(times, window.end), blocks.start - FIRST), head)
    else:
        assert blocks.end - FIRST == head


def test_even_blocks_take_few_questions() -> None:
    node = Node([at * 2 for at in range(1_000_000)])
    asyncio.run(blocks_of(node, Window(555_555, 1_444_444), first=FIRST, confirmations=MARGIN))
    assert node.asked <= 16
