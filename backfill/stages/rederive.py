"""Rows made again from the answers that were kept, by the lanes of today, without a request.

Every kept page is parsed, its rows go to staging in the order in which they were fetched, what is refused becomes dead
letters (the same ones as before, since a letter is named by its content), then the dataset is settled as after a run.
Doing it twice is doing it once.

Where a staging table keeps the newest of several rows by their time of arrival, a row made again has the time at which
its answer was kept, a little later: so it replaces what the same answer gave before, and not what a newer one gave.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, NamedTuple

from backfill.config import Config
from backfill.engine import archive
from backfill.engine.archive import Kept
from backfill.engine.checkpoint import CheckpointFile, lock_path
from backfill.engine.deadletters import DeadLetters, letter_id
from backfill.engine.model import DeadLetter, Page
from backfill.engine.plan import SHARED, Plan, PlanBook
from backfill.errors import StateError, StoreBusy
from backfill.files import held
from backfill.log import Logger
from backfill.stages.kept import TOKENS, Reader, Trouble, Unkept, home_of, place_of, tracks_of
from backfill.stages.proofs import prove_staging
from backfill.stages.settle import alone, settle
from backfill.tracks.tokens import TOKEN_TRACKS
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from backfill.warehouse.patience import patiently
from backfill.warehouse.sink import JSON, TABS

AT_ONCE: Final = 8
"""Pages that are read before anything else gets its turn."""
INSERT_ROWS: Final = 50_000
AFTER_S: Final = 60
"""How much later than its answer a row made again counts as having come: rows arrive within that of their answer."""
MOST_NAMED: Final = 200
"""Pages that could not be read are named, up to so many of a track; all are counted."""


class Read(NamedTuple):
    """A kept page, and what it became, or why not."""

    kept: Kept
    page: Page | None
    trouble: Unkept | None = None


@dataclass(slots=True)
class Rederived:
    """What became of the pages of one track.

    `not_kept` counts finished units of the current plan whose answers were not kept to their end; `cut_off` names the
    plans of which no more was kept because the room was used up.
    """

    track: str
    pages: int = 0
    rows: int = 0
    letters: int = 0
    damaged: int = 0
    gone: int = 0
    unread: int = 0
    not_kept: int = 0
    cut_off: tuple[str, ...] = ()
    troubles: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return not (self.damaged or self.gone or self.unread or self.not_kept or self.cut_off)

    def note(self, kept: Kept, trouble: Unkept) -> None:
        """This page could not be read."""
        kind: Trouble = trouble.kind
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.troubles) < MOST_NAMED:
            self.troubles.append(f"{kind}: {place_of(kept)}: {trouble}")

    def document(self) -> dict[str, Any]:
        """The JSON of one track."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "cut_off": list(self.cut_off)}


@dataclass(slots=True)
class Rederivation:
    """What became of a dataset; `settled` is what `settle` tells, `proofs` the verdicts on staged tokens by table."""

    dataset: str
    dry_run: bool
    tracks: list[Rederived] = field(default_factory=list)
    settled: dict[str, Any] = field(default_factory=dict)
    proofs: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every answer gave its rows."""
        return all(track.whole for track in self.tracks)

    @property
    def letters(self) -> int:
        """Rows that were refused."""
        return sum(track.letters for track in self.tracks)

    def document(self) -> dict[str, Any]:
        """The JSON of `rederive`."""
        return {
            "dataset": self.dataset,
            "dry_run": self.dry_run,
            "tracks": [track.document() for track in self.tracks],
            "settled": self.settled,
            "proofs": self.proofs,
        }


async def run_rederive(
    config: Config, warehouse: Warehouse, dataset: str, log: Logger, *, only: str | None = None, dry_run: bool = False
) -> Rederivation:
    """Make the rows of a dataset again, or of one track of it. `dry_run` reads and counts, and writes nothing.

    Raises:
        TrackHeld: a run works on one of the tracks.
        StateError: no answer of these tracks was kept.
    """
    names = [name for name in tracks_of(dataset) if only in (None, name) and home_of(config, name).is_dir()]
    if not names:
        raise StateError(
            f"no answers of {only or dataset} were kept",
            where=str(config.run.data_dir / "raw"),
            remedy="raw.keep = true, and a run, keep them",
        )
    found = Rederivation(dataset, dry_run)
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(held(lock_path(config.run.checkpoint_dir, name), what=name))
        for name in names:
            found.tracks.append(await _Track(config, warehouse, name, log, dry_run).run())
        if not dry_run:
            await follow_up(config, warehouse, dataset, names, log, found)
    return found


async def follow_up(
    config: Config, warehouse: Warehouse, dataset: str, names: Sequence[str], log: Logger, found: Rederivation
) -> None:
    """What comes after new rows in staging: proofs for asked tokens, and the dataset's own way to its place."""
    for name in names:
        if name in TOKEN_TRACKS:
            report = await prove_staging(warehouse, TOKEN_TRACKS[name].table)
            told = {"proven": report.proven, "disproven": report.disproven, "unprovable": report.unprovable}
            found.proofs[name] = told
    target = dataset if dataset != TOKENS else "derive"
    if dataset != TOKENS or any(name not in TOKEN_TRACKS for name in names):
        found.settled = await settled(config, warehouse, target, log)


