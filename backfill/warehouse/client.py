"""The one way to the warehouse: over HTTP, to the embedded one or to a server named by URL; the SQL is the same.

Values travel as server-side parameters, never inside the SQL. Database names are parameters too: a statement that
says `{production:Identifier}`, `{staging:Identifier}` or `{analytics:Identifier}` gets them from the configuration.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import orjson
from aiochclient import ChClient, ChClientError

from backfill.errors import BackfillError, StoreBusy, WarehouseUnusable
from backfill.warehouse import answers, params
from backfill.warehouse.discovery import Place

if TYPE_CHECKING:
    from backfill.config import Config

T = TypeVar("T")

CONNECT_S = 10
ANSWER_S = 900
"""Seconds without a byte from the warehouse before it counts as away; a rebuild says nothing while it works."""

LONG_PARAMETERS = 32_768
"""Bytes of parameters that still travel in the address; more go into the body as a form."""

_READ_SETTINGS = {
    # orjson would turn these into floats:
    "output_format_json_quote_64bit_integers": "1",
    "output_format_json_quote_decimals": "1",
}
_SHORT_TABLE = re.compile(r"(production|staging|analytics)\.(\w+)\Z")
_WHOLE_NUMBER = re.compile(r"(?:LowCardinality\()?(?:Nullable\()?U?Int64\)*\Z")


@dataclass(frozen=True)
class Names:
    """The names of our databases."""

    production: str
    staging: str
    analytics: str


@dataclass(frozen=True)
class _Address:
    url: str
    user: str
    password: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-ClickHouse-User": self.user, "X-ClickHouse-Key": self.password}


Resolve = Callable[[], Awaitable[_Address]]


class Warehouse:
    """The warehouse in use. All methods may be awaited at the same time from many tasks.

    Every method raises:
        StoreBusy: away, full or overloaded. After a write this does not say whether it happened: repeat it with the
            same token.
        WarehouseUnusable: refused for a reason that waiting does not mend; `code` is ClickHouse's.
    """

    names: Names
    local_dir: Path | None
    """The embedded warehouse's directory, None for a server elsewhere."""

    def __init__(
        self, names: Names, session: aiohttp.ClientSession, resolve: Resolve, *, local_dir: Path | None
    ) -> None:
        self.names, self.local_dir = names, local_dir
        self._session, self._resolve, self._embedded = session, resolve, local_dir is not None
        self._known: _Address | None = None
        self._resolving = asyncio.Lock()

    async def execute(
        self, sql: str, params: Mapping[str, object] | None = None, *, settings: Mapping[str, object] | None = None
    ) -> None:
        """Run a statement whose answer does not matter; returns when it is done."""
        await self._try(lambda where: self._read(where, sql, params, settings), repeat=False)

    async def fetch(
        self, sql: str, params: Mapping[str, object] | None = None, *, settings: Mapping[str, object] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a SELECT. Integers of 64 bits and more, and decimals, come as strings."""
        body = await self._fetch(sql, params, settings, "JSONEachRow")
        return [orjson.loads(line) for line in body.splitlines()]

    async def fetch_value(self, sql: str, params: Mapping[str, object] | None = None) -> Any:
        """The first value of the first row, None without rows.

        64-bit integers (counts) come as int; longer ones (ids) and decimals as strings, as in `fetch`.
        """
        body = await self._fetch(sql, params, None, "JSONCompactEachRowWithNamesAndTypes")
        _, kinds, *rows = body.splitlines()
        if not rows:
            return None
        value = orjson.loads(rows[0])[0]
        return int(value) if isinstance(value, str) and _WHOLE_NUMBER.match(orjson.loads(kinds)[0]) else value

    async def stream(
        self, sql: str, params: Mapping[str, object] | None = None, *, fmt: str = "TabSeparated"
    ) -> AsyncIterator[bytes]:
        """The answer in `fmt`, in pieces as they arrive; a failure on the way is raised, never a short answer."""
        settings = {**_READ_SETTINGS, "default_format": fmt}
        where = await self._address()
        tail = b""
        try:
            async with self._post(where, sql, params, settings) as response:
                async for piece in response.content.iter_any():
                    tail = (tail + piece)[-4096:]
                    yield piece
        except aiohttp.ClientPayloadError as error:
            raise _broken_off(tail, error) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._lost(error) from None

    async def insert(
        self,
        table: str,
        body: bytes,
        *,
        columns: Sequence[str] = (),
        fmt: str = "JSONEachRow",
        token: str | None = None,
    ) -> None:
        """Write rows given in `fmt`; returns once the warehouse has acknowledged them.

        `table` is `database.table`; for the database, the words production, staging and analytics stand for the
        configured ones. The same `token` twice within the table's deduplication window writes once, so it must name
        the content.
        """
        names = ", ".join(f"`{name}`" for name in columns)
        sql = f"INSERT INTO {self._table(table)} {f'({names}) ' if names else ''}FORMAT {fmt}"
        settings: dict[str, object] = {"async_insert": 0}
        if token is not None:
            settings |= {"insert_deduplicate": 1, "insert_deduplication_token": token}
        await self._try(lambda where: self._feed(where, sql, body, settings), repeat=False)

    async def ping(self) -> str:
        """The warehouse's version.

        Raises:
            WarehouseUnusable: whatever answers there is not ClickHouse.
        """
        version = await self.fetch_value("SELECT version()")
        return str(version)

    def _table(self, table: str) -> str:
        short = _SHORT_TABLE.match(table)
        return f"`{getattr(self.names, short[1])}`.`{short[2]}`" if short else table

    async def _fetch(
        self,
        sql: str,
        params: Mapping[str, object] | None,
        settings: Mapping[str, object] | None,
        fmt: str,
    ) -> bytes:
        merged = {**_READ_SETTINGS, "default_format": fmt, **(settings or {})}
        body = await self._try(lambda where: self._read(where, sql, params, merged), repeat=True)
        if body and body[:1] not in b"{[":
            raise WarehouseUnusable("the answer is not ClickHouse's", remedy="check warehouse.url")
        return body

    async def _read(
        self,
        where: _Address,
        sql: str,
        params: Mapping[str, object] | None,
        settings: Mapping[str, object] | None,
    ) -> bytes:
        # The whole answer is known before the status is sent, so that an error never hides behind a 200.
        whole = {"wait_end_of_query": 1, **(settings or {})}
        async with self._post(where, sql, params, whole) as response:
            return await response.read()

    async def _feed(self, where: _Address, sql: str, body: bytes, settings: Mapping[str, object]) -> None:
        client = ChClient(
            self._session,
            url=where.url,
            user=where.user,
            password=where.password,
            database="",
            **self._arguments(sql, None, settings),
        )
        # As a file: aiohttp then sends it piece by piece and lets others work in between.
        await client.insert_file(sql, io.BytesIO(body))

    @asynccontextmanager
    async def _post(
        self,
        where: _Address,
        sql: str,
        values: Mapping[str, object] | None,
        settings: Mapping[str, object] | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        arguments = self._arguments(sql, values, settings)
        data: bytes | aiohttp.FormData = sql.encode()
        if sum(map(len, arguments.values())) > LONG_PARAMETERS:
            data = aiohttp.FormData(default_to_multipart=True)
            data.add_field("query", sql)
            for name in [name for name in arguments if name.startswith("param_")]:
                data.add_field(name, aiohttp.payload.BytesIOPayload(io.BytesIO(arguments.pop(name).encode())))
        async with self._session.post(where.url, params=arguments, data=data, headers=where.headers) as response:
            yield response

    def _arguments(
        self, sql: str, values: Mapping[str, object] | None, settings: Mapping[str, object] | None
    ) -> dict[str, str]:
        """What goes into the address: settings, and parameters with the database names that `sql` asks for."""
        known: dict[str, object] = asdict(self.names)
        wanted = {name: known[name] for name in params.identifiers(sql) if name in known}
        given = {**wanted, **(values or {})}
        arguments = {name: params.setting(value) for name, value in (settings or {}).items()}
        if self._embedded:
            # Packing costs more than loopback does.
            arguments["enable_http_compression"] = "0"
        return arguments | {f"param_{name}": params.encode(value) for name, value in given.items()}

    async def _try(self, work: Callable[[_Address], Awaitable[T]], *, repeat: bool) -> T:
        """Do `work`; a read is repeated once when the embedded warehouse had gone."""
        try:
            return await self._once(work)
        except StoreBusy:
            if not (repeat and self._embedded and self._known is None):
                raise
        return await self._once(work)

    async def _once(self, work: Callable[[_Address], Awaitable[T]]) -> T:
        where = await self._address()
        try:
            return await work(where)
        except WarehouseUnusable as error:
            if not (self._embedded and error.code in answers.CREDENTIALS):
                raise
            # Our own secret refused: the port belongs to another server by now.
            self._known = None
            raise StoreBusy("the embedded warehouse moved", where="warehouse") from None
        except ChClientError as error:
            raise WarehouseUnusable(answers.first_line(str(error))) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> BackfillError:
        self._known = None
        if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
            return WarehouseUnusable("not an address", remedy="check warehouse.url")
        reason = str(error) or type(error).__name__
        return StoreBusy(f"cannot be reached: {reason}", where="warehouse", uncertain=True)

    async def _address(self) -> _Address:
        if self._known is None:
            async with self._resolving:
                if self._known is None:
                    self._known = await self._resolve()
        return self._known


@asynccontextmanager
async def open_warehouse(config: Config) -> AsyncIterator[Warehouse]:
    """The warehouse that the configuration names; the embedded one is started when it is not there.

    Raises:
        WarehouseUnusable: the embedded one cannot be started. A remote one is not asked anything yet.
    """
    place = config.warehouse
    embedded = place.url == "embedded"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=_check) as session:
        names = Names(place.production, place.staging, place.analytics)
        local_dir = Place.of(config.run.data_dir).root if embedded else None
        warehouse = Warehouse(names, session, _resolver(config), local_dir=local_dir)
        if embedded:
            await warehouse._address()
        yield warehouse


def _resolver(config: Config) -> Resolve:
    place = config.warehouse
    if place.url == "embedded":
        return lambda: _embedded(config.run.data_dir, place.idle_exit_s)
    address = _Address(place.url, place.user, place.password.get_secret_value())

    async def remote() -> _Address:
        return address

    return remote


async def _embedded(data_dir: Path, idle_exit_s: float) -> _Address:
    from backfill.warehouse.launcher import ensure_running

    info = await ensure_running(data_dir, idle_exit_s)
    return _Address(info.url, info.user, info.password)


async def _check(response: aiohttp.ClientResponse) -> None:
    """aiohttp calls this on every answer, aiochclient's included, before anyone sees it."""
    if response.status != 200:
        body = await response.text(errors="replace")
        raise answers.from_response(response.status, response.headers.get("X-ClickHouse-Exception-Code"), body)


def _broken_off(tail: bytes, error: Exception) -> BackfillError:
    """ClickHouse writes the reason behind what it had sent already, then cuts the connection."""
    _, mark, reason = tail.rpartition(b"__exception__\r\n")
    text = reason.decode(errors="replace")
    if mark and "Code: " in text:
        return answers.from_response(500, None, text)
    return StoreBusy(f"the answer was cut off: {error}", where="warehouse", uncertain=True)


async def url_for_people(config: Config) -> str:
    """The address to paste into curl or a client: for the embedded warehouse, started if needed, with its secret."""
    if config.warehouse.url != "embedded":
        return config.warehouse.url
    from backfill.warehouse.launcher import ensure_running

    info = await ensure_running(config.run.data_dir, config.warehouse.idle_exit_s)
    return info.url_with_secret
