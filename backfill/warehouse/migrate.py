"""Bring the schema up, take it back, and say where it stands."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import orjson

from backfill.errors import StateError
from backfill.warehouse.client import Warehouse
from backfill.warehouse.migrations import Migration, Record, check, read_files, with_names
from backfill.warehouse.statements import first_word, split_statements

PATIENCE_S = 150.0
"""How long to wait for another migrator; longer than the lock of one that was killed lasts on a remote warehouse."""

_KEEPER = (
    "CREATE DATABASE IF NOT EXISTS {production:Identifier} ENGINE = Atomic",
    """
    CREATE TABLE IF NOT EXISTS {production:Identifier}.schema_migrations
    (
        version UInt32,
        name String,
        checksum String COMMENT 'SHA-256 of the file',
        statements UInt32 COMMENT 'how many the file has',
        done UInt32 COMMENT 'how many have been run',
        down_sql String COMMENT 'the way back as of then',
        reverted UInt8,
        revision UInt64 COMMENT 'the highest one counts',
        applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
    )
    ENGINE = ReplacingMergeTree(revision)
    ORDER BY version
    SETTINGS fsync_after_insert = 1
    COMMENT 'What was done to the schema.'
    """,
    """
    CREATE TABLE IF NOT EXISTS {production:Identifier}.schema_lock
    (
        owner String,
        released UInt8,
        taken_at DateTime64(6, 'UTC') DEFAULT now64(6),
        expires_at DateTime64(6, 'UTC') DEFAULT now64(6) + INTERVAL 2 MINUTE
    )
    ENGINE = ReplacingMergeTree(released)
    ORDER BY owner
    COMMENT 'Who changes the schema just now.'
    """,
)
_RECORDS = "SELECT * FROM {production:Identifier}.schema_migrations FINAL ORDER BY version"
_LOCK_HOLDER = (
    "SELECT owner FROM {production:Identifier}.schema_lock FINAL"
    " WHERE released = 0 AND expires_at > now64(6) ORDER BY taken_at, owner LIMIT 1"
)
_LOCKS_COMING = "SELECT count() FROM system.processes WHERE match(query, '^\\\\s*INSERT INTO[^(]*schema_lock')"
_ENGINES = "SELECT name, engine FROM system.databases WHERE name IN {names:Array(String)}"
_TABLES = "SELECT database, name FROM system.tables WHERE database IN {names:Array(String)}"
_ATOMIC = frozenset({"Atomic", "Replicated", "Shared"})


async def migrate_up(warehouse: Warehouse, *, dry_run: bool = False, directory: Path | None = None) -> list[str]:
    """Run what has not been run. Returns the statements, run or (`dry_run`) still to be run; none when all is done.

    Raises:
        StateError: an applied migration has changed, another process is migrating, or a database is not Atomic.
    """
    migrations = read_files(directory)
    records = await _records(warehouse)
    check(migrations, records)
    left = [text for item in migrations for text in _left(warehouse, item, records)]
    # Nearly always there is nothing to do: then nobody waits for anybody.
    if dry_run or not left:
        return left
    await _check_engines(warehouse)
    for statement in _KEEPER:
        await warehouse.execute(with_names(statement, warehouse.names))
    async with _alone(warehouse):
        records = await _records(warehouse)
        check(migrations, records)
        return [text for item in migrations for text in await _apply(warehouse, item, records.get(item.version))]


async def migrate_down(
    warehouse: Warehouse, *, to: int | None = None, dry_run: bool = False, discard_rows: bool = False
) -> list[str]:
    """Take back the last migration, or all after number `to`, by the way back stored when it was applied.

    Returns the statements. A table that holds rows is not dropped unless `discard_rows`.

    Raises:
        StateError: a migration without a way back, or a table with rows.
    """
    records = sorted((await _records(warehouse)).values(), key=lambda record: -record.version)
    applied = [record for record in records if not record.reverted and record.done]
    chosen = applied[:1] if to is None else [record for record in applied if record.version > to]
    for record in chosen:
        if not split_statements(record.down):
            raise StateError("has no way back", where=record.label)
    plan = [text for record in chosen for text in _way_back(warehouse, record)]
    if not discard_rows:
        await _refuse_loss(warehouse, plan)
    if plan and not dry_run:
        async with _alone(warehouse):
            for record in chosen:
                await _revert(warehouse, record)
    return plan


@dataclass(frozen=True)
class State:
    """Where one migration stands: applied, partial, pending, reverted, drifted, or unknown (no such file here)."""

    version: int
    name: str
    state: str
    statements: int
    done: int
    checksum: str
    applied_at: str | None


async def status(warehouse: Warehouse, directory: Path | None = None) -> list[State]:
    """Every migration, of this release or of the warehouse, in order."""
    files = {migration.version: migration for migration in read_files(directory)}
    records = await _records(warehouse)
    return [_state(files.get(version), records.get(version)) for version in sorted(files.keys() | records.keys())]


async def verify(warehouse: Warehouse, directory: Path | None = None) -> None:
    """Check that everything of this release is applied, unchanged, and still there.

    Raises:
        StateError: what is not, all of it in one text.
    """
    migrations = read_files(directory)
    records = await _records(warehouse)
    check(migrations, records)
    pending = [item.label for item in migrations if not (r := records.get(item.version)) or not r.complete]
    if pending:
        raise StateError(f"not applied: {', '.join(pending)}", where="migrations", remedy="backfill migrate up")
    missing = await _missing(warehouse, migrations)
    if missing:
        raise StateError(
            f"gone from the warehouse: {', '.join(missing)}", where="migrations", remedy="restore them from a backup"
        )


async def identity(warehouse: Warehouse) -> str:
    """The id that was made with this warehouse, so that a checkpoint of another one is noticed.

    Raises:
        StateError: there is none; the schema is not there yet.
    """
    found = await _tables(warehouse)
    if (warehouse.names.production, "warehouse_identity") in found:
        value = await warehouse.fetch_value(
            "SELECT toString(id) FROM {production:Identifier}.warehouse_identity ORDER BY created_at, id LIMIT 1"
        )
        if value is not None:
            return str(value)
    raise StateError("the warehouse has no schema yet", where="warehouse", remedy="backfill migrate up")


def _state(migration: Migration | None, record: Record | None) -> State:
    kept = migration or record
    assert kept is not None
    statements = len(migration.up) if migration else record.statements if record else 0
    done = record.done if record else 0
    when = record.applied_at if record else None
    return State(kept.version, kept.name, _word(migration, record), statements, done, kept.checksum, when)


def _word(migration: Migration | None, record: Record | None) -> str:
    if record is None:
        return "pending"
    if record.reverted:
        return "reverted"
    if migration is None:
        return "unknown"
    if migration.checksum != record.checksum:
        return "drifted"
    return "applied" if record.complete else "partial"


async def _apply(warehouse: Warehouse, migration: Migration, record: Record | None) -> list[str]:
    """Run what is left of one migration, and record how far that went, even when it fails on the way.

    A kill takes the record along. Then its statements are run once more, which every migration has to bear.
    """
    if record is None or record.reverted:
        revision = record.revision if record else 0
        record = Record(
            version=migration.version,
            name=migration.name,
            checksum=migration.checksum,
            statements=len(migration.up),
            done=0,
            down=migration.down,
            reverted=False,
            revision=revision,
            applied_at="",
        )
    left = [with_names(text, warehouse.names) for text in migration.up[record.done :]]
    done = record.done
    try:
        for statement in left:
            await warehouse.execute(statement)
            done += 1
    finally:
        if done > record.done:
            await _keep(warehouse, replace(record, done=done))
    return left


def _left(warehouse: Warehouse, migration: Migration, records: dict[int, Record]) -> list[str]:
    record = records.get(migration.version)
    done = record.done if record and not record.reverted else 0
    return [with_names(text, warehouse.names) for text in migration.up[done:]]


async def _revert(warehouse: Warehouse, record: Record) -> None:
    for statement in _way_back(warehouse, record):
        await warehouse.execute(statement)
    await _keep(warehouse, replace(record, reverted=True, done=0))


def _way_back(warehouse: Warehouse, record: Record) -> list[str]:
    return [with_names(text, warehouse.names) for text in split_statements(record.down)]


async def _refuse_loss(warehouse: Warehouse, plan: Sequence[str]) -> None:
    """A way back must not throw data away unasked."""
    kept = []
    for statement in plan:
        words = statement.replace("`", "").split()
        if first_word(statement.encode()) != b"DROP" or words[1].upper() != "TABLE":
            continue
        database, _, name = words[-1].partition(".")
        rows = await warehouse.fetch_value(
            "SELECT total_rows FROM system.tables WHERE database = {database:String} AND name = {name:String}",
            {"database": database, "name": name},
        )
        if rows:
            kept.append(f"{database}.{name} ({rows} rows)")
    if kept:
        raise StateError(f"tables hold rows: {', '.join(kept)}", where="migrations", remedy="--discard-rows")


async def _keep(warehouse: Warehouse, record: Record) -> Record:
    record = replace(record, revision=record.revision + 1)
    row = {
        "version": record.version,
        "name": record.name,
        "checksum": record.checksum,
        "statements": record.statements,
        "done": record.done,
        "down_sql": record.down,
        "reverted": int(record.reverted),
        "revision": record.revision,
    }
    await warehouse.insert("production.schema_migrations", orjson.dumps(row), columns=tuple(row))
    return record


async def _records(warehouse: Warehouse) -> dict[int, Record]:
    if (warehouse.names.production, "schema_migrations") not in await _tables(warehouse):
        return {}
    return {record.version: record for record in map(Record.of, await warehouse.fetch(_RECORDS))}


async def _tables(warehouse: Warehouse) -> set[tuple[str, str]]:
    names = warehouse.names
    wanted = [names.production, names.staging, names.analytics]
    return {(row["database"], row["name"]) for row in await warehouse.fetch(_TABLES, {"names": wanted})}


async def _missing(warehouse: Warehouse, migrations: Sequence[Migration]) -> list[str]:
    there = await _tables(warehouse)
    wanted = [(str(getattr(warehouse.names, place)), name) for item in migrations for place, name in item.tables]
    return [f"{database}.{name}" for database, name in wanted if (database, name) not in there]


async def _check_engines(warehouse: Warehouse) -> None:
    """EXCHANGE TABLES and RENAME between databases need the Atomic kind."""
    names = [warehouse.names.production, warehouse.names.staging, warehouse.names.analytics]
    rows: list[dict[str, Any]] = await warehouse.fetch(_ENGINES, {"names": names})
    wrong = [f"{row['name']} is {row['engine']}" for row in rows if row["engine"] not in _ATOMIC]
    if wrong:
        raise StateError(
            f"a database is not of the Atomic kind: {', '.join(wrong)}", where="warehouse", remedy="name another one"
        )


@contextlib.asynccontextmanager
async def _alone(warehouse: Warehouse) -> AsyncIterator[None]:
    """One migrator at a time: a file lock where the warehouse is ours, a row, as good as it gets, where it is not."""
    if warehouse.local_dir is None:
        async with _row_lock(warehouse):
            yield
        return
    with (warehouse.local_dir / "migrate.lock").open("a") as file:
        await _turn(lambda: _flocked(file))
        yield


async def _turn(mine: Callable[[], Awaitable[bool]]) -> None:
    """Two processes that start together both find work to do: the second waits until the first is through."""
    deadline = time.monotonic() + PATIENCE_S
    while not await mine():
        if time.monotonic() > deadline:
            raise _held()
        await asyncio.sleep(0.1)


async def _flocked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.asynccontextmanager
async def _row_lock(warehouse: Warehouse) -> AsyncIterator[None]:
    mine = secrets.token_hex(8)

    async def first() -> bool:
        # A row is dated before it can be seen. Only when none is on its way can no earlier one turn up any more.
        if int(await warehouse.fetch_value(_LOCKS_COMING)):
            return False
        return bool(await warehouse.fetch_value(_LOCK_HOLDER) == mine)

    await _put_lock(warehouse, mine, released=0)
    try:
        await _turn(first)
        yield
    finally:
        await _put_lock(warehouse, mine, released=1)


async def _put_lock(warehouse: Warehouse, owner: str, *, released: int) -> None:
    row = {"owner": owner, "released": released}
    await warehouse.insert("production.schema_lock", orjson.dumps(row), columns=tuple(row))


def _held() -> StateError:
    return StateError("another process is changing the schema", where="migrations", remedy="wait for it, then repeat")
