"""Dump files in chunks of some ten thousand rows: all values of a column at once, and any row with all its digits.

Two ways to look at the same rows. `columns` gives Arrow arrays as fast as the format allows and without any promise:
whoever uses them takes only values that are plainly right. `record` gives one row by the careful reader of `dumps`,
which decides what a row means. A chunk that cannot be had in columns without doubt about where its rows begin has none.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import orjson

from backfill.stages import dumps
from backfill.stages.dumps import Record

if TYPE_CHECKING:
    import pyarrow

BYTES: Final = 4 << 20
"""Bytes of text that are looked at together."""
ROWS: Final = 15_000
"""Rows of a file that is not text, or is read row by row."""


class Chunk(Protocol):
    """Some rows of a file, in order."""

    def __len__(self) -> int:
        """How many rows."""

    def names(self) -> Sequence[str]:
        """The columns, as far as the first whole row tells; none when there is no such row."""

    def columns(self, names: Sequence[str]) -> dict[str, pyarrow.Array] | None:
        """The values of those columns that are there; None when they cannot be had this way."""

    def line(self, place: int) -> int:
        """The number in the file of the row at this place."""

    def record(self, place: int) -> Record:
        """The row at this place, read with care."""


class Records:
    """Rows that were read one by one."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def names(self) -> Sequence[str]:
        """See `Chunk`."""
        return next((list(record.values) for record in self._records if not record.problem), [])

    def columns(self, names: Sequence[str]) -> None:
        """See `Chunk`."""

    def line(self, place: int) -> int:
        """See `Chunk`."""
        return self._records[place].number

    def record(self, place: int) -> Record:
        """See `Chunk`."""
        return self._records[place]


class JsonLines:
    """Lines of JSON, the first of which has the number `first`; blank ones count, but are no rows."""

    def __init__(self, first: int, body: bytes) -> None:
        self._first, self._body = first, body

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return JsonLines, (self._first, self._body)

    def __len__(self) -> int:
        return self._rows if self._is_even else len(self._lines)

    def names(self) -> Sequence[str]:
        """See `Chunk`."""
        return next((list(row) for row in self._objects if row), [])

    def columns(self, names: Sequence[str]) -> dict[str, pyarrow.Array] | None:
        """See `Chunk`. A line that is no object has no value in any column."""
        found = _parsed_columns(self._body, names, self._rows) if self._is_even else None
        if found is None:
            found = {name: _array([row.get(name) for row in self._objects]) for name in names}
        return None if any(column is None for column in found.values()) else found

    def line(self, place: int) -> int:
        """See `Chunk`."""
        return self._first + place if self._is_even else self._lines[place][0]

    def record(self, place: int) -> Record:
        """See `Chunk`."""
        return dumps.parsed(*self._lines[place])

    @cached_property
    def _rows(self) -> int:
        return self._body.count(b"\n") + (not self._body.endswith(b"\n"))

    @cached_property
    def _is_even(self) -> bool:
        """Whether every line begins and ends as an object does, so that no reader can take two lines for one."""
        body = self._body.removesuffix(b"\n")
        return body.startswith(b"{") and body.endswith(b"}") and body.count(b"}\n{") == self._rows - 1

    @cached_property
    def _lines(self) -> list[tuple[int, bytes]]:
        lines = enumerate(self._body.split(b"\n"), start=self._first)
        return [(number, line) for number, raw in lines if (line := raw.strip())]

    @cached_property
    def _objects(self) -> list[dict[str, Any]]:
        return [_object(line) for _, line in self._lines]


def _parsed_columns(body: bytes, names: Sequence[str], rows: int) -> dict[str, pyarrow.Array] | None:
    """Columns by Arrow's reader, which wants to be told their kinds: those of the first line. None when it objects."""
    import pyarrow as pa

    if b"NaN" in body or b"Inf" in body:
        return None  # which it takes for numbers
    first = _object(body.partition(b"\n")[0])
    for whole in (pa.int64(), pa.float64()):
        kinds = {int: whole, float: pa.float64()}
        found = _read_json(body, pa.schema((name, kinds.get(type(first.get(name)), pa.string())) for name in names))
        if found is not None and found.num_rows == rows:
            return {name: _one(column) for name, column in zip(names, found.columns, strict=True)}
    return None


