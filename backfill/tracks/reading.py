"""One answer on its way to be a page: the document taken apart, rows converted, refused, told apart from another's.

A row that is not what it was becomes a letter and the rest goes on. When more rows belong to another question than to
ours, the whole answer does, and is unreadable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from backfill.engine.model import DeadLetter, Page, Unit
from backfill.errors import Unreadable
from backfill.tracks.track import Window, read_item
from backfill.tracks.values import Drift, Row, line

Made = tuple[str, Row]
"""A key and a row of ours: equal keys are one row, and an empty key is equal to none."""


class Foreign(ValueError):
    """A row that was not asked for."""

    def __init__(self, what: str = "was not asked for") -> None:
        super().__init__(what)


class Reading:
    """The rows of one answer. `convert` functions make our rows from one of theirs, or raise Drift or Foreign."""

    def __init__(self, name: str, unit: Unit, body: bytes) -> None:
        self.name, self.unit, self.body = name, unit, body
        self.letters: list[DeadLetter] = []
        self.ours = self.foreign = 0
        self._lines: list[bytes] = []
        self._keys: dict[str, bytes] = {}

    def take(self, rows: Iterable[Any], convert: Callable[[Row], Iterable[Made]]) -> None:
        """Convert rows; those that cannot be become letters."""
        for row in rows:
            try:
                if not isinstance(row, dict):
                    raise Drift("(row)", "an object", row)
                made = list(convert(row))
            except Foreign as error:
                self.foreign += 1
                self.refuse(row, "contract", str(error))
            except Drift as error:
                self.refuse(row, "contract", str(error))
            else:
                self.ours += 1
                self._add(row, made)

    def refuse(self, row: Any, cls: str, reason: str) -> None:
        """Keep a row out, with the reason."""
        raw = orjson.dumps(row).decode()
        self.letters.append(DeadLetter(self.name, self.unit.number, cls, reason, raw))

    def page(self, asked: int, following: str | None, asides: Mapping[str, Sequence[bytes]] | None = None) -> Page:
        """The page.

        Raises:
            Unreadable: most of the answer belongs to another question.
        """
        if self.foreign > self.ours:
            raise Unreadable("the answer to another question", raw=self.body, where=self.name)
        lines = [*self._keys.values(), *self._lines]
        return Page(lines, asked, tuple(self.letters), following, asides or {})

    def _add(self, row: Row, made: Sequence[Made]) -> None:
        for key, ours in made:
            text = line({**ours, "unit": self.unit.number})
            if not key:
                self._lines.append(text)
            elif self._keys.setdefault(key, text) != text:
                self.refuse(row, "conflict", f"{key} is answered twice, differently")


def rows_at(name: str, body: bytes, found: Any, *path: str) -> list[Any]:
    """The list at a path in a document.

    Raises:
        Unreadable: there is none.
    """
    for field in path:
        found = found.get(field) if isinstance(found, dict) else None
    if not isinstance(found, list):
        raise Unreadable(f"no list at {'.'.join(path) or 'the top'}", raw=body, where=name)
    return found


def only(unit: Unit) -> str:
    """The one item of a unit whose track reads one item at a time, page by page.

    Raises:
        ValueError: the unit has another number of them; it was planned for another track.
    """
    (item,) = unit.items
    return item


def stretch(unit: Unit) -> Window:
    """The window of the one item of a unit.

    Raises:
        ValueError: it has none.
    """
    window = read_item(only(unit)).window
    if window is None:
        raise ValueError(f"unit {unit.number} has no window: {unit.items}")
    return window
