"""Quality on a real warehouse: each fault is caught where it is planted, and only there; limits decide."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.config import Config, Quality
from backfill.stages import faults, quality
from backfill.stages.imports import import_fills, import_token_map
from backfill.stages.quality import empty_months, run_quality
from backfill.warehouse.client import Warehouse
from tests.stages.planted import condition, put, put_mapped, token

NOW = int(time.time())
TOKENS = [token(number) for number in range(4)]


@pytest.fixture
def here(config: Config, tmp_path: Path) -> Config:
    return config.model_copy(update={"root": tmp_path})


async def fill_up(warehouse: Warehouse, fault: str = "", *, mapped: bool = True, **more: Any) -> None:
    """Good rows of ours in production, a fault among them, and their map."""
    if mapped:
        await put_mapped(warehouse, [(token(number), condition(number), 0) for number in range(4)])
    # One insert keeps one of the rows with a key, so copies go in one by one.
    batches: list[dict[Any, Any]] = []
    for row in faults.rows(fault, TOKENS, NOW):
        key = (row["token_id"], row["timestamp"], row["fill_id"])
        batch = next((each for each in batches if key not in each), None)
        if batch is None:
            batches.append(batch := {})
        batch[key] = row | more
    for batch in batches:
        await put(warehouse, "production.clob_fills", list(batch.values()))


def failed(report: quality.Report) -> set[str]:
    return {check.name for check in report.checks if check.passed is False}


async def test_good_fills_pass_every_check(here: Config, warehouse: Warehouse) -> None:
    await fill_up(warehouse)
    report = await run_quality(here, warehouse)
    assert report.passed and failed(report) == set()
    assert [check.name for check in report.checks if check.passed is not True] == []
    assert {control.name for control in report.controls} == {"no_fault", *(check.name for check in report.checks)}


BESIDES = {
    "price_zero": {"size_zero"},
    "empty_values": {"bad_addresses"},
    "cross_tokens": {"duplicates", "unmapped_share"},
}
"""What else is wrong with a row that has this fault."""


@pytest.mark.parametrize("fault", faults.FAULTS)
async def test_a_fault_is_caught_by_its_check_and_by_no_other(here: Config, warehouse: Warehouse, fault: str) -> None:
    await fill_up(warehouse, fault)
    figures = await quality.measure(warehouse, quality.Place(warehouse.names.production, "clob_fills"), NOW)
    checks = quality.judge(figures, here.quality)
    assert {check.name for check in checks if check.passed is False} == {fault} | BESIDES.get(fault, set())


async def test_limits_in_the_config_decide(here: Config, warehouse: Warehouse) -> None:
    await fill_up(warehouse, "price_wrong")
    loose = here.model_copy(update={"quality": Quality(bad_rows=1)})
    assert (await run_quality(loose, warehouse)).passed
    assert not (await run_quality(here, warehouse)).passed


async def test_nothing_is_not_judged(here: Config, warehouse: Warehouse) -> None:
    report = await run_quality(here, warehouse)
    assert {check.passed for check in report.checks} == {None}
    assert report.passed and all(control.caught for control in report.controls)


@pytest.mark.parametrize("broken", ["quality_rows", "quality_repeats", "quality_twins", "quality_tokens"])
async def test_a_check_that_sees_nothing_is_caught_by_its_control(
    here: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    await fill_up(warehouse)
    ask = quality._Asker.__call__

    async def blind(self: Any, name: str, **more: object) -> list[dict[str, Any]]:
        rows = await ask(self, name, **more)
        if name != broken:
            return rows
        return [] if name == "quality_rows" else [{key: [] if "examples" in key else 0 for key in rows[0]}]

    monkeypatch.setattr(quality._Asker, "__call__", blind)
    report = await run_quality(here, warehouse)
    assert failed(report) == set() and not report.passed
    assert any(not control.caught for control in report.controls)


async def test_the_reports_are_files_that_say_the_same(here: Config, warehouse: Warehouse) -> None:
    await fill_up(warehouse, "in_future")
    report = await run_quality(here, warehouse)
    day = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")
    written = here.root / "reports" / f"quality-{day}.json"
    assert report.paths == [str(written.with_suffix(".md")), str(written)]
    assert orjson.loads(written.read_bytes()) == orjson.loads(orjson.dumps(report.document()))
    text = written.with_suffix(".md").read_text()
    assert "**FAIL**" in text and faults.fill(faults.CLEAN, 1)["fill_id"] in text and "2026-04" in text


async def test_equal_fills_of_different_orders_are_no_copies(here: Config, warehouse: Warehouse) -> None:
    await fill_up(warehouse)
    row = faults.fill(60, TOKENS[0])
    order = f"0x{5:064x}"
    twin = {**row, "fill_id": f"{row['tx_hash']}_{order}", "order_hash": order, "log_index": 61}
    further = {**row, "fill_id": f"{row['fill_id']}_62", "log_index": 62}
    await put(warehouse, "production.clob_fills", [row, twin, further])
    report = await run_quality(here, warehouse)
    assert report.passed and report.figures.mixed == 0
    keyless = {k: v for k, v in row.items() if k not in ("order_hash", "log_index")}
    await put(warehouse, "production.clob_fills", [{**keyless, "fill_id": f"{row['tx_hash']}_kab_0"}])
    assert (await run_quality(here, warehouse)).figures.mixed == 1


async def test_staged_rows_of_two_tracks_are_no_copies_and_those_of_one_are(here: Config, warehouse: Warehouse) -> None:
    await put_mapped(warehouse, [(token(number), condition(number), 0) for number in range(4)])
    good = faults.rows("", TOKENS, NOW)
    for track in ("chain", "goldsky"):
        rows = [{**row, "source": track, "track": f"{track}_fills", "unit": 0} for row in good]
        await put(warehouse, "staging.clob_fills_v2", rows)
        await put(warehouse, "staging.clob_fills_v2", rows[:5])
    report = await run_quality(here, warehouse, staging=True)
    assert report.passed and report.figures.totals["rows"] == 2 * len(good)
    assert report.table == "staging.clob_fills_v2" and "quality-staging-" in report.paths[0]
    again = {**good[0], "timestamp": good[0]["timestamp"] + 9, "track": "chain_fills", "unit": 0}
    await put(warehouse, "staging.clob_fills_v2", [again])
    assert "duplicates" in failed(await run_quality(here, warehouse, staging=True))


async def test_parts_come_to_the_same(here: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill_up(warehouse, "duplicate_facts")
    whole = await quality.measure(warehouse, quality.Place("polymarket", "clob_fills"), NOW)
    monkeypatch.setattr(quality, "PART", 3)
    assert await quality.measure(warehouse, quality.Place("polymarket", "clob_fills"), NOW) == whole


def test_months_between_the_first_and_the_last() -> None:
    assert empty_months(["2025-11", "2026-02"]) == ["2025-12", "2026-01"]
    assert empty_months(["2025-12", "2026-01"]) == empty_months([]) == empty_months(["2025-01"]) == []


async def test_real_fills_pass(here: Config, warehouse: Warehouse, real_data: Path) -> None:
    await import_token_map(warehouse, here, [real_data / "fills_dataapi_alpharaccoon.jsonl.gz"])
    await import_fills(warehouse, here, [real_data / "fills_dataapi_alpharaccoon.jsonl.gz"])
    report = await run_quality(here, warehouse)
    # One wallet that nearly always buys; it is the only thing about these fills that is out of the ordinary.
    assert failed(report) == {"side_share"}
    assert {check.name for check in report.checks if check.passed is None} == {"taker_share"}
