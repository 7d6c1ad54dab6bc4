"""The embedded warehouse: a process that owns a data directory and serves it as ClickHouse on loopback.

    python -m backfill.warehouse.embedded --data-dir data --idle-exit 600

It is started by `backfill.warehouse.launcher`; started by hand it does the same, in the foreground. It leaves when
nobody asked it anything for a while, when it is told to (SIGTERM), and when its directory is taken away.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.warehouse.discovery import Place, ServerInfo, hold_lock, read_info, write_info
from backfill.warehouse.embedded_repair import forget_unborn

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from backfill.warehouse.embedded_http import Door

HOST = "127.0.0.1"
USER = "default"
DEFAULT_MEMORY_MB = 2048
MAX_ADDRESS = 1 << 20
LOG_KEPT = 4 << 20

log = logging.getLogger("warehouse")


def main(argv: list[str] | None = None) -> int:
    """Serve until it is time to go. 0: done, or another server has this directory already; 1: could not."""
    options = _options(argv)
    place = Place.of(options.data_dir)
    place.root.mkdir(parents=True, exist_ok=True)
    if options.detach:
        _detach()
    _log_to(place.log)
    with hold_lock(place) as held:
        if not held:
            log.info("another server has %s", place.root)
            return 0
        try:
            asyncio.run(_serve(place, options))
        except Exception:
            log.exception("could not serve %s", place.root)
            return 1
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="backfill.warehouse.embedded", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--idle-exit", type=float, default=600, help="seconds without a request")
    parser.add_argument("--memory-mb", type=int, default=DEFAULT_MEMORY_MB, help="what ClickHouse may use")
    parser.add_argument("--ready-fd", type=int, default=-1, help="told once requests are answered; closed at the end")
    parser.add_argument("--detach", action="store_true", help="go on in the background, child of nobody")
    return parser.parse_args(argv)


def _detach() -> None:
    """The starter must neither wait for us nor keep our corpse; before any thread exists, so a fork is safe."""
    if os.fork():
        os._exit(0)


def _log_to(path: Path) -> None:
    if path.exists() and path.stat().st_size > LOG_KEPT:
        path.replace(path.with_suffix(".log.1"))
    logging.basicConfig(
        filename=path, level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s", force=True
    )


async def _serve(place: Place, options: argparse.Namespace) -> None:
    # Decided before the engine starts: ClickHouse takes its time zone from here, and every time of ours is UTC.
    os.environ["TZ"] = "UTC"
    before = read_info(place)
    info = ServerInfo(
        url="",
        user=USER,
        password=before.password if before else secrets.token_hex(16),
        pid=os.getpid(),
        port=before.port if before else 0,
        version="",
        ready=False,
    )
    write_info(place, info)
    shutil.rmtree(place.spool, ignore_errors=True)
    place.spool.mkdir()
    # Rows wait here for ClickHouse under relative names; and no directory of the user's is kept busy.
    os.chdir(place.spool)
    await _serve_engine(place, info, options)


async def _serve_engine(place: Place, info: ServerInfo, options: argparse.Namespace) -> None:
    from backfill.warehouse.embedded_engine import Engine
    from backfill.warehouse.embedded_http import Door, Login

    if unborn := forget_unborn(place.store):
        log.info("%d inserts were named but never came into place: forgotten", unborn)
    engine = Engine(place.store, place.spool, memory_bytes=options.memory_mb << 20)
    door = Door(engine, Login(info.user, info.password), place.spool)
    leave = _on_signal()
    runner, port = await _listen(door.app(), info.port)
    info = replace(info, port=port, url=f"http://{HOST}:{port}", version=engine.version, ready=True)
    write_info(place, info)
    _tell(options.ready_fd)
    log.info("ready on port %d, ClickHouse %s", port, engine.version)
    await _stay(place, door, engine.expire_sessions, leave, options.idle_exit)
    log.info("leaving")
    await runner.cleanup()
    door.close()
    engine.close()
    if place.info.exists():
        write_info(place, replace(info, ready=False))


def _on_signal() -> asyncio.Event:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    return leave


async def _listen(app: web.Application, wanted: int) -> tuple[web.AppRunner, int]:
    """Listen on the port of last time, so that a printed address stays good, or on a free one."""
    from aiohttp import web

    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        max_line_size=MAX_ADDRESS,
        max_field_size=MAX_ADDRESS,
        shutdown_timeout=10,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, wanted).start()
    except OSError:
        log.info("port %d is taken", wanted)
        await web.TCPSite(runner, HOST, 0).start()
    port = runner.addresses[0][1]
    return runner, int(port)


def _tell(ready_fd: int) -> None:
    if ready_fd >= 0:
        with contextlib.suppress(OSError):
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)


async def _stay(place: Place, door: Door, sweep: Callable[[], None], leave: asyncio.Event, idle_exit_s: float) -> None:
    pause = min(5.0, idle_exit_s / 4)
    while door.idle_s() < idle_exit_s and place.info.exists():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leave.wait(), pause)
            return
        sweep()


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not sys.exit: ClickHouse's threads may outlive the interpreter, and everything is closed by now.
    sys.stdout.flush()
    os._exit(code)
