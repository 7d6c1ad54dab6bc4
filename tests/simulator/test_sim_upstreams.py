"""All six upstreams behind one port: addresses, keys, errors, faults that fit, quirks, and the clock."""

from __future__ import annotations

import urllib.request
from typing import Any, get_args

import aiohttp
import orjson
import pytest
from aiohttp import web

from backfill.simulator import upstreams
from backfill.simulator.faults import SPECIAL, Faults, RequestFault
from backfill.simulator.generate import CUTOVER
from backfill.simulator.model import UPSTREAMS, Upstream
from backfill.simulator.process import SimulatorProcess
from backfill.simulator.reply import PLAIN, Reply, Wish
from backfill.simulator.runner import RunOptions
from backfill.simulator.server import Settings, Simulator
from backfill.simulator.upstreams import REGISTRY
from backfill.simulator.world import World

Client = aiohttp.ClientSession
FREE = Settings(**{f"{name}_limits": () for name in UPSTREAMS})  # type: ignore[arg-type]
BODIES: dict[Upstream, set[str]] = {
    "dome": {"error", "message"},
    "data_api": {"error", "code", "retryable", "trace_id"},
    "gamma": {"type", "error"},
    "clob": {"error"},
    "polygon": {"jsonrpc", "id", "error"},
}
PATHS: dict[Upstream, str] = {"data_api": "/v2/trades", "gamma": "/markets/keyset", "clob": "/markets"}


class Part:
    """An upstream that answers with what it was asked and how it should be different."""

    own_faults: frozenset[RequestFault] = frozenset(("short_page",))

    def __init__(self, world: World, faults: Faults) -> None:
        self.env = {"ACCOUNT": "a"}
        self.quirks: dict[str, object] = {}

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Say it."""
        told = {"path": request.path_qs, "before": wish.before, "fault": wish.fault, **self.quirks}
        return Reply(200, orjson.dumps(told))

    def configure(self, name: str, value: object) -> None:
        """Note a quirk."""
        if name != "mood":
            raise ValueError(f"no {name}")
        self.quirks[name] = value


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Part` in the place of the four newer upstreams."""
    make = upstreams.Entry.make

    def made(self: upstreams.Entry, world: World, faults: Faults, **more: Any) -> Any:
        return make(self, world, faults, **more) if self.module in ("dome", "goldsky") else Part(world, faults)

    monkeypatch.setattr(upstreams.Entry, "make", made)


async def get(client: Client, url: str) -> dict[str, Any]:
    """A JSON answer."""
    async with client.get(url) as answer:
        return dict(await answer.json())


async def test_every_upstream_has_its_own_address_door_and_record(world: World, client: Client) -> None:
    async with Simulator(world, FREE) as sim:
        assert sim.urls.keys() == set(UPSTREAMS)
        assert len(set(sim.urls.values())) == len(UPSTREAMS)
        for name in UPSTREAMS:
            async with client.get(sim.urls[name] + PATHS.get(name, "/nothing")):
                pass
        assert {name: figures["requests"] for name, figures in sim.summary().items()} == dict.fromkeys(UPSTREAMS, 1)


async def test_the_environment_points_everywhere_and_holds_the_keys(world: World, parts: None) -> None:
    async with Simulator(world, FREE) as sim:
        env = sim.env
        assert env["BACKFILL_UPSTREAMS__POLYGON__RPC_URL"] == sim.base_url + "/polygon"
        assert {env[f"BACKFILL_UPSTREAMS__{name.upper()}__BASE_URL"] for name in UPSTREAMS[:5]} == set(
            sim.url_of(name) for name in UPSTREAMS[:5]
        )
        assert env["ACCOUNT"] == "a"
        assert env["DOME_API_KEY"] == "demo-key"


def test_the_pretend_account_has_all_four_keys(world: World) -> None:
    env = Simulator(world).env
    assert all(env[f"POLYMARKET_CLOB_{name}"] for name in ("ADDRESS", "API_KEY", "SECRET", "PASSPHRASE"))


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_limits_hold_everywhere_and_errors_are_in_the_manner_of_the_house(
    world: World, client: Client, upstream: Upstream
) -> None:
    tight = Settings(**{f"{upstream}_limits": REGISTRY["dome"].limits[:1]})  # type: ignore[arg-type]
    async with Simulator(world, tight) as sim:
        url = sim.urls[upstream] + PATHS.get(upstream, "/x")
        statuses = []
        for _ in range(11):
            async with client.get(url) as answer:
                statuses.append(answer.status)
                body = await answer.read()
    assert statuses.count(429) == 1
    assert statuses[-1] == 429
    if upstream == "goldsky":
        assert body == b"Rate limit exceeded"
    else:
        assert set(orjson.loads(body)) == BODIES[upstream]


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize(("mode", "status"), [("retired_404", 404), ("retired_410", 410), ("refused", 401)])
async def test_modes_are_for_all(world: World, client: Client, upstream: Upstream, mode: Any, status: int) -> None:
    async with Simulator(world, FREE) as sim:
        sim.set_mode(upstream, mode)
        async with client.get(sim.urls[upstream] + PATHS.get(upstream, "/x")) as answer:
            assert answer.status == status


@pytest.mark.parametrize("kind", get_args(RequestFault))
def test_a_fault_that_an_upstream_cannot_have_becomes_one_that_it_can(world: World, kind: RequestFault) -> None:
    faults = Faults(world, {"rates": {kind: 1.0}})
    for upstream in UPSTREAMS:
        planned = faults.plan(upstream, 0, frozenset())
        assert planned == kind if kind not in SPECIAL else planned in ("http_500", "http_503", "overloaded")
        assert faults.plan(upstream, 0, frozenset({kind})) == kind


