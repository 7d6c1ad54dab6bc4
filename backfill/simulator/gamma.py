"""The pretend Gamma: markets, events and public profiles."""

from __future__ import annotations

import orjson
from aiohttp import web

from .faults import Faults
from .reply import PLAIN, Reply, Wish
from .world import World


class Gamma:
    """Answers from the markets and the wallets of the world."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Answer one request."""
        return Reply(404, orjson.dumps({"error": f"no route {request.path}"}))
