"""Each upstream looked at before a run needs it: there, let in, retired, fresh, cutting its answers.

Every check ends in a sentence, also when what it looks at fails in a way of its own; nothing here raises but a signal.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import orjson

from backfill.config import Config
from backfill.engine.health import Missing
from backfill.engine.limits import RateGate
from backfill.engine.model import Request, Unit
from backfill.errors import BackfillError, PageTooLarge, Retry, Throttled, Unavailable, Unreadable, UpstreamUnusable
from backfill.sources.client import Door, open_session
from backfill.sources.clob import ACCOUNT_PATHS, NAMES
from backfill.sources.opening import UPSTREAMS, make_source
from backfill.sources.source import Source
from backfill.stages.horizon import TOLERATED_S, ended, seconds, when
from backfill.tracks import catalog, chain_abi, data_api, gamma, graph
from backfill.tracks.chain_blocks import Asking, ChainLane, block_request, call, read_block
from backfill.tracks.chain_fills import ChainFills
from backfill.tracks.chain_payouts import ChainPayouts
from backfill.tracks.tokens import TOKEN_TRACKS

T = TypeVar("T")

USAGE, UPSTREAM, WAREHOUSE = 2, 5, 6
PROBE_S, PATIENCE_S, ATTEMPTS, PAUSE_S = 10.0, 30.0, 3, 0.5
DAY_S = 86_400
NOW: Callable[[], float] = time.time
"""The clock that data is held against."""
LAG_S: Final = 2 * DAY_S
"""Sources that live are minutes behind each other; one that is days behind the others stands still."""
CLOCK_S: Final = 30
"""A signature is refused when the clock is further off than this."""
CHAIN_ID: Final = 137
LAST_DAY: Final = dt.date(2026, 4, 28)
"""Polymarket moved to other contracts, Dome ended, and the subgraphs have been incomplete since."""

SUBGRAPHS: Final = {
    "activity": ("splits",),
    "orderbook": ("orderFilledEvents",),
    "pnl": (),
    "positions": (),
    "wallet": (),
}
"""Subgraphs that tracks ask, each with the lists whose rows have a time."""
ASKS: Final = {
    "goldsky_tokens": "activity",
    "goldsky_activity": "activity",
    "goldsky_fills": "orderbook",
    "goldsky_payouts": "pnl",
    "goldsky_positions_payouts": "positions",
    "goldsky_wallets": "wallet",
}
"""Which one each track asks."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at and found. `code` is the exit code that it deserves when it is not ok."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    code: int = USAGE

    def document(self) -> dict[str, Any]:
        """The JSON of one check."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "remedy": self.remedy}


def line(error: BackfillError) -> str:
    """An error without its remedy, on one line."""
    place = f"{error.where}: " if error.where else ""
    return " ".join(f"{place}{error.what}".split())


def users(config: Config, upstream: str, *, enabled: bool = True) -> tuple[str, ...]:
    """The tracks that ask an upstream and are switched on (or all)."""
    asking = [name for name, track in TOKEN_TRACKS.items() if track.upstream == upstream]
    asking += [name for name in catalog.TRACK_NAMES if catalog.track(name).upstream == upstream]
    return tuple(name for name in asking if not enabled or getattr(config.tracks, name).enabled)


@dataclass(slots=True)
class Findings:
    """What was found: the checks of each upstream, how far the living sources go, and the chain's newest block."""

    checks: dict[str, list[Check]] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    block: int | None = None


async def check_upstreams(config: Config) -> dict[str, list[Check]]:
    """All upstreams side by side; what they say of each other at the end."""
    found = Findings()
    async with asyncio.TaskGroup() as group:
        for name in UPSTREAMS:
            group.create_task(_check(config, name, found))
    now = int(NOW())
    for name, head in found.heads.items():
        found.checks[name].append(living(name, head, found.heads, now))
    found.checks["polygon"].append(_topics())
    return {name: found.checks[name] for name in UPSTREAMS}


