"""The doors of all upstreams, opened from the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backfill.config import Config
from backfill.engine.limits import RateGate
from backfill.errors import UpstreamUnusable
from backfill.log import Logger
from backfill.sources.client import Door
from backfill.sources.clob import ClobSource
from backfill.sources.data_api import DataApiSource
from backfill.sources.dome import DomeSource
from backfill.sources.gamma import GammaSource
from backfill.sources.goldsky import GoldskySource
from backfill.sources.polygon import PolygonSource
from backfill.sources.source import Source

if TYPE_CHECKING:
    import aiohttp

UPSTREAMS = ("dome", "goldsky", "clob", "data_api", "gamma", "polygon")


def make_source(config: Config, upstream: str) -> Source | UpstreamUnusable:
    """The client of an upstream; the error instead when it cannot even be asked."""
    upstreams, secrets = config.upstreams, config.secrets
    try:
        match upstream:
            case "dome":
                return DomeSource(upstreams.dome, secrets.dome_api_key)
            case "goldsky":
                return GoldskySource(upstreams.goldsky)
            case "clob":
                return ClobSource(upstreams.clob, secrets)
            case "data_api":
                return DataApiSource(upstreams.data_api)
            case "gamma":
                return GammaSource(upstreams.gamma)
            case "polygon":
                return PolygonSource(upstreams.polygon)
    except UpstreamUnusable as error:
        return error
    raise KeyError(upstream)


@contextmanager
def open_door(
    config: Config, upstream: str, session: aiohttp.ClientSession, log: Logger
) -> Iterator[Door | UpstreamUnusable]:
    """The door to an upstream, with its rate windows shared through the checkpoint folder."""
    source = make_source(config, upstream)
    if isinstance(source, UpstreamUnusable):
        yield source
        return
    settings = getattr(config.upstreams, upstream)
    gate = RateGate(settings.limits, config.run.checkpoint_dir / "rates" / f"{upstream}.log")
    try:
        yield Door(source, session, gate, log, timeout_s=settings.timeout_s, connections=settings.connections)
    finally:
        gate.close()
