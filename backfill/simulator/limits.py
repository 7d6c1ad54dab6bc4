"""Sliding request windows as an upstream enforces them, and their exact measurement afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Limit(NamedTuple):
    """At most `requests` in any half-open window of `seconds`."""

    requests: int
    seconds: float


DOME_LIMITS = (Limit(10, 1), Limit(100, 10))
"""The last published free tier."""
GOLDSKY_LIMITS = (Limit(50, 10),)
"""Goldsky's default for public endpoints."""


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Read `10/1,100/10` (requests/seconds, all at once); an empty text or `off` means no limits."""
    if text.strip().lower() in {"", "off", "none"}:
        return ()
    return tuple(_parse(part) for part in text.split(","))


def text_of(limits: Sequence[Limit]) -> str:
    """Limits as `parse_limits` reads them."""
    return ",".join(f"{limit.requests}/{limit.seconds:g}" for limit in limits) or "off"


def _parse(part: str) -> Limit:
    requests, _, seconds = part.partition("/")
    try:
        limit = Limit(int(requests), float(seconds))
    except ValueError:
        raise ValueError(f"{part!r} is not a limit, expected REQUESTS/SECONDS, such as 10/1") from None
    if limit.requests < 1 or limit.seconds <= 0:
        raise ValueError(f"{part!r} is not a limit: both numbers must be positive")
    return limit


class SlidingWindows:
    """All limits of one upstream at once.

    Only admitted requests occupy a window: a client that keeps knocking is refused, but not locked out for good.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.limits = tuple(limits)
        self._admitted: deque[float] = deque()
        self._horizon = max((limit.seconds for limit in self.limits), default=0.0)

    def admit(self, at: float) -> bool:
        """Whether a request arriving at `at` (seconds, never decreasing) is within every limit; if so it counts."""
        self._forget(at)
        if any(self._used(limit, at) >= limit.requests for limit in self.limits):
            return False
        self._admitted.append(at)
        return True

    def longest(self, at: float) -> tuple[Limit, int, float]:
        """The longest window: its limit, what is left of it, and the seconds until its oldest request leaves it."""
        limit = max(self.limits, key=lambda each: each.seconds)
        used = self._used(limit, at)
        reset_in = self._admitted[-used] + limit.seconds - at if used else 0.0
        return limit, max(0, limit.requests - used), reset_in

    def wait(self, at: float) -> float:
        """Seconds after `at` until one more request is within every limit."""
        return max((self._wait(limit, at) for limit in self.limits), default=0.0)

    def _wait(self, limit: Limit, at: float) -> float:
        used = self._used(limit, at)
        if used < limit.requests:
            return 0.0
        blocking = self._admitted[len(self._admitted) - limit.requests]
        return max(0.0, blocking + limit.seconds - at)

    def _used(self, limit: Limit, at: float) -> int:
        """Admitted requests in (at - seconds, at]; few enough to count from the young end."""
        edge = at - limit.seconds
        count = 0
        for stamp in reversed(self._admitted):
            if stamp <= edge:
                break
            count += 1
        return count

    def _forget(self, at: float) -> None:
        while self._admitted and self._admitted[0] <= at - self._horizon:
            self._admitted.popleft()


def busiest(stamps: Sequence[float], seconds: float) -> int:
    """Largest number of the (ascending) stamps in any half-open window of this length: exact, not sampled.

    A fullest window can be slid until it starts at a stamp, so only those starts need looking at.
    """
    best = first = 0
    for last, stamp in enumerate(stamps):
        while stamp - stamps[first] >= seconds:
            first += 1
        best = max(best, last - first + 1)
    return best


def utilisation(stamps: Sequence[float], limits: Sequence[Limit], *, cut_idle: bool = True) -> float | None:
    """Share of the tightest limit's steady rate that ascending arrivals used; None where there is no limit.

    For a busy stretch of n arrivals over D seconds the steady rate p = min(requests/seconds) allows p·D after the
    first one, so the share is Σ(n-1) / (p·ΣD), at most 1. A stretch is cut where nothing arrived for longer than the
    longest window (an idle client is not a wasteful one); with `cut_idle=False` the whole span is one stretch.
    Arrivals that all fit into a burst have no D to speak of and count as 1.
    """
    if not limits or not stamps:
        return None
    rate = min(limit.requests / limit.seconds for limit in limits)
    gap = max(limit.seconds for limit in limits) if cut_idle else float("inf")
    steps = [b - a for a, b in pairwise(stamps) if b - a <= gap]
    allowed = rate * sum(steps)
    if len(stamps) <= min(limit.requests for limit in limits) or allowed <= 0:
        return 1.0
    return min(1.0, len(steps) / allowed)
