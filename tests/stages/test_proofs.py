"""Verdicts for staging tables, and the pool of judges behind them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from backfill import ids
from backfill.stages.judging import INLINE_BELOW, Judges, judge_all
from backfill.stages.proofs import prove_staging
from backfill.warehouse.client import Warehouse

TABLE = "clob_asset_map_dome"
OTHER_TABLE = "clob_asset_map_goldsky"
PROTOCOL_V2 = 888085889744461279209360413558628407880433504203309182232170602202981728256


def condition(number: int) -> str:
    return f"{number:064x}"


def answers(count: int) -> list[tuple[int, str, int]]:
    """Right answers, every second one of a neg-risk market; every fifth one has its sides swapped."""
    rows = []
    for number in range(count):
        collateral = (ids.USDC_E, ids.WCOL)[number % 2]
        token = ids.position_id(condition(number), number % 3 % 2, collateral)
        claimed = number % 3 % 2 if number % 5 else 1 - number % 3 % 2
        rows.append((token, condition(number), claimed))
    return rows


async def store(warehouse: Warehouse, rows: list[tuple[int, str, int]], table: str = TABLE) -> None:
    names = ("token_id", "condition_id_norm", "outcome_index")
    body = b"\n".join(
        orjson.dumps(dict(zip(names, (str(token), *rest), strict=True)) | {"source": "test"}) for token, *rest in rows
    )
    await warehouse.insert(f"staging.{table}", body, columns=(*names, "source"))


@pytest.mark.slow
async def test_processes_and_one_core_agree_in_order() -> None:
    rows = answers(INLINE_BELOW + 777)
    assert await judge_all(rows, processes=2) == await judge_all(rows, processes=1) == ids.judge_many(rows)


async def test_nothing_to_judge() -> None:
    assert await judge_all([]) == []


async def test_few_rows_start_no_process() -> None:
    async with Judges(processes=8) as judges:
        await judges.judge(answers(20))
        assert judges._pool is None


_KEEPS_JUDGES = """
import asyncio, multiprocessing, sys
from backfill.stages.judging import Judges
async def main():
    async with Judges(processes=2) as judges:
        await judges.judge([(1 << 255, "0" * 64, 0)] * 5000)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        await asyncio.sleep(60)
if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.slow
def test_judges_leave_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_KEEPS_JUDGES)
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while any(is_alive(pid) for pid in children):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_every_answer_gets_its_verdict_once(warehouse: Warehouse) -> None:
    rows = answers(50)
    await store(warehouse, [*rows, *rows[:7], (PROTOCOL_V2, condition(1), 0)])
    report = await prove_staging(warehouse, TABLE, batch=7)
    assert (report.judged, report.proven, report.disproven, report.unprovable) == (51, 40, 10, 1)
    assert report.answers == 51
    assert {int(row.token_id) for row in report.disproven_rows} == {token for token, *_ in rows[::5]}
    assert all("side swapped" in row.detail for row in report.disproven_rows)
    kept = await warehouse.fetch_value("SELECT count() FROM {staging:Identifier}.token_proofs")
    assert kept == 51


async def test_a_second_look_judges_nothing_and_reports_the_same(warehouse: Warehouse) -> None:
    await store(warehouse, answers(20))
    first = await prove_staging(warehouse, TABLE)
    second = await prove_staging(warehouse, TABLE)
    assert second.judged == 0
    assert (second.proven, second.disproven_rows) == (first.proven, first.disproven_rows)


async def test_two_answers_for_one_token_get_two_verdicts(warehouse: Warehouse) -> None:
    token, right, index = answers(3)[2]
    await store(warehouse, [(token, right, index)])
    await store(warehouse, [(token, right, 1 - index)], OTHER_TABLE)
    assert (await prove_staging(warehouse, TABLE)).proven == 1
    report = await prove_staging(warehouse, OTHER_TABLE)
    assert (report.judged, report.proven, report.disproven) == (1, 0, 1)


async def test_tables_share_verdicts_but_not_reports(warehouse: Warehouse) -> None:
    rows = answers(10)
    await store(warehouse, rows)
    await store(warehouse, rows[:4], OTHER_TABLE)
    assert (await prove_staging(warehouse, TABLE)).judged == 10
    report = await prove_staging(warehouse, OTHER_TABLE)
    assert (report.judged, report.answers) == (0, 4)


@pytest.mark.slow
def test_speed_is_told() -> None:
    rows = [row for row in answers(9000) if row[2] >= 0]
    ids.collection_id.cache_clear()
    begin = time.perf_counter()
    asyncio.run(judge_all(rows))
    print(f"\n{len(rows) / (time.perf_counter() - begin):,.0f} answers a second, start of the judges included")
