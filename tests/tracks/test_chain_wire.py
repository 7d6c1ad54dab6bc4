"""A chain lane over HTTP, against the pretend node with everything going wrong that can."""

from __future__ import annotations

from collections import Counter

import aiohttp
import orjson

from backfill.config import Polygon as PolygonConfig
from backfill.engine.model import Page, Unit
from backfill.errors import PageTooLarge, Retry, Skip
from backfill.simulator.server import Settings, Simulator
from backfill.simulator.world import World
from backfill.sources.polygon import PolygonSource
from backfill.sources.source import Answer
from backfill.tracks.chain_blocks import Asking
from backfill.tracks.chain_fills import ChainFills

KINDS = (
    "rpc_too_many", "rpc_timeout", "truncated_json", "wrong_json", "repeated_page", "cloudflare", "http_502", "http_500"
)  # fmt: skip
MOST = 3000


async def fetched(session: aiohttp.ClientSession, url: str, lane: ChainFills, unit: Unit, cursor: str | None) -> Page:
    """One attempt at a page."""
    source, request = PolygonSource(PolygonConfig()), lane.request(unit, cursor)
    async with session.post(url, data=request.body, headers=source.sign(request)) as response:
        answer = Answer(response.status, response.headers, await response.read())
    source.judge(answer)
    return lane.parse(unit, cursor, answer.body)


async def test_with_two_thirds_of_the_answers_spoiled_every_fill_comes_out_once() -> None:
    world = World.generate(seed=3, traded=300, mapped=100, full=True)
    first, last = min(order.at.block for order in world.ledger.orders), world.ledger.head.block
    lane, unit = ChainFills(Asking(largest=2_000_000)), Unit(0, (f"{first}-{last + 1}",))
    faults = {"rates": {kind: 0.08 for kind in KINDS}, "late_ms": 1.0}
    lines: list[bytes] = []
    failures: Counter[str] = Counter()
    cursor: str | None = None
    async with Simulator(world, Settings(faults=faults, polygon_limits=())) as sim, aiohttp.ClientSession() as session:
        for _ in range(MOST):
            try:
                page = await fetched(session, f"{sim.base_url}/polygon", lane, unit, cursor)
            except PageTooLarge:
                failures["PageTooLarge"] += 1
                cursor = lane.smaller(unit, cursor) or cursor
                continue
            except (Retry, Skip) as error:
                failures[type(error).__name__] += 1
                continue
            lines += page.lines
            assert page.letters == ()
            if (cursor := page.next) is None:
                break
    assert cursor is None, f"{MOST} requests were not enough"
    assert {"PageTooLarge", "Unavailable", "Unreadable"} <= failures.keys()
    rows = [orjson.loads(line) for line in lines]
    assert Counter((row["block_number"], row["log_index"]) for row in rows) == Counter(
        order.at[:2] for order in world.ledger.orders
    )
