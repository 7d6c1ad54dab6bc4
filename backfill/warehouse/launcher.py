"""Start, find and stop the embedded warehouse's process."""

from __future__ import annotations

import asyncio
import http.client
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from backfill.errors import WarehouseUnusable
from backfill.warehouse.discovery import Place, ServerInfo, lock_is_held, read_info

START_S = 60
"""Seconds a start may take; it takes about two, more after a crash or on a machine that is busy."""

STOP_S = 30


async def ensure_running(data_dir: Path, idle_exit_s: float) -> ServerInfo:
    """The server of `data_dir`, started when there is none. Two starters end with one server.

    Raises:
        WarehouseUnusable: it did not come up; the text carries the end of its log.
    """
    return await asyncio.to_thread(_ensure, data_dir, idle_exit_s)


def running(data_dir: Path) -> ServerInfo | None:
    """The server of `data_dir` if it lives and answers; starts nothing."""
    place = Place.of(data_dir)
    if not lock_is_held(place):
        return None
    info = read_info(place)
    return info if info is not None and info.ready and _answers(info) else None


def stop(data_dir: Path) -> bool:
    """Ask the server to leave and wait until it has; False when there was none.

    Raises:
        WarehouseUnusable: it is still there after STOP_S seconds.
    """
    place = Place.of(data_dir)
    asked = False
    deadline = time.monotonic() + STOP_S
    while lock_is_held(place):
        info = read_info(place)
        if info is not None and info.ready and not asked:
            _terminate(info.pid)
            asked = True
        if time.monotonic() > deadline:
            raise WarehouseUnusable(
                f"the embedded warehouse did not leave within {STOP_S} s", remedy=f"see {place.log}"
            )
        time.sleep(0.03)
    return asked


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def _ensure(data_dir: Path, idle_exit_s: float) -> ServerInfo:
    place = Place.of(data_dir)
    deadline = time.monotonic() + START_S
    starts = 0
    while time.monotonic() < deadline:
        if (info := running(data_dir)) is not None:
            return info
        if lock_is_held(place):
            time.sleep(0.03)
        elif starts < 3:
            starts += 1
            _start(data_dir, idle_exit_s, deadline)
        else:
            break
    raise WarehouseUnusable(f"the embedded warehouse did not start{_log_tail(place)}", remedy=f"see {place.log}")


def _start(data_dir: Path, idle_exit_s: float, deadline: float) -> None:
    """Start a server and wait until it is ready or gone. It may lose the race for the lock: then another is up."""
    place = Place.of(data_dir)
    try:
        place.root.mkdir(parents=True, exist_ok=True)
        log = place.log.open("ab")
    except OSError as error:
        raise WarehouseUnusable(
            f"the data directory cannot be used: {error.strerror}", where=str(place.root), remedy="run.data_dir"
        ) from None
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "backfill.warehouse.embedded", "--data-dir", str(data_dir.resolve())]
    command += ["--idle-exit", str(idle_exit_s), "--ready-fd", str(writing), "--detach"]
    try:
        with log:
            # A session of its own: Ctrl-C in the terminal is for the command, not for the warehouse.
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                pass_fds=(writing,),
                start_new_session=True,
                check=False,
            )
        os.close(writing)
        select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(reading)


def _environment() -> dict[str, str]:
    """Ours, with this package in reach whatever the current directory is."""
    home = str(Path(__file__).resolve().parents[2])
    paths = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _answers(info: ServerInfo) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", info.port, timeout=5)
    try:
        link.request("GET", "/ping")
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def _log_tail(place: Place, lines: int = 5) -> str:
    try:
        text = place.log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "".join(f"\n  {line}" for line in text)
