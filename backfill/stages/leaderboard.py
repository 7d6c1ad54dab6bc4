"""Leaderboards: what each owner made in each resolved market, gains over losses (omega), coverage, and rankings.

    profits by wallet and outcome → returns by owner and market → omega by day, and by period and category → rankings
    fills, map, listings, payouts → coverage by owner and by market → gates

*The unit* is a resolved market: all outcomes and all wallets of an owner together, by the cash definition, dated when
the condition was resolved. With theta, a market's excess is realized - theta x cost; gains are the sum of what is above
0, losses of what is below. Omega is gains / losses: NULL without losses (with a flag where there are gains), 0 without
gains.

*Exact.* Excess is an integer of 1e-15 dollars, sums are integers of 256 bits, and the one division cuts off; so neither
threads nor the order of rows can move a digit.

*Periods* end with `as_of`, a whole day of UTC: by default the day of the newest resolution there is, so that the same
data give the same leaderboard whenever it is built. What was resolved later does not count.

*Built beside, swapped in*, table by table. A crash leaves each table as it was or as it is to be; build again. A build
that would come to the same as the last one is left out (`board_state.py`).
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from backfill.config import Config
from backfill.engine.checkpoint import lock_path
from backfill.errors import StateError, UsageError
from backfill.files import held
from backfill.log import Logger
from backfill.stages.board_state import DAILY, built_before, note_build, old_days, sources_hash
from backfill.stages.rebuild import ranges_of
from backfill.stages.rebuild_contracts import CONTRACTS
from backfill.stages.settle import alone
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from backfill.warehouse.migrations import with_names

Note = Callable[[str], None]

PERIODS: Final[Mapping[str, int]] = {"7d": 7, "30d": 30, "90d": 90, "all": 0}
"""Days of each period; 0 for all there is."""
BOARDS: Final[Mapping[str, str]] = {"omega": "leaderboard_omega", "whales": "leaderboard_whales"}
"""The rankings that can be shown."""
OVERALL: Final = "overall"
"""The category that has all of them."""
PORTION: Final = 500_000
"""Rows of owners, or fills of tokens, that are worked on at once, unless one byte of addresses has more."""
_SPILLED: Final = {"max_bytes_before_external_sort": 200_000_000, "max_bytes_ratio_before_external_sort": 0}
"""Everybody is ranked at once: two million owners in four categories are more than the embedded warehouse may hold."""
THETA_PLACES: Final = 9
THETA_MOST: Final = 1000
SOURCES: Final = ("fills", "markets", "payouts", "wallets")
"""Datasets that must not be settled meanwhile, in the order of locking."""

_LAST_DAY: Final = dt.date(2149, 6, 6)
"""The last day that the warehouse's dates can say."""
_SCRATCH: Final = ("board_categories", "board_wallet_fills", "board_market_fills")
_SWAPPED: Final[Mapping[str, str]] = {
    "market_returns_next": "wallet_market_returns",
    "omega_daily_next": "wallet_omega_daily",
    "market_coverage_metrics_next": "market_coverage_metrics",
    "wallet_coverage_metrics_next": "wallet_coverage_metrics",
    "leaderboard_omega_next": "leaderboard_omega",
    "leaderboard_whales_next": "leaderboard_whales",
}
"""Where each table is built, in the order of swapping."""
_DAY: Final = f"{DAILY}_next"
_STATEMENTS: Final = (
    "fill_board_categories", "add_wallet_fills", "add_market_fills", "add_market_coverage", "add_market_returns",
    "add_omega_daily", "add_wallet_coverage", "add_leaderboard_omega_daily", "add_leaderboard_omega",
    "add_leaderboard_whales",
)  # fmt: skip
"""What decides the result, beside the rows that are read."""


@dataclass(frozen=True, slots=True)
class Gates:
    """What an owner must have to be ranked by omega; for whales the coverage alone decides. 0 switches a gate off."""

    min_trades: int = 20
    """Fills in the resolved markets of the period and category."""
    min_markets: int = 10
    """Resolved markets of the period and category."""
    min_coverage: Decimal = Decimal("0.95")
    """Share of its fills and of its volume that is mapped, and of its closed tokens whose payout is known; cut off to
    millionths."""

    @property
    def ppm(self) -> int:
        """The coverage in millionths."""
        return int(self.min_coverage * 1_000_000)


@dataclass(frozen=True, slots=True)
class Wish:
    """What to build. `as_of` None is the day of the newest resolution; without one, a build drops
    the days that lie more than `keep_days` before it (0: none). `force` builds although nothing has changed."""

    periods: tuple[str, ...] = tuple(PERIODS)
    theta: Decimal = Decimal(0)
    as_of: dt.date | None = None
    gates: Gates = Gates()
    keep_days: int = 0
    force: bool = False

    def document(self) -> dict[str, Any]:
        """What decides the result, as JSON; without the day, if that is left to the data."""
        return {
            "periods": list(self.periods),
            "theta": format(self.theta, "f"),
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
            "gates": {
                "min_trades": self.gates.min_trades,
                "min_markets": self.gates.min_markets,
                "min_coverage": format(self.gates.min_coverage, "f"),
            },
        }


