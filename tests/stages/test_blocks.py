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
from backfill.errors import Unreadable
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
        question = orjson.loads(request.body)
        tag = question["params"][0]
        number = len(self.times) - 1 + FIRST if tag == "latest" else int(tag, 16)
        found = {"number": hex(number), "timestamp": hex(self.times[number - FIRST])}
        return read(self.said(orjson.dumps({"jsonrpc": "2.0", "id": question["id"], "result": found})))

    def said(self, answer: bytes) -> bytes:
        """What goes out."""
        return answer


class Repeating(Node):
    """A node behind a proxy that gives every third question the answer to the one before, once; a door asks again."""

    before = b""

    async def fetch(self, request: Request, read: Callable[[bytes], Any]) -> Any:
        try:
            return await super().fetch(request, read)
        except Unreadable:
            return await super().fetch(request, read)

    def said(self, answer: bytes) -> bytes:
        self.before, before = answer, self.before
        return before if self.asked % 3 == 0 else answer


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


def test_the_answer_to_another_question_does_not_move_an_end() -> None:
    """A block taken for another one would shift the plan, and what lies outside it would never be missed."""
    times = [at * 2 for at in range(100_000)]
    for start in range(0, 180_000, 9_999):
        window = Window(start, start + 15_000)
        blocks, _ = asyncio.run(blocks_of(Repeating(times), window, first=FIRST, confirmations=MARGIN))
        assert (blocks.start - FIRST, blocks.end - FIRST) == ((start + 1) // 2, (start + 15_001) // 2)
