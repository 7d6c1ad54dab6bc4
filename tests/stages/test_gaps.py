"""What is missing is found, and what the gaps say fetches it does."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from backfill.commands.datasets import wish_of
from backfill.config import Config
from backfill.errors import UsageError
from backfill.simulator.server import Simulator
from backfill.stages import holes
from backfill.stages.fills import merge_fills
from backfill.stages.gaps import COUNTED, MERGE, Gap, find_gaps
from backfill.stages.holes import HOUR, between, blocks_within, outside, silences
from backfill.tracks import goldsky_fills
from backfill.tracks.track import Window
from backfill.warehouse.client import Warehouse
from tests.quiet import Kept
from tests.stages.planted import put, put_fills, token
from tests.stages.rerun import project, rows, run, simulator

DAY = 24 * HOUR
T0 = 1_780_000_000 // DAY * DAY


class Filled(NamedTuple):
    """A warehouse that every track has filled from a simulator."""

    config: Config
    warehouse: Warehouse
    sim: Simulator

    async def gaps(self) -> list[Gap]:
        return (await find_gaps(self.config, self.warehouse)).gaps

    async def kinds(self) -> Counter[str]:
        return Counter(gap.kind for gap in await self.gaps())

    async def believed(self) -> list[Gap]:
        return (await find_gaps(self.config, self.warehouse)).believed

    async def fills(self) -> list[bytes]:
        return await rows(self.warehouse, "polymarket.clob_fills")

    async def obey(self, command: str, *tokens: str) -> None:
        """Do what a gap says, by its words; for further tokens in one go."""
        if command == MERGE:
            await merge_fills(self.warehouse, Kept())
            return
        program, verb, dataset, *words = shlex.split(command)
        assert (program, verb) == ("backfill", "run")
        options: dict[str, Any] = {
            name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)
        }
        named = [options.pop("token"), *tokens] if "token" in options else []
        wish = asdict(wish_of(dataset, **options, tokens=named))
        outcome = await run(self.config, self.warehouse, dataset, **wish)
        assert not outcome.problems

    async def obey_all(self) -> None:
        for command in dict.fromkeys(gap.command for gap in await self.gaps()):
            await self.obey(command)

    async def lose(self, table: str, where: str) -> None:
        """Rows leave a table for good; there must be some."""
        before = await self.warehouse.fetch_value(f"SELECT count() FROM {table}")
        await self.warehouse.execute(f"ALTER TABLE {table} DELETE WHERE {where} SETTINGS mutations_sync = 2")
        assert await self.warehouse.fetch_value(f"SELECT count() FROM {table}") < before


@pytest_asyncio.fixture
async def filled(server_dir: Path, tmp_path: Path, warehouse: Warehouse) -> AsyncIterator[Filled]:
    async with simulator() as sim:
        config = project(server_dir, tmp_path, sim)
        made = Filled(config, warehouse, sim)
        for dataset in ("markets", "fills", "transfers"):
            assert not (await run(config, warehouse, dataset)).problems
        yield made


async def test_a_whole_warehouse_has_no_gaps(filled: Filled) -> None:
    assert len(await filled.fills()) > 100
    found = await find_gaps(filled.config, filled.warehouse)
    assert (found.gaps, found.believed) == ([], [])
    assert found.document() == {"gaps": [], "total": 0, "believed": []}


async def test_windows_that_were_not_read_are_found_and_read(filled: Filled) -> None:
    before = await filled.fills()
    middle = (
        "covered_from > (SELECT min(covered_from) FROM staging.covered_windows WHERE source = '{0}') "
        "AND covered_to < (SELECT max(covered_to) FROM staging.covered_windows WHERE source = '{0}')"
    )
    for source in ("chain_fills", "chain_transfers"):
        await filled.lose("staging.covered_windows", f"source = '{source}' AND {middle.format(source)}")
    await filled.lose("staging.covered_windows", "source = 'goldsky_fills' AND cityHash64(key) % 5 = 0")
    for table in ("polymarket.clob_fills", "staging.clob_fills_v2"):
        await filled.lose(table, "timestamp >= '2026-06-01' AND timestamp < '2026-08-01'")
        await filled.lose(table, "timestamp < '2026-04-01' AND cityHash64(toString(token_id)) % 5 = 0")
    found = await filled.gaps()
    kinds = Counter((gap.kind, gap.dataset, gap.source) for gap in found)
    assert kinds["hole", "fills", "chain_fills"] == kinds["hole", "transfers", "chain_transfers"] == 1
    assert kinds["unread", "fills", ""] > 5 and len(kinds) == 3
    await filled.obey_all()
    assert await filled.gaps() == []
    assert await filled.fills() == before


async def test_a_token_s_hole_is_told_once_and_read(filled: Filled) -> None:
    (row,) = await filled.warehouse.fetch(
        "SELECT key, covered_from AS low, covered_to AS high FROM staging.covered_windows WHERE kind = 'token' "
        "ORDER BY key LIMIT 1"
    )
    low, high = int(row["low"]), int(row["high"])
    await filled.lose("staging.covered_windows", f"kind = 'token' AND key = '{row['key']}'")
    same = {"dataset": "fills", "source": COUNTED, "kind": "token", "key": row["key"], "plan_id": "x", "unit": 0}
    bounds = [(low, low + DAY), (low + 3 * DAY, high)]
    await put(
        filled.warehouse, "staging.covered_windows", [{**same, "covered_from": a, "covered_to": b} for a, b in bounds]
    )
    (gap,) = await filled.gaps()
    assert (gap.kind, gap.key, gap.start, gap.end) == ("hole", row["key"], low + DAY, low + 3 * DAY)
    await filled.obey(gap.command)
    assert await filled.gaps() == []


async def test_an_answer_that_was_cut_without_a_word_shows_and_is_asked_for_again(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The staged rows are thrown away and asked for once more, of a source that keeps half of each answer back."""
    whole, lists = await filled.fills(), goldsky_fills._lists
    for table in ("polymarket.clob_fills", "staging.clob_fills_v2", "staging.covered_windows"):
        await filled.lose(table, f"source IN ('goldsky', '{COUNTED}')")

    def cut(*words: Any) -> dict[str, list[Any]]:
        return {side: found[: -(-len(found) // 2)] for side, found in lists(*words).items()}

    with monkeypatch.context() as patch:
        patch.setattr(goldsky_fills, "_lists", cut)
        await run(filled.config, filled.warehouse, "fills", COUNTED)
    short = await filled.gaps()
    assert {gap.kind for gap in short} == {"short"} and len(short) > 5
    assert [gap.rows for gap in short] == sorted((gap.rows or 0 for gap in short), reverse=True)
    assert sum(gap.rows or 0 for gap in short) == len(whole) - len(await filled.fills())
    await filled.obey(short[0].command, *(gap.key for gap in short[1:]))
    assert await filled.fills() == whole
    assert await filled.gaps() == await filled.believed() == []


async def test_a_source_that_counts_what_it_does_not_show_is_believed_when_it_was_asked_twice(filled: Filled) -> None:
    (row,) = await filled.warehouse.fetch("SELECT key, rows FROM staging.density FINAL WHERE rows > 1 LIMIT 1")
    await put(
        filled.warehouse,
        "staging.density",
        [{"dataset": "fills", "source": COUNTED, "key": row["key"], "rows": int(row["rows"]) + 2,
          "measured_at": 4_000_000_000}],
    )  # fmt: skip
    (gap,) = await filled.gaps()
    assert (gap.kind, gap.key, gap.rows) == ("short", row["key"], 2)
    reached = f"SELECT toString(covered_from) FROM cascadian_clean.data_sync_status FINAL WHERE source = '{COUNTED}'"
    before = await filled.warehouse.fetch_value(reached)
    await filled.obey(gap.command)
    assert await filled.warehouse.fetch_value(reached) == before, "what one token was asked for is not all"
    assert await filled.gaps() == []
    assert [(gap.kind, gap.key, gap.rows) for gap in await filled.believed()] == [("short", row["key"], 2)]


async def test_what_is_lost_twice_is_brought_back_twice_by_the_same_words(filled: Filled) -> None:
    """The second asking brings the very same rows, which a table that remembers inserts may take for a repetition."""
    whole = await filled.fills()
    (row,) = await filled.warehouse.fetch("SELECT key FROM staging.density FINAL ORDER BY rows DESC LIMIT 1")
    asked = ""
    for _ in range(3):
        await filled.lose("polymarket.clob_fills", f"toString(token_id) = '{row['key']}' AND source = 'goldsky'")
        await filled.lose("staging.clob_fills_v2", f"toString(token_id) = '{row['key']}' AND track = '{COUNTED}'")
        found = await find_gaps(filled.config, filled.warehouse)
        (gap,) = [*found.gaps, *found.believed]
        assert asked in ("", gap.command)
        asked = gap.command
        await filled.obey(asked)
        assert await filled.fills() == whole


async def test_rows_that_production_lost_while_it_grew_are_merged_again(filled: Filled) -> None:
    (row,) = await filled.warehouse.fetch(
        "SELECT toString(token_id) AS key, count() AS rows FROM polymarket.clob_fills WHERE source = 'goldsky' "
        "GROUP BY token_id ORDER BY rows DESC LIMIT 1"
    )
    whole = await filled.fills()
    await filled.lose("polymarket.clob_fills", f"toString(token_id) = '{row['key']}' AND source = 'goldsky'")
    (gap,) = await filled.gaps()
    assert (gap.kind, gap.key, gap.rows, gap.command) == (
        "unmerged",
        row["key"],
        int(row["rows"]),
        MERGE,
    )
    (known,) = [int(each["key"]) for each in await filled.warehouse.fetch(
        "SELECT toString(token_ids[1]) AS key FROM polymarket.markets WHERE notEmpty(token_ids) LIMIT 1"
    )]  # fmt: skip
    await put_fills(filled.warehouse, [known] * (int(row["rows"]) + 5))
    (gap,) = await filled.gaps()
    assert f"--track {COUNTED} --token {row['key']}" in gap.command
    await filled.obey(gap.command)
    assert await filled.gaps() == []
    assert set(whole) <= set(await filled.fills())


async def test_what_is_only_not_merged_is_merged_without_asking_anyone(filled: Filled) -> None:
    whole = await filled.fills()
    await filled.lose("polymarket.clob_fills", "cityHash64(fill_id) % 3 = 0")
    assert {(gap.kind, gap.command) for gap in await filled.gaps()} == {("unmerged", MERGE)}
    await filled.obey(MERGE)
    assert await filled.fills() == whole and await filled.gaps() == []


async def test_transfers_that_are_staged_only_are_found(filled: Filled) -> None:
    await filled.lose("polymarket.erc1155_transfers", "block_number % 7 = 0")
    (gap,) = await filled.gaps()
    assert (gap.kind, gap.dataset, gap.command) == ("unmerged", "transfers", "backfill run transfers")
    await filled.obey(gap.command)
    assert await filled.gaps() == []


# --- hours


async def put_hours(warehouse: Warehouse, hours: int, quiet: range, rows_an_hour: int) -> None:
    """Fills of the chain, so many an hour, none in the quiet ones; and that all of it was read once."""
    fills: list[dict[str, object]] = [
        {"fill_id": f"0x{hour:x}_{n}", "token_id": str(token(0)), "maker": "0xa", "taker": "0xb", "side": "BUY",
         "shares_micro": 2, "usdc_micro": 1, "price": "0.5", "timestamp": T0 + hour * HOUR + n,
         "tx_hash": f"0x{hour:x}", "block_number": (hour * HOUR + n) // 2 + 1, "source": "chain"}
        for hour in range(hours) if hour not in quiet for n in range(rows_an_hour)
    ]  # fmt: skip
    await put(warehouse, "production.clob_fills", fills)
    await put_read(warehouse, "first", 1, hours * HOUR // 2 + 1)
    status: dict[str, object] = {"dataset": "fills", "source": "chain_fills", "covered_from": T0, "complete": 1}
    await put(warehouse, "analytics.data_sync_status", [{**status, "covered_to": T0 + hours * HOUR, "note": ""}])


async def put_read(warehouse: Warehouse, plan: str, low: int, high: int) -> None:
    read: dict[str, object] = {"dataset": "fills", "source": "chain_fills", "kind": "blocks", "key": "", "unit": 0}
    await put(
        warehouse, "staging.covered_windows", [{**read, "plan_id": plan, "covered_from": low, "covered_to": high}]
    )


def since_the_beginning(config: Config) -> Config:
    moment = "2026-05-28"  # T0
    return config.model_copy(update={"run": config.run.model_copy(update={"history_from": moment})})


async def test_hours_without_a_fill_are_a_gap_until_they_were_asked_for_again(
    config: Config, warehouse: Warehouse
) -> None:
    config = since_the_beginning(config)
    await put_hours(warehouse, 72, range(30, 33), 60)
    (gap,) = (await find_gaps(config, warehouse)).gaps
    assert (gap.kind, gap.start, gap.end, gap.rows) == ("silent", T0 + 30 * HOUR, T0 + 33 * HOUR, 180)
    assert gap.command == (
        "backfill run fills --track chain_fills --since 2026-05-29T06:00:00Z --until 2026-05-29T09:00:00Z"
    )
    await put_read(warehouse, "second, of the first hour alone", 15 * HOUR, 15 * HOUR + HOUR // 2)
    assert [gap.kind for gap in (await find_gaps(config, warehouse)).gaps] == ["silent"]
    await put_read(warehouse, "second", 15 * HOUR, 15 * HOUR + 3 * HOUR // 2)
    found = await find_gaps(config, warehouse)
    assert found.gaps == [] and [gap.kind for gap in found.believed] == ["silent"]


async def test_a_second_plan_for_a_few_tokens_does_not_make_a_silence_believed(
    config: Config, warehouse: Warehouse
) -> None:
    config = since_the_beginning(config)
    await put_hours(warehouse, 72, range(30, 33), 60)
    await warehouse.execute("TRUNCATE TABLE staging.covered_windows")
    await warehouse.execute("TRUNCATE TABLE cascadian_clean.data_sync_status")
    whole = {"covered_from": T0, "covered_to": T0 + 72 * HOUR}
    status: dict[str, object] = {"dataset": "fills", "source": COUNTED, "complete": 1, "note": "", **whole}
    await put(warehouse, "analytics.data_sync_status", [status])
    read: dict[str, object] = {"dataset": "fills", "source": COUNTED, "kind": "token", "unit": 0, **whole}
    await put(warehouse, "staging.covered_windows", [{**read, "plan_id": "1", "key": str(token(n))} for n in range(4)])
    again = {**read, "plan_id": "2", "covered_from": T0 + 29 * HOUR}
    await put(warehouse, "staging.covered_windows", [{**again, "key": str(token(0))}])
    assert [gap.kind for gap in (await find_gaps(config, warehouse)).gaps] == ["silent"]
    await put(warehouse, "staging.covered_windows", [{**again, "key": str(token(1))}])
    assert (await find_gaps(config, warehouse)).gaps == []


async def test_hours_that_imported_files_lack_are_a_gap_of_nobody(config: Config, warehouse: Warehouse) -> None:
    config = since_the_beginning(config)
    await put_hours(warehouse, 96, range(30, 54), 60)  # a day
    await warehouse.execute("TRUNCATE TABLE staging.covered_windows")
    await warehouse.execute("TRUNCATE TABLE cascadian_clean.data_sync_status")
    *unread, gap = (await find_gaps(config, warehouse)).gaps
    assert {each.kind for each in unread} == {"unread"}
    assert (gap.kind, gap.source, gap.start, gap.end) == ("silent", "", T0 + 30 * HOUR, T0 + 54 * HOUR)
    assert gap.command == "backfill run fills --since 2026-05-29T06:00:00Z --until 2026-05-30T06:00:00Z"


async def test_quiet_hours_in_a_quiet_time_are_nothing(config: Config, warehouse: Warehouse) -> None:
    await put_hours(warehouse, 72, range(30, 33), 40)
    assert (await find_gaps(since_the_beginning(config), warehouse)).gaps == []


# --- pure


def test_between_and_outside() -> None:
    assert between([]) == between([(1, 5)]) == between([(1, 5), (2, 3), (5, 9)]) == []
    assert between([("1", "5"), ("2", "3"), ("7", "9"), ("12", "13")]) == [(5, 7), (9, 12)]
    assert outside([], Window(1, 9)) == [(1, 9)]
    assert outside([(1, 9)], Window(1, 9)) == []
    assert outside([(3, 4), (4, 6)], Window(1, 9)) == [(1, 3), (6, 9)]


def test_silences() -> None:
    busy = {T0 + hour * HOUR: 100 for hour in range(96)}
    quiet = {at: n for at, n in busy.items() if not T0 + 40 * HOUR <= at < T0 + 42 * HOUR}
    assert silences(busy) == []
    assert silences(quiet) == [(Window(T0 + 40 * HOUR, T0 + 42 * HOUR), 200)]
    assert silences({at: n // 2 for at, n in quiet.items()}) == []
    # A whole day is as silent as an hour; what lies before the first row and behind the last is not judged.
    day = {at: n for at, n in busy.items() if not T0 + 30 * HOUR <= at < T0 + 54 * HOUR}
    assert silences(day) == [(Window(T0 + 30 * HOUR, T0 + 54 * HOUR), 2400)]


def test_blocks_within() -> None:
    assert blocks_within((100, 1000), (200, 1200), Window(1020, 1180)) == (110, 190)
    assert holes.AROUND_H == 24


def test_runs_can_be_about_some_tokens_of_a_track_that_asks_by_token() -> None:
    assert wish_of("fills", COUNTED, tokens=["7", "007", "8"]).tokens == ("7", "8")
    for dataset, track, tokens in (
        ("fills", None, ["7"]),
        ("fills", "chain_fills", ["7"]),
        ("markets", "gamma_markets", ["7"]),
        ("fills", COUNTED, ["0x7"]),
        ("fills", COUNTED, [str(1 << 256)]),
    ):
        with pytest.raises(UsageError):
            wish_of(dataset, track, tokens=tokens)
