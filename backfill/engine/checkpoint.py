"""A track's progress, to and from `checkpoints/<track>.json`.

The file is replaced whole; the one before stays as `<track>.json.prev`. A file that cannot be read falls back to that
one, and says so; a file of another version or another plan is refused, because guessing would lose or repeat work.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from backfill import files
from backfill.engine.progress import Progress
from backfill.errors import StateError

VERSION = 1
Warn = Callable[[str], object]


def live_path(folder: Path, track: str) -> Path:
    """Where a track tells what it is doing."""
    return folder / f"{track}.live.json"


def lock_path(folder: Path, track: str) -> Path:
    """The lock that the process which works on a track holds."""
    return folder / f"{track}.lock"


class TornError(ValueError):
    """The file is there but is not a checkpoint."""


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """The checkpoint of one track in one folder."""

    folder: Path
    track: str

    @property
    def path(self) -> Path:
        """Where the current checkpoint stands."""
        return self.folder / f"{self.track}.json"

    @property
    def previous(self) -> Path:
        """Where the one before stands."""
        return self.folder / f"{self.track}.json.prev"

    def load(self, plan_id: str, warn: Warn) -> Progress:
        """The progress made on this plan; fresh when there is none yet. `warn` hears of a fallback.

        Raises:
            StateError: another version or plan, or neither file can be read.
        """

        def fell_back(text: str) -> None:
            warn(text)
            self._set_aside()

        return self.progress_of(self.read(fell_back), plan_id)

    def peek(self, plan_id: str, warn: Warn) -> Progress:
        """As `load`, but it moves no file: for those who look on while somebody else works.

        Raises:
            StateError: as `load`.
        """
        return self.progress_of(self.read(warn), plan_id)

    def progress_of(self, document: dict[str, Any] | None, plan_id: str) -> Progress:
        """What `read` has returned as progress on this plan.

        Raises:
            StateError: it is of another version or plan.
        """
        if document is None:
            return Progress()
        self._check(document, plan_id)
        known = document.progress if isinstance(document, Document) else None
        return known or Progress.from_document(document)

    def read(self, warn: Warn) -> dict[str, Any] | None:
        """The newest readable document, None when the track has none.

        Raises:
            StateError: there are files, and none of them can be read.
        """
        if not self.path.exists() and not self.previous.exists():
            return None
        try:
            return _parse(self.path, self.track)
        except (TornError, FileNotFoundError) as torn:
            return self._fall_back(torn, warn)

    def _set_aside(self) -> None:
        """Move an unreadable current file away, or the next save would keep it as the good previous one."""
        if self.path.exists():
            self.path.rename(self.path.with_name(f"{self.path.name}.torn"))

    def _fall_back(self, torn: Exception, warn: Warn) -> dict[str, Any]:
        try:
            document = _parse(self.previous, self.track)
        except (TornError, FileNotFoundError):
            raise StateError(
                f"neither {self.path.name} nor {self.previous.name} can be read: {_reason(torn)}",
                where=str(self.folder),
                remedy=f"backfill checkpoint reset {self.track} starts this track afresh; rows that are in stay in",
            ) from None
        warn(f"{self.path} cannot be read ({_reason(torn)}); going on from {self.previous.name}")
        return document

    def _check(self, document: dict[str, Any], plan_id: str) -> None:
        remedy = f"backfill checkpoint reset {self.track} discards it, or bring the plan back that it belongs to"
        if document["version"] != VERSION:
            raise StateError(
                f"checkpoint version {document['version']}, this program writes {VERSION}",
                where=str(self.path),
                remedy=remedy,
            )
        if document["plan_id"] != plan_id:
            raise StateError(
                f"belongs to plan {document['plan_id']}, the current plan is {plan_id}",
                where=str(self.path),
                remedy=remedy,
            )

    def save(self, plan_id: str, units_total: int, progress: dict[str, Any]) -> None:
        """Replace the checkpoint; durable when this returns.

        Raises:
            OSError: the disk is full, or the folder is not ours to write.
        """
        document = {
            "version": VERSION,
            "track": self.track,
            "plan_id": plan_id,
            "units_total": units_total,
            **progress,
            "updated_at": now_text(),
        }
        content = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
        files.replace(self.path, content, keep=self.previous)

    def discard(self) -> None:
        """Forget the progress; the track starts afresh."""
        self.path.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)


def now_text() -> str:
    """The current time as ISO 8601 in UTC, to the second."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _reason(error: Exception) -> str:
    return "it is missing" if isinstance(error, FileNotFoundError) else str(error)


class Document(dict[str, Any]):
    """The content of a checkpoint file; `progress` is what it was found to hold when it was checked."""

    progress: Progress | None = None


def _parse(path: Path, track: str) -> Document:
    raw = path.read_bytes()
    try:
        document = Document(orjson.loads(raw))
        if document["track"] != track or not isinstance(document["units_total"], int):
            raise TornError("it is not this track's")
        if document["version"] == VERSION:
            document.progress = Progress.from_document(document)
        str(document["plan_id"])
    except TornError:
        raise
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TornError(f"{type(error).__name__}: {error}") from None
    return document
