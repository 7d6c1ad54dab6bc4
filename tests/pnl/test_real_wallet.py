"""A real wallet: 3,500 fills in 59 markets, all of them resolved, to the cent through import and rebuild."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.config import Config
from backfill.log import configure
from backfill.stages.imports import import_fills
from backfill.stages.rebuild import rebuild
from backfill.warehouse.client import Warehouse

WALLET = "0xee50a31c3f5a7c77824b12a941a54388a2827ed6"
BOUGHT, SOLD, PROFIT = Decimal("3829760.68"), Decimal("97179.66"), Decimal("1169077.69")
FILLS = "fills_dataapi_alpharaccoon.jsonl.gz"
WINNERS = "alpharaccoon_token_winners.json.gz"
BY_CONDITION = "alpharaccoon_cashflow_by_condition.csv"
CENT = Decimal("0.01")


def _fills(folder: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / FILLS, "rt") as file:
        yield from map(json.loads, file)


def _rows(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Map and payouts: the fills tell the place of a traded token, the other token of the market has the other one."""
    winners = json.loads(gzip.decompress((folder / WINNERS).read_bytes()))
    places = {fill["asset"]: int(fill["outcomeIndex"]) for fill in _fills(folder)}
    mapped, payouts = [], []
    for condition, tokens in winners.items():
        known = next(token for token in tokens if token in places)
        numerators = [0, 0]
        for token, won in tokens.items():
            place = places[known] if token == known else 1 - places[known]
            numerators[place] = int(won)
            about = {"condition_id_norm": condition[2:], "outcome_index": place, "source": "test", "proven": 1}
            mapped.append({"token_id": token, **about})
        about = {"condition_id_norm": condition[2:], "payout_denominator": 1, "source": "test"}
        payouts.append({**about, "payout_numerators": numerators, "resolved_at": "2025-12-05 00:00:00"})
    return mapped, payouts


async def _load(warehouse: Warehouse, config: Config, folder: Path) -> None:
    report = await import_fills(warehouse, config, [folder / FILLS])
    assert report.document()["inserted"] == 3500
    mapped, payouts = _rows(folder)
    await warehouse.insert("production.ctf_token_map", b"\n".join(map(orjson.dumps, mapped)))
    await warehouse.insert("production.market_resolutions_final", b"\n".join(map(orjson.dumps, payouts)))
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    told = await rebuild(warehouse, config, log)
    assert told.events == {"buy": 3403, "sell": 97} and told.changed == 1


async def test_a_real_wallet_to_the_cent(warehouse: Warehouse, config: Config, real_data: Path) -> None:
    await _load(warehouse, config, real_data)
    (found,) = await warehouse.fetch(
        "SELECT sum(proceeds_micro) AS sold, sum(costs_micro) AS bought, count() AS rows "
        "FROM polymarket.trade_cashflows_v3"
    )
    assert (Decimal(found["bought"]) / 10**6).quantize(CENT) == BOUGHT
    assert (Decimal(found["sold"]) / 10**6).quantize(CENT) == SOLD
    assert int(found["rows"]) == 60
    (mine,) = await warehouse.fetch("SELECT * FROM polymarket.wallet_pnl_summary_final")
    assert mine["wallet"] == WALLET and mine["owner"] == WALLET
    assert Decimal(mine["realized_pnl_usd"]).quantize(CENT) == PROFIT
    assert mine["realized_cash_usd"] == mine["realized_pnl_usd"] == mine["total_pnl_usd"] == mine["marked_pnl_usd"]
    assert (int(mine["resolved_markets"]), int(mine["open_markets"]), int(mine["fills"])) == (59, 0, 3500)
    assert not await warehouse.fetch("SELECT * FROM polymarket.outcome_positions_v2 WHERE net_shares_micro < 0")


async def test_its_cash_flow_market_by_market_is_the_publishers(
    warehouse: Warehouse, config: Config, real_data: Path
) -> None:
    """The publisher's figures are sells less buys, without payouts."""
    await _load(warehouse, config, real_data)
    rows = await warehouse.fetch(
        "SELECT condition_id_norm, sum(cashflow_usdc) AS usd "
        "FROM polymarket.trade_cashflows_v3 GROUP BY condition_id_norm"
    )
    lines = (real_data / BY_CONDITION).read_text().splitlines()
    theirs = {condition: Decimal(flow) for condition, flow in (line.split(",") for line in lines[1:])}
    assert {f"0x{row['condition_id_norm']}" for row in rows} == theirs.keys() and len(rows) == 59
    for row in rows:
        assert abs(Decimal(row["usd"]) - theirs[f"0x{row['condition_id_norm']}"]) < CENT, row


@pytest.mark.parametrize("cutoff", ["2025-11-01T00:00:00+00:00"])
async def test_a_moment_of_its_past(warehouse: Warehouse, config: Config, real_data: Path, cutoff: str) -> None:
    """Nothing was resolved then; the note says which moment the tables show, and the next rebuild takes all anew."""
    import datetime as dt

    await _load(warehouse, config, real_data)
    at = int(dt.datetime.fromisoformat(cutoff).timestamp())
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    told = await rebuild(warehouse, config, log, cutoff=at)
    before = [fill for fill in _fills(real_data) if fill["timestamp"] <= at]
    assert told.everything and sum(told.events.values()) == len(before) > 0
    (mine,) = await warehouse.fetch("SELECT * FROM polymarket.wallet_pnl_summary_final")
    assert Decimal(mine["realized_pnl_usd"]) == 0 and int(mine["resolved_markets"]) == 0
    assert mine["as_of"] == "2025-11-01 00:00:00"
    again = await rebuild(warehouse, config, log)
    assert again.everything
    (mine,) = await warehouse.fetch("SELECT * FROM polymarket.wallet_pnl_summary_final")
    assert Decimal(mine["realized_pnl_usd"]).quantize(CENT) == PROFIT and mine["as_of"] is None
