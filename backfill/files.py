"""Files that are whole or not there: write beside, sync, rename; and locks that die with their holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from backfill.errors import TrackHeld

PATIENCE_S = 0.2


def replace(path: Path, content: bytes, *, durable: bool = True, keep: Path | None = None) -> None:
    """Put `content` at `path` in one step.

    Args:
        durable: sync file and folder, so that the new content survives a power cut.
        keep: the file that was at `path` stays available there.

    Raises:
        OSError: the disk is full, or the folder is not ours to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as handle:
            handle.write(content)
            handle.flush()
            if durable:
                os.fsync(handle.fileno())
        if keep is not None and path.exists():
            _link_over(path, keep)
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def _link_over(path: Path, keep: Path) -> None:
    """`keep` becomes a second name of what `path` is now; `path` itself is never absent."""
    spare = keep.with_name(f".{keep.name}.{os.getpid()}.tmp")
    spare.unlink(missing_ok=True)
    os.link(path, spare)
    spare.rename(keep)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(path: Path, content: bytes) -> None:
    """Append and sync. A torn last line of an earlier crash is closed first, so that it cannot swallow ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as handle:
        if handle.tell() > 0:
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":
                content = b"\n" + content
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


@contextlib.contextmanager
def held(path: Path, *, what: str) -> Iterator[None]:
    """Hold an exclusive lock for as long as the block runs; the system frees it when the process dies.

    Raises:
        TrackHeld: somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not try_lock(handle, time.monotonic() + PATIENCE_S):
            owner = os.read(handle, 64).decode(errors="replace").strip()
            raise TrackHeld(
                f"another process holds it{f' (pid {owner})' if owner else ''}",
                where=what,
                remedy="wait for it, or stop it; see backfill status",
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def try_lock(handle: int, until: float) -> bool:
    """Take the lock before `until` (monotonic seconds); False when somebody else keeps it.

    A moment of patience is due, because those who ask whether it is held share it for an instant.
    """
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(PATIENCE_S / 10)


def is_held(path: Path) -> bool:
    """Whether some living process holds the lock at `path`."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
