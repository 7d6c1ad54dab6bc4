"""How far each source goes. It is asked first, because an empty answer beyond its end would not mean "nothing"."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from backfill.config import Config
from backfill.engine.model import Lane
from backfill.errors import Retry, Skip, UpstreamUnusable
from backfill.log import Logger
from backfill.tracks.chain_blocks import Block, block_request, read_block
from backfill.tracks.track import Headed, Track, Window

TOLERATED_S: Final = 90 * 86_400
"""A source whose data ends so long before that of others, or before its own known end, stopped without a word."""
STEP_BACK_S: Final = 86_400
"""A head may move back by so much (a reorganisation, a change of server); by more, it is another, older source."""
KNOWS_STATE: Final = frozenset({"payouts", "wallets", "positions"})


class Horizon(NamedTuple):
    """Until when a source is complete (unix seconds, exclusive); or why it cannot be used at all.

    `end` is `wanted`, or the `head` that the source itself tells where that is earlier (None where it cannot tell).
    """

    end: int
    unusable: UpstreamUnusable | None = None
    wanted: int = 0
    head: int | None = None


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
        return Horizon(end, wanted=end)
    try:
        head = await door.fetch(lane.head(), lane.read_head)
    except UpstreamUnusable as error:
        return Horizon(0, error)
    except (Retry, Skip) as error:
        return Horizon(
            0, UpstreamUnusable(f"does not say how far it goes: {error}", kind="stale", where=track.upstream)
        )
    log.info("source_head", track=track.name, head=when(head), wanted=when(end))
    found = Horizon(min(end, head), wanted=end, head=head)
    if end < until and reads_state(track) and behind(found, end):
        return found._replace(unusable=stale(track, f"its data ends {when(head)}, long before {when(end)}"))
    if behind(found, end):
        log.warning("source_behind", track=track.name, head=when(head), days=(end - head) // 86_400)
    return found


def reads_state(track: Track) -> bool:
    """Whether a track reads how things are, and not what happened in a stretch of time or of blocks.

    What such a source does not know yet looks like what does not exist, and what it knows of old looks like news.
    """
    return track.scope in ("listing", "offsets") or (track.dataset in KNOWS_STATE and track.scope != "blocks")


def one_source(one: Track, other: Track) -> bool:
    """Whether two tracks read the same data, which is one age for both; each subgraph has its own."""
    return one.upstream == other.upstream and one.upstream in ("gamma", "data_api", "polygon")


def behind(found: Horizon, moment: int) -> bool:
    """Whether a source's data ends long before a moment."""
    return found.head is not None and found.head < moment - TOLERATED_S


def stale(track: Track, why: str) -> UpstreamUnusable:
    """What is wrong with a source that stands still."""
    return UpstreamUnusable(why, kind="stale", where=track.upstream, remedy="backfill doctor looks closer")


def gone_back(track: Track, found: Horizon, before: int) -> UpstreamUnusable | None:
    """What is wrong with a source whose data reached further when it was last read (unix seconds)."""
    if found.head is None or found.head >= min(found.wanted, before) - STEP_BACK_S:
        return None
    return stale(track, f"its data ends {when(found.head)}, but it had reached {when(before)} before")


def ended(config: Config, upstream: str) -> int:
    """When the history of an upstream ended for good, as far as is known."""
    settings = getattr(config.upstreams, upstream, None)
    known = getattr(settings, "complete_until", "") or getattr(settings, "end_of_life", "")
    return seconds(known) if known else 1 << 62


def when(at: int) -> str:
    """A moment (unix seconds) as ISO 8601."""
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%dT%H:%M:%SZ}" if at < 1 << 40 else "open"


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
    """The first block of [low, high] that is not older than a moment; `high` when all others are.

    Blocks come nearly evenly, so a guess by proportion is usually close; every third question halves instead, so that
    uneven times cost at most three times what halving alone does.
    """
    older, newer = await _block(door, low), await _block(door, high)
    if older.timestamp >= moment:
        return low
    asked = 0
    while newer.number - older.number > 1:
        asked += 1
        middle = (older.number + newer.number) // 2
        if asked % 3 and newer.timestamp > older.timestamp:
            share = (newer.number - older.number) * (moment - older.timestamp) // (newer.timestamp - older.timestamp)
            middle = min(max(older.number + share, older.number + 1), newer.number - 1)
        found = await _block(door, middle)
        older, newer = (found, newer) if found.timestamp < moment else (older, found)
    return newer.number


async def _block(door: Any, tag: int | str) -> Block:
    found: Block = await door.fetch(block_request(tag), lambda body: read_block(tag, body, "polygon"))
    return found
