"""Existing dumps into production, exactly once.

    files → rows of ours → scratch table → state of each row (new, duplicate, conflict) → INSERT … SELECT

Nothing reaches production before every file was read to its end. The insert takes only what production does not have,
so it may be cut short and repeated; one import runs at a time. The comparison goes by portions of the tokens, whose ids
are hashes and so spread evenly: memory stays bounded, and each portion touches its own part of the production table.
Rows that cannot be taken go to the dead letters with the reason, and read = inserted + duplicates + refused holds for
every file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import orjson

from backfill import files
from backfill.engine.deadletters import DeadLetters
from backfill.engine.model import DeadLetter
from backfill.errors import BackfillError
from backfill.stages import dumps, shapes
from backfill.stages.judging import Judges
from backfill.warehouse import queries

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.warehouse.client import Warehouse

T = TypeVar("T", bound=NamedTuple)
Note = Callable[[str], None]

BATCH: Final = 5_000
PORTION: Final = 150_000
"""Rows that the warehouse compares at once: about 300 MB for fills."""

_TOLD_EVERY: Final = 100_000
_WAIT_S: Final = 0.5


def _silent(_: str) -> None:
    """Progress nobody asked for."""


@dataclass(slots=True)
class FileCount:
    """What became of the rows of one file; a market of Gamma counts as one row for each of its tokens."""

    path: str
    shape: str = ""
    read: int = 0
    inserted: int = 0
    duplicates: int = 0
    refused: int = 0

    def document(self) -> dict[str, Any]:
        """The numbers as the command prints them."""
        return {"read": self.read, "inserted": self.inserted, "duplicates": self.duplicates, "refused": self.refused}


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
        parts = [count.document() for count in self.details]
        totals = {name: sum(part[name] for part in parts) for name in ("read", "inserted", "duplicates", "refused")}
        details = [{"path": count.path, "shape": count.shape, **count.document()} for count in self.details]
        return {"files": len(parts), **totals, "dry_run": self.dry_run, "details": details}


async def import_fills(
    warehouse: Warehouse, config: Config, paths: Sequence[str | Path], *, dry_run: bool = False, note: Note = _silent
) -> ImportReport:
    """Load fills from dumps into production.

    Raises:
        UsageError: no such file, a file of unknown shape, or one that is torn; nothing was imported then.
        TrackHeld: another import is running.
    """
    return await _Import(warehouse, config, _FILLS, _fill_rows, dry_run, note).run(paths)


async def import_token_map(
    warehouse: Warehouse, config: Config, paths: Sequence[str | Path], *, dry_run: bool = False, note: Note = _silent
) -> ImportReport:
    """Load a token map from dumps into production: recomputed ids decide, and disproven rows are refused.

    Raises:
        UsageError: no such file, a file of unknown shape, or one that is torn; nothing was imported then.
        TrackHeld: another import is running.
    """
    async with Judges() as judges:

        async def rows(items: list[_Item[shapes.Mapped]]) -> _Taken:
            return await _mapping_rows(judges, items)

        return await _Import(warehouse, config, _MAPPINGS, rows, dry_run, note).run(paths)


class _Item(NamedTuple, Generic[T]):
    """A row of ours, and the number of the record that it came from."""

    line: int
    row: T


class _Refusal(NamedTuple):
    """A row that is not let in."""

    line: int
    cls: str
    reason: str
    raw: bytes


class _Taken(NamedTuple):
    """What a batch comes to: rows for the scratch table, and refusals."""

    rows: list[dict[str, Any]]
    refusals: list[_Refusal]


class _Portion(NamedTuple):
    """A range of tokens (and where one range is too much, one of `parts` of it) that fits the warehouse's memory."""

    low: str
    high: str
    parts: int
    part: int


class _Kind(NamedTuple, Generic[T]):
    """What the two imports do not have in common; `name` is that of the scratch table and of the track."""

    name: str
    shapes: tuple[shapes.Shape[T], ...]
    insert: str

    @property
    def sorted(self) -> str:
        return f"{self.name}_sorted"


