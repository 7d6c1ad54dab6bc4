"""Fills from dump files in parcels for the scratch table: read, recognised, converted, and counted row by row.

Blocking and busy, so it runs in a thread while the parcel before is on its way to the warehouse.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from backfill.errors import BackfillError
from backfill.stages import chunks, columns, dumps, shapes
from backfill.stages.chunks import Chunk
from backfill.stages.dumps import NotOurs
from backfill.stages.shapes import Fill, NoFill, Shape

if TYPE_CHECKING:
    from backfill.stages.dumps import Record

ROWS: Final = 150_000
"""Rows of a parcel: about 40 MB, and one insert."""


LARGE: Final = 64 << 20
"""Bytes of text that are worth starting workers for."""
PACKED: Final = 4
"""How many times its size a packed file is as text, about."""
COLUMNS: Final = tuple(columns.SCHEMA.names)
"""The columns of the scratch table, in the order of a parcel."""


class Refusal(NamedTuple):
    """A row that is not let in, by the number of its line."""

    line: int
    cls: str
    reason: str
    raw: bytes


@dataclass(slots=True)
class Part:
    """What a parcel has of one file; `others` are rows that are no fills by their own word."""

    file: int
    shape: str = ""
    rows: int = 0
    others: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    passed_over: str = ""
    """Why the whole file was left out."""


class Parcel(NamedTuple):
    """Rows of some files, in Arrow's stream format."""

    body: bytes
    parts: list[Part]


def worth_workers(files: Sequence[Path]) -> bool:
    """Whether there is enough to read for workers of our own: they take a second to start."""
    return (
        sum(path.stat().st_size * (PACKED if path.name.endswith((".gz", ".parquet")) else 1) for path in files) > LARGE
    )


def parcels(
    files: Sequence[Path], strict: Collection[Path], *, pool: Executor | None = None, ahead: int = 4, rows: int = ROWS
) -> Iterator[Parcel]:
    """The fills of files.

    Args:
        strict: files that must hold fills; another one of unknown shape is left out.
        pool: workers that convert, `ahead` chunks at a time.

    Raises:
        UsageError: a file of unknown shape, or one that is torn.
    """
    batches: list[pa.RecordBatch] = []
    parts: list[Part] = []
    gathered = 0
    work = (task for number, path in enumerate(files) for task in _tasks(number, path, path in strict))
    for part, found in _done(work, pool, ahead):
        parts.append(part)
        batches += found
        gathered += part.rows
        if gathered >= rows:
            yield Parcel(packed(batches), parts)
            batches, parts, gathered = [], [], 0
    if parts:
        yield Parcel(packed(batches), parts)


def _done(tasks: Iterable[_Task], pool: Executor | None, ahead: int) -> Iterator[_Done]:
    """Tasks done, in their order."""
    if pool is None:
        yield from map(_Task.run, tasks)
        return
    under_way: deque[Future[_Done]] = deque()
    try:
        for task in tasks:
            under_way.append(pool.submit(task.run))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenExecutor:
        remedy = "nothing was imported; see that there is memory, and import again"
        raise BackfillError("a worker of the import was killed", remedy=remedy) from None


def packed(batches: Sequence[pa.RecordBatch]) -> bytes:
    """Batches in Arrow's stream format; nothing for none."""
    if not batches:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, columns.SCHEMA) as stream:
        for batch in batches:
            stream.write_batch(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body


_Done = tuple[Part, list[pa.RecordBatch]]


class _Task(NamedTuple):
    """A chunk of a file that is to be converted, here or in a worker; without one, what is to be said of the file."""

    part: Part
    path: Path
    chunk: Chunk | None

    def run(self) -> _Done:
        """Convert it: plain rows column by column, the others row by row."""
        if self.chunk is None:
            return self.part, []
        return _converted(self.part, self.chunk, _SHAPES.get(self.part.shape), self.path)


_SHAPES: Final = {shape.name: shape for shape in shapes.FILLS}


def _tasks(number: int, path: Path, strict: bool) -> Iterator[_Task]:
    shape = ""
    try:
        for chunk in chunks.read(path):
            shape = shape or _shape(chunk, path)
            yield _Task(Part(number, shape), path, chunk)
    except NotOurs as error:
        if strict:
            raise
        yield _Task(Part(number, passed_over=error.what), path, None)
    else:
        yield _Task(Part(number, shape), path, None)


def _shape(chunk: Chunk, path: Path) -> str:
    names = chunk.names()
    return shapes.recognise(names, shapes.FILLS, where=str(path)).name if names else ""


def _converted(part: Part, chunk: Chunk, shape: Shape[Fill] | None, path: Path) -> _Done:
    batches: list[pa.RecordBatch] = []
    left: Sequence[int] = range(len(chunk))
    if shape is not None and (plain := _plain(chunk, shape)) is not None:
        taken = pc.indices_nonzero(plain.taken).to_pylist()
        left = pc.indices_nonzero(pc.invert(plain.taken)).to_pylist()
        batches.append(columns.placed(plain.rows, part.file, [chunk.line(place) for place in taken]))
    fills: list[tuple[int, Fill]] = []
    for place in left:
        with dumps.readable(path):
            record = chunk.record(place)
        _read(record, shape, part, fills)
    if fills:
        batches.append(columns.from_fills(part.file, fills))
    part.rows = sum(batch.num_rows for batch in batches)
    return part, batches


def _plain(chunk: Chunk, shape: Shape[Fill]) -> columns.Plain | None:
    found = chunk.columns(columns.wanted(shape)) if columns.can(shape) else None
    return None if found is None else columns.plain(shape, found, len(chunk))


def _read(record: Record, shape: Shape[Fill] | None, part: Part, fills: list[tuple[int, Fill]]) -> None:
    try:
        own = shapes.shape_of(record, shape, shapes.FILLS)
        fills += [(record.number, fill) for fill in shapes.rows_of(record, own)]
    except NoFill:
        part.others += 1
    except ValueError as error:
        part.refusals.append(Refusal(record.number, "refused", str(error), record.as_raw()))
