"""One track at work: its plan, its ledger, and the files that tell others about it.

`<track>.json` is the checkpoint (durable); `<track>.live.json` is for `status` (fresh, not durable).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from backfill import files
from backfill.engine.checkpoint import CheckpointFile, live_path, now_text
from backfill.engine.checkpoint import lock_path as lock_path
from backfill.engine.crew import Crew
from backfill.engine.meter import Meter
from backfill.engine.plan import TrackPlan
from backfill.engine.progress import Progress
from backfill.log import Logger

SAVE_EVERY_S = 0.25
SHOW_EVERY_S = 1.0
NOTICE_S = 30.0


@dataclass(slots=True)
class Desk:
    """The state of one track in this process.

    `one_row_an_item`: each item is answered with one row, and coverage is rows by items; else settled by all items.
    `letters` are all that the track has, `refused` those of this plan.
    """

    name: str
    plan: TrackPlan
    progress: Progress
    checkpoint: CheckpointFile
    log: Logger
    run_id: str
    workers: int
    state: str = "running"
    last_error: str | None = None
    letters: int = 0
    refused: int = 0
    one_row_an_item: bool = True
    crew: Crew | None = None
    cooling: Callable[[], bool] = lambda: False
    counted: Callable[[], tuple[int, int]] = lambda: (0, 0)
    meter: Meter = field(default_factory=Meter)
    started: float = field(default_factory=time.monotonic)
    _saved: int = -1
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _base: tuple[int, int] = (0, 0)
    _told: float = float("-inf")

    def __post_init__(self) -> None:
        self._base = (self.progress.counters.retries, self.progress.counters.throttled)

    def figures(self) -> dict[str, Any]:
        """What `progress` lines and `status` carry; times in seconds, rate in items a second."""
        counters, total = self.progress.counters, self.plan.tokens_total
        self.meter.mark(time.monotonic(), counters.processed)
        eta = self.meter.eta_s(total - counters.processed)
        return {
            "processed": counters.processed,
            "total": total,
            "inserted": counters.inserted,
            "coverage": self._coverage(counters.inserted if self.one_row_an_item else counters.processed, total),
            "rate": round(self.meter.rate(), 2),
            "eta_s": None if eta is None else round(eta, 1),
            "workers_active": self.crew.active if self.crew else 0,
            "workers_total": self.workers,
        }

    @staticmethod
    def _coverage(part: int, total: int) -> float:
        return round(part / total, 6) if total else 1.0

    def shown_state(self) -> str:
        """One of the states of the contract."""
        if self.state != "running" or self.crew is None:
            return self.state
        if self.crew.stalled():
            return "stalled"
        return "cooling" if self.cooling() else "running"

    def document(self) -> dict[str, Any]:
        """The live file's content; the keys are those of `status`."""
        counters = self.progress.counters
        return {
            "run_id": self.run_id,
            "pid": os.getpid(),
            "track": self.name,
            "state": self.shown_state(),
            "units_total": self.plan.units_total,
            "units_done": len(self.progress.done) + len(self.progress.moved),
            **self.figures(),
            "stalled": self.crew.stalled() if self.crew else [],
            "failed_units": len(self.progress.failed),
            "dead_letters": self.letters,
            "refused": self.refused,
            "retries": counters.retries,
            "throttled": counters.throttled,
            "last_error": self.last_error,
            "updated_at": now_text(),
        }

    async def keep_saved(self) -> None:
        """Save the ledger soon after it moved, for ever."""
        while True:
            await self.save()
            await asyncio.sleep(SAVE_EVERY_S)

    async def save(self) -> bool:
        """Save the ledger if it has moved; False when the disk refuses. The rows are safe either way."""
        self._count()
        version = self.progress.version
        if version == self._saved:
            return True
        document, units = self.progress.document(), self.plan.units_total
        try:
            await asyncio.to_thread(self._write, version, units, document)
        except OSError as error:
            self._complain(error)
            return False
        return True

    def _write(self, version: int, units: int, document: dict[str, Any]) -> None:
        """In a thread. One that outlives its cancelled waiter may not overwrite what a later one has saved."""
        with self._writing:
            if version > self._saved:
                self.checkpoint.save(self.plan.plan_id, units, document)
                self._saved = version

    def _count(self) -> None:
        retries, throttled = self.counted()
        before, counters = self._base, self.progress.counters
        both = (before[0] + retries, before[1] + throttled)
        if both != (counters.retries, counters.throttled):
            counters.retries, counters.throttled = both
            self.progress.version += 1

    def _complain(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._told > NOTICE_S:
            self._told = now
            self.log.warning("checkpoint_not_saved", error=str(error), waits="until the disk takes it")

    async def keep_shown(self) -> None:
        """Refresh the live file, for ever."""
        while True:
            self.show()
            await asyncio.sleep(SHOW_EVERY_S)

    def show(self) -> None:
        """Refresh the live file; a full disk is the checkpoint's to report."""
        try:
            path = live_path(self.checkpoint.folder, self.name)
            files.replace(path, orjson.dumps(self.document(), option=orjson.OPT_APPEND_NEWLINE), durable=False)
        except OSError as error:
            self._complain(error)

    async def keep_told(self, interval_s: float) -> None:
        """Write a progress line every `interval_s` seconds, for ever."""
        while True:
            await asyncio.sleep(interval_s)
            self.log.info("progress", **self.figures())

    def completed(self) -> None:
        """The last line of a track's run."""
        runtime = round(time.monotonic() - self.started, 3)
        self.log.info("track_complete", **self.figures(), failed_units=len(self.progress.failed), runtime_s=runtime)
