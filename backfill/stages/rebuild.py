"""Positions, cash flows and profit, computed anew from fills, events, transfers and payouts.

    sources → which wallets have changed → their events, by wallet → portions of wallets: sums and a walk
            → beside the tables: rows of the others as they were, rows of these anew → swap

*Exact.* Everything is an integer of micro-units; where a definition divides, it cuts off.

*Bounded.* Fills lie by token, results are by wallet. So events are first written sorted by wallet (once, whatever their
number), then read in portions of whole wallets, and only a portion is ever held.

*Only what changed.* The rows of each wallet are added up into one number; a wallet whose number is another than last
time is computed, and so is every wallet that has to do with a condition of which something else is known (tokens,
payout, group). The rows of the others are taken over without being copied.

*A crash* leaves every table as it was or as it is to be, never in between. It may leave some swapped and others not;
whatever was not noted as done is computed from scratch the next time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from backfill.config import Config
from backfill.engine.checkpoint import lock_path
from backfill.errors import unwrapped
from backfill.files import held
from backfill.log import Logger
from backfill.stages.rebuild_contracts import CONTRACTS
from backfill.stages.settle import alone
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from backfill.warehouse.migrations import with_names

Note = Callable[[str], None]

NOW: Final = 4_294_967_295
"""The cutoff of a rebuild without one: the latest moment that the warehouse can say."""
PORTION: Final = 300_000
"""Events that a lane walks through at once, unless one bucket of wallets has more."""
LANES: Final = ("rebuild_rows_a", "rebuild_rows_b")
"""Where portions are summed up, one in each at a time. A walk keeps one core busy, and memory grows with the lanes."""
TOKENS: Final = 500_000
"""Mapped tokens that are held at once."""
SOURCES: Final = ("activity", "fills", "markets", "payouts", "transfers", "wallets")
"""Datasets that must not be settled meanwhile, in the order of locking."""
_WAIT_S: Final = 0.5
_SCRATCH: Final = (
    "rebuild_conditions", "rebuild_questions", "rebuild_hashes", "rebuild_changed_conditions", "rebuild_changed",
    "rebuild_wallets", "rebuild_gifts", "rebuild_conversions", "rebuild_no_prices", "rebuild_events",
    "rebuild_prices",
)  # fmt: skip
_IN_ORDER: Final = {"optimize_aggregation_in_order": 1}
_LIKE_LENGTHS: Final = {**_IN_ORDER, "query_plan_remove_redundant_sorting": 0, "max_block_size": 8192}
"""Groups of like length are walked together: a walk takes as many steps as the longest array of its block."""


class Target(NamedTuple):
    """A derived table: its name, the stem of its queries, and the place beside it."""

    table: str
    stem: str

    @property
    def beside(self) -> str:
        """Where the next generation is built."""
        return f"{self.stem}_next"


TARGETS: Final[Mapping[str, Target]] = {
    "positions": Target("outcome_positions_v2", "positions_v2"),
    "cashflows": Target("trade_cashflows_v3", "cashflows_v3"),
    "pnl": Target("wallet_token_pnl", "token_pnl"),
}
"""What can be rebuilt. The profit on paper belongs to `pnl`."""


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild did, or would do; `nothing` says why it did nothing."""

    targets: tuple[str, ...]
    cutoff: int | None
    everything: bool = False
    wallets: int = 0
    changed: int = 0
    events: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    nothing: str | None = None

    def document(self) -> dict[str, Any]:
        """The result as the command prints it."""
        return {
            "targets": list(self.targets),
            "cutoff": self.cutoff,
            "everything": self.everything,
            "wallets": self.wallets,
            "changed": self.changed,
            "events": self.events,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "nothing": self.nothing,
        }


async def rebuild(
    warehouse: Warehouse,
    config: Config,
    log: Logger,
    targets: Sequence[str] = tuple(TARGETS),
    *,
    cutoff: int | None = None,
    dry_run: bool = False,
    note: Note = lambda _: None,
) -> Rebuilt:
    """Build derived tables beside those in use, and swap them in.

    Args:
        targets: names of TARGETS.
        cutoff: unix seconds; the state of that moment, inclusive, goes into the same tables (`rebuild_state` says so).
        dry_run: say which wallets would be computed, and change no table but scratch.

    Raises:
        TrackHeld: another rebuild, or an import, is under way.
        StoreBusy: the warehouse went away; nothing is lost, rebuild again.
        WarehouseUnusable: it refuses.
    """
    work = _Rebuild(warehouse, log, tuple(targets), NOW if cutoff is None else cutoff, dry_run, note)
    async with _quiet(config, log):
        started = time.perf_counter()
        told = await work.run()
        told.seconds = time.perf_counter() - started
    log.info("rebuilt", dry_run=dry_run, **told.document())
    return told