_FILLS: Final = _Kind("import_fills", shapes.FILLS, "insert_new_fills")
_MAPPINGS: Final = _Kind("import_token_map", shapes.MAPPINGS, "insert_new_mappings")


@dataclass
class _Import(Generic[T]):
    """One import from its first file to its last count."""

    warehouse: Warehouse
    config: Config
    kind: _Kind[T]
    take: Callable[[list[_Item[T]]], Awaitable[_Taken]]
    dry_run: bool
    note: Note

    async def run(self, paths: Sequence[str | Path]) -> ImportReport:
        found = dumps.files_of(paths)
        report = ImportReport(self.dry_run)
        with files.held(self.config.run.checkpoint_dir / "import.lock", what="import"):
            await self._let_orphans_end()
            await self._do(f"prepare_{self.kind.name}")
            await self._do(f"prepare_{self.kind.sorted}")
            try:
                for number, path in enumerate(found):
                    report.details.append(await self._load(number, path))
                await self._settle(report)
            finally:
                await self._clear()
        return report

    async def _let_orphans_end(self) -> None:
        """An import that was killed may have left its insert running, and we must not look past its rows."""
        while int(await self.warehouse.fetch_value(queries.load("imports_still_running"))):
            self.note("an earlier import's insert is still running; waiting for it")
            await asyncio.sleep(_WAIT_S)

    async def _load(self, number: int, path: Path) -> FileCount:
        count = FileCount(str(path))
        records = dumps.read(path)
        shape: shapes.Shape[T] | None = None
        told = 0
        with contextlib.closing(records):
            while batch := await asyncio.to_thread(_next, records):
                shape = shape or self._shape(batch, path)
                await self._load_batch(number, batch, shape, count)
                if count.read // _TOLD_EVERY != told:
                    told = count.read // _TOLD_EVERY
                    self.note(f"{path.name}: {count.read:,} rows read, {count.refused:,} refused")
        self.note(f"{path.name}: read to its end, {count.read:,} rows, {count.refused:,} refused")
        count.shape = shape.name if shape else ""
        return count

    def _shape(self, batch: list[dumps.Record], path: Path) -> shapes.Shape[T] | None:
        first = next((record for record in batch if not record.problem), None)
        return None if first is None else shapes.recognise(first.values, self.kind.shapes, where=str(path))

    async def _load_batch(
        self, number: int, batch: list[dumps.Record], shape: shapes.Shape[T] | None, count: FileCount
    ) -> None:
        items, refusals = await asyncio.to_thread(_converted, batch, shape)
        taken = await self.take(items)
        refusals += taken.refusals
        if taken.rows:
            body = b"\n".join(orjson.dumps({"file": number, **row}) for row in taken.rows)
            await self.warehouse.insert(f"staging.{self.kind.name}", body)
        self._bury(count.path, refusals)
        count.read += len(taken.rows) + len(refusals)
        count.refused += len(refusals)

    async def _settle(self, report: ImportReport) -> None:
        """Sort the loaded rows by what becomes of them, and let the new ones in."""
        portions = await self._portions()
        for number, portion in enumerate(portions, start=1):
            await self._do(f"sort_{self.kind.name}", portion)
            self.note(f"portion {number} of {len(portions)} compared with what is there")
        loaded = sum(count.read - count.refused for count in report.details)
        await self._count_states(report)
        counted = sum(count.inserted + count.duplicates for count in report.details) + await self._bury_conflicts(
            report
        )
        if counted != loaded:
            raise BackfillError(
                f"{loaded} rows were loaded, but {counted} came out of the scratch table",
                where=self.kind.name,
                remedy="nothing was imported; import again",
            )
        if not self.dry_run:
            for portion in portions:
                await self._do(self.kind.insert, portion)

    async def _portions(self) -> list[_Portion]:
        spread = await self.warehouse.fetch(queries.load("import_spread"), {"table": self.kind.name})
        return portions_of({int(row["first_byte"]): int(row["rows"]) for row in spread})

    async def _count_states(self, report: ImportReport) -> None:
        for row in await self.warehouse.fetch(queries.load("import_states"), {"sorted": self.kind.sorted}):
            count = report.details[int(row["file"])]
            if row["state"] == "new":
                count.inserted = int(row["rows"])
            elif row["state"] == "duplicate":
                count.duplicates = int(row["rows"])

    async def _bury_conflicts(self, report: ImportReport) -> int:
        found = await self.warehouse.fetch(queries.load("import_conflicts"), {"sorted": self.kind.sorted})
        for row in found:
            count = report.details[int(row["file"])]
            count.refused += 1
            raw = str(row["raw"]).encode()
            self._bury(count.path, [_Refusal(int(row["line"]), "conflict", _CONFLICT[self.kind.name], raw)])
        return len(found)

    def _bury(self, path: str, refusals: Sequence[_Refusal]) -> None:
        if not refusals or self.dry_run:
            return
        name = self.kind.name
        letters = [
            DeadLetter(name, one.line, one.cls, f"{path}:{one.line}: {one.reason}", one.raw.decode("utf-8", "replace"))
            for one in refusals
        ]
        DeadLetters(self.config.run.data_dir).append(name, letters)

    async def _clear(self) -> None:
        for table in (self.kind.name, self.kind.sorted):
            await self.warehouse.execute(queries.load("clear_import"), {"table": table})

    async def _do(self, name: str, portion: _Portion | None = None) -> None:
        await self.warehouse.execute(queries.load(name), portion and portion._asdict())


