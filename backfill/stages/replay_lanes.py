"""Refused rows of the lanes, once more by the rules of today.

A row is best read with the answers of its unit: only there does it have the place that names it, and only there is seen
whether it is still refused. Where those were not kept, a row that can stand alone is read alone.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from backfill.config import Config
from backfill.engine import archive
from backfill.engine.archive import Kept
from backfill.engine.checkpoint import CheckpointFile, lock_path
from backfill.engine.deadletters import DeadLetters
from backfill.engine.model import Page, Unit
from backfill.engine.plan import PlanBook
from backfill.errors import BackfillError, StateError
from backfill.files import held
from backfill.log import Logger
from backfill.stages.kept import Reader, Unkept
from backfill.stages.rederive import INSERT_ROWS, Writer, current_of, settled
from backfill.tracks import catalog
from backfill.tracks.track import Replayable
from backfill.warehouse.client import Warehouse

Letter = Mapping[str, Any]
NO_PLAN = "it does not say of which plan it is; backfill rederive reads every answer that was kept"
ASK_AGAIN = "its unit was not read to the end; backfill retry-failed, then a run, asks again"


class Replayed(NamedTuple):
    """The ids of letters that passed, and the reasons of those that did not, by id."""

    passed: list[str]
    refused: dict[str, str]


class Place(NamedTuple):
    """Where a letter comes from."""

    plan: str
    unit: int


class Again(NamedTuple):
    """A page to write, with the plan it is of and when its answer came (unix seconds)."""

    plan: str
    at: int
    page: Page


@dataclass(slots=True)
class LaneReplay:
    """The replay of one track's letters; nobody else may be working on the track."""

    config: Config
    warehouse: Warehouse
    name: str
    log: Logger
    dry_run: bool
    passed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    async def run(self, letters: Sequence[Letter]) -> Replayed:
        """Do it.

        Raises:
            TrackHeld: a run works on the track.
        """
        with held(lock_path(self.config.run.checkpoint_dir, self.name), what=self.name):
            groups, reader = self._grouped(letters), Reader(self.config, self.name)
            pages = await asyncio.to_thread(_pages_of, reader, groups)
            writer = Writer(self.config, self.warehouse, self.name, self.log)
            await writer.prepare(reader.track.table, reader.track.columns)
            for place, mine in groups.items():
                for again in await asyncio.to_thread(self._judge, reader, place, mine, pages.get(place, [])):
                    if not self.dry_run:
                        writer.add(*again)
                if writer.rows >= INSERT_ROWS:
                    await writer.flush()
            if self.passed and not self.dry_run:
                # First the rows are durable and in their place; a crash before the letters go changes nothing.
                await writer.flush()
                await settled(self.config, self.warehouse, catalog.dataset_of(self.name), self.log)
                DeadLetters(self.config.run.data_dir).remove(self.name, self.passed)
        return Replayed(self.passed, self.refused)

    def _grouped(self, letters: Sequence[Letter]) -> dict[Place, list[Letter]]:
        groups: dict[Place, list[Letter]] = {}
        for letter in letters:
            if plan := str(letter.get("plan", "")):
                groups.setdefault(Place(plan, int(letter["unit"])), []).append(letter)
            else:
                self.refused[letter["id"]] = NO_PLAN
        return groups

    def _judge(self, reader: Reader, place: Place, letters: Sequence[Letter], pages: Sequence[Kept]) -> list[Again]:
        """In a thread: what is to be written, for the letters of one unit."""
        found = self._with_its_unit(reader, letters, pages)
        return self._alone(reader, place, letters) if found is None else found

    def _with_its_unit(self, reader: Reader, letters: Sequence[Letter], pages: Sequence[Kept]) -> list[Again] | None:
        """Judge letters by the answers of their unit; None when those are not all there."""
        if not any(kept.next is None for kept in pages):
            return None
        try:
            read = [Again(kept.plan, kept.at, reader.page(kept)) for kept in pages]
        except Unkept as trouble:
            self.log.warning("page_not_read", unit=pages[0].unit, trouble=trouble.kind, error=str(trouble))
            return None
        reasons = {letter.raw: letter.reason for again in read for letter in again.page.letters}
        passed = [letter["id"] for letter in letters if letter["raw"] not in reasons]
        self.refused |= {each["id"]: reasons[each["raw"]] for each in letters if each["raw"] in reasons}
        self.passed += passed
        return read if passed else []

    def _alone(self, reader: Reader, place: Place, letters: Sequence[Letter]) -> list[Again]:
        found: list[Again] = []
        for letter in letters:
            try:
                again = self._one(reader, place, letter)
            except ValueError as error:
                self.refused[letter["id"]] = str(error)
            else:
                self.passed.append(letter["id"])
                found += again
        return found

    def _one(self, reader: Reader, place: Place, letter: Letter) -> list[Again]:
        """What a letter becomes by itself.

        Raises:
            ValueError: it stays refused; the text says why.
        """
        cls = letter["class"]
        if cls == "unreadable" and self._is_done(place):
            return []  # the unit was asked again since, and that answer could be read
        if cls == "conflict":
            raise ValueError("two answers differ, and those that would decide were not kept")
        if cls != "contract":
            raise ValueError(ASK_AGAIN)
        lane = reader.lane({})
        if not isinstance(lane, Replayable):
            raise ValueError("the answers of its unit were not kept, and a row of this track cannot be read alone")
        page = _parsed(lane, _unit(self.config, self.name, place), letter["raw"])
        return [Again(place.plan, _moment(letter), page)]

    def _is_done(self, place: Place) -> bool:
        plan = current_of(self.config, self.name)
        if plan is None or plan.plan_id != place.plan:
            return False
        file = CheckpointFile(self.config.run.checkpoint_dir, self.name)
        try:
            return place.unit in file.peek(plan.plan_id, warn=lambda _: None).done
        except StateError:
            return False  # a run says so; this letter stays


def _pages_of(reader: Reader, groups: Mapping[Place, object]) -> dict[Place, list[Kept]]:
    """The kept pages of these units."""
    pages: dict[Place, list[Kept]] = {}
    for kept in archive.pages(reader.home):
        if (place := Place(kept.plan, kept.unit)) in groups:
            pages.setdefault(place, []).append(kept)
    return pages


def _unit(config: Config, name: str, place: Place) -> Unit:
    try:
        return PlanBook(config.run.checkpoint_dir).past(place.plan, name).unit(place.unit)
    except (StateError, IndexError) as error:
        raise ValueError(f"the plan of its unit is not there any more: {error}") from None


def _parsed(lane: Any, unit: Unit, raw: str) -> Page:
    """A row alone as a page of its lane.

    Raises:
        ValueError: it is refused.
    """
    row = orjson.loads(raw)
    if not isinstance(row, dict):
        raise ValueError("not a row")
    try:
        envelope = lane.envelope(unit, row)
        page: Page = lane.parse(unit, envelope.cursor, envelope.body)
    except BackfillError as error:
        raise ValueError(str(error)) from None
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from None
    if page.letters:
        raise ValueError(page.letters[0].reason)
    return page


def _moment(letter: Letter) -> int:
    """When a letter was written: its answer came just before."""
    return int(dt.datetime.fromisoformat(str(letter["at"])).timestamp())
