"""ClickHouse inside this process: connections, sessions, and one statement run from start to end.

Every request gets a connection of its own (about 0.3 ms) and leaves nothing behind on it: settings, temporary
tables and the current database die with the connection. Only a named session keeps one. Calls here block; the
server runs them on worker threads, where chdb releases the interpreter lock.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from chdb.state.sqlitelike import Connection

from backfill.warehouse import bodies
from backfill.warehouse import http_errors as errors
from backfill.warehouse.statements import Insert, first_word, output_format, reads_only, split_insert

STREAMED = {
    name.lower()
    for name in (
        "TabSeparated",
        "TabSeparatedRaw",
        "TSV",
        "TSVRaw",
        "CSV",
        "JSONEachRow",
        "JSONLines",
        "NDJSON",
        "JSONStringsEachRow",
        "JSONCompactEachRow",
        "JSONCompactStringsEachRow",
        "RowBinary",
        "LineAsString",
        "Native",
    )
}
"""Formats whose pieces add up to the whole; chdb's stream frames every piece of all others anew."""

_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_HEAD = 1 << 20


@dataclass(frozen=True)
class Call:
    """One request, ready to run. `sql` came in the address, `body` behind it (decoded, from its start)."""

    sql: bytes
    body: IO[bytes] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    default_format: str = "TabSeparated"
    session: str = ""
    session_timeout_s: float = 60
    session_must_exist: bool = False
    read_only: bool = False
    streaming: bool = True


@dataclass
class Answer:
    """What a statement yields: pieces of `fmt` (None when it yields no rows), and what it did."""

    fmt: str | None
    engine: Engine
    connection: Connection
    session: Session | None
    first: bytes = b""
    stream: Any = None
    closed: bool = False
    written_rows: int = 0
    written_bytes: int = 0
    read_rows: int = 0
    read_bytes: int = 0

    def next_piece(self) -> bytes | None:
        """The next piece of a streamed result, None at its end.

        Raises:
            DatabaseError: the statement failed on the way.
        """
        if self.stream is None:
            return None
        try:
            piece = self.stream.fetch()
        except Exception as error:
            raise errors.from_engine(error, self.engine.version) from None
        return None if piece is None else bytes(piece.bytes())

    def close(self) -> None:
        """Stop what still runs, and give the connection back or up. Once is enough, twice does no harm."""
        if self.closed:
            return
        self.closed = True
        try:
            if self.stream is not None:
                self.stream.close()
        finally:
            self.engine.release(self.connection, self.session)


@dataclass
class Session:
    """A named session of a client: one connection, one statement at a time, until it was silent for too long."""

    connection: Connection
    busy: threading.Lock
    timeout_s: float
    used_at: float
    undo: dict[str, str | None] = field(default_factory=dict)


