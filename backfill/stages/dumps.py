"""The rows of a dump file, one after the other and without guessing types.

A CSV value stays text. A JSON number keeps its digits: integers are exact whatever their size, fractions are Decimals
(a faster JSON reader would turn a 256-bit integer into a float without a word). A file that ends too early is an error,
because the rows behind the tear would be missing without anybody knowing.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import gzip
import io
import json
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from backfill.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

SUFFIXES: Final = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
"""Endings of dump files, in any case."""
_PARQUET_BATCH: Final = 8_192
_LONGEST_FIELD: Final = 16 * 1024 * 1024


class NotOurs(UsageError):
    """A whole file, but none that an import knows what to do with."""


class Record(NamedTuple):
    """One row: its number in the file (from 1), its values by column, and what is wrong when it has none."""

    number: int
    values: dict[str, Any]
    problem: str = ""
    raw: bytes = b""

    def as_raw(self) -> bytes:
        """What stood in the file; for CSV and parquet, the same values as one JSON object."""
        return self.raw or json.dumps(self.values, default=str, ensure_ascii=False).encode("utf-8", "replace")


def files_of(paths: Iterable[str | Path]) -> list[Path]:
    """The dump files behind files, folders (searched through) and patterns, each once, in a stable order.

    Raises:
        UsageError: a path that has no dump file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        some = _expand(Path(path))
        if not some:
            known = " ".join(SUFFIXES)
            raise UsageError("no dump file here", where=str(path), remedy=f"known endings: {known}")
        found.update(dict.fromkeys(some))
    return list(found)


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path.resolve()] if _is_dump(path) else []
    if path.is_dir():
        inside = (entry for entry in path.rglob("*") if entry.is_file())
    else:
        inside = (Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    return sorted(entry.resolve() for entry in inside if _is_dump(entry))


def _is_dump(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path) -> Generator[Record, None, None]:
    """The records of a file in bounded memory (a .json list is the exception: it is one document).

    Raises:
        UsageError: the file cannot be read, is torn, or is not what its ending says.
    """
    with readable(path):
        yield from _reader(path)


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """What goes wrong with reading a file, in words for whoever named it.

    Raises:
        UsageError: the file cannot be read, is torn, or is not what its ending says.
    """
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        # gzip tells of a missing end only when it gets there, after it gave out everything before.
        _broken(path, f"cannot be read to its end: {error}")
    except (csv.Error, UnicodeDecodeError) as error:
        _broken(path, f"not the text that its ending promises: {error}")


def kind_of(path: Path) -> str:
    """What a file's name says: parquet, csv, jsonl or json."""
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


def _reader(path: Path) -> Iterator[Record]:
    match kind_of(path):
        case "parquet":
            return _parquet(path)
        case "csv":
            return _csv(path)
        case "jsonl":
            return _jsonl(path)
        case _:
            return _json(path)


def opened(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked; also when its name does not say that they are packed."""
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b" or path.name.lower().endswith(".gz")
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _broken(path: Path, what: str) -> NoReturn:
    raise UsageError(what, where=str(path), remedy="nothing was imported; fetch the file again") from None


def _csv(path: Path) -> Iterator[Record]:
    with opened(path) as raw:
        yield from csv_rows(raw, path, [], 1)


def csv_rows(raw: IO[bytes], path: Path, header: Sequence[str], number: int) -> Iterator[Record]:
    """The rows of a CSV from where `raw` stands: at its beginning, or behind its header at the row with this number."""
    csv.field_size_limit(_LONGEST_FIELD)
    with io.TextIOWrapper(raw, "utf-8" if header else "utf-8-sig", newline="") as lines:
        # Strict, so that a file that ends inside quotes is an error.
        rows = csv.reader(lines, strict=True)
        if not header:
            header = _distinct(next(rows, []), path)
        for place, row in enumerate(rows if header else (), start=number):
            if row:
                yield csv_record(header, place, row)


def csv_header(line: str, path: Path) -> list[str]:
    """The columns that the first line of a CSV names."""
    return _distinct(next(csv.reader([line], strict=True), []), path)


def _distinct(header: list[str], path: Path) -> list[str]:
    if len(set(header)) != len(header):
        _broken(path, "two columns have the same name")
    return header


def csv_record(header: Sequence[str], number: int, row: list[str]) -> Record:
    """A row of a CSV by the names of its columns."""
    if len(row) == len(header):
        return Record(number, dict(zip(header, row, strict=True)))
    return Record(number, {}, f"{len(row)} values for {len(header)} columns", _joined(row))


def _joined(row: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue().encode("utf-8", "replace")


def _jsonl(path: Path) -> Iterator[Record]:
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            line = line.strip()
            if line:
                yield parsed(number, line)


def parsed(number: int, line: bytes) -> Record:
    """A line of JSON with every digit."""
    try:
        values = exact_json(line)
    except (ValueError, RecursionError) as error:
        return Record(number, {}, f"not JSON: {error}", line)
    if not isinstance(values, dict):
        return Record(number, {}, "not a JSON object", line)
    return Record(number, values, raw=line)


def exact_json(document: bytes) -> Any:
    """JSON with every digit kept: integers of any size, fractions as Decimal; NaN and Infinity are errors.

    Raises:
        ValueError: it is not JSON, or not UTF-8.
    """
    return json.loads(document, parse_float=Decimal, parse_constant=_no_number)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _json(path: Path) -> Iterator[Record]:
    with opened(path) as handle:
        content = handle.read()
    try:
        document = exact_json(content)
    except ValueError as error:
        if not _are_lines(content):
            _broken(path, f"not JSON: {error}")
        lines = enumerate(content.split(b"\n"), start=1)
        yield from (parsed(number, stripped) for number, line in lines if (stripped := line.strip()))
        return
    entries = _entries(document, path)
    if entries and not any(isinstance(values, dict) for values in entries):
        raise NotOurs("a JSON list, but none of objects", where=str(path), remedy="nothing was imported")
    for number, values in enumerate(entries, start=1):
        if isinstance(values, dict):
            yield Record(number, values)
        else:
            yield Record(number, {}, "not a JSON object", json.dumps(values, default=str).encode())


def _are_lines(content: bytes) -> bool:
    """Whether what is no JSON document is lines of JSON under the wrong ending: the first line is a whole object."""
    return not parsed(1, content.partition(b"\n")[0].strip()).problem


_LISTS: Final = ("data", "orders", "trades", "fills", "positions", "markets", "results")
"""What pages call the list in them."""
_PLAIN_IN_A_ROW: Final = 7
"""Plain values of an object that is no page: pages name their size and what follows, and little more."""


def _entries(document: Any, path: Path) -> list[Any]:
    """A list, the one list inside an object (pages are {"positions": [...]}, {"data": [...]} …), or a list of pages;
    an object that has much to say besides is a row itself."""
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        named = [document[name] for name in _LISTS if isinstance(document.get(name), list)]
        plain = sum(not isinstance(value, list | dict) for value in document.values())
        if not named and plain >= _PLAIN_IN_A_ROW:
            return [document]
        document = named[0] if len(named) == 1 else lists[0] if len(lists) == 1 else None
    if not isinstance(document, list):
        raise NotOurs("neither a JSON list nor an object with one list", where=str(path), remedy="nothing was imported")
    if document and all(map(_is_page, document)):
        return [row for page in document for row in _entries(page, path)]
    return document


def _is_page(entry: Any) -> bool:
    """Whether an entry of a list is itself a page of rows."""
    if not isinstance(entry, dict):
        return False
    named = [entry[name] for name in _LISTS if isinstance(entry.get(name), list)]
    return len(named) == 1 and all(isinstance(row, dict) for row in named[0])


def _parquet(path: Path) -> Iterator[Record]:
    number = 0
    for batch in arrow_batches(path, _PARQUET_BATCH):
        for values in batch.to_pylist():
            number += 1
            yield Record(number, values)


def arrow_batches(path: Path, rows: int) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a parquet file, so many at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=rows)
    except pyarrow.ArrowException as error:
        _broken(path, f"not a whole parquet file: {error}")