def _topics() -> Check:
    wrong = chain_abi.check_topics()
    told = "; ".join(wrong) or f"{len(chain_abi.TOPICS)} computed, each as the chain has it"
    return Check("chain.topics", not wrong, told, "use another release: these would find nothing" if wrong else "")


async def _check(config: Config, name: str, found: Findings) -> None:
    """One upstream: credentials, whether it is there, retired, fresh, capped. What cannot be judged is left out."""
    if not users(config, name):
        found.checks[name] = [Check(f"{name}.reachable", True, "not asked: its tracks are switched off")]
        return
    source = make_source(config, name)
    if isinstance(source, UpstreamUnusable):
        found.checks[name] = [bad(name, "credentials", line(source), source.remedy)]
        return
    settings = getattr(config.upstreams, name)
    gate = RateGate(settings.limits, config.run.checkpoint_dir / "rates" / f"{name}.log")
    try:
        async with open_session(stamped=bool(settings.limits)) as session:
            door = Door(source, session, gate, _Quiet(), timeout_s=PROBE_S)
            found.checks[name] = await _probed(Probe(config, name, source, door, found), gate)
    except (OSError, TimeoutError) as error:
        told = f"not asked: {type(error).__name__} {error}".strip()
        found.checks[name] = [bad(name, "reachable", told, "see the folder checks")]
    finally:
        gate.close()


async def _probed(probe: Probe, gate: RateGate) -> list[Check]:
    name = probe.name
    try:
        async with asyncio.timeout(PATIENCE_S):
            found = await LOOKS[name](probe)
    except TimeoutError:
        return [bad(name, "reachable", f"no answer within {PATIENCE_S:g} s", "is a run using up its limits?")]
    except BackfillError as error:
        return diagnosis(probe.source, error, gate.rate())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        told = f"answers, but not as it should: {type(error).__name__} {error}"
        return [bad(name, "reachable", told, "check its address")]
    there = [
        Check(f"{name}.reachable", True, shown(probe.source)),
        Check(f"{name}.retired", True, "it answers with data"),
    ]
    if not any(check.name == f"{name}.credentials" for check in found):
        there.insert(0, Check(f"{name}.credentials", True, "accepted" if name == "dome" else "none needed"))
    return there + found


