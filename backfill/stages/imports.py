"""Existing dumps into production, exactly once.

    files → rows of ours → scratch table → state of each row (new, duplicate, conflict) → INSERT … SELECT

Nothing reaches production before every file was read to its end. The insert takes only what production does not have,
so it may be cut short and repeated; one import runs at a time, and none while fills are merged. The comparison goes by
portions of the transactions (of fills) or tokens (of mappings), which are hashes and so spread evenly: memory stays
bounded. Rows that cannot be taken go to the dead letters with the reason, and read = inserted + duplicates + refused
holds for every file. Rows that say themselves that they are no fills are passed over, and counted beside.

Fills come by tens of millions. So they are converted column by column, compared by hashes of 8 and 16 bytes, and what
is noted of them is the exception: what is not new, and what needs a number (`columns`, `sql/queries/imports.sql`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from backfill import files
from backfill.engine.checkpoint import lock_path
from backfill.engine.deadletters import DeadLetters
from backfill.engine.model import DeadLetter
from backfill.errors import BackfillError, TrackHeld, UsageError, unwrapped
from backfill.stages import dumps, judging, loading, shapes
from backfill.stages.dumps import NotOurs
from backfill.stages.judging import Judges
from backfill.stages.loading import Parcel, Part, Refusal
from backfill.stages.shapes import Mapped, Shape
from backfill.warehouse import queries

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.warehouse.client import Warehouse

Note = Callable[[str], None]

BATCH: Final = 5_000
"""Mappings that are judged at once."""
PORTION: Final = 1_000_000
"""Fills that the warehouse compares at once: below 1 GB where all of them are there already."""
MAP_PORTION: Final = 150_000
"""Mappings that it compares at once."""

_TOLD_EVERY: Final = 1_000_000
_WAIT_S: Final = 0.5


def _silent(_: str) -> None:
    """Progress nobody asked for."""


@dataclass(slots=True)
class FileCount:
    """What became of the rows of one file; a market of Gamma counts as one row for each of its tokens.

    `skipped` rows say themselves that they are no fills, and count for nothing else; a file that was found (not named)
    and has a shape that nobody knows is `passed_over`, with the reason.
    """

    path: str
    shape: str = ""
    read: int = 0
    inserted: int = 0
    duplicates: int = 0
    refused: int = 0
    skipped: int = 0
    passed_over: str = ""

    def document(self) -> dict[str, Any]:
        """The numbers as the command prints them."""
        return {
            "read": self.read,
            "inserted": self.inserted,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "skipped": self.skipped,
        }


@dataclass(slots=True)
class ImportReport:
    """What an import did, or would do when `dry_run`."""

    dry_run: bool
    details: list[FileCount] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """Rows that went to the dead letters."""
        return sum(count.refused for count in self.details)

    def document(self) -> dict[str, Any]:
        """The result as the command prints it."""
        read = [count for count in self.details if not count.passed_over]
        parts = [count.document() for count in read]
        totals = {name: sum(part[name] for part in parts) for name in FileCount("").document()}
        details = [{"path": count.path, "shape": count.shape, **count.document()} for count in read]
        over = [{"path": one.path, "reason": one.passed_over} for one in self.details if one.passed_over]
        return {"files": len(parts), **totals, "dry_run": self.dry_run, "details": details, "passed_over": over}


async def import_fills(
    warehouse: Warehouse, config: Config, paths: Sequence[str | Path], *, dry_run: bool = False, note: Note = _silent
) -> ImportReport:
    """Load fills from dumps into production. It waits while fills are merged.

    Raises:
        UsageError: no such file, a file of unknown shape, or one that is torn; nothing was imported then.
        TrackHeld: another import is running.
    """
    return await _Fills(warehouse, config, "import_fills", dry_run, note).run(paths)


async def import_token_map(
    warehouse: Warehouse, config: Config, paths: Sequence[str | Path], *, dry_run: bool = False, note: Note = _silent
) -> ImportReport:
    """Load a token map from dumps into production: recomputed ids decide, and disproven rows are refused.

    Raises:
        UsageError: no such file, a file of unknown shape, or one that is torn; nothing was imported then.
        TrackHeld: another import is running.
    """
    # Not standing back behind others, as judges do beside tracks: here somebody waits, and no request is late.
    async with Judges(nice=0) as judges:
        return await _TokenMap(warehouse, config, "import_token_map", dry_run, note, judges).run(paths)


class _Portion(NamedTuple):
    """A range of hashes (and where one range is too much, one of `parts` of it) that fits the warehouse's memory."""

    low: str
    high: str
    parts: int
    part: int


