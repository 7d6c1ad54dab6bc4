"""What has become of each unit of a track; pure. Done is a set over an immutable plan, never a counter.

A unit is in one of these states: pending, open (some pages are in), done, failed (with a reason), moved (given to
another track because this one's upstream is unusable).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

from backfill.engine.model import Counters, Failure, Page
from backfill.engine.ranges import Ranges


class Progress:
    """The ledger of one track. Nothing here waits, so nothing can come between a fact and its record."""

    def __init__(self) -> None:
        self.done = Ranges()
        self.moved = Ranges()
        self.open: dict[int, str] = {}
        self.failed: dict[int, Failure] = {}
        self.counters = Counters()
        self.version = 0

    def advance(self, unit: int, page: Page, *, repeat: bool = False) -> None:
        """The rows of `page` are durable: move the unit on. A page of a unit that is done counts for nothing.

        Items of a `repeat` were counted as processed before.
        """
        self.version += 1
        if unit in self.done:
            return
        self.counters.processed += 0 if repeat else page.asked
        self.counters.inserted += len(page.lines)
        self.counters.quarantined += len(page.letters)
        if page.next is None:
            self.open.pop(unit, None)
            self.failed.pop(unit, None)
            self.done.add(unit)
        else:
            self.open[unit] = page.next

    def turn(self, unit: int, cursor: str) -> None:
        """Go on with the unit at another cursor (a smaller page, say), without rows."""
        self.version += 1
        self.open[unit] = cursor

    def fail(self, unit: int, failure: Failure) -> None:
        """The unit is given up for now; its cursor stays for `retry-failed`."""
        self.version += 1
        self.failed[unit] = failure

    def retry_failed(self) -> int:
        """Make every failed unit pending again; how many there were."""
        count = len(self.failed)
        self.failed.clear()
        self.version += 1
        return count

    def move(self, first: int, units: int) -> int:
        """Mark what is not done of [first, first + units) as moved to another track; how many units that is."""
        self.version += 1
        left = [number for number in self.done.missing(first, first + units) if number not in self.moved]
        for number in left:
            self.moved.add(number)
            self.failed.pop(number, None)
            self.open.pop(number, None)
        return len(left)

    def reclaim(self) -> int:
        """Take back what was moved away; how many units that is."""
        count = len(self.moved)
        self.moved = Ranges()
        self.version += 1
        return count

    def pending(self, first: int, units: int) -> Iterator[int]:
        """The units of [first, first + units) that still want work, in order."""
        for number in self.done.missing(first, first + units):
            if number not in self.moved and number not in self.failed:
                yield number

    def settled(self, first: int, units: int) -> bool:
        """Whether no unit of the stretch wants work."""
        return next(self.pending(first, units), None) is None

    def document(self) -> dict[str, Any]:
        """The part of the checkpoint file that is progress."""
        return {
            "done": self.done.pairs(),
            "moved": self.moved.pairs(),
            "open": {str(number): {"cursor": cursor} for number, cursor in sorted(self.open.items())},
            "failed": {
                str(number): {"class": f.cls, "error": f.error, "attempts": f.attempts}
                for number, f in sorted(self.failed.items())
            },
            "counters": asdict(self.counters),
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Progress:
        """Read what `document` wrote.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: the document is not one of ours.
        """
        progress = cls()
        progress.done = Ranges(map(_pair, document["done"]))
        progress.moved = Ranges(map(_pair, document.get("moved", ())))
        progress.open = {int(number): str(entry["cursor"]) for number, entry in document["open"].items()}
        progress.failed = {
            int(number): Failure(str(entry["class"]), str(entry["error"]), int(entry["attempts"]))
            for number, entry in document["failed"].items()
        }
        known = {field.name for field in fields(Counters)}
        progress.counters = Counters(**{key: int(value) for key, value in document["counters"].items() if key in known})
        return progress


def _pair(entry: Any) -> tuple[int, int]:
    start, end = entry
    if type(start) is not int or type(end) is not int:
        raise TypeError(f"{entry!r} is not a range of whole numbers")
    return start, end
