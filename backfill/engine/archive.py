"""Answers as they came, kept on disk, so that rows can be made of them again without asking anybody.

`raw/<track>/NNNN.pack` holds compressed bodies one behind the other; `raw/<track>/manifest.jsonl` has a line for each
page: where it is, its SHA-256, the cursor it was asked with, the moment it was kept. A page that was fetched twice
because of a crash stands there twice; the later one counts. A unit is whole when it has a page without a `next`: no
line sums it up, because a unit may be read by several processes. Two more kinds of lines: what the pages behind them
were asked with (`about`, opaque here), and that no more was kept because the room was used up (`full`).

One process writes, the one that holds the track. Nothing is synced: after a power cut a page may be damaged, which its
hash shows.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from backfill.engine.model import Unit
from backfill.engine.pipeline import Answered

PACK_BYTES = 256 * 2**20
GIGABYTE = 10**9
CODEC = "zstd"
MANIFEST = "manifest.jsonl"
STEPS = 256
"""How often the room that all tracks use is measured while it fills: each writes at most a 256th of it unmeasured."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One page as the manifest has it.

    `offset` and `size` are its place in the pack, `length` its bytes unpacked, `at` unix seconds (0 where that is not
    known). `about` is what stood in front of it in the manifest.
    """

    plan: str
    unit: int
    cursor: str | None
    next: str | None
    pack: str
    offset: int
    size: int
    length: int
    sha256: str
    at: int = 0
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)


LINE = tuple(each.name for each in fields(Kept) if each.name != "about")
NEEDED = frozenset(LINE) - {"at"}


class Archive:
    """The answers of one track, for the process that works on it.

    Args:
        most_bytes: what all tracks together may keep, packed, with their manifests.
        full: hears once, with the bytes used, that this is reached; from then on this process keeps nothing more.
        about: what a reader has to know to read the pages; JSON.
    """

    def __init__(
        self,
        folder: Path,
        track: str,
        plan_id: str,
        most_bytes: float,
        full: Callable[[int], None],
        about: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.home, self._root, self._plan = folder / track, folder, plan_id
        self._most, self._full, self._about, self._clock = most_bytes, full, dict(about or {}), clock
        self._lock = threading.Lock()
        self._used, self._unmeasured = used_bytes(folder), 0
        self._pack: Path | None = None
        self._begun = self._over = False

    def keep(self, unit: Unit, answered: Answered) -> None:
        """Keep one answer; in a thread.

        Raises:
            OSError: the disk does not take it. Then nothing of it is in the manifest, and it may be handed in again.
        """
        import pyarrow

        if self._over:
            return
        packed = pyarrow.compress(answered.body, codec=CODEC, asbytes=True)
        digest = hashlib.sha256(answered.body).hexdigest()
        with self._lock:
            if self._over:
                return
            self._begin()
            if not self._has_room(len(packed)):
                return self._close()
            pack = self._room(len(packed))
            place = (pack.name, _append(pack, packed), len(packed), len(answered.body), digest)
            kept = Kept(self._plan, unit.number, answered.cursor, answered.page.next, *place, int(self._clock()))
            self._note({name: getattr(kept, name) for name in LINE})
            self._unmeasured += len(packed)

    def _begin(self) -> None:
        """The first lines of this process; a last one that a crash has torn is closed, or it would swallow them."""
        if self._begun:
            return
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / MANIFEST
        if path.exists() and _last_byte(path) not in (b"", b"\n"):
            _append(path, b"\n")
        self._note({"plan": self._plan, "about": self._about})
        self._begun = True

    def _note(self, entry: Mapping[str, Any]) -> None:
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        _append(self.home / MANIFEST, line)
        self._unmeasured += len(line)

    def _has_room(self, size: int) -> bool:
        """Other tracks, and other processes, use the same room."""
        if self._unmeasured * STEPS >= self._most:
            self._used, self._unmeasured = used_bytes(self._root), 0
        return self._used + self._unmeasured + size <= self._most

    def _close(self) -> None:
        """Smaller answers might still fit, but a unit with holes is worth less than one that is told to be missing."""
        self._note({"plan": self._plan, "full": True})
        self._over = True
        self._full(self._used + self._unmeasured)

    def _room(self, size: int) -> Path:
        """The pack to append to."""
        if self._pack is None:
            packs = sorted(self.home.glob("*.pack"), key=lambda pack: int(pack.stem))
            self._pack = packs[-1] if packs else self.home / "0000.pack"
        if self._pack.exists() and self._pack.stat().st_size + size > PACK_BYTES:
            self._pack = self.home / f"{int(self._pack.stem) + 1:04}.pack"
        return self._pack


def _append(path: Path, content: bytes) -> int:
    """Append all of it or nothing; where it begins.

    Raises:
        OSError: the disk does not take it.
    """
    with path.open("ab", buffering=0) as file:
        offset, left = file.tell(), memoryview(content)
        try:
            while left:
                left = left[file.write(left) or 0 :]
        except OSError:
            # Half a line would swallow the next one. Where even this fails, the hash finds what is wrong.
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), offset)
            raise
    return offset


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return file.read(1)


def used_bytes(folder: Path) -> int:
    """What all tracks have kept so far, packed, with their manifests."""
    return sum(path.stat().st_size for name in ("*/*.pack", f"*/{MANIFEST}") for path in folder.glob(name))


def pages(home: Path) -> Iterator[Kept]:
    """The pages of one track that count, in the order in which they were kept.

    The manifest is read twice: first for where the last line of each page stands, which takes a hundred bytes or two of
    memory for a page.
    """
    latest = {_key(entry): offset for offset, entry in _entries(home) if "sha256" in entry}
    about: Mapping[str, Any] = {}
    for offset, entry in _entries(home):
        if "about" in entry:
            about = entry["about"]
        elif "sha256" in entry and latest[_key(entry)] == offset:
            yield Kept(**{name: entry[name] for name in LINE if name in entry}, about=about)


def cut_off(home: Path) -> frozenset[str]:
    """The plans of which not all answers were kept, because the room was used up."""
    return frozenset(str(entry["plan"]) for _, entry in _entries(home) if entry.get("full"))


def _key(entry: Mapping[str, Any]) -> bytes:
    text = orjson.dumps([entry["plan"], entry["unit"], entry["cursor"]])
    return hashlib.blake2b(text, digest_size=12).digest()


def _entries(home: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of the manifest with their offsets; one that a crash has torn is no line.

    Its page was not acknowledged: it was asked for again.
    """
    path, offset = home / MANIFEST, 0
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            with contextlib.suppress(orjson.JSONDecodeError):
                entry = orjson.loads(line)
                if _is_whole(entry):
                    yield offset, entry
            offset += len(line)


def _is_whole(entry: Any) -> bool:
    return isinstance(entry, dict) and ("sha256" not in entry or entry.keys() >= NEEDED)


def body(home: Path, kept: Kept) -> bytes:
    """The answer as it came.

    Raises:
        ValueError: the pack does not hold it any more.
        OSError: the pack cannot be read.
    """
    import pyarrow

    with (home / kept.pack).open("rb") as file:
        file.seek(kept.offset)
        packed = file.read(kept.size)
    where = f"{kept.pack} at {kept.offset}"
    if len(packed) < kept.size:
        raise ValueError(f"{where}: the pack ends before it does")
    try:
        found: bytes = pyarrow.decompress(packed, decompressed_size=kept.length, codec=CODEC, asbytes=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
    if hashlib.sha256(found).hexdigest() != kept.sha256:
        raise ValueError(f"{where}: not what was kept")
    return found
