"""What a run would stumble over, looked at beforehand: files, disk, warehouse, plans, and each upstream (`probes`).

Every check ends in a sentence, also when what it looks at fails in a way of its own; nothing here raises but a signal.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backfill.app import current_plan
from backfill.config import Config
from backfill.engine.plan import PlanBook
from backfill.errors import BackfillError, StateError
from backfill.log import HIDDEN
from backfill.stages.probes import WAREHOUSE, Check, check_upstreams, line
from backfill.stages.setup import fingerprint
from backfill.tracks.tokens import TOKEN_TRACKS
from backfill.warehouse import migrate
from backfill.warehouse.client import Warehouse, open_warehouse

DISK_LOW, DISK_OUT = 1 << 30, 100 << 20
SPARE_FILES = 128
LONGEST = 400
URL_LOGIN = re.compile(r"//[^/@\s]+@")


async def run_checks(config: Config) -> list[Check]:
    """All checks, the slow ones side by side."""
    async with asyncio.TaskGroup() as group:
        store = group.create_task(check_warehouse(config))
        asked = group.create_task(check_upstreams(config))
    local = [*check_folders(config), check_disk(config), check_open_files(config)]
    answers = asked.result()
    mappers = [track.upstream for track in TOKEN_TRACKS.values()]
    if not all(any(not check.ok for check in answers[name]) for name in mappers):
        answers |= {name: [_moving(check) for check in answers[name]] for name in mappers}
    found = [*local, *store.result(), *(check for answer in answers.values() for check in answer)]
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
        return [Check("warehouse", False, line(error), remedy, WAREHOUSE), _plan_alone(config)]


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
        return Check("schema", False, line(error), error.remedy, WAREHOUSE)
    return Check("schema", True, f"{len(states)} migrations, all applied")


def _plan_alone(config: Config) -> Check:
    """The plan as far as it can be judged without the warehouse."""
    try:
        plan = current_plan(config)
        for name in plan.shares:
            PlanBook(config.run.checkpoint_dir).track(plan, name)
    except StateError as error:
        none = not PlanBook(config.run.checkpoint_dir).header.exists()
        return Check("plan", none, "none yet" if none else line(error), error.remedy)
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
