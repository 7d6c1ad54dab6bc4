"""How far each source goes. It is asked first, because an empty answer beyond its end would not mean "nothing"."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

from backfill.config import Config
from backfill.engine.model import Lane
from backfill.errors import Retry, Skip, UpstreamUnusable
from backfill.log import Logger
from backfill.tracks.chain_blocks import Block, block_request, read_block
from backfill.tracks.track import Headed, Track, Window


class Horizon(NamedTuple):
    """Until when a source is complete (unix seconds, exclusive); or why it cannot be used at all."""

    end: int
    unusable: UpstreamUnusable | None = None


def seconds(moment: str) -> int:
    """Unix seconds of an ISO 8601 moment, in UTC where it names no zone."""
    found = dt.datetime.fromisoformat(moment)
    return int((found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp())


async def horizon(config: Config, track: Track, lane: Lane, door: Any, log: Logger, until: int) -> Horizon:
    """How far this source goes, at most to `until`."""
    if isinstance(door, UpstreamUnusable):
        return Horizon(0, door)
    end = min(until, ended(config, track.upstream))
    if not isinstance(lane, Headed) or end <= 0:
        return Horizon(end)
    try:
        head = await door.fetch(lane.head(), lane.read_head)
    except UpstreamUnusable as error:
        return Horizon(0, error)
    except (Retry, Skip) as error:
        return Horizon(
            0, UpstreamUnusable(f"does not say how far it goes: {error}", kind="stale", where=track.upstream)
        )
    log.info("source_head", track=track.name, head=_text(head), wanted=_text(end))
    return Horizon(min(end, head))


def ended(config: Config, upstream: str) -> int:
    """When the history of an upstream ended for good, as far as is known."""
    settings = getattr(config.upstreams, upstream, None)
    known = getattr(settings, "complete_until", "") or getattr(settings, "end_of_life", "")
    return seconds(known) if known else 1 << 62


def _text(moment: int) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%dT%H:%M:%SZ}" if moment < 1 << 40 else "open"


async def blocks_of(door: Any, window: Window, *, first: int, confirmations: int) -> tuple[Window, Mapping[int, int]]:
    """The blocks of a stretch of time, and the times of its two ends.

    Blocks rise with time, so each end is found by halving: about 27 questions.

    Raises:
        UpstreamUnusable: the node is gone.
    """
    newest = await _block(door, "latest")
    head = Block(newest.number - confirmations, newest.timestamp)
    start = await _first_at(door, window.start, first, head.number)
    end = head.number if window.end >= newest.timestamp else await _first_at(door, window.end, start, head.number)
    return Window(start, end), {start: window.start, end: min(window.end, newest.timestamp)}


async def _first_at(door: Any, moment: int, low: int, high: int) -> int:
    """The first block of [low, high] that is not older than a moment."""
    while low < high:
        middle = (low + high) // 2
        if (await _block(door, middle)).timestamp < moment:
            low = middle + 1
        else:
            high = middle
    return low


async def _block(door: Any, tag: int | str) -> Block:
    found: Block = await door.fetch(block_request(tag), lambda body: read_block(body, "polygon"))
    return found
