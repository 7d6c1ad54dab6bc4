"""Tables as files that other programs read, and that `import` reads again: Parquet, CSV, CSV packed with gzip.

A file is written portion by portion, so that memory stays bounded however long the table is, beside its place, and is
there when it is whole. Token ids are text in both formats.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from backfill import files
from backfill.errors import UsageError
from backfill.stages.imports import portions_of
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

Dataset = Literal["fills", "token_map", "markets"]
PORTION = 250_000
SUFFIXES: Mapping[str, str] = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv"}
END_OF_TIME = (1 << 32) - 1
_NOTHING = {"low": "1", "high": "0", "parts": 1, "part": 0}
"""A portion without rows: its answer tells the columns."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which fills: of a stretch of time (unix seconds, half-open), a wallet's orders, a market, a token; "" for all."""

    since: int = 0
    until: int = END_OF_TIME
    wallet: str = ""
    condition: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: str
    format: str
    rows: int
    bytes: int

    def document(self) -> dict[str, Any]:
        """The result as the command prints it."""
        return asdict(self)


class Writer(Protocol):
    """Takes the answers of portions, the first without rows."""

    fmt: str

    def add(self, body: bytes) -> int:
        """Write what a portion has; how many rows that was."""

    def close(self) -> None:
        """Write what comes last."""


def format_of(path: Path, wanted: str | None) -> str:
    """The format of a file, by what was asked for or by its ending.

    Raises:
        UsageError: neither says, or they contradict each other.
    """
    known = ", ".join(SUFFIXES)
    suffix = next((end for end in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(end)), None)
    if suffix is None:
        # `import` goes by the ending, so a file without one could not be read again.
        raise UsageError("unknown ending", where=str(path), remedy=f"known endings: {known}")
    if wanted not in (None, SUFFIXES[suffix]):
        raise UsageError(f"--format {wanted} does not go with the ending {suffix}", where=str(path))
    return SUFFIXES[suffix]


async def export(
    warehouse: Warehouse,
    dataset: Dataset,
    path: Path,
    *,
    fmt: str | None = None,
    wanted: Wanted | None = None,
    force: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a table, or what of the fills is wanted, to a file.

    Args:
        force: a file that is there is replaced by the new one, once that is whole.

    Raises:
        UsageError: see `format_of`; a file is there already; or the folder cannot be written to.
    """
    kind = format_of(path, fmt)
    _check_free(path, force)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as handle:
            rows = await _written(warehouse, dataset, handle, path, asdict(wanted or Wanted()), note)
            handle.flush()
            os.fsync(handle.fileno())
        size = beside.stat().st_size
        beside.rename(path)
        files.sync_folder(path.parent)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror or error}", where=str(path)) from None
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()
    return Exported(str(path), kind, rows, size)


def _check_free(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError("is there already", where=str(path), remedy="--force replaces it")


async def _written(
    warehouse: Warehouse, dataset: Dataset, handle: IO[bytes], path: Path, wanted: Mapping[str, Any], note: Any
) -> int:
    arguments = wanted if dataset == "fills" else {}
    found = await warehouse.fetch(queries.load(f"export_{dataset}_spread"), arguments)
    portions = portions_of({int(row["first_byte"]): int(row["rows"]) for row in found}, limit=PORTION)
    rows = 0
    with ExitStack() as stack:
        writer = _writer(handle, path, stack)
        for number, where in enumerate([_NOTHING, *(portion._asdict() for portion in portions)]):
            pieces = warehouse.stream(queries.load(f"export_{dataset}"), {**arguments, **where}, fmt=writer.fmt)
            body = b"".join([piece async for piece in pieces])
            rows += await asyncio.to_thread(writer.add, body)
            if number:
                note(f"{path.name}: portion {number} of {len(portions)}, {rows:,} rows")
        await asyncio.to_thread(writer.close)
    return rows


def _writer(handle: IO[bytes], path: Path, stack: ExitStack) -> Writer:
    if path.name.endswith(".parquet"):
        return _Parquet(handle)
    if path.name.endswith(".gz"):
        # Without a time inside, the same rows are the same bytes.
        return _Csv(stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=handle, mtime=0)))
    return _Csv(handle)


class _Csv:
    """Lines under one header."""

    fmt = "CSVWithNames"

    def __init__(self, out: IO[bytes] | gzip.GzipFile) -> None:
        self._out, self._begun = out, False

    def add(self, body: bytes) -> int:
        header, _, lines = body.partition(b"\n")
        if not self._begun:
            self._out.write(header + b"\n")
            self._begun = True
        self._out.write(lines)
        # Texts may hold line ends, between quotes.
        return lines.count(b"\n") - _inside_quotes(lines)

    def close(self) -> None: ...


def _inside_quotes(lines: bytes) -> int:
    return sum(part.count(b"\n") for part in lines.split(b'"')[1::2])


class _Parquet:
    """One row group a portion."""

    fmt = "Parquet"

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._writer: Any = None

    def add(self, body: bytes) -> int:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(io.BytesIO(body))
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._handle, table.schema, compression="zstd")
        if table.num_rows:
            self._writer.write_table(table.cast(self._writer.schema))
        return int(table.num_rows)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
