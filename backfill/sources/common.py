"""What all HTTP upstreams have in common: statuses, and bodies that are cut or not JSON."""

from __future__ import annotations

import datetime as dt

from backfill.engine.health import Missing
from backfill.engine.retry import retry_after
from backfill.errors import Refused, Throttled, Unavailable, UpstreamUnusable
from backfill.sources.source import Answer

GONE, THROTTLED, NOT_FOUND, OK = 410, 429, 404, 200
CREDENTIALS = (401, 403)
TRANSIENT = (408, 425)


def judge_status(name: str, answer: Answer) -> None:
    """Raise what the status means; return when it is 200."""
    status = answer.status
    if status == OK:
        return
    told = f"HTTP {status}: {excerpt(answer.body)}"
    if status == THROTTLED:
        raise Throttled(told, wait_s=retry_after(answer.headers, dt.datetime.now(dt.UTC)), where=name)
    if status == GONE:
        raise UpstreamUnusable(told, kind="retired", where=name)
    if status in CREDENTIALS:
        raise UpstreamUnusable(told, kind="refused", where=name, remedy="check the key")
    if status == NOT_FOUND:
        raise Missing(told, where=name)
    if status >= 500 or status in TRANSIENT:
        wait = retry_after(answer.headers, dt.datetime.now(dt.UTC)) if "Retry-After" in answer.headers else None
        raise Unavailable(told, where=name, wait_s=wait)
    if 300 <= status < 400:
        raise UpstreamUnusable(f"{told} redirects elsewhere", kind="retired", where=name, remedy="check its base_url")
    raise Refused(told, where=name)


def excerpt(body: bytes, most: int = 160) -> str:
    """The beginning of a body, on one line."""
    text = " ".join(body[: most * 4].decode("utf-8", "replace").split())
    return text if len(text) <= most else text[: most - 1] + "…"
