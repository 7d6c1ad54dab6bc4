"""Goldsky's manners: GraphQL over POST, where most errors come with status 200."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from backfill.config import Goldsky
from backfill.engine.model import Request
from backfill.errors import PageTooLarge, Refused, Unavailable, UpstreamUnusable
from backfill.sources.common import judge_status
from backfill.sources.source import Answer, Plain

TOO_LARGE = ("timed out", "statement timeout")
TRANSIENT = ("overloaded", "reorganized", "try again", "internal error", "null value resolved")
STALE = ("has only indexed up to", "only has data starting at", "indexing_error", "does not exist")
ERRORS_KEY = b'"errors"'
HEAD_BYTES = 64


class GoldskySource(Plain):
    """One Goldsky project's subgraphs."""

    name = "goldsky"
    ended = False

    def __init__(self, config: Goldsky) -> None:
        self.base_url = config.base_url
        self.subgraphs = config.subgraphs
        self.headers: Mapping[str, str] = {"Content-Type": "application/json"}

    def judge(self, answer: Answer) -> None:
        """See `Source.judge`; errors under 200 are sorted by their text."""
        judge_status(self.name, answer)
        # An answer with errors has no data in front of them, so a look at its head spares parsing every page twice.
        if ERRORS_KEY in answer.body[:HEAD_BYTES] or ERRORS_KEY in answer.body[-HEAD_BYTES:]:
            raise_errors(self.name, answer.body)

    def probe(self) -> Request:
        """The head of the subgraph that the token track asks."""
        return meta_request(self.subgraphs.activity)


def meta_request(subgraph: str) -> Request:
    """Ask a subgraph for its newest block and for indexing errors."""
    return Request(
        "POST", f"/{subgraph}/gn", body=orjson.dumps({"query": "{_meta{block{number timestamp}hasIndexingErrors}}"})
    )


def raise_errors(name: str, body: bytes) -> None:
    """Sort GraphQL errors into smaller page, retry, unusable, refused; return when there are none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    errors = document.get("errors") if isinstance(document, dict) else None
    if not errors:
        return
    texts = [str(entry.get("message", entry)) if isinstance(entry, dict) else str(entry) for entry in errors]
    told = "GraphQL: " + "; ".join(texts)[:300]
    lower = told.lower()
    if any(sign in lower for sign in TOO_LARGE):
        raise PageTooLarge(told, where=name)
    if any(sign in lower for sign in STALE):
        raise UpstreamUnusable(told, kind="stale", where=name)
    if any(sign in lower for sign in TRANSIENT):
        raise Unavailable(told, where=name)
    raise Refused(told, where=name)
