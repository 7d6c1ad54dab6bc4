"""What a run would stumble over, looked at beforehand: files, disk, warehouse, plan, and each upstream of the tokens.

Every check ends in a sentence, also when what it looks at fails in a way of its own; nothing here raises but a signal.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from backfill.app import current_plan
from backfill.config import Config
from backfill.engine.health import Missing
from backfill.engine.limits import RateGate
from backfill.engine.model import Request
from backfill.engine.plan import PlanBook
from backfill.errors import BackfillError, Retry, StateError, Throttled, Unavailable, Unreadable, UpstreamUnusable
from backfill.log import HIDDEN
from backfill.sources.client import Door, open_session
from backfill.sources.opening import make_source
from backfill.sources.source import Source
from backfill.stages.setup import fingerprint
from backfill.tracks.tokens import TOKEN_TRACKS
from backfill.warehouse import migrate
from backfill.warehouse.client import Warehouse, open_warehouse

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

USAGE, UPSTREAM, WAREHOUSE = 2, 5, 6
DISK_LOW, DISK_OUT = 1 << 30, 100 << 20
PROBE_S, PATIENCE_S, ATTEMPTS, PAUSE_S = 10.0, 30.0, 3, 0.5
SPARE_FILES = 128
LONGEST = 400
URL_LOGIN = re.compile(r"//[^/@\s]+@")

LAST_DAY: Final = dt.date(2026, 4, 28)
"""Polymarket moved to other contracts, Dome ended, and the subgraphs have been incomplete since."""
TOLERATED: Final = dt.timedelta(days=90)
"""New markets come daily; a source whose newest is older than this before LAST_DAY stopped before its time."""
KNOWN_BLOCK, KNOWN_BLOCK_AT, BLOCK_S = 84_902_353, dt.datetime(2026, 3, 31, tzinfo=dt.UTC), 2.0
"""A Polygon block with its day, to tell about when another one was: Goldsky does not say the time of its head."""

HEAD_QUERY = (
    "{_meta{block{number timestamp}hasIndexingErrors} splits(first:1,orderBy:timestamp,orderDirection:desc){timestamp}}"
)


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


async def run_checks(config: Config) -> list[Check]:
    """All checks, the slow ones side by side."""
    upstreams = [track.upstream for track in TOKEN_TRACKS.values()]
    async with asyncio.TaskGroup() as group:
        store = group.create_task(check_warehouse(config))
        asked = [group.create_task(check_upstream(config, name)) for name in upstreams]
    local = [*check_folders(config), check_disk(config), check_open_files(config)]
    answers = [task.result() for task in asked]
    if not all(any(not check.ok for check in answer) for answer in answers):
        answers = [[_moving(check) for check in answer] for answer in answers]
    found = [*local, *store.result(), *(check for answer in answers for check in answer)]
    return [_redacted(check, config.hidden()) for check in found]


def _moving(check: Check) -> Check:
    """With another upstream to do its work, one that is unusable costs coverage, not the run."""
    return check if check.ok else replace(check, remedy=f"{check.remedy}; its share of a run moves to the other")


def _redacted(check: Check, secrets: Sequence[str]) -> Check:
    detail = check.detail
    for secret in secrets:
        detail = detail.replace(secret, HIDDEN)
    return replace(check, detail=URL_LOGIN.sub(f"//{HIDDEN}@", detail)[:LONGEST])


def check_folders(config: Config) -> list[Check]:
    """Whether the folders of the run can be written."""
    run = config.run
    folders = (("checkpoint_dir", run.checkpoint_dir), ("data_dir", run.data_dir), ("log_file", run.log_file.parent))
    return [_folder(key, path) for key, path in folders]


def _folder(key: str, path: Path) -> Check:
    name, there = f"folder.{key}", _nearest(path)
    if not there.is_dir():
        return Check(name, False, f"{there} is not a folder", f"run.{key}")
    if not os.access(there, os.W_OK | os.X_OK):
        return Check(name, False, f"{there} cannot be written", f"run.{key}, or its permissions")
    return Check(name, True, f"{path} {'can be written' if there == path else 'will be made'}")


def _nearest(path: Path) -> Path:
    """The path itself, or the closest of its parents that is there."""
    return next((each for each in (path, *path.parents) if each.exists()), path)


def check_disk(config: Config) -> Check:
    """Room where the embedded warehouse, the checkpoints and the dead letters go."""
    places = {_nearest(config.run.data_dir), _nearest(config.run.checkpoint_dir)}
    free, place = min((shutil.disk_usage(place).free, str(place)) for place in places)
    told = f"{free / (1 << 30):.1f} GiB free at {place}"
    if free < DISK_OUT:
        return Check("disk", False, told, "a run waits when the disk is full: make room, or move run.data_dir")
    return Check("disk", True, *((f"{told}, which is little", "make room") if free < DISK_LOW else (told, "")))


def check_open_files(config: Config) -> Check:
    """Whether all workers may have a connection at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = SPARE_FILES + sum(getattr(config.tracks, name).workers for name in TOKEN_TRACKS)
    ok = soft == resource.RLIM_INFINITY or soft >= needed
    return Check("open_files", ok, f"{soft} may be open, {needed} are wanted", "" if ok else f"ulimit -n {needed}")


