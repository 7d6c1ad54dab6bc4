"""`backfill gaps` by its words, and the commands that it names, typed in."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backfill.commands import gaps as command
from backfill.config import Config, Run
from backfill.simulator.model import UPSTREAMS
from backfill.simulator.process import SimulatorProcess
from backfill.stages.gaps import Gap, Gaps
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.launcher import stop
from tests.commands.cmd_project import Answer, Project

Do = Callable[[str], None]


@pytest.fixture
def filled(project: Project, simulator: SimulatorProcess) -> Iterator[Do]:
    """A project of its own that Goldsky has filled, and a way to do something to its warehouse."""
    project.env |= simulator.env
    project.env |= {f"BACKFILL_UPSTREAMS__{name.upper()}__LIMITS": "[]" for name in UPSTREAMS}
    data_dir = project.root / "data"

    def do(sql: str) -> None:
        async def main() -> None:
            async with open_warehouse(Config(run=Run(data_dir=data_dir))) as warehouse:
                await _do(warehouse, sql)

        asyncio.run(main())

    try:
        for words in (("run", "markets", "--track", "gamma_markets"), ("run", "fills", "--track", "goldsky_fills")):
            assert project.call(*words).code == 0
        yield do
    finally:
        stop(data_dir)


async def _do(warehouse: Warehouse, sql: str) -> None:
    await warehouse.execute(sql, settings={"mutations_sync": 2})


def obey(project: Project, line: str) -> Answer:
    program, *words = shlex.split(line)
    assert program == "backfill"
    return project.call(*words)


def test_gaps_are_told_and_their_commands_fill_them(project: Project, filled: Do) -> None:
    clean = project.call("gaps", "--strict")
    assert (clean.code, clean.out) == (0, "no gaps\n"), clean.err
    for table in ("polymarket.clob_fills", "staging.clob_fills_v2"):
        filled(f"ALTER TABLE {table} DELETE WHERE cityHash64(toString(token_id)) % 9 = 0")
    filled("ALTER TABLE staging.covered_windows DELETE WHERE cityHash64(key) % 9 = 1")

    told = project.call("gaps", "--json", "--strict")
    assert told.code == 3 and project.call("gaps", "--json").code == 0
    found = told.json["gaps"]
    assert told.json["total"] == len(found) and {gap["kind"] for gap in found} == {"short", "unread"}
    assert all(
        set(gap) == {"kind", "dataset", "source", "key", "from", "to", "rows", "detail", "command"} for gap in found
    )

    short = [gap["key"] for gap in found if gap["kind"] == "short"]
    assert project.call("gaps", "--keys", "short").out.split() == short
    lines = project.call("gaps").out.splitlines()
    more = f"  … and {len(short) - 20:,} more: --json lists them all"
    assert lines[-1] == f"{len(found):,} gaps" and (more in lines or "(--keys short lists them)" in "".join(lines))
    write, fetch = (line.strip() for line in lines if line.strip().startswith("backfill ") and "short.txt" in line)
    assert write == "backfill gaps --keys short > short.txt"
    (project.root / "short.txt").write_text("\n".join(short))
    assert obey(project, fetch.replace("short.txt", str(project.root / "short.txt"))).code == 0
    (rest,) = {gap["command"] for gap in project.call("gaps", "--json").json["gaps"]}
    assert rest == "backfill run fills"
    assert obey(project, f"{rest} --track goldsky_fills").code == 0
    assert project.call("gaps", "--strict").code == 0


def test_one_token_is_asked_for_by_its_name(project: Project, filled: Do) -> None:
    for table in ("polymarket.clob_fills", "staging.clob_fills_v2"):
        filled(
            f"ALTER TABLE {table} DELETE WHERE token_id = "
            "(SELECT toUInt256(key) FROM staging.density WHERE rows > 0 ORDER BY key LIMIT 1)"
        )
    (gap,) = project.call("gaps", "--json").json["gaps"]
    assert f"--token {gap['key']} " in gap["command"] and gap["command"] in project.call("gaps").out
    assert obey(project, f"{gap['command']} --json").json["tracks"][0]["total"] == 1
    assert project.call("gaps", "--strict").out == "no gaps\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gaps", "--keys", "odd"), "--keys odd"),
        (("run", "fills", "--token", "7"), "--token wants --track"),
        (("run", "fills", "--track", "goldsky_fills", "--token", "x"), "--token 'x'"),
        (("run", "fills", "--track", "goldsky_fills", "--tokens", "nowhere"), "--tokens nowhere"),
    ],
)
def test_wrong_words_are_one_line(project: Project, words: tuple[str, ...], said: str) -> None:
    answer = project.call(*words)
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1


def gap(kind: str, key: str = "", asked: str = "backfill run fills", **more: Any) -> Gap:
    return Gap(kind, "fills", "", key, more.get("start"), more.get("end"), more.get("rows"), "why", asked)


def test_thousands_are_counted_and_the_first_are_shown() -> None:
    many = [gap("unread", str(number), start=1_700_000_000, end=1_700_003_600) for number in range(3000)]
    told = command.lines(Gaps([gap("silent", rows=60), *many], [gap("short", "7")]))
    assert told[0] == "unread: fills (any track): 3,000 gaps, 3,000 keys"
    stretch = "2023-11-14T22:13:20Z → 2023-11-14T23:13:20Z"
    assert told[1] == f"  {stretch}  why: 3,000, such as 0, 1 (--keys unread lists them)"
    assert told[2:5] == ["    backfill run fills", "silent: fills (any track): 1 gaps, 60 rows", "  ? → ?  why"]
    assert told[-2].startswith("1 more were asked for by a second plan") and told[-1] == "3,001 gaps"


def test_the_first_of_thousands_that_differ_are_shown() -> None:
    many = [gap("unread", str(number), start=1_700_000_000 + number, end=1_700_003_600) for number in range(3000)]
    told = command.lines(Gaps(many))
    assert told[1] == "  2023-11-14T22:13:20Z → 2023-11-14T23:13:20Z  0  why"
    assert told[21:23] == ["  … and 2,980 more: --json lists them all", "    backfill run fills"]
