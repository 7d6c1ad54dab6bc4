"""The pretend Polygon node: JSON-RPC over the ledger of a world."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import orjson
from aiohttp import web

from .faults import Faults
from .ledger import Ledger
from .model import Market
from .reply import PLAIN, TEXT, Reply, Wish

CHAIN_ID = 137
METHOD_NOT_FOUND = -32601


class ChainWorld(Protocol):
    """What a node wants of a world."""

    @property
    def ledger(self) -> Ledger:
        """Every event of the chain."""

    @property
    def markets(self) -> Sequence[Market]:
        """The markets; which of their conditions are neg-risk decides by which contract they are split."""


class Polygon:
    """Answers JSON-RPC questions, single or in a batch."""

    def __init__(self, world: ChainWorld, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Answer one POST. Runs in a thread: the first question makes the ledger, which takes seconds."""
        if request.method != "POST":
            return Reply(405, b"Method not allowed", TEXT)
        body = await request.read()
        return await asyncio.to_thread(self.ask, body, wish)

    def ask(self, body: bytes, wish: Wish = PLAIN) -> Reply:
        """Answer a request body."""
        question = orjson.loads(body)
        document: Any = (
            [self._one(each, wish) for each in question] if isinstance(question, list) else self._one(question, wish)
        )
        return Reply(200, orjson.dumps(document))

    def _one(self, question: dict[str, Any], _wish: Wish) -> dict[str, Any]:
        head: dict[str, Any] = {"jsonrpc": "2.0", "id": question.get("id")}
        match question.get("method"):
            case "eth_chainId":
                return {**head, "result": hex(CHAIN_ID)}
            case "eth_blockNumber":
                return {**head, "result": hex(self._world.ledger.head.block)}
            case method:
                text = f"the method {method} does not exist/is not available"
                return {**head, "error": {"code": METHOD_NOT_FOUND, "message": text}}