async def check_warehouse(config: Config) -> list[Check]:
    """The warehouse, its schema, and whether the plan was made for it."""
    try:
        async with open_warehouse(config) as warehouse:
            version = await warehouse.ping()
            kind = "embedded" if warehouse.local_dir else "server"
            reached = Check("warehouse", True, f"{kind}, ClickHouse {version}")
            return [reached, await _schema(warehouse), await _plan(config, warehouse)]
    except BackfillError as error:
        remedy = error.remedy or "start it, or correct warehouse.url"
        return [Check("warehouse", False, _line(error), remedy, WAREHOUSE), _plan_alone(config)]


async def _schema(warehouse: Warehouse) -> Check:
    states = await migrate.status(warehouse)
    odd = [f"{each.version:04}_{each.name} {each.state}" for each in states if each.state in ("drifted", "unknown")]
    if odd:
        return Check("schema", False, ", ".join(odd), "use the release that it was made with", WAREHOUSE)
    if waiting := sum(each.state != "applied" for each in states):
        return Check("schema", True, f"{waiting} of {len(states)} migrations wait for the next command that needs them")
    try:
        await migrate.verify(warehouse)
    except StateError as error:
        return Check("schema", False, _line(error), error.remedy, WAREHOUSE)
    return Check("schema", True, f"{len(states)} migrations, all applied")


def _plan_alone(config: Config) -> Check:
    """The plan as far as it can be judged without the warehouse."""
    try:
        plan = current_plan(config)
        for name in plan.shares:
            PlanBook(config.run.checkpoint_dir).track(plan, name)
    except StateError as error:
        none = not PlanBook(config.run.checkpoint_dir).header.exists()
        return Check("plan", none, "none yet" if none else _line(error), error.remedy)
    return Check("plan", True, f"{plan.plan_id}, whole")


async def _plan(config: Config, warehouse: Warehouse) -> Check:
    alone = await asyncio.to_thread(_plan_alone, config)
    if not alone.ok or not PlanBook(config.run.checkpoint_dir).header.exists():
        return alone
    plan = current_plan(config)
    try:
        here = await fingerprint(config, warehouse)
    except StateError:
        here = ""
    if here == plan.warehouse:
        return Check("plan", True, f"{plan.plan_id}, made for this warehouse")
    remedy = "use the warehouse it was made for, or backfill setup --replace"
    return Check("plan", False, f"{plan.plan_id} was made for another warehouse", remedy)


