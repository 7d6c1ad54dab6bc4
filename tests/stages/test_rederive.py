"""What was kept becomes the same rows again without anybody being asked, and what is damaged is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from backfill.app import book_of
from backfill.config import Config
from backfill.engine.archive import MANIFEST, pages
from backfill.engine.checkpoint import lock_path
from backfill.engine.deadletters import DeadLetters
from backfill.engine.model import Page
from backfill.errors import StateError, TrackHeld
from backfill.files import held
from backfill.simulator.server import Simulator
from backfill.simulator.world import World
from backfill.stages import rederive as rederive_stage
from backfill.stages.kept import home_of
from backfill.stages.rederive import run_rederive
from backfill.tracks.catalog import DATASETS
from backfill.tracks.chain_transfers import ChainTransfers
from backfill.tracks.goldsky_payouts import GoldskyPayouts
from backfill.warehouse.client import Warehouse
from tests.quiet import Kept
from tests.stages import rerun

STAGED = {
    "markets": "staging.markets_v2",
    "derive": "staging.clob_asset_map_derived",
    "payouts": "staging.payouts_v2",
    "wallets": "staging.pm_user_proxy_wallets_v2",
    "transfers": "staging.erc1155_transfers_v2",
    "positions": "staging.wallet_positions_v2",
    "activity": "staging.ctf_activity_v2",
}
FINAL = {
    "markets": "polymarket.markets",
    "payouts": "polymarket.market_resolutions_final",
    "wallets": "polymarket.pm_user_proxy_wallets",
    "transfers": "polymarket.erc1155_transfers",
    "positions": "polymarket.wallet_positions_api",
    "activity": "polymarket.ctf_activity",
}


@pytest_asyncio.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with rerun.simulator() as sim:
        yield sim


@pytest.fixture
def config(server_dir: Path, tmp_path: Path, sim: Simulator) -> Config:
    shutil.rmtree(server_dir / "raw", ignore_errors=True)
    return rerun.project(server_dir, tmp_path, sim)


async def wallets_of(warehouse: Warehouse) -> tuple[str, ...]:
    found = await warehouse.fetch(
        "SELECT DISTINCT to_address AS w FROM polymarket.erc1155_transfers ORDER BY w LIMIT 6"
    )
    return tuple(row["w"] for row in found)


async def empty(warehouse: Warehouse, *tables: str) -> None:
    for table in tables:
        await warehouse.execute(f"TRUNCATE TABLE {table}")


async def test_every_dataset_comes_again_row_for_row_with_nobody_to_ask(
    config: Config, warehouse: Warehouse, sim: Simulator
) -> None:
    for dataset in ("markets", "derive", "payouts", "transfers", "activity"):
        assert not (await rerun.run(config, warehouse, dataset)).problems
    wallets = await wallets_of(warehouse)
    for dataset in ("wallets", "positions"):
        assert not (await rerun.run(config, warehouse, dataset, wallets=wallets)).problems
    asked = len(sim.arrivals)
    for dataset, table in STAGED.items():
        tables = [table, *([FINAL[dataset]] if dataset in FINAL else [])]
        before = [await rerun.rows(warehouse, each) for each in tables]
        assert before[0], f"{dataset} has rows to lose"
        await empty(warehouse, *tables)
        found = await run_rederive(config, warehouse, "tokens" if dataset == "derive" else dataset, Kept())
        assert found.whole and sum(track.rows for track in found.tracks) >= len(before[0])
        for each, expected in zip(tables, before, strict=True):
            assert await rerun.rows(warehouse, each) == expected, f"{dataset}: {each}"
        await run_rederive(config, warehouse, "tokens" if dataset == "derive" else dataset, Kept())
        for each, expected in zip(tables, before, strict=True):
            assert await rerun.rows(warehouse, each) == expected, f"{dataset}, done twice: {each}"
    assert len(sim.arrivals) == asked, "nobody was asked"


async def test_the_fills_of_all_lanes_and_reported_wallets_come_again(
    server_dir: Path, tmp_path: Path, warehouse: Warehouse
) -> None:
    """In a world whose accounts own wallets."""
    shutil.rmtree(server_dir / "raw", ignore_errors=True)
    async with rerun.simulator(world=World.generate(1, 40, 0, full=True)) as sim:
        config = rerun.project(
            server_dir, tmp_path, sim, TRACKS__DOME_FILLS__ENABLED="true", TRACKS__CLOB_FILLS__ENABLED="true",
            TRACKS__CLOB_FILLS__HOURS="20000",
        )  # fmt: skip
        alone = [("fills", name) for name in DATASETS["fills"]]
        for dataset, only in [("markets", None), ("derive", None), *alone, ("wallets", None)]:
            outcome = await rerun.run(config, warehouse, dataset, only)
            assert not outcome.problems, outcome.problems
    for dataset, tables in (
        ("fills", ("staging.clob_fills_v2", "polymarket.clob_fills")),
        ("wallets", (STAGED["wallets"], FINAL["wallets"])),
    ):
        before = [await rerun.rows(warehouse, each) for each in tables]
        sources = {orjson.loads(row)["source"] for row in before[0]}
        assert len(sources) > (3 if dataset == "fills" else 1), sources
        await empty(warehouse, *tables)
        found = await run_rederive(config, warehouse, dataset, Kept())
        assert found.whole, [track.troubles for track in found.tracks]
        assert [await rerun.rows(warehouse, each) for each in tables] == before


async def test_asked_tokens_are_staged_and_proven_again(config: Config, warehouse: Warehouse, sim: Simulator) -> None:
    await rerun.run_tokens(config, warehouse, sorted(sim.world.traded))
    tables = ("staging.clob_asset_map_goldsky", "staging.clob_asset_map_dome", "staging.token_proofs")
    before = [await rerun.rows(warehouse, each, without=(*rerun.VOLATILE, "judged_at")) for each in tables]
    assert before[0] and before[2]
    await empty(warehouse, *tables)
    found = await run_rederive(config, warehouse, "tokens", Kept())
    after = [await rerun.rows(warehouse, each, without=(*rerun.VOLATILE, "judged_at")) for each in tables]
    assert found.whole and after == before
    assert found.proofs["goldsky_tokens"]["proven"] > 0


async def test_a_dry_run_counts_and_writes_nothing(config: Config, warehouse: Warehouse) -> None:
    await rerun.run(config, warehouse, "transfers")
    await empty(warehouse, STAGED["transfers"])
    found = await run_rederive(config, warehouse, "transfers", Kept(), dry_run=True)
    assert found.tracks[0].rows > 0 and found.settled == {}
    assert await rerun.rows(warehouse, STAGED["transfers"]) == []


async def test_a_changed_lane_gives_changed_rows(
    config: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rerun.run(config, warehouse, "markets")
    await rerun.run(config, warehouse, "payouts", "goldsky_payouts")
    parse = GoldskyPayouts.parse

    def doubled(self: GoldskyPayouts, *args: Any) -> Any:
        page = parse(self, *args)
        lines = [orjson.dumps({**orjson.loads(line), "payout_denominator": 77}) for line in page.lines]
        return Page(lines, page.asked, page.letters, page.next)

    monkeypatch.setattr(GoldskyPayouts, "parse", doubled)
    await run_rederive(config, warehouse, "payouts", Kept())
    after = [orjson.loads(row) for row in await rerun.rows(warehouse, STAGED["payouts"])]
    assert after and {row["payout_denominator"] for row in after} == {"77"}


async def test_rows_of_an_older_answer_do_not_replace_those_of_a_newer_one(
    config: Config, warehouse: Warehouse
) -> None:
    await rerun.run(config, warehouse, "markets", "gamma_markets")
    home = home_of(config, "gamma_markets")
    older = home / MANIFEST
    lines = [orjson.loads(line) for line in older.read_bytes().splitlines()]
    long_ago = [{**line, "at": line["at"] - 90 * 86400} if "at" in line else line for line in lines]
    older.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in long_ago))
    newer = "INSERT INTO staging.markets_v2 SELECT * REPLACE ('newer' AS question) FROM staging.markets_v2 FINAL"
    await warehouse.execute(newer)
    await run_rederive(config, warehouse, "markets", Kept())
    assert {orjson.loads(row)["question"] for row in await rerun.rows(warehouse, STAGED["markets"])} == {"newer"}


async def test_a_flipped_byte_a_torn_pack_and_a_lost_plan_are_named_and_the_rest_comes(
    config: Config, warehouse: Warehouse
) -> None:
    await rerun.run(config, warehouse, "transfers")
    total = len(await rerun.rows(warehouse, STAGED["transfers"]))
    await empty(warehouse, STAGED["transfers"])
    home = home_of(config, "chain_transfers")
    found = sorted(pages(home), key=lambda kept: kept.size)
    biggest, last = found[-1], max(found, key=lambda kept: kept.offset)
    assert biggest != last
    pack = home / biggest.pack
    content = bytearray(pack.read_bytes())
    content[biggest.offset + biggest.size // 2] ^= 4
    pack.write_bytes(content)
    os.truncate(pack, last.offset + last.size - 1)

    result = await run_rederive(config, warehouse, "transfers", Kept())

    (track,) = result.tracks
    assert (track.damaged, track.gone, track.unread, track.pages) == (2, 0, 0, len(found) - 2)
    assert not result.whole
    assert any(f"unit {biggest.unit} " in told and "damaged" in told for told in track.troubles)
    assert 0 < len(await rerun.rows(warehouse, STAGED["transfers"])) < total

    shutil.rmtree(book_of(config, "chain_transfers").home(biggest.plan))
    (track,) = (await run_rederive(config, warehouse, "transfers", Kept())).tracks
    assert (track.damaged, track.gone, track.pages) == (2, len(found) - 2, 0)
    assert "gone" in track.troubles[0] or "gone" in track.troubles[1]


async def test_a_page_that_the_lane_of_today_does_not_take_is_named(
    config: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rerun.run(config, warehouse, "transfers")

    def gives_up(*_: object) -> None:
        raise KeyError("a field of tomorrow")

    monkeypatch.setattr(ChainTransfers, "parse", gives_up)
    (track,) = (await run_rederive(config, warehouse, "transfers", Kept())).tracks
    assert track.unread > 0 and track.pages == 0
    assert "a field of tomorrow" in track.troubles[0]


async def test_pages_are_read_with_the_settings_that_they_were_asked_with(
    config: Config, warehouse: Warehouse, sim: Simulator, tmp_path: Path
) -> None:
    await rerun.run(config, warehouse, "transfers")
    other = rerun.project(config.run.data_dir, tmp_path, sim, UPSTREAMS__POLYGON__BLOCK_RANGE="1000")
    found = await run_rederive(other, warehouse, "transfers", Kept())
    assert found.whole, found.tracks[0].troubles


async def test_refused_rows_are_the_same_letters_and_not_doubled(
    config: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ChainTransfers.rows

    def refusing(self: ChainTransfers, unit: int, admitted: Any, refuse: Any) -> list[bytes]:
        for one in admitted[:1]:
            refuse(one.log, "a rule of today")
        return rows(self, unit, admitted[1:], refuse)

    monkeypatch.setattr(ChainTransfers, "rows", refusing)
    outcome = await rerun.run(config, warehouse, "transfers")
    letters = DeadLetters(config.run.data_dir)
    before = list(letters.copies("chain_transfers"))
    assert outcome.problems and before and all(row["plan"] for row in before)
    found = await run_rederive(config, warehouse, "transfers", Kept())
    assert found.letters == len(before) and found.whole
    assert list(letters.copies("chain_transfers")) == before
    (letters.folder / "chain_transfers.jsonl").unlink()
    await run_rederive(config, warehouse, "transfers", Kept())
    assert {row["id"] for row in letters.rows("chain_transfers")} == {row["id"] for row in before}


async def test_what_was_not_kept_is_told(config: Config, warehouse: Warehouse, sim: Simulator, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no answers of transfers were kept"):
        await run_rederive(config, warehouse, "transfers", Kept())
    small = rerun.project(config.run.data_dir, tmp_path, sim, RAW__MAX_GB="0.00001")
    await rerun.run(small, warehouse, "transfers")
    found = await run_rederive(config, warehouse, "transfers", Kept())
    (track,) = found.tracks
    assert not found.whole and track.not_kept > 0
    current = book_of(config, "chain_transfers").current()
    assert current is not None and track.cut_off == (current.plan_id,)


async def test_a_track_that_is_at_work_is_left_alone(config: Config, warehouse: Warehouse) -> None:
    await rerun.run(config, warehouse, "transfers")
    with (
        held(lock_path(config.run.checkpoint_dir, "chain_transfers"), what="it"),
        pytest.raises(TrackHeld),
    ):
        await run_rederive(config, warehouse, "transfers", Kept())


async def test_many_small_inserts_keep_the_order_and_every_row(
    config: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rerun.run(config, warehouse, "transfers")
    before = await rerun.rows(warehouse, STAGED["transfers"])
    await empty(warehouse, STAGED["transfers"])
    monkeypatch.setattr(rederive_stage, "INSERT_ROWS", 1)
    monkeypatch.setattr(rederive_stage, "AT_ONCE", 1)
    await run_rederive(config, warehouse, "transfers", Kept())
    assert await rerun.rows(warehouse, STAGED["transfers"]) == before
