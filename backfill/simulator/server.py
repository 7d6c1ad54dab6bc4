"""The simulator itself: one listening port with both upstreams and a window into what they saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson
from aiohttp import web

from .dome import Dome
from .door import Delay, Door, Mode, RetryAfter, as_json, read_mode
from .faults import Faults, Lie, Profile
from .goldsky import Goldsky
from .limits import DOME_LIMITS, GOLDSKY_LIMITS, Limit
from .model import UPSTREAMS, Upstream
from .record import Arrival, Record
from .world import World

DOME_PATH = "/dome/v1"
GOLDSKY_PATH = "/goldsky/subgraphs"
LINE_BYTES = 65_536
"""Longest request line taken: a hundred token ids make about 9 kB, more than aiohttp takes unasked."""
BODY_BYTES = 64 * 2**20
STALE_SHARE = 0.8
"""A stale upstream knows this share of the markets, the older ones."""
GOODBYE_SECONDS = 0.2


@dataclass(frozen=True)
class Settings:
    """How the servers behave."""

    seed: int = 1
    """Seed of the faults and lies (the world has its own)."""
    dome_limits: Sequence[Limit] = DOME_LIMITS
    """All at once; empty for none."""
    goldsky_limits: Sequence[Limit] = GOLDSKY_LIMITS
    retry_after: RetryAfter = "none"
    """Form of the Retry-After header when a limit is exceeded."""
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    faults: str | Mapping[str, Any] | Profile = "none"
    dome_keys: Sequence[str] = ("demo-key",)
    """Keys that Dome accepts."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 for any free one."""


class Simulator:
    """Both upstreams on one port, in this process: `async with Simulator(world) as sim: …`."""

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        self.world = world
        self.settings = settings or Settings()
        self.faults = Faults(world, self.settings.faults, self.settings.seed)
        self.port = 0
        self._record = Record()
        self._dome = Dome(world, self.faults, self.settings.dome_keys)
        self._goldsky = Goldsky(world, self.faults)
        self._doors: dict[Upstream, Door] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Start listening."""
        self._doors = {"dome": self._door("dome"), "goldsky": self._door("goldsky")}
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            shutdown_timeout=GOODBYE_SECONDS,
            max_line_size=LINE_BYTES,
            max_field_size=LINE_BYTES,
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.settings.host, self.settings.port).start()
        except OSError:  # the port is taken
            await self._runner.cleanup()
            raise
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening; requests that hang are let go."""
        for door in self._doors.values():
            door.closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def base_url(self) -> str:
        """Root of the server."""
        return f"http://{self.settings.host}:{self.port}"

    @property
    def dome_url(self) -> str:
        """What to configure as Dome's base URL."""
        return self.base_url + DOME_PATH

    @property
    def goldsky_url(self) -> str:
        """What to configure as Goldsky's base URL."""
        return self.base_url + GOLDSKY_PATH

    @property
    def arrivals(self) -> list[Arrival]:
        """Every request so far, in order."""
        return self._record.arrivals

    def record(self, *, reset: bool = False) -> list[dict[str, Any]]:
        """The arrivals as JSON objects, as a client of `/_sim/record` gets them; `reset` forgets them afterwards."""
        arrivals = self._record.as_json()
        if reset:
            self._record.reset()
        return arrivals

    def summary(self, *, reset: bool = False) -> dict[str, Any]:
        """Figures by upstream: requests, fullest windows, utilisation, 429s, faults (see `record.summarise`)."""
        summary = self._record.summary({name: door.windows.limits for name, door in self._doors.items()})
        if reset:
            self._record.reset()
        return summary

    def set_mode(self, upstream: Upstream, mode: Mode) -> None:
        """Change how an upstream behaves from the next request on."""
        if upstream not in self._doors:
            raise ValueError(f"no such upstream: {upstream!r}, expected one of {UPSTREAMS}")
        self._doors[upstream].mode = read_mode(mode)

    def set_faults(self, profile: str | Mapping[str, Any] | Profile) -> None:
        """Change what goes wrong from the next request on."""
        self.faults.change(profile)
        self._goldsky.forget()

    def lied_about(self, upstream: Upstream) -> dict[int, Lie]:
        """Tokens that this upstream answers wrongly, and how."""
        return self.faults.lied_about(upstream)

    def warm_up(self) -> None:
        """Make the token rows and their order now instead of at the first request (seconds for a full-size world)."""
        self._goldsky.warm_up()

    def _door(self, upstream: Upstream) -> Door:
        is_dome = upstream == "dome"
        return Door(
            upstream,
            self._dome.answer if is_dome else self._goldsky.answer,
            limits=tuple(self.settings.dome_limits if is_dome else self.settings.goldsky_limits),
            record=self._record,
            faults=self.faults,
            stale_before=_stale_before(self.world),
            delay=Delay(self.settings.latency_ms, self.settings.jitter_ms),
            retry_after=self.settings.retry_after,
            allows=self._dome.allows if is_dome else lambda _request: True,
        )

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_route("*", DOME_PATH + "/{path:.*}", self._doors["dome"].handle)
        app.router.add_route("*", GOLDSKY_PATH + "/{path:.*}", self._doors["goldsky"].handle)
        app.router.add_get("/_sim/record", self._get_record)
        app.router.add_get("/_sim/summary", self._get_summary)
        app.router.add_get("/_sim/lies", self._get_lies)
        app.router.add_post("/_sim/mode", self._post_mode)
        app.router.add_post("/_sim/faults", self._post_faults)
        return app

    async def _get_record(self, request: web.Request) -> web.Response:
        return as_json({"arrivals": self.record(reset=_reset_asked(request))})

    async def _get_summary(self, request: web.Request) -> web.Response:
        return as_json(self.summary(reset=_reset_asked(request)))

    async def _get_lies(self, _request: web.Request) -> web.Response:
        return as_json({name: {str(t): lie for t, lie in self.lied_about(name).items()} for name in UPSTREAMS})

    async def _post_mode(self, request: web.Request) -> web.Response:
        wanted = await _object(request)
        try:
            self.set_mode(wanted.get("upstream", ""), wanted.get("mode", ""))
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return as_json({name: door.mode for name, door in self._doors.items()})

    async def _post_faults(self, request: web.Request) -> web.Response:
        wanted = await _object(request)
        try:
            self.set_faults(wanted.get("profile", wanted))
        except (ValueError, TypeError) as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return as_json({"rates": dict(self.faults.profile.rates), "lies": self.faults.profile.lies})


def _reset_asked(request: web.Request) -> bool:
    return request.query.get("reset", "0") not in ("", "0", "false")


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        value = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="expected a JSON object")
    return value


def _stale_before(world: World) -> int:
    """Time (unix seconds) at which a stale upstream stopped learning of markets."""
    starts = sorted(market.start for market in world.markets)
    return starts[int(len(starts) * STALE_SHARE)] if starts else 0
