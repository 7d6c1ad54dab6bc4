"""The pretend Polygon node: JSON-RPC over the ledger of a world, with the quirks of real providers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Any, Protocol

import orjson
from aiohttp import web

from .faults import Faults, RequestFault
from .ids import keccak
from .ledger import Ledger
from .model import Market
from .polygon_abi import CTF
from .polygon_chain import Chain, Entry
from .polygon_query import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REVERTED,
    Filter,
    Quirks,
    RpcError,
    block_number,
    check_range,
    read_filter,
)
from .reply import HTML, PLAIN, TEXT, Reply, Wish

CHAIN_ID = 137
BRANCH = "given up"
CUT_AT = 1000
"""Logs that a `rpc_truncated` answer is cut to, where no quirk says another number."""
PAGE_1015 = (
    b'<!DOCTYPE html>\n<html lang="en-US"><head><title>Access denied | rate limited | Cloudflare</title></head><body>'
    b"<h1>Error 1015</h1><h2>You are being rate limited</h2></body></html>\n"
)
DENOMINATOR, NUMERATOR, SLOTS = (
    f"0x{keccak(text).hex()[:8]}"
    for text in (
        b"payoutDenominator(bytes32)",
        b"payoutNumerators(bytes32,uint256)",
        b"getOutcomeSlotCount(bytes32)",
    )
)
_LINE = (
    '{"address":"%s","topics":["%s"],"data":"%s","blockNumber":"0x%x","transactionHash":"%s","transactionIndex":"0x%x",'
    '"blockHash":"%s",%s"logIndex":"0x%x","removed":%s}'
)


class ChainWorld(Protocol):
    """What a node wants of a world."""

    @property
    def ledger(self) -> Ledger:
        """Every event of the chain."""

    @property
    def markets(self) -> Sequence[Market]:
        """The markets; which of their conditions are neg-risk decides by which contract they are split."""


class _View:
    """What one request sees: how far the node has come, and on which branch it stands."""

    def __init__(self, chain: Chain, quirks: Quirks, before: int | None) -> None:
        self._chain, self._quirks = chain, quirks
        top = chain.head if before is None else min(chain.head, chain.first_at(before) - 1)
        self.head = max(0, top - quirks.head_lag)
        self.finalized = max(0, self.head - quirks.finality_lag)
        self.forked = quirks.reorg_depth > 0 and quirks.reorg_answers > 0

    def on_branch(self, block: int) -> bool:
        """Whether a block is among those that will be given up."""
        return self._quirks.reorg_depth > 0 and block > self._chain.head - self._quirks.reorg_depth

    def block_hash(self, block: int) -> str:
        """Hash of a block as seen now."""
        return self._chain.block_hash(block, BRANCH if self.forked and self.on_branch(block) else "")


class Polygon:
    """Answers JSON-RPC questions, single or in a batch. `quirks` may be changed at any time."""

    own_faults: frozenset[RequestFault] = frozenset(("rpc_too_many", "rpc_timeout", "rpc_truncated"))

    def __init__(self, world: ChainWorld, faults: Faults | None = None, quirks: Quirks | None = None) -> None:
        self.quirks = quirks or Quirks()
        self._world = world
        self._faults = faults
        self._lock = Lock()

    def configure(self, name: str, value: object) -> None:
        """Change a quirk.

        Raises:
            ValueError: there is none of that name, or it takes another kind of value.
        """
        self.quirks.change(name, value)

    def warm_up(self) -> None:
        """Make the ledger and its index now (seconds for a large world)."""
        assert self._indexed

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Answer one request, in a thread: the first one makes the ledger, and a wide one takes a while."""
        if request.method != "POST":
            return Reply(405, b"Method not allowed", TEXT)
        body = await request.read()
        return await asyncio.to_thread(self.ask, body, wish)

    def ask(self, body: bytes, wish: Wish = PLAIN) -> Reply:
        """Answer a request body."""
        if self.quirks.cloudflare:
            self.quirks.cloudflare -= 1
            return Reply(429, PAGE_1015, HTML, applied=False)
        try:
            questions = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Reply(200, _failed(None, RpcError(PARSE_ERROR, "parse error")))
        played = _Played(wish)
        if not isinstance(questions, list):
            return Reply(200, self._one(questions, played), ids=1, applied=played.done)
        if not questions or (self.quirks.batch_cap and len(questions) > self.quirks.batch_cap):
            text = "batch too large" if questions else "empty batch"
            return Reply(200, _failed(None, RpcError(INVALID_REQUEST, text)), applied=False)
        answers = b",".join(self._one(each, played) for each in questions)
        return Reply(200, b"[" + answers + b"]", ids=len(questions), applied=played.done)

    @cached_property
    def _index(self) -> Chain:
        return Chain(self._world.ledger, self._world.markets)

    @property
    def _indexed(self) -> Chain:
        # cached_property does not lock, and two threads would build it twice.
        with self._lock:
            return self._index

    def _one(self, question: Any, played: _Played) -> bytes:
        if not isinstance(question, dict) or not isinstance(question.get("method"), str):
            return _failed(None, RpcError(INVALID_REQUEST, "invalid request"))
        try:
            result = self._result(question["method"], question.get("params", []), played)
        except RpcError as error:
            return _failed(question.get("id"), error)
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (orjson.dumps(question.get("id")), result)

    def _result(self, method: str, params: Any, played: _Played) -> bytes:
        view = _View(self._indexed, self.quirks, played.wish.before)
        match method:
            case "eth_chainId":
                return orjson.dumps(hex(CHAIN_ID))
            case "eth_blockNumber":
                return orjson.dumps(hex(view.head))
            case "eth_getBlockByNumber":
                return orjson.dumps(self._block(params, view))
            case "eth_getLogs":
                return self._logs(read_filter(params, view.head, view.finalized), view, played)
            case "eth_call":
                return orjson.dumps(self._call(params, view))
        raise RpcError(METHOD_NOT_FOUND, f"the method {method} does not exist/is not available")

    def _block(self, params: Any, view: _View) -> dict[str, Any] | None:
        if not isinstance(params, list) or not params:
            raise RpcError(INVALID_PARAMS, "missing value for required argument 0")
        number = block_number(params[0], view.head, view.finalized)
        if number > view.head:
            return None
        chain = self._indexed
        return {
            "number": hex(number),
            "hash": view.block_hash(number),
            "parentHash": view.block_hash(number - 1) if number else f"0x{0:064x}",
            "timestamp": hex(chain.timestamp(number)),
            "transactions": list(dict.fromkeys(entry.at.tx_hash for entry in chain.between(number, number))),
        }

    def _call(self, params: Any, view: _View) -> str:
        """The CTF's getters; a call to an address without code returns nothing."""
        call = params[0] if isinstance(params, list) and params and isinstance(params[0], dict) else {}
        data = str(call.get("data") or call.get("input") or "").lower()
        if str(call.get("to", "")).lower() != CTF:
            return "0x"
        selector, condition, rest = data[:10], data[10:74], data[74:]
        resolution = self._indexed.payouts.get(condition)
        if resolution is not None and resolution.at.block > view.head:
            resolution = None
        numerators = resolution.numerators if resolution else (0, 0)
        if selector == SLOTS:
            return f"0x{2 if condition in self._indexed.conditions else 0:064x}"
        if selector == DENOMINATOR:
            return f"0x{sum(numerators):064x}"
        if selector == NUMERATOR and rest and int(rest, 16) < len(numerators):
            return f"0x{numerators[int(rest, 16)]:064x}"
        raise RpcError(REVERTED, "execution reverted", "0x")

    def _logs(self, wanted: Filter, view: _View, played: _Played) -> bytes:
        check_range(wanted, self.quirks)
        played.refuse(wanted)
        last = min(wanted.last, view.head)
        found = [entry for entry in self._indexed.between(wanted.first, last) if _fits(entry, wanted)]
        cap = self.quirks.result_cap
        if cap and len(found) > cap:
            half = (wanted.first + last) // 2
            text = f"query returned more than {cap} results. Try with this block range [{wanted.first:#x}, {half:#x}]."
            raise RpcError(LIMIT_EXCEEDED, text, {"from": hex(wanted.first), "limit": cap, "to": hex(half)})
        lines = [line for entry in found for line in self._lines(entry, view)]
        if self.quirks.reorg_depth and view.on_branch(last):
            self._told_of_branch()
        return b"[" + ",".join(played.cut(lines, self.quirks.truncate_at)).encode() + b"]"

    def _told_of_branch(self) -> None:
        """An answer about the newest blocks was given: the branch comes closer to its end, then it is forgotten."""
        if self.quirks.reorg_answers > 0:
            self.quirks.reorg_answers -= 1
        else:
            self.quirks.reorg_depth = 0

    def _lines(self, entry: Entry, view: _View) -> list[str]:
        """A log as JSON. On the branch its transaction is another one; later that one is told as removed."""
        if not view.on_branch(entry.at.block):
            return [self._line(entry, "")]
        if view.forked:
            return [self._line(entry, BRANCH)]
        removed = [self._line(entry, BRANCH, removed=True)] if self.quirks.tells_removed else []
        return [*removed, self._line(entry, "")]

    def _line(self, entry: Entry, branch: str, *, removed: bool = False) -> str:
        at = entry.at
        body = entry.kind.encode(entry.event)
        tx = f"0x{keccak((at.tx_hash + branch).encode()).hex()}" if branch else at.tx_hash
        when = f'"blockTimestamp":"{at.timestamp:#x}",' if self.quirks.timestamps else ""
        return _LINE % (
            entry.kind.address, '","'.join(body.topics), body.data, at.block, tx, entry.tx_index,
            self._indexed.block_hash(at.block, branch), when, at.log_index, "true" if removed else "false",
        )  # fmt: skip


