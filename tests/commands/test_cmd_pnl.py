"""`validate-pnl`, `reconcile pnl` and `leaderboard audit` as people call them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from backfill.config import Config, Run
from backfill.simulator.process import SimulatorProcess
from backfill.stages.reconcile_pnl import replayed
from backfill.warehouse.client import open_warehouse
from tests.commands.cmd_project import Project
from tests.stages.conftest import _TABLES, server_dir
from tests.stages.planted import ANNA
from tests.stages.pnl_world import CASH, build, put_world

__all__ = ["server_dir"]
WALLET = '[[baseline_wallets]]\nname = "Anna"\naddress = "{address}"\nexpected_pnl_usd = {expected}\n'


@pytest.fixture
def place(project: Project, server_dir: Path) -> Iterator[Project]:
    """A project on the session's warehouse, in which the wallet of the stages' tests has traded."""
    config = Config(run=Run(data_dir=server_dir, checkpoint_dir=project.checkpoints))

    async def fill() -> None:
        async with open_warehouse(config) as warehouse:
            for row in await warehouse.fetch(_TABLES):
                await warehouse.execute(f"TRUNCATE TABLE {row['name']}")
            await put_world(warehouse)
            await build(warehouse, config)

    asyncio.run(fill())
    configure(project, server_dir, CASH)
    yield project


def configure(project: Project, data_dir: Path, expected: float) -> None:
    """The config with one baseline wallet."""
    text = f'[run]\ndata_dir = "{data_dir}"\n' + WALLET.format(address=ANNA, expected=expected)
    project.config_file.write_text(text)


def test_validate_pnl_passes_below_the_tolerance_and_fails_above_it(place: Project, server_dir: Path) -> None:
    told = place.call("validate-pnl", "--json", "--strict")
    assert told.code == 0 and told.json["passed"] is True
    (wallet,) = told.json["wallets"]
    keys = {"wallet", "name", "expected_usd", "actual_usd", "delta_usd", "variance", "passed", "resolved_positions"}
    assert wallet.keys() >= keys | {"wins", "losses", "outcome_distribution", "causes"}
    assert wallet["actual_usd"] == CASH
    assert [each["caught"] for each in told.json["controls"]] == [True, True, True]
    configure(place, server_dir, CASH - 40)
    told = place.call("validate-pnl")
    assert told.code == 3 and "Anna does not pass" in told.err and "NOT VALIDATED" in told.out
    assert "transfers" in told.out and "Traceback" not in told.err
    other = place.call("validate-pnl", "--definition", "avg_cost", "--json").json
    assert other["wallets"][0]["definition"] == "avg_cost" and "definition" in other["wallets"][0]["causes"]
    assert place.call("validate-pnl", "--definition", "profit").code == 2


def test_reconcile_pnl_asks_writes_and_saves(
    place: Project, upstreams: SimulatorProcess, server_dir: Path, tmp_path: Path
) -> None:
    """The pretend upstreams know nothing of this wallet: Dome says nothing at all, the Data API an empty curve."""
    told = place.call("reconcile", "pnl", "--json", "--save", str(tmp_path / "set.json"))
    assert told.code == 0, told.err
    assert told.json["pairs"] == [] and told.json["passed"] is None
    assert f"no source knows {ANNA}" in told.json["notes"]
    assert {Path(path).name for path in told.json["reports"]} == {"reconcile-pnl.md", "reconcile-pnl.json"}
    assert (place.root / "reports" / "reconcile-pnl.md").is_file()
    assert replayed((tmp_path / "set.json").read_bytes()) == []
    assert place.call("reconcile", "pnl", "--strict", "--no-fetch").code == 3
    assert place.call("reconcile", "pnl", "--wallet", "0x12").code == 2


def test_leaderboard_audit_against_a_file(place: Project, tmp_path: Path) -> None:
    board = [{"rank": 1, "user_id": ANNA, "user_name": "Anna", "pnl": CASH}]
    file = tmp_path / "board.json"
    file.write_bytes(orjson.dumps({"data": board}))
    told = place.call("leaderboard", "audit", "--file", str(file), "--definition", "cash", "--json", "--strict")
    assert told.code == 0, told.err
    assert told.json["passed"] is True and told.json["rows"][0]["our_pnl_usd"] == CASH
    file.write_bytes(orjson.dumps([{**board[0], "pnl": 2 * CASH}]))
    told = place.call("leaderboard", "audit", "--file", str(file), "--definition", "cash", "--strict")
    assert told.code == 3 and "1 PROFITS DIFFER" in told.out
    assert place.call("leaderboard", "audit", "--file", str(tmp_path / "none.json")).code == 2
    assert place.call("leaderboard", "audit", "--period", "year").code == 2
