"""A world's fills and its existing token map as files, in the shapes an import command has to take."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import orjson

from .model import Fill, Mapping

Format = Literal["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz"]
MAP_COLUMNS = ("token_id", "condition_id", "outcome_index", "outcome", "market_slug")


@dataclass(frozen=True, slots=True)
class Dumps:
    """Where the files are."""

    fills: Path
    """The fills in the first of the wanted formats."""
    token_map: Path
    all_fills: tuple[Path, ...]
    """The same fills, once in each wanted format."""


def write_dumps(
    folder: Path, fills: Sequence[Fill], existing: ReadOnly[int, Mapping], formats: tuple[Format, ...]
) -> Dumps:
    """Write `fills.<format>` for each format and `token_map.csv` into the folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"fills.{name}" for name in formats)
    for name, path in zip(formats, paths, strict=True):
        _WRITERS[name](path, fills)
    token_map = folder / "token_map.csv"
    _write_map(token_map, existing)
    return Dumps(paths[0], token_map, paths)


def _write_map(path: Path, existing: ReadOnly[int, Mapping]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(MAP_COLUMNS)
        for token, row in existing.items():
            writer.writerow((token, f"0x{row.condition}", row.outcome_index, row.label or "", row.slug or ""))


def _write_parquet(path: Path, fills: Sequence[Fill]) -> None:
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
    import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]

    columns = list(zip(*fills, strict=True)) if fills else [()] * len(Fill._fields)
    pq.write_table(pa.table({name: list(column) for name, column in zip(Fill._fields, columns, strict=True)}), path)


def _write_csv(path: Path, fills: Sequence[Fill]) -> None:
    with _open_text(path) as file:
        writer = csv.writer(file)
        writer.writerow(Fill._fields)
        writer.writerows(fills)


def _write_jsonl(path: Path, fills: Sequence[Fill]) -> None:
    with _open_text(path) as file:
        file.writelines(_json_lines(fills))


def _json_lines(fills: Iterable[Fill]) -> Iterable[str]:
    for fill in fills:
        row = fill._asdict()
        row["timestamp"] = str(fill.timestamp)  # a BigInt, so a string, as a subgraph's answer has it
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE).decode()


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "wt", encoding="utf-8", newline="", compresslevel=1)
    return path.open("w", encoding="utf-8", newline="")


_WRITERS: dict[Format, Callable[[Path, Sequence[Fill]], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "csv.gz": _write_csv,
    "jsonl": _write_jsonl,
    "jsonl.gz": _write_jsonl,
}
