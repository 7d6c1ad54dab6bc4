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
    ended: bool

    def sign(self, request: Request) -> Mapping[str, str]:
        """The headers of a request; made anew for each, because some upstreams want it signed."""

    def judge(self, answer: Answer) -> None:
        """Accept an answer by returning.

        Raises:
            Throttled, Unavailable, PageTooLarge: try again.
            Refused: the request is wrong.
            UpstreamUnusable: waiting does not help.
        """

    def probe(self) -> Request:
        """The cheapest request that shows whether the upstream is there."""


class Plain:
    """The signing of an upstream that wants the same headers with every request."""

    headers: Mapping[str, str]

    def sign(self, _request: Request) -> Mapping[str, str]:
        """See `Source.sign`."""
        return self.headers
