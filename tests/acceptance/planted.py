"""The product with a bug planted in it: python -m tests.acceptance.planted NAME -- run tokens …

Each bug is one that a hasty builder could have made. The kill test has to catch every one of them; a test that does not
is blind. `paused_before_checkpoint` is no bug: it only stretches the instant between durable rows and their record.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Plant = Callable[[], None]
PAUSE_S = 0.4


def _set(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)


def ack_before_insert() -> None:
    """Pages count as stored when they are handed in, not when the warehouse has acknowledged them."""
    from backfill.warehouse.sink import Sink

    insert = Sink._insert

    async def write(self: Sink, lines: Sequence[bytes]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, done))
        self._more.set()

    async def slow(self: Sink, lines: Sequence[bytes]) -> None:
        await asyncio.sleep(PAUSE_S)
        await insert(self, lines)

    _set(Sink, "write", write)
    _set(Sink, "_insert", slow)


def done_up_to_highest() -> None:
    """The checkpoint says done up to the highest unit, although workers finish out of order."""
    from backfill.engine.progress import Progress

    document = Progress.document

    def counted(self: Progress) -> dict[str, Any]:
        told = document(self)
        if told["done"]:
            told["done"] = [(0, told["done"][-1][1])]
        return told

    _set(Progress, "document", counted)


def merge_everything() -> None:
    """Inserts have no name, merge does not ask what the map has already, and nobody cleans up behind."""
    from backfill.stages import merge
    from backfill.warehouse import queries
    from backfill.warehouse.client import Warehouse

    load, insert = queries.load, Warehouse.insert

    def without_anti_join(name: str) -> str:
        text = load(name)
        if name == "merge_winners":
            start = text.index("AND token_id NOT IN")
            return text[:start] + text[text.index("GROUP BY", start) :]
        return text

    async def nameless(self: Warehouse, table: str, body: bytes, **kw: Any) -> None:
        await insert(self, table, body, **{**kw, "token": None})

    async def leave(*_: Any) -> None:
        return None

    _set(queries, "load", without_anti_join)
    _set(Warehouse, "insert", nameless)
    _set(merge, "_compact", leave)


def everything_proven() -> None:
    """Every answer counts as proven."""
    from backfill.ids import Verdict
    from backfill.stages.judging import Judges

    async def judge(_self: Judges, rows: Sequence[Any]) -> list[Verdict]:
        return [Verdict("proven", "") for _ in rows]

    _set(Judges, "judge", judge)


def checkpoint_in_place() -> None:
    """State files are overwritten where they stand, and a torn checkpoint silently starts the track afresh."""
    from backfill import files
    from backfill.engine.checkpoint import CheckpointFile
    from backfill.engine.progress import Progress
    from backfill.errors import StateError

    load = CheckpointFile.load

    def overwrite(path: Path, content: bytes, **_: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as handle:
            handle.write(content[: len(content) // 2])
            handle.flush()
            time.sleep(0.05)
            handle.write(content[len(content) // 2 :])

    def afresh(self: CheckpointFile, plan_id: str, warn: Any) -> Progress:
        try:
            return load(self, plan_id, lambda _: None)
        except StateError:
            return Progress()

    _set(files, "replace", overwrite)
    _set(CheckpointFile, "load", afresh)


def no_recheck() -> None:
    """What is missing from a short answer is taken as unknown."""
    from backfill.stages.tokens import Relay

    async def nothing(*_: Any) -> None:
        return None

    _set(Relay, "_recheck", nothing)


def no_handover() -> None:
    """What one track could not map is not given to the other."""
    from backfill.stages.tokens import Relay

    async def nothing(*_: Any) -> None:
        return None

    _set(Relay, "_hand_over", nothing)


def forgetful_windows() -> None:
    """The rate windows begin empty with each process."""
    from backfill.engine.limits import RateGate

    begin = RateGate.__init__

    def fresh(self: RateGate, windows: Any, path: Path, **kw: Any) -> None:
        path.unlink(missing_ok=True)
        begin(self, windows, path, **kw)

    _set(RateGate, "__init__", fresh)


def letters_forgotten() -> None:
    """Refused rows are only counted."""
    from backfill.engine.deadletters import DeadLetters

    _set(DeadLetters, "append", lambda *_: None)


def paused_before_checkpoint() -> None:
    """No bug: rows are durable, and the ledger is written a while later, so that a kill can fall in between."""
    from backfill.engine.checkpoint import CheckpointFile

    save = CheckpointFile.save

    def late(self: CheckpointFile, *arguments: Any) -> None:
        time.sleep(2)
        save(self, *arguments)

    _set(CheckpointFile, "save", late)


def paused_in_merge() -> None:
    """No bug: merge has inserted, and is slow to hear of it, so that a kill can fall in between."""
    from backfill.warehouse.client import Warehouse

    insert = Warehouse.insert

    async def late(self: Warehouse, table: str, body: bytes, **kw: Any) -> None:
        await insert(self, table, body, **kw)
        if table.startswith("production"):
            sys.stderr.write("INSERTED\n")
            await asyncio.sleep(30)

    _set(Warehouse, "insert", late)


def cursor_by_time_only() -> None:
    """Pages of fills go on behind the second of the last row: what of that second has not come is never asked for."""
    from backfill.tracks import goldsky_fills as lane

    query = lane._query

    def by_time(*arguments: Any) -> str:
        text = query(*arguments).replace("orderBy:id", "orderBy:timestamp")
        for side in ("m", "t"):
            text = text.replace(f"id_gt:${side}", f"timestamp_gt:${side}").replace(f"${side}:ID!", f"${side}:BigInt!")
        return text

    def all_of_them(unit: Any, side: str, found: Sequence[Any], *_: Any) -> list[bytes]:
        return [lane._line(unit, side, row) for row in found]

    _set(lane, "_query", by_time)
    _set(lane, "_last", lambda found, _before: found[-1]["timestamp"])
    _set(lane, "_plain", lambda *_: None)
    _set(lane, "_careful", all_of_them)


def settle_everything() -> None:
    """What is staged goes into production, whether it is there already or not."""
    from backfill.warehouse import queries

    load = queries.load

    def without_anti_join(name: str) -> str:
        text = load(name)
        return text[: text.index("AND (block_number, log_index")] if name == "add_transfers" else text

    _set(queries, "load", without_anti_join)


def blocks_skipped_on_error() -> None:
    """When a node refuses a range of blocks, the next range is asked for instead of a smaller one."""
    from backfill.tracks.chain_blocks import ChainLane, _cursor

    smaller = ChainLane.smaller

    def skip(self: ChainLane, unit: Any, cursor: str | None) -> str | None:
        part = self._part(unit, cursor)
        behind = part.end < int(unit.items[part.place].split("-")[1])
        return _cursor(part.end, part.size, part.pace) if behind else smaller(self, unit, cursor)

    _set(ChainLane, "smaller", skip)


def ordinals_anew_on_each_page() -> None:
    """Equal rows of a transaction are counted anew on each page, so that one of them takes another's id."""
    from dataclasses import replace

    from backfill.tracks import data_api_fills as lane

    after = lane._Reading.after

    def forgetful(self: Any, following: str) -> Any:
        return replace(after(self, following), tx="", counts={})

    _set(lane._Reading, "after", forgetful)


PLANTS: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        ack_before_insert,
        done_up_to_highest,
        merge_everything,
        everything_proven,
        checkpoint_in_place,
        no_recheck,
        no_handover,
        forgetful_windows,
        letters_forgotten,
        paused_before_checkpoint,
        paused_in_merge,
        cursor_by_time_only,
        settle_everything,
        blocks_skipped_on_error,
        ordinals_anew_on_each_page,
    )
}


def main() -> None:
    """Plant the bug, then be the program."""
    name, dashes, *words = sys.argv[1:]
    assert dashes == "--"
    PLANTS[name]()
    sys.argv = ["backfill", *words]
    from backfill.__main__ import main as product

    product()


if __name__ == "__main__":
    main()
