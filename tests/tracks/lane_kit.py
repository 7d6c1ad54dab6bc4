"""What the tests of the lanes share: recorded answers, and an engine in ten lines that reads a unit to its end."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.engine.model import DeadLetter, Lane, Page, Request, Unit
from backfill.errors import PageTooLarge, Unreadable

SHARED = Path(__file__).resolve().parents[3] / "shared"
MOST_PAGES = 3000
ATTEMPTS = 4


def recorded(name: str) -> bytes:
    """A recorded file (a sample, or real data), unpacked; the test is skipped, and says so, where it is missing."""
    for folder in (SHARED / "reference" / "samples", SHARED / "data" / "real"):
        path = folder / name
        if path.exists():
            body = path.read_bytes()
            return gzip.decompress(body) if name.endswith(".gz") else body
    pytest.skip(f"NOT CHECKED AGAINST THE RECORDING {name}: it is not here")


def sample(name: str) -> Any:
    """A recorded JSON document."""
    return orjson.loads(recorded(name))


def sample_lines(name: str) -> list[Any]:
    """Recorded JSON documents, one a line."""
    return [orjson.loads(line) for line in recorded(name).splitlines() if line.strip()]


def rows(page: Page) -> list[dict[str, Any]]:
    """The lines of a page as objects."""
    return [orjson.loads(line) for line in page.lines]


def reasons(page: Page) -> list[str]:
    """Why rows were refused."""
    return [letter.reason for letter in page.letters]


@dataclass
class Walked:
    """What reading a unit gave."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    asides: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    asked: int = 0


def walk(lane: Lane, unit: Unit, answer: Callable[[Request], bytes]) -> Walked:
    """Read a unit as the engine does: smaller where told so, again (a few times) where unreadable."""
    walked, cursor, unreadable = Walked(), None, 0
    for _ in range(MOST_PAGES):
        request = lane.request(unit, cursor)
        walked.requests.append(request)
        try:
            page = lane.parse(unit, cursor, answer(request))
        except PageTooLarge:
            cursor = lane.smaller(unit, cursor)
            assert cursor is not None, "it cannot be smaller"
            continue
        except Unreadable:
            unreadable += 1
            if unreadable >= ATTEMPTS:
                raise
            continue
        unreadable = 0
        walked.rows += rows(page)
        walked.letters += page.letters
        for table, lines in page.asides.items():
            walked.asides.setdefault(table, []).extend(map(orjson.loads, lines))
        walked.asked += page.asked
        if page.next is None:
            return walked
        assert page.next != cursor, "the cursor does not advance"
        cursor = page.next
    raise AssertionError("the unit does not end")
