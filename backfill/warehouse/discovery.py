"""The file that tells every command where the embedded warehouse listens, and the lock that says whether it lives.

The lock is the truth: the kernel drops it with its process, however that died, so a leftover file or a reused
process id cannot be mistaken for a server.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from backfill.files import try_lock


@dataclass(frozen=True)
class Place:
    """The files of one embedded warehouse, below the data directory."""

    root: Path

    @classmethod
    def of(cls, data_dir: Path) -> Place:
        """The place inside `data_dir`."""
        return cls(data_dir.resolve() / "warehouse")

    @property
    def store(self) -> Path:
        """ClickHouse's own directory."""
        return self.root / "clickhouse"

    @property
    def spool(self) -> Path:
        """Where bodies too large for memory wait; emptied at each start."""
        return self.root / "spool"

    @property
    def info(self) -> Path:
        """The discovery file (mode 0600: it holds the secret)."""
        return self.root / "server.json"

    @property
    def lock(self) -> Path:
        """Held exclusively while a server lives."""
        return self.root / "server.lock"

    @property
    def log(self) -> Path:
        """What the server has to say."""
        return self.root / "server.log"


@dataclass(frozen=True)
class ServerInfo:
    """How to reach the embedded warehouse. `ready` is false while it starts and after it left."""

    url: str
    user: str
    password: str = field(repr=False)
    pid: int
    port: int
    version: str
    ready: bool

    @property
    def url_with_secret(self) -> str:
        """The address with user and password inside, for curl and other clients."""
        return self.url.replace("://", f"://{quote(self.user)}:{quote(self.password)}@", 1)


def read_info(place: Place) -> ServerInfo | None:
    """The discovery file's content; None when there is none or it is not ours to understand."""
    try:
        return ServerInfo(**json.loads(place.info.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_info(place: Place, info: ServerInfo) -> None:
    """Replace the discovery file in one step; it never exists with a wider mode than 0600."""
    beside = place.info.with_suffix(f".{os.getpid()}.tmp")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(info), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(place.info)


def lock_is_held(place: Place) -> bool:
    """Whether a server holds the lock now (a shared try, so that askers do not disturb each other)."""
    try:
        with place.lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def hold_lock(place: Place, *, patience_s: float = 0.3) -> Iterator[bool]:
    """Hold the server's lock; yields False when another process has it.

    Patience covers askers, who hold a shared lock for an instant.
    """
    with place.lock.open("a") as file:
        yield try_lock(file.fileno(), time.monotonic() + patience_s)
