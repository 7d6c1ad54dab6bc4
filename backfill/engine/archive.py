"""Answers as they came, kept on disk, so that rows can be made of them again without asking anybody.

`raw/<track>/NNNN.pack` holds compressed bodies one behind the other; `raw/<track>/manifest.jsonl` has a line for each
page (where it is, its SHA-256, the cursor it was asked with) and, when a unit is through, one that sums the unit up. A
page that was fetched twice because of a crash stands there twice; the later one counts. One process writes, the one
that holds the track.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from backfill.engine.model import Unit
from backfill.engine.pipeline import Answered

PACK_BYTES = 256 * 2**20
GIGABYTE = 10**9
CODEC = "zstd"


@dataclass(frozen=True, slots=True)
class Kept:
    """One page as the manifest has it; `offset` and `size` are its place in the pack, `length` its bytes unpacked."""

    plan: str
    unit: int
    cursor: str | None
    next: str | None
    pack: str
    offset: int
    size: int
    length: int
    sha256: str


class Archive:
    """The answers of one track.

    Args:
        most_bytes: what all tracks together may keep, packed.
        full: hears once that this is reached; from then on nothing more is kept.
    """

    def __init__(self, folder: Path, track: str, plan_id: str, most_bytes: float, full: Callable[[int], None]) -> None:
        self.home, self._root, self._plan = folder / track, folder, plan_id
        self._most, self._full, self._told = most_bytes, full, False
        self._lock = threading.Lock()
        self._pages: dict[int, list[int]] = {}
        self._used = used_bytes(folder)
        self._pack: Path | None = None
        self._mended = False

    def keep(self, unit: Unit, answered: Answered) -> None:
        """Keep one answer; in a thread.

        Raises:
            OSError: the disk does not take it.
        """
        import pyarrow

        packed = pyarrow.compress(answered.body, codec=CODEC, asbytes=True)
        digest = hashlib.sha256(answered.body).hexdigest()
        with self._lock:
            if self._used + len(packed) > self._most:
                return self._tell()
            pack = self._room(len(packed))
            place = (pack.name, _add(pack, packed), len(packed), len(answered.body), digest)
            kept = Kept(self._plan, unit.number, answered.cursor, answered.page.next, *place)
            _add(self._manifest(), b"".join([_line(kept), *self._summed_up(kept)]))
            self._used += len(packed)

    def _manifest(self) -> Path:
        """The manifest; a last line that a crash has torn is closed, or it would swallow the next."""
        path = self.home / "manifest.jsonl"
        if not self._mended:
            self._mended = True
            if path.exists() and (content := path.read_bytes()[-1:]) and content != b"\n":
                _add(path, b"\n")
        return path

    def _summed_up(self, kept: Kept) -> Iterator[bytes]:
        """The line about a unit that is through; its pages of an earlier process are in the manifest themselves."""
        sizes = self._pages.setdefault(kept.unit, [])
        sizes.append(kept.length)
        if kept.next is None:
            told = {"plan": kept.plan, "unit": kept.unit, "complete": True, "pages": len(sizes), "bytes": sum(sizes)}
            del self._pages[kept.unit]
            yield orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)

    def _room(self, size: int) -> Path:
        """The pack to append to."""
        self.home.mkdir(parents=True, exist_ok=True)
        if self._pack is None:
            packs = sorted(self.home.glob("*.pack"))
            self._pack = packs[-1] if packs else self.home / "0000.pack"
        if self._pack.exists() and self._pack.stat().st_size + size > PACK_BYTES:
            self._pack = self.home / f"{int(self._pack.stem) + 1:04}.pack"
        return self._pack

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._full(self._used)


def _add(path: Path, content: bytes) -> int:
    """Append, without a sync: what a power cut takes can be fetched again. Where the content begins."""
    with path.open("ab") as file:
        offset = file.tell()
        file.write(content)
    return offset


def _line(kept: Kept) -> bytes:
    return orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)


def used_bytes(folder: Path) -> int:
    """What all tracks have kept so far, packed."""
    return sum(path.stat().st_size for path in folder.glob("*/*.pack"))


def pages(home: Path) -> Iterator[Kept]:
    """The pages of one track that count, unit by unit in the order in which they were asked."""
    latest: dict[tuple[str, int, str | None], Kept] = {}
    path = home / "manifest.jsonl"
    if path.exists():
        for line in path.read_bytes().splitlines():
            entry = _read(line)
            if entry is not None:
                latest.pop((entry.plan, entry.unit, entry.cursor), None)
                latest[entry.plan, entry.unit, entry.cursor] = entry
    yield from latest.values()


def _read(line: bytes) -> Kept | None:
    """A page's line; None for a unit's, and for one that a crash has torn."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return Kept(**document) if "sha256" in document else None


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
    try:
        found: bytes = pyarrow.decompress(packed, decompressed_size=kept.length, codec=CODEC, asbytes=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{kept.pack} at {kept.offset}: {error}") from None
    if hashlib.sha256(found).hexdigest() != kept.sha256:
        raise ValueError(f"{kept.pack} at {kept.offset}: not what was kept")
    return found
