"""Refused rows of every lane come in once the rules take them, with their unit's answers or alone; the rest stays."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backfill.app import book_of
from backfill.config import Config
from backfill.engine.checkpoint import lock_path
from backfill.engine.deadletters import DeadLetters
from backfill.errors import TrackHeld, Unfinished
from backfill.files import held
from backfill.simulator.server import Simulator
from backfill.simulator.world import World
from backfill.stages.replay import Replay, run_replay
from backfill.tracks import catalog
from backfill.tracks.chain_blocks import ChainLane
from backfill.tracks.track import Replayable
from backfill.tracks.values import Drift
from backfill.warehouse.client import Warehouse
from tests.quiet import Kept
from tests.stages import rerun

EVERY = 3
NO_WALLET = "0x" + "77" * 20

READERS = {
    "gamma_markets": "_market",
    "clob_markets": "_market",
    "goldsky_payouts": "_payout",
    "goldsky_positions_payouts": "_payout",
    "data_api_payouts": "_payout",
    "data_api_positions": "_second",
    "goldsky_wallets": "_pair",
    "gamma_wallets": "_pair",
    "goldsky_fills": "_line",
    "goldsky_activity": "_converter",
    "data_api_activity": "_converter",
}
"""What reads a row of each lane that reads them one at a time."""
FULL = {"goldsky_wallets", "gamma_wallets", "dome_wallets", "goldsky_fills", "dome_fills"}
CHAIN = ("chain_payouts", "chain_transfers", "chain_activity", "chain_fills")
ALONE = {*READERS, *CHAIN} - {"data_api_activity", "chain_fills"}
"""Lanes whose rows can be read without their neighbours (splits and merges of goldsky_activity cannot)."""


@pytest_asyncio.fixture
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    """A plain world; one whose accounts own wallets for the lanes of those."""
    track = getattr(request.node, "callspec", None) and request.node.callspec.params.get("track")
    world = World.generate(1, 40, 0, full=True) if track in FULL else None
    async with rerun.simulator(world=world) as sim:
        yield sim


@pytest.fixture
def config(server_dir: Path, tmp_path: Path, sim: Simulator) -> Config:
    shutil.rmtree(server_dir / "raw", ignore_errors=True)
    return rerun.project(server_dir, tmp_path, sim)


def picky(read: Callable[..., Any]) -> Callable[..., Any]:
    """The same reader, refusing every third row."""
    calls = iter(range(1 << 30))

    def refusing(*args: Any, **more: Any) -> Any:
        if next(calls) % EVERY == 0:
            raise Drift("a field", "what yesterday's rule wanted", "this")
        return read(*args, **more)

    return refusing


def refuse_rows(patch: pytest.MonkeyPatch, track: str) -> None:
    """Let the lane of a track refuse rows that are good."""
    module = importlib.import_module(f"backfill.tracks.{track}")
    if track in CHAIN:
        lane = next(
            each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__
        )
        rows = lane.rows  # type: ignore[attr-defined]

        def refusing(self: ChainLane, unit: int, admitted: Any, refuse: Any) -> Any:
            for one in admitted[::EVERY]:
                refuse(one.log, "a rule of yesterday")
            return rows(self, unit, [one for at, one in enumerate(admitted) if at % EVERY], refuse)

        patch.setattr(lane, "rows", refusing)
        return
    name = READERS[track]
    read = getattr(module, name)
    if track == "goldsky_fills":
        patch.setattr(module, "_plain", lambda *_: None)
    if name == "_converter":
        patch.setattr(module, name, lambda *args: picky(read(*args)))
    else:
        patch.setattr(module, name, picky(read))


async def prepare(config: Config, warehouse: Warehouse, track: str) -> dict[str, Any]:
    """What a track is planned from; what is to be wished for."""
    dataset = catalog.dataset_of(track)
    if dataset in ("payouts", "fills"):
        await rerun.run(config, warehouse, "markets", "gamma_markets")
    if track == "goldsky_fills":
        await rerun.run(config, warehouse, "derive")
    if track == "gamma_wallets":
        return {"wallets": tuple(pair.owner for pair in World.generate(1, 40, 0, full=True).accounts[:12])}
    if dataset in ("positions", "wallets") or track == "data_api_activity":
        await rerun.run(config, warehouse, "transfers")
        sql = "SELECT to_address AS w FROM polymarket.erc1155_transfers GROUP BY w ORDER BY count() DESC, w LIMIT 12"
        return {"wallets": tuple(row["w"] for row in await warehouse.fetch(sql))}
    return {}


async def with_letters(config: Config, warehouse: Warehouse, track: str) -> list[dict[str, Any]]:
    """Run a track whose lane refuses good rows; the letters."""
    wish = await prepare(config, warehouse, track)
    with pytest.MonkeyPatch.context() as patch:
        refuse_rows(patch, track)
        outcome = await rerun.run(config, warehouse, catalog.dataset_of(track), track, **wish)
    letters = list(DeadLetters(config.run.data_dir).rows(track))
    if not letters:
        pytest.skip(f"the small world has no rows for {track}")
    assert [type(problem) for problem in outcome.problems] == [Unfinished]
    return letters


async def replay(
    config: Config, warehouse: Warehouse, letters: list[dict[str, Any]], *, dry_run: bool = False
) -> Replay:
    return await run_replay(config, warehouse, letters, Kept(), dry_run=dry_run)


async def truth(config: Config, warehouse: Warehouse, track: str) -> list[bytes]:
    """The rows that the lane of today makes of all answers."""
    from backfill.stages.rederive import run_rederive

    table = catalog.track(track).table
    await warehouse.execute(f"TRUNCATE TABLE {table}")
    await run_rederive(config, warehouse, catalog.dataset_of(track), Kept(), only=track)
    return await rerun.rows(warehouse, table)


@pytest.mark.parametrize("track", [*READERS, *CHAIN])
async def test_rows_come_in_with_the_answers_of_their_unit(config: Config, warehouse: Warehouse, track: str) -> None:
    letters = await with_letters(config, warehouse, track)
    table = catalog.track(track).table
    before = await rerun.rows(warehouse, table)
    dry = await replay(config, warehouse, letters, dry_run=True)
    assert (dry.replayed, await rerun.rows(warehouse, table)) == (len(letters), before)
    found = await replay(config, warehouse, letters)
    assert (found.replayed, found.refused) == (len(letters), {})
    assert DeadLetters(config.run.data_dir).count(track) == 0
    after = await rerun.rows(warehouse, table)
    assert len(after) > len(before)
    assert after == await truth(config, warehouse, track)


@pytest.mark.parametrize("track", [*READERS, *CHAIN])
async def test_without_those_a_row_comes_in_alone_where_it_can(
    config: Config, warehouse: Warehouse, track: str
) -> None:
    letters = await with_letters(config, warehouse, track)
    kept, aside = config.run.data_dir / "raw", config.run.data_dir / "raw.aside"
    shutil.rmtree(aside, ignore_errors=True)
    kept.rename(aside)
    found = await replay(config, warehouse, letters)
    after = await rerun.rows(warehouse, catalog.track(track).table)
    shutil.rmtree(kept, ignore_errors=True)
    aside.rename(kept)
    if track not in ALONE:
        assert found.replayed == 0 and len(found.refused) == len(letters)
        return
    if track == "goldsky_activity":
        assert all("split or merged" in reason for reason in found.refused.values())
        return
    assert found.refused == {}
    assert after == await truth(config, warehouse, track)


def test_every_lane_says_whether_its_rows_can_stand_alone() -> None:
    """A new lane has to be put into one of the lists of this file."""
    own = {"dome_wallets"}
    lanes = {name: catalog.track(name).make(Config()) for name in known_tracks()}
    able = {name for name, lane in lanes.items() if isinstance(lane, Replayable)}
    assert able - own - {"data_api_fills", "dome_fills", "clob_fills"} == ALONE | {"chain_fills"}


def known_tracks() -> list[str]:
    """The tracks whose modules are there."""
    home = Path(catalog.__file__).parent
    return [name for name in catalog.TRACK_NAMES if (home / f"{name}.py").exists()]


async def test_what_is_still_refused_stays_with_its_reason(config: Config, warehouse: Warehouse) -> None:
    letters = await with_letters(config, warehouse, "gamma_markets")
    with pytest.MonkeyPatch.context() as patch:
        refuse_rows(patch, "gamma_markets")
        found = await replay(config, warehouse, letters)
    assert found.refused and set(found.refused.values()) == {
        "field a field: expected what yesterday's rule wanted, saw 'this' (text)"
    }
    assert {row["id"] for row in DeadLetters(config.run.data_dir).rows("gamma_markets")} == set(found.refused)


async def test_letters_of_an_earlier_plan_do_not_keep_a_later_run_from_ending_well(
    server_dir: Path, tmp_path: Path, sim: Simulator, warehouse: Warehouse
) -> None:
    # Every third row in the order of reading is refused: with one worker that order is the same each time.
    config = rerun.project(server_dir, tmp_path, sim, TRACKS__GAMMA_MARKETS__WORKERS="1")
    letters = await with_letters(config, warehouse, "gamma_markets")
    outcome = await rerun.run(config, warehouse, "markets", "gamma_markets")
    assert outcome.problems == []
    assert outcome.tracks[0]["dead_letters"] == len(letters), "they are still there"
    assert outcome.tracks[0]["refused"] == 0
    with pytest.MonkeyPatch.context() as patch:
        refuse_rows(patch, "gamma_markets")
        outcome = await rerun.run(config, warehouse, "markets", "gamma_markets")
    assert outcome.tracks[0]["refused"] == len(letters), "the same rows, refused in this plan too"
    assert [type(problem) for problem in outcome.problems] == [Unfinished]
    assert DeadLetters(config.run.data_dir).count("gamma_markets") == len(letters), "and are the same letters"


async def test_a_letter_that_knows_no_plan_says_what_helps(config: Config, warehouse: Warehouse) -> None:
    rerun.bury(config, "gamma_markets", "contract", {"conditionId": "x"})
    letters = list(DeadLetters(config.run.data_dir).rows())
    found = await replay(config, warehouse, letters)
    assert "backfill rederive" in found.refused[letters[0]["id"]]
    assert DeadLetters(config.run.data_dir).count("gamma_markets", "any plan") == 1, "it counts for every plan"


async def test_an_unreadable_answer_goes_once_its_unit_was_read(config: Config, warehouse: Warehouse) -> None:
    await rerun.run(config, warehouse, "markets", "gamma_markets")
    plan = book_of(config, "gamma_markets").current()
    assert plan is not None
    rerun.bury(config, "gamma_markets", "unreadable", "<html>", unit=0, plan=plan.plan_id)
    rerun.bury(config, "gamma_markets", "unreadable", "<html>", unit=0, plan="of another time")
    letters = list(DeadLetters(config.run.data_dir).copies("gamma_markets"))
    (first, second) = letters
    shutil.rmtree(config.run.data_dir / "raw")
    found = await replay(config, warehouse, [{**first, "id": "a"}, {**second, "id": "b"}], dry_run=True)
    assert found.passed == ["a"] and "retry-failed" in found.refused["b"]


async def test_a_conflict_is_not_decided_by_a_row_alone(config: Config, warehouse: Warehouse) -> None:
    letters = await with_letters(config, warehouse, "gamma_markets")
    shutil.rmtree(config.run.data_dir / "raw")
    found = await replay(config, warehouse, [{**letters[0], "class": "conflict"}])
    assert "differ" in found.refused[letters[0]["id"]]


@pytest.mark.parametrize("raw", ["{", "7", "{}", '{"conditionId":7}', '{"conditionId":"0x' + "a" * 64 + '"}'])
async def test_rubbish_stays_refused_whatever_it_is(config: Config, warehouse: Warehouse, raw: str) -> None:
    letters = await with_letters(config, warehouse, "gamma_markets")
    shutil.rmtree(config.run.data_dir / "raw")
    row = {**letters[0], "raw": raw, "id": "rubbish"}
    if raw.endswith('a"}'):
        row["raw"] = raw[:-1] + ',"closed":7}'
    found = await replay(config, warehouse, [row])
    assert list(found.refused) == ["rubbish"] or raw == "{}", "an empty row is a market that never was"


async def test_a_replay_leaves_a_track_at_work_alone(config: Config, warehouse: Warehouse) -> None:
    letters = await with_letters(config, warehouse, "gamma_markets")
    with (
        held(lock_path(config.run.checkpoint_dir, "gamma_markets"), what="it"),
        pytest.raises(TrackHeld),
    ):
        await replay(config, warehouse, letters)
    assert DeadLetters(config.run.data_dir).count("gamma_markets") == len(letters)
