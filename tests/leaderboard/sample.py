"""The sample rows of docs/leaderboards.md, from the simulator's world through rebuild and leaderboard.

`python -m tests.leaderboard.sample` writes them anew; test_leaderboard_docs.py says when that is due.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from backfill.config import Config, Run
from backfill.log import configure
from backfill.stages import leaderboard
from backfill.stages.leaderboard import Gates, Wish
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.launcher import stop
from backfill.warehouse.migrate import migrate_up
from tests.leaderboard.rows import put
from tests.pnl.test_world import _load, world

PAPER = Path(__file__).resolve().parents[2] / "docs" / "leaderboards.md"
GATES = Gates(min_trades=10, min_markets=5)
"""Below the usual ones, because the world is small."""
_BLOCK = re.compile(r"(<!-- (\w+): .*? -->\n).*?(<!-- end -->)", re.DOTALL)
_MICRO = Decimal("0.01")


async def make(warehouse: Warehouse, config: Config) -> None:
    """The world's facts into an empty warehouse, and everything that is computed from them."""
    pairs = [
        {"user_eoa": pair.owner, "proxy_wallet": pair.wallet, "wallet_type": "proxy", "evidence": "create2"}
        | {"source": "test"}
        for pair in world().ledger.wallets
        if pair.owner != pair.wallet
    ]
    await put(warehouse, "production.pm_user_proxy_wallets", pairs)
    await _load(warehouse, config)
    await warehouse.execute("TRUNCATE TABLE polymarket.markets")
    await put(warehouse, "production.markets", [_listed(market) for market in world().markets])
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    told = await leaderboard.build(warehouse, config, log, Wish(gates=GATES))
    assert not told.nothing, told.nothing


def _listed(market: Any) -> dict[str, Any]:
    return {
        "condition_id_norm": market.condition,
        "tags": market.tags,
        "outcomes": market.labels,
        "token_ids": [str(token) for token in market.tokens],
        "closed": int(market.closed_at is not None),
        "source": "test",
    }


async def rendered(warehouse: Warehouse) -> str:
    """The paper with the rows that are true now."""
    text = PAPER.read_text(encoding="utf-8")
    for match in list(_BLOCK.finditer(text)):
        lines = "\n".join(_table([row async for row in _rows(warehouse, match[2])]))
        text = text.replace(match[0], f"{match[1]}{lines}\n{match[3]}")
    return text


async def _rows(warehouse: Warehouse, name: str) -> Any:
    if name in leaderboard.BOARDS:
        for row in await leaderboard.top(warehouse, name, period="all", limit=5):
            yield _shown(row)
        return
    first = (await leaderboard.top(warehouse, "omega", limit=1))[0]["wallet"]
    tables = {
        "returns": ("wallet_market_returns", "owner", "condition_id_norm"),
        "days": ("wallet_omega_daily", "owner", "day"),
        "coverage": ("wallet_coverage_metrics", "wallet", "wallet"),
    }
    table, key, order = tables[name]
    for row in await warehouse.fetch(
        f"SELECT * FROM cascadian_clean.{table} WHERE {key} = {{who:String}} ORDER BY {order} LIMIT 4", {"who": first}
    ):
        yield _short(row, name)


def _shown(row: dict[str, Any]) -> dict[str, str]:
    omega = "NULL" if row["omega"] is None else row["omega"]
    money = {name: str(Decimal(row[name]).quantize(_MICRO)) for name in ("realized_pnl_usd", "volume_usd")}
    counts = {name: str(row[name]) for name in ("markets", "wins", "trade_count")}
    return {"rank": str(row["rank"]), "wallet": row["wallet"], "omega": omega, "no_losses": str(row["no_losses"])} | (
        money | counts | {"last_activity": row["last_activity"], "as_of": row["as_of"]}
    )


def _short(row: dict[str, Any], name: str) -> dict[str, str]:
    wanted = {
        "returns": ("condition_id_norm", "category", "resolved_at", "realized_usd", "cost_micro", "return", "trades"),
        "days": ("day", "markets", "wins", "realized_usd", "gains_usd", "losses_usd", "omega", "no_losses"),
        "coverage": ("fills", "mapped_fills", "fills_share", "payout_share", "price_share", "eligible"),
    }[name]
    return {column: "NULL" if row[column] is None else str(row[column])[:24] for column in wanted}


def _table(rows: list[dict[str, str]]) -> Iterator[str]:
    yield f"| {' | '.join(rows[0])} |"
    yield f"|{'---|' * len(rows[0])}"
    yield from (f"| {' | '.join(row.values())} |" for row in rows)


async def _write(folder: Path) -> None:
    config = Config(run=Run(data_dir=folder / "data", checkpoint_dir=folder / "checkpoints", log_file=folder / "log"))
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        await make(warehouse, config)
        PAPER.write_text(await rendered(warehouse), encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        try:
            asyncio.run(_write(Path(place)))
        finally:
            stop(Path(place) / "data")
