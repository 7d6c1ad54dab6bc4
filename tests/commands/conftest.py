"""A project, and one simulator and one warehouse a session."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backfill.config import Config, Run
from backfill.simulator.model import UPSTREAMS
from backfill.simulator.process import SimulatorProcess
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.launcher import stop
from backfill.warehouse.migrate import migrate_up
from tests.commands.cmd_project import Project


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that nothing was done in."""
    for name in [name for name in os.environ if name.startswith("BACKFILL_") or name == "DOME_API_KEY"]:
        monkeypatch.delenv(name)
    (tmp_path / "config.toml").write_text("[run]\n")
    return Project(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """Both upstreams, quick and without limits; dumps of their world stand in `options["dumps"]`."""
    dumps = tmp_path_factory.mktemp("dumps")
    with SimulatorProcess(tokens=400, latency_ms=0, dome_limits="off", goldsky_limits="off", dumps=str(dumps)) as child:
        yield child


@pytest.fixture
def upstreams(simulator: SimulatorProcess, project: Project) -> Iterator[SimulatorProcess]:
    """The simulator, behaving, and the project pointed at it."""
    project.env |= simulator.env
    yield simulator
    for name in UPSTREAMS:
        simulator.set_mode(name, "ok")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a migrated embedded warehouse."""
    data_dir = tmp_path_factory.mktemp("store") / "data"

    async def migrated() -> None:
        async with open_warehouse(Config(run=Run(data_dir=data_dir))) as warehouse:
            await migrate_up(warehouse)

    asyncio.run(migrated())
    yield data_dir
    stop(data_dir)


@pytest.fixture
def stored(store: Path, project: Project) -> Callable[[Callable[[Warehouse], Any]], Any]:
    """The project with that warehouse, and a way to ask it something; dead letters of earlier tests are gone."""
    project.env["BACKFILL_RUN__DATA_DIR"] = str(store)
    for path in (store / "dead_letters").glob("*"):
        path.unlink()

    def ask(work: Callable[[Warehouse], Any]) -> Any:
        async def main() -> Any:
            async with open_warehouse(Config(run=Run(data_dir=store))) as warehouse:
                return await work(warehouse)

        return asyncio.run(main())

    return ask
