"""Moments as people write them: ISO 8601, unix seconds, or an age such as 24h."""

from __future__ import annotations

import datetime as dt
import re

from backfill.errors import UsageError

AGE = re.compile(r"(\d+)\s*(s|m|h|d|w)")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
SECONDS = re.compile(r"\d{9,11}")


def read_moment(text: str, now: float, option: str = "--since") -> int:
    """Unix seconds of a moment; one without a zone is UTC, an age counts back from `now`.

    Raises:
        UsageError: it is none of the three.
    """
    plain = text.strip()
    if SECONDS.fullmatch(plain):
        return int(plain)
    if age := AGE.fullmatch(plain):
        return int(now) - int(age[1]) * UNITS[age[2]]
    try:
        found = dt.datetime.fromisoformat(plain)
    except ValueError:
        raise UsageError(
            f"{option} {text!r}: expected ISO 8601 (2026-04-28T11:00Z), unix seconds, or an age (24h, 7d)"
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp())
