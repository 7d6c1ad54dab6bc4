"""What every track is doing, read from the files of the checkpoint folder: during a run, after it, after a crash.

A held lock is a living process, so that a live file which says "running" is believed only beside one. Otherwise the
checkpoint decides: it is durable, the live file is not. Nothing here writes, waits, or needs the warehouse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from backfill import files
from backfill.engine.checkpoint import CheckpointFile, live_path, lock_path
from backfill.engine.deadletters import DeadLetters
from backfill.engine.model import Segment
from backfill.engine.plan import SHARED, Plan, PlanBook
from backfill.engine.progress import Progress
from backfill.errors import StateError

MERGE = "merge"
WORKING = ("running", "cooling", "stalled")
SILENT_S = 20.0
"""A process that holds its track but has not written its live file (which it does every second) for so long hangs."""

KEYS = (
    "track",
    "state",
    "units_total",
    "units_done",
    "processed",
    "total",
    "inserted",
    "coverage",
    "rate",
    "eta_s",
    "workers_active",
    "workers_total",
    "stalled",
    "failed_units",
    "dead_letters",
    "retries",
    "throttled",
    "last_error",
    "updated_at",
)
"""What a track's entry in `status` has."""

Warn = Callable[[str], object]
Row = dict[str, Any]


@dataclass(slots=True)
class Reader:
    """Assembles the status from a checkpoint folder.

    `known` are the tracks that share a plan and always have a row; `more` are those with plans of their own, which have
    one as soon as they were planned. `warn` hears of files that had to be passed over.
    """

    folder: Path
    data_dir: Path
    known: Sequence[str]
    warn: Warn
    clock: Callable[[], float] = time.time
    more: Sequence[str] = ()
    _plans: dict[str, Plan | None] = field(default_factory=dict)
    _run: Row = field(default_factory=dict)

    def document(self) -> Row:
        """The whole status; the keys are the contract's."""
        trouble: dict[str, str] = {}
        self._run = _json(self.folder / "run.json")
        names = self._plans_of(trouble)
        holders = {name: holder(self.folder, name) for name in (*names, MERGE)}
        rows = [self._row(name, holders[name], trouble.get(name)) for name in names]
        return {**self._headline(holders, rows), "tracks": rows}

    def _plans_of(self, trouble: dict[str, str]) -> list[str]:
        """Read the plan of every track that is worth a row; the names of those tracks."""
        shared = self._read_plan(PlanBook(self.folder), trouble)
        names = list(dict.fromkeys((*(shared.shares if shared else ()), *self.known)))
        self._plans = dict.fromkeys(names, shared)
        if (told := trouble.pop(SHARED, None)) is not None:
            trouble.update(dict.fromkeys(names, told))
        for name in self.more:
            book = PlanBook(self.folder, name)
            if book.header.exists():
                self._plans[name] = self._read_plan(book, trouble)
        return list(self._plans)

    def _read_plan(self, book: PlanBook, trouble: dict[str, str]) -> Plan | None:
        """Read the header of a plan; what is wrong with it is noted under its name."""
        try:
            return book.current()
        except StateError as error:
            trouble[book.name] = str(error)
            return None

    def _headline(self, holders: dict[str, str | None], rows: list[Row]) -> Row:
        pid = str(self._run.get("pid"))
        alive = [owner for owner in holders.values() if owner is not None]
        state, run_id, phase = overall(rows), self._run.get("run_id"), self._run.get("phase")
        if holders[MERGE] is not None or pid in alive:
            state, phase = (state if state in WORKING else "running"), phase if pid in alive else MERGE
        elif state in WORKING:
            phase = phase if phase not in (None, "ended") else SHARED
        elif phase not in (None, "ended") and state not in ("done", "idle"):
            state = "interrupted"
        return {"run_id": run_id, "state": state, "phase": phase}

    def _row(self, name: str, owner: str | None, trouble: str | None) -> Row:
        if trouble:
            return self._broken(name, trouble)
        live = _json(live_path(self.folder, name))
        if owner is not None and str(live.get("pid")) == owner:
            return self._living(name, live)
        if owner is not None and str(self._run.get("pid")) == owner:
            # A run that has just begun: it has its tracks, but nothing to tell yet.
            return {**self._resting(name, {}), "state": "running"}
        return self._resting(name, live)

    def _living(self, name: str, live: Row) -> Row:
        row = {**_blank(name), **{key: live[key] for key in KEYS if key in live}}
        if row["state"] in WORKING and self._silence(name) > SILENT_S:
            row["state"] = "stalled"
        return row

    def _silence(self, name: str) -> float:
        try:
            return self.clock() - live_path(self.folder, name).stat().st_mtime
        except OSError:
            return 0.0

    def _resting(self, name: str, live: Row) -> Row:
        """A track on which nobody works, by its checkpoint."""
        plan = self._plans.get(name)
        if plan is None or name not in plan.shares:
            return {**_blank(name), "dead_letters": self._letters(name)}
        file = CheckpointFile(self.folder, name)
        segments = self._segments(plan, name)
        try:
            document = file.read(self.warn)
            progress = file.progress_of(document, plan.plan_id)
        except StateError as error:
            return self._broken(name, str(error))
        row = _counted(_blank(name), progress, segments, one_row_an_item=name in self.known)
        row["state"] = _state(progress, segments, started=document is not None or bool(live), said=live.get("state"))
        row["eta_s"] = 0.0 if row["state"] == "done" else None
        row["workers_total"] = live.get("workers_total", 0)
        row["dead_letters"] = self._letters(name)
        row["last_error"] = live.get("last_error") or _first_failure(progress)
        row["updated_at"] = (document or {}).get("updated_at") or live.get("updated_at")
        return row

    def _broken(self, name: str, why: str) -> Row:
        """Files that no run would accept: it has to be said, not guessed at."""
        return {**_blank(name), "state": "failed", "dead_letters": self._letters(name), "last_error": why}

    def _segments(self, plan: Plan, name: str) -> list[Segment]:
        """The headers only: checking the items of a large plan takes a run's time, not ours."""
        found, home = [plan.shares[name]], PlanBook(self.folder).home(plan.plan_id)
        while entry := _json(home / f"{name}.{len(found)}.json"):
            found.append(Segment(**entry))
        return found

    def _letters(self, name: str) -> int:
        """How many dead letters there are; counted anew only when the live file is older than they are."""
        letters = DeadLetters(self.data_dir)
        path = letters.folder / f"{name}.jsonl"
        try:
            written = path.stat().st_mtime_ns
            live = live_path(self.folder, name)
            if live.stat().st_mtime_ns > written and isinstance(count := _json(live).get("dead_letters"), int):
                return count
        except FileNotFoundError:
            if not path.exists():
                return 0
        return letters.count(name)


