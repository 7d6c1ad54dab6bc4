"""The Data API's manners: the second version says in each error whether it may be tried again."""

from __future__ import annotations

from collections.abc import Mapping

from backfill.config import DataApi
from backfill.engine.model import Request
from backfill.errors import PageTooLarge, Refused, Throttled, Unavailable, UpstreamUnusable
from backfill.sources import edge
from backfill.sources.common import GONE, NOT_FOUND, OK, excerpt
from backfill.sources.source import Answer, Plain

OFFSET_CAP = "max historical activity offset"
"""The first version refuses deep offsets with these words, far above the documented depth."""
TOO_SLOW, TOO_OFTEN = "request_timeout", "rate_limited"


class DataApiSource(Plain):
    """Polymarket's Data API, in the version that the config says."""

    name = "data_api"
    ended = False

    def __init__(self, config: DataApi) -> None:
        self.base_url = config.base_url
        self.version = config.version
        self.headers: Mapping[str, str] = {"Accept": "application/json"}

    def judge(self, answer: Answer) -> None:
        """See `Source.judge`. Codes decide before statuses do."""
        if answer.status != OK and edge.is_json(answer):
            self._judge_error(answer)
        elif self.version == 1 and answer.status in (NOT_FOUND, GONE):
            raise self._retired(answer)
        edge.judge(self.name, answer)

    def probe(self) -> Request:
        """How far the data reaches; the first version has no such page, so a single trade there."""
        if self.version == 1:
            return Request("GET", "/trades", (("limit", "1"),))
        return status_request()

    def _judge_error(self, answer: Answer) -> None:
        said = edge.told_by(answer)
        told, code = f"HTTP {answer.status}: {excerpt(answer.body)}", said.get("code")
        if code == TOO_SLOW or OFFSET_CAP in str(said.get("error", "")):
            raise PageTooLarge(told, where=self.name)
        if code == TOO_OFTEN:
            raise Throttled(told, wait_s=edge.asked_wait(answer, said), where=self.name)
        if self.version == 1 and answer.status in (NOT_FOUND, GONE):
            raise self._retired(answer)
        if said.get("retryable") is True and answer.status != NOT_FOUND:
            raise Unavailable(told, where=self.name, wait_s=edge.asked_wait(answer, said))
        if said.get("retryable") is False and code == "invalid_request":
            raise Refused(told, where=self.name)

    def _retired(self, answer: Answer) -> UpstreamUnusable:
        return UpstreamUnusable(
            f"HTTP {answer.status}: {excerpt(answer.body)}; version 1 has been switched off",
            kind="retired",
            where=self.name,
            remedy="set upstreams.data_api.version = 2",
        )


def status_request() -> Request:
    """Ask the second version how far its data reaches."""
    return Request("GET", "/v2/status")
