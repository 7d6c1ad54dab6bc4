"""What a dumb client of one upstream knows: where it is, how to sign, and how to read an answer's outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from backfill.engine.model import Request


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Source(Protocol):
    """One upstream. It holds no progress and makes no policy."""

    name: str
    base_url: str
    headers: Mapping[str, str]
    ended: bool

    def judge(self, answer: Answer) -> None:
        """Accept an answer by returning.

        Raises:
            Throttled, Unavailable, PageTooLarge: try again.
            Refused: the request is wrong.
            UpstreamUnusable: waiting does not help.
        """

    def probe(self) -> Request:
        """The cheapest request that shows whether the upstream is there."""