@asynccontextmanager
async def _quiet(config: Config, log: Logger) -> AsyncIterator[None]:
    """Nobody else rebuilds, imports, or settles what we read: rows that are gone for a moment must not look gone."""
    async with AsyncExitStack() as stack:
        folder = config.run.checkpoint_dir
        stack.enter_context(held(lock_path(folder, "rebuild"), what="rebuild"))
        stack.enter_context(held(folder / "import.lock", what="import"))
        for dataset in SOURCES:
            await stack.enter_async_context(alone(config, dataset, log))
        yield


@dataclass(slots=True)
class _Rebuild:
    warehouse: Warehouse
    log: Logger
    targets: tuple[str, ...]
    cutoff: int
    dry_run: bool
    note: Note
    everything: bool = True
    run_number: int = 0

    async def run(self) -> Rebuilt:
        told = Rebuilt(self.targets, None if self.cutoff == NOW else self.cutoff)
        told.nothing = await self._nothing_to_read()
        if told.nothing:
            return told
        await self._let_orphans_end()
        for table in _SCRATCH:
            await self._do(f"prepare_{table}")
        for lane in LANES:
            await self._do("prepare_rebuild_rows", rebuild_rows=lane)
        try:
            await self._look(told)
            if told.nothing is None and not self.dry_run:
                await self._build(told)
        finally:
            await self._clear()
        return told

    async def _nothing_to_read(self) -> str | None:
        (found,) = await self.warehouse.fetch(queries.load("rebuild_sources"))
        if not any(int(found[name]) for name in ("fills", "events", "transfers")):
            return "there are no fills, events or transfers yet"
        if not int(found["tokens"]) and not int(found["events"]):
            return "no token is mapped to its market yet"
        return None

    async def _let_orphans_end(self) -> None:
        """A rebuild that was killed may have left a statement running, and its rows must not come in behind ours."""
        while int(await self.warehouse.fetch_value(queries.load("rebuild_still_running"))):
            self.note("a statement of an earlier rebuild is still running; waiting for it")
            await asyncio.sleep(_WAIT_S)

    # --- what has changed

    async def _look(self, told: Rebuilt) -> None:
        for name in ("fill_rebuild_conditions", "fill_rebuild_questions", "fill_rebuild_gifts", "hash_rebuild_wallets"):
            await self._do(name)
        since = await self._built_until()
        self.everything = since is None
        if self.cutoff == NOW:
            await self._do("find_changed_conditions")
            await self._do("find_changed_wallets")
        if since is not None:
            await self._do("fill_rebuild_wallets", run=since)
        (found,) = await self.warehouse.fetch(queries.load("rebuild_counts"))
        told.wallets, told.everything = int(found["wallets"]), self.everything
        told.changed = told.wallets if self.everything else int(found["changed"])
        if not told.changed:
            told.nothing = "no wallet has changed since the last rebuild"
        self.note(f"{told.changed:,} of {told.wallets:,} wallets to compute")

    async def _built_until(self) -> int | None:
        """The run whose changes all targets have; None when one of them is to be built from scratch."""
        known = await self.warehouse.fetch(queries.load("rebuild_known"), {"database": self.warehouse.names.production})
        sound = {row["target"]: int(row["run"]) for row in known if int(row["sound"]) and row["cutoff"] is None}
        self.run_number = 1 + int(await self.warehouse.fetch_value(queries.load("rebuild_last_run")))
        if self.cutoff != NOW or not set(self.targets) <= sound.keys():
            return None
        return min(sound[target] for target in self.targets)

    # --- what it comes to

    async def _build(self, told: Rebuilt) -> None:
        if self.cutoff == NOW:
            await self._do("note_changed_wallets")
            await self._do("note_changed_conditions")
        await self._gather()
        counts = await self.warehouse.fetch(queries.load("rebuild_event_counts"))
        told.events = {row["kind"]: int(row["rows"]) for row in counts}
        for name in self.targets:
            await self._open(TARGETS[name])
        await self._fold_all(await self._portions("rebuild_event_spread", PORTION))
        if "pnl" in self.targets:
            await self._paper()
        for name in self.targets:
            told.rows[name] = await self._swap(name, told.changed)

    async def _fold_all(self, portions: Sequence[tuple[int, int]]) -> None:
        left = iter(enumerate(portions, start=1))

        async def work(lane: str) -> None:
            for number, (low, high) in left:
                await self._do("clear_rebuild", table=lane)
                await self._do("fold_rebuild_rows", settings=_LIKE_LENGTHS, rebuild_rows=lane, low=low, high=high)
                for name in self.targets:
                    await self._do(f"add_{TARGETS[name].stem}", rebuild_rows=lane)
                self.note(f"portion {number} of {len(portions)}")

        with unwrapped():
            async with asyncio.TaskGroup() as group:
                for lane in LANES:
                    group.create_task(work(lane), name=lane)

    async def _gather(self) -> None:
        """Events, sorted by wallet. What conversions bring depends on what the shares that they take had cost."""
        for low, high in await self._token_ranges():
            await self._do("add_fill_events", low=low, high=high)
        for name in ("add_split_events", "add_redeem_events", "add_gift_events", "fill_rebuild_conversions"):
            await self._do(name)
        await self._do("add_convert_events")
        for low, high in await self._portions("rebuild_event_spread", PORTION):
            await self._do("add_no_prices", settings=_IN_ORDER, low=low, high=high)
        await self._do("add_get_events")

    async def _open(self, target: Target) -> None:
        await self._do(f"next_{target.stem}")
        if not self.everything:
            # ClickHouse takes no parameter as the name of the table that parts are taken from.
            await self.warehouse.execute(with_names(queries.load(f"keep_{target.stem}"), self.warehouse.names))
            await self._do("drop_changed", settings={"lightweight_deletes_sync": 2}, table=target.beside)

    async def _paper(self) -> None:
        """The profit on paper changes with every price, whoever trades: it is computed for all."""
        for low, high in await self._token_ranges():
            await self._do("add_prices", settings=_IN_ORDER, low=low, high=high)
        await self._do("next_unrealized_pnl")
        await self._do("add_unrealized_pnl")

    async def _swap(self, name: str, wallets: int) -> int:
        target = TARGETS[name]
        rows = int(await self.warehouse.fetch_value(queries.load("count_next"), {"table": target.beside}))
        await self._do("note_swap", target=name)
        if name == "pnl":
            await self._do("swap_unrealized_pnl")
        await self._do(f"swap_{target.stem}")
        run = self.run_number if self.cutoff == NOW else 0
        await self._do("note_rebuilt", target=name, table=target.table, run=run, wallets=wallets, rows=rows)
        return rows

    # --- words to the warehouse

    async def _token_ranges(self) -> list[tuple[int, int]]:
        ranges = await self._portions("rebuild_token_spread", TOKENS)
        return [(low << 240, ((high + 1) << 240) - 1) for low, high in ranges]

    async def _portions(self, query: str, limit: int) -> list[tuple[int, int]]:
        found = await self.warehouse.fetch(queries.load(query))
        return ranges_of([(int(key), int(rows)) for key, rows in map(dict.values, found)], limit)

    async def _clear(self) -> None:
        for table in (*_SCRATCH, *LANES):
            await self.warehouse.execute(queries.load("clear_rebuild"), {"table": table})

    async def _do(self, name: str, *, settings: Mapping[str, object] | None = None, **arguments: object) -> None:
        sql = queries.load(name)
        known = {
            "cutoff": self.cutoff,
            "everything": int(self.everything),
            "contracts": CONTRACTS,
            "run": self.run_number,
            "database": self.warehouse.names.production,
        }
        given = {**known, **arguments}
        asked = {key: value for key, value in given.items() if f"{{{key}:" in sql}
        await self.warehouse.execute(sql, asked, settings=settings)


def ranges_of(spread: Sequence[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """Cut keys into ranges (both ends included) of about `limit` rows each; a key alone may have more.

    Args:
        spread: keys in ascending order, with the rows of each.
    """
    ranges: list[tuple[int, int]] = []
    rows_here = 0
    for key, rows in spread:
        if ranges and rows_here + rows <= limit:
            ranges[-1] = (ranges[-1][0], key)
            rows_here += rows
        else:
            ranges.append((key, key))
            rows_here = rows
    return ranges
