"""Rows that were not let in, with their raw text and the reason: kept in files, listed, replayed.

One JSON lines file a track. An id is the hash of what the letter says, so a page that is parsed again after a crash
leaves the same letters, and reading drops the copies. A row that a later plan is refused too leaves a copy with that
plan's id: the letter is one, and belongs to both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from backfill import files
from backfill.engine.checkpoint import now_text
from backfill.engine.model import DeadLetter


def letter_id(letter: DeadLetter) -> str:
    """A name made of the letter's content."""
    text = "\x00".join((letter.track, str(letter.unit), letter.cls, letter.raw))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letters below a data folder."""

    data_dir: Path

    @property
    def folder(self) -> Path:
        """Where the files stand."""
        return self.data_dir / "dead_letters"

    def append(self, track: str, letters: Sequence[DeadLetter]) -> None:
        """Keep letters; durable when this returns.

        Raises:
            OSError: the disk is full, or the folder is not ours to write.
        """
        lines = (orjson.dumps(_row(letter), option=orjson.OPT_APPEND_NEWLINE) for letter in letters)
        files.append(self.folder / f"{track}.jsonl", b"".join(lines))

    def rows(self, track: str | None = None) -> Iterator[dict[str, Any]]:
        """All letters (of one track), each once, in the order of their files."""
        for path in sorted(self.folder.glob("*.jsonl")):
            if track is None or path.stem == track:
                yield from _unique(path)

    def copies(self, track: str) -> Iterator[dict[str, Any]]:
        """All letters of a track as often as they were kept."""
        yield from _parsed(self.folder / f"{track}.jsonl")

    def count(self, track: str, plan: str | None = None) -> int:
        """How many different letters a track has; of one plan, with those that do not say theirs."""
        tally = Tally(self, track, plan or "")
        return tally.total if plan is None else tally.of_plan

    def remove(self, track: str, ids: Iterable[str]) -> None:
        """Take letters out that were replayed. The caller holds the track, so that no letter comes in meanwhile."""
        gone = set(ids)
        path = self.folder / f"{track}.jsonl"
        kept = [row for row in _parsed(path) if row["id"] not in gone]
        files.replace(path, b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in kept))


class Tally:
    """The letters of a track, counted as they come: all, and those of one plan or of none that is known."""

    def __init__(self, letters: DeadLetters, track: str, plan: str) -> None:
        self._plan = plan
        self._all: set[str] = set()
        self._ours: set[str] = set()
        for row in letters.copies(track):
            self._note(row["id"], row.get("plan", ""))

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """These were kept."""
        for letter in letters:
            self._note(letter_id(letter), letter.plan)

    @property
    def total(self) -> int:
        """Different letters."""
        return len(self._all)

    @property
    def of_plan(self) -> int:
        """Different letters of the plan, with those that do not say theirs."""
        return len(self._ours)

    def _note(self, identity: str, plan: str) -> None:
        self._all.add(identity)
        if plan in ("", self._plan):
            self._ours.add(identity)


def _row(letter: DeadLetter) -> dict[str, Any]:
    row = {
        "id": letter_id(letter),
        "track": letter.track,
        "unit": letter.unit,
        "class": letter.cls,
        "reason": letter.reason,
        "raw": letter.raw,
        "at": now_text(),
    }
    return {**row, "plan": letter.plan} if letter.plan else row


def _unique(path: Path) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for row in _parsed(path):
        if row["id"] not in seen:
            seen.add(row["id"])
            yield row


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as handle:
        for line in handle:
            # A line torn by a crash was never acknowledged: its page is parsed again.
            if (row := _try(orjson.loads, line)) is not None:
                yield row


def _try(load: Callable[[bytes], Any], line: bytes) -> dict[str, Any] | None:
    try:
        row = load(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and "id" in row else None
