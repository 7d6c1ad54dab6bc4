"""The door: waits, retries, probes and figures, against an upstream that plays a script; no second of real time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
import pytest
from multidict import CIMultiDict

from backfill.config import Limit
from backfill.engine.limits import RateGate
from backfill.engine.model import Request
from backfill.engine.retry import Policy
from backfill.errors import PageTooLarge, Refused, Throttled, Unavailable, Unreadable, UpstreamUnusable
from backfill.sources.client import Door
from backfill.sources.common import judge_status
from backfill.sources.source import Answer, Plain
from tests.clock import BEGIN, now, run
from tests.quiet import Kept

ASK = Request("GET", "/thing", (("id", "1"),))
PROBE = Request("GET", "/probe")


@dataclass
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    takes: float = 0.05


class Upstream(Plain):
    """Fits `Source` and the piece of aiohttp's session that the door uses; plays `script`, then `after` for ever."""

    name, base_url, ended = "pretend", "http://pretend", False
    headers: Mapping[str, str] = {}

    def __init__(self, script: Iterable[Reply] = (), after: Reply | None = None) -> None:
        self.script, self.after = deque(script), after or Reply()
        self.sent: list[tuple[float, str]] = []

    def judge(self, answer: Answer) -> None:
        if b"too large" in answer.body:
            raise PageTooLarge("timed out")
        judge_status(self.name, answer)

    def probe(self) -> Request:
        return PROBE

    @asynccontextmanager
    async def request(self, _method: str, url: Any, **_rest: Any) -> AsyncIterator[Any]:
        self.sent.append((now(), url.path))
        reply = self.answer(url.path)
        await asyncio.sleep(reply.takes)
        if reply.error is not None:
            raise reply.error
        yield _Response(reply)

    def answer(self, _path: str) -> Reply:
        return self.script.popleft() if self.script else self.after


class _Response:
    def __init__(self, reply: Reply) -> None:
        self.status, self.headers, self._body = reply.status, CIMultiDict(reply.headers), reply.body

    async def read(self) -> bytes:
        return self._body


@dataclass
class Scene:
    door: Door
    log: Kept
    upstream: Upstream


def play(
    tmp_path: Path,
    upstream: Upstream,
    story: Callable[[Scene], Awaitable[None]],
    *,
    policy: Policy | None = None,
    limits: tuple[Limit, ...] = (),
) -> Scene:
    async def main() -> Scene:
        log, gate = Kept(), RateGate(limits, tmp_path / "rate.log", clock=now)
        session = cast(aiohttp.ClientSession, upstream)
        door = Door(upstream, session, gate, log, timeout_s=30, policy=policy, clock=now)
        scene = Scene(door, log, upstream)
        await story(scene)
        gate.close()
        return scene

    return run(main())


def read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unreadable("not JSON", raw=body) from None


async def fetch(scene: Scene) -> None:
    await scene.door.fetch(ASK, read)


def test_429_waits_as_long_as_asked_and_is_counted(tmp_path: Path) -> None:
    scene = play(tmp_path, Upstream([Reply(429, headers={"Retry-After": "7"})]), fetch)
    (first, _), (second, _) = scene.upstream.sent
    assert 7 <= second - first < 10
    assert (scene.door.figures.throttled, scene.door.figures.retries, scene.door.figures.requests) == (1, 1, 2)
    (line,) = scene.log.of("throttled")
    assert 7 <= line["wait_s"] <= 8.1


def test_throttling_slows_the_pace_down(tmp_path: Path) -> None:
    shares: list[float] = []

    async def story(scene: Scene) -> None:
        await scene.door.fetch(ASK, lambda body: shares.append(scene.door.gate.pace.share))

    play(tmp_path, Upstream([Reply(429)]), story)
    assert shares[0] < 1