@dataclass
class _Import:
    """What the two imports have in common; `name` is that of the scratch table and of the dead letters."""

    warehouse: Warehouse
    config: Config
    name: str
    dry_run: bool
    note: Note

    @property
    def scratch(self) -> tuple[str, ...]:
        """The scratch tables."""
        return self.name, f"{self.name}_sorted"

    async def run(self, paths: Sequence[str | Path]) -> ImportReport:
        """From the first file to the last count."""
        found = dumps.files_of(paths)
        report = ImportReport(self.dry_run, [FileCount(str(path)) for path in found])
        with files.held(lock_path(self.config.run.checkpoint_dir, "import"), what="import"):
            await self._until_none("imports_still_running", "an earlier import's insert is still running")
            for table in self.scratch:
                await self._do(f"prepare_{table}")
            try:
                await self._load(found, {path.resolve() for path in map(Path, paths) if path.is_file()}, report)
                await self._settle(report)
            finally:
                await self._clear()
        return report

    async def _load(self, found: Sequence[Path], named: set[Path], report: ImportReport) -> None:
        """Bring the rows of all files into the scratch table."""
        raise NotImplementedError

    async def _settle(self, report: ImportReport) -> None:
        """Find out what becomes of the loaded rows, and let the new ones in."""
        raise NotImplementedError

    async def _until_none(self, query: str, what: str, **arguments: object) -> None:
        """What a process that was killed has left running must end first: we must not look past its rows."""
        told = False
        while int(await self.warehouse.fetch_value(queries.load(query), arguments)):
            if not told:
                self.note(f"{what}; waiting for it")
            told = True
            await asyncio.sleep(_WAIT_S)

    async def _conflicts(self, query: str, what: str, report: ImportReport) -> int:
        found = await self.warehouse.fetch(queries.load(query))
        for row in found:
            count = report.details[int(row["file"])]
            count.refused += 1
            self._bury(count.path, [Refusal(int(row["line"]), "conflict", what, str(row["raw"]).encode())])
        return len(found)

    def _bury(self, path: str, refusals: Sequence[Refusal]) -> None:
        if not refusals or self.dry_run:
            return
        letters = [
            DeadLetter(
                self.name, one.line, one.cls, f"{path}:{one.line}: {one.reason}", one.raw.decode("utf-8", "replace")
            )
            for one in refusals
        ]
        DeadLetters(self.config.run.data_dir).append(self.name, letters)

    def _agree(self, loaded: int, counted: int) -> None:
        """Every row must come out again.

        Raises:
            BackfillError: it does not.
        """
        if counted != loaded:
            raise BackfillError(
                f"{loaded} rows were loaded, but {counted} came out of the scratch table",
                where=self.name,
                remedy="nothing was imported; import again",
            )

    async def _clear(self) -> None:
        for table in self.scratch:
            await self.warehouse.execute(queries.load("clear_import"), {"table": table})

    async def _do(self, name: str, **arguments: object) -> None:
        await self.warehouse.execute(queries.load(name), arguments)


# --- fills


