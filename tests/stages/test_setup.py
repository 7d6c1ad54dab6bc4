"""Setup on a real warehouse: what it finds, what it plans, and which plan it refuses to give up."""

from __future__ import annotations

import pytest

from backfill.config import Config, DomeTokens, GoldskyTokens, Tracks
from backfill.engine.checkpoint import CheckpointFile
from backfill.engine.model import Failure, Page
from backfill.engine.plan import Plan, PlanBook
from backfill.engine.progress import Progress
from backfill.errors import StateError
from backfill.stages.setup import read_baseline, run_setup, weights
from backfill.warehouse.client import Warehouse
from tests.stages.planted import condition, put_fills, put_mapped, token


@pytest.fixture
def small(config: Config) -> Config:
    tracks = Tracks(dome_tokens=DomeTokens(batch=2), goldsky_tokens=GoldskyTokens(batch=3))
    return config.model_copy(update={"tracks": tracks})


async def plan_of(small: Config, warehouse: Warehouse, *, replace: bool = False, dry_run: bool = False) -> Plan:
    plan = (await run_setup(small, warehouse, replace=replace, dry_run=dry_run)).plan
    assert plan is not None
    return plan


def settle(config: Config, plan: Plan, *, but: int = 0, failed: bool = False) -> None:
    """Every unit of every track done, except the last `but` ones."""
    for name in plan.shares:
        units, progress = PlanBook(config.run.checkpoint_dir).track(plan, name).units_total, Progress()
        for number in range(units - but):
            progress.advance(number, Page((), 1))
        for number in range(units - but, units) if failed else ():
            progress.fail(number, Failure("refused", "no", 1))
        CheckpointFile(config.run.checkpoint_dir, name).save(plan.plan_id, units, progress.document())


async def test_the_baseline_counts_tokens_once_and_mapped_ones_by_their_row(warehouse: Warehouse) -> None:
    await put_fills(warehouse, [token(n) for n in (0, 1, 2, 2, 3)])
    await put_mapped(warehouse, [(token(0), condition(0), 0), (token(9), condition(9), 0)])
    assert await read_baseline(warehouse) == {"unique_ids": 4, "mapped": 1, "share": 0.25, "unmapped": 3, "fills": 5}


async def test_without_fills_there_is_no_share_and_no_plan(small: Config, warehouse: Warehouse) -> None:
    found = await run_setup(small, warehouse, replace=False, dry_run=False)
    assert (found.baseline["share"], found.plan, found.change) == (None, None, "nothing")


async def test_every_unmapped_token_is_planned_for_one_track(small: Config, warehouse: Warehouse) -> None:
    await put_fills(warehouse, [token(n) for n in range(11)])
    await put_mapped(warehouse, [(token(0), condition(0), 0)])
    plan = await plan_of(small, warehouse)
    book = PlanBook(small.run.checkpoint_dir)
    assert book.current() == plan
    tracks = [book.track(plan, name) for name in plan.shares]
    items = [item for track in tracks for item in track.items(track.segments[0])]
    assert sorted(map(int, items)) == sorted(token(n) for n in range(1, 11))


async def test_setup_again_is_the_same_plan(small: Config, warehouse: Warehouse) -> None:
    await put_fills(warehouse, [token(n) for n in range(6)])
    plan = await plan_of(small, warehouse)
    again = await run_setup(small, warehouse, replace=False, dry_run=False)
    assert again.change == "unchanged" and again.plan == plan


async def test_an_unfinished_plan_is_not_given_up_without_being_told(small: Config, warehouse: Warehouse) -> None:
    await put_fills(warehouse, [token(n) for n in range(6)])
    plan = await plan_of(small, warehouse)
    await put_fills(warehouse, [token(n) for n in range(20, 22)])
    with pytest.raises(StateError, match=r"unfinished.*--replace"):
        await run_setup(small, warehouse, replace=False, dry_run=False)
    for failed in (False, True):
        settle(small, plan, but=1, failed=failed)
        with pytest.raises(StateError, match=r"1 of \d units left"):
            await run_setup(small, warehouse, replace=False, dry_run=False)
    assert PlanBook(small.run.checkpoint_dir).current() == plan


@pytest.mark.parametrize("finished", [True, False])
async def test_a_new_plan_puts_the_old_checkpoints_aside(small: Config, warehouse: Warehouse, finished: bool) -> None:
    await put_fills(warehouse, [token(n) for n in range(6)])
    plan = await plan_of(small, warehouse)
    settle(small, plan, but=0 if finished else 1)
    await put_fills(warehouse, [token(n) for n in range(20, 22)])
    new = await plan_of(small, warehouse, replace=not finished)
    folder = small.run.checkpoint_dir
    assert new.plan_id != plan.plan_id and PlanBook(folder).current() == new
    assert not (folder / "dome_tokens.json").exists()
    assert (folder / "plans" / plan.plan_id / "dome_tokens.json").exists()


async def test_a_dry_run_writes_nothing(small: Config, warehouse: Warehouse) -> None:
    await put_fills(warehouse, [token(n) for n in range(6)])
    await plan_of(small, warehouse, dry_run=True)
    assert PlanBook(small.run.checkpoint_dir).current() is None


async def test_without_a_track_there_is_no_plan(small: Config, warehouse: Warehouse) -> None:
    tracks = Tracks(dome_tokens=DomeTokens(enabled=False), goldsky_tokens=GoldskyTokens(enabled=False))
    with pytest.raises(StateError, match="no token track"):
        await run_setup(small.model_copy(update={"tracks": tracks}), warehouse, replace=False, dry_run=False)


def test_a_balanced_split_follows_the_tightest_limit() -> None:
    config = Config()
    assert weights(config) == {"dome_tokens": 1.0, "goldsky_tokens": 1.0}
    balanced = config.model_copy(update={"run": config.run.model_copy(update={"split": "balanced"})})
    assert weights(balanced) == {"dome_tokens": 10.0 * 100, "goldsky_tokens": 5.0 * 1000}