@dataclass(slots=True)
class Built:
    """What was built, or would be; `nothing` says why nothing was. `unchanged`: the last build made it.

    `state_of` is the moment that the profits show when they were rebuilt with a cutoff; `dropped` are days that are no
    longer kept.
    """

    wish: Wish
    as_of: dt.date
    owners: int = 0
    markets: int = 0
    undated: int = 0
    """Markets that are in `all` only, because nobody knows when they were resolved."""
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    nothing: str | None = None
    unchanged: bool = False
    state_of: str | None = None
    dropped: list[dt.date] = field(default_factory=list)

    @property
    def wanted(self) -> dict[str, Any]:
        """What decides the result, with the day."""
        return {**self.wish.document(), "as_of": self.as_of.isoformat()}

    def document(self) -> dict[str, Any]:
        """The result as the command prints it."""
        return {
            **self.wanted,
            "owners": self.owners,
            "markets": self.markets,
            "undated": self.undated,
            "rows": self.rows,
            "unchanged": self.unchanged,
            "state_of": self.state_of,
            "dropped": [day.isoformat() for day in self.dropped],
            "seconds": round(self.seconds, 3),
            "nothing": self.nothing,
        }


def read_theta(text: str) -> Decimal:
    """A threshold as people write it: a return, 0.05 for five per cent.

    Raises:
        UsageError: no number, too far from 0, or with more digits than are kept.
    """
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("NaN")
    if found.is_finite() and abs(found) <= THETA_MOST and found == round(found, THETA_PLACES):
        return found
    raise UsageError(
        f"--theta {text!r}: expected a return between -{THETA_MOST} and {THETA_MOST}, "
        f"with at most {THETA_PLACES} digits behind the point"
    )


def read_day(text: str) -> dt.date:
    """A day as ISO 8601 has it.

    Raises:
        UsageError: it is none that the warehouse can say.
    """
    try:
        found = dt.date.fromisoformat(text.strip())
    except ValueError:
        found = dt.date.min
    if dt.date(1970, 1, 1) <= found <= _LAST_DAY:
        return found
    raise UsageError(f"--as-of {text!r}: expected a day such as 2026-04-28")


async def build(
    warehouse: Warehouse,
    config: Config,
    log: Logger,
    wish: Wish,
    *,
    dry_run: bool = False,
    note: Note = lambda _: None,
) -> Built:
    """Build returns, omega, coverage and rankings beside the tables in use, and swap them in.

    Args:
        dry_run: say what there is to rank, and change no table.

    Raises:
        StateError: profits and cash flows were not rebuilt together.
        TrackHeld: another build, a rebuild, or an import is under way.
        StoreBusy: the warehouse went away; nothing is lost, build again.
        WarehouseUnusable: it refuses.
    """
    async with _quiet(config, log):
        started = time.perf_counter()
        told = await _Build(warehouse, wish, dry_run, note).run()
        told.seconds = time.perf_counter() - started
    log.info("leaderboard_built", dry_run=dry_run, **told.document())
    return told


async def top(
    warehouse: Warehouse, board: str, *, period: str = "all", category: str = OVERALL, limit: int = 10
) -> list[dict[str, Any]]:
    """The first rows of a ranking, in order; amounts and omega come as decimal texts, counts as integers.

    Raises:
        UsageError: there is no such category, but there are others.
    """
    given = {"table": BOARDS[board], "period": period}
    rows = await warehouse.fetch(queries.load("leaderboard_top"), {**given, "category": category, "top": limit})
    if not rows and category != OVERALL:
        known = [row["category"] for row in await warehouse.fetch(queries.load("leaderboard_categories"), given)]
        if known:
            raise UsageError(f"--category {category!r}: expected one of {', '.join(known)}")
    counts = ("rank", "trade_count")
    return [{**row, **{name: int(row[name]) for name in counts}} for row in rows]


@asynccontextmanager
async def _quiet(config: Config, log: Logger) -> AsyncIterator[None]:
    """One build at a time, and nobody swaps or adds to what it reads in portions."""
    async with AsyncExitStack() as stack:
        folder = config.run.checkpoint_dir
        stack.enter_context(held(lock_path(folder, "leaderboard"), what="leaderboard"))
        stack.enter_context(held(lock_path(folder, "rebuild"), what="rebuild"))
        stack.enter_context(held(folder / "import.lock", what="import"))
        for dataset in SOURCES:
            await stack.enter_async_context(alone(config, dataset, log))
        yield


