"""What a Polygon node's answers mean, in the words of the providers there are."""

from __future__ import annotations

import orjson
import pytest
from multidict import CIMultiDict

from backfill.config import Polygon as PolygonConfig
from backfill.engine.model import Request
from backfill.errors import BackfillError, PageTooLarge, Refused, Throttled, Unavailable, UpstreamUnusable
from backfill.simulator.polygon import PAGE_1015, Polygon
from backfill.simulator.polygon_query import RANGE_ERRORS
from backfill.simulator.upstreams import REGISTRY
from backfill.sources.polygon import PolygonSource
from backfill.sources.source import Answer
from tests.tracks.chain_ledger import tiny

SOURCE = PolygonSource(PolygonConfig(rpc_url="https://node.example/key"))


def answer(body: bytes, status: int = 200, **headers: str) -> Answer:
    return Answer(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), body)


def failed(code: int, message: str, data: object = None) -> bytes:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "error": error})


ERRORS: list[tuple[int, str, type[BackfillError]]] = [
    (-32005, "query returned more than 10000 results", PageTooLarge),
    (-32005, "query returned more than 10000 results. Try with this block range [0x1, 0x2].", PageTooLarge),
    (-32005, "query timeout exceeded", PageTooLarge),
    (-32005, "limit exceeded", PageTooLarge),
    (-32005, "something new", PageTooLarge),
    (-32602, "query returned more than 20000 results", PageTooLarge),
    (-32602, "range 1000000 exceeds limit of 10000", PageTooLarge),
    (-32602, "query exceeds max results 20000, retry with the range 1-2", PageTooLarge),
    (-32602, "Log response size exceeded. this block range should work: [0x0, 0x1]", PageTooLarge),
    (-32600, "You can make eth_getLogs requests with up to a 10 block range.", PageTooLarge),
    (-32600, "block range is too wide", PageTooLarge),
    (-32600, "block range too high", PageTooLarge),
    (-32614, "eth_getLogs is limited to a 10,000 range", PageTooLarge),
    (-32701, "exceed maximum block range: 50000", PageTooLarge),
    (-32000, "Block range limit exceeded.", PageTooLarge),
    (-32000, "requested too many blocks from 1 to 9, maximum is set to 2", PageTooLarge),
    (-32000, "logs matched by query exceeds limit of 10000", PageTooLarge),
    (-32000, "block range is larger than max block range, block range = 5120, max block range = 5000", PageTooLarge),
    (-32000, "eth_getLogs range is too large, max is 10k blocks", PageTooLarge),
    (-32000, "backend response too large", PageTooLarge),
    (-32000, "response size should not greater than 10000000 bytes", PageTooLarge),
    (-32000, "maximum [from, to] blocks distance: 2000", PageTooLarge),
    (-32000, "execution timeout", PageTooLarge),
    (-32002, "request timed out", PageTooLarge),
    (-32600, "batch too large", PageTooLarge),
    (35, "ranges over 10000 blocks are not supported on freetier", PageTooLarge),
    (-32005, "rate limit exceeded", Throttled),
    (-32005, "daily request count exceeded, request rate limited", Throttled),
    (-32005, "too many requests", Throttled),
    (-32005, "project ID request rate exceeded", Throttled),
    (-32090, "Too many requests, reason: call rate limit exhausted, retry in 10s", Throttled),
    (-32007, "50/second request limit reached - reduce calls per second or upgrade: requests per second", Throttled),
    (429, "Your app has exceeded its compute units per second capacity.", Throttled),
    (-32016, "over rate limit", Throttled),
    (-32601, "the method eth_getLogs does not exist/is not available", UpstreamUnusable),
    (-32601, "Method not allowed", UpstreamUnusable),
    (-32000, "forbidden", UpstreamUnusable),
    (-32000, "Unauthorized: invalid API key", UpstreamUnusable),
    (-32000, "API key disabled, reason: tenant disabled", UpstreamUnusable),
    (-32000, "missing trie node 1ae2ebe5 (path )", Unavailable),
    (-32000, "header not found", Unavailable),
    (-32603, "Internal error", Unavailable),
    (-32603, "internal server error", Unavailable),
    (-32000, "no backend is currently healthy to serve traffic", Unavailable),
    (-32602, "invalid argument 0: hex string without 0x prefix", Refused),
    (-32700, "parse error", Refused),
    (3, "execution reverted", Refused),
    (-32099, "nobody has ever heard of this", Refused),
    (-32602, "cannot separate, iterate or generate", Refused),
]


