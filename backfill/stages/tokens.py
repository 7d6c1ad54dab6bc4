"""Phases 1 and 2: both token tracks side by side, and what each could not map handed to the other.

Each track goes through the same story: its own share; what came back short once more, where a short answer proves
nothing; then everything it has no believable answer for goes to the other track; then whatever the other has sent here.
An unusable upstream skips its part of the story, so that its whole share moves over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from backfill.engine.deadletters import DeadLetters, Tally, letter_id
from backfill.engine.model import DeadLetter, Segment
from backfill.engine.stop import StopSignal
from backfill.errors import UpstreamUnusable
from backfill.stages.judging import Judges
from backfill.stages.legs import Runner, finish, work
from backfill.stages.proofs import prove_staging
from backfill.tracks.tokens import SPARSE, TokenTrack
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from backfill.warehouse.patience import patiently

PROVE_EVERY_S = 5.0
SPARSE_PART = 4


TokenRunner = Runner[TokenTrack]


@dataclass(slots=True)
class Relay:
    """The tracks of one run, and what they pass each other.

    `others` are the plan's tracks that do not run in this process; what they handed over earlier is taken up.
    """

    runners: dict[str, TokenRunner]
    others: tuple[str, ...]
    warehouse: Warehouse
    letters: DeadLetters
    stop: StopSignal
    proving: asyncio.Lock = field(default_factory=asyncio.Lock)
    judges: Judges | None = None

    async def run(self) -> None:
        """Run every track's story to its end, or until the run is stopping."""
        for runner in self.runners.values():
            self._reclaim(runner)
        async with Judges() as self.judges, asyncio.TaskGroup() as group:
            along = group.create_task(self._prove_along(), name="proving")
            async with asyncio.TaskGroup() as stories:
                for runner in self.runners.values():
                    stories.create_task(self._story(runner), name=runner.track.name)
            along.cancel()

    def _reclaim(self, runner: TokenRunner) -> None:
        """A share that moved away and was not worked off there is tried here again: both may have changed since."""
        if isinstance(runner.door, UpstreamUnusable) or not runner.desk.progress.moved:
            return
        for other in self.runners.values():
            segment = other.desk.plan.find("handover", runner.track.name)
            if segment and not other.desk.progress.settled(segment.first_unit, segment.units):
                units = runner.desk.progress.reclaim()
                runner.desk.log.info("share_reclaimed", units=units, moved_to=other.track.name)
                return

    async def _prove_along(self) -> None:
        """Prove while the tracks work, so that little is left to prove when a track wants to hand over."""
        while True:
            await asyncio.sleep(PROVE_EVERY_S)
            for runner in self.runners.values():
                await self._judge(runner)

    async def _story(self, runner: TokenRunner) -> None:
        try:
            await work(runner, runner.primary, self.stop)
            await self._recheck(runner, runner.primary)
        except BaseException:
            runner.handed.set()
            raise
        # What the other track has sent meanwhile does not wait for our own proofs.
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle_share(runner))
            await self._incoming(runner)
        finish(runner, self.stop)

    async def _settle_share(self, runner: TokenRunner) -> None:
        try:
            if self._through(runner, runner.primary):
                await self._judge(runner)
                await self._hand_over(runner)
        finally:
            runner.handed.set()

    async def _incoming(self, runner: TokenRunner) -> None:
        for name in (*self.runners, *self.others):
            if name == runner.track.name:
                continue
            if name in self.runners:
                await self.runners[name].handed.wait()
            runner.desk.plan.refresh()
            segment = runner.desk.plan.find("handover", name)
            if segment is not None:
                await work(runner, segment, self.stop)
                await self._recheck(runner, segment)
                await self._judge(runner)

    def _through(self, runner: TokenRunner, segment: Segment) -> bool:
        settled = runner.desk.progress.settled(segment.first_unit, segment.units)
        return not self.stop.stopping and (settled or runner.unusable is not None)

    async def _recheck(self, runner: TokenRunner, segment: Segment) -> None:
        if runner.unusable or not self._through(runner, segment):
            return
        plan, origin = runner.desk.plan, str(segment.first_unit)
        again = plan.find("recheck", origin)
        if again is None:
            missing = await self._without(runner, segment, "staged_any")
            items = list(map(int, plan.items(segment)))
            kept = doubtful(items, missing, segment.batch, sparse=runner.track.recheck == SPARSE)
            if not kept:
                return
            reason = f"absent from {runner.track.recheck} answers"
            again = plan.append("recheck", kept, runner.batch, origin=origin, reason=reason)
            runner.desk.log.info("recheck", tokens=again.tokens, units=again.units)
        await work(runner, again, self.stop)

    async def _judge(self, runner: TokenRunner) -> None:
        """Prove what was staged; what arithmetic contradicts becomes a dead letter, and counts as not mapped."""
        table = runner.track.table
        async with self.proving:
            await patiently(
                lambda: prove_staging(self.warehouse, table, judges=self.judges), runner.desk.log, stage="prove"
            )
            plan = runner.desk.plan.plan_id
            await patiently(lambda: keep_disproven(self.warehouse, self.letters, runner.track, plan), runner.desk.log)
        tally = Tally(self.letters, runner.track.name, plan)
        runner.desk.letters, runner.desk.refused = tally.total, tally.of_plan

    async def _hand_over(self, runner: TokenRunner) -> None:
        target = self._target(runner)
        if target is None:
            return
        name = runner.track.name
        if (segment := target.desk.plan.find("handover", name)) is None:
            missing = await self._without(runner, runner.primary, "staged_believed")
            if not missing:
                return
            reason = runner.unusable.kind if runner.unusable else "not mapped"
            segment = target.desk.plan.append("handover", missing, target.batch, origin=name, reason=reason)
            runner.desk.log.info("handed_over", to=target.track.name, tokens=segment.tokens, reason=reason)
        if runner.unusable:
            units = runner.desk.progress.move(runner.primary.first_unit, runner.primary.units)
            runner.desk.log.warning("share_moved", to=target.track.name, units=units, kind=runner.unusable.kind)

    def _target(self, runner: TokenRunner) -> TokenRunner | None:
        """The other track of this run, unless it cannot work either."""
        able = (r for r in self.runners.values() if r is not runner and r.unusable is None)
        return next((r for r in able if not isinstance(r.door, UpstreamUnusable)), None)

    async def _without(self, runner: TokenRunner, segment: Segment, query: str) -> list[int]:
        """The items of a segment for which the query finds no row; both sides come sorted, so memory stays small."""

        async def look() -> list[int]:
            staged = staged_tokens(self.warehouse, query, runner.track.table)
            return [token async for token in absent(runner.desk.plan.items(segment), staged)]

        return await patiently(look, runner.desk.log, stage="hand over")


