"""What a build keeps, what it refuses, what it says; and the commands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from backfill.commands import leaderboard as commands
from backfill.commands.cli import build as build_cli
from backfill.config import Config
from backfill.engine.checkpoint import lock_path
from backfill.errors import StateError, TrackHeld, UsageError
from backfill.files import held
from backfill.log import configure
from backfill.stages import leaderboard
from backfill.stages.leaderboard import Built, Gates, Wish, read_day, read_theta
from backfill.warehouse.client import Warehouse
from tests.leaderboard.reference import Row
from tests.leaderboard.rows import address, put_profits

OPEN = Gates(0, 0, Decimal(0))
TABLES = (*leaderboard._SWAPPED.values(), "leaderboard_omega_daily")


def rows(*profits: int, day: int = 10) -> list[Row]:
    """A market for each profit, of one owner."""
    at = dt.datetime(2026, 3, day)
    return [Row(address(1), address(1), n, 0, each, 10, 0, 0, 10, 2, at) for n, each in enumerate(profits)]


async def run(warehouse: Warehouse, config: Config, wish: Wish, *, dry_run: bool = False) -> Built:
    """A build without words."""
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    return await leaderboard.build(warehouse, config, log, wish, dry_run=dry_run)


async def counts(warehouse: Warehouse) -> dict[str, int]:
    """Rows of every table."""
    return {table: int(await warehouse.fetch_value(f"SELECT count() FROM cascadian_clean.{table}")) for table in TABLES}


async def test_a_dry_run_changes_no_table(warehouse: Warehouse, config: Config) -> None:
    await put_profits(warehouse, rows(5, -5, 7))
    told = await run(warehouse, config, Wish(gates=OPEN), dry_run=True)
    assert (told.owners, told.markets, told.as_of) == (1, 3, dt.date(2026, 3, 10))
    assert set((await counts(warehouse)).values()) == {0}
    await run(warehouse, config, Wish(gates=OPEN))
    assert (await counts(warehouse))["wallet_market_returns"] == 3


async def test_nothing_to_rank_leaves_what_is_there(warehouse: Warehouse, config: Config) -> None:
    assert "rebuild" in str((await run(warehouse, config, Wish())).nothing)
    await put_profits(warehouse, rows(5))
    await run(warehouse, config, Wish(gates=OPEN))
    before = await counts(warehouse)
    assert "2026-03-09" in str((await run(warehouse, config, Wish(as_of=dt.date(2026, 3, 9)))).nothing)
    assert await counts(warehouse) == before


async def test_days_are_kept_and_a_day_is_replaced(warehouse: Warehouse, config: Config) -> None:
    first, second = dt.date(2026, 3, 10), dt.date(2026, 3, 12)
    await put_profits(warehouse, rows(5, -5))
    await run(warehouse, config, Wish(as_of=first, gates=OPEN))
    await run(warehouse, config, Wish(as_of=second, gates=OPEN))
    await put_profits(warehouse, rows(5, -10))
    await run(warehouse, config, Wish(as_of=second, gates=OPEN))
    found = await warehouse.fetch(
        "SELECT DISTINCT as_of, omega FROM cascadian_clean.leaderboard_omega_daily ORDER BY as_of"
    )
    assert found == [{"as_of": str(first), "omega": "1"}, {"as_of": str(second), "omega": "0.5"}]


async def test_a_period_or_a_theta_alone_leaves_the_others(warehouse: Warehouse, config: Config) -> None:
    await put_profits(warehouse, rows(5, -5))
    await run(warehouse, config, Wish(gates=OPEN))
    await run(warehouse, config, Wish(periods=("7d",), theta=Decimal("0.1"), gates=OPEN))
    found = await warehouse.fetch(
        "SELECT DISTINCT period, theta, omega FROM cascadian_clean.leaderboard_omega WHERE category = 'overall' "
        "ORDER BY period"
    )
    # 5 of 10 with a tenth asked for: 4 above, 6 below.
    others = [{"period": period, "theta": "0", "omega": "1"} for period in ("all", "30d", "90d")]
    seven = {"period": "7d", "theta": "0.1", "omega": "0.666666666666"}
    assert found == [others[0], seven, *others[1:]]
    kept = await warehouse.fetch_value(
        "SELECT countDistinct(theta) FROM cascadian_clean.leaderboard_omega_daily WHERE period = '7d'"
    )
    assert int(kept) == 2


async def test_profits_and_cash_flows_of_different_states_are_refused(warehouse: Warehouse, config: Config) -> None:
    await put_profits(warehouse, rows(5, -5))
    await warehouse.execute("TRUNCATE TABLE polymarket.trade_cashflows_v3")
    with pytest.raises(StateError, match="rebuild all"):
        await run(warehouse, config, Wish())
    assert set((await counts(warehouse)).values()) == {0}


@pytest.mark.parametrize("lock", ["leaderboard", "rebuild"])
async def test_one_at_a_time(warehouse: Warehouse, config: Config, lock: str) -> None:
    with held(lock_path(config.run.checkpoint_dir, lock), what=lock), pytest.raises(TrackHeld):
        await run(warehouse, config, Wish())


@pytest.mark.parametrize("text", ["x", "nan", "1e4", "0.0000000001", "inf", ""])
def test_a_theta_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--theta"):
        read_theta(text)


def test_a_theta_is_exact() -> None:
    assert [read_theta(text) for text in ("0.05", "-1.000000001", "1e-9")] == [
        Decimal("0.05"), Decimal("-1.000000001"), Decimal("0.000000001"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "1969-12-31", "2149-06-07"])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--as-of"):
        read_day(text)


def call(config: Config, folder: Path, *words: str) -> tuple[int, str, BaseException | None]:
    """A command on the session's warehouse; exit code, what it printed, and the error that it raised."""
    path = folder / "config.toml"
    run = {name: str(getattr(config.run, name)) for name in ("checkpoint_dir", "data_dir", "log_file")}
    path.write_text("[run]\n" + "".join(f'{name} = "{value}"\n' for name, value in run.items()))
    found = CliRunner().invoke(build_cli(), ["--config", str(path), "leaderboard", *words])
    return found.exit_code, found.stdout, found.exception


