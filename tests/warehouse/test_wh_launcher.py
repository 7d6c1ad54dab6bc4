"""One server for each data directory: starting, racing, dying, idling, leaving."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backfill.config import Config
from backfill.errors import StoreBusy, WarehouseUnusable
from backfill.warehouse import launcher
from backfill.warehouse.client import open_warehouse
from backfill.warehouse.discovery import Place, ServerInfo, read_info, write_info

IDLE_S = 60


async def start(data_dir: Path, idle_s: float = IDLE_S) -> ServerInfo:
    return await launcher.ensure_running(data_dir, idle_s)


def ended(pid: int, within_s: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)


async def test_it_is_started_once_and_shared(own_dir: Path) -> None:
    assert launcher.running(own_dir) is None
    first = await start(own_dir)
    assert await start(own_dir) == first == launcher.running(own_dir)


async def test_two_starters_end_with_one_server(own_dir: Path) -> None:
    async with asyncio.TaskGroup() as group:
        starts = [group.create_task(start(own_dir)) for _ in range(4)]
    assert len({task.result().pid for task in starts}) == 1


async def test_the_secret_is_for_the_owner_only(own_dir: Path) -> None:
    info = await start(own_dir)
    assert stat.S_IMODE(Place.of(own_dir).info.stat().st_mode) == 0o600
    assert len(info.password) >= 32
    assert info.password not in repr(info)
    assert info.password not in Place.of(own_dir).log.read_text()


def parent(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


async def test_it_lives_in_a_session_of_its_own_as_nobody_s_child(own_dir: Path) -> None:
    info = await start(own_dir)
    assert os.getsid(info.pid) != os.getsid(0)
    assert parent(info.pid) != os.getpid()


async def test_address_and_secret_survive_a_restart(own_dir: Path, kill_server: Callable[[], int]) -> None:
    first = await start(own_dir)
    assert launcher.stop(own_dir)
    assert launcher.running(own_dir) is None
    second = await start(own_dir)
    kill_server()
    third = await start(own_dir)
    assert first.url_with_secret == second.url_with_secret == third.url_with_secret


async def test_stopping_what_is_not_there_is_fine(own_dir: Path) -> None:
    assert launcher.stop(own_dir) is False


async def test_it_leaves_when_nobody_asks_anything(own_dir: Path) -> None:
    info = await start(own_dir, 0.5)
    assert ended(info.pid, 15)
    assert launcher.running(own_dir) is None


async def test_it_leaves_when_its_directory_is_taken_away(own_dir: Path) -> None:
    info = await start(own_dir, 4)
    Place.of(own_dir).info.unlink()
    assert ended(info.pid, 3.5), "sooner than idleness would have ended it"


async def test_a_leftover_file_with_a_living_stranger_s_pid_is_not_a_server(own_dir: Path) -> None:
    place = Place.of(own_dir)
    place.root.mkdir()
    write_info(place, ServerInfo("http://127.0.0.1:1", "default", "x" * 32, os.getpid(), 1, "26.9", True))
    assert launcher.running(own_dir) is None
    assert launcher.stop(own_dir) is False, "the stranger must not be signalled"
    assert (await start(own_dir)).pid != os.getpid()


async def test_what_it_acknowledged_survives_kill_9_and_the_next_call_starts_it_again(
    own_config: Config, kill_server: Callable[[], int]
) -> None:
    acknowledged = 0
    async with open_warehouse(own_config) as warehouse:
        await warehouse.execute("CREATE DATABASE {staging:Identifier} ENGINE = Atomic")
        await warehouse.execute(
            "CREATE TABLE {staging:Identifier}.t (a UInt64) ENGINE = MergeTree ORDER BY a"
            " SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1"
        )
        for round_ in range(3):
            for part in range(5):
                await warehouse.insert("staging.t", b"1\n" * 100, fmt="TSV", token=f"{round_}-{part}")
                acknowledged += 100
            kill_server()
            assert await warehouse.fetch_value("SELECT count() FROM {staging:Identifier}.t") == acknowledged
        await warehouse.insert("staging.t", b"1\n" * 100, fmt="TSV", token="0-0")
        assert await warehouse.fetch_value("SELECT count() FROM {staging:Identifier}.t") == acknowledged, "token"


async def test_a_write_that_met_a_dead_server_is_reported_and_its_repetition_succeeds(
    own_config: Config, kill_server: Callable[[], int]
) -> None:
    async with open_warehouse(own_config) as warehouse:
        await warehouse.execute("CREATE DATABASE {staging:Identifier} ENGINE = Atomic")
        await warehouse.execute("CREATE TABLE {staging:Identifier}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        kill_server()
        with pytest.raises(StoreBusy):
            await warehouse.insert("staging.t", b"1\n", fmt="TSV")
        await warehouse.insert("staging.t", b"1\n", fmt="TSV")
        assert await warehouse.fetch_value("SELECT count() FROM {staging:Identifier}.t") == 1


async def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(own_dir: Path) -> None:
    place = Place.of(own_dir)
    place.root.mkdir()
    place.store.write_text("this should be a directory")
    with pytest.raises(WarehouseUnusable, match=r"did not start[\s\S]*File exists"):
        await start(own_dir)


def test_a_lock_held_by_another_makes_a_second_server_step_back(own_dir: Path) -> None:
    place = Place.of(own_dir)
    place.root.mkdir()
    with place.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "backfill.warehouse.embedded", "--data-dir", str(own_dir)]
        assert subprocess.run(command, timeout=20, check=False).returncode == 0
    assert read_info(place) is None, "it must not touch what it does not own"
