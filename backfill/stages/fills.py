"""One fill, one row: what the tracks have staged becomes rows of production, each from the best source that shows it.

The order of precedence is chain, Goldsky, CLOB, Data API, Dome, and then what production has from elsewhere (imports).
Which rows are the same fill is said in `matching`.

    fresh arrivals → portions of tokens → transactions → plain: straight in
                                                       → shared: the best track covers the others, or row by row
                                                         → arrivals and departures → out with these, in with those

*What is looked at.* ClickHouse keeps with each row the number of the block that brought it. A merge looks at every
transaction that has a row of an arrival that no finished merge has seen, and notes these arrivals as its last step. So
a row that comes in meanwhile, and every row of a merge that was cut short, is looked at by the next. Should production
be another table than last time, or have fewer rows, everything is looked at.

*Twice is once.* The comparison is with what production shows, so what is there is not put in again. An INSERT … SELECT
whose answer was lost may still be running; it is waited for before anything is tried again, by the next merge too.

*A better row* takes the place of a worse one: the worse one is deleted first, because both may have the same key. A
crash in between leaves production without these fills until the next merge, which finds them staged and missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import orjson

from backfill.errors import StateError
from backfill.log import Logger
from backfill.stages import matching
from backfill.stages.imports import portions_of
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from backfill.warehouse.patience import patiently

T = TypeVar("T")

PORTION = 150_000
"""Fresh rows that are compared at once."""
MOST_REPLACED = 1_000_000
"""Rows that a merge takes out of production without being told to."""
FEW = 8
"""A portion with fewer than one fresh row in so many is read otherwise."""
LINES_AT_ONCE = 20_000
WAIT_S = 0.5
NOTICE_EVERY = 60

_SCRATCH = ("fills_fresh", "fill_groups", "fill_candidates", "fill_verdicts", "fill_arrivals", "fill_departures")
_PORTION_SCRATCH = _SCRATCH[1:4]
_COLUMNS = (
    "fill_id", "token_id", "maker", "taker", "side", "shares_micro", "usdc_micro", "fee_micro", "fee_asset", "price",
    "timestamp", "tx_hash", "order_hash", "log_index", "block_number", "exchange_version", "source",
)  # fmt: skip
# A table notes what was inserted, and keeps the same out even after it was deleted.
_ANEW = {"insert_deduplicate": 0}


@dataclass(frozen=True, slots=True)
class FillMerge:
    """What a merge did, or would do: staged rows new to it, fills that came in, and rows that were replaced."""

    fresh: int
    added: int
    replaced: int
    rows: int

    def document(self) -> dict[str, Any]:
        """The numbers as the command prints them."""
        return asdict(self)


async def merge_fills(
    warehouse: Warehouse, log: Logger, *, most_replaced: int | None = MOST_REPLACED, dry_run: bool = False
) -> FillMerge:
    """Merge what was staged since the last merge. The caller holds the locks of merges and of imports.

    Args:
        most_replaced: rows that may be taken out for better ones; None for any number.
        dry_run: count what would be done.

    Raises:
        StateError: more rows would be replaced than that. New fills are in by then, none was replaced.
        WarehouseUnusable: the warehouse refuses.
    """
    return await _FillMerge(warehouse, log, most_replaced, dry_run).run()


@dataclass(slots=True)
class _FillMerge:
    warehouse: Warehouse
    log: Logger
    most_replaced: int | None
    dry_run: bool
    doubles: int = 0
    plain: int = 0

    async def run(self) -> FillMerge:
        before = await self._patient(self._rows)
        await self._patient(self._open)
        portions = await self._patient(lambda: self._portions("fresh_spread"))
        fresh = sum(portion.rows for portion in portions)
        for number, portion in enumerate(portions, start=1):
            await self._patient(partial(self._portion, portion))
            self.log.info("fills_portion", number=number, of=len(portions), rows=portion.rows)
        leaving, coming = await self._patient(self._counts)
        if self.dry_run:
            return FillMerge(fresh, self.plain + coming - leaving, leaving, before)
        self._check(leaving)
        await self._replace(leaving, coming)
        rows = await self._patient(self._end)
        return FillMerge(fresh, rows - before, leaving, rows)

    async def _patient(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it until the warehouse takes it; no try begins while an earlier one may still be under way there."""

        async def alone() -> T:
            await self._let_orphans_end()
            return await work()

        return await patiently(alone, self.log, stage="merge fills")

    async def _let_orphans_end(self) -> None:
        turns = 0
        while await self._value("fill_merges_still_running") or await self._value("fill_removals_unfinished"):
            if turns % NOTICE_EVERY == 0:
                self.log.warning("waiting_for_earlier_merge", seconds=turns * WAIT_S)
            turns += 1
            await asyncio.sleep(WAIT_S)

    # --- what is new

    async def _open(self) -> None:
        for table in _SCRATCH:
            await self._do(f"prepare_{table}")
        known = await self._value("merged_into_this")
        await self._do("find_fresh_fills", everything=int(not known))

    async def _portions(self, query: str, **arguments: object) -> list[_Share]:
        found = await self.warehouse.fetch(queries.load(query), arguments)
        rows = {int(row["first_byte"]): int(row["rows"]) for row in found}
        staged = {int(row["first_byte"]): int(row.get("staged", row["rows"])) for row in found}
        shares = []
        for portion in portions_of(rows, limit=PORTION):
            bytes_ = range(int(portion.low) >> 248, (int(portion.high) >> 248) + 1)
            fresh = sum(rows.get(byte, 0) for byte in bytes_)
            few = FEW * fresh < portion.parts * sum(staged.get(byte, 0) for byte in bytes_)
            # The rows of a range that is cut further are shared out to the last one.
            part = fresh // portion.parts + (portion.part < fresh % portion.parts)
            shares.append(_Share(portion._asdict(), part, few))
        return shares

    # --- one portion

    async def _portion(self, portion: _Share) -> None:
        """What of a portion is plain goes in; the rest is compared, and what follows from it is noted."""
        for table in _PORTION_SCRATCH:
            await self._do("clear_fill_scratch", table=table)
        await self._do("group_fresh_fills", **portion.where)
        if await self._value("count_shared_groups"):
            await self._compare()
        if self.dry_run:
            self.plain += await self._value("count_plain_fills")
        else:
            await self._do("insert_few_plain_fills" if portion.few else "insert_plain_fills")

    async def _compare(self) -> None:
        await self._do("gather_fill_candidates")
        self.doubles += await self._value("stored_doubles")
        await self._do("judge_fill_candidates", slack=matching.SLACK)
        await self._do("add_covered_arrivals")
        await self._do("add_covered_departures")
        arrivals: list[dict[str, Any]] = []
        departures: list[dict[str, Any]] = []
        async for rows in _transactions(self.warehouse):
            change = matching.settled(matching.read_row(row) for row in rows)
            arrivals += [{name: row.raw[name] for name in _COLUMNS} for row in change.arrivals if row.raw]
            departures += [{"token_id": rows[0]["token_id"], "fill_id": gone} for gone in change.departures]
            if len(arrivals) + len(departures) >= LINES_AT_ONCE:
                await self._note(arrivals, departures)
        await self._note(arrivals, departures)

    async def _note(self, arrivals: list[dict[str, Any]], departures: list[dict[str, Any]]) -> None:
        for table, rows in (("fill_arrivals", arrivals), ("fill_departures", departures)):
            if rows:
                await self.warehouse.insert(f"staging.{table}", b"\n".join(map(orjson.dumps, rows)))
                rows.clear()

    # --- out with the worse, in with the better

    async def _counts(self) -> tuple[int, int]:
        return await self._value("count_departures"), await self._value("count_arrivals")

    def _check(self, leaving: int) -> None:
        if self.most_replaced is not None and leaving > self.most_replaced:
            raise StateError(
                f"{leaving:,} rows would be replaced by those of better sources, more than {self.most_replaced:,}",
                where="merge fills",
                remedy="new fills are in; `backfill merge-fills --replace-all` replaces the others as well",
            )

    async def _replace(self, leaving: int, coming: int) -> None:
        if leaving:
            self.log.info("fills_replaced", rows=leaving)
            for low, high in await self._patient(self._ranges):
                await self._patient(partial(self._do, "remove_fills", low=low, high=high))
        if coming:
            for portion in await self._patient(lambda: self._portions("import_spread", table="fill_arrivals")):
                await self._patient(partial(self._do, "insert_arrivals", **portion.where))

    async def _ranges(self) -> list[tuple[str, str]]:
        """Ranges of tokens with about so many departures each."""
        found = await self.warehouse.fetch(queries.load("import_spread"), {"table": "fill_departures"})
        cut = portions_of({int(row["first_byte"]): int(row["rows"]) for row in found}, limit=PORTION)
        return list(dict.fromkeys((portion.low, portion.high) for portion in cut))

    async def _end(self) -> int:
        if self.doubles:
            self.log.warning("fills_compacted", duplicates=self.doubles)
            await self._do("fills_compact")
        await self._do("mark_fills_merged")
        await self._do("note_fill_merge", database=self.warehouse.names.production)
        for table in _SCRATCH:
            await self._do("clear_fill_scratch", table=table)
        return await self._rows()

    # --- words to the warehouse

    async def _rows(self) -> int:
        return int(await self.warehouse.fetch_value(queries.load("count_rows"), {"table": "clob_fills"}))

    async def _value(self, name: str) -> int:
        sql = queries.load(name)
        known = {"database": self.warehouse.names.production} if "{database:" in sql else {}
        return int(await self.warehouse.fetch_value(sql, known))

    async def _do(self, name: str, **arguments: object) -> None:
        await self.warehouse.execute(queries.load(name), arguments, settings=_ANEW)


@dataclass(frozen=True, slots=True)
class _Share:
    """A portion as the arguments of a query, its fresh rows (about), and whether they are few among all of its rows."""

    where: dict[str, Any]
    rows: int
    few: bool


async def _transactions(warehouse: Warehouse) -> AsyncIterator[list[dict[str, Any]]]:
    """The candidates that want comparing row by row, those of a token in a transaction together."""
    held: list[dict[str, Any]] = []
    async for row in _rows(warehouse):
        if held and (held[0]["token_id"], held[0]["tx_hash"]) != (row["token_id"], row["tx_hash"]):
            yield held
            held = []
        held.append(row)
    if held:
        yield held


async def _rows(warehouse: Warehouse) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for piece in warehouse.stream(queries.load("open_fill_candidates"), fmt="JSONEachRow"):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield orjson.loads(line)
    if rest:
        yield orjson.loads(rest)