@pytest.mark.parametrize(("code", "message", "error"), ERRORS, ids=[f"{code} {text[:40]}" for code, text, _ in ERRORS])
def test_errors_under_200_are_sorted_by_their_words(code: int, message: str, error: type[BackfillError]) -> None:
    single = failed(code, message)
    batch = b'[{"jsonrpc":"2.0","id":1,"result":[]},' + single + b"]"
    for body in (single, batch, failed(code, message.upper()), b"\n " + single):
        with pytest.raises(error) as caught:
            SOURCE.judge(answer(body))
        assert type(caught.value) is error and caught.value.where == "polygon"
        assert isinstance(caught.value, UpstreamUnusable) <= (getattr(caught.value, "kind", "") == "refused")


@pytest.mark.parametrize("style", RANGE_ERRORS)
def test_the_pretend_providers_words_are_understood(style: str) -> None:
    code, text = RANGE_ERRORS[style]
    with pytest.raises(PageTooLarge):
        SOURCE.judge(answer(failed(code, text.format(most=5, asked=9, first=1, last=5))))


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, failed(-32600, "You can make eth_getLogs requests with up to a 500 block range."), PageTooLarge),
        (413, failed(-32000, "response too large"), PageTooLarge),
        (503, failed(-32005, "query timeout exceeded"), PageTooLarge),
        (400, failed(-32005, "rate limit exceeded"), Throttled),
        (403, failed(-32005, "too many requests"), Throttled),
        (429, failed(-32005, "query returned more than 10000 results"), Throttled),
        (429, PAGE_1015, Throttled),
        (400, failed(-32602, "invalid argument"), Refused),
        (401, failed(-32000, "unauthorized"), UpstreamUnusable),
        (403, b"<html>Attention Required! | Cloudflare</html>", UpstreamUnusable),
        (410, b"gone", UpstreamUnusable),
        (502, b"<html>Bad gateway</html>", Unavailable),
        (500, failed(-32603, "internal error"), Unavailable),
        (200, b"<!DOCTYPE html><html>error code: 1015</html>", Unavailable),
        (200, b"error code: 1015", Unavailable),
        (200, b"", Unavailable),
    ],
)
def test_statuses_and_pages(status: int, body: bytes, error: type[BackfillError]) -> None:
    with pytest.raises(error) as caught:
        SOURCE.judge(answer(body, status))
    assert "\n" not in str(caught.value)


def test_a_wait_that_is_asked_for_is_passed_on() -> None:
    with pytest.raises(Throttled) as caught:
        SOURCE.judge(answer(PAGE_1015, 429, Retry_After="7"))
    assert caught.value.wait_s == 7


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'[{"jsonrpc":"2.0","id":1,"result":[]}]',
        b'\xef\xbb\xbf{"id":1,"result":null}',
        b'{"id":1,"error":null,"result":[]}',
        b'{"id":1,"result":"\\"error\\""}',
        b'{"error',
        b"[]",
    ],
)
def test_an_answer_without_an_error_is_left_to_its_reader(body: bytes) -> None:
    SOURCE.judge(answer(body))


def test_errors_that_are_a_text_are_read_as_well() -> None:
    with pytest.raises(Throttled):
        SOURCE.judge(answer(b'{"error":"Too Many Requests"}'))


def test_its_address_its_headers_and_its_probe() -> None:
    assert SOURCE.base_url == "https://node.example/key" and SOURCE.ended is False and SOURCE.name == "polygon"
    headers = SOURCE.sign(Request("POST", ""))
    assert headers["Content-Type"] == "application/json" and "python" not in headers["User-Agent"].lower()
    probe = SOURCE.probe()
    assert (probe.method, probe.path) == ("POST", "")
    world = tiny(1)
    reply = Polygon(world).ask(probe.body or b"")
    SOURCE.judge(answer(reply.body, reply.status))
    assert orjson.loads(reply.body)["result"] == hex(world.ledger.head.block)


@pytest.mark.parametrize(
    ("status", "error"), [(429, Throttled), (500, Unavailable), (401, UpstreamUnusable), (410, UpstreamUnusable)]
)
def test_the_pretend_node_s_door_says_what_is_understood(status: int, error: type[BackfillError]) -> None:
    reply = REGISTRY["polygon"].error(status, "/polygon")
    with pytest.raises(error):
        SOURCE.judge(answer(reply.body, reply.status))