async def _prepare(warehouse: Warehouse, config: Config, profits: Sequence[int]) -> None:
    await put_profits(warehouse, rows(*profits))
    await run(warehouse, config, Wish(gates=OPEN))


@pytest.fixture
def ranked(config: Config) -> Config:
    """A warehouse with a leaderboard of one wallet, prepared outside of any loop."""
    import asyncio

    from backfill.warehouse.client import open_warehouse

    async def prepare() -> None:
        async with open_warehouse(config) as warehouse:
            for table in TABLES:
                await warehouse.execute(f"TRUNCATE TABLE cascadian_clean.{table}")
            await _prepare(warehouse, config, (5, -3))

    asyncio.run(prepare())
    return config


def test_show_prints_and_tells(ranked: Config, tmp_path: Path) -> None:
    code, out, _ = call(ranked, tmp_path, "show", "omega", "--json")
    told: dict[str, Any] = orjson.loads(out)
    assert code == 0 and (told["board"], told["period"], told["category"]) == ("omega", "all", "overall")
    assert told["rows"][0]["omega"] == "1.666666666666" and told["rows"][0]["wallet"] == address(1)
    code, out, _ = call(ranked, tmp_path, "show", "whales", "--period", "7d", "--top", "1")
    assert code == 0 and address(1) in out and "1.6667" in out and "as of 2026-03-10" in out


def test_build_tells_what_it_did(ranked: Config, tmp_path: Path) -> None:
    code, out, _ = call(ranked, tmp_path, "build", "--theta", "0.1", "--period", "all", "--json")
    told = orjson.loads(out)
    assert code == 0 and told["theta"] == "0.1" and told["periods"] == ["all"] and told["dry_run"] is False
    assert told["rows"]["wallet_market_returns"] == 2
    # Two markets are too few for the usual gates.
    assert told["gates"]["min_markets"] == Gates().min_markets > 2 and told["rows"]["leaderboard_omega"] > 0


@pytest.mark.parametrize(
    "words",
    [["show", "sharks"], ["show", "--period", "1d"], ["build", "--period", "8d"], ["show", "--category", "none"]],
)
def test_words_that_mean_nothing_are_refused(ranked: Config, tmp_path: Path, words: list[str]) -> None:
    code, _, error = call(ranked, tmp_path, *words)
    assert code and isinstance(error, UsageError)


def test_nobody_is_ranked_is_said(config: Config) -> None:
    (line,) = commands.shown_lines("omega", "all", "overall", [])
    assert "gates" in line and "leaderboard build" in line
    built = Built(Wish(), dt.date(2026, 3, 1), nothing="why")
    assert commands.built_lines(built) == ["nothing to rank: why"]
