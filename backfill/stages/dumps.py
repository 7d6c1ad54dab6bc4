"""The rows of a dump file, one after the other and without guessing types.

A CSV value stays text. A JSON number keeps its digits: integers are exact whatever their size, fractions are Decimals
(a faster JSON reader would turn a 256-bit integer into a float without a word). A file that ends too early is an error,
because the rows behind the tear would be missing without anybody knowing.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import zlib
from collections.abc import Generator, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn

from backfill.errors import UsageError

SUFFIXES: Final = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
_PARQUET_BATCH: Final = 8_192
_LONGEST_FIELD: Final = 16 * 1024 * 1024


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
        return [path.resolve()] if path.name.endswith(SUFFIXES) else []
    if path.is_dir():
        inside = (entry for entry in path.rglob("*") if entry.is_file())
    else:
        inside = (Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    return sorted(entry.resolve() for entry in inside if entry.name.endswith(SUFFIXES))


def read(path: Path) -> Generator[Record, None, None]:
    """The records of a file in bounded memory (a .json list is the exception: it is one document).

    Raises:
        UsageError: the file cannot be read, is torn, or is not what its ending says.
    """
    try:
        yield from _reader(path)
    except (OSError, EOFError, zlib.error) as error:
        # gzip tells of a missing end only when it gets there, after it gave out everything before.
        _broken(path, f"cannot be read to its end: {error}")
    except (csv.Error, UnicodeDecodeError) as error:
        _broken(path, f"not the text that its ending promises: {error}")


def _reader(path: Path) -> Iterator[Record]:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet(path)
    if name.endswith(".csv"):
        return _csv(path)
    return _jsonl(path) if name.endswith(".jsonl") else _json(path)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _broken(path: Path, what: str) -> NoReturn:
    raise UsageError(what, where=str(path), remedy="nothing was imported; fetch the file again") from None


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)
    with _open(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as lines:
        # Strict, so that a file that ends inside quotes is an error.
        rows = csv.reader(lines, strict=True)
        header = next(rows, None)
        if header is None:
            return
        if len(set(header)) != len(header):
            _broken(path, "two columns have the same name")
        for number, row in enumerate(rows, start=1):
            if len(row) == len(header):
                yield Record(number, dict(zip(header, row, strict=True)))
            elif row:
                yield Record(number, {}, f"{len(row)} values for {len(header)} columns", _joined(row))


def _joined(row: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue().encode("utf-8", "replace")


def _jsonl(path: Path) -> Iterator[Record]:
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            line = line.strip()
            if line:
                yield _parsed(number, line)


def _parsed(number: int, line: bytes) -> Record:
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
    with _open(path) as handle:
        content = handle.read()
    try:
        document = exact_json(content)
    except ValueError as error:
        _broken(path, f"not JSON: {error}")
    for number, values in enumerate(_entries(document, path), start=1):
        if isinstance(values, dict):
            yield Record(number, values)
        else:
            yield Record(number, {}, "not a JSON object", json.dumps(values, default=str).encode())


def _entries(document: Any, path: Path) -> list[Any]:
    """A list, or the one list inside an object (pages come as {"positions": [...]}, {"data": [...]} …)."""
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = lists[0] if len(lists) == 1 else None
    if not isinstance(document, list):
        _broken(path, "neither a JSON list nor an object with one list")
    return document


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(number, values)
    except pyarrow.ArrowException as error:
        _broken(path, f"not a whole parquet file: {error}")
