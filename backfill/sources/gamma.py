"""Gamma's manners: the catalogue of markets, and the public profiles of accounts."""

from __future__ import annotations

from collections.abc import Mapping

from backfill.config import Gamma
from backfill.engine.model import Request
from backfill.sources import edge
from backfill.sources.common import NOT_FOUND
from backfill.sources.source import Answer, Plain

NO_PROFILE = "profile"
"""In the text of a 404: an account without a profile, which is an answer."""


class GammaSource(Plain):
    """Polymarket's catalogue by HTTP."""

    name = "gamma"
    ended = False

    def __init__(self, config: Gamma) -> None:
        self.base_url = config.base_url
        self.headers: Mapping[str, str] = {"Accept": "application/json"}

    def judge(self, answer: Answer) -> None:
        """See `Source.judge`. A 404 that says that there is no profile is left to its reader."""
        if answer.status == NOT_FOUND and NO_PROFILE in str(edge.told_by(answer).get("error", "")).lower():
            return
        edge.judge(self.name, answer)

    def probe(self) -> Request:
        """One market, any."""
        return Request("GET", "/markets/keyset", (("limit", "1"),))
