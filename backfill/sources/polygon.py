"""A Polygon node's manners: JSON-RPC over POST, where providers word the same refusal in a dozen ways."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from backfill.config import Polygon
from backfill.engine.model import Request
from backfill.errors import PageTooLarge, Refused, Throttled, Unavailable, UpstreamUnusable
from backfill.sources.common import OK, THROTTLED, excerpt, judge_status
from backfill.sources.source import Answer, Plain

ERROR_KEY = b'"error"'
LIMIT_EXCEEDED = -32005
JSON_STARTS = (b"{", b"[")
WHITE = b" \t\r\n\xef\xbb\xbf"

RATE = re.compile(
    r"\brate[ -]?limit|\brate\b.*(exceed|exhaust|reached)|too many requests|requests? (count|per)|exceeded its|"
    r"compute units|credits|throughput|capacity exceeded|throttl"
)
"""Too often. To be looked for first: some of these speak of a limit that is exceeded, too."""
SIZE = re.compile(
    r"query returned more than|block range|limit exceeded|response size|too (large|big|wide|high)|timeout|timed out|"
    r"too many (results|logs|blocks)|max(imum)? (results|range|\[from, to\])|limited to( a)? [\d,.]+|"
    r"exceeds (the |max |limit|.*limit of)|ranges? over [\d,.]+|more than [\d,.]+ (results|logs|blocks)|"
    r"at most [\d,.]+ blocks|deadline exceeded|reduce the|batch (size|limit|too)|requested blocks"
)
"""Too much, or too slow for its size."""
FORBIDDEN = re.compile(
    r"method not (allowed|found|available|supported)|does not exist|not allowed|forbidden|disabled|unauthorized|"
    r"invalid (api )?key|must be authenticated|access denied|not whitelisted"
)
"""Waiting does not help."""
TRANSIENT = re.compile(
    r"missing trie node|header not found|internal|unknown block|block not found|not (yet )?(available|ready|synced)|"
    r"behind|no backend|backend|temporarily|try again|unavailable|overloaded|beyond current head|bad gateway"
)
"""The node's own trouble, or a node that is not there yet."""


class PolygonSource(Plain):
    """One node, or a provider's many."""

    name = "polygon"
    ended = False

    def __init__(self, config: Polygon) -> None:
        self.base_url = config.rpc_url
        # Some providers refuse what looks like a script's default agent.
        self.headers: Mapping[str, str] = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "polymarket-backfill",
        }

    def judge(self, answer: Answer) -> None:
        """See `Source.judge`. Providers put the same refusal under 200, 400, 413 or 5xx."""
        if answer.status == OK:
            if not answer.body.lstrip(WHITE).startswith(JSON_STARTS):
                raise Unavailable(f"not JSON: {excerpt(answer.body)}", where=self.name)
            if ERROR_KEY in answer.body:
                raise_errors(self.name, answer.body)
        elif answer.status != THROTTLED and (told := _told(answer.body)):
            code, text = told[0]
            if is_size(code, text):
                raise PageTooLarge(f"HTTP {answer.status}: {text[:300]}", where=self.name)
            if RATE.search(text.lower()):
                raise Throttled(f"HTTP {answer.status}: {text[:300]}", where=self.name)
        judge_status(self.name, answer)

    def probe(self) -> Request:
        """The number of the newest block."""
        return Request("POST", "", body=b'{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}')


def is_size(code: object, text: str) -> bool:
    """Whether an error says that less should be asked for."""
    lower = text.lower()
    if RATE.search(lower):
        return False
    return code == LIMIT_EXCEEDED or SIZE.search(lower) is not None


def raise_errors(name: str, body: bytes) -> None:
    """Sort a JSON-RPC error into throttled, smaller page, unusable, retry, refused; return when there is none."""
    told = _told(body)
    if not told:
        return
    code, text = told[0]
    lower, line = text.lower(), f"JSON-RPC {code}: {text[:300]}"
    if RATE.search(lower):
        raise Throttled(line, where=name)
    if is_size(code, text):
        raise PageTooLarge(line, where=name)
    if FORBIDDEN.search(lower):
        raise UpstreamUnusable(line, kind="refused", where=name, remedy="use another rpc_url")
    if TRANSIENT.search(lower):
        raise Unavailable(line, where=name)
    raise Refused(line, where=name)


def _told(body: bytes) -> list[tuple[object, str]]:
    """Code and text of each error in an answer, single or batched."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    return list(_errors(document if isinstance(document, list) else [document]))


def _errors(entries: list[Any]) -> Iterator[tuple[object, str]]:
    for entry in entries:
        error = entry.get("error") if isinstance(entry, dict) else None
        if isinstance(error, dict):
            more = f" ({error['data']})" if isinstance(error.get("data"), str) and len(error["data"]) > 2 else ""
            yield error.get("code"), f"{error.get('message', '')}{more}"
        elif isinstance(error, str) and error:
            yield None, error
