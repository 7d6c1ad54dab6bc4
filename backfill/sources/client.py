"""The door: the only way by which a request reaches an upstream.

Rate windows, retries, pauses, the circuit that opens when an upstream is away, the mapping of errors, and the figures
about all this live here, once for each upstream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from backfill.engine.health import Health
from backfill.engine.limits import Booking, RateGate
from backfill.engine.model import Request
from backfill.engine.retry import FullJitter, Policy
from backfill.errors import PageTooLarge, Retry, Throttled, Unavailable, Unreadable
from backfill.log import Logger
from backfill.sources.common import NOT_FOUND
from backfill.sources.source import Answer, Source

T = TypeVar("T")
AWAY_NOTICE_S = 30.0


class Beat(Protocol):
    """Tells what a worker is doing now; raises when it should rather stop than wait."""

    def __call__(self, state: str, /) -> None: ...


def silent(_state: str) -> None:
    """For callers that are no workers."""


@dataclass(slots=True)
class Figures:
    """What went through the door."""

    requests: int = 0
    answers: int = 0
    retries: int = 0
    throttled: int = 0


class Door:
    """All requests to one upstream go through here."""

    def __init__(
        self,
        source: Source,
        session: aiohttp.ClientSession,
        gate: RateGate,
        log: Logger,
        *,
        timeout_s: float,
        connections: int = 0,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self.source, self.gate, self.policy = source, gate, policy or Policy()
        self.health = Health(source.name, self.policy, ended=source.ended, now=clock())
        self.figures = Figures()
        self._session, self._log, self._clock, self._sleep = session, log.bind(upstream=source.name), clock, sleep
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._probing = asyncio.Lock()
        self._connections = asyncio.Semaphore(connections) if connections else nullcontext()
        self._told_away = float("-inf")

    @property
    def state(self) -> str:
        """open, cooling or away."""
        if self.health.away:
            return "away"
        return "cooling" if self.health.hold(self._clock()) > 0 else "open"

    async def fetch(
        self, request: Request, read: Callable[[bytes], T], *, beat: Beat = silent, shrinks: bool = False
    ) -> T:
        """Send `request` until an answer passes `read`.

        Args:
            read: turns the body into what the caller wants; may raise Unreadable, which is tried again a few times.
            beat: hears what we are waiting for.
            shrinks: the caller can ask for less, so PageTooLarge is handed over at once.

        Raises:
            PageTooLarge: see `shrinks`.
            Refused, Unreadable: this request is not to be had.
            Throttled, Unavailable: the attempts are used up, while other requests do succeed.
            UpstreamUnusable: waiting does not help.
        """
        patience = _Patience(self.policy.attempts, self.health, shrinks)
        attempts = AsyncRetrying(
            retry=retry_if_exception(patience.worth_another),
            stop=patience.used_up,
            wait=FullJitter(self.policy),
            sleep=self._backoff(beat),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                return await self._attempt(request, read, beat)
        raise AssertionError("tenacity ends by returning or raising")

    async def once(self, request: Request, read: Callable[[bytes], T]) -> T:
        """A single attempt, inside the rate windows, of which the upstream's state learns nothing: for `doctor`.

        Raises:
            Retry, Skip, UpstreamUnusable: whatever became of it.
        """
        return await self._once(request, read, silent)

    def _backoff(self, beat: Beat) -> Callable[[float], Any]:
        async def pause(seconds: float) -> None:
            self.figures.retries += 1
            beat("retrying")
            await self._sleep(seconds)

        return pause

    async def _attempt(self, request: Request, read: Callable[[bytes], T], beat: Beat) -> T:
        await self.ready(beat)
        try:
            result = await self._once(request, read, beat)
        except Retry as error:
            self._failed(error)
            raise
        self.health.succeeded()
        return result

    def _failed(self, error: Retry) -> None:
        pause = self.health.failed(error, self._clock())
        if pause is not None:
            self.figures.throttled += 1
            self.gate.pace.complained(self._clock())
            self._log.warning("throttled", wait_s=round(pause, 3), error=str(error))

    async def ready(self, beat: Beat = silent) -> None:
        """Wait while the upstream is cooling or away. While it is away, one caller probes for all."""
        while self.health.away:
            beat("cooling")
            async with self._probing:
                if self.health.away:
                    await self._probe()
        while (pause := self.health.hold(self._clock())) > 0:
            beat("cooling")
            await self._sleep(pause)

    async def _probe(self) -> None:
        now = self._clock()
        if now - self._told_away >= AWAY_NOTICE_S:
            self._told_away = now
            gone = round(now - (self.health.away_since or now), 1)
            self._log.warning(
                "upstream_away", seconds=gone, error=self.health.last_error, waits="until it answers again"
            )
        await self._sleep(self.health.next_probe())
        try:
            await self._once(self.source.probe(), lambda body: body, silent)
        except Retry as error:
            self._failed(error)
            return
        self.health.succeeded()
        self._told_away = float("-inf")
        self._log.info("upstream_back")

    async def _once(self, request: Request, read: Callable[[bytes], T], beat: Beat) -> T:
        beat("waiting")
        async with self._connections:
            booking = await self.gate.admit()
            beat("fetching")
            self.figures.requests += 1
            answer = await self._send(request, booking)
        if request.absent_ok and answer.status == NOT_FOUND:
            answer = Answer(answer.status, answer.headers, b"")
        else:
            self.source.judge(answer)
        result = read(answer.body)
        self.figures.answers += 1
        return result

    async def _send(self, request: Request, booking: Booking) -> Answer:
        url = f"{self.source.base_url}{request.path}"
        if request.params:
            url = f"{url}?{urlencode(request.params)}"
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                data=request.body,
                headers=self.source.sign(request),
                timeout=self._timeout,
                allow_redirects=False,
                trace_request_ctx=booking,
            ) as response:
                self.gate.pace.answered(booking.answered())
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError) as error:
            raise Unavailable(f"no connection: {error}", where=self.source.name, reached=False) from None
        except TimeoutError:
            raise Unavailable(f"no answer within {self._timeout.total:g} s", where=self.source.name) from None
        except (aiohttp.ClientError, ConnectionError, ValueError) as error:
            raise Unavailable(f"cut: {type(error).__name__} {error}", where=self.source.name) from None


class _Patience:
    """How many more attempts one request deserves. An upstream that is away is nobody's own fault."""

    UNREADABLE = 4

    def __init__(self, attempts: int, health: Health, shrinks: bool) -> None:
        self._left, self._unreadable, self._health, self._shrinks = attempts, self.UNREADABLE, health, shrinks

    def worth_another(self, error: BaseException) -> bool:
        if isinstance(error, Unreadable):
            self._unreadable -= 1
            return self._unreadable > 0
        if isinstance(error, PageTooLarge):
            return not self._shrinks
        return isinstance(error, Retry)

    def used_up(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if self._health.away or isinstance(error, Throttled):
            return False
        self._left -= 1
        return self._left <= 0


def tracing() -> aiohttp.TraceConfig:
    """Stamps a booking at the moment when its request is written to the socket."""
    trace = aiohttp.TraceConfig()

    async def left(_session: aiohttp.ClientSession, context: Any, _params: Any) -> None:
        if isinstance(booking := context.trace_request_ctx, Booking):
            booking.left()

    trace.on_request_headers_sent.append(left)
    return trace


def open_session(*, stamped: bool) -> aiohttp.ClientSession:
    """A client session without a cap on connections: the workers and the windows are the caps."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    session = aiohttp.ClientSession(connector=connector, trace_configs=[tracing()] if stamped else [])
    # It would send a GET again on its own when a kept connection was closed: an arrival that nobody booked.
    session._retry_connection = False
    return session