def test_throttling_never_uses_up_the_attempts(tmp_path: Path) -> None:
    scene = play(tmp_path, Upstream([Reply(429)] * 40), fetch, policy=Policy(attempts=3))
    assert scene.door.figures.answers == 1 and scene.door.figures.throttled == 40


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(502),
        Reply(503, headers={"Retry-After": "2"}),
        Reply(408),
        Reply(404),
        Reply(error=aiohttp.ServerDisconnectedError()),
        Reply(error=ConnectionResetError()),
        Reply(error=TimeoutError()),
        Reply(error=aiohttp.ClientPayloadError("cut")),
        Reply(body=b'{"mark'),
        Reply(body=b"<html>"),
    ],
    ids=lambda reply: f"{reply.status} {reply.body!r} {reply.error!r}",
)
def test_what_may_pass_is_tried_again(tmp_path: Path, reply: Reply) -> None:
    scene = play(tmp_path, Upstream([reply]), fetch)
    assert len(scene.upstream.sent) == 2
    assert (scene.door.figures.answers, scene.door.figures.retries) == (1, 1)


def test_an_answer_that_stays_unreadable_is_given_up_soon(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        with pytest.raises(Unreadable):
            await fetch(scene)

    scene = play(tmp_path, Upstream(after=Reply(body=b'{"mark')), story)
    assert len(scene.upstream.sent) == 4


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(400, b'{"error":"Invalid limit parameter"}'), Refused),
        (Reply(401), UpstreamUnusable),
        (Reply(403), UpstreamUnusable),
        (Reply(410), UpstreamUnusable),
        (Reply(301), UpstreamUnusable),
    ],
    ids=lambda value: getattr(value, "status", None),
)
def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, reply: Reply, error: type[Exception]) -> None:
    async def story(scene: Scene) -> None:
        with pytest.raises(error):
            await fetch(scene)

    assert len(play(tmp_path, Upstream(after=reply), story).upstream.sent) == 1