class Engine:
    """ClickHouse on one directory. All methods may be called from any thread."""

    def __init__(self, store: Path, spool: Path, *, memory_bytes: int) -> None:
        store.mkdir(parents=True, exist_ok=True)
        self._spool = spool
        per_query = memory_bytes * 3 // 4
        self._where = (
            f"{store}?max_server_memory_usage={memory_bytes}&max_memory_usage={per_query}"
            # What a server does and clickhouse-local does not:
            "&implicit_select=0&allow_introspection_functions=0&storage_file_read_method=pread"
        )
        self._sessions: dict[str, Session] = {}
        self._guard = threading.Lock()
        self._keeper = Connection(self._where)
        self.version = _scalar(self._keeper, "SELECT version()")
        self.timezone = _scalar(self._keeper, "SELECT timezone()")

    def close(self) -> None:
        """Close every connection; the store is then free for another process."""
        for session in self._sessions.values():
            session.connection.close()
        self._keeper.close()

    def expire_sessions(self) -> None:
        """Close the sessions that were silent for longer than they asked for."""
        now = time.monotonic()
        with self._guard:
            old = [
                name
                for name, kept in self._sessions.items()
                if now - kept.used_at > kept.timeout_s and not kept.busy.locked()
            ]
            gone = [self._sessions.pop(name) for name in old]
        for session in gone:
            session.connection.close()

    def run(self, call: Call) -> Answer:
        """Run one statement up to the first piece of its answer.

        Raises:
            DatabaseError: in ClickHouse's words.
        """
        connection, session = self._acquire(call)
        try:
            self._prepare(connection, session, call)
            answer = Answer(None, self, connection, session)
            self._dispatch(answer, call)
        except BaseException as error:
            self.release(connection, session)
            if isinstance(error, errors.DatabaseError) or not isinstance(error, Exception):
                raise
            raise errors.from_engine(error, self.version) from None
        return answer

    def release(self, connection: Connection, session: Session | None) -> None:
        """Undo what the request set on its session, or close its own connection."""
        if session is None:
            connection.close()
            return
        _restore(connection, session.undo)
        session.undo, session.used_at = {}, time.monotonic()
        session.busy.release()

    def _acquire(self, call: Call) -> tuple[Connection, Session | None]:
        if not call.session:
            return Connection(self._where), None
        with self._guard:
            session = self._sessions.get(call.session)
            if session is None and call.session_must_exist:
                raise errors.made(
                    errors.SESSION_NOT_FOUND, "SESSION_NOT_FOUND", f"Session {call.session} not found", self.version
                )
            if session is None:
                session = Session(Connection(self._where), threading.Lock(), call.session_timeout_s, time.monotonic())
                self._sessions[call.session] = session
            if not session.busy.acquire(blocking=False):
                raise errors.made(
                    errors.SESSION_IS_LOCKED,
                    "SESSION_IS_LOCKED",
                    f"Session {call.session} is locked by a concurrent client",
                    self.version,
                )
            session.timeout_s = call.session_timeout_s
        return session.connection, session

    def _prepare(self, connection: Connection, session: Session | None, call: Call) -> None:
        """Database, then settings, then read-only: that one last, because it forbids its own change."""
        if call.database:
            connection.query(f"USE {_name(call.database)}", "Null")
        settings = dict(call.settings)
        for name in settings:
            if not _NAME.match(name):
                raise errors.made(errors.UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting '{name}'", self.version)
        if call.read_only and session is None and settings.get("readonly", "0") == "0":
            settings["readonly"] = settings.pop("readonly", "2").replace("0", "2")
        if session is not None:
            session.undo = _current(connection, settings)
        if settings:
            ordered = sorted(settings.items(), key=lambda pair: pair[0] == "readonly")
            connection.query("SET " + ", ".join(f"{name} = {_literal(value)}" for name, value in ordered), "Null")

    def _dispatch(self, answer: Answer, call: Call) -> None:
        body = call.body
        insert = split_insert(call.sql)
        if insert is not None:
            self._refuse_writing(call)
            rest = call.sql[insert.data_at :]
            self._insert(answer, call, insert, rest if rest.strip() else b"")
            return
        head = body.read(_HEAD) if body is not None else b""
        sql = call.sql + b"\n" + head if call.sql.strip() and head else call.sql or head
        insert = split_insert(sql)
        if insert is not None:
            self._refuse_writing(call)
            self._insert(answer, call, insert, sql[insert.data_at :])
            return
        if body is not None and len(head) == _HEAD:
            sql += body.read()
        self._statement(answer, call, sql)

    def _refuse_writing(self, call: Call) -> None:
        if call.read_only:
            raise errors.made(
                errors.READONLY,
                "READONLY",
                "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
                "You should use method POST for modifying queries",
                self.version,
            )

    def _insert(self, answer: Answer, call: Call, insert: Insert, first: bytes) -> None:
        """Let ClickHouse read the rows from a file, so that nothing is written unless all of them could be read.

        Never by chdb's send_insert: it reports success when writing fails (disk full, a violated constraint).
        """
        with bodies.rows_file(self._spool, first, call.body) as path:
            source = f" FROM INFILE {_literal(path)} COMPRESSION 'none' ".encode()
            sql = insert.head + source + insert.settings + b" FORMAT " + insert.fmt.encode()
            done = answer.connection.query(
                sql.decode(errors="surrogateescape"), "Null", params=dict(call.params) or None
            )
        answer.written_rows, answer.written_bytes = done.rows_written(), done.bytes_written()

    def _statement(self, answer: Answer, call: Call, sql: bytes) -> None:
        if call.read_only and call.session and not reads_only(sql):
            self._refuse_writing(call)
        text, params = sql.decode(errors="surrogateescape"), dict(call.params) or None
        rows = reads_only(sql)
        fmt = (output_format(sql) if rows else None) or call.default_format
        answer.fmt = fmt if rows else None
        if call.streaming and first_word(sql) in (b"SELECT", b"WITH") and fmt.lower() in STREAMED:
            self._start_stream(answer, text, fmt, params)
            return
        done = answer.connection.query(text, fmt, params=params)
        answer.first = bytes(done.bytes())
        answer.read_rows, answer.read_bytes = done.rows_read(), done.bytes_read()

    def _start_stream(self, answer: Answer, text: str, fmt: str, params: dict[str, str] | None) -> None:
        answer.stream = answer.connection.send_query(text, fmt, params=params)
        answer.first = answer.next_piece() or b""


def _scalar(connection: Connection, sql: str) -> str:
    return str(connection.query(sql, "TSV").bytes().decode().strip())


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _name(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _current(connection: Connection, settings: Mapping[str, str]) -> dict[str, str | None]:
    """The values to go back to after a request in a session; None stands for the default."""
    if not settings:
        return {}
    names = ", ".join(_literal(name) for name in settings)
    asked = f"SELECT name, changed, value FROM system.settings WHERE name IN ({names})"  # noqa: S608 - literals
    table = connection.query(asked, "TSVRaw")
    found: dict[str, str | None] = {}
    for line in table.bytes().decode().splitlines():
        name, changed, value = line.split("\t", 2)
        found[name] = value if changed == "1" else None
    return found


def _restore(connection: Connection, undo: Mapping[str, str | None]) -> None:
    for name, value in undo.items():
        connection.query(f"SET {name} = {'DEFAULT' if value is None else _literal(value)}", "Null")
