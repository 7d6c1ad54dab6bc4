"""Parameters as the pretend Data API takes them, its refusals, its envelope and its signed cursors."""

from __future__ import annotations

import base64
import hmac
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson
from multidict import MultiMapping

from .faults import RequestFault
from .reply import Reply, Wish

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_VALUES = 20
"""Most conditions or events in one request."""
FAULTY: tuple[RequestFault, ...] = ("short_page", "short_page_unsaid")
PLAYED: frozenset[RequestFault] = frozenset((*FAULTY, "query_timeout"))
"""Special faults that can happen here; the last one is a 503, and only a large page meets it."""
_SIGNED_BY = b"the pretend Data API"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_CONDITION = re.compile(r"0x(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{62})")
_STATUS = {
    "invalid_request": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "internal": 500,
    "request_timeout": 503,
}
_numbers = itertools.count(1)
Row = dict[str, Any]
T = TypeVar("T")


class Refused(Exception):
    """A refusal; `code` decides the status, `parameter` names the culprit where there is one."""

    def __init__(self, text: str, code: str = "invalid_request", parameter: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.parameter = parameter

    def reply(self) -> Reply:
        """The refusal as an answer of the second version."""
        trace = trace_id()
        retryable = self.code in ("internal", "request_timeout")
        body: Row = {"error": str(self), "code": self.code, "retryable": retryable, "trace_id": trace}
        if self.parameter is not None:
            body["parameter"] = self.parameter
        return Reply(_STATUS[self.code], orjson.dumps(body), headers={"x-trace-id": trace})


def trace_id() -> str:
    """An id for one answer."""
    return hmac.digest(_SIGNED_BY, str(next(_numbers)).encode(), "md5").hex()


class Query:
    """The parameters of a request; each may be spelled with underscores or in camel case."""

    def __init__(self, raw: MultiMapping[str]) -> None:
        self._raw = raw

    def text(self, *names: str) -> str | None:
        """A parameter by the first of its names that is there; an empty one counts as absent."""
        for name in names:
            for spelling in (name, camel(name)):
                if self._raw.get(spelling):
                    return self._raw[spelling]
        return None

    def whole(self, name: str) -> int | None:
        """A whole number, not negative."""
        text = self.text(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit()):
            raise Refused(f"invalid {name}: {text}", parameter=name)
        return int(text)

    def number(self, name: str) -> float | None:
        """Any number, not negative."""
        text = self.text(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not value >= 0:
            raise Refused(f"invalid {name}: {text}", parameter=name)
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A truth value."""
        text = self.text(name)
        if text is None:
            return default
        if text.lower() not in ("true", "false", "1", "0"):
            raise Refused(f"invalid {name}: {text}", parameter=name)
        return text.lower() in ("true", "1")

    def word(self, name: str, allowed: Sequence[str], default: str | None = None) -> str | None:
        """One of some upper-case words."""
        text = self.text(name)
        if text is None:
            return default
        if text.upper() not in allowed:
            raise Refused(f"{name} must be one of {', '.join(allowed)}", parameter=name)
        return text.upper()

    def user(self) -> str | None:
        """A wallet, in lower case."""
        text = self.text("user")
        if text is None:
            return None
        if not _ADDRESS.fullmatch(text):
            raise Refused(f"invalid user address: {text}", parameter="user")
        return text.lower()

    def conditions(self) -> list[str] | None:
        """Distinct condition ids without 0x, as asked for; ids of combos have two digits less."""
        text = self.text("condition", "condition_id")
        if text is None:
            return None
        values = _distinct(text)
        for value in values:
            if not _CONDITION.fullmatch(value):
                raise Refused(f"invalid condition id: {value}", parameter="condition")
        return [value.removeprefix("0x").lower() for value in _few(values, "condition")]

    def event_ids(self) -> list[int] | None:
        """Distinct event numbers."""
        text = self.text("event_id")
        if text is None:
            return None
        values = _distinct(text)
        if not all(value.isascii() and value.isdigit() for value in values):
            raise Refused(f"invalid event_id: {text}", parameter="event_id")
        return [int(value) for value in _few(values, "event_id")]

    def limit(self) -> int:
        """Rows a page may have. Too many are refused, not clamped."""
        limit = self.whole("limit")
        if limit is None:
            return DEFAULT_LIMIT
        if not 1 <= limit <= MAX_LIMIT:
            raise Refused(f"limit must be between 1 and {MAX_LIMIT}", parameter="limit")
        return limit

    def cursor(self, kind: str) -> Row | None:
        """What the cursor holds, None without one; refused when it is another endpoint's or was tampered with."""
        if "offset" in self._raw:
            raise Refused("offset is not supported, use cursor", parameter="offset")
        text = self.text("cursor")
        return None if text is None else read_cursor(text, kind)


def camel(name: str) -> str:
    """`taker_only` as `takerOnly`."""
    head, *tail = name.split("_")
    return head + "".join(word.title() for word in tail)


def make_cursor(kind: str, **parameters: Any) -> str:
    """An opaque, signed cursor: base64 without padding of a small JSON object."""
    data = {"type": kind, "params": parameters}
    return base64.urlsafe_b64encode(orjson.dumps({"data": data, "sig": _sign(data)})).decode().rstrip("=")


def read_cursor(text: str, kind: str) -> Row:
    """What a cursor of this kind holds."""
    try:
        padded = text + "=" * (-len(text) % 4)
        data = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))["data"]
        # Made again from what it says, signature included, it must come out the same.
        if make_cursor(kind, **data["params"]) == text:
            parameters: Row = data["params"]
            return parameters
    except (ValueError, KeyError, TypeError):
        pass  # what cannot be read is refused like what was not signed here
    raise Refused("invalid cursor", parameter="cursor")