@dataclass(frozen=True, slots=True)
class Probe:
    """One upstream and the way to it. The first question decides whether it is there at all; the others are `tried`."""

    config: Config
    name: str
    source: Source
    door: Door
    found: Findings

    async def ask(self, request: Request, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the answer; a hiccup is tried again.

        Raises:
            BackfillError: whatever became of it.
        """
        for left in reversed(range(ATTEMPTS)):
            try:
                return await self.door.once(request, read)
            except PageTooLarge:
                raise
            except (Retry, Unreadable) as error:
                if not left or isinstance(error, Missing) or (isinstance(error, Unavailable) and not error.reached):
                    raise
                await asyncio.sleep(min(getattr(error, "wait_s", None) or PAUSE_S, PROBE_S))
        raise AssertionError("the last attempt returns or raises")

    async def document(self, request: Request, *keys: str) -> dict[str, Any]:
        """The object in an answer, which must have these keys.

        Raises:
            BackfillError: as `ask`.
        """
        return await self.ask(request, lambda body: _having(body, keys))

    async def tried(self, what: str, remedy: str, work: Awaitable[Check]) -> Check:
        """A further check; that its question failed is its result."""
        try:
            return await work
        except Throttled as error:
            return Check(f"{self.name}.{what}", True, f"not judged: {line(error)}")
        except BackfillError as error:
            return bad(self.name, what, line(error), error.remedy or remedy)


def _having(body: bytes, keys: Sequence[str]) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"its answer is not JSON: {error}") from None
    if not isinstance(found, dict) or any(key not in found for key in keys):
        raise Unreadable(f"its answer has no {' and '.join(keys) or 'object'}")
    return found


def shown(source: Source) -> str:
    """Where an upstream is. The path of a node's address is where providers put the key."""
    parts = urlsplit(source.base_url)
    return f"{parts.scheme}://{parts.hostname}" if source.name == "polygon" else source.base_url


def diagnosis(source: Source, error: BackfillError, rate: float) -> list[Check]:
    """What a failed probe says about its upstream."""
    name, told = source.name, line(error)
    gone = f"; Dome's known end of life was {LAST_DAY}" if name == "dome" else ""
    if isinstance(error, Throttled):
        return [Check(f"{name}.reachable", True, f"asks for a pause at present ({told}); {rate:g} requests a second")]
    if isinstance(error, Missing) or getattr(error, "kind", "") == "retired":
        return [bad(name, "retired", told + gone, error.remedy or "check its address")]
    if getattr(error, "kind", "") == "stale":
        return [bad(name, "freshness", told, "check the subgraph's version")]
    if getattr(error, "kind", "") in ("refused", "no_credentials"):
        return [bad(name, "credentials", told, error.remedy or "check the key")]
    unreached = isinstance(error, Unavailable) and not error.reached
    if unreached and source.ended:
        return [bad(name, "retired", told + gone, "check its address")]
    return [bad(name, "reachable", told, "check the network and its address")]


def bad(name: str, what: str, detail: str, remedy: str) -> Check:
    """A failed check of an upstream."""
    return Check(f"{name}.{what}", False, detail, remedy, UPSTREAM)


# --- how fresh, how long


def living(name: str, head: int, heads: Mapping[str, int], now: int) -> Check:
    """How far a source that lives has come, seen from the others and from the clock (all unix seconds)."""
    freshest = max(heads.values())
    told, days = f"newest data {when(head)}", (now - head) // DAY_S
    if head < freshest - LAG_S:
        other = max(heads, key=lambda each: heads[each])
        return bad(
            name, "freshness", f"{told}: it is stale, {other} goes on to {when(freshest)}", "use a fresher source"
        )
    if head < now - TOLERATED_S:
        return bad(name, "freshness", f"{told}: it is stale, {days} days behind", "use a fresher source")
    if head < now - LAG_S:
        return Check(
            f"{name}.freshness", True, f"{told}, {days} days behind the clock", "what came since is not there yet"
        )
    return Check(f"{name}.freshness", True, told)


def fresh(name: str, newest: int | None, what: str, due: int, what_else: str = "") -> Check:
    """Whether a source that ended at a known moment went on until about then."""
    if newest is None:
        return bad(*_split(name), "it has no rows with a time", "check its address")
    told = f"{what} {when(newest)}"
    if newest < due - TOLERATED_S:
        return bad(*_split(name), f"{told}: it is stale, what is later is unknown to it", "use a fresher source")
    return Check(name, True, f"{told}{what_else}")


def _split(name: str) -> tuple[str, str]:
    upstream, _, what = name.partition(".")
    return upstream, what


def capped(name: str, rows: int, asked: int, more: bool, remedy: str = "") -> Check:
    """A page that ends early although there is more would cut answers without a word."""
    if more and rows < asked:
        told = f"gives {rows} rows a page where {asked} are asked for"
        return bad(name, "capped", told, remedy or "a run reads on from what came, with more requests")
    whole = "" if rows == asked else ", which is all there is"
    return Check(f"{name}.capped", True, f"a page of {rows} rows for {asked} asked{whole}")


def batch_remedy(name: str, rows: int) -> str:
    """Ask for as much as comes."""
    return f"tracks.{name}_tokens.batch = {max(1, rows)}"


# --- the upstreams


async def _look_at_dome(probe: Probe) -> list[Check]:
    """Unfiltered markets come newest first."""
    batch = probe.config.tracks.dome_tokens.batch
    request = Request("GET", "/polymarket/markets", (("limit", str(batch)),))
    answer = await probe.document(request, "markets")
    markets, paging = _list(answer["markets"]), answer.get("pagination")
    starts = [row["start_time"] for row in markets if isinstance(row, dict) and isinstance(row.get("start_time"), int)]
    total = paging.get("total") if isinstance(paging, dict) else None
    more = isinstance(total, int) and total > len(markets)
    due = min(ended(probe.config, "dome"), int(NOW()))
    known = f"; known to be incomplete after {LAST_DAY}"
    return [
        fresh("dome.freshness", max(starts, default=None), "newest market", due, known),
        capped("dome", len(markets), batch, more, batch_remedy("dome", len(markets))),
    ]


async def _look_at_goldsky(probe: Probe) -> list[Check]:
    """Each subgraph in use, and a full page of the one that maps tokens."""
    wanted = [ASKS[name] for name in users(probe.config, "goldsky") if name in ASKS]
    names = sorted(dict.fromkeys(wanted), key=lambda each: (each != "activity", each))
    found, missing = [], []
    for name in names:
        try:
            found.append(await _subgraph(probe, name))
        except Missing as error:
            missing.append(error)
            found.append(bad(*_split(_label(name)), line(error), f"check upstreams.goldsky.subgraphs.{name}"))
        except UpstreamUnusable as error:
            if error.kind != "stale":
                raise
            found.append(bad(*_split(_label(name)), line(error), "use another version"))
    if missing and len(missing) == len(names):
        raise missing[0]
    if "activity" in names and not missing:
        found.append(await probe.tried("capped", "", _goldsky_page(probe)))
    return found


def _label(subgraph: str) -> str:
    return "goldsky.freshness" if subgraph == "activity" else f"goldsky.{subgraph}"


async def _subgraph(probe: Probe, name: str) -> Check:
    """How far one subgraph has come."""
    address, roots = getattr(probe.config.upstreams.goldsky.subgraphs, name), SUBGRAPHS[name]

    def read(body: bytes) -> tuple[int, int]:
        head = graph.read_head(name, body, roots)
        return head, int(orjson.loads(body)["data"]["_meta"]["block"]["number"])

    head, block = await probe.ask(graph.head_question(address, roots), read)
    limit = probe.config.upstreams.goldsky.complete_until
    due = min(seconds(limit) if limit else 1 << 62, int(NOW()))
    newest = "newest row" if roots else "about"
    behind = f", {probe.found.block - block:,} blocks behind the chain" if probe.found.block else ""
    known = f"{behind}; complete until {limit}" if limit else behind
    return fresh(_label(name), head, f"{address} stands at block {block}, {newest}", due, known)


async def _goldsky_page(probe: Probe) -> Check:
    path = f"/{probe.config.upstreams.goldsky.subgraphs.activity}/gn"
    batch = probe.config.tracks.goldsky_tokens.batch

    async def ids(first: int, after: str = "") -> list[str]:
        where = f",where:{{id_gt:{orjson.dumps(after).decode()}}}" if after else ""
        body = orjson.dumps({"query": f"{{positions(first:{first}{where}){{id}}}}"})
        answer = await probe.document(Request("POST", path, body=body), "data")
        return [str(row["id"]) for row in _list((answer["data"] or {}).get("positions")) if isinstance(row, dict)]

    page = await ids(batch)
    more = bool(page) and len(page) < batch and bool(await ids(1, page[-1]))
    return capped("goldsky", len(page), batch, more, batch_remedy("goldsky", len(page)))


async def _look_at_data_api(probe: Probe) -> list[Check]:
    if probe.config.upstreams.data_api.version == 1:
        probe.found.heads["data_api"] = await probe.ask(
            data_api.first_head(), lambda body: data_api.read_first_head("data_api", body)
        )
        return [Check("data_api.version", True, "version 1, which was to be retired on 2026-10-24", "version = 2")]
    report = await probe.document(data_api.head(), "data")
    probe.found.heads["data_api"] = data_api.read_head("data_api", orjson.dumps(report))
    chain = (report["data"].get("ingestion") or {}).get("chain_id")
    found = [] if chain in (CHAIN_ID, None) else [bad("data_api", "chain_id", f"of chain {chain}", "check its address")]
    return [*found, await probe.tried("capped", "check its address", _data_api_page(probe))]


async def _data_api_page(probe: Probe) -> Check:
    request = Request("GET", "/v2/trades", (("limit", str(data_api.MOST_ROWS)),))
    rows, following = await probe.ask(request, lambda body: data_api.envelope("data_api", body, ""))
    return capped("data_api", len(rows), data_api.MOST_ROWS, following is not None)


async def _look_at_gamma(probe: Probe) -> list[Check]:
    head = await probe.ask(gamma.head(), lambda body: gamma.read_head("gamma", body))
    if head < gamma.NO_LIMIT:
        probe.found.heads["gamma"] = head
    return [await probe.tried("capped", "check its address", _gamma_page(probe))]


async def _gamma_page(probe: Probe) -> Check:
    params = (("closed", "true"), ("limit", str(gamma.PAGE)))
    answer = await probe.document(Request("GET", "/markets/keyset", params), "markets")
    return capped("gamma", len(_list(answer["markets"])), gamma.PAGE, bool(answer.get("next_cursor")))


async def _look_at_clob(probe: Probe) -> list[Check]:
    answer = await probe.document(probe.source.probe(), "data", "limit")
    rows, limit = _list(answer["data"]), answer["limit"]
    more = isinstance(answer.get("count"), int) and answer["count"] > len(rows)
    told = "it does not say how new its listing is; a run compares it with the markets that are known"
    return [
        capped("clob", len(rows), limit if isinstance(limit, int) else 0, more),
        Check("clob.freshness", True, told),
        await probe.tried("clock", "check the network", _clob_clock(probe)),
        await _clob_account(probe),
    ]


async def _clob_clock(probe: Probe) -> Check:
    """Signatures carry the time."""
    theirs = await probe.ask(Request("GET", "/time"), lambda body: _number(body, "clob"))
    off = abs(theirs - time.time())
    if off > CLOCK_S:
        return bad("clob", "clock", f"this clock and its clock are {off:.0f} s apart", "set this machine's clock")
    return Check("clob.clock", True, "the same as here")


async def _clob_account(probe: Probe) -> Check:
    """Whether the account's key is taken; only the account's own fills need one."""
    on = "clob_fills" in users(probe.config, "clob")
    address = probe.config.secrets.polymarket_clob_address
    asked = address.get_secret_value() if address else ""
    request = Request("GET", f"{ACCOUNT_PATHS[0]}trades", (("maker_address", asked), ("before", "1")))
    try:
        await probe.document(request, "data")
    except UpstreamUnusable as error:
        if error.kind == "no_credentials" and not on:
            return Check("clob.credentials", True, f"none needed: clob_fills is off ({line(error)})")
        if not on:
            return Check("clob.credentials", True, f"clob_fills is off, and could not run: {line(error)}", error.remedy)
        return bad("clob", "credentials", line(error), error.remedy or f"check {NAMES}")
    except BackfillError as error:
        return Check("clob.credentials", not on, f"not judged: {line(error)}", "try again", UPSTREAM)
    return Check("clob.credentials", True, "accepted")


async def _look_at_polygon(probe: Probe) -> list[Check]:
    head = await probe.ask(block_request("latest"), lambda body: read_block("latest", body, "polygon"))
    probe.found.block = head.number
    probe.found.heads["polygon"] = head.timestamp
    newest = head.number - probe.config.upstreams.polygon.confirmations
    return [
        await probe.tried("chain_id", "use another rpc_url", _chain_id(probe)),
        await probe.tried("block_range", "a smaller upstreams.polygon.block_range", _block_range(probe, newest)),
        await probe.tried("truncated", "use another rpc_url", _truncated(probe, newest)),
    ]


async def _chain_id(probe: Probe) -> Check:
    request = Request("POST", "", body=orjson.dumps(call("eth_chainId")))
    answer = await probe.document(request, "result")
    if answer["result"] != hex(CHAIN_ID):
        return bad(
            "polygon", "chain_id", f"of chain {answer['result']}, not {hex(CHAIN_ID)} (Polygon)", "check rpc_url"
        )
    return Check("polygon.chain_id", True, f"{CHAIN_ID}, Polygon")


async def _block_range(probe: Probe, newest: int) -> Check:
    """Whether as many blocks as the config says are taken at once, asked with events that are few."""
    wanted = probe.config.upstreams.polygon.block_range
    size, count = await _largest(probe, ChainPayouts(Asking()), newest, wanted)
    if size < wanted:
        told = f"takes {size} blocks at once where {wanted} are asked for"
        return bad("polygon", "block_range", told, f"upstreams.polygon.block_range = {size}, or another rpc_url")
    return Check("polygon.block_range", True, f"takes {wanted} blocks at once, with {count} resolutions in them")


async def _truncated(probe: Probe, newest: int) -> Check:
    """A stretch asked as a whole and in two halves: a node that cuts its answers without a word is found out."""
    lane = ChainFills(Asking())
    size, whole = await _largest(probe, lane, newest, probe.config.upstreams.polygon.block_range)
    start, middle = newest - size + 1, newest - size // 2 + 1
    if size < 2 or not whole:
        return Check("polygon.truncated", True, f"no fills in its last {size} blocks, so nothing to compare")
    halves = [await _logs(probe, lane, start, middle), await _logs(probe, lane, middle, newest + 1)]
    if sum(halves) != whole:
        told = f"{whole} fills in {size} blocks asked at once, {halves[0]} + {halves[1]} asked in halves"
        return bad("polygon", "truncated", f"{told}: it cuts answers without a word", "use another rpc_url")
    return Check("polygon.truncated", True, f"{whole} fills in {size} blocks, the same in halves")


async def _largest(probe: Probe, lane: ChainLane, newest: int, most: int) -> tuple[int, int]:
    """The largest stretch up to a block that the node answers, found by halving, and the logs in it."""
    size = min(most, newest)
    while True:
        try:
            return size, await _logs(probe, lane, newest - size + 1, newest + 1)
        except PageTooLarge:
            if size == 1:
                raise
            size //= 2


async def _logs(probe: Probe, lane: ChainLane, start: int, end: int) -> int:
    """How many logs the node has in blocks [start, end)."""
    request = lane.request(Unit(0, (f"{start}-{end}",)), None)

    def count(body: bytes) -> int:
        found = orjson.loads(body)
        results = [
            each.get("result") for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)
        ]
        lists = [each for each in results if isinstance(each, list)]
        if len(lists) != 1:
            raise Unreadable("no list of logs", raw=body, where="polygon")
        return len(lists[0])

    return await probe.ask(request, count)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(body: bytes, where: str) -> int:
    try:
        return int(body)
    except ValueError:
        raise Unreadable("no number", raw=body, where=where) from None


LOOKS: Final[Mapping[str, Callable[[Probe], Awaitable[list[Check]]]]] = {
    "dome": _look_at_dome,
    "goldsky": _look_at_goldsky,
    "data_api": _look_at_data_api,
    "gamma": _look_at_gamma,
    "clob": _look_at_clob,
    "polygon": _look_at_polygon,
}


class _Quiet:
    """A logger for probes, whose results are told otherwise."""

    def bind(self, **fields: Any) -> _Quiet:
        return self

    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...
