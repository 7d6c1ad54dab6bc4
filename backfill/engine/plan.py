"""The immutable plan: which items each track asks for, cut into numbered units.

A plan is a header (`plan.json`) and, in `plans/<id>/`, the items of each track as decimal numbers, one a line and all
lines equally long: any unit is read at once, without converting anything. Its id is the hash of its content and of the
warehouse it was made for. What a track is asked beyond its share (items that the other track could not map, or that
came back short) is appended as further segments, each as immutable as the first; unit numbers go on counting.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from backfill import files
from backfill.engine.model import Segment, Unit
from backfill.errors import StateError

VERSION = 1
ITEM_DIGITS = 78
"""Digits of the largest 256-bit number."""
ITEM_BYTES = ITEM_DIGITS + 1
ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """The header of a plan; `shares` are the primary segments by track, `baseline` the figures at planning time."""

    plan_id: str
    warehouse: str
    split: str
    created_at: str
    baseline: Mapping[str, Any]
    shares: Mapping[str, Segment]


@dataclass(frozen=True, slots=True)
class Outline:
    """What a plan is made from; `shares` are items (ascending) and batch size by track."""

    warehouse: str
    split: str
    baseline: Mapping[str, Any]
    shares: Mapping[str, tuple[Sequence[int], int]]
    created_at: str


class Items:
    """A file of items, read in pieces when they are wanted: a plan of any size opens at once and costs no memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._count = path.stat().st_size // ITEM_BYTES

    def __len__(self) -> int:
        return self._count

    def slice(self, start: int, end: int) -> tuple[str, ...]:
        """Items [start, end) as decimal text."""
        raw = os.pread(self._file.fileno(), (end - start) * ITEM_BYTES, start * ITEM_BYTES)
        return tuple(raw.decode("ascii").split())

    def digest(self) -> str:
        """SHA-256 of the content."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __del__(self) -> None:
        self.close()


class PlanBook:
    """Plans in a checkpoint folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def header(self) -> Path:
        """The file that names the current plan."""
        return self.folder / "plan.json"

    def home(self, plan_id: str) -> Path:
        """Where the items of a plan stand."""
        return self.folder / "plans" / plan_id

    def current(self) -> Plan | None:
        """The current plan, None when none was made.

        Raises:
            StateError: the header cannot be read, or is of another version.
        """
        if not self.header.exists():
            return None
        try:
            document = orjson.loads(self.header.read_bytes())
            if document["version"] != VERSION:
                raise StateError(
                    f"plan version {document['version']}, this program writes {VERSION}", where=str(self.header)
                )
            shares = {name: Segment(**entry) for name, entry in document["tracks"].items()}
            keys = ("plan_id", "warehouse", "split", "created_at", "baseline")
            return Plan(**{key: document[key] for key in keys}, shares=shares)
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise StateError(
                f"cannot be read: {type(error).__name__}: {error}",
                where=str(self.header),
                remedy="backfill setup --replace makes it anew",
            ) from None

    def write(self, outline: Outline) -> Plan:
        """Write a plan and make it the current one."""
        plan = draft(outline)
        for name, (items, _) in outline.shares.items():
            files.replace(self.home(plan.plan_id) / f"{name}.0.ids", pack(items))
        document = {
            "version": VERSION,
            **{k: getattr(plan, k) for k in ("plan_id", "warehouse", "split", "created_at")},
        }
        document["baseline"] = dict(plan.baseline)
        document["tracks"] = {name: asdict(share) for name, share in plan.shares.items()}
        files.replace(self.header, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return plan

    def track(self, plan: Plan, name: str) -> TrackPlan:
        """The segments of one track of the plan, checked against their digests.

        Raises:
            StateError: a file is missing or was changed.
        """
        if name not in plan.shares:
            raise StateError(
                f"plan {plan.plan_id} has no share for {name}", where=str(self.header), remedy="backfill setup"
            )
        return TrackPlan(self.home(plan.plan_id), plan, name)


class TrackPlan:
    """All segments of one track, in the order of their unit numbers."""

    def __init__(self, home: Path, plan: Plan, name: str) -> None:
        self.plan_id, self.name, self._home = plan.plan_id, name, home
        self.segments: list[Segment] = []
        self._items: list[Items] = []
        self._admit(plan.shares[name])
        self.refresh()

    def refresh(self) -> None:
        """Take in the segments that other processes have appended since."""
        while (path := self._home / f"{self.name}.{len(self.segments)}.json").exists():
            self._admit(Segment(**orjson.loads(path.read_bytes())))

    def _admit(self, segment: Segment) -> None:
        path = self._home / f"{self.name}.{len(self.segments)}.ids"
        try:
            items = Items(path)
        except FileNotFoundError:
            raise StateError(
                "a file of the plan is missing", where=str(path), remedy="backfill setup --replace"
            ) from None
        if items.digest() != segment.digest:
            raise StateError("a file of the plan was changed", where=str(path), remedy="backfill setup --replace")
        self.segments.append(segment)
        self._items.append(items)

    @property
    def units_total(self) -> int:
        """Units over all segments."""
        last = self.segments[-1]
        return last.first_unit + last.units

    @property
    def tokens_total(self) -> int:
        """Different items this track has to answer for: rechecks ask for the same ones again."""
        return sum(segment.tokens for segment in self.segments if segment.kind != "recheck")

    def find(self, kind: str, origin: str = "") -> Segment | None:
        """The segment of this kind and origin."""
        return next((s for s in self.segments if s.kind == kind and s.origin == origin), None)

    def append(self, kind: str, items: Iterable[int], batch: int, *, origin: str = "", reason: str = "") -> Segment:
        """Add a segment; when there is one of this kind and origin already, that one stands."""
        self.refresh()
        if (there := self.find(kind, origin)) is not None:
            return there
        packed = pack(sorted(items))
        segment = make_segment(kind, packed, batch, first_unit=self.units_total, origin=origin, reason=reason)
        stem = f"{self.name}.{len(self.segments)}"
        files.replace(self._home / f"{stem}.ids", packed)
        files.replace(self._home / f"{stem}.json", orjson.dumps(asdict(segment), option=orjson.OPT_APPEND_NEWLINE))
        self._admit(segment)
        return segment

    def unit(self, number: int) -> Unit:
        """The unit of this number.

        Raises:
            IndexError: there is no such unit.
        """
        for segment, items in zip(self.segments, self._items, strict=True):
            at = number - segment.first_unit
            if 0 <= at < segment.units:
                stretch = items.slice(at * segment.batch, (at + 1) * segment.batch)
                return Unit(number, stretch, repeat=segment.kind == "recheck")
        raise IndexError(number)

    def items(self, segment: Segment) -> tuple[str, ...]:
        """All items of a segment."""
        return self._items[self.segments.index(segment)].slice(0, segment.tokens)


def pack(items: Iterable[int]) -> bytes:
    """Items as lines of equal length."""
    return "".join(f"{item:>{ITEM_DIGITS}}\n" for item in items).encode("ascii")


def make_segment(
    kind: str, packed: bytes, batch: int, *, first_unit: int = 0, origin: str = "", reason: str = ""
) -> Segment:
    """Describe packed items as a segment."""
    tokens = len(packed) // ITEM_BYTES
    digest = hashlib.sha256(packed).hexdigest()
    return Segment(kind, first_unit, -(-tokens // batch), tokens, batch, origin, reason, digest)


def draft(outline: Outline) -> Plan:
    """The plan that `write` would write. The time and the baseline figures are not part of its identity."""
    segments = {name: make_segment("primary", pack(items), batch) for name, (items, batch) in outline.shares.items()}
    identity = {
        "version": VERSION,
        "warehouse": outline.warehouse,
        "split": outline.split,
        "tracks": {name: [segment.batch, segment.tokens, segment.digest] for name, segment in sorted(segments.items())},
    }
    plan_id = hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()[:ID_LENGTH]
    return Plan(plan_id, outline.warehouse, outline.split, outline.created_at, outline.baseline, segments)


def split_items(items: Sequence[int], weights: Mapping[str, float]) -> dict[str, Sequence[int]]:
    """Cut `items` into consecutive stretches in proportion to `weights`; nothing is lost to rounding."""
    total, start, passed = sum(weights.values()), 0, 0.0
    shares: dict[str, Sequence[int]] = {}
    for name, weight in weights.items():
        passed += weight
        end = round(len(items) * passed / total)
        shares[name] = items[start:end]
        start = end
    return shares
