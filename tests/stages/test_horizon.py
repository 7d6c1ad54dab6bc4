"""A source that stands still, or is gone, is said to be so: what it does not know is not taken for nothing."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backfill.config import Config
from backfill.simulator.model import UPSTREAMS
from backfill.simulator.server import Simulator
from backfill.stages.horizon import STEP_BACK_S, TOLERATED_S, Horizon, behind, gone_back, reads_state, seconds
from backfill.tracks import catalog
from backfill.tracks.graph import about_when
from backfill.warehouse.client import Warehouse
from tests.quiet import Kept
from tests.stages import rerun

WALLET = "0x" + "77" * 20
ENDS_SHORT = "data ends|listing has"


@pytest_asyncio.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with rerun.simulator() as sim:
        yield sim


@pytest.fixture
def config(server_dir: Path, tmp_path: Path, sim: Simulator) -> Config:
    shutil.rmtree(server_dir / "raw", ignore_errors=True)
    return rerun.project(server_dir, tmp_path, sim)


def all_in(sim: Simulator, mode: str) -> None:
    for upstream in UPSTREAMS:
        sim.set_mode(upstream, mode)  # type: ignore[arg-type]


async def covered(warehouse: Warehouse, dataset: str) -> dict[str, tuple[str, int]]:
    found = await warehouse.fetch(
        "SELECT source, toString(covered_to) AS until, complete FROM cascadian_clean.data_sync_status FINAL "
        f"WHERE dataset = '{dataset}'"
    )
    return {row["source"]: (row["until"], int(row["complete"])) for row in found}


@pytest.mark.parametrize(
    ("dataset", "mode"),
    [
        *((dataset, "stale") for dataset in ("markets", "payouts", "wallets", "positions")),
        ("markets", "retired_404"),
        ("payouts", "retired_410"),
        ("wallets", "refused"),
        ("positions", "retired_404"),
    ],
)
async def test_a_source_that_was_read_and_then_stands_still_or_goes_ends_the_run_with_5(
    config: Config, warehouse: Warehouse, sim: Simulator, dataset: str, mode: str
) -> None:
    await rerun.run(config, warehouse, "markets")
    await rerun.run(config, warehouse, "payouts")
    wish: dict[str, Any] = {"wallets": (WALLET,)} if dataset in ("wallets", "positions") else {}
    await rerun.run(config, warehouse, dataset, **wish)
    before = await covered(warehouse, dataset)
    await warehouse.execute("TRUNCATE TABLE polymarket.market_resolutions_final")
    await warehouse.execute("TRUNCATE TABLE polymarket.resolutions_external_ingest")
    await warehouse.execute("TRUNCATE TABLE staging.payouts_v2")
    all_in(sim, mode)
    outcome = await rerun.run(config, warehouse, dataset, **wish)
    asked = {name for name in catalog.enabled(config, dataset) if catalog.track(name).upstream != "local"}
    assert set(outcome.unusable) == asked
    kinds = {error.kind for error in outcome.unusable.values()}
    assert kinds == {"stale" if mode == "stale" else mode.partition("_")[0]}
    assert {problem.exit_code for problem in outcome.problems} == {5}
    after = await covered(warehouse, dataset)
    for name in asked:
        assert after[name] == (before[name][0], 0), "what was covered stays covered, and no more"


async def test_what_a_source_covers_ends_where_its_data_does_and_not_now(
    config: Config, warehouse: Warehouse, sim: Simulator
) -> None:
    await rerun.run(config, warehouse, "markets")
    await rerun.run(config, warehouse, "payouts")
    found = {**await covered(warehouse, "markets"), **await covered(warehouse, "payouts")}
    assert found["gamma_markets"] == ("2026-11-01 00:00:00", 1), "the pretend history ends here"
    assert found["goldsky_payouts"] == ("2026-04-28 11:00:00", 1), "from here on it is incomplete"
    assert found["data_api_payouts"][0].startswith("2026-10-31")


async def test_a_source_that_stands_still_beside_others_is_left_out_and_they_do_the_work(
    config: Config, warehouse: Warehouse, sim: Simulator
) -> None:
    await rerun.run(config, warehouse, "markets")
    sim.set_mode("data_api", "stale")
    outcome = await rerun.run(config, warehouse, "payouts")
    assert set(outcome.unusable) == {"data_api_payouts"}
    assert "that of others goes on" in str(outcome.unusable["data_api_payouts"])
    assert outcome.problems == [], "the others did the work"


async def test_a_subgraph_that_stopped_long_before_its_known_end_is_stale_at_first_sight(
    config: Config, warehouse: Warehouse, sim: Simulator
) -> None:
    await rerun.run(config, warehouse, "markets")
    sim.set_mode("goldsky", "stale")
    outcome = await rerun.run(config, warehouse, "payouts", "goldsky_payouts")
    assert [problem.exit_code for problem in outcome.problems] == [5]
    assert outcome.unusable["goldsky_payouts"].kind == "stale"


async def test_a_lone_source_that_is_far_behind_the_clock_is_warned_about(
    config: Config, warehouse: Warehouse, sim: Simulator
) -> None:
    from backfill.commands.bars import no_bars
    from backfill.engine.stop import StopSignal
    from backfill.runs import Run
    from backfill.stages.planning import Wish

    sim.set_mode("gamma", "stale")
    log = Kept()
    wish = Wish(only="gamma_markets")
    made = Run(config, warehouse, "markets", wish, log, "r", StopSignal(), lambda _: no_bars(), lambda _: None)
    await made.run()
    assert log.of("source_behind")[0]["days"] > 90
    assert (await covered(warehouse, "markets"))["gamma_markets"][0] < "2026-01", "and not as of today"


def test_a_small_step_back_is_no_step_back() -> None:
    track = catalog.track("chain_payouts")
    before = 1_780_000_000
    for head, gone in ((before - STEP_BACK_S, False), (before - STEP_BACK_S - 1, True), (before + 5, False)):
        found = Horizon(head, wanted=before + 10 * STEP_BACK_S, head=head)
        assert (gone_back(track, found, before) is not None) == gone
    assert gone_back(track, Horizon(5, wanted=5), before) is None, "a source that cannot say is not judged"
    asked_for_old = Horizon(900, wanted=900, head=before - 10 * STEP_BACK_S)
    assert gone_back(track, asked_for_old, before) is None, "what was asked for is there"


def test_behind_is_by_more_than_what_is_tolerated() -> None:
    assert not behind(Horizon(0, head=1000), 1000 + TOLERATED_S)
    assert behind(Horizon(0, head=999), 1000 + TOLERATED_S)
    assert not behind(Horizon(0), 1 << 40)


def test_which_tracks_read_how_things_are() -> None:
    state = {name for name in catalog.TRACK_NAMES if name not in ("dome_fills", "clob_fills", "data_api_fills")}
    state = {name for name in state if reads_state(catalog.track(name))}
    assert state == {
        "gamma_markets", "clob_markets", "goldsky_payouts", "data_api_payouts", "goldsky_positions_payouts",
        "derive_wallets", "goldsky_wallets", "gamma_wallets", "dome_wallets", "data_api_positions",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("block", "day", "days_off"),
    [(81_265_743, "2026-01-05T22:05:45Z", 1), (84_902_353, "2026-03-31", 2), (90_840_326, "2026-07-25T07:44:46Z", 1)],
)
def test_blocks_are_dated_about_right(block: int, day: str, days_off: int) -> None:
    """Known pairs that the line was not drawn through."""
    assert abs(about_when(block) - seconds(day)) < days_off * 86_400


def test_dates_of_blocks_rise() -> None:
    times = [about_when(block) for block in range(4_000_000, 120_000_000, 500_000)]
    assert times == sorted(set(times))
    assert dt.datetime.fromtimestamp(about_when(33_605_403), dt.UTC).year == 2022
