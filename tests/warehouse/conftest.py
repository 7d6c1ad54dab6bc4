"""Real servers in temporary directories; every one that a test starts is stopped when the test ends."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from backfill.config import Config, Run, WarehouseConfig
from backfill.warehouse import launcher
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.discovery import Place, ServerInfo

IDLE_S = 60


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory whose server all tests share that do not harm it."""
    path = tmp_path_factory.mktemp("warehouse")
    yield path
    launcher.stop(path)


@pytest.fixture
def own_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory for one test that starts, stops and kills servers."""
    yield tmp_path
    launcher.stop(tmp_path)


def config_for(data_dir: Path) -> Config:
    """The embedded warehouse in `data_dir`, everything else as usual."""
    return Config(run=Run(data_dir=data_dir), warehouse=WarehouseConfig(idle_exit_s=IDLE_S))


@pytest.fixture
async def server(shared_dir: Path) -> ServerInfo:
    """The shared server, running."""
    return await launcher.ensure_running(shared_dir, IDLE_S)


@pytest.fixture
async def warehouse(shared_dir: Path) -> AsyncIterator[Warehouse]:
    """Our client on the shared server, with an empty staging database."""
    async with open_warehouse(config_for(shared_dir)) as opened:
        await opened.execute("CREATE DATABASE IF NOT EXISTS {staging:Identifier} ENGINE = Atomic")
        yield opened
        await opened.execute("DROP DATABASE {staging:Identifier} SYNC")


@pytest.fixture
def own_config(own_dir: Path) -> Config:
    """The embedded warehouse of this test alone."""
    return config_for(own_dir)


@pytest.fixture
def kill_server(own_dir: Path) -> Callable[[], int]:
    """kill -9 this test's server and wait for its end; returns its process id."""
    return lambda: _kill(own_dir)


def _kill(data_dir: Path) -> int:
    info = launcher.running(data_dir)
    assert info is not None
    handle = os.pidfd_open(info.pid)
    os.kill(info.pid, signal.SIGKILL)
    _wait_gone(handle)
    assert Place.of(data_dir).info.exists(), "kill -9 leaves the discovery file behind"
    return info.pid


def _wait_gone(handle: int) -> None:
    select.select([handle], [], [], 10)
    os.close(handle)
