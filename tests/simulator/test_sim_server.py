"""The servers over HTTP: limits, credentials, modes, faults, and the record of what arrived."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson
import pytest

from backfill.simulator.door import Mode
from backfill.simulator.faults import RequestFault
from backfill.simulator.limits import Limit
from backfill.simulator.model import UPSTREAMS, Upstream
from backfill.simulator.server import Settings, Simulator
from backfill.simulator.world import World

Client = aiohttp.ClientSession
TEN = Settings(dome_limits=(Limit(10, 60), Limit(100, 600)))
"""Dome's shape of limits, in windows that even a busy machine does not outlast."""
FREE = Settings(dome_limits=(), goldsky_limits=())
POSITIONS = {"query": "{positions(first:10){id condition outcomeIndex}}"}
MARKETS, ACTIVITY = "/polymarket/markets", "/activity-subgraph/0.0.4/gn"


async def dome(sim: Simulator, client: Client, **options: Any) -> tuple[int, bytes]:
    """Status and body of one request for markets."""
    async with client.get(sim.dome_url + MARKETS, **options) as answer:
        return answer.status, await answer.read()


async def goldsky(sim: Simulator, client: Client) -> tuple[int, bytes]:
    """Status and body of one request for positions."""
    async with client.post(sim.goldsky_url + ACTIVITY, json=POSITIONS) as answer:
        return answer.status, await answer.read()


ASK: dict[Upstream, Callable[[Simulator, Client], Awaitable[tuple[int, bytes]]]] = {"dome": dome, "goldsky": goldsky}


async def test_ten_requests_pass_and_the_eleventh_gets_429(world: World, client: Client) -> None:
    async with Simulator(world, TEN) as sim:
        answers = [await dome(sim, client) for _ in range(11)]
    assert [status for status, _ in answers] == [200] * 10 + [429]
    assert set(orjson.loads(answers[-1][1])) == {"error", "message"}


async def test_goldsky_refuses_the_51st_in_plain_text(world: World, client: Client) -> None:
    async with Simulator(world) as sim:
        statuses = [(await goldsky(sim, client))[0] for _ in range(50)]
        async with client.post(sim.goldsky_url + ACTIVITY, json=POSITIONS) as answer:
            assert (answer.status, answer.content_type) == (429, "text/plain")
            assert "Retry-After" not in answer.headers
    assert set(statuses) == {200}


async def test_retry_after_comes_in_seconds_or_as_a_date_when_wanted(world: World, client: Client) -> None:
    one = (Limit(1, 5),)
    for form in ("seconds", "date"):
        async with Simulator(world, Settings(dome_limits=one, retry_after=form)) as sim:
            await dome(sim, client)
            async with client.get(sim.dome_url + MARKETS) as answer:
                value = answer.headers["Retry-After"]
        if form == "seconds":
            assert 1 <= int(value) <= 5
        else:
            assert parsedate_to_datetime(value).tzinfo is not None


async def test_dome_counts_down_in_its_headers(world: World, client: Client) -> None:
    async with Simulator(world) as sim:
        remaining = []
        for _ in range(3):
            async with client.get(sim.dome_url + MARKETS) as answer:
                remaining.append(int(answer.headers["x-ratelimit-remaining"]))
                assert answer.headers["x-ratelimit-limit"] == "100"
                assert int(answer.headers["x-ratelimit-reset"]) > 1_700_000_000
    assert remaining == [99, 98, 97]


async def test_a_request_for_100_tokens_fits_into_the_request_line(world: World, client: Client) -> None:
    query = [("token_id", str(token)) for token in world.traded[:100]] + [("limit", "100")]
    async with Simulator(world) as sim:
        status, body = await dome(sim, client, params=query)
        assert sim.arrivals[0].ids == 100
    assert status == 200
    assert len(orjson.loads(body)["markets"]) > 40


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer wrong", "Basic demo-key"])
async def test_without_the_right_key_dome_answers_401(world: World, client: Client, key: str) -> None:
    async with Simulator(world) as sim:
        status, body = await dome(sim, client, headers={"Authorization": key})
    assert (status, set(orjson.loads(body))) == (401, {"error", "message"})


