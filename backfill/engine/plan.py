"""The immutable plan: which items each track asks for, cut into numbered units.

A plan is a header (`plan.json`, `plan.<track>.json`) and, in `plans/<id>/`, the items of each track, one a line and
all lines equally long: any unit is read at once, without converting anything. Units have equally many items, or as
many as a second file says, where the planner packed them by what there is to fetch. A plan's id is the hash of its
content and of the warehouse it was made for. What a track is asked beyond its share (items that the other track could
not map, or that came back short) is appended as further segments, each as immutable as the first; unit numbers go on
counting.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from backfill import files
from backfill.engine.model import Segment, Unit
from backfill.errors import StateError

VERSION = 1
ITEM_DIGITS = 78
"""Digits of the largest 256-bit number."""
CUT_DIGITS = 12
ID_LENGTH = 16
SHARED = "tokens"
"""The plan that several tracks share; it has the plain name."""


class Share(NamedTuple):
    """What one track is to ask for: items in order, `batch` of them in a unit, or as many as `sizes` says for each."""

    items: Sequence[int] | Sequence[str]
    batch: int
    sizes: Sequence[int] = ()


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
    """What a plan is made from: the share of each track.

    A plan of token ids is the same plan whenever it is made of the same ids; others are made anew for every occasion,
    so that their `created_at` is part of what they are.
    """

    warehouse: str
    split: str
    baseline: Mapping[str, Any]
    shares: Mapping[str, Share | tuple[Sequence[int], int]]
    created_at: str
    name: str = SHARED


class Items:
    """A file of lines of equal length, read in pieces when they are wanted: it opens at once and costs no memory."""

    def __init__(self, path: Path, width: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._width = width
        self._count = path.stat().st_size // width

    def __len__(self) -> int:
        return self._count

    def slice(self, start: int, end: int) -> tuple[str, ...]:
        """Items [start, end) as text."""
        raw = os.pread(self._file.fileno(), (end - start) * self._width, start * self._width)
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
    """The plans of one name in a checkpoint folder: of the tracks that share one, or of a track with its own."""

    def __init__(self, folder: Path, name: str = SHARED, remedy: str = "backfill setup --replace") -> None:
        self.folder, self.name, self.remedy = folder, name, f"{remedy} makes it anew"

    @property
    def header(self) -> Path:
        """The file that names the current plan."""
        return self.folder / ("plan.json" if self.name == SHARED else f"plan.{self.name}.json")

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
                remedy=self.remedy,
            ) from None

    @property
    def is_finished(self) -> bool:
        """Whether everything that the current plan led to has been done, so that another may take its place."""
        plan, path = self.current(), self.header.with_suffix(".finished")
        return plan is not None and path.exists() and path.read_text(errors="replace").strip() == plan.plan_id

    def finish(self, plan: Plan) -> None:
        """Everything that this plan led to has been done."""
        files.replace(self.header.with_suffix(".finished"), f"{plan.plan_id}\n".encode())

    def write(self, outline: Outline) -> Plan:
        """Write a plan and make it the current one."""
        plan = draft(outline)
        for name, packed in _packed(outline).items():
            stem = self.home(plan.plan_id) / f"{name}.0"
            _lay_down(stem, packed)
            files.replace(stem.with_name(f"{name}.0.json"), _header(plan.shares[name]))
        document = {
            "version": VERSION,
            **{k: getattr(plan, k) for k in ("plan_id", "warehouse", "split", "created_at")},
        }
        document["baseline"] = dict(plan.baseline)
        document["tracks"] = {name: asdict(share) for name, share in plan.shares.items()}
        files.replace(self.header, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return plan

    def past(self, plan_id: str, name: str) -> TrackPlan:
        """The segments of one track of any plan that was ever made here.

        Raises:
            StateError: there is none of this id any more.
        """
        path = self.home(plan_id) / f"{name}.0.json"
        try:
            share = Segment(**orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            raise StateError(
                "the plan is not there any more", where=str(path), remedy="it cannot be read again"
            ) from None
        return TrackPlan(self.home(plan_id), Plan(plan_id, "", "", "", {}, {name: share}), name, self.remedy)

    def track(self, plan: Plan, name: str) -> TrackPlan:
        """The segments of one track of the plan, checked against their digests.

        Raises:
            StateError: a file is missing or was changed.
        """
        if name not in plan.shares:
            raise StateError(f"plan {plan.plan_id} has no share for {name}", where=str(self.header), remedy=self.remedy)
        return TrackPlan(self.home(plan.plan_id), plan, name, self.remedy)


class TrackPlan:
    """All segments of one track, in the order of their unit numbers."""

    def __init__(self, home: Path, plan: Plan, name: str, remedy: str = "backfill setup --replace") -> None:
        self.plan_id, self.name, self._home, self._remedy = plan.plan_id, name, home, remedy
        self.segments: list[Segment] = []
        self._items: list[Items] = []
        self._cuts: list[Items | None] = []
        self._admit(plan.shares[name])
        self.refresh()

    def refresh(self) -> None:
        """Take in the segments that other processes have appended since."""
        while (path := self._home / f"{self.name}.{len(self.segments)}.json").exists():
            self._admit(Segment(**orjson.loads(path.read_bytes())))

    def _admit(self, segment: Segment) -> None:
        stem = f"{self.name}.{len(self.segments)}"
        items = self._opened(self._home / f"{stem}.ids", segment.width, segment.digest)
        cuts = self._opened(self._home / f"{stem}.cuts", CUT_DIGITS + 1, segment.cuts) if segment.cuts else None
        self.segments.append(segment)
        self._items.append(items)
        self._cuts.append(cuts)

    def _opened(self, path: Path, width: int, digest: str) -> Items:
        try:
            items = Items(path, width)
        except FileNotFoundError:
            raise StateError("a file of the plan is missing", where=str(path), remedy=self._remedy) from None
        if items.digest() != digest:
            raise StateError("a file of the plan was changed", where=str(path), remedy=self._remedy)
        return items

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
        packed = pack(Share(sorted(items), batch))
        segment = make_segment(kind, packed, batch, first_unit=self.units_total, origin=origin, reason=reason)
        stem = f"{self.name}.{len(self.segments)}"
        _lay_down(self._home / stem, packed)
        files.replace(self._home / f"{stem}.json", _header(segment))
        self._admit(segment)
        return segment

    def unit(self, number: int) -> Unit:
        """The unit of this number.

        Raises:
            IndexError: there is no such unit.
        """
        for segment, items, cuts in zip(self.segments, self._items, self._cuts, strict=True):
            at = number - segment.first_unit
            if 0 <= at < segment.units:
                bounds = (at * segment.batch, (at + 1) * segment.batch)
                if cuts is not None:
                    start, *end = map(int, cuts.slice(at, at + 2))
                    bounds = (start, end[0] if end else segment.tokens)
                return Unit(number, items.slice(*bounds), repeat=segment.kind == "recheck")
        raise IndexError(number)

    def items(self, segment: Segment) -> tuple[str, ...]:
        """All items of a segment."""
        return self._items[self.segments.index(segment)].slice(0, segment.tokens)


class Packed(NamedTuple):
    """A share as the bytes of its files; `cuts` is None where all units are equally large."""

    items: bytes
    width: int
    cuts: bytes | None
    units: int


def pack(share: Share) -> Packed:
    """Items as lines of equal length, and where each unit begins."""
    texts = [str(item) for item in share.items]
    width = max(map(len, texts), default=0) if texts and isinstance(share.items[0], str) else ITEM_DIGITS
    items = "".join(f"{text:>{width}}\n" for text in texts).encode("ascii")
    if not share.sizes:
        return Packed(items, width + 1, None, -(-len(texts) // share.batch))
    starts = [0, *accumulate(share.sizes)]
    if starts.pop() != len(texts):
        raise ValueError(f"the units are to hold {sum(share.sizes)} items, but there are {len(texts)}")
    cuts = "".join(f"{start:>{CUT_DIGITS}}\n" for start in starts).encode("ascii")
    return Packed(items, width + 1, cuts, len(starts))


def _header(segment: Segment) -> bytes:
    return orjson.dumps(asdict(segment), option=orjson.OPT_APPEND_NEWLINE)


def _lay_down(stem: Path, packed: Packed) -> None:
    files.replace(stem.with_name(f"{stem.name}.ids"), packed.items)
    if packed.cuts is not None:
        files.replace(stem.with_name(f"{stem.name}.cuts"), packed.cuts)


def _packed(outline: Outline) -> dict[str, Packed]:
    return {name: pack(Share(*share)) for name, share in outline.shares.items()}


def make_segment(
    kind: str, packed: Packed, batch: int, *, first_unit: int = 0, origin: str = "", reason: str = ""
) -> Segment:
    """Describe packed items as a segment."""
    tokens = len(packed.items) // packed.width
    digest = hashlib.sha256(packed.items).hexdigest()
    cuts = "" if packed.cuts is None else hashlib.sha256(packed.cuts).hexdigest()
    return Segment(kind, first_unit, packed.units, tokens, batch, origin, reason, digest, packed.width, cuts)


def draft(outline: Outline) -> Plan:
    """The plan that `write` would write. The baseline figures are not part of its identity."""
    packed = _packed(outline)
    segments = {name: make_segment("primary", packed[name], outline.shares[name][1]) for name in packed}
    identity: dict[str, Any] = {
        "version": VERSION,
        "warehouse": outline.warehouse,
        "split": outline.split,
        "tracks": {name: [segment.batch, segment.tokens, segment.digest] for name, segment in sorted(segments.items())},
    }
    if outline.name != SHARED:
        identity |= {"name": outline.name, "made": outline.created_at}
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