def portions_of(spread: Mapping[int, int], *, limit: int = PORTION) -> list[_Portion]:
    """Cut the tokens into ranges of about `limit` rows each.

    Args:
        spread: how many rows there are for each first byte of the token id.
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


_CONFLICT: Final = {
    "import_fills": "another fill with other facts has this fill_id",
    "import_token_map": "another row maps this token otherwise",
}


def _next(records: Iterator[dumps.Record]) -> list[dumps.Record]:
    return list(islice(records, BATCH))


def _converted(batch: list[dumps.Record], shape: shapes.Shape[T] | None) -> tuple[list[_Item[T]], list[_Refusal]]:
    """The rows of a batch, and the records that do not hold what their columns promise."""
    items: list[_Item[T]] = []
    refusals: list[_Refusal] = []
    for record in batch:
        try:
            items += [_Item(record.number, row) for row in _rows(record, shape)]
        except ValueError as error:
            refusals.append(_Refusal(record.number, "refused", str(error), record.as_raw()))
    return items, refusals


def _rows(record: dumps.Record, shape: shapes.Shape[T] | None) -> Sequence[T]:
    if record.problem or shape is None:
        raise ValueError(record.problem)
    try:
        return shape.convert(record.values)
    except KeyError as error:
        raise ValueError(f"column {error.args[0]} is missing") from None


async def _fill_rows(items: list[_Item[shapes.Fill]]) -> _Taken:
    return _Taken([_stored(item) | {"needs_ordinal": int(item.row.needs_ordinal)} for item in items], [])


async def _mapping_rows(judges: Judges, items: list[_Item[shapes.Mapped]]) -> _Taken:
    claims = [(item.row.token_id, item.row.condition_id_norm, item.row.outcome_index) for item in items]
    taken = _Taken([], [])
    for item, verdict in zip(items, await judges.judge(claims), strict=True):
        if verdict.result == "disproven":
            taken.refusals.append(_Refusal(item.line, "disproven", verdict.detail, orjson.dumps(_named(item.row))))
        else:
            taken.rows.append(_stored(item) | {"proven": int(verdict.result == "proven")})
    return taken


def _stored(item: _Item[Any]) -> dict[str, Any]:
    return {"line": item.line, **_named(item.row)}


def _named(row: Any) -> dict[str, Any]:
    """The columns of a row; the id as text, because a JSON number of that size is a float to most readers."""
    return {**row._asdict(), "token_id": str(row.token_id)}
