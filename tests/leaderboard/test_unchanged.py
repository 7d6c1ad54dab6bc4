"""A build that would come to the same is left out, and no other; old days go."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from backfill.commands.leaderboard import built_lines
from backfill.config import Config
from backfill.log import configure
from backfill.stages import leaderboard
from backfill.stages.leaderboard import Built, Gates, Wish
from backfill.warehouse.client import Warehouse
from tests.leaderboard.reference import Row
from tests.leaderboard.rows import address, put, put_profits

OPEN = Gates(0, 0, Decimal(0))
BUILT = ("SELECT max(built_at) AS at, sum(realized_pnl_usd) AS sum, count() AS rows FROM "
         "cascadian_clean.leaderboard_omega_daily")  # fmt: skip


def rows(*profits: int) -> list[Row]:
    """A market for each profit, of one owner."""
    at = dt.datetime(2026, 3, 10)
    return [Row(address(1), address(1), n, 0, each, 10, 0, 0, 10, 2, at) for n, each in enumerate(profits)]


async def run(warehouse: Warehouse, config: Config, *, dry_run: bool = False, **wish: Any) -> Built:
    """A build without words."""
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    return await leaderboard.build(warehouse, config, log, Wish(**{"gates": OPEN, **wish}), dry_run=dry_run)


async def test_the_same_again_is_left_out_and_says_the_same(warehouse: Warehouse, config: Config) -> None:
    await put_profits(warehouse, rows(5, -5))
    first = await run(warehouse, config)
    before = await warehouse.fetch(BUILT)
    again = await run(warehouse, config)
    assert (first.unchanged, again.unchanged) == (False, True) and again.rows == first.rows
    assert await warehouse.fetch(BUILT) == before
    assert "nothing has changed" in built_lines(again)[-1] and "nothing has changed" not in built_lines(first)[-1]
    dry = await run(warehouse, config, dry_run=True)
    assert dry.unchanged and "nothing has changed" in built_lines(dry, dry_run=True)[-1]


async def test_forced_it_is_built(warehouse: Warehouse, config: Config) -> None:
    await put_profits(warehouse, rows(5, -5))
    await run(warehouse, config)
    assert not (await run(warehouse, config, force=True)).unchanged


CHANGES = {
    "profits": "ALTER TABLE polymarket.wallet_token_pnl DELETE WHERE condition_id_norm = "
    "'0000000000000000000000000000000000000000000000000000000000000000' SETTINGS mutations_sync = 2",
    "a ranking was emptied": "TRUNCATE TABLE cascadian_clean.leaderboard_omega",
    "a day was dropped": "ALTER TABLE cascadian_clean.leaderboard_omega_daily DROP PARTITION '2026-03-10'",
    "coverage was emptied": "TRUNCATE TABLE cascadian_clean.market_coverage_metrics",
    "returns lack a row": "DELETE FROM cascadian_clean.wallet_market_returns WHERE realized_micro = 5",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_has_changed_it_is_built(warehouse: Warehouse, config: Config, change: str) -> None:
    market = {"condition_id_norm": "ab" * 32, "outcomes": ["a", "b"], "token_ids": [], "tags": [], "source": "test"}
    await put(warehouse, "production.markets", [market])
    await put_profits(warehouse, rows(5, -5))
    first = await run(warehouse, config)
    # Cash flows lose the same row, or the two would not be of the same state.
    if change == "profits":
        flows = CHANGES[change].replace("wallet_token_pnl", "trade_cashflows_v3")
        await warehouse.execute(flows)
    await warehouse.execute(CHANGES[change])
    again = await run(warehouse, config)
    assert not again.unchanged and (again.rows == first.rows) == (change != "profits")
    assert (await run(warehouse, config)).unchanged


async def test_a_market_that_is_new_is_a_change(warehouse: Warehouse, config: Config) -> None:
    await put_profits(warehouse, rows(5, -5))
    await run(warehouse, config)
    market = {"condition_id_norm": "ab" * 32, "outcomes": [], "token_ids": [], "tags": ["Sports"], "source": "test"}
    await put(warehouse, "production.markets", [market])
    assert not (await run(warehouse, config)).unchanged


async def test_another_wish_is_built_and_so_is_the_first_after_it(warehouse: Warehouse, config: Config) -> None:
    await put_profits(warehouse, rows(5, -5))
    await run(warehouse, config)
    for wish in (
        {"theta": Decimal("0.1")},
        {},
        {"gates": Gates()},
        {"periods": ("all",)},
        {"as_of": dt.date(2026, 4, 1)},
    ):
        assert not (await run(warehouse, config, **wish)).unchanged, wish
        assert (await run(warehouse, config, **wish)).unchanged, wish


async def test_after_a_build_that_broke_off_nothing_is_left_out(
    warehouse: Warehouse, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten per cent were asked for, and only half of the tables have it: what was built before does not hold either."""
    await put_profits(warehouse, rows(5, -5))
    await run(warehouse, config)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(leaderboard._Build, "_day", _broken)
        await run(warehouse, config, theta=Decimal("0.1"))
    assert not (await run(warehouse, config)).unchanged


async def _broken(*_: object) -> None:
    raise RuntimeError("killed")


async def test_days_too_old_go_unless_a_day_was_asked_for(warehouse: Warehouse, config: Config) -> None:
    """The newest resolution is of March 10th. What somebody has made of a day far ahead makes none of these old."""
    await put_profits(warehouse, [row._replace(at=dt.datetime(2026, 1, 1)) for row in rows(5)] + rows(5, -5)[1:])
    days = [dt.date(2026, 1, 30), dt.date(2026, 2, 7), dt.date(2026, 2, 8), dt.date(2099, 1, 1)]
    for day in days:
        told = await run(warehouse, config, as_of=day, keep_days=1)
        assert told.dropped == [] and not told.nothing
    told = await run(warehouse, config, keep_days=30)
    assert told.dropped == days[:2] and "2026-01-30 and 1 more" in "\n".join(built_lines(told))
    assert await _days(warehouse) == ["2026-02-08", "2026-03-10", "2099-01-01"]
    assert (await run(warehouse, config, keep_days=0)).dropped == []
    told = await run(warehouse, config, keep_days=1)
    assert told.unchanged and told.dropped == [days[2]]
    assert "(leaderboard.keep_days): 2026-02-08\n" in "\n".join(built_lines(told))


async def _days(warehouse: Warehouse) -> list[str]:
    found = await warehouse.fetch("SELECT DISTINCT as_of FROM cascadian_clean.leaderboard_omega_daily ORDER BY as_of")
    return [row["as_of"] for row in found]


async def test_the_state_of_a_past_moment_is_said(warehouse: Warehouse, config: Config) -> None:
    state = {"target": "pnl", "table_id": "", "run": 0, "cutoff": "2026-03-11 00:00:00", "wallets": 1, "rows": 1}
    await put(warehouse, "production.rebuild_state", [state])
    nothing = await run(warehouse, config)
    assert "state of 2026-03-11 00:00:00" in str(nothing.nothing)
    await put_profits(warehouse, rows(5, -5))
    told = await run(warehouse, config)
    assert told.state_of == "2026-03-11 00:00:00" and any("STATE OF 2026-03-11" in line for line in built_lines(told))
