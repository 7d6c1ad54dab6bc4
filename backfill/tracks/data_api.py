"""What the Data API's second version has in common: its envelope, its way of paging, and how far its data reaches."""

from __future__ import annotations

from typing import Any, Final

import orjson

from backfill.engine.model import Request
from backfill.errors import Unreadable
from backfill.tracks import values
from backfill.tracks.reading import rows_at
from backfill.tracks.rows import document
from backfill.tracks.values import Drift

SOURCE: Final = "data_api"
MOST_ROWS: Final = 1000
"""Rows a page may have; more are refused, not clamped."""
BLOCK_SECONDS: Final = 2
"""Most seconds from one block to the next."""


def envelope(name: str, body: bytes, after: str) -> tuple[list[Any], str | None]:
    """The rows of the page that was asked for with the cursor `after`, and the cursor of the next, None at the end.

    Raises:
        Unreadable: it is no page, says that there is more without saying how to get it, or is the page before.
    """
    answer = document(name, body)
    rows = rows_at(name, body, answer, "data")
    paging = answer.get("pagination")
    if not isinstance(paging, dict):
        raise Unreadable("no pagination block, so a cut answer could not be told", raw=body, where=name)
    following = paging.get("next_cursor")
    if not isinstance(following, str | None) or bool(following) != bool(paging.get("has_more")):
        raise Unreadable("has_more and next_cursor contradict each other", raw=body, where=name)
    if following and following == after:
        raise Unreadable("the answer to another question: the page before this one", raw=body, where=name)
    return rows, following or None


def alone(row: Any) -> bytes:
    """A page with one row, the last."""
    return orjson.dumps({"data": [row], "pagination": {"has_more": False, "next_cursor": None}})


def head() -> Request:
    """The request that shows how far the data reaches: see `read_head`."""
    return Request("GET", "/v2/status", asked=1)


def read_head(name: str, body: bytes) -> int:
    """Unix seconds before which (exclusive) nothing is missing from the feeds.

    That is the time of the report, less what the worst of the serving mechanisms lags behind, less what the slowest
    reader of the chain is behind.

    Raises:
        Unreadable: the report does not say.
    """
    answer = document(name, body)
    report = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(report, dict):
        raise Unreadable("no status report", raw=body, where=name)
    try:
        at = values.need(values.moment, report, "computed_at")
        lag = values.need(values.whole, _part(report, "serving"), "lag_seconds")
        reading = _part(report, "ingestion")
        newest = values.need(values.whole, reading, "max_synced_block")
        slowest = values.need(values.whole, reading, "min_synced_block")
    except Drift as error:
        raise Unreadable(f"the status report: {error}", raw=body, where=name) from None
    return at - lag - max(0, newest - slowest) * BLOCK_SECONDS


def first_head() -> Request:
    """As `head`, of the first version, which makes no report: its newest trade."""
    return Request("GET", "/trades", (("limit", "1"),), asked=1)


def read_first_head(name: str, body: bytes) -> int:
    """Unix seconds of the newest trade of the first version.

    Raises:
        Unreadable: there is none.
    """
    rows = rows_at(name, body, document(name, body))
    try:
        return values.need(values.moment, rows[0], "timestamp")
    except (Drift, IndexError, AttributeError) as error:
        raise Unreadable(f"the newest trade: {type(error).__name__} {error}", raw=body, where=name) from None


def _part(report: dict[str, Any], field: str) -> dict[str, Any]:
    found = report.get(field)
    if not isinstance(found, dict):
        raise Drift(field, "an object", found)
    return found