async def test_101_tokens_get_a_400_in_domes_shape(world: World, client: Client) -> None:
    async with Simulator(world) as sim:
        status, body = await dome(sim, client, params=[("token_id", str(t)) for t in world.traded[:101]])
    assert (status, set(orjson.loads(body))) == (400, {"error", "message"})


@pytest.mark.parametrize("path", ["/nope/0.0.1/gn", "/activity-subgraph/0.0.1/gn", "/activity-subgraph/0.0.4"])
async def test_an_unknown_subgraph_or_version_is_a_404(world: World, client: Client, path: str) -> None:
    async with Simulator(world) as sim, client.post(sim.goldsky_url + path, json=POSITIONS) as answer:
        assert answer.status == 404


async def test_an_unknown_path_of_dome_is_a_404_in_its_shape(world: World, client: Client) -> None:
    async with Simulator(world) as sim, client.get(sim.dome_url + "/polymarket/nothing") as answer:
        assert (answer.status, set(await answer.json())) == (404, {"error", "message"})


@pytest.mark.parametrize(
    ("mode", "status"), [("ok", 200), ("retired_404", 404), ("retired_410", 410), ("refused", 401), ("forbidden", 403)]
)
@pytest.mark.parametrize("upstream", ["dome", "goldsky"])
async def test_modes_that_answer(world: World, client: Client, upstream: Upstream, mode: Mode, status: int) -> None:
    async with Simulator(world, FREE) as sim:
        sim.set_mode(upstream, mode)
        assert (await ASK[upstream](sim, client))[0] == status


@pytest.mark.parametrize("mode", ["down", "drop"])
@pytest.mark.parametrize("upstream", ["dome", "goldsky"])
async def test_modes_that_break_the_connection(world: World, client: Client, upstream: Upstream, mode: Mode) -> None:
    async with Simulator(world, FREE) as sim:
        sim.set_mode(upstream, mode)
        with pytest.raises(aiohttp.ClientError):
            await ASK[upstream](sim, client)
        assert len(sim.arrivals) >= 1


async def test_a_hanging_upstream_does_not_answer_and_does_not_keep_the_server_from_stopping(world: World) -> None:
    async with Simulator(world, FREE) as sim, aiohttp.ClientSession() as client:
        sim.set_mode("goldsky", "hang")
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.05):
                await goldsky(sim, client)


async def test_modes_and_faults_switch_over_http_too(world: World, client: Client) -> None:
    async with Simulator(world, FREE) as sim:
        change = {"upstream": "dome", "mode": "retired_410"}
        async with client.post(sim.base_url + "/_sim/mode", json=change) as answer:
            modes = await answer.json()
        assert modes == {**dict.fromkeys(UPSTREAMS, "ok"), "dome": "retired_410"}
        assert (await dome(sim, client))[0] == 410
        async with client.post(sim.base_url + "/_sim/faults", json={"rates": {"http_502": 1.0}}) as answer:
            assert answer.status == 200
        assert (await goldsky(sim, client))[0] == 502
        async with client.post(sim.base_url + "/_sim/faults", json={"profile": "none"}) as answer:
            assert answer.status == 200
        assert (await goldsky(sim, client))[0] == 200


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("mode", {"upstream": "dome", "mode": "sleepy"}),
        ("mode", {"upstream": "kalshi", "mode": "ok"}),
        ("mode", []),
        ("faults", {"profile": "awful"}),
        ("faults", {"rates": {"nope": 1}}),
    ],
)
async def test_a_switch_that_makes_no_sense_is_a_400(world: World, client: Client, path: str, content: object) -> None:
    async with Simulator(world) as sim, client.post(f"{sim.base_url}/_sim/{path}", json=content) as answer:
        assert answer.status == 400


FAULT_STATUS: list[tuple[RequestFault, int]] = [
    ("throttled", 429),
    ("throttled_seconds", 429),
    ("throttled_date", 429),
    ("http_500", 500),
    ("http_502", 502),
    ("http_503", 503),
    ("wrong_json", 200),
    ("truncated_json", 200),
    ("late", 200),
]