async def settled(config: Config, warehouse: Warehouse, dataset: str, log: Logger) -> dict[str, Any]:
    """Settle a dataset outside a run."""
    wallets = wallets_read(config) if dataset == "positions" else ()
    async with alone(config, dataset, log):
        found: dict[str, Any] = await patiently(
            lambda: settle(dataset, warehouse, log, wallets=wallets), log, stage="settle"
        )
    return found


def wallets_read(config: Config, name: str = "data_api_positions") -> tuple[str, ...]:
    """The wallets that the current plan of positions has read to the end; none until it is through."""
    book = PlanBook(config.run.checkpoint_dir, name)
    plan = book.current()
    if plan is None or not book.is_finished:
        return ()
    return book.track(plan, name).items(plan.shares[name])


def current_of(config: Config, name: str) -> Plan | None:
    """The plan that a track works by at present."""
    plan = PlanBook(config.run.checkpoint_dir, SHARED if name in TOKEN_TRACKS else name).current()
    return plan if plan is not None and name in plan.shares else None


class _Track:
    """The pages of one track on their way to staging; nobody else may be working on it."""

    def __init__(self, config: Config, warehouse: Warehouse, name: str, log: Logger, dry_run: bool) -> None:
        self.config, self.warehouse, self.log, self.dry_run = config, warehouse, log.bind(track=name), dry_run
        self.reader, self.found = Reader(config, name), Rederived(name)
        self.plan = current_of(config, name)
        self.writer = Writer(config, warehouse, name, self.log)
        self._ended: set[int] = set()

    async def run(self) -> Rederived:
        if not self.dry_run:
            await self.writer.prepare(self.reader.track.table, self.reader.track.columns)
        waiting = self._wanted()
        async with asyncio.TaskGroup() as group:
            while batch := await asyncio.to_thread(self._read, waiting):
                await self._take(batch, group)
        if not self.dry_run:
            await self.writer.flush()
        self.found.cut_off = tuple(sorted(archive.cut_off(self.reader.home)))
        self.found.not_kept = await asyncio.to_thread(self._not_kept)
        self.log.info("rederived", **{key: value for key, value in self.found.document().items() if key != "troubles"})
        return self.found

    def _wanted(self) -> Iterator[Kept]:
        """All pages; of positions those of the plan at hand alone, since staging forgets what an earlier one read."""
        only = self.plan.plan_id if self.plan and self.reader.track.dataset == "positions" else None
        return (kept for kept in archive.pages(self.reader.home) if only in (None, kept.plan))

    def _read(self, waiting: Iterator[Kept]) -> list[Read]:
        """In a thread."""
        return [self._read_one(kept) for kept in islice(waiting, AT_ONCE)]

    def _read_one(self, kept: Kept) -> Read:
        try:
            return Read(kept, self.reader.page(kept))
        except Unkept as trouble:
            return Read(kept, None, trouble)

    async def _take(self, batch: Sequence[Read], group: asyncio.TaskGroup) -> None:
        for kept, page, trouble in batch:
            if page is None:
                assert trouble is not None
                self.found.note(kept, trouble)
                self.log.warning("page_not_read", page=place_of(kept), trouble=trouble.kind, error=str(trouble))
                continue
            self.found.pages += 1
            self.found.rows += len(page.lines)
            self.found.letters += len(page.letters)
            if self.plan is not None and kept.plan == self.plan.plan_id and kept.next is None:
                self._ended.add(kept.unit)
            if not self.dry_run:
                self.writer.add(kept.plan, kept.at, page)
        if not self.dry_run and self.writer.rows >= INSERT_ROWS:
            await self.writer.flush(group)

    def _not_kept(self) -> int:
        """Finished units of the plan at hand that have no last page: keeping was switched off, or there was no room."""
        if self.plan is None:
            return 0
        file = CheckpointFile(self.config.run.checkpoint_dir, self.found.track)
        try:
            progress = file.peek(self.plan.plan_id, warn=lambda _: None)
        except StateError:
            return 0  # a run says so, and how to mend it; what was kept was read
        return sum(number not in self._ended for start, end in progress.done.pairs() for number in range(start, end))


