"""ClickHouse's HTTP protocol in front of the embedded engine, close enough for stock clients to work unchanged."""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from aiohttp import BodyPartReader, web

from backfill.warehouse import bodies
from backfill.warehouse import http_errors as errors
from backfill.warehouse import http_words as words
from backfill.warehouse.embedded_engine import Answer, Call, Engine

T = TypeVar("T")
log = logging.getLogger("warehouse")

SERVER_NAME = "backfill-embedded"
WORKERS = 8

_OK = "Ok.\n"
_NO_SETTINGS = frozenset(
    {
        *("query", "query_id", "database", "default_format", "role", "quota_key", "stacktrace"),
        *("user", "password", "session_id", "session_timeout", "session_check", "close_session"),
        *("compress", "decompress", "buffer_size", "wait_end_of_query", "client_protocol_version"),
    }
)
"""Arguments that steer the request itself; every other one is a setting or a parameter."""


@dataclass(frozen=True)
class Login:
    """The one user of the embedded warehouse."""

    user: str
    password: str

    def allows(self, user: str, password: str) -> bool:
        """Whether these are the right words, compared in constant time."""
        same_user = hmac.compare_digest(user.encode(), self.user.encode())
        return hmac.compare_digest(password.encode(), self.password.encode()) and same_user


class Door:
    """Answers requests; counts those under way, and remembers when the last one ended."""

    def __init__(self, engine: Engine, login: Login, spool: Path) -> None:
        self._engine, self._login, self._spool = engine, login, spool
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="query")
        self._busy = 0
        self._last = time.monotonic()

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(client_max_size=sys.maxsize)
        for path in ("/ping", "/replicas_status"):
            app.router.add_get(path, _fine)
        app.router.add_route("*", "/", self.answer)
        return app

    def idle_s(self) -> float:
        """Seconds since the last request ended; 0 while one is under way."""
        return 0.0 if self._busy else time.monotonic() - self._last

    def close(self) -> None:
        """Wait for the statements under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request from its first byte to its last."""
        self._busy += 1
        query_id = str(uuid.uuid4())
        try:
            arguments = words.arguments(request)
            query_id = arguments.get("query_id") or query_id
            self._check_login(request, arguments)
            return await self._answer(request, arguments, query_id)
        except errors.DatabaseError as error:
            return self._refusal(error, query_id)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            full = errors.made(errors.NOT_ENOUGH_SPACE, "NOT_ENOUGH_SPACE", str(error), self._engine.version)
            return self._refusal(full, query_id)
        finally:
            self._busy -= 1
            self._last = time.monotonic()

    async def _answer(self, request: web.Request, arguments: dict[str, str], query_id: str) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD", "POST", "PUT"):
            return web.Response(status=501, text="Unsupported method\n")
        if request.method in ("GET", "HEAD") and not arguments.get("query"):
            return await _fine(request)
        body = await self._receive(request, arguments)
        try:
            call = self._call(request, arguments, body)
            answer = await self._in_thread(self._engine.run, call)
            try:
                return await self._send(request, arguments, answer, query_id)
            finally:
                await asyncio.shield(self._in_thread(answer.close))
        finally:
            body.close()

    def _check_login(self, request: web.Request, arguments: Mapping[str, str]) -> None:
        given = words.credentials(request, arguments)
        if given is None:
            raise errors.made(
                errors.REQUIRED_PASSWORD,
                "REQUIRED_PASSWORD",
                "Authentication is required: give user and password as basic auth, as X-ClickHouse-User and "
                "X-ClickHouse-Key headers, or in the address",
                self._engine.version,
            )
        if not self._login.allows(*given):
            raise errors.made(
                errors.AUTHENTICATION_FAILED,
                "AUTHENTICATION_FAILED",
                f"{given[0]}: Authentication failed: password is incorrect, or there is no user with such name.",
                self._engine.version,
            )

    async def _receive(self, request: web.Request, arguments: dict[str, str]) -> IO[bytes]:
        """The whole body before anything runs: a client that dies while sending changes nothing."""
        if arguments.get("decompress", "0") not in ("", "0"):
            raise errors.made(
                errors.NOT_IMPLEMENTED,
                "NOT_IMPLEMENTED",
                "decompress=1 is not supported; send Content-Encoding instead",
                self._engine.version,
            )
        body = bodies.spool(self._spool)
        try:
            if request.content_type == "multipart/form-data":
                await self._read_form(request, arguments)
                return body
            async for chunk in request.content.iter_any():
                body.write(chunk)
            return bodies.unpacked(body, request.headers.get("Content-Encoding", "").strip().lower())
        except LookupError as error:
            body.close()
            raise errors.made(
                errors.UNKNOWN_COMPRESSION_METHOD,
                "UNKNOWN_COMPRESSION_METHOD",
                f"Unknown compression method {error}",
                self._engine.version,
            ) from None
        except BaseException:
            body.close()
            raise

    async def _read_form(self, request: web.Request, arguments: dict[str, str]) -> None:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None or part.filename:
                raise errors.made(
                    errors.NOT_IMPLEMENTED, "NOT_IMPLEMENTED", "External tables are not supported", self._engine.version
                )
            arguments[part.name] = bytes(await part.read()).decode(errors="surrogateescape")

    def _call(self, request: web.Request, arguments: Mapping[str, str], body: IO[bytes]) -> Call:
        settings = {
            name: value
            for name, value in arguments.items()
            if name not in _NO_SETTINGS and not name.startswith("param_")
        }
        waits = arguments.get("wait_end_of_query", "0") not in ("", "0")
        headers = request.headers
        return Call(
            sql=arguments.get("query", "").encode(errors="surrogateescape"),
            body=body,
            settings=settings,
            params={k.removeprefix("param_"): v for k, v in arguments.items() if k.startswith("param_")},
            database=arguments.get("database") or headers.get("X-ClickHouse-Database") or "",
            default_format=arguments.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated",
            session=arguments.get("session_id", ""),
            session_timeout_s=float(arguments.get("session_timeout") or 60),
            session_must_exist=arguments.get("session_check") == "1",
            read_only=request.method in ("GET", "HEAD"),
            streaming=not waits,
        )

    async def _send(
        self, request: web.Request, arguments: Mapping[str, str], answer: Answer, query_id: str
    ) -> web.StreamResponse:
        headers = self._headers(query_id, answer)
        packer = words.packer(request, arguments)
        if answer.stream is None and not answer.first:
            # With its length known the client need not wait for an end; aiochclient would drop the connection.
            return web.Response(headers=headers)
        if packer is not None:
            headers["Content-Encoding"] = packer.name
        if answer.stream is None:
            return web.Response(body=packer.whole(answer.first) if packer else answer.first, headers=headers)
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        piece: bytes | None = answer.first
        try:
            while piece is not None:
                if piece and (out := packer.pack(piece) if packer else piece):
                    await response.write(out)
                piece = await self._in_thread(answer.next_piece)
            # Before the end is sent: the client may use its session again as soon as it sees it.
            await self._in_thread(answer.close)
            if packer:
                await response.write(packer.end())
            await response.write_eof()
        except errors.DatabaseError as error:
            await words.break_off(request, response, error)
        except ConnectionError:
            log.info("the client left during %s", query_id)
        return response

    def _headers(self, query_id: str, answer: Answer | None = None) -> dict[str, str]:
        headers = {
            "X-ClickHouse-Server-Display-Name": SERVER_NAME,
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "Content-Type": "text/plain; charset=UTF-8",
        }
        if answer is not None:
            headers["X-ClickHouse-Summary"] = words.summary(
                answer.read_rows, answer.read_bytes, answer.written_rows, answer.written_bytes
            )
            if answer.fmt is not None:
                headers["X-ClickHouse-Format"] = answer.fmt
                headers["Content-Type"] = words.content_type(answer.fmt)
        return headers

    def _refusal(self, error: errors.DatabaseError, query_id: str) -> web.Response:
        headers = {**self._headers(query_id), "X-ClickHouse-Exception-Code": str(error.code)}
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        return web.Response(status=error.status, body=error.text.encode(errors="surrogateescape"), headers=headers)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)


async def _fine(_: web.Request) -> web.Response:
    return web.Response(text=_OK, content_type="text/html", headers={"X-ClickHouse-Server-Display-Name": SERVER_NAME})