@pytest.mark.parametrize(("kind", "status"), FAULT_STATUS)
@pytest.mark.parametrize("upstream", ["dome", "goldsky"])
async def test_faults_that_answer(
    world: World, client: Client, upstream: Upstream, kind: RequestFault, status: int
) -> None:
    profile = {"rates": {kind: 1.0}, "late_ms": 1}
    async with Simulator(world, Settings(faults=profile)) as sim:
        assert (await ASK[upstream](sim, client))[0] == status
        arrival = sim.arrivals[-1]
    assert (arrival.fault, arrival.status, arrival.limited) == (kind, status, False)


async def test_a_truncated_answer_is_not_json(world: World, client: Client) -> None:
    async with Simulator(world, Settings(faults={"rates": {"truncated_json": 1.0}})) as sim:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads((await dome(sim, client))[1])


@pytest.mark.parametrize("kind", ["cut_before", "cut_midway"])
@pytest.mark.parametrize("upstream", ["dome", "goldsky"])
async def test_faults_that_cut_the_connection(world: World, client: Client, upstream: Upstream, kind: str) -> None:
    async with Simulator(world, Settings(faults={"rates": {kind: 1.0}})) as sim:
        with pytest.raises(aiohttp.ClientError):
            await ASK[upstream](sim, client)
        assert sim.arrivals[0].fault == kind


async def test_a_repeated_page_is_the_answer_before(world: World, client: Client) -> None:
    async with Simulator(world, Settings(faults={"rates": {"repeated_page": 1.0}})) as sim:
        first = await dome(sim, client, params={"token_id": str(world.traded[0])})
        assert sim.arrivals[0].fault is None
        second = await dome(sim, client, params={"token_id": str(world.traded[-1])})
        assert sim.arrivals[1].fault == "repeated_page"
    assert second == first


@pytest.mark.parametrize("kind", ["store_timeout", "overloaded", "statement_canceled"])
async def test_graphql_errors_come_under_200_without_data(world: World, client: Client, kind: str) -> None:
    async with Simulator(world, Settings(faults={"rates": {kind: 1.0}})) as sim:
        status, body = await goldsky(sim, client)
    assert status == 200
    assert set(orjson.loads(body)) == {"errors"}


async def test_a_fault_that_could_not_take_effect_is_not_recorded(world: World, client: Client) -> None:
    async with Simulator(world, Settings(faults={"rates": {"query_timeout": 1.0}})) as sim:
        assert "data" in orjson.loads((await goldsky(sim, client))[1])
        assert sim.arrivals[0].fault is None


async def test_the_record_and_the_summary_over_http(world: World, client: Client) -> None:
    async with Simulator(world, TEN) as sim:
        for _ in range(12):
            await dome(sim, client)
        async with client.get(sim.base_url + "/_sim/record") as answer:
            arrivals = (await answer.json())["arrivals"]
        async with client.get(sim.base_url + "/_sim/summary?reset=1") as answer:
            summary = await answer.json()
        assert sim.arrivals == []
    assert [a["number"] for a in arrivals] == list(range(12))
    assert [a["at"] for a in arrivals] == sorted(a["at"] for a in arrivals)
    assert summary["dome"]["requests"] == 12
    assert summary["dome"]["sent_429"] == summary["dome"]["throttled"] == 2
    assert summary["dome"]["windows"][0]["max_count"] == 12
    assert summary["goldsky"]["requests"] == 0


async def test_the_stamp_is_taken_before_the_latency(world: World, client: Client) -> None:
    async with Simulator(world, Settings(latency_ms=30)) as sim:
        await dome(sim, client)
        answered = time.monotonic()
        assert sim.arrivals[0].at <= answered - 0.03


async def test_a_taken_port_is_an_error_and_leaves_nothing_open(world: World) -> None:
    async with Simulator(world) as sim:
        with pytest.raises(OSError, match="address already in use"):
            async with Simulator(world, Settings(port=sim.port)):
                pass


async def test_what_is_lied_about_is_told_over_http(world: World, client: Client) -> None:
    async with Simulator(world, Settings(faults="liar")) as sim, client.get(sim.base_url + "/_sim/lies") as answer:
        lies = await answer.json()
        assert {int(token): kind for token, kind in lies["dome"].items()} == sim.lied_about("dome")
        assert lies["goldsky"]
