"""Units packed by how much there is to fetch: small keys share a request, a giant one is cut into windows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from backfill.tracks.track import Window, item

GIANT = 20
"""A key with more than so many full requests' worth of rows is cut, so that several workers can read it."""


class Load(NamedTuple):
    """A key, the window in which it is to be read, and the rows expected there."""

    key: str
    window: Window
    rows: int


class Packing(NamedTuple):
    """Items in order, and how many of them each unit has."""

    items: list[str]
    sizes: list[int]


def packed(loads: Iterable[Load], *, most_keys: int, most_rows: int) -> Packing:
    """Units of at most `most_keys` keys of one window that together have about `most_rows` rows, giants cut.

    Keys are taken from the largest to the smallest, so that those of one unit are alike; the largest units come first,
    so that none of them is still under way when everything else is done.
    """
    items: list[str] = []
    sizes: list[int] = []
    windows: dict[Window, list[Load]] = {}
    for load in loads:
        windows.setdefault(load.window, []).append(load)
    for _, group in sorted(windows.items()):
        for unit in _units(group, most_keys, most_rows):
            items += [item(load.key, load.window) for load in unit]
            sizes.append(len(unit))
    return Packing(items, sizes)


def _units(group: list[Load], most_keys: int, most_rows: int) -> Iterable[list[Load]]:
    group.sort(key=lambda load: (-load.rows, load.key))
    unit: list[Load] = []
    rows = 0
    for load in group:
        if load.rows > GIANT * most_rows:
            yield from ([piece] for piece in cut(load, -(-load.rows // (GIANT * most_rows))))
            continue
        if unit and (rows + load.rows > most_rows or len(unit) >= most_keys):
            yield unit
            unit, rows = [], 0
        unit.append(load)
        rows += load.rows
    if unit:
        yield unit


def cut(load: Load, pieces: int) -> list[Load]:
    """The same key in consecutive windows of about equal length."""
    bounds = stretches(load.window, -(-(load.window.end - load.window.start) // pieces))
    return [Load(load.key, window, load.rows // len(bounds)) for window in bounds]


def stretches(window: Window, size: int) -> list[Window]:
    """A window as consecutive ones of at most `size`; none when it is empty."""
    return [Window(at, min(at + size, window.end)) for at in range(window.start, window.end, max(1, size))]


def expected(rows: Mapping[str, int], keys: Sequence[str], window: Window, history: Window) -> list[int]:
    """Rows to be expected in a window, by the rows of all the history: as if they came evenly."""
    share = (window.end - window.start) / max(1, history.end - history.start)
    return [round(rows.get(key, 0) * min(1.0, share)) for key in keys]