def doubtful(items: Sequence[int], missing: Sequence[int], batch: int, *, sparse: bool) -> list[int]:
    """The missing items to be asked once more: all, or (`sparse`) those of units that miss a quarter or more."""
    if not sparse:
        return list(missing)
    absent_ones = set(missing)
    units = (items[start : start + batch] for start in range(0, len(items), batch))
    gaps = ((unit, [item for item in unit if item in absent_ones]) for unit in units)
    return [item for unit, gap in gaps if len(gap) * SPARSE_PART >= len(unit) for item in gap]


async def keep_disproven(warehouse: Warehouse, letters: DeadLetters, track: TokenTrack, plan: str) -> None:
    """Make dead letters of the rows that arithmetic contradicts; those that are letters already stay as they are."""
    rows = await warehouse.fetch(queries.load("staged_disproven"), {"table": track.table})
    known = {row["id"] for row in letters.rows(track.name)} if rows else set()
    fresh = [letter for letter in map(lambda row: _disproven(track, row, plan), rows) if letter_id(letter) not in known]
    if fresh:
        await asyncio.to_thread(letters.append, track.name, fresh)


def _disproven(track: TokenTrack, row: dict[str, Any], plan: str) -> DeadLetter:
    unit, reason = int(row.pop("unit")), str(row.pop("detail"))
    return DeadLetter(track.name, unit, "disproven", reason, orjson.dumps(row).decode(), plan)


async def staged_tokens(warehouse: Warehouse, query: str, table: str) -> AsyncIterator[int]:
    """The token ids that a query of staging.sql finds in a table, ascending."""
    rest = b""
    async for chunk in warehouse.stream(queries.load(query), {"table": table}):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield int(line)


async def absent(items: tuple[str, ...], staged: AsyncIterator[int]) -> AsyncIterator[int]:
    """The items that are not staged; both ascending."""
    there = await anext(staged, None)
    for item in map(int, items):
        while there is not None and there < item:
            there = await anext(staged, None)
        if there != item:
            yield item