class _Played:
    """The fault that one request was wished to show, and whether it could."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.done = wish.fault not in Polygon.own_faults

    def refuse(self, wanted: Filter) -> None:
        """Fail as a provider does whose time or memory is up; a single block is always to be had."""
        if wanted.first == wanted.last:
            return
        if self.wish.fault == "rpc_too_many":
            self.done = True
            raise RpcError(LIMIT_EXCEEDED, "query returned more than 10000 results")
        if self.wish.fault == "rpc_timeout":
            self.done = True
            raise RpcError(LIMIT_EXCEEDED, "query timeout exceeded")

    def cut(self, lines: list[str], truncate_at: int) -> list[str]:
        """Leave logs out without a word."""
        if self.wish.fault == "rpc_truncated" and len(lines) > (most := truncate_at or CUT_AT):
            self.done = True
            return lines[:most]
        return lines[:truncate_at] if truncate_at else lines


def _failed(identity: Any, error: RpcError) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": identity, "error": error.as_json()})


def _fits(entry: Entry, wanted: Filter) -> bool:
    """Whether a log is asked for. Only filters on later topics need it encoded."""
    if wanted.addresses and entry.kind.address not in wanted.addresses:
        return False
    if not wanted.topics:
        return True
    if wanted.topics[0] and entry.kind.topic not in wanted.topics[0]:
        return False
    if not any(wanted.topics[1:]):
        return len(wanted.topics) == 1 or len(entry.kind.encode(entry.event).topics) >= len(wanted.topics)
    topics = entry.kind.encode(entry.event).topics
    if len(topics) < len(wanted.topics):
        return False
    return all(not any_of or topic in any_of for any_of, topic in zip(wanted.topics, topics, strict=False))
