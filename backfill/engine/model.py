"""The frozen values that travel through the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of the plan: its number, and the items (ids, as text) that it asks for.

    A `repeat` asks again for items that another unit has asked for; they count as processed once.
    """

    number: int
    items: tuple[str, ...]
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, relative to the upstream's base address; `asked` counts the items in it.

    `absent_ok`: a 404 means that there is no such thing, and is read as an empty body; else it is a sign of trouble.
    """

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    asked: int = 0
    absent_ok: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row that was not let in: `cls` groups the reasons, `raw` is the row as it came.

    `cls` is one of: contract, conflict, disproven, unreadable, refused, import. `plan` is the plan that the unit is of;
    whoever keeps the letter says it, and a letter of old may lack it.
    """

    track: str
    unit: int
    cls: str
    reason: str
    raw: str
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer became. `lines` are rows in JSONEachRow; decoded rows = lines + letters.

    `asked` counts the items that this page settles; `next` is the cursor of the following page, None at the end.
    `asides` are rows of other tables, by table; they are durable before the page counts, as the lines are.
    """

    lines: Sequence[bytes]
    asked: int
    letters: Sequence[DeadLetter] = ()
    next: str | None = None
    asides: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a unit could not be done, after how many attempts. `cls` is refused, unreadable, unavailable or too_large."""

    cls: str
    error: str
    attempts: int


@dataclass(slots=True)
class Counters:
    """What a track has done so far, in items; exact at completion."""

    processed: int = 0
    inserted: int = 0
    quarantined: int = 0
    retries: int = 0
    throttled: int = 0


class Lane(Protocol):
    """A track's knowledge, pure: which request comes next, and how bytes become rows."""

    name: str

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """The request for this page of the unit."""

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """Turn an answer into a page.

        Raises:
            Unreadable: the answer as a whole breaks the contract.
        """

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """A cursor that asks for less than `cursor` did; None when it cannot be less."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a track's units, made at one moment and never changed.

    `kind` is primary, recheck (asked again after a short answer) or handover (from another track, `origin`). `tokens`
    counts the items, `width` is the length of an item's line in bytes. Units have `batch` items each, unless `cuts` is
    set: the digest of the file that says where each unit begins.
    """

    kind: str
    first_unit: int
    units: int
    tokens: int
    batch: int
    origin: str = ""
    reason: str = ""
    digest: str = field(default="")
    width: int = 79
    cuts: str = ""