@dataclass
class _Fills(_Import):
    """Fills: converted in a thread while the parcel before is written."""

    @property
    def scratch(self) -> tuple[str, ...]:
        """The scratch tables; the last is for what production has."""
        return *super().scratch, "import_fills_known"

    async def _load(self, found: Sequence[Path], named: set[Path], report: ImportReport) -> None:
        workers = judging.cores() if judging.cores() > 1 and loading.worth_workers(found) else 0
        with contextlib.ExitStack() as stack:
            pool = judging.pool(workers, nice=0) if workers else None
            if pool is not None:
                # Not waiting: an import that ends early must not hang on chunks that nobody will read.
                stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            stack.enter_context(unwrapped())
            await self._bring(loading.parcels(found, named, pool=pool, ahead=2 * workers), report)
        _check_any(report)
        for count in report.details:
            self.note(_end_of(count))

    async def _bring(self, parcels: Iterator[Parcel], report: ImportReport) -> None:
        told = 0
        async with asyncio.TaskGroup() as group:
            written: asyncio.Task[None] | None = None
            async for parcel in _in_thread(parcels):
                for part in parcel.parts:
                    self._account(part, report.details[part.file])
                if written is not None:
                    await written
                written = group.create_task(self._write(parcel), name="import")
                read = sum(count.read for count in report.details)
                if read // _TOLD_EVERY != told:
                    told = read // _TOLD_EVERY
                    self.note(f"{read:,} rows read, {report.refused:,} refused")

    def _account(self, part: Part, count: FileCount) -> None:
        count.shape = part.shape or count.shape
        count.read += part.rows + len(part.refusals)
        count.refused += len(part.refusals)
        count.skipped += part.others
        count.passed_over = part.passed_over
        self._bury(count.path, part.refusals)

    async def _write(self, parcel: Parcel) -> None:
        if parcel.body:
            await self.warehouse.insert("staging.import_fills", parcel.body, columns=loading.COLUMNS, fmt="ArrowStream")

    async def _settle(self, report: ImportReport) -> None:
        async with self._alone():
            await self._do("know_stored_fills")
            spread = await self.warehouse.fetch(queries.load("import_fill_spread"))
            portions = portions_of({int(row["first_byte"]): int(row["rows"]) for row in spread})
            mixed = int(await self.warehouse.fetch_value(queries.load("import_fill_layers"))) > 1
            for number, portion in enumerate(portions, start=1):
                await self._do("sort_import_fills", mixed=int(mixed), **_hashes(portion))
                self.note(f"portion {number} of {len(portions)} compared with what is there")
            await self._count(report)
            for portion in () if self.dry_run else portions:
                await self._do("insert_new_fills", **_hashes(portion))
                await self._do("insert_numbered_fills", **_hashes(portion))

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nobody merges fills meanwhile; who does is waited for."""
        path = lock_path(self.config.run.checkpoint_dir, "settle_fills")
        told = False
        while True:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(files.held(path, what="settling fills"))
                except TrackHeld:
                    if not told:
                        self.note("another process merges fills; waiting for it")
                    told = True
                else:
                    what = "an earlier merge or import is still at work in the warehouse"
                    await self._until_none("fills_still_changing", what, database=self.warehouse.names.production)
                    yield
                    return
            await asyncio.sleep(_WAIT_S)

    async def _count(self, report: ImportReport) -> None:
        loaded = {number: count.read - count.refused for number, count in enumerate(report.details)}
        rows = {int(row["file"]): int(row["rows"]) for row in await self._rows("import_fill_rows")}
        for number, expected in loaded.items():
            self._agree(expected, rows.get(number, 0))
            report.details[number].inserted = expected
        for row in await self._rows("import_fill_states"):
            count = report.details[int(row["file"])]
            self._agree(int(row["lines"]), int(row["rows"]))
            count.inserted -= int(row["rows"])
            if row["state"] == "duplicate":
                count.duplicates = int(row["rows"])
        await self._conflicts("import_fill_conflicts", "another fill with other facts has this fill_id", report)

    async def _rows(self, query: str) -> list[dict[str, Any]]:
        return await self.warehouse.fetch(queries.load(query))


def _end_of(count: FileCount) -> str:
    name = Path(count.path).name
    if count.passed_over:
        return f"{name}: passed over: {count.passed_over}"
    return f"{name}: read to its end, {count.read:,} rows, {count.refused:,} refused"


def _check_any(report: ImportReport) -> None:
    """Something must have been read.

    Raises:
        UsageError: every file was passed over.
    """
    over = [count for count in report.details if count.passed_over]
    if over and len(over) == len(report.details):
        raise UsageError("no file here holds what was asked for", remedy=f"the first of them: {over[0].passed_over}")


def _hashes(portion: _Portion) -> dict[str, int]:
    """A portion of 256 bits as one of 64."""
    low, high = int(portion.low) >> 192, int(portion.high) >> 192
    return {"low": low, "high": high, "parts": portion.parts, "part": portion.part}


async def _in_thread(parcels: Iterator[Parcel]) -> AsyncIterator[Parcel]:
    """What an iterator gives, worked out beside the event loop."""
    while (parcel := await asyncio.to_thread(next, parcels, None)) is not None:
        yield parcel


# --- token map


class _Item(NamedTuple):
    """A mapping, and the number of the record that it came from."""

    line: int
    row: Mapped


@dataclass
class _TokenMap(_Import):
    """Mappings: every one is recomputed before it gets near a table."""

    judges: Judges

    async def _load(self, found: Sequence[Path], named: set[Path], report: ImportReport) -> None:
        for number, (path, count) in enumerate(zip(found, report.details, strict=True)):
            try:
                await self._load_file(number, path, count)
            except NotOurs as error:
                if path in named:
                    raise
                count.passed_over = error.what
            self.note(_end_of(count))
        _check_any(report)

    async def _load_file(self, number: int, path: Path, count: FileCount) -> None:
        records = dumps.read(path)
        shape: Shape[Mapped] | None = None
        with contextlib.closing(records):
            while batch := await asyncio.to_thread(_next, records):
                shape = shape or _shape(batch, path)
                await self._load_batch(number, batch, shape, count)
        count.shape = shape.name if shape else ""

    async def _load_batch(
        self, number: int, batch: list[dumps.Record], shape: Shape[Mapped] | None, count: FileCount
    ) -> None:
        items, refusals = await asyncio.to_thread(_converted, batch, shape)
        rows = await self._judged(items, refusals)
        if rows:
            body = b"\n".join(orjson.dumps({"file": number, **row}) for row in rows)
            await self.warehouse.insert("staging.import_token_map", body)
        self._bury(count.path, refusals)
        count.read += len(rows) + len(refusals)
        count.refused += len(refusals)

    async def _judged(self, items: list[_Item], refusals: list[Refusal]) -> list[dict[str, Any]]:
        """The rows that are not disproven; the others are refused."""
        claims = [(item.row.token_id, item.row.condition_id_norm, item.row.outcome_index) for item in items]
        rows: list[dict[str, Any]] = []
        for item, verdict in zip(items, await self.judges.judge(claims), strict=True):
            # As text, because a JSON number of that size is a float to most readers.
            stored = {**item.row._asdict(), "token_id": str(item.row.token_id)}
            if verdict.result == "disproven":
                refusals.append(Refusal(item.line, "disproven", verdict.detail, orjson.dumps(stored)))
            else:
                rows.append({"line": item.line, **stored, "proven": int(verdict.result == "proven")})
        return rows

    async def _settle(self, report: ImportReport) -> None:
        spread = await self.warehouse.fetch(queries.load("import_spread"), {"table": self.name})
        rows = {int(row["first_byte"]): int(row["rows"]) for row in spread}
        portions = portions_of(rows, limit=MAP_PORTION)
        for number, portion in enumerate(portions, start=1):
            await self._do("sort_import_token_map", **portion._asdict())
            self.note(f"portion {number} of {len(portions)} compared with what is there")
        await self._count(report)
        for portion in () if self.dry_run else portions:
            await self._do("insert_new_mappings", **portion._asdict())

    async def _count(self, report: ImportReport) -> None:
        loaded = sum(count.read - count.refused for count in report.details)
        for row in await self.warehouse.fetch(queries.load("import_map_states")):
            count = report.details[int(row["file"])]
            if row["state"] == "new":
                count.inserted = int(row["rows"])
            elif row["state"] == "duplicate":
                count.duplicates = int(row["rows"])
        conflicts = await self._conflicts("import_map_conflicts", "another row maps this token otherwise", report)
        self._agree(loaded, sum(count.inserted + count.duplicates for count in report.details) + conflicts)


def _next(records: Iterator[dumps.Record]) -> list[dumps.Record]:
    return list(islice(records, BATCH))


def _shape(batch: list[dumps.Record], path: Path) -> Shape[Mapped] | None:
    first = next((record for record in batch if not record.problem), None)
    return None if first is None else shapes.recognise(first.values, shapes.MAPPINGS, where=str(path))


def _converted(batch: list[dumps.Record], shape: Shape[Mapped] | None) -> tuple[list[_Item], list[Refusal]]:
    """The mappings of a batch, and the records that do not hold what their columns promise."""
    items: list[_Item] = []
    refusals: list[Refusal] = []
    for record in batch:
        try:
            own = shapes.shape_of(record, shape, shapes.MAPPINGS)
            items += [_Item(record.number, row) for row in shapes.rows_of(record, own)]
        except ValueError as error:
            refusals.append(Refusal(record.number, "refused", str(error), record.as_raw()))
    return items, refusals


# --- portions


def portions_of(spread: Mapping[int, int], *, limit: int = PORTION) -> list[_Portion]:
    """Cut hashes of 256 bits into ranges of about `limit` rows each.

    Args:
        spread: how many rows there are for each first byte of the hash.
    """
    portions: list[_Portion] = []
    first, gathered = None, 0
    for byte, rows in sorted(spread.items()):
        if first is not None and gathered + rows > limit:
            portions += _range(first, byte - 1, gathered, limit)
            first, gathered = None, 0
        first, gathered = byte if first is None else first, gathered + rows
    return portions if first is None else [*portions, *_range(first, 255, gathered, limit)]


def _range(first: int, last: int, rows: int, limit: int) -> list[_Portion]:
    parts = -(-rows // limit)
    return [_Portion(str(first << 248), str(((last + 1) << 248) - 1), parts, part) for part in range(parts)]