class Writer:
    """Puts rows that were made again into the staging table of a track, and what was refused into its letters.

    Inserts follow each other in the order of the pages: a later row of the same key is the one that stays. Their names
    are new ones, so that no table takes them for a repetition of inserts whose rows are gone.
    """

    def __init__(self, config: Config, warehouse: Warehouse, name: str, log: Logger) -> None:
        self._warehouse, self._name, self._log = warehouse, name, log
        self._database = config.warehouse.staging
        self._letters = DeadLetters(config.run.data_dir)
        self._known = {(row["id"], row.get("plan", "")) for row in self._letters.copies(name)}
        self._table, self._column = "", ""
        self._columns: Sequence[str] = ()
        self._lines: list[bytes] = []
        self._refused: list[DeadLetter] = []
        self._under_way: asyncio.Task[None] | None = None
        self._run, self._inserts = secrets.token_hex(8), 0

    @property
    def rows(self) -> int:
        """Rows and letters that wait for the next insert."""
        return len(self._lines) + len(self._refused)

    async def prepare(self, table: str, columns: Sequence[str] = ()) -> None:
        """Find out by which column the table keeps the newest row of a key; lines of `columns` have none."""
        self._table, self._columns = table, columns
        values = {"database": self._database, "table": table.partition(".")[2]}
        found = await self._warehouse.fetch(queries.load("version_column"), values)
        self._column = str(found[0]["version_column"]) if found and not columns else ""

    def add(self, plan: str, at: int, page: Page) -> None:
        """The rows of a page of this plan, in their turn; `at` is when its answer came, unix seconds, 0 for unknown."""
        self._lines += self._dated(at, page.lines)
        for letter in page.letters:
            known = (letter_id(letter), plan)
            if known not in self._known:
                self._known.add(known)
                self._refused.append(replace(letter, plan=plan))

    def _dated(self, at: int, lines: Iterable[bytes]) -> Iterable[bytes]:
        if not self._column or not at:
            return lines
        tail = b',"%b":%d}' % (self._column.encode(), at + AFTER_S)
        return [line[:-1] + tail for line in lines]

    async def flush(self, group: asyncio.TaskGroup | None = None) -> None:
        """Write what waits; with a group it goes on meanwhile, and the next call waits for it."""
        if self._under_way is not None:
            await self._under_way
            self._under_way = None
        lines, self._lines = self._lines, []
        refused, self._refused = self._refused, []
        if group is None:
            return await self._write(lines, refused)
        self._under_way = group.create_task(self._write(lines, refused))

    async def _write(self, lines: Sequence[bytes], refused: Sequence[DeadLetter]) -> None:
        if refused:
            await asyncio.to_thread(self._letters.append, self._name, refused)
        if not lines:
            return
        self._inserts += 1
        body, lost = b"\n".join(lines), 0

        async def send() -> None:
            nonlocal lost
            try:
                name = f"rederive-{self._run}-{self._inserts}-{lost}"
                fmt = TABS if self._columns else JSON
                await self._warehouse.insert(self._table, body, columns=self._columns, fmt=fmt, token=name)
            except StoreBusy as error:
                # Under the old name, rows that never came into place would be taken for a repetition.
                lost += error.uncertain
                raise

        await patiently(send, self._log, rows_waiting=len(lines))
