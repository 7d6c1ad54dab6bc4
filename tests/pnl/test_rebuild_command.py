"""`backfill rebuild` as people call it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.config import Config, Run
from backfill.warehouse.client import open_warehouse
from tests.commands.cmd_project import Project
from tests.commands.conftest import project
from tests.pnl.histories import START, collect, load
from tests.stages.conftest import _TABLES

__all__ = ["project"]


@pytest.fixture
def place(project: Project, server_dir: Path) -> Iterator[Project]:
    """A project on the session's warehouse, which is empty."""
    project.config_file.write_text(f'[run]\ndata_dir = "{server_dir}"\n')
    asyncio.run(_emptied(server_dir))
    yield project


async def _emptied(data_dir: Path) -> None:
    async with open_warehouse(Config(run=Run(data_dir=data_dir))) as warehouse:
        for row in await warehouse.fetch(_TABLES):
            await warehouse.execute(f"TRUNCATE TABLE {row['name']}")


async def _loaded(data_dir: Path) -> None:
    async with open_warehouse(Config(run=Run(data_dir=data_dir))) as warehouse:
        await load(warehouse, collect(20))


def test_nothing_to_rebuild_is_one_line(place: Project) -> None:
    told = place.call("rebuild", "positions")
    assert (told.code, told.out) == (0, "nothing to rebuild: there are no fills, events or transfers yet\n")


def test_a_word_that_is_no_table_is_a_wrong_usage(place: Project) -> None:
    told = place.call("rebuild", "profits")
    assert told.code == 2 and "positions, cashflows, pnl, all" in told.err and not told.out


@pytest.mark.parametrize("cutoff", ["2200-01-01", "1969-12-31", "4294967295", "99999999999", "yesterday", ""])
def test_a_moment_that_the_warehouse_cannot_say_is_refused(place: Project, cutoff: str) -> None:
    """The warehouse would take 2200 for 2063, and the last second of all for no cutoff."""
    told = place.call("rebuild", "--cutoff", cutoff)
    assert told.code == 2 and f"--cutoff {cutoff!r}: expected" in told.err and not told.out


def test_a_dry_run_then_all_then_nothing_then_a_past_moment(place: Project, server_dir: Path) -> None:
    asyncio.run(_loaded(server_dir))
    dry = place.call("rebuild", "all", "--dry-run", "--json").json
    assert dry["dry_run"] and dry["everything"] and dry["changed"] > 0 and dry["rows"] == {}
    done = place.call("rebuild", "--json").json
    assert done["targets"] == ["positions", "cashflows", "pnl"] and done["changed"] == dry["changed"]
    assert len(set(done["rows"].values())) == 1 and done["rows"]["pnl"] > 0
    assert place.call("rebuild").out == "nothing to rebuild: no wallet has changed since the last rebuild\n"
    past = place.call("rebuild", "cashflows", "--cutoff", str(START + 5))
    assert past.code == 0 and "THESE TABLES SHOW THE STATE OF 2023-11-14 22:13:25 UTC" in past.out
    again = place.call("rebuild", "--json").json
    assert again["everything"] and again["cutoff"] is None
