"""Whatever goes wrong, a careful client can still find the right answers: the faults are hard, not unfair."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest

from backfill.simulator.faults import PROFILES
from backfill.simulator.ids import token_id
from backfill.simulator.server import Settings, Simulator
from backfill.simulator.world import World

Claim = tuple[str, int]
"""Condition without 0x, and outcome index."""
BATCH = 25
QUERY = "query($ids:[ID!]){positions(first:1000,where:{id_in:$ids}){id condition outcomeIndex}}"


class Unusable(Exception):
    """An answer that must be asked for again."""


async def ask_dome(sim: Simulator, client: aiohttp.ClientSession, tokens: list[int]) -> dict[int, Claim]:
    """What Dome claims about these tokens."""
    query = [*(("token_id", str(token)) for token in tokens), ("limit", "100")]
    async with client.get(sim.dome_url + "/polymarket/markets", params=query) as answer:
        page = await _json(answer)
    rows = page["markets"]
    if page["pagination"]["total"] != len(rows):
        raise Unusable
    claims: dict[int, Claim] = {}
    for row in rows:
        ids = [row.get(side, {}).get("id", "") for side in ("side_a", "side_b")]
        if not {str(token) for token in tokens} & set(ids):
            raise Unusable
        claims |= {int(i): (row["condition_id"][2:], n) for n, i in enumerate(ids) if i.isdigit() and int(i) in tokens}
    return claims


async def ask_goldsky(sim: Simulator, client: aiohttp.ClientSession, tokens: list[int]) -> dict[int, Claim]:
    """What Goldsky claims about these tokens."""
    body = {"query": QUERY, "variables": {"ids": [str(token) for token in tokens]}}
    async with client.post(sim.goldsky_url + "/activity-subgraph/0.0.4/gn", json=body) as answer:
        rows = (await _json(answer))["data"]["positions"]
    claims = {int(row["id"]): (row["condition"][2:], int(row["outcomeIndex"])) for row in rows}
    if not claims.keys() <= set(tokens):
        raise Unusable
    return claims


async def _json(answer: aiohttp.ClientResponse) -> Any:
    if answer.status != 200:
        raise Unusable
    return orjson.loads(await answer.read())


def proven(token: int, claim: Claim) -> bool:
    """Whether the claimed condition and outcome derive this token."""
    try:
        condition = bytes.fromhex(claim[0])
    except ValueError:
        return False
    return any(token_id(condition, claim[1], neg_risk) == token for neg_risk in (False, True))


async def find(
    ask: Callable[[list[int]], Awaitable[dict[int, Claim]]], tokens: Iterable[int]
) -> tuple[dict[int, Claim], set[int]]:
    """Proven answers, and the tokens whose answers were disproven."""
    found: dict[int, Claim] = {}
    disproven: set[int] = set()
    todo = list(tokens)
    for start in range(0, len(todo), BATCH):
        batch = todo[start : start + BATCH]
        for _attempt in range(30):
            try:
                claims = await ask(batch)
                break
            except (Unusable, KeyError, TypeError, orjson.JSONDecodeError, aiohttp.ClientError):
                continue
        else:
            pytest.fail("no usable answer in thirty attempts")
        found |= {token: claim for token, claim in claims.items() if proven(token, claim)}
        disproven |= {token for token, claim in claims.items() if not proven(token, claim)}
    return found, disproven


@pytest.mark.parametrize("faults", ["none", "mild", "rough", "liar", "all"])
async def test_a_careful_client_maps_every_token_that_somebody_tells_the_truth_about(
    world: World, client: aiohttp.ClientSession, faults: str
) -> None:
    profile = replace(PROFILES[faults], late_ms=1)
    settings = Settings(faults=profile, dome_limits=(), goldsky_limits=())
    async with Simulator(world, settings) as sim:
        wanted = world.unmapped()
        by_dome, not_by_dome = await find(lambda batch: ask_dome(sim, client, batch), wanted)
        by_goldsky, not_by_goldsky = await find(lambda batch: ask_goldsky(sim, client, batch), wanted)
        lies = {name: set(sim.lied_about(name)) for name in ("dome", "goldsky")}
    for found in (by_dome, by_goldsky):
        assert all(claim == world.truth[token][:2] for token, claim in found.items())
    assert by_dome.keys() >= (set(wanted) & world.known_to("dome")) - lies["dome"]
    assert by_goldsky.keys() == (set(wanted) & world.known_to("goldsky")) - lies["goldsky"]
    assert not_by_dome <= lies["dome"]
    assert not_by_goldsky == lies["goldsky"] & set(wanted)
