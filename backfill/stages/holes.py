"""Stretches that are not covered, and stretches that are suspiciously empty. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backfill.tracks.track import Window

HOUR = 3600
AROUND_H = 24
"""Hours before a silence, and behind it, by which is judged what it should have held."""
MANY = 50
"""Rows an hour, on the average around it, that make an hour without any suspicious."""


def between(stretches: Iterable[Sequence[int | str]]) -> list[Window]:
    """What lies between stretches and in none of them. They are sorted; each is half-open."""
    found: list[Window] = []
    end: int | None = None
    for low, high in stretches:
        if end is not None and int(low) > end:
            found.append(Window(end, int(low)))
        end = int(high) if end is None else max(end, int(high))
    return found


def outside(stretches: Iterable[Sequence[int | str]], whole: Window) -> list[Window]:
    """What of a window is in none of some stretches. They are sorted, half-open, and lie inside of it."""
    edges = [(whole.start, whole.start), *stretches, (whole.end, whole.end)]
    return between(edges)


def silences(hours: Mapping[int, int], *, many: float = MANY) -> list[tuple[Window, int]]:
    """Stretches of hours without a row between hours with many, each with the rows that were to be expected.

    Expected is, for each hour, the mean of the day before the silence and the day behind it.

    Args:
        hours: rows by the second at which their hour begins; hours without rows are absent.
    """
    found = []
    for window in between((hour, hour + HOUR) for hour in sorted(hours)):
        hourly = sum(hours.get(hour, 0) for hour in _around(window)) / (2 * AROUND_H)
        if hourly > many:
            found.append((window, round(hourly * (window.end - window.start) / HOUR)))
    return found


def _around(window: Window) -> Iterable[int]:
    yield from range(window.start - AROUND_H * HOUR, window.start, HOUR)
    yield from range(window.end, window.end + AROUND_H * HOUR, HOUR)


def blocks_within(before: tuple[int, int], behind: tuple[int, int], window: Window) -> Window:
    """The blocks of a stretch of time, as if they came evenly between two that are known; (number, second) each."""
    (first, start), (last, end) = before, behind
    pace = (last - first) / max(1, end - start)
    return Window(first + round((window.start - start) * pace), first + round((window.end - start) * pace))