def holder(folder: Path, name: str) -> str | None:
    """The process id of who holds a track, None when nobody does."""
    path = lock_path(folder, name)
    if not files.is_held(path):
        return None
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def overall(rows: Sequence[Row]) -> str:
    """One state for all tracks: what goes on somewhere goes on; else what is left decides."""
    states = [row["state"] for row in rows]
    if active := [state for state in states if state in WORKING]:
        return "running" if "running" in active else active[0]
    left = {row["state"] for row in rows if row["state"] != "failed" or _left(row)}
    for state in ("interrupted", "failed", "idle"):
        if state in left:
            return state
    return "done" if rows else "idle"


def _left(row: Row) -> bool:
    """Whether a failed track left work behind; the share of an unusable upstream has moved to the other."""
    return bool(row["failed_units"]) or row["units_done"] < row["units_total"] or not row["units_total"]


def _blank(name: str) -> Row:
    """A track of which nothing is known."""
    row: Row = dict.fromkeys(KEYS, 0)
    return row | {
        "track": name,
        "state": "idle",
        "coverage": None,
        "rate": 0.0,
        "eta_s": None,
        "stalled": [],
        "last_error": None,
        "updated_at": None,
    }


def _counted(row: Row, progress: Progress, segments: Sequence[Segment], *, one_row_an_item: bool) -> Row:
    counters, last = progress.counters, segments[-1]
    total = sum(segment.tokens for segment in segments if segment.kind != "recheck")
    answered = counters.inserted if one_row_an_item else counters.processed
    return row | {
        "units_total": last.first_unit + last.units,
        "units_done": len(progress.done) + len(progress.moved),
        "processed": counters.processed,
        "total": total,
        "inserted": counters.inserted,
        "coverage": round(answered / total, 6) if total else 1.0,
        "failed_units": len(progress.failed),
        "retries": counters.retries,
        "throttled": counters.throttled,
    }


def _state(progress: Progress, segments: Sequence[Segment], *, started: bool, said: object) -> str:
    if not started:
        return "idle"
    pending = not progress.settled(0, segments[-1].first_unit + segments[-1].units)
    if said == "failed" and (pending or progress.failed or progress.moved):
        return "failed"
    if pending:
        return "interrupted"
    return "failed" if progress.failed else "done"


def _first_failure(progress: Progress) -> str | None:
    return next((f"unit {number}: {failure.error}" for number, failure in progress.failed.items()), None)


def _json(path: Path) -> Row:
    """A JSON object from a file; empty when there is none (these files are replaced whole, so torn means foreign)."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
