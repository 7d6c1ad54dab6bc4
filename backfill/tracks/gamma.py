"""How far the catalogue reaches: the markets that are open are brought up to date all the time, and say when last."""

from __future__ import annotations

from typing import Final

from backfill.engine.model import Request
from backfill.errors import Unreadable
from backfill.tracks import values
from backfill.tracks.reading import rows_at
from backfill.tracks.rows import document
from backfill.tracks.values import Drift

PAGE: Final = 100
NO_LIMIT: Final = 1 << 40


def head() -> Request:
    """The request that shows how far the catalogue reaches: see `read_head`."""
    return Request("GET", "/markets/keyset", (("closed", "false"), ("limit", str(PAGE))), asked=1)


def read_head(name: str, body: bytes) -> int:
    """Unix seconds at which a market on a page of open ones was last brought up to date; no limit where none is open.

    Raises:
        Unreadable: none of them says.
    """
    rows = rows_at(name, body, document(name, body), "markets")
    try:
        times = [values.moment(row, "updatedAt") for row in rows if isinstance(row, dict)]
    except Drift as error:
        raise Unreadable(f"the newest change: {error}", raw=body, where=name) from None
    known = [each for each in times if each is not None]
    if not rows:
        return NO_LIMIT
    if not known:
        raise Unreadable("no open market says when it was changed", raw=body, where=name)
    return max(known)
