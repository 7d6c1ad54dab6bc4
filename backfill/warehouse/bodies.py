"""Bodies of requests: kept off the heap when they are large, and unpacked while they are read."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

IN_MEMORY = 16 << 20
"""Bytes of one body that stay in memory; the rest goes to the spool directory."""

PIECE = 1 << 20

ENCODINGS = ("gzip", "x-gzip", "deflate", "lz4", "zstd", "br")


def spool(directory: Path) -> IO[bytes]:
    """An empty place for one body."""
    return cast(IO[bytes], tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(directory)))


@contextlib.contextmanager
def rows_file(directory: Path, first: bytes, rest: IO[bytes] | None) -> Iterator[str]:
    """A file with these rows, for as long as it is needed.

    Its name is relative: ClickHouse would take stars and braces in the directory's name for a pattern, so the server
    works inside of `directory`.
    """
    with tempfile.NamedTemporaryFile(prefix="rows-", dir=str(directory)) as file:
        file.write(first)
        if rest is not None:
            shutil.copyfileobj(rest, file, PIECE)
        file.flush()
        yield Path(file.name).name


def unpacked(body: IO[bytes], encoding: str) -> IO[bytes]:
    """The body as its sender meant it, read piece by piece.

    Raises:
        LookupError: an encoding that is not one of ENCODINGS.
    """
    body.seek(0)
    if encoding in ("", "identity"):
        return body
    if encoding in ("gzip", "x-gzip"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=body, mode="rb"))
    if encoding == "deflate":
        return _inflated(body)
    return _by_arrow(body, encoding)


def _inflated(body: IO[bytes]) -> IO[bytes]:
    import io

    return io.BytesIO(zlib.decompress(body.read()))


def _by_arrow(body: IO[bytes], encoding: str) -> IO[bytes]:
    """pyarrow is here already and reads the rest; imported late because few clients need it."""
    if encoding not in ENCODINGS:
        raise LookupError(encoding)
    import pyarrow as pa

    codec = {"br": "brotli"}.get(encoding, encoding)
    return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(body, "r"), codec))
