"""Merge on a real warehouse: arithmetic decides, then Dome before Goldsky; what is there stays."""

from __future__ import annotations

from typing import Any

import pytest

from backfill.stages.merge import conflict, run_merge
from backfill.warehouse.client import Warehouse
from tests.quiet import Kept
from tests.stages.planted import V2_TOKEN, condition, put_answers, put_fills, put_mapped, token

RANK = {"proven": 0, "unprovable": 1, "disproven": 2}


@pytest.mark.parametrize("dome", RANK)
@pytest.mark.parametrize("goldsky", RANK)
def test_of_two_answers_the_better_proven_wins_then_dome_and_never_a_disproven_one(dome: str, goldsky: str) -> None:
    row: dict[str, Any] = {"token_id": 5, "dome_verdict": dome, "goldsky_verdict": goldsky}
    row |= {"dome_condition": "a", "dome_index": 0, "goldsky_condition": "b", "goldsky_index": 1}
    best = "dome" if RANK[dome] <= RANK[goldsky] else "goldsky"
    assert conflict(row)["winner"] == (None if {dome, goldsky} == {"disproven"} else best)


async def mapped(warehouse: Warehouse) -> dict[int, tuple[str, int, str, int]]:
    rows = await warehouse.fetch(
        "SELECT token_id, condition_id_norm, outcome_index, source, proven FROM {production:Identifier}.ctf_token_map"
    )
    assert len({row["token_id"] for row in rows}) == len(rows), "duplicates"
    return {
        int(r["token_id"]): (r["condition_id_norm"], int(r["outcome_index"]), r["source"], int(r["proven"]))
        for r in rows
    }


async def test_the_whole_story(warehouse: Warehouse) -> None:
    only_dome, only_goldsky, both, dome_wrong, goldsky_wrong, both_wrong, there = (token(n) for n in range(7))
    wrong = condition(99)
    await put_fills(warehouse, [token(n) for n in range(7)] + [V2_TOKEN])
    await put_mapped(warehouse, [(there, "ee" * 32, 1)], proven=0)
    await put_answers(
        warehouse,
        "dome",
        [
            (only_dome, condition(0), 0),
            (both, condition(2), 0),
            (dome_wrong, wrong, 0),
            (goldsky_wrong, condition(4), 0),
            (both_wrong, wrong, 0),
            (there, condition(6), 0),
            (V2_TOKEN, condition(50), 0),
        ],
    )
    await put_answers(
        warehouse,
        "goldsky",
        [
            (only_goldsky, condition(1), 0),
            (both, condition(2), 0),
            (dome_wrong, condition(3), 0),
            (goldsky_wrong, condition(4), 1),
            (both_wrong, condition(5), 1),
            (V2_TOKEN, condition(51), 1),
        ],
    )
    done = await run_merge(warehouse, Kept())
    assert done.counts == {"dome": 7, "goldsky": 6, "overlap": 5}
    winners = {int(each["token_id"]): each["winner"] for each in done.conflicts}
    assert winners == {dome_wrong: "goldsky", goldsky_wrong: "dome", both_wrong: None, V2_TOKEN: "dome"}
    assert await mapped(warehouse) == {
        only_dome: (condition(0), 0, "dome", 1),
        only_goldsky: (condition(1), 0, "goldsky", 1),
        both: (condition(2), 0, "dome", 1),
        dome_wrong: (condition(3), 0, "goldsky", 1),
        goldsky_wrong: (condition(4), 0, "dome", 1),
        there: ("ee" * 32, 1, "before", 0),
        V2_TOKEN: (condition(50), 0, "dome", 0),
    }
    assert (done.added, done.coverage_before, done.coverage_after) == (6, 1 / 8, 7 / 8)
    again = await run_merge(warehouse, Kept())
    assert again.added == 0 and again.coverage_after == 7 / 8
    assert len(await mapped(warehouse)) == 7


async def test_a_dry_run_counts_and_changes_nothing(warehouse: Warehouse) -> None:
    await put_fills(warehouse, [token(0), token(1)])
    await put_answers(warehouse, "dome", [(token(0), condition(0), 0), (token(1), condition(9), 0)])
    done = await run_merge(warehouse, Kept(), dry_run=True)
    assert done.added == 1 and done.coverage_after == done.coverage_before == 0
    assert await mapped(warehouse) == {}


async def test_nothing_staged_is_nothing_merged(warehouse: Warehouse) -> None:
    done = await run_merge(warehouse, Kept())
    assert (done.added, done.conflicts, done.coverage_before, done.coverage_after) == (0, [], None, None)


async def test_a_batch_that_came_in_twice_is_taken_out_again(warehouse: Warehouse) -> None:
    for more in range(2):
        await put_mapped(warehouse, [(token(number), condition(number), 0) for number in range(1 + more)])
    log = Kept()
    await run_merge(warehouse, log)
    assert len(await mapped(warehouse)) == 2 and log.of("map_compacted")[0]["duplicates"] == 1
