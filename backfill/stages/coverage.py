"""What was asked of whom, as a fact in the warehouse: window by window, and as one line for each track."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson

from backfill.engine.plan import Plan
from backfill.errors import UpstreamUnusable
from backfill.stages.legs import Runner
from backfill.tracks.track import Track, Window, read_item
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

KINDS = {"tokens": "token", "conditions": "condition", "wallets": "wallet", "blocks": "blocks", "windows": "all"}
BATCH = 50_000
TIME_COLUMNS = {"fills": "timestamp", "transfers": "timestamp", "activity": "timestamp", "payouts": "resolved_at"}


async def record(warehouse: Warehouse, runner: Runner[Track], plan: Plan) -> None:
    """Note what the finished units of a track have covered, and how far that brings it."""
    if runner.track.scope in KINDS:
        await _windows(warehouse, runner, plan)
    await _status(warehouse, runner, plan)


async def unusable(warehouse: Warehouse, track: Track, error: UpstreamUnusable) -> None:
    """Note that a track could not be read at all; what was covered before stays covered."""
    known = await _known(warehouse, track)
    await _note(warehouse, track, known.get("covered_from"), known.get("covered_to"), 0, f"{error.kind}: {error}")


async def _windows(warehouse: Warehouse, runner: Runner[Track], plan: Plan) -> None:
    lines: list[bytes] = []
    for line in _lines(runner, plan):
        lines.append(line)
        if len(lines) >= BATCH:
            await warehouse.insert("staging.covered_windows", b"\n".join(lines))
            lines.clear()
    if lines:
        await warehouse.insert("staging.covered_windows", b"\n".join(lines))


def _lines(runner: Runner[Track], plan: Plan) -> Iterator[bytes]:
    track, desk = runner.track, runner.desk
    for start, end in desk.progress.done.pairs():
        for number in range(start, end):
            for text in desk.plan.unit(number).items:
                found = read_item(text)
                if found.window is not None:
                    yield _line(track, found.key, found.window, plan, number)


def _line(track: Track, key: str, window: Window, plan: Plan, unit: int) -> bytes:
    kind = "wallet" if key.startswith("wallet:") else KINDS[track.scope]
    row = {
        "dataset": track.dataset,
        "source": track.name,
        "kind": kind,
        "key": key.removeprefix("wallet:"),
        "covered_from": window.start,
        "covered_to": window.end,
        "plan_id": plan.plan_id,
        "unit": unit,
    }
    return orjson.dumps(row)


async def _status(warehouse: Warehouse, runner: Runner[Track], plan: Plan) -> None:
    desk, track = runner.desk, runner.track
    known = await _known(warehouse, track)
    start, end = known.get("covered_from"), known.get("covered_to")
    left = desk.plan.units_total - len(desk.progress.done)
    wish = plan.baseline.get("wish", {})
    whole = not (wish.get("wallets") or wish.get("tokens"))
    if left == 0 and whole:
        window = plan.baseline.get("window") or {"from": None, "to": int(time.time())}
        start, end = joined(start, end, window["from"], window["to"])
    note = "" if left == 0 else f"{left} of {desk.plan.units_total} units are left"
    if left == 0 and not whole:
        note = f"only some {'wallets' if wish.get('wallets') else 'tokens'} were asked for"
    await _note(warehouse, track, start, end, int(left == 0), note)


def joined(start: int | None, end: int | None, new_start: int | None, new_end: int) -> tuple[int | None, int]:
    """What two covered windows are together: both where they meet, else the new one where it is the later."""
    if new_start is None or end is None or start is None:
        return (new_start if start is None else start), max(new_end, end or 0)
    if new_start >= new_end:
        return start, end
    if new_start <= end and new_end >= start:
        return min(start, new_start), max(end, new_end)
    return (start, end) if end >= new_end else (new_start, new_end)


async def _known(warehouse: Warehouse, track: Track) -> dict[str, Any]:
    rows = await warehouse.fetch(queries.load("sync_status"))
    for row in rows:
        if row["dataset"] == track.dataset and row["source"] == track.name:
            return {key: None if row[key] is None else int(row[key]) for key in ("covered_from", "covered_to")}
    return {}


async def _note(
    warehouse: Warehouse, track: Track, start: int | None, end: int | None, complete: int, note: str
) -> None:
    values = {
        "dataset": track.dataset,
        "source": track.name,
        "covered_from": start,
        "covered_to": end,
        "newest_row": await _newest(warehouse, track),
        "complete": complete,
        "note": note,
    }
    await warehouse.execute(queries.load("note_status"), values)
    await warehouse.execute(queries.load("compact_status"))


async def _newest(warehouse: Warehouse, track: Track) -> int | None:
    column = TIME_COLUMNS.get(track.dataset)
    if column is None:
        return None
    source = track.name.removesuffix(f"_{track.dataset}")
    arguments = {"column": column, "table": track.table.partition(".")[2], "source": source}
    newest = await warehouse.fetch_value(queries.load("newest_row"), arguments)
    return int(newest) if newest else None
