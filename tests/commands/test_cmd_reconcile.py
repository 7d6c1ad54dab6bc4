"""`quality`, `reconcile fills` and `merge-fills` as commands: what they print, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from backfill import ids
from backfill.files import held
from backfill.stages import faults
from tests.commands.cmd_project import Project

Ask = Callable[[Callable[[Any], Any]], Any]
CONDITIONS = [f"{number + 1:064x}" for number in range(2)]
TOKENS = [ids.position_id(condition, 0) for condition in CONDITIONS]
TABLES = (
    "polymarket.clob_fills", "polymarket.ctf_token_map", "staging.clob_fills_v2", "staging.fills_merged",
    "staging.fill_merges", "staging.covered_windows", "cascadian_clean.data_sync_status",
)  # fmt: skip


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(map(orjson.dumps, rows))


@pytest.fixture
def staged(stored: Ask) -> Ask:
    """Good fills that chain and Goldsky have both read, none of them merged, and the map of their tokens."""

    async def prepare(warehouse: Any) -> None:
        for table in TABLES:
            await warehouse.execute(f"TRUNCATE TABLE {table}")
        mapped = [
            {"token_id": str(token), "condition_id_norm": condition, "outcome_index": 0, "source": "x", "proven": 1}
            for token, condition in zip(TOKENS, CONDITIONS, strict=True)
        ]
        await warehouse.insert("production.ctf_token_map", lines(mapped))
        for track in ("chain", "goldsky"):
            name = f"{track}_fills"
            rows = [{**row, "source": track, "track": name, "unit": 0} for row in faults.rows("", TOKENS, 0)]
            await warehouse.insert("staging.clob_fills_v2", lines(rows))
            window = {"dataset": "fills", "source": name, "kind": "all", "key": "", "covered_from": 0}
            more = {"covered_to": 1 << 32, "plan_id": "p", "unit": 0}
            await warehouse.insert("staging.covered_windows", lines([window | more]))

    stored(prepare)
    return stored


async def spoil(warehouse: Any) -> None:
    """A fill that only Goldsky shows, with a price that is not its own."""
    (row,) = faults.FAULTS["price_wrong"](faults.fill(90, TOKENS[0]), 0)
    row |= {"source": "goldsky", "track": "goldsky_fills", "unit": 0}
    await warehouse.insert("staging.clob_fills_v2", lines([row]))


def test_fills_are_merged_compared_and_judged(project: Project, staged: Ask) -> None:
    assert project.call("merge-fills", "--dry-run", "--json").json == {
        "fresh": 40, "added": 20, "replaced": 0, "rows": 0,
    }  # fmt: skip
    merged = project.call("merge-fills")
    assert merged.code == 0 and "20 fills added" in merged.out and "production has 20 fills" in merged.out
    assert project.call("merge-fills", "--json").json["fresh"] == 0
    agreed = project.call("reconcile", "fills")
    assert agreed.code == 0 and "100.0000% agree" in agreed.out and "THE SOURCES AGREE" in agreed.out
    good = project.call("quality", "--json")
    assert (good.code, good.json["passed"], good.json["table"]) == (0, True, "polymarket.clob_fills")
    assert {check["passed"] for check in good.json["checks"]} == {True}
    assert {control["caught"] for control in good.json["controls"]} == {True}
    assert project.call("quality", "--staging", "--json").json["totals"]["rows"] == 40


def test_a_limit_that_is_broken_decides_the_exit_code(project: Project, staged: Ask) -> None:
    staged(spoil)
    project.call("merge-fills")
    bad = project.call("quality")
    assert bad.code == 3
    assert "FAIL  price_wrong" in bad.out and "QUALITY IS NOT WITHIN THE LIMITS" in bad.out
    assert (project.root / "reports").is_dir() and str(project.root / "reports") in bad.out
    differ = project.call("reconcile", "fills")
    assert differ.code == 3
    assert "only there" in differ.out and faults.fill(90, 0)["fill_id"] in differ.out
    document = project.call("reconcile", "fills", "--json").json
    assert (document["passed"], document["disagreements"], len(document["first"])) == (False, 1, 1)
    project.env["BACKFILL_GATES__RECONCILE_VARIANCE"] = "0.05"
    assert project.call("reconcile", "fills").code == 0


def test_nothing_to_compare_is_said_and_is_no_failure(project: Project, stored: Ask) -> None:
    async def empty(warehouse: Any) -> None:
        for table in TABLES:
            await warehouse.execute(f"TRUNCATE TABLE {table}")

    stored(empty)
    answer = project.call("reconcile", "fills")
    assert answer.code == 0 and "NOTHING TO COMPARE" in answer.out
    assert project.call("quality").code == 0


def test_a_merge_and_an_import_keep_out_of_each_other_s_way(project: Project, staged: Ask) -> None:
    with held(project.checkpoints / "import.lock", what="import"):
        answer = project.call("merge-fills")
    assert answer.code == 7 and answer.err.count("\n") == 1
