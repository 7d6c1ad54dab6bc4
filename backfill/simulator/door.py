"""The door of one upstream: stamps every arrival, keeps the limits, and puts in what is to go wrong."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Literal, get_args

import orjson
from aiohttp import web

from .faults import Faults, RequestFault
from .limits import Limit, SlidingWindows
from .model import Upstream
from .record import THROTTLED, Arrival, Record
from .reply import HTML, Reply, Wish
from .upstreams import Entry

Mode = Literal["ok", "retired_404", "retired_410", "refused", "forbidden", "down", "hang", "stale", "drop"]
"""How an upstream behaves as a whole. `refused` is 401, `forbidden` 403; `down` closes the connection at once, `hang`
never answers, `drop` ends every answer midway, `stale` answers without what is new."""
MODES: tuple[Mode, ...] = get_args(Mode)
RetryAfter = Literal["none", "seconds", "date"]
"""Form of the Retry-After header of a 429."""

_ERROR_STATUS: dict[Mode, int] = {"retired_404": 404, "retired_410": 410, "refused": 401, "forbidden": 403}
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>\n"
_GATEWAY: dict[RequestFault, tuple[int, str]] = {
    "http_502": (502, _PAGE.format("502 Bad Gateway")),
    "http_503": (503, _PAGE.format("503 Service Temporarily Unavailable")),
    "cloudflare": (429, _PAGE.format("Error 1015: You are being rate limited")),
}
_RETRY_FORM: dict[RequestFault, RetryAfter] = {
    "throttled": "none",
    "throttled_seconds": "seconds",
    "throttled_date": "date",
}
_FAULT_WAIT = 1.0
"""Seconds that a 429 put in as a fault asks for."""
_WRONG_JSON = (b"[]", b'{"status":"ok","items":[]}', b"null")
_WRONG_JSON_ANYWHERE = (b'"ok"', b'{"status":"ok","items":[]}', b"42")
"""Wrong where an empty list or a null is a real answer, too."""
_CURSORS = frozenset({"cursor", "next_cursor", "after_cursor", "offset"})
_KEPT_QUESTIONS = 256
"""Questions whose last page is kept, to be sent again."""

Answer = Callable[[web.Request, Wish], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Delay:
    """Latency in milliseconds: a fixed part and up to `jitter_ms` more, drawn by request number."""

    latency_ms: float = 0.0
    jitter_ms: float = 0.0

    def seconds(self, upstream: Upstream, number: int) -> float:
        """Delay of one request."""
        jitter = random.Random(f"delay:{upstream}:{number}").random() if self.jitter_ms else 0.0
        return (self.latency_ms + self.jitter_ms * jitter) / 1000


class Door:
    """Everything a request meets before and after the part that knows the answer."""

    def __init__(
        self,
        upstream: Upstream,
        entry: Entry,
        answer: Answer,
        *,
        limits: tuple[Limit, ...],
        record: Record,
        faults: Faults,
        stale_before: int,
        delay: Delay,
        retry_after: RetryAfter = "none",
        allows: Callable[[web.Request], bool] = lambda _request: True,
        own_faults: frozenset[RequestFault] | None = None,
        error: Callable[[int, str], Reply] | None = None,
    ) -> None:
        self.upstream = upstream
        self.entry = entry
        self.clock: int | None = None
        """The moment (unix seconds) after which nothing has happened yet; None for the end of the world's history."""
        self.mode: Mode = "ok"
        self.windows = SlidingWindows(limits)
        self.closing = asyncio.Event()
        self._answer = answer
        self._record = record
        self._faults = faults
        self._stale_before = stale_before
        self._delay = delay
        self._retry_after: RetryAfter = retry_after
        self._allows = allows
        self._own_faults = own_faults
        self._error = error or entry.error
        self._previous: dict[str, Reply] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle one request. The stamp comes first, before the body is read."""
        at = time.monotonic()
        arrival = self._record.arrive(self.upstream, at)
        if self.mode == "down":
            return _hang_up(request, arrival)
        if self.mode == "hang":
            await self.closing.wait()
            return _hang_up(request, arrival)
        if status := _ERROR_STATUS.get(self.mode):
            return await self._send(request, arrival, self.error(status, request))
        admitted = self.windows.admit(at)
        await asyncio.sleep(self._delay.seconds(self.upstream, arrival.number))
        if not admitted:
            arrival.limited = True
            return await self._send(
                request, arrival, self._throttled(request, self._retry_after, self.windows.wait(time.monotonic()))
            )
        if not self._allows(request):
            return await self._send(request, arrival, self.error(401, request))
        return await self._serve(request, arrival)

    async def _serve(self, request: web.Request, arrival: Arrival) -> web.StreamResponse:
        fault = self._faults.plan(self.upstream, arrival.number, self._own_faults)
        arrival.fault = fault
        if fault == "cut_before":
            return _hang_up(request, arrival)
        reply = self._replacement(fault, arrival, request)
        if reply is None:
            wish = Wish(fault, self._before(), self._faults.profile.timeout_above)
            try:
                reply = await self._answer(request, wish)
            except ConnectionError:  # the client was killed before it had sent its whole question
                return _hang_up(request, arrival)
            arrival.ids = reply.ids
            reply = self._spoil(reply, arrival, request)
        if fault == "late":
            await asyncio.sleep(self._faults.profile.late_ms / 1000)
        return await self._send(request, arrival, reply, midway=fault == "cut_midway" or self.mode == "drop")

    def _before(self) -> int | None:
        """Time (unix seconds) from which on nothing is known: a stale upstream's, or the moment after the clock's."""
        bounds = [] if self.clock is None else [self.clock + 1]
        bounds += [self._stale_before] if self.mode == "stale" else []
        return min(bounds, default=None)

    def _replacement(self, fault: RequestFault | None, arrival: Arrival, request: web.Request) -> Reply | None:
        """The whole answer where the fault needs none of the real one."""
        if fault in _RETRY_FORM:
            return self._throttled(request, _RETRY_FORM[fault], _FAULT_WAIT)
        if fault in _GATEWAY:
            status, page = _GATEWAY[fault]
            return Reply(status, page.encode(), HTML)
        if fault == "http_500":
            return self.error(500, request)
        if fault == "wrong_json":
            wrong = _WRONG_JSON if self.entry.repeats_anything else _WRONG_JSON_ANYWHERE
            return Reply(200, wrong[arrival.number % 3])
        return None

    def _spoil(self, reply: Reply, arrival: Arrival, request: web.Request) -> Reply:
        """Change a real answer, and keep it as the one that may be sent again."""
        question = "" if self.entry.repeats_anything else _question(request)
        previous = self._previous.pop(question, None)
        self._previous[question] = reply
        if len(self._previous) > _KEPT_QUESTIONS:
            del self._previous[next(iter(self._previous))]
        if not reply.applied or (arrival.fault == "repeated_page" and previous is None):
            arrival.fault = None
        if arrival.fault == "repeated_page" and previous is not None:
            return previous
        if arrival.fault == "truncated_json":
            return replace(reply, body=reply.body[: len(reply.body) * 2 // 3])
        return reply

    def error(self, status: int, request: web.Request) -> Reply:
        """An error answer in this upstream's manner."""
        return self._error(status, request.path)

    def _throttled(self, request: web.Request, form: RetryAfter, wait: float) -> Reply:
        seconds = max(1, math.ceil(wait))
        forms = {"seconds": str(seconds), "date": formatdate(math.ceil(time.time() + wait), usegmt=True)}
        plain = self.error(THROTTLED, request)
        return plain if form == "none" else replace(plain, headers={**plain.headers, "Retry-After": forms[form]})

    async def _send(
        self, request: web.Request, arrival: Arrival, reply: Reply, *, midway: bool = False
    ) -> web.StreamResponse:
        arrival.status = reply.status
        headers = {**reply.headers, **self._rate_headers()}
        if not midway:
            return web.Response(
                status=reply.status, body=reply.body, content_type=reply.content_type, charset="utf-8", headers=headers
            )
        response = web.StreamResponse(status=reply.status, headers=headers)
        response.content_type, response.content_length = reply.content_type, len(reply.body)
        await response.prepare(request)
        await response.write(reply.body[: len(reply.body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    def _rate_headers(self) -> dict[str, str]:
        """Dome tells about its longest window; the others tell nothing."""
        if not self.entry.tells_limits or not self.windows.limits:
            return {}
        limit, remaining, reset_in = self.windows.longest(time.monotonic())
        return {
            "x-ratelimit-limit": str(limit.requests),
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": str(math.ceil(time.time() + reset_in)),
        }


def _hang_up(request: web.Request, arrival: Arrival) -> web.StreamResponse:
    """End the connection without an answer. What is returned can no longer be sent."""
    arrival.status = 0
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _question(request: web.Request) -> str:
    """What a request asks, without the place in the answer: pages of one list have it in common.

    A question in a body is told from no other, so none of its answers is sent twice.
    """
    if request.method != "GET":
        return f"#{id(request)}"
    kept = sorted((name, value) for name, value in request.query.items() if name not in _CURSORS)
    return f"{request.path}?{kept}"


def read_mode(value: object) -> Mode:
    """A mode by its name."""
    for mode in MODES:
        if value == mode:
            return mode
    raise ValueError(f"no mode {value!r}, expected one of {', '.join(MODES)}")


def as_json(value: object) -> web.Response:
    """An answer of the simulator about itself."""
    return web.Response(body=orjson.dumps(value), content_type="application/json")