def test_a_page_too_large_goes_straight_to_who_can_ask_for_less(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        with pytest.raises(PageTooLarge):
            await scene.door.fetch(ASK, read, shrinks=True)

    assert len(play(tmp_path, Upstream(after=Reply(body=b"too large")), story).upstream.sent) == 1


def test_a_page_too_large_that_cannot_shrink_is_tried_again(tmp_path: Path) -> None:
    scene = play(tmp_path, Upstream([Reply(body=b"too large")] * 2), fetch)
    assert len(scene.upstream.sent) == 3


class Poisoned(Upstream):
    """One path always fails; everything else is fine."""

    def answer(self, path: str) -> Reply:
        return Reply(500) if path == "/poison" else Reply()


def test_a_poisoned_request_fails_while_the_rest_goes_on(tmp_path: Path) -> None:
    outcomes: list[object] = []

    async def story(scene: Scene) -> None:
        async def poison() -> None:
            try:
                await scene.door.fetch(Request("GET", "/poison"), read)
            except Unavailable as error:
                outcomes.append(error)

        async def others() -> None:
            while not outcomes:
                await fetch(scene)

        async with asyncio.TaskGroup() as group:
            group.create_task(poison())
            group.create_task(others())

    scene = play(tmp_path, Poisoned(), story, policy=Policy(attempts=5))
    assert [path for _, path in scene.upstream.sent].count("/poison") == 5
    assert not scene.door.health.away and not scene.log.of("upstream_away")


class Away(Upstream):
    """Nothing works for a while."""

    def __init__(self, back_at: float) -> None:
        super().__init__()
        self.back_at = back_at

    def answer(self, _path: str) -> Reply:
        return Reply() if now() >= self.back_at else Reply(503)


def test_an_upstream_that_is_away_costs_no_request_its_attempts(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(scene.door.fetch(ASK, read))

    scene = play(tmp_path, Away(BEGIN + 600), story, policy=Policy(attempts=2, open_after=4))
    assert scene.door.figures.answers == 20 + 1, "twenty requests, and the probe that found it back"
    while_away = [path for at, path in scene.upstream.sent if BEGIN + 60 < at < BEGIN + 600]
    assert set(while_away) == {"/probe"}, "only probes are sent while it is away"
    assert len(while_away) <= 25
    assert scene.log.of("upstream_away") and len(scene.log.of("upstream_away")) <= 600 / 30 + 2
    assert len(scene.log.of("upstream_back")) == 1
    assert not scene.door.health.away


def test_the_failure_that_shows_an_upstream_to_be_away_is_not_held_against_its_request(tmp_path: Path) -> None:
    scene = play(tmp_path, Away(BEGIN + 90), fetch, policy=Policy(attempts=1, open_after=1))
    assert [path for _, path in scene.upstream.sent].count("/thing") == 2


def test_every_request_passes_the_gate_probes_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted: list[float] = []
    real = RateGate.admit

    async def admit(gate: RateGate) -> Any:
        booking = await real(gate)
        admitted.append(now())
        return booking

    monkeypatch.setattr(RateGate, "admit", admit)

    async def story(scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(scene.door.fetch(ASK, read))
        await scene.door.once(ASK, read)

    limits = (Limit(requests=5, seconds=1),)
    scene = play(tmp_path, Away(BEGIN + 100), story, limits=limits, policy=Policy(open_after=4))
    assert [at for at, _ in scene.upstream.sent] == pytest.approx(admitted)
    assert "/probe" in {path for _, path in scene.upstream.sent}
    assert scene.door.figures.requests == len(admitted)
    times = sorted(admitted)
    assert all(late - early >= 1 for early, late in zip(times, times[5:], strict=False))


def test_404_to_everything_ends_as_retired(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        with pytest.raises(UpstreamUnusable) as caught:
            await fetch(scene)
        assert caught.value.kind == "retired"

    assert len(play(tmp_path, Upstream(after=Reply(404)), story).upstream.sent) == 3


def no_connection() -> aiohttp.ClientConnectorError:
    key = cast(Any, type("Key", (), {"host": "h", "port": 1, "ssl": True, "is_ssl": False}))
    return aiohttp.ClientConnectorError(key, OSError(111, "refused"))


def test_a_closed_port_after_the_end_of_life_ends_as_retired(tmp_path: Path) -> None:
    upstream = Upstream(after=Reply(error=no_connection()))
    upstream.ended = True

    async def story(scene: Scene) -> None:
        with pytest.raises(UpstreamUnusable) as caught:
            await fetch(scene)
        assert caught.value.kind == "retired"

    scene = play(tmp_path, upstream, story)
    assert scene.upstream.sent[-1][0] - scene.upstream.sent[0][0] > Policy().retired_after_s - 1


def test_a_cancelled_request_leaves_the_gate_in_order(tmp_path: Path) -> None:
    arrivals: list[float] = []

    async def story(scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(scene.door.fetch(ASK, read)) for _ in range(12)]
            for number, task in enumerate(tasks):
                await asyncio.sleep(0.03)
                if number % 3 == 0:
                    task.cancel()
        arrivals.extend(at for at, _ in scene.upstream.sent)

    limits = (Limit(requests=3, seconds=1),)
    scene = play(tmp_path, Upstream(after=Reply(takes=0.2)), story, limits=limits)
    assert scene.door.figures.answers >= 8
    assert all(late - early >= 1 for early, late in zip(arrivals, arrivals[3:], strict=False))


class Enough(Exception):
    pass


@pytest.mark.parametrize("state", ["waiting", "fetching", "retrying", "cooling"])
def test_a_worker_may_leave_at_every_heartbeat(tmp_path: Path, state: str) -> None:
    heard: list[str] = []

    def beat(told: str) -> None:
        heard.append(told)
        if told == state:
            raise Enough

    async def story(scene: Scene) -> None:
        with pytest.raises(Enough):
            await scene.door.fetch(ASK, read, beat=beat)
        await fetch(scene)

    script = [Reply(429, headers={"Retry-After": "3"})]
    scene = play(tmp_path, Upstream(script), story, limits=(Limit(requests=1, seconds=1),))
    assert heard[-1] == state
    assert scene.door.figures.answers == 1


def test_a_single_look_teaches_the_door_nothing(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        for _ in range(20):
            with pytest.raises((Unavailable, Throttled)):
                await scene.door.once(ASK, read)
        assert scene.door.state == "open" and not scene.door.health.away

    scene = play(tmp_path, Upstream([Reply(503), Reply(429)] * 10), story)
    assert scene.door.figures.requests == 20 and scene.door.figures.retries == 0


def test_a_cooling_upstream_says_so(tmp_path: Path) -> None:
    seen: list[str] = []

    async def story(scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.door.fetch(ASK, read))
            await asyncio.sleep(2)
            seen.append(scene.door.state)
        seen.append(scene.door.state)

    play(tmp_path, Upstream([Reply(429, headers={"Retry-After": "9"})]), story)
    assert seen == ["cooling", "open"]
