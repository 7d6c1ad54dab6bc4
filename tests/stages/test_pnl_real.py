"""Real wallets: one whose profit is known to the cent, one whose tokens the official subgraph has told one by one."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import pytest

from backfill.config import BaselineWallet, Config
from backfill.stages.imports import import_fills
from backfill.stages.pnl_book import read_books
from backfill.stages.pnl_causes import Reference, explain
from backfill.stages.pnl_rows import Claim, micro
from backfill.stages.validate_pnl import run_validate
from backfill.warehouse.client import Warehouse
from tests.pnl import test_real_wallet as core
from tests.stages.planted import put, put_mapped
from tests.stages.pnl_world import build

TRADER = "0x01ed5c64d1d8905afd7917d75a5652665f5cca5f"
SHARES = {"33578636": 898_730_000, "61701647": 16_324_000_000}
"""Micro-shares that this wallet bought of two tokens on 2025-10-10, at 0.999 dollars, by the first digits of each."""


async def test_a_real_wallet_passes_and_its_old_bugs_are_caught(
    config: Config, warehouse: Warehouse, real_data: Path
) -> None:
    await core._load(warehouse, config, real_data)
    wallet = BaselineWallet(name="AlphaRaccoon", address=core.WALLET, expected_pnl_usd=1169077.69, tolerance=0.0001)
    found = await run_validate(config.model_copy(update={"baseline_wallets": (wallet,)}), warehouse, strict=True)
    (told,) = found.document()["wallets"]
    assert found.passed and set(told["causes"]) <= {"rounding"} and abs(told["delta_usd"]) < 0.005
    assert (told["resolved_positions"], told["totals"]["fills"]) == (60, 3500)
    assert told["totals"]["short_positions"] == 0
    assert all(control.caught and control.by["variance"] == 2 for control in found.controls)


async def test_half_of_its_fills_are_not_enough(config: Config, warehouse: Warehouse, real_data: Path) -> None:
    """As long as nobody tells what is missing, the rest has no cause, and is said to have none."""
    await core._load(warehouse, config, real_data)
    await warehouse.execute("ALTER TABLE polymarket.clob_fills DELETE WHERE cityHash64(fill_id) % 2 = 0 "
                            "SETTINGS mutations_sync = 2")  # fmt: skip
    await build(warehouse, config)
    wallet = BaselineWallet(name="AlphaRaccoon", address=core.WALLET, expected_pnl_usd=1169077.69)
    found = await run_validate(config.model_copy(update={"baseline_wallets": (wallet,)}), warehouse)
    (told,) = found.document()["wallets"]
    assert not found.passed and set(told["causes"]) == {"unexplained"}
    assert told["causes"]["unexplained"] == pytest.approx(told["delta_usd"])


def subgraph(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    rows = parquet.read_table(folder / "pnl_subgraph_positions_22_wallets.parquet").to_pylist()
    return [row for row in rows if row["wallet"].lower() == TRADER]


def claim_of(row: dict[str, Any], condition: str, outcome: int) -> Claim:
    realized, bought = (micro(round(row[name], 6)) for name in ("realized_pnl_usdc", "total_bought_shares"))
    return Claim(TRADER, str(row["token_id"]), condition, outcome, "CLOSED", realized, 0, bought)


async def put_fills_of_the_trader(warehouse: Warehouse, config: Config, folder: Path, tmp_path: Path) -> dict[str, Any]:
    """Its fills of the day, and the redemptions that the subgraph shows by holding nothing any more."""
    with gzip.open(folder / "fills_dataapi_nobel2025.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["proxyWallet"].lower() == TRADER]
    path = tmp_path / "fills.csv"
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    report = await import_fills(warehouse, config, [path])
    assert report.document()["inserted"] == len(rows) == 15
    places = {row["asset"]: (row["conditionId"].lower().removeprefix("0x"), int(row["outcomeIndex"])) for row in rows}
    await put_mapped(warehouse, [(int(token), *place) for token, place in places.items()])
    for token, (condition, outcome) in places.items():
        paid = [int(place == outcome) for place in (0, 1)]
        payout = {"condition_id_norm": condition, "payout_numerators": paid, "payout_denominator": 1, "source": "test"}
        await put(warehouse, "production.market_resolutions_final", [payout])
        shares = SHARES[token[:8]]
        redemption = {
            "event_id": f"0x{token[:8]}", "kind": "redeem", "wallet": TRADER, "condition_id_norm": condition,
            "index_sets": ["1", "2"], "payout_micro": shares, "timestamp": 1_770_000_000, "tx_hash": "0x1",
            "source": "test",
        }  # fmt: skip
        await put(warehouse, "production.ctf_activity", [redemption])
    await build(warehouse, config)
    return places


async def test_average_cost_is_the_official_subgraph_s_on_real_tokens(
    config: Config, warehouse: Warehouse, real_data: Path, tmp_path: Path
) -> None:
    """Two tokens of 13,005 are in the recorded fills: on these we agree to the micro-dollar; the others are missing."""
    places = await put_fills_of_the_trader(warehouse, config, real_data, tmp_path)
    book = (await read_books(warehouse, [TRADER]))[TRADER]
    theirs, own = subgraph(real_data), [row for row in book.rows if row.bought]
    claims = [claim_of(row, *places.get(str(row["token_id"]), (str(row["token_id"]), 0))) for row in theirs]
    shown = {claim.token[:8]: claim for claim in claims if claim.token in places}
    assert {row.bought for row in own} == set(SHARES.values()) == {claim.bought for claim in shown.values()}
    assert sorted(row.avg_cost for row in own) == sorted(claim.realized for claim in shown.values())
    expected = sum(claim.realized for claim in claims)
    reference = Reference("pnl_subgraph", "realized", "avg_cost", expected, itemized=True)
    found = explain(book.rows, book.strays, claims, reference)
    assert found.actual == 17_222_730 and found.parts == {"missing_fills": 17_222_730 - expected}
    assert found.tokens == {"missing_fills": sum(bool(claim.realized) for claim in claims) - 2}