async def check_upstream(config: Config, name: str) -> list[Check]:
    """One upstream: credentials, whether it is there, retired, fresh, capped. What cannot be judged is left out."""
    if not any(track.upstream == name and getattr(config.tracks, key).enabled for key, track in TOKEN_TRACKS.items()):
        return [Check(f"{name}.reachable", True, "not asked: its track is switched off")]
    source = make_source(config, name)
    if isinstance(source, UpstreamUnusable):
        return [_bad(name, "credentials", _line(source), source.remedy)]
    settings = getattr(config.upstreams, name)
    gate = RateGate(settings.limits, config.run.checkpoint_dir / "rates" / f"{name}.log")
    try:
        async with open_session(stamped=bool(settings.limits)) as session:
            return await _probe(config, source, session, gate)
    except (OSError, TimeoutError) as error:
        return [_bad(name, "reachable", f"not asked: {type(error).__name__} {error}".strip(), "see the folder checks")]
    finally:
        gate.close()


async def _probe(config: Config, source: Source, session: aiohttp.ClientSession, gate: RateGate) -> list[Check]:
    name, batch = source.name, _batch(config, source.name)
    door = Door(source, session, gate, _Quiet(), timeout_s=PROBE_S)
    look = _look_at_dome if name == "dome" else _look_at_goldsky
    try:
        async with asyncio.timeout(PATIENCE_S):
            found = await look(config, door, batch)
    except TimeoutError:
        return [_bad(name, "reachable", f"no answer within {PATIENCE_S:g} s", "is a run using up its limits?")]
    except BackfillError as error:
        return _diagnosis(source, error, gate.rate())
    there = [
        Check(f"{name}.credentials", True, "accepted" if name == "dome" else "none needed"),
        Check(f"{name}.reachable", True, source.base_url),
        Check(f"{name}.retired", True, "it answers with data"),
    ]
    return there + found


def _batch(config: Config, upstream: str) -> int:
    name = next(key for key, track in TOKEN_TRACKS.items() if track.upstream == upstream)
    return int(getattr(config.tracks, name).batch)


def _diagnosis(source: Source, error: BackfillError, rate: float) -> list[Check]:
    """What a failed probe says about its upstream."""
    name, told = source.name, _line(error)
    gone = f"; Dome's known end of life was {LAST_DAY}" if name == "dome" else ""
    if isinstance(error, Throttled):
        return [Check(f"{name}.reachable", True, f"asks for a pause at present ({told}); {rate:g} requests a second")]
    if isinstance(error, Missing) or getattr(error, "kind", "") == "retired":
        return [_bad(name, "retired", told + gone, "check its base_url")]
    if getattr(error, "kind", "") == "stale":
        return [_bad(name, "freshness", told, "check the subgraph's version")]
    if getattr(error, "kind", "") == "refused":
        return [_bad(name, "credentials", told, "check the key")]
    unreached = isinstance(error, Unavailable) and not error.reached
    if unreached and source.ended:
        return [_bad(name, "retired", told + gone, "check its base_url")]
    return [_bad(name, "reachable", told, "check the network and its base_url")]


def _bad(name: str, what: str, detail: str, remedy: str) -> Check:
    return Check(f"{name}.{what}", False, detail, remedy, UPSTREAM)


