"""The simulator itself: one listening port with every upstream and a window into what they saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from aiohttp import web

from .door import Delay, Door, Mode, RetryAfter, as_json, read_mode
from .faults import Faults, Lie, Profile
from .limits import DOME_LIMITS, GOLDSKY_LIMITS, Limit
from .model import UPSTREAMS, Upstream
from .record import Arrival, Record
from .upstreams import REGISTRY, Answerer, env_of
from .world import World

LINE_BYTES = 65_536
"""Longest request line taken: a hundred token ids make about 9 kB, more than aiohttp takes unasked."""
BODY_BYTES = 64 * 2**20
STALE_SHARE = 0.8
"""A stale upstream knows this share of the markets, the older ones."""
GOODBYE_SECONDS = 0.2
SMALL_WORLD = 20_000
"""Traded tokens up to which the ledger of a plain world is made in a second or two."""


@dataclass(frozen=True)
class Settings:
    """How the servers behave."""

    seed: int = 1
    """Seed of the faults and lies (the world has its own)."""
    dome_limits: Sequence[Limit] = DOME_LIMITS
    """All at once; empty for none."""
    goldsky_limits: Sequence[Limit] = GOLDSKY_LIMITS
    data_api_limits: Sequence[Limit] = REGISTRY["data_api"].limits
    gamma_limits: Sequence[Limit] = REGISTRY["gamma"].limits
    clob_limits: Sequence[Limit] = REGISTRY["clob"].limits
    polygon_limits: Sequence[Limit] = REGISTRY["polygon"].limits
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
    now: int | None = None
    """Moment (unix seconds) that the upstreams' clock stands at: what is younger they do not know. None for none."""
    quirks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By upstream, what its part is to be configured with."""

    def limits_of(self, upstream: Upstream) -> tuple[Limit, ...]:
        """The limits of one upstream."""
        return tuple(getattr(self, f"{upstream}_limits"))


class Simulator:
    """Every upstream on one port, in this process: `async with Simulator(world) as sim: …`."""

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        self.world = world
        self.settings = settings or Settings()
        self.faults = Faults(world, self.settings.faults, self.settings.seed)
        self.port = 0
        self._record = Record()
        self._parts = self._make_parts()
        for name, quirks in self.settings.quirks.items():
            self.configure(name, **quirks)
        self._doors: dict[Upstream, Door] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Start listening."""
        self._doors = {name: self._door(name, part) for name, part in self._parts.items()}
        self.set_clock(self.settings.now)
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
        return self.url_of("dome")

    @property
    def goldsky_url(self) -> str:
        """What to configure as Goldsky's base URL."""
        return self.url_of("goldsky")

    def url_of(self, upstream: Upstream) -> str:
        """What to configure as this upstream's base URL (Polygon: as its RPC URL)."""
        return self.base_url + REGISTRY[upstream].path

    @property
    def urls(self) -> dict[Upstream, str]:
        """The address of every upstream that is served."""
        return {name: self.url_of(name) for name in self._parts}

    @property
    def env(self) -> dict[str, str]:
        """Environment variables that point the product here, the pretend account's keys included.

        Finding that account takes the ledger, so a plain world of full size, which is for token lookups, goes without.
        """
        found = {REGISTRY[name].url_variable: url for name, url in self.urls.items()}
        found["DOME_API_KEY"] = self.settings.dome_keys[0]
        if self.world.plan is not None or len(self.world.traded) <= SMALL_WORLD:
            for part in self._parts.values():
                found.update(env_of(part))
        return found

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
        self._tell_all("forget")

    def set_clock(self, now: int | None) -> None:
        """Let it be that moment (unix seconds) from the next request on: what is younger has not happened yet.

        None for the end of the world's history.
        """
        if now is not None and (isinstance(now, bool) or not isinstance(now, int)):
            raise ValueError(f"no moment: {now!r}, expected unix seconds or null")
        for door in self._doors.values():
            door.clock = now

    def configure(self, upstream: str, **quirks: Any) -> None:
        """Change quirks of an upstream; ValueError for one that it has not."""
        part = self._parts.get(upstream)  # type: ignore[call-overload]
        change = getattr(part, "configure", None)
        if change is None:
            raise ValueError(f"nothing to configure at {upstream!r}")
        for name, value in quirks.items():
            change(name, value)

    def lied_about(self, upstream: Upstream) -> dict[int, Lie]:
        """Tokens that this upstream answers wrongly, and how."""
        return self.faults.lied_about(upstream)

    def warm_up(self) -> None:
        """Make what answers are made from now instead of at the first request: seconds in a large world.

        In a plain world that is what token lookups need; the ledger waits until somebody asks for it.
        """
        if self.world.plan is not None:
            self._tell_all("warm_up")
        elif (goldsky := self._parts.get("goldsky")) is not None:
            goldsky.warm_up()  # type: ignore[attr-defined]

    def _make_parts(self) -> dict[Upstream, Answerer]:
        """The part that answers for each upstream whose module is there."""
        parts: dict[Upstream, Answerer] = {}
        for name, entry in REGISTRY.items():
            more = {"keys": self.settings.dome_keys} if name == "dome" else {}
            if (part := entry.make(self.world, self.faults, **more)) is not None:
                parts[name] = part
        return parts

    def _tell_all(self, method: str) -> None:
        """Call a method of every part that has it."""
        for part in self._parts.values():
            if (told := getattr(part, method, None)) is not None:
                told()

    def _door(self, upstream: Upstream, part: Answerer) -> Door:
        return Door(
            upstream,
            REGISTRY[upstream],
            part.answer,
            limits=self.settings.limits_of(upstream),
            record=self._record,
            faults=self.faults,
            stale_before=_stale_before(self.world),
            delay=Delay(self.settings.latency_ms, self.settings.jitter_ms),
            retry_after=self.settings.retry_after,
            allows=getattr(part, "allows", lambda _request: True),
            own_faults=getattr(part, "own_faults", None),
            error=getattr(part, "error", None),
        )

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES)
        for name, door in self._doors.items():
            app.router.add_route("*", REGISTRY[name].path, door.handle)
            app.router.add_route("*", REGISTRY[name].path + "/{path:.*}", door.handle)
        app.router.add_get("/_sim/record", self._get_record)
        app.router.add_get("/_sim/summary", self._get_summary)
        app.router.add_get("/_sim/lies", self._get_lies)
        app.router.add_post("/_sim/mode", self._post_mode)
        app.router.add_post("/_sim/faults", self._post_faults)
        app.router.add_post("/_sim/clock", self._post_clock)
        app.router.add_post("/_sim/configure", self._post_configure)
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

    async def _post_clock(self, request: web.Request) -> web.Response:
        now = (await _object(request)).get("now")
        try:
            self.set_clock(now)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return as_json({"now": now})

    async def _post_configure(self, request: web.Request) -> web.Response:
        wanted = await _object(request)
        try:
            self.configure(wanted.pop("upstream", ""), **wanted)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return as_json(wanted)


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
