"""The sample rows of the dataset note are those that the simulator's world comes to."""

from __future__ import annotations

import re

from backfill.config import Config
from backfill.warehouse.client import Warehouse
from tests.leaderboard import sample


async def test_the_sample_rows_are_true(warehouse: Warehouse, config: Config) -> None:
    await sample.make(warehouse, config)
    text = sample.PAPER.read_text(encoding="utf-8")
    assert await sample.rendered(warehouse) == text, "python -m tests.leaderboard.sample writes them anew"


async def test_the_note_names_every_column(warehouse: Warehouse) -> None:
    told = set(re.findall(r"`(\w+)`", sample.PAPER.read_text(encoding="utf-8")))
    rows = await warehouse.fetch(
        "SELECT table, name FROM system.columns WHERE database = 'cascadian_clean' "
        "AND table IN ('wallet_market_returns', 'wallet_omega_daily', 'leaderboard_omega', 'leaderboard_whales', "
        "'leaderboard_omega_daily', 'wallet_coverage_metrics', 'market_coverage_metrics', 'mv_data_quality_summary')"
    )
    assert len(rows) > 80
    assert {row["table"] for row in rows} <= told
    assert {row["name"] for row in rows if row["table"].startswith("leaderboard")} <= told