async def _ask(door: Door, request: Request, key: str, kind: type[T]) -> tuple[T, dict[str, Any]]:
    """What a probe's answer has under `key`, and all of it; a hiccup is tried again."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return await door.once(request, lambda body: _having(body, key, kind))
        except (Retry, Unreadable) as error:
            if not left or isinstance(error, Missing) or (isinstance(error, Unavailable) and not error.reached):
                raise
            await asyncio.sleep(min(getattr(error, "wait_s", None) or PAUSE_S, PROBE_S))
    raise AssertionError("the last attempt returns or raises")


def _having(body: bytes, key: str, kind: type[T]) -> tuple[T, dict[str, Any]]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"its answer is not JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get(key), kind):
        raise Unreadable(f"its answer has no {key}")
    return found[key], found


async def _look_at_dome(_config: Config, door: Door, batch: int) -> list[Check]:
    """Unfiltered markets come newest first."""
    request = Request("GET", "/polymarket/markets", (("limit", str(batch)),))
    markets, answer = await _ask(door, request, "markets", list)
    paging = answer.get("pagination")
    starts = [row["start_time"] for row in markets if isinstance(row, dict) and isinstance(row.get("start_time"), int)]
    newest = dt.datetime.fromtimestamp(max(starts), dt.UTC) if starts else None
    total = paging.get("total") if isinstance(paging, dict) else None
    more = isinstance(total, int) and total > len(markets)
    return [_fresh("dome", newest, "newest market"), _capped("dome", len(markets), batch, more)]


async def _look_at_goldsky(config: Config, door: Door, batch: int) -> list[Check]:
    """The head of the subgraph that the token track asks, and a full page of it."""
    path = f"/{config.upstreams.goldsky.subgraphs.activity}/gn"

    async def ask(query: str) -> dict[str, Any]:
        request = Request("POST", path, body=orjson.dumps({"query": query}))
        data, _ = await _ask(door, request, "data", dict)
        return data

    head = await ask(HEAD_QUERY)
    page = _ids_of(await ask(f"{{positions(first:{batch}){{id}}}}"))
    more = bool(page) and len(page) < batch and bool(_ids_of(await ask(_after(page[-1]))))
    return [_head(head), _capped("goldsky", len(page), batch, more)]


def _after(token: str) -> str:
    return f"{{positions(first:1,where:{{id_gt:{orjson.dumps(token).decode()}}}){{id}}}}"


def _ids_of(data: dict[str, Any]) -> list[str]:
    rows = data.get("positions")
    return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []


def _head(data: dict[str, Any]) -> Check:
    try:
        meta, number = data["_meta"], int(data["_meta"]["block"]["number"])
        rows = [int(row["timestamp"]) for row in data.get("splits") or ()]
    except (KeyError, TypeError, ValueError):
        return _bad("goldsky", "freshness", "its answer names no head block", "check the subgraph's version")
    if meta.get("hasIndexingErrors"):
        return _bad("goldsky", "freshness", f"stopped at block {number} by indexing errors", "use another version")
    if rows:
        return _fresh("goldsky", dt.datetime.fromtimestamp(max(rows), dt.UTC), f"block {number}, newest row")
    about = KNOWN_BLOCK_AT + dt.timedelta(seconds=(number - KNOWN_BLOCK) * BLOCK_S)
    return _fresh("goldsky", about, f"block {number}, about")


def _fresh(name: str, newest: dt.datetime | None, what: str) -> Check:
    if newest is None:
        return _bad(name, "freshness", "it has no rows with a time", "check its base_url")
    told = f"{what} {newest:%Y-%m-%d}"
    if newest.date() < LAST_DAY - TOLERATED:
        return _bad(name, "freshness", f"{told}: it is stale, later tokens are unknown to it", "use a fresher source")
    return Check(f"{name}.freshness", True, f"{told}; known to be incomplete after {LAST_DAY}")


def _capped(name: str, rows: int, batch: int, more: bool) -> Check:
    """A page that ends early although there is more would cut answers without a word."""
    if more and rows < batch:
        remedy = f"tracks.{name}_tokens.batch = {max(1, rows)}"
        return _bad(name, "capped", f"gives {rows} rows a page where {batch} are asked for", remedy)
    whole = "" if rows == batch else ", which is all there is"
    return Check(f"{name}.capped", True, f"a page of {rows} rows for {batch} asked{whole}")


def _line(error: BackfillError) -> str:
    """An error without its remedy, on one line."""
    place = f"{error.where}: " if error.where else ""
    return " ".join(f"{place}{error.what}".split())


class _Quiet:
    """A logger for probes, whose results are told otherwise."""

    def bind(self, **fields: Any) -> _Quiet:
        return self

    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...