@dataclass(slots=True)
class _Build:
    warehouse: Warehouse
    wish: Wish
    dry_run: bool
    note: Note
    as_of: dt.date = _LAST_DAY

    async def run(self) -> Built:
        told = await self._look()
        if told.nothing is not None:
            return told
        sources = await sources_hash(self.warehouse, _STATEMENTS)
        before = None if self.wish.force else await built_before(self.warehouse, told.wanted, sources)
        told.unchanged, told.rows = before is not None, before or {}
        if self.dry_run:
            return told
        if not told.unchanged:
            await note_build(self.warehouse, told.wanted, "", {})
            await self._make(told)
            await note_build(self.warehouse, told.wanted, sources, told.rows)
        # A day that was asked for by name may lie anywhere; it says nothing about which ones are old.
        keep = self.wish.keep_days if self.wish.as_of is None else 0
        for day in await old_days(self.warehouse, self.as_of, keep):
            await self._day("drop", day)
            told.dropped.append(day)
        return told

    async def _make(self, told: Built) -> None:
        for name in _SCRATCH:
            await self._do(f"prepare_{name}")
        for table in (*_SWAPPED, _DAY):
            await self._do("clear_board", table=table)
        await self._do("fill_board_categories")
        await self._cover()
        await self._score()
        for name in ("leaderboard_omega", "leaderboard_whales"):
            await self._do(f"keep_{name}")
            await self._do(f"add_{name}", settings=_SPILLED)
        await self._swap(told)
        for table in (*_SCRATCH, _DAY):
            await self._do("clear_board", table=table)

    async def _look(self) -> Built:
        """What there is; from here on `as_of` is a real day."""
        asked = {"as_of": self.wish.as_of or _LAST_DAY}
        (found,) = await self.warehouse.fetch(queries.load("leaderboard_sources"), asked)
        newest = dt.date.fromisoformat(found["newest"]) if found["newest"] else dt.datetime.now(dt.UTC).date()
        self.as_of = self.wish.as_of or newest
        owners, markets, undated = (int(found[name]) for name in ("owners", "markets", "undated"))
        told = Built(self.wish, self.as_of, owners, markets, undated, state_of=found["state_of"])
        if not int(found["rows"]):
            told.nothing = _nothing(told.state_of)
        elif not told.markets:
            told.nothing = f"no market was resolved up to {self.as_of}"
        elif not int(await self.warehouse.fetch_value(queries.load("leaderboard_sources_agree"))):
            raise StateError(
                "profits and cash flows are not of the same state", where="leaderboard", remedy="backfill rebuild all"
            )
        return told

    async def _cover(self) -> None:
        """Fills lie by token, so they are counted in ranges of tokens; only sums by owner are kept of each."""
        for low, high in await self._portions("leaderboard_token_spread"):
            tokens: dict[str, Any] = {"low": low << 240, "high": ((high + 1) << 240) - 1}
            await self._do("add_wallet_fills", **tokens)
            await self._do("add_market_fills", **tokens)
        self.note("fills are counted")
        await self._do("add_market_coverage")

    async def _score(self) -> None:
        await self._do("keep_leaderboard_omega_daily")
        portions = await self._portions("leaderboard_owner_spread")
        for number, (low, high) in enumerate(portions, start=1):
            # Addresses are lower-case hex; "g" stands behind all that begin with the last byte.
            owners: dict[str, Any] = {"low": f"0x{low:02x}", "high": f"0x{high:02x}g"}
            for name in ("market_returns", "omega_daily", "wallet_coverage", "leaderboard_omega_daily"):
                await self._do(f"add_{name}", **owners)
            self.note(f"portion {number} of {len(portions)}")

    async def _swap(self, told: Built) -> None:
        for beside, table in _SWAPPED.items():
            told.rows[table] = await self._count(beside)
            await self._do("swap_board", beside=beside, table=table)
        told.rows[DAILY] = await self._count(_DAY)
        await self._day("swap" if told.rows[DAILY] else "drop", self.as_of)

    async def _day(self, way: str, day: dt.date) -> None:
        # Behind REPLACE PARTITION … FROM no parameter may stand for a name.
        sql = with_names(queries.load(f"{way}_leaderboard_day"), self.warehouse.names)
        await self.warehouse.execute(sql, {"day": day})

    async def _count(self, table: str) -> int:
        return int(await self.warehouse.fetch_value(queries.load("count_board"), {"table": table}))

    async def _portions(self, query: str) -> list[tuple[int, int]]:
        found = await self.warehouse.fetch(queries.load(query))
        return ranges_of([(int(key), int(rows)) for key, rows in map(dict.values, found)], PORTION)

    async def _do(self, name: str, *, settings: Mapping[str, object] | None = None, **arguments: object) -> None:
        sql = queries.load(name)
        given = {**self._known(), **arguments}
        asked = {key: value for key, value in given.items() if f"{{{key}:" in sql}
        await self.warehouse.execute(sql, asked, settings=settings)

    def _known(self) -> dict[str, object]:
        names: Sequence[str] = self.wish.periods
        return {
            "as_of": self.as_of,
            "names": names,
            "days": [PERIODS[name] for name in names],
            "theta": format(self.wish.theta, "f"),
            "theta_nano": int(self.wish.theta.scaleb(THETA_PLACES)),
            "min_trades": self.wish.gates.min_trades,
            "min_markets": self.wish.gates.min_markets,
            "min_ppm": self.wish.gates.ppm,
            "contracts": CONTRACTS,
        }


def _nothing(state_of: str | None) -> str:
    """Why there is no profit to rank."""
    if state_of is None:
        return "no profit in a resolved market is known yet: backfill run payouts, backfill rebuild"
    return f"no market was resolved in the state of {state_of}, which the profits show: backfill rebuild"