def _read_json(body: bytes, schema: pyarrow.Schema) -> pyarrow.Table | None:
    import pyarrow as pa
    import pyarrow.json as reader

    try:
        body.decode()
        return reader.read_json(
            pa.BufferReader(body),
            read_options=reader.ReadOptions(use_threads=False, block_size=len(body) + 1),
            parse_options=reader.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None


def _object(line: bytes) -> dict[str, Any]:
    """A line by the fast reader: right but for numbers that need more digits than a float has."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _array(values: list[Any]) -> pyarrow.Array | None:
    """Values of one kind; None for several: Arrow would take a truth among numbers for one more number."""
    import pyarrow as pa

    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) > 1 and kinds != {int, float}:
        return None
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError):
        return None


class CsvLines:
    """Lines of CSV of which each is a row."""

    def __init__(self, header: Sequence[str], first: int, body: bytes) -> None:
        self._header, self._first, self._body = header, first, body

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return CsvLines, (self._header, self._first, self._body)

    def __len__(self) -> int:
        return len(self._lines)

    @cached_property
    def _lines(self) -> list[bytes]:
        return _split(self._body)

    def names(self) -> Sequence[str]:
        """See `Chunk`."""
        return self._header

    def columns(self, names: Sequence[str]) -> dict[str, pyarrow.Array] | None:
        """See `Chunk`: every value is text."""
        import pyarrow as pa
        import pyarrow.csv as reader

        wanted = [name for name in names if name in self._header]
        convert = reader.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=False
        )
        read = reader.ReadOptions(
            use_threads=False, column_names=list(self._header), block_size=max(len(self._body), 1) + 1
        )
        try:
            table = reader.read_csv(pa.BufferReader(self._body), read_options=read, convert_options=convert)
        except pa.ArrowException:
            return None
        if table.num_rows != len(self._lines):
            return None
        return {name: _one(table.column(name)) for name in wanted}

    def line(self, place: int) -> int:
        """See `Chunk`."""
        return self._first + place

    def record(self, place: int) -> Record:
        """See `Chunk`.

        Raises:
            csv.Error, UnicodeDecodeError: it is not CSV.
        """
        (row,) = csv.reader([self._lines[place].removesuffix(b"\r").decode()], strict=True)
        return dumps.csv_record(self._header, self._first + place, row)


class ArrowRows:
    """Rows of a table, the first of which has the number `first`."""

    def __init__(self, first: int, batch: pyarrow.RecordBatch) -> None:
        self._first, self._batch = first, batch

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def names(self) -> Sequence[str]:
        """See `Chunk`."""
        return list(self._batch.schema.names)

    def columns(self, names: Sequence[str]) -> dict[str, pyarrow.Array]:
        """See `Chunk`."""
        return {name: self._batch.column(name) for name in names if name in self._batch.schema.names}

    def line(self, place: int) -> int:
        """See `Chunk`."""
        return self._first + place

    def record(self, place: int) -> Record:
        """See `Chunk`."""
        (values,) = self._batch.slice(place, 1).to_pylist()
        return Record(self._first + place, values)


def _one(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    import pyarrow as pa

    if column.null_count == len(column):
        return pa.nulls(len(column))
    found = column.combine_chunks()
    # Older versions leave an array in pieces when it has none or several.
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def read(path: Path) -> Generator[Chunk, None, None]:
    """The rows of a file, in order and in bounded memory (a .json list is the exception: it is one document).

    Raises:
        UsageError: the file cannot be read, is torn, or is not what its ending says.
    """
    with dumps.readable(path):
        yield from _reader(path)


def _reader(path: Path) -> Iterator[Chunk]:
    match dumps.kind_of(path):
        case "parquet":
            first = 1
            for batch in dumps.arrow_batches(path, ROWS):
                yield ArrowRows(first, batch)
                first += batch.num_rows
        case "csv":
            with dumps.opened(path) as handle:
                yield from _csv(handle, path)
        case "jsonl":
            with dumps.opened(path) as handle:
                yield from _jsonl(handle)
        case _:
            yield from _rows(dumps.read(path))


def _rows(records: Iterator[Record]) -> Iterator[Records]:
    while some := list(islice(records, ROWS)):
        yield Records(some)


def _pieces(handle: IO[bytes]) -> Iterator[bytes]:
    """The text in pieces that end with their line; the last one may lack the line's end."""
    rest = [b""]
    while block := handle.read(BYTES):
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, block[:end]])
            rest = [block[end:]]
        else:
            rest.append(block)
    if last := b"".join(rest):
        yield last


def _jsonl(handle: IO[bytes]) -> Iterator[Chunk]:
    number = 1
    for piece in _pieces(handle):
        yield JsonLines(number, piece)
        number += piece.count(b"\n")


def _csv(handle: IO[bytes], path: Path) -> Iterator[Chunk]:
    """Chunks as long as every line is a row; from the first that may not be, the careful reader goes on."""
    header: list[str] = []
    offset, number = 0, 1
    for piece in _pieces(handle):
        if not _is_plain(piece):
            handle.seek(offset)
            yield from _rows(dumps.csv_rows(handle, path, header, number))
            return
        offset += len(piece)
        if not header:
            first, _, piece = piece.partition(b"\n")
            header = dumps.csv_header(first.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\r").decode(), path)
        if piece:
            yield CsvLines(header, number, piece)
            number += piece.count(b"\n")


def _is_plain(piece: bytes) -> bool:
    """Whether each line is a row: nothing quoted goes over an end of line, and no line is empty."""
    returns = piece.count(b"\r")
    if returns != piece.count(b"\r\n") or returns not in (0, piece.count(b"\n")):
        return False
    if piece.startswith((b"\n", b"\r\n")) or b"\n\r\n" in piece or b"\n\n" in piece:
        return False
    return b'"' not in piece or not any(line.count(b'"') % 2 for line in piece.split(b"\n"))


def _split(body: bytes) -> list[bytes]:
    lines = body.split(b"\n")
    return lines if lines[-1] else lines[:-1]
