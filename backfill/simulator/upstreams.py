"""The pretend upstreams: where each one is, how it limits, how it words an error, and what makes it.

A part that answers for an upstream has `async answer(request, wish) -> Reply`. It may have besides, and is asked for
them by name:

- `allows(request) -> bool`: whether the credentials are accepted; without it everybody is let in;
- `env: Mapping[str, str]`: further environment variables that the product needs (an account's keys);
- `own_faults: frozenset[RequestFault]`: kinds out of `faults.SPECIAL` that it plays itself when `wish.fault` names one;
  the others reach clients as an HTTP error;
- `error(status, path) -> Reply`: an error in its manner, where the one in this file will not do;
- `configure(name, value) -> None`: change a quirk while it runs; ValueError for a name or value that it has not;
- `forget() -> None`: the fault profile has changed, so what was made from the lies is to be made anew;
- `warm_up() -> None`: make what answers need before the first request does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from aiohttp import web

from .dome_query import error_reply
from .faults import Faults
from .limits import DOME_LIMITS, GOLDSKY_LIMITS, Limit
from .model import UPSTREAMS, Upstream
from .reply import TEXT, Reply, Wish
from .world import World

ErrorMaker = Callable[[int, str], Reply]
"""Status and path to an error answer."""


class Answerer(Protocol):
    """The part that knows the answers of one upstream."""

    async def answer(self, request: web.Request, wish: Wish) -> Reply:
        """Answer a request whose credentials were accepted."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """What the server has to know about one upstream."""

    path: str
    """Where it is below the root of the server."""
    limits: tuple[Limit, ...]
    """What it allows by default."""
    url_variable: str
    """Environment variable of the product that says where it is."""
    error: ErrorMaker
    module: str
    maker: str
    """Module of this package, and the class in it that takes a world and faults."""
    tells_limits: bool = False
    """Whether answers carry the state of the limit in their headers."""
    repeats_anything: bool = False
    """Whether a `repeated_page` may be the answer to another question; elsewhere it is an earlier page of the same."""

    def make(self, world: World, faults: Faults, **more: Any) -> Answerer | None:
        """Make the part that answers; None where its module is not there."""
        try:
            module = importlib.import_module(f".{self.module}", __package__)
        except ModuleNotFoundError as error:
            if error.name == f"{__package__}.{self.module}":
                return None
            raise
        made: Answerer = getattr(module, self.maker)(world, faults, **more)
        return made


_TEXTS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    410: "Gone",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_LONG_TEXTS = {
    401: "Invalid or missing API key",
    403: "This key may not use this resource",
    404: "No such resource",
    410: "This service has been retired",
    429: "Rate limit exceeded",
    500: "Failed to fetch data",
}
_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    410: "not_found",
    429: "rate_limited",
    500: "internal",
    503: "dependency_unavailable",
}
_LATER = (429, 500, 503)
"""Statuses after which the same request may be sent again."""
_RPC_CODES = {401: -32000, 403: -32000, 429: -32005, 500: -32603}


def _dome_error(status: int, _path: str) -> Reply:
    return error_reply(status, _TEXTS[status], _LONG_TEXTS.get(status, _TEXTS[status]))


def _plain_error(status: int, _path: str) -> Reply:
    return Reply(status, _LONG_TEXTS.get(status, _TEXTS[status]).encode(), TEXT)


def _data_api_error(status: int, path: str) -> Reply:
    """The second version has codes and a trace; the first one has a bare text."""
    text = _LONG_TEXTS.get(status, _TEXTS[status])
    if "/v2/" not in path:
        return Reply(status, orjson.dumps({"error": text}))
    trace = f"{status:032x}"
    body = {"error": text, "code": _CODES[status], "retryable": status in _LATER, "trace_id": trace}
    return Reply(status, orjson.dumps(body), headers={"x-trace-id": trace})


def _gamma_error(status: int, _path: str) -> Reply:
    return Reply(status, orjson.dumps({"type": f"{_TEXTS[status].lower()} error", "error": _LONG_TEXTS[status]}))


def _clob_error(status: int, _path: str) -> Reply:
    text = {401: "Unauthorized/Invalid api key", 500: "Internal server error"}.get(status, _TEXTS[status])
    return Reply(status, orjson.dumps({"error": text}))


def _polygon_error(status: int, _path: str) -> Reply:
    error = {"code": _RPC_CODES.get(status, -32000), "message": _TEXTS[status].lower()}
    return Reply(status, orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error}))


def _variable(name: str, key: str = "BASE_URL") -> str:
    return f"BACKFILL_UPSTREAMS__{name}__{key}"


_TEN_SECONDS = 10.0
REGISTRY: dict[Upstream, Entry] = {
    "dome": Entry(
        "/dome/v1", DOME_LIMITS, _variable("DOME"), _dome_error, "dome", "Dome",
        tells_limits=True, repeats_anything=True,
    ),
    "goldsky": Entry(
        "/goldsky/subgraphs", GOLDSKY_LIMITS, _variable("GOLDSKY"), _plain_error, "goldsky", "Goldsky",
        repeats_anything=True,
    ),
    "data_api": Entry(
        "/data-api", (Limit(200, _TEN_SECONDS),), _variable("DATA_API"), _data_api_error, "data_api", "DataApi"
    ),
    "gamma": Entry("/gamma", (Limit(300, _TEN_SECONDS),), _variable("GAMMA"), _gamma_error, "gamma", "Gamma"),
    "clob": Entry("/clob", (Limit(500, _TEN_SECONDS),), _variable("CLOB"), _clob_error, "clob", "Clob"),
    "polygon": Entry(
        "/polygon", (Limit(100, _TEN_SECONDS),), _variable("POLYGON", "RPC_URL"), _polygon_error, "polygon", "Polygon"
    ),
}  # fmt: skip
"""Every upstream. The limits of the last four are the published ones of their busiest endpoint, and a modest node's."""
assert tuple(REGISTRY) == UPSTREAMS


def env_of(answerer: Answerer) -> Mapping[str, str]:
    """Further environment variables that clients of this upstream need."""
    env: Mapping[str, str] = getattr(answerer, "env", {})
    return env
