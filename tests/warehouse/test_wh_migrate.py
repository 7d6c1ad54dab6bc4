"""Migrations: run once, resumed where they stopped, refused when the past was rewritten."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from backfill.config import Config, WarehouseConfig
from backfill.errors import StateError, WarehouseUnusable
from backfill.warehouse import migrate
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.discovery import Place, ServerInfo
from backfill.warehouse.migrations import read_files, with_names

FIRST = """-- Two tables.
CREATE TABLE IF NOT EXISTS {production:Identifier}.one (a Int8 COMMENT 'not; an end') ENGINE = MergeTree ORDER BY a;
CREATE TABLE IF NOT EXISTS {production:Identifier}.two (a Int8) ENGINE = MergeTree ORDER BY a;
-- down
DROP TABLE IF EXISTS {production:Identifier}.two;
DROP TABLE IF EXISTS {production:Identifier}.one;
"""
BROKEN = """-- A table, and then a mistake.
CREATE TABLE IF NOT EXISTS {production:Identifier}.three (a Int8) ENGINE = MergeTree ORDER BY a;
SELECT throwIf((SELECT count() FROM {production:Identifier}.one) = 0);
CREATE TABLE IF NOT EXISTS {production:Identifier}.four (a Int8) ENGINE = MergeTree ORDER BY a;
"""


@pytest.fixture
async def empty(server: ServerInfo, shared_dir: Path) -> AsyncIterator[Warehouse]:
    """A warehouse without a schema: databases of its own on the shared server."""
    place = WarehouseConfig(
        url=server.url,
        user=server.user,
        password=SecretStr(server.password),
        production="m_production",
        staging="m_staging",
        analytics="m_analytics",
    )
    async with open_warehouse(Config(warehouse=place)) as warehouse:
        yield warehouse
        for name in ("m_production", "m_staging", "m_analytics"):
            await warehouse.execute(f"DROP DATABASE IF EXISTS {name} SYNC")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text(FIRST)
    return tmp_path


async def tables(warehouse: Warehouse) -> set[str]:
    found = await warehouse.fetch("SELECT name FROM system.tables WHERE database = 'm_production'")
    return {row["name"] for row in found} - {"schema_migrations", "schema_lock"}


async def states(warehouse: Warehouse, files: Path) -> list[tuple[str, str, int]]:
    return [(state.name, state.state, state.done) for state in await migrate.status(warehouse, files)]


async def test_up_runs_everything_once(empty: Warehouse, files: Path) -> None:
    assert len(await migrate.migrate_up(empty, directory=files)) == 2
    assert await tables(empty) == {"one", "two"}
    assert await migrate.migrate_up(empty, directory=files) == []
    assert await states(empty, files) == [("first", "applied", 2)]
    await migrate.verify(empty, files)


async def test_a_dry_run_shows_real_names_and_changes_nothing(empty: Warehouse, files: Path) -> None:
    statements = await migrate.migrate_up(empty, dry_run=True, directory=files)
    assert len(statements) == 2 and "`m_production`.one" in statements[0]
    assert await empty.fetch("SELECT 1 FROM system.databases WHERE name = 'm_production'") == []
    assert await states(empty, files) == [("first", "pending", 0)]


async def test_a_migration_that_stopped_half_way_goes_on_where_it_stopped(empty: Warehouse, files: Path) -> None:
    (files / "0002_broken.sql").write_text(BROKEN)
    with pytest.raises(WarehouseUnusable, match="Code: 395"):
        await migrate.migrate_up(empty, directory=files)
    assert await states(empty, files) == [("first", "applied", 2), ("broken", "partial", 1)]
    with pytest.raises(StateError, match="0002_broken"):
        await migrate.verify(empty, files)
    await empty.insert("production.one", b"1\n", fmt="TSV")
    left = await migrate.migrate_up(empty, directory=files)
    assert [statement.split()[0] for statement in left] == ["SELECT", "CREATE"], "the first is not run again"
    assert "four" in await tables(empty)
    await migrate.verify(empty, files)


async def test_a_rewritten_past_is_refused(empty: Warehouse, files: Path) -> None:
    await migrate.migrate_up(empty, directory=files)
    (files / "0001_first.sql").write_text(FIRST + "\n-- a remark")
    for work in (migrate.migrate_up(empty, directory=files), migrate.verify(empty, files)):
        with pytest.raises(StateError, match="0001_first has changed"):
            await work
    assert await states(empty, files) == [("first", "drifted", 2)]


async def test_a_migration_that_this_release_does_not_have_is_refused(empty: Warehouse, files: Path) -> None:
    await migrate.migrate_up(empty, directory=files)
    (files / "0001_first.sql").unlink()
    with pytest.raises(StateError, match="no such file"):
        await migrate.migrate_up(empty, directory=files)
    assert await states(empty, files) == [("first", "unknown", 2)]


async def test_a_table_that_is_gone_is_noticed(empty: Warehouse, files: Path) -> None:
    await migrate.migrate_up(empty, directory=files)
    await empty.execute("DROP TABLE {production:Identifier}.two SYNC")
    with pytest.raises(StateError, match=r"m_production\.two"):
        await migrate.verify(empty, files)


async def test_down_uses_the_way_back_of_then_and_up_comes_again(empty: Warehouse, files: Path) -> None:
    await migrate.migrate_up(empty, directory=files)
    assert len(await migrate.migrate_down(empty, dry_run=True)) == 2
    assert await tables(empty) == {"one", "two"}
    await migrate.migrate_down(empty)
    assert await tables(empty) == set()
    assert await states(empty, files) == [("first", "reverted", 0)]
    assert await migrate.migrate_down(empty) == []
    assert len(await migrate.migrate_up(empty, directory=files)) == 2


async def test_down_does_not_throw_rows_away_unasked(empty: Warehouse, files: Path) -> None:
    await migrate.migrate_up(empty, directory=files)
    await empty.insert("production.two", b"1\n", fmt="TSV")
    with pytest.raises(StateError, match=r"m_production\.two \(1 rows\)"):
        await migrate.migrate_down(empty)
    assert await tables(empty) == {"one", "two"}
    await migrate.migrate_down(empty, discard_rows=True)
    assert await tables(empty) == set()


async def test_two_migrators_do_not_meet(
    empty: Warehouse, files: Path, shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate.migrate_up(empty, directory=files)
    (files / "0009_more.sql").write_text(
        "CREATE TABLE {production:Identifier}.more (x UInt8) ENGINE = MergeTree ORDER BY x"
    )
    monkeypatch.setattr(migrate, "PATIENCE_S", 0.2)
    await empty.insert("production.schema_lock", b'{"owner":"someone else","released":0}')
    with pytest.raises(StateError, match="another process"):
        await migrate.migrate_up(empty, directory=files)
    empty.local_dir = Place.of(shared_dir).root
    with (empty.local_dir / "migrate.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StateError, match="another process"):
            await migrate.migrate_up(empty, directory=files)
    assert await migrate.migrate_up(empty, directory=files), "the one that waited does the rest"


async def test_where_nothing_is_left_to_do_nobody_waits_for_another_migrator(
    empty: Warehouse, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate.migrate_up(empty, directory=files)
    monkeypatch.setattr(migrate, "PATIENCE_S", 0.0)
    await empty.insert("production.schema_lock", b'{"owner":"someone else","released":0}')
    assert await migrate.migrate_up(empty, directory=files) == []


async def test_a_migrator_waits_until_the_other_is_through(empty: Warehouse, files: Path) -> None:
    both: list[list[str]] = []

    async def up() -> None:
        both.append(await migrate.migrate_up(empty, directory=files))

    async with asyncio.TaskGroup() as group:
        group.create_task(up())
        group.create_task(up())
    assert sorted(map(bool, both)) == [False, True], "each statement is run once"


async def test_a_database_of_another_kind_is_refused(empty: Warehouse, files: Path) -> None:
    await empty.execute("CREATE DATABASE m_staging ENGINE = Memory")
    with pytest.raises(StateError, match="m_staging is Memory"):
        await migrate.migrate_up(empty, directory=files)


async def test_the_real_migrations_bear_being_run_twice_and_the_identity_is_made_once(empty: Warehouse) -> None:
    with pytest.raises(StateError, match="migrate up"):
        await migrate.identity(empty)
    await migrate.migrate_up(empty)
    mine = await migrate.identity(empty)
    for migration in read_files():
        for statement in migration.up:
            await empty.execute(with_names(statement, empty.names))
    assert await migrate.identity(empty) == mine
    assert await empty.fetch_value("SELECT count() FROM {production:Identifier}.warehouse_identity") == 1
    await migrate.verify(empty)


async def test_the_winner_is_known_only_where_there_is_one(empty: Warehouse) -> None:
    await migrate.migrate_up(empty)
    lines = b"""{"condition_id_norm":"a","payout_numerators":[0,1],"payout_denominator":1,"source":"x"}
    {"condition_id_norm":"b","payout_numerators":[1,1],"payout_denominator":2,"source":"x"}
    {"condition_id_norm":"c","payout_numerators":[],"payout_denominator":0,"source":"x"}"""
    await empty.insert("production.market_resolutions_final", lines)
    found = await empty.fetch(
        "SELECT condition_id_norm AS c, win_idx FROM {production:Identifier}.winning_index ORDER BY c"
    )
    assert [row["win_idx"] for row in found] == [1, None, None]


async def test_every_way_back_of_the_real_migrations_works(empty: Warehouse) -> None:
    await migrate.migrate_up(empty)
    await migrate.migrate_down(empty, to=1)
    assert await tables(empty) == {"warehouse_identity"}
    with pytest.raises(StateError, match="0001_databases: has no way back"):
        await migrate.migrate_down(empty)


def test_names_are_written_out_only_where_they_stand_as_identifiers() -> None:
    from backfill.warehouse.client import Names

    names = Names("p", "s", "a")
    assert with_names("{production:Identifier}.x {other:Identifier} '{staging:Identifier}'", names).startswith(
        "`p`.x {o"
    )


def test_file_names_and_numbers_are_checked(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "0001_b.sql").write_text("SELECT 2")
    with pytest.raises(StateError, match="number 0001"):
        read_files(tmp_path)
    (tmp_path / "0001_b.sql").rename(tmp_path / "first.sql")
    with pytest.raises(StateError, match="NNNN_words"):
        read_files(tmp_path)
    assert replace(read_files()[0], name="x").label == "0001_x"


async def test_a_claim_that_is_dated_but_not_to_be_seen_yet_goes_first(empty: Warehouse, files: Path) -> None:
    """Otherwise both would find themselves first: one before the other's row is there, the other after."""
    await migrate.migrate_up(empty, directory=files)
    (files / "0002_more.sql").write_text(FIRST.replace(".one", ".three").replace(".two", ".four"))
    ended: list[str] = []
    slow = "SELECT 'other', 0, now64(6), now64(6) + 9 FROM numbers(1) WHERE sleepEachRow(2) = 0"

    async def other() -> None:
        columns = "(owner, released, taken_at, expires_at)"
        await empty.execute(f"INSERT INTO {{production:Identifier}}.schema_lock {columns} {slow}")
        await asyncio.sleep(0.5)
        ended.append("the other")
        await empty.insert("production.schema_lock", b'{"owner":"other","released":1}')

    async def up() -> None:
        await asyncio.sleep(0.5)
        await migrate.migrate_up(empty, directory=files)
        ended.append("this one")

    async with asyncio.TaskGroup() as group:
        group.create_task(other())
        group.create_task(up())
    assert ended == ["the other", "this one"]