def envelope(rows: Sequence[Mapping[str, Any]], limit: int, cursor: str | None, applied: bool = True) -> Reply:
    """A page. `offset` is always there and means nothing."""
    return envelope_of(list(map(orjson.dumps, rows)), limit, cursor, applied)


def envelope_of(lines: Sequence[bytes], limit: int, cursor: str | None, applied: bool = True) -> Reply:
    """A page of rows that are JSON already."""
    pagination = {"limit": limit, "offset": 0, "has_more": cursor is not None, "next_cursor": cursor}
    body = b'{"data":[' + b",".join(lines) + b'],"pagination":' + orjson.dumps(pagination) + b"}"
    return Reply(200, body, headers={"x-trace-id": trace_id()}, applied=applied)


def answer(body: Mapping[str, Any], applied: bool = True) -> Reply:
    """A good answer, with its trace."""
    return Reply(200, orjson.dumps(body), headers={"x-trace-id": trace_id()}, applied=applied)


def cut(rows: list[T], limit: int, wish: Wish) -> tuple[list[T], bool, bool]:
    """The rows to send of up to `limit` + 1 found, whether to say that more follow, and whether the fault took effect.

    A short page can be made of two rows or more.
    """
    page, more = rows[:limit], len(rows) > limit
    if wish.fault not in FAULTY or len(page) < 2:
        return page, more, wish.fault not in PLAYED
    return page[: len(page) // 2], wish.fault == "short_page", True


def too_much(limit: int, wish: Wish) -> bool:
    """Whether this is the page that takes the server too long."""
    return wish.fault == "query_timeout" and limit > wish.timeout_above


def _sign(data: Any) -> str:
    return hmac.digest(_SIGNED_BY, orjson.dumps(data), "sha256").hex()[:32]


def _distinct(text: str) -> list[str]:
    return list(dict.fromkeys(value for value in text.split(",") if value))


def _few(values: list[str], name: str) -> list[str]:
    if len(values) > MAX_VALUES:
        raise Refused(f"at most {MAX_VALUES} {name} values, got {len(values)}", parameter=name)
    return values
