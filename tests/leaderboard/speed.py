"""How long the questions of leaderboards take at the size that ten million fills come to; run by hand.

`python -m tests.leaderboard.speed [OWNERS]`: rows are made by the warehouse itself. Each owner has ten resolved markets
(about three fills each), and a row for each period and two categories in the rankings.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from backfill.config import Config, Run
from backfill.stages import leaderboard
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.launcher import stop
from backfill.warehouse.migrate import migrate_up

TIMES = 15
_OWNER = "concat('0x', substring(lower(hex(SHA1(toString({})))), 1, 40))"
_RETURNS = f"""
INSERT INTO cascadian_clean.wallet_market_returns
  (owner, condition_id_norm, category, wallets, resolved_at, realized_micro, cost_micro, volume_micro, fees_micro,
   return, trades, first_activity, last_activity)
SELECT {_OWNER.format("intDiv(number, 10)")}, lower(hex(SHA256(toString(number % 200000)))), 'other', 1, now(),
  number, 7, 7, 0, 0, 3, now(), now()
FROM numbers({{rows:UInt64}})
"""
_DAILY = f"""
INSERT INTO cascadian_clean.leaderboard_omega_daily
SELECT '2026-03-31', ['7d', '30d', '90d', 'all'][1 + number % 4], ['overall', 'other'][1 + intDiv(number, 4) % 2],
  {_OWNER.format("intDiv(number, 8)")}, 0, ['x'], 1, 1, 1, 1, 1, number, 1, 1, number % 1000, 0, now(), 1, 1, 1, 1, 1,
  now()
FROM numbers({{rows:UInt64}})
"""
_BOARD = """
INSERT INTO cascadian_clean.leaderboard_omega
SELECT period, category, row_number() OVER (PARTITION BY period, category ORDER BY omega DESC, wallet), wallet, as_of,
  theta, wallets, markets, wins, trade_count, volume_usd, cost_usd, realized_pnl_usd, gains_usd, losses_usd, omega,
  no_losses, last_activity, fills_share, enough_trades, enough_markets, enough_coverage, eligible, built_at
FROM cascadian_clean.leaderboard_omega_daily
"""


async def _median(warehouse: Warehouse, sql: str) -> float:
    taken = []
    for number in range(TIMES):
        owner = await warehouse.fetch_value(f"SELECT {_OWNER.format(number * 7919)}")
        begun = time.perf_counter()
        await warehouse.fetch(sql, {"owner": owner})
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[TIMES // 2] * 1000


async def _measure(folder: Path, owners: int) -> None:
    config = Config(run=Run(data_dir=folder / "data", checkpoint_dir=folder / "checkpoints", log_file=folder / "log"))
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        for sql, rows in ((_RETURNS, owners * 10), (_DAILY, owners * 8), (_BOARD, owners * 8)):
            await warehouse.execute(sql, {"rows": rows} if "rows:" in sql else {})
            print(f"{rows:,} rows made", file=sys.stderr)
        taken = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            await leaderboard.top(warehouse, "omega", period="30d", limit=100)
            taken.append(time.perf_counter() - begun)
        print(f"leaderboard, first hundred   {sorted(taken)[TIMES // 2] * 1000:8.1f} ms")
        for what, table, key in (
            ("a wallet's markets", "wallet_market_returns", "owner"),
            ("a wallet's scores", "leaderboard_omega_daily", "wallet"),
            ("a wallet's ranks", "leaderboard_omega", "wallet"),
        ):
            sql = f"SELECT * FROM cascadian_clean.{table} WHERE {key} = {{owner:String}}"
            print(f"{what:<28} {await _median(warehouse, sql):8.1f} ms")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        try:
            asyncio.run(_measure(Path(place), int(sys.argv[1]) if len(sys.argv) > 1 else 300_000))
        finally:
            stop(Path(place) / "data")
