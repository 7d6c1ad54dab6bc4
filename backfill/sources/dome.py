"""Dome's HTTP manners. Retired on 2026-04-28; the simulator still speaks them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import orjson
from pydantic import SecretStr

from backfill.config import Dome
from backfill.engine.model import Request
from backfill.errors import Refused, UpstreamUnusable
from backfill.sources.common import excerpt, judge_status
from backfill.sources.source import Answer, Plain

UNAUTHORIZED = 401


class DomeSource(Plain):
    """Dome by HTTP.

    Raises:
        UpstreamUnusable: there is no key.
    """

    name = "dome"

    def __init__(self, config: Dome, key: SecretStr | None) -> None:
        if key is None:
            raise UpstreamUnusable(
                "DOME_API_KEY is not set", kind="no_credentials", where=self.name, remedy="export it, or put it in .env"
            )
        self.base_url = config.base_url
        self.headers: Mapping[str, str] = {"Authorization": f"Bearer {key.get_secret_value()}"}
        self.ended = ended(config.end_of_life)

    def judge(self, answer: Answer) -> None:
        """See `Source.judge`. A 401 may be a paging mistake: Dome says so in the body."""
        if answer.status == UNAUTHORIZED and _error(answer.body) == "Offset deprecated":
            raise Refused(f"HTTP 401: {excerpt(answer.body)}", where=self.name)
        judge_status(self.name, answer)

    def probe(self) -> Request:
        """One market, any."""
        return Request("GET", "/polymarket/markets", (("limit", "1"),))


def ended(date: str) -> bool:
    """Whether a known end of life has passed; an empty text means none is known."""
    return bool(date) and dt.date.fromisoformat(date) < dt.datetime.now(dt.UTC).date()


def _error(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(document.get("error", "")) if isinstance(document, dict) else ""
