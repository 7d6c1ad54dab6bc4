"""What stands in front of Polymarket's own services: a proxy whose pages are no JSON, and their common JSON errors."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

import orjson

from backfill.engine.retry import retry_after
from backfill.errors import Throttled, Unavailable
from backfill.sources.common import GONE, NOT_FOUND, THROTTLED, TRANSIENT, excerpt, judge_status
from backfill.sources.source import Answer

TOO_OFTEN = re.compile(rb"error(?:\s+code)?:?\s*1015\b|being rate limited", re.IGNORECASE)
"""The proxy's own words for too many requests; they come with status 429, and with others too."""
JSON = re.compile(rb"""[{["\d-]|(true|false|null)\s*$""")
WHITE = b" \t\r\n\xef\xbb\xbf"


def judge(name: str, answer: Answer) -> None:
    """Raise what an answer means; return when it is a good one.

    A page of the proxy says nothing about the key or the request: whatever its status, the same request may pass later.
    Only 404 and 410 mean without JSON what they mean with it.
    """
    if not is_json(answer) and answer.status not in (NOT_FOUND, GONE):
        told = f"HTTP {answer.status}: {excerpt(answer.body)}"
        if answer.status == THROTTLED or TOO_OFTEN.search(answer.body):
            raise Throttled(told, wait_s=asked_wait(answer, {}), where=name)
        raise Unavailable(f"not JSON: {told}", where=name, wait_s=asked_wait(answer, {}))
    if answer.status == THROTTLED or answer.status >= 500 or answer.status in TRANSIENT:
        said = told_by(answer)
        if (wait := asked_wait(answer, said)) is not None:
            told = f"HTTP {answer.status}: {excerpt(answer.body)}"
            if answer.status == THROTTLED:
                raise Throttled(told, wait_s=wait, where=name)
            raise Unavailable(told, where=name, wait_s=wait)
    judge_status(name, answer)


def is_json(answer: Answer) -> bool:
    """Whether a body may be JSON: by how it begins, since the type is not always said."""
    body = answer.body.lstrip(WHITE)
    return not body or JSON.match(body) is not None


def told_by(answer: Answer) -> Mapping[str, Any]:
    """The object that an error comes with; empty when there is none."""
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def asked_wait(answer: Answer, said: Mapping[str, Any]) -> float | None:
    """Seconds that an error asks us to wait, by its header or its body; None when it does not."""
    if "Retry-After" in answer.headers:
        return retry_after(answer.headers, dt.datetime.now(dt.UTC))
    seconds = said.get("retry_after_seconds")
    return float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None
