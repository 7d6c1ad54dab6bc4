"""When blocks were made: one fixed line through the cutover, and what stands in the blocks that are not empty."""

from __future__ import annotations

from .generate import CUTOVER

CUTOVER_BLOCK = 87_814_747
"""The block that was made as the V1 exchange was left."""
HEAD_TIME = 1_793_491_200
"""2026-11-01T00:00:00Z, in unix seconds: where the history of every made-up world ends."""
_TENTHS = 21
"""Tenths of a second from one block to the next."""


def block_of(at: int) -> int:
    """The newest block at a time (unix seconds)."""
    return CUTOVER_BLOCK + (at - CUTOVER) * 10 // _TENTHS


def time_of(block: int) -> int:
    """When a block was made (unix seconds), unless something that happened in it says otherwise (see `Blocks`)."""
    return CUTOVER - (CUTOVER_BLOCK - block) * _TENTHS // 10


class Blocks:
    """Hands out places in blocks such that no two times share a block and no two events a log index."""

    def __init__(self) -> None:
        self._times: dict[int, int] = {}
        self._next_log: dict[int, int] = {}

    def at_exactly(self, at: int, earliest: int) -> int:
        """A block of exactly this time (unix seconds), none before `earliest`.

        The fixed line gives two seconds to a block, and now and then both are taken: then the later one moves on.
        """
        block = max(block_of(at), earliest)
        while self._times.setdefault(block, at) != at:
            block += 1
        return block

    def near(self, at: int) -> tuple[int, int]:
        """The block at about this time, and the time (unix seconds) that it has."""
        block = block_of(at)
        return block, self._times.setdefault(block, time_of(block))

    def logs(self, block: int, count: int) -> int:
        """Reserve that many log indexes of a block; the first of them."""
        first = self._next_log.get(block, 0)
        self._next_log[block] = first + count
        return first
