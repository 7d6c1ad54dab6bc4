"""The small print of ClickHouse's HTTP protocol: arguments, credentials, packing, summaries, broken answers."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from urllib.parse import parse_qsl

from aiohttp import web

from backfill.warehouse.http_errors import DatabaseError

_TYPES = {
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnames": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnamesandtypes": "text/tab-separated-values; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "parquet": "application/octet-stream",
    "arrow": "application/octet-stream",
}


def arguments(request: web.Request) -> dict[str, str]:
    """The address's arguments; bytes that are not UTF-8 survive as surrogates. Of a repeated one the last counts."""
    _, _, query = request.raw_path.partition("?")
    return dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape", separator="&"))


def credentials(request: web.Request, given: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password from headers, basic auth or the address; None when nothing was said."""
    headers = request.headers
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    scheme, _, rest = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(rest).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    if "user" in given or "password" in given:
        return given.get("user", "default"), given.get("password", "")
    return None


class Packer:
    """Packs an answer piece by piece."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Level 1: the answer travels over loopback, so time counts for more than size.
        self._deflate = zlib.compressobj(1, wbits=31 if name == "gzip" else 15)

    def pack(self, piece: bytes) -> bytes:
        """What may be sent after this piece; may be empty."""
        return self._deflate.compress(piece)

    def end(self) -> bytes:
        """The rest."""
        return self._deflate.flush()

    def whole(self, piece: bytes) -> bytes:
        """An answer of one piece."""
        return self.pack(piece) + self.end()


def packer(request: web.Request, given: Mapping[str, str]) -> Packer | None:
    """How the client wants its answer packed; None for plainly."""
    if given.get("enable_http_compression", "1").lower() in ("0", "false"):
        return None
    accepted = {part.partition(";")[0].strip() for part in request.headers.get("Accept-Encoding", "").split(",")}
    return next((Packer(name) for name in ("gzip", "deflate") if name in accepted), None)


def summary(read_rows: int, read_bytes: int, written_rows: int, written_bytes: int) -> str:
    """The X-ClickHouse-Summary header: numbers as strings, as ClickHouse writes them."""
    numbers = {
        "read_rows": read_rows,
        "read_bytes": read_bytes,
        "written_rows": written_rows,
        "written_bytes": written_bytes,
        "total_rows_to_read": 0,
        "result_rows": written_rows,
        "result_bytes": written_bytes,
        "elapsed_ns": 0,
    }
    return json.dumps({name: str(value) for name, value in numbers.items()})


def content_type(fmt: str) -> str:
    """The media type ClickHouse gives a format."""
    return _TYPES.get(fmt.lower(), "text/plain; charset=UTF-8")


async def break_off(request: web.Request, response: web.StreamResponse, error: DatabaseError) -> None:
    """The answer failed after it had begun: say why, then cut the connection, so that nobody takes it as whole."""
    if "Content-Encoding" not in response.headers:
        await response.write(b"__exception__\r\n" + error.text.encode(errors="surrogateescape"))
    if request.transport is not None:
        request.transport.close()
