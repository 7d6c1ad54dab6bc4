"""Rates over the last half minute: they forget a stall soon after it, and never remember a burst for long."""

from __future__ import annotations

from collections import deque

SPAN_S = 30.0


class Meter:
    """How fast a counter grows; times are handed in."""

    def __init__(self, span_s: float = SPAN_S) -> None:
        self._span, self._marks = span_s, deque[tuple[float, int]]()

    def mark(self, now: float, value: int) -> None:
        """The counter stands at `value`."""
        self._marks.append((now, value))
        while len(self._marks) > 2 and now - self._marks[1][0] >= self._span:
            self._marks.popleft()

    def rate(self) -> float:
        """Items a second over the span; 0 when nothing is known yet."""
        if len(self._marks) < 2:
            return 0.0
        (then, before), (now, value) = self._marks[0], self._marks[-1]
        return (value - before) / (now - then) if now > then else 0.0

    def eta_s(self, left: int) -> float | None:
        """Seconds until `left` more items are through at this rate; None when it does not move."""
        rate = self.rate()
        return left / rate if rate > 0 else (0.0 if left <= 0 else None)
