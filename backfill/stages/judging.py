"""Judging many mappings on all cores, off the event loop.

One judgement takes 20 to 30 µs of hashing, which holds the interpreter's lock, so threads do not help. Workers are
started fresh (spawn, not fork): the parent runs an event loop and threads, whose locks a forked child would inherit.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Final

from backfill.ids import Verdict, judge_many

Row = tuple[int, str, int]
"""Token id, condition id, outcome index."""

CHUNK: Final = 2_000
INLINE_BELOW: Final = 3_000
"""Starting workers takes as long as judging this many rows in place."""

_INLINE_CHUNK: Final = 400


class Judges:
    """A pool of judges for as long as the `async with` lasts; processes start with the first large batch.

    `nice` is how far they stand back behind other processes; see `pool`.
    """

    def __init__(self, *, processes: int | None = None, nice: int = 10) -> None:
        self._processes = processes or cores()
        self._nice = nice
        self._pool: ProcessPoolExecutor | None = None

    async def __aenter__(self) -> Judges:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            # Not waiting: a cancelled caller must not hang on chunks that nobody will read.
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def judge(self, rows: Sequence[Row]) -> list[Verdict]:
        """The verdict for each row, in order."""
        if self._processes == 1 or len(rows) < INLINE_BELOW:
            return await _inline(rows)
        if self._pool is None:
            self._pool = pool(self._processes, nice=self._nice)
        waiting = [self._pool.submit(judge_many, chunk) for chunk in _chunks(rows, CHUNK)]
        verdicts: list[Verdict] = []
        for future in waiting:
            part: list[Verdict] = await asyncio.wrap_future(future)
            verdicts += part
        return verdicts


async def judge_all(rows: Sequence[Row], *, processes: int | None = None) -> list[Verdict]:
    """The verdict for each row, in order, on `processes` cores (default: all this process may use)."""
    async with Judges(processes=processes) as judges:
        return await judges.judge(rows)


async def _inline(rows: Sequence[Row]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for chunk in _chunks(rows, _INLINE_CHUNK):
        verdicts += judge_many(chunk)
        await asyncio.sleep(0)
    return verdicts


def _chunks(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def pool(processes: int, *, nice: int = 10) -> ProcessPoolExecutor:
    """So many workers for what is busy: started fresh, and gone when their parent is.

    Args:
        nice: how far they stand back behind others. Proving may take a moment longer, while requests that leave late
            cost a piece of the allowed rate for good.
    """
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_settle, initargs=(nice,))


def _settle(nice: int) -> None:
    """In the worker: leave Ctrl-C to the parent, and leave with the parent even when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(nice)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A worker holds both ends of its queue, so it would wait for ever for a parent that was killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
