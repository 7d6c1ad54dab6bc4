"""A real embedded warehouse for the stages: one server a session, empty tables for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from backfill.config import Config, Run
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.launcher import stop
from backfill.warehouse.migrate import migrate_up

SHARED = Path(__file__).resolve().parents[3] / "shared"
_TABLES = (
    "SELECT database || '.' || name AS name FROM system.tables "
    "WHERE database IN ('polymarket', 'staging', 'cascadian_clean') AND engine LIKE '%MergeTree' AND total_rows > 0 "
    "AND name NOT LIKE '%migrations%' AND name NOT LIKE '%warehouse_identity'"
)


@pytest.fixture(scope="session")
def server_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a migrated warehouse, whose server leaves with the session."""
    data_dir = tmp_path_factory.mktemp("stages") / "data"

    async def migrate() -> None:
        async with open_warehouse(Config(run=Run(data_dir=data_dir))) as warehouse:
            await migrate_up(warehouse)

    asyncio.run(migrate())
    yield data_dir
    stop(data_dir)


@pytest.fixture
def config(server_dir: Path, tmp_path: Path) -> Config:
    """The session's warehouse, with this test's own checkpoints."""
    return Config(run=Run(data_dir=server_dir, checkpoint_dir=tmp_path / "checkpoints", log_file=tmp_path / "log"))


@pytest_asyncio.fixture
async def warehouse(config: Config) -> AsyncIterator[Warehouse]:
    """The open warehouse; the rows and dead letters of earlier tests are gone."""
    async with open_warehouse(config) as warehouse:
        for row in await warehouse.fetch(_TABLES):
            await warehouse.execute(f"TRUNCATE TABLE {row['name']}")
        for letters in (config.run.data_dir / "dead_letters").glob("*"):
            letters.unlink()
        yield warehouse


@pytest.fixture
def real_data() -> Path:
    """Recorded data; absent in a checkout of the project alone."""
    folder = SHARED / "data" / "real"
    if not folder.is_dir():
        pytest.skip(f"NOT CHECKED AGAINST REAL DATA: {folder} is not here")
    return folder
