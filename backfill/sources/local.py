"""The door of tracks that ask nobody: what they want to know is computed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from backfill.engine.model import Request
from backfill.sources.client import Beat, Figures, silent

T = TypeVar("T")


class LocalDoor:
    """Answers a request by computing; a thread does it, so that the other tracks go on."""

    state = "open"

    def __init__(self, compute: Callable[[bytes], bytes]) -> None:
        self._compute, self.figures = compute, Figures()

    async def ready(self, _beat: Beat = silent) -> None:
        """There is nothing to wait for."""

    async def fetch(
        self, request: Request, read: Callable[[bytes], T], *, beat: Beat = silent, shrinks: bool = False
    ) -> T:
        """The answer, as `read` has it; `shrinks` is of no use here."""
        del shrinks
        beat("fetching")
        self.figures.requests += 1
        answer = read(await asyncio.to_thread(self._compute, request.body or b""))
        self.figures.answers += 1
        return answer