async def test_an_upstream_plays_its_own_faults_and_no_others(world: World, client: Client, parts: None) -> None:
    async with Simulator(world, FREE) as sim:
        sim.set_faults({"rates": {"short_page": 1.0}})
        assert (await get(client, sim.url_of("gamma")))["fault"] == "short_page"
        sim.set_faults({"rates": {"store_timeout": 1.0}})
        async with client.get(sim.url_of("gamma")) as answer:
            assert answer.status == 500


async def test_a_repeated_page_is_an_earlier_one_of_the_same_list(world: World, client: Client, parts: None) -> None:
    async with Simulator(world, FREE) as sim:
        sim.set_faults({"rates": {"repeated_page": 1.0}})
        urls = [f"{sim.url_of('gamma')}/m?q={q}&after_cursor={n}" for q, n in ((1, 1), (2, 1), (1, 2), (3, 1), (2, 2))]
        told = [(await get(client, url))["path"].split("?")[1] for url in urls]
    first, second = "q=1&after_cursor=1", "q=2&after_cursor=1"
    assert told == [first, second, first, "q=3&after_cursor=1", second]


async def test_the_page_of_the_proxy_in_front_is_no_json(world: World, client: Client) -> None:
    async with Simulator(world, FREE) as sim:
        sim.set_faults({"rates": {"cloudflare": 1.0}})
        async with client.get(sim.url_of("clob") + "/markets") as answer:
            assert (answer.status, answer.content_type) == (429, "text/html")
            assert "1015" in await answer.text()


async def test_quirks_are_set_at_the_start_and_later(world: World, client: Client, parts: None) -> None:
    async with Simulator(world, Settings(gamma_limits=(), quirks={"gamma": {"mood": "low"}})) as sim:
        assert (await get(client, sim.url_of("gamma")))["mood"] == "low"
        change = {"upstream": "gamma", "mood": "high"}
        async with client.post(sim.base_url + "/_sim/configure", json=change) as answer:
            assert answer.status == 200
        assert (await get(client, sim.url_of("gamma")))["mood"] == "high"
        for wrong in ({"upstream": "gamma", "taste": 1}, {"upstream": "goldsky", "mood": 1}, {"upstream": "x", "a": 1}):
            async with client.post(sim.base_url + "/_sim/configure", json=wrong) as answer:
                assert answer.status == 400


async def test_the_clock_is_for_every_upstream_and_moves(world: World, client: Client, parts: None) -> None:
    async with Simulator(world, Settings(gamma_limits=(), now=1_700_000_000)) as sim:
        assert (await get(client, sim.url_of("gamma")))["before"] == 1_700_000_001  # that very second has happened
        async with client.post(sim.base_url + "/_sim/clock", json={"now": CUTOVER}) as answer:
            assert await answer.json() == {"now": CUTOVER}
        assert (await get(client, sim.url_of("clob")))["before"] == CUTOVER + 1
        sim.set_mode("clob", "stale")
        assert (await get(client, sim.url_of("clob")))["before"] < CUTOVER
        sim.set_mode("clob", "ok")
        sim.set_clock(None)
        assert (await get(client, sim.url_of("clob")))["before"] is None
        for wrong in ({"now": "noon"}, {"now": 1.5}, {"now": True}):
            async with client.post(sim.base_url + "/_sim/clock", json=wrong) as answer:
                assert answer.status == 400


async def test_a_three_day_outage_is_seen_by_a_plain_client(world: World, client: Client) -> None:
    """Fills until the clock stood still, and the ones that came while nobody looked."""
    times = sorted(order.at.timestamp for order in world.ledger.orders if order.version == 1)
    at = times[len(times) // 2]
    query = {"query": "{orderFilledEvents(first:1000,orderBy:timestamp,orderDirection:desc){timestamp}}"}
    newest = []
    async with Simulator(world, Settings(goldsky_limits=(), now=at)) as sim:
        for moment in (at, at + 3 * 86_400):
            sim.set_clock(moment)
            async with client.post(sim.goldsky_url + "/orderbook-subgraph/0.0.1/gn", json=query) as answer:
                rows = (await answer.json())["data"]["orderFilledEvents"]
            newest.append(int(rows[0]["timestamp"]))
            assert newest[-1] == max(time for time in times if time <= moment)
    assert newest[0] < newest[1]


@pytest.mark.slow
def test_a_child_takes_the_new_options_and_the_clock() -> None:
    options = {"tokens": 60, "mapped": 20, "full": True, "now": CUTOVER, "data_api_limits": "off", "latency_ms": 0}
    with SimulatorProcess(**options) as sim:
        assert {f"{name}_url" for name in UPSTREAMS} <= sim.ready.keys()
        assert sim.url_of("polygon").endswith("/polygon")
        assert sim.env["BACKFILL_UPSTREAMS__DATA_API__BASE_URL"] == sim.url_of("data_api")
        sim.set_clock(CUTOVER + 60)
        sim.set_clock(None)
        with urllib.request.urlopen(sim.url_of("gamma") + "/markets/keyset?limit=1", timeout=10) as answer:
            assert answer.status == 200


def test_options_reach_the_world_and_the_settings() -> None:
    options = RunOptions(tokens=50, mapped=10, bursts=1, after_cutover=0.1, polygon_limits="5/1", now=7)
    assert options.world().plan is not None
    assert options.world().after_cutover == 0.1
    settings = options.settings()
    assert settings.limits_of("polygon") == ((5, 1.0),)
    assert settings.limits_of("gamma") == REGISTRY["gamma"].limits
    assert settings.now == 7
