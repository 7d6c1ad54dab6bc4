"""When to try again, how long to wait before, and when an upstream as a whole is away.

tenacity runs the attempts; here are the parts it is given. Waits are full jitter: uniform between 0 and a bound that
doubles, so that workers that failed together do not return together.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState, wait_random_exponential
from tenacity.wait import wait_base

from backfill.errors import Throttled, Unavailable

MAX_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient the door is. Times in seconds; `attempts` are those that were the request's own fault."""

    attempts: int = 10
    base_s: float = 0.25
    cap_s: float = 20.0
    open_after: int = 8
    missing_limit: int = 3
    probe_cap_s: float = 30.0
    retired_after_s: float = 20.0
    budget: float = 50.0
    budget_share: float = 0.5


class FullJitter(wait_base):
    """Full jitter, but never less than what the upstream asked for."""

    def __init__(self, policy: Policy) -> None:
        self._jitter = wait_random_exponential(multiplier=policy.base_s, max=policy.cap_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.wait_s if isinstance(error, Throttled | Unavailable) else None
        return max(asked or 0.0, float(self._jitter(retry_state)))


class Budget:
    """Retries may only be a share of the successes (plus a reserve): a failing upstream is not hammered."""

    def __init__(self, policy: Policy) -> None:
        self._most, self._share, self.left = policy.budget, policy.budget_share, policy.budget

    def earned(self) -> None:
        """A request succeeded."""
        self.left = min(self._most, self.left + self._share)

    def spend(self) -> bool:
        """Take one retry out; False when none is left."""
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def refill(self) -> None:
        """The upstream has proved to be back."""
        self.left = max(self.left, self._most / 4)


def retry_after(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Seconds that the headers ask us to wait: Retry-After as seconds or as a date, else x-ratelimit-reset.

    A date is read against the answer's own Date, so that a wrong clock here does no harm. None when nothing usable is
    said; never negative, at most an hour.
    """
    said = headers.get("Retry-After", "").strip()
    here = _date(headers.get("Date", "")) or now
    if said:
        seconds = _seconds(said)
        if seconds is None and (until := _date(said)) is not None:
            seconds = (until - here).total_seconds()
    else:
        reset = _seconds(headers.get("x-ratelimit-reset", ""))
        seconds = None if reset is None else reset - here.timestamp()
    return None if seconds is None else min(MAX_WAIT_S, max(0.0, seconds))


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and value >= 0 else None


def _date(text: str) -> dt.datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


def spread(seconds: float) -> float:
    """A wait that all workers share, with a little jitter on top, so that other clients do not return with us."""
    return seconds + random.uniform(0, min(1.0, seconds / 10 + 0.05))
