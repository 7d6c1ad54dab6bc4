"""Imports into a real warehouse: counted exactly, once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import csv
import functools
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from backfill import files, ids
from backfill.commands.common import Context
from backfill.commands.imports import register
from backfill.config import Config
from backfill.engine.deadletters import DeadLetters
from backfill.errors import TrackHeld, UsageError
from backfill.stages import imports
from backfill.stages.imports import ImportReport, import_fills, import_token_map, portions_of
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

# Bodies above 1 MiB are the client's business, and loopback takes them in one go.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body")

TOKEN = 80085489243215790077454313513728486445319747473476157602131800551595373270758
Row = dict[str, Any]


def hex32(number: int) -> str:
    return f"0x{number:064x}"


def event(number: int, **changes: Any) -> Row:
    """A fill as the subgraph has it; every third one is a sale."""
    token, sells = str(TOKEN + number % 5), number % 3 == 0
    return {
        "id": f"{hex32(number // 2)}_{hex32(number + 10**6)}",
        "transactionHash": hex32(number // 2),
        "orderHash": hex32(number + 10**6),
        "timestamp": str(1761680413 + number),
        "maker": f"0x{number % 7:040x}",
        "taker": f"0x{9:040x}",
        "makerAssetId": token if sells else "0",
        "takerAssetId": "0" if sells else token,
        "makerAmountFilled": str(1_000_000 + number),
        "takerAmountFilled": str(2_000_000 + number),
        "fee": str(number % 2),
    } | changes


def trade(number: int, **changes: Any) -> Row:
    """The same fill as the Data API shows it: in shares and dollars, without its order."""
    one = event(number)
    sells = one["takerAssetId"] == "0"
    given, got = int(one["makerAmountFilled"]), int(one["takerAmountFilled"])
    shares, usdc = (given, got) if sells else (got, given)
    return {
        "proxyWallet": one["maker"],
        "side": "SELL" if sells else "BUY",
        "asset": one["makerAssetId"] if sells else one["takerAssetId"],
        "conditionId": hex32(5),
        "size": shares / 10**6,
        "price": usdc / shares,
        "timestamp": int(one["timestamp"]),
        "transactionHash": one["transactionHash"],
    } | changes


def write(path: Path, rows: list[Row]) -> Path:
    """`rows` in the format of the path's ending."""
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    with opener(path, "wt", newline="") as handle:
        if name.endswith(".csv"):
            table = csv.DictWriter(handle, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        elif name.endswith(".jsonl"):
            handle.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            json.dump(rows, handle)
    return path


def numbers(report: ImportReport) -> tuple[int, int, int, int]:
    """read, inserted, duplicates, refused; and they add up, for each file as for all."""
    document = report.document()
    for part in (document, *document["details"]):
        assert part["read"] == part["inserted"] + part["duplicates"] + part["refused"]
    return document["read"], document["inserted"], document["duplicates"], document["refused"]


async def stored(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Every row of clob_fills without FINAL, as plain facts."""
    rows = await warehouse.fetch(
        "SELECT fill_id, toString(token_id) AS token, maker, side, shares_micro, usdc_micro, "
        "toUnixTimestamp(timestamp) AS at FROM {production:Identifier}.clob_fills ORDER BY fill_id"
    )
    return [tuple(row.values()) for row in rows]


def expected(rows: list[Row]) -> list[tuple[Any, ...]]:
    """The same facts, worked out from the events by hand."""
    facts = []
    for row in rows:
        sells = row["takerAssetId"] == "0"
        token = row["makerAssetId"] if sells else row["takerAssetId"]
        given, got = row["makerAmountFilled"], row["takerAmountFilled"]
        shares, usdc = (given, got) if sells else (got, given)
        facts.append((row["id"], token, row["maker"], "SELL" if sells else "BUY", shares, usdc, int(row["timestamp"])))
    return sorted(facts)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "jsonl.gz", "json", "json.gz", "parquet"])
async def test_every_format_arrives_and_arrives_once(
    warehouse: Warehouse, config: Config, tmp_path: Path, ending: str
) -> None:
    rows = [event(number) for number in range(60)]
    path = write(tmp_path / f"fills.{ending}", rows)
    assert numbers(await import_fills(warehouse, config, [path])) == (60, 60, 0, 0)
    assert await stored(warehouse) == expected(rows)
    assert numbers(await import_fills(warehouse, config, [tmp_path])) == (60, 0, 60, 0)
    assert await stored(warehouse) == expected(rows)


async def test_overlapping_files_are_counted_file_by_file(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [event(number) for number in range(30)])
    write(tmp_path / "b.jsonl", [event(number) for number in range(20, 50)] + [event(49)])
    report = await import_fills(warehouse, config, [tmp_path / "*"])
    assert numbers(report) == (61, 50, 11, 0)
    assert [(count.inserted, count.duplicates) for count in report.details] == [(30, 0), (20, 11)]
    assert await stored(warehouse) == expected([event(number) for number in range(50)])


async def test_refused_rows_are_counted_and_kept(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    bad = [event(1, maker="nobody"), event(2, takerAssetId="8.0e+76"), event(4, makerAmountFilled="")]
    path = write(tmp_path / "fills.csv", [event(0), *bad, event(5)])
    assert numbers(await import_fills(warehouse, config, [path])) == (5, 2, 0, 3)
    assert numbers(await import_fills(warehouse, config, [path])) == (5, 0, 2, 3)
    letters = list(DeadLetters(config.run.data_dir).rows("import_fills"))
    assert [json.loads(letter["raw"]) for letter in letters] == bad
    assert [letter["unit"] for letter in letters] == [2, 3, 4]
    assert "maker is not an address" in letters[0]["reason"]
    assert {letter["class"] for letter in letters} == {"refused"}


async def test_one_id_with_two_stories_is_a_conflict(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [event(1), event(1, makerAmountFilled="77")])
    assert numbers(await import_fills(warehouse, config, [path])) == (2, 1, 0, 1)
    other = write(tmp_path / "b.jsonl", [event(1, takerAmountFilled="78")])
    assert numbers(await import_fills(warehouse, config, [other])) == (1, 0, 0, 1)
    letters = list(DeadLetters(config.run.data_dir).rows("import_fills"))
    assert [letter["class"] for letter in letters] == ["conflict", "conflict"]
    assert json.loads(letters[0]["raw"])["usdc_micro"] in (77, "77")
    assert await stored(warehouse) == expected([event(1)])


async def test_unquoted_ids_of_256_bits_keep_their_digits(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    row = event(1) | {"takerAssetId": (1 << 256) - 1, "makerAssetId": 0}
    path = write(tmp_path / "fills.jsonl", [row])
    assert str((1 << 256) - 1) in path.read_text()
    assert numbers(await import_fills(warehouse, config, [path])) == (1, 1, 0, 0)
    assert (await stored(warehouse))[0][1] == str((1 << 256) - 1)


async def test_a_torn_file_imports_nothing(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [event(number) for number in range(10)])
    torn = write(tmp_path / "b.jsonl.gz", [event(number) for number in range(5000)])
    torn.write_bytes(torn.read_bytes()[:-2000])
    with pytest.raises(UsageError, match=r"b\.jsonl\.gz: cannot be read to its end"):
        await import_fills(warehouse, config, [tmp_path])
    assert await stored(warehouse) == []
    assert await warehouse.fetch_value("SELECT count() FROM {staging:Identifier}.import_fills") == 0


async def test_an_unknown_shape_names_what_it_saw(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"colour": "red", "taste": "sweet"}])
    with pytest.raises(UsageError, match="colour, taste"):
        await import_fills(warehouse, config, [path])


async def test_a_dry_run_counts_and_changes_nothing(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [event(0), event(1), event(1), event(2, maker="nobody")])
    report = await import_fills(warehouse, config, [path], dry_run=True)
    assert numbers(report) == (4, 2, 1, 1)
    assert report.document()["dry_run"] is True
    assert await stored(warehouse) == []
    assert list(DeadLetters(config.run.data_dir).rows()) == []


async def test_one_import_at_a_time(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [event(0)])
    with files.held(config.run.checkpoint_dir / "import.lock", what="import"), pytest.raises(TrackHeld):
        await import_fills(warehouse, config, [path])


async def test_equal_trades_of_a_file_are_separate_fills(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [trade(1), trade(1), trade(2), trade(1)])
    assert numbers(await import_fills(warehouse, config, [path])) == (4, 4, 0, 0)
    assert numbers(await import_fills(warehouse, config, [path])) == (4, 0, 4, 0)
    overlap = write(tmp_path / "b.jsonl", [trade(1), trade(1), trade(3)])
    assert numbers(await import_fills(warehouse, config, [overlap, path])) == (7, 1, 6, 0)
    assert sorted(row[0].rsplit("_", 1)[1] for row in await stored(warehouse)) == ["0", "0", "0", "1", "2"]


@pytest.mark.parametrize("order_hash_first", [True, False])
async def test_one_fill_seen_by_two_kinds_of_source_is_one_row(
    warehouse: Warehouse, config: Config, tmp_path: Path, order_hash_first: bool
) -> None:
    events = write(tmp_path / "events.csv", [event(number) for number in range(20)])
    trades = write(tmp_path / "trades.csv", [trade(number) for number in range(10, 30)])
    first, second = (events, trades) if order_hash_first else (trades, events)
    assert numbers(await import_fills(warehouse, config, [first])) == (20, 20, 0, 0)
    assert numbers(await import_fills(warehouse, config, [second])) == (20, 10, 10, 0)
    assert numbers(await import_fills(warehouse, config, [tmp_path])) == (40, 0, 40, 0)
    assert await warehouse.fetch_value("SELECT uniqExact(timestamp) FROM {production:Identifier}.clob_fills") == 30
    assert len(await stored(warehouse)) == 30


async def test_both_kinds_of_source_in_one_import(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    write(tmp_path / "events.csv", [event(number) for number in range(20)])
    write(tmp_path / "trades.csv", [trade(number) for number in range(10, 30)] + [trade(10)])
    assert numbers(await import_fills(warehouse, config, [tmp_path])) == (41, 31, 10, 0)
    assert numbers(await import_fills(warehouse, config, [tmp_path])) == (41, 0, 41, 0)


async def test_what_a_source_does_not_know_is_null(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    names = ("taker", "order_hash", "fee_micro", "fee_asset", "exchange_version", "log_index", "block_number")
    kinds = await warehouse.fetch("DESCRIBE TABLE {production:Identifier}.clob_fills")
    solid = [row["name"] for row in kinds if row["name"] in names and "Nullable" not in row["type"]]
    await import_fills(warehouse, config, [write(tmp_path / "a.csv", [trade(1)])])
    [row] = await warehouse.fetch(f"SELECT {', '.join(names)} FROM {{production:Identifier}}.clob_fills")
    assert all(row[name] is None for name in names if name not in solid)
    if solid:
        pytest.xfail(f"clob_fills has no NULL for {', '.join(solid)}")


async def test_an_orphaned_insert_is_waited_for(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    """What a killed import left running must end before the next one looks at production."""
    path = write(tmp_path / "a.csv", [event(number) for number in range(20)])
    await import_fills(warehouse, config, [write(tmp_path / "first.csv", [event(0)])])
    orphan = (
        "INSERT INTO {staging:Identifier}.import_fills_sorted (file) "
        "SELECT sleepEachRow(0.3) FROM numbers(5) SETTINGS max_block_size = 1"
    )
    notes: list[str] = []
    async with asyncio.TaskGroup() as group:
        running = group.create_task(warehouse.execute(orphan))
        while not await warehouse.fetch_value(queries.load("imports_still_running")):
            assert not running.done()
        report = await import_fills(warehouse, config, [path], note=notes.append)
        assert running.done()
    assert numbers(report) == (20, 19, 1, 0)
    assert any("still running" in note for note in notes)


# --- token map


def market(number: int, index: int = 0, **changes: Any) -> Row:
    collateral = (ids.USDC_E, ids.WCOL)[number % 2]
    return {
        "token_id": str(ids.position_id(f"{number:064x}", index, collateral)),
        "condition_id": hex32(number),
        "outcome_index": str(index),
        "outcome": "Yes",
        "market_slug": "",
    } | changes


async def mapping(warehouse: Warehouse) -> dict[str, tuple[Any, ...]]:
    rows = await warehouse.fetch(
        "SELECT toString(token_id) AS token, condition_id_norm, outcome_index, outcome, market_slug, proven "
        "FROM {production:Identifier}.ctf_token_map"
    )
    found = {row.pop("token"): tuple(row.values()) for row in rows}
    assert len(found) == len(rows), "a token is there twice"
    return found


async def test_proven_mappings_come_in_and_disproven_ones_stay_out(
    warehouse: Warehouse, config: Config, tmp_path: Path
) -> None:
    right = [market(number, number % 2) for number in range(20)]
    swapped = market(30, 0, outcome_index="1")
    small = market(31, 0, token_id="12345")
    path = write(tmp_path / "map.csv", [*right, swapped, small, right[0]])
    assert numbers(await import_token_map(warehouse, config, [path])) == (23, 21, 1, 1)
    found = await mapping(warehouse)
    assert found[right[1]["token_id"]] == (f"{1:064x}", 1, "Yes", None, 1)
    assert found["12345"][-1] == 0
    assert sum(row[-1] for row in found.values()) == 20
    [letter] = DeadLetters(config.run.data_dir).rows("import_token_map")
    assert (letter["class"], letter["unit"]) == ("disproven", 21)
    assert letter["reason"].endswith("side swapped: proves outcome 0")
    assert json.loads(letter["raw"])["token_id"] == swapped["token_id"]
    assert numbers(await import_token_map(warehouse, config, [path])) == (23, 0, 22, 1)


async def test_mappings_that_are_there_are_kept(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    kept = market(31, 0, token_id="12345")
    await import_token_map(warehouse, config, [write(tmp_path / "a.csv", [kept])])
    path = write(tmp_path / "b.csv", [market(32, 0, token_id="12345"), market(31, 0, token_id="12345", outcome="No")])
    assert numbers(await import_token_map(warehouse, config, [path])) == (2, 0, 1, 1)
    assert (await mapping(warehouse))["12345"] == (f"{31:064x}", 0, "Yes", None, 0)
    [letter] = DeadLetters(config.run.data_dir).rows("import_token_map")
    assert letter["class"] == "conflict"


# --- recorded data


@pytest.mark.slow
async def test_recorded_trades(warehouse: Warehouse, config: Config, real_data: Path) -> None:
    """7,198 distinct trades; the winner's buys and sells are known to the cent."""
    assert numbers(await import_fills(warehouse, config, [real_data / "fills_dataapi_*"])) == (7198, 7198, 0, 0)
    assert numbers(await import_fills(warehouse, config, [real_data / "fills_dataapi_*"])) == (7198, 0, 7198, 0)
    [sums] = await warehouse.fetch(
        "SELECT sumIf(usdc_micro, side = 'BUY') / 1e6 AS bought, sumIf(usdc_micro, side = 'SELL') / 1e6 AS sold "
        "FROM {production:Identifier}.clob_fills WHERE maker = '0xee50a31c3f5a7c77824b12a941a54388a2827ed6'"
    )
    assert (round(sums["bought"], 2), round(sums["sold"], 2)) == (3_829_760.68, 97_179.66)


@pytest.mark.slow
async def test_recorded_markets(warehouse: Warehouse, config: Config, real_data: Path) -> None:
    """Of 96,845 tokens 21 contradict their market (three-way and archived ones); all others are proven."""
    report = await import_token_map(warehouse, config, [real_data / "gamma_markets.parquet"])
    assert numbers(report) == (96_845, 96_824, 0, 21)
    assert await warehouse.fetch_value("SELECT sum(proven) FROM {production:Identifier}.ctf_token_map") == 96_824
    assert DeadLetters(config.run.data_dir).count("import_token_map") == 21


# --- portions


@given(st.dictionaries(st.integers(0, 255), st.integers(1, 50)), st.integers(1, 60))
def test_portions_cover_every_row_once(spread: dict[int, int], limit: int) -> None:
    portions = portions_of(spread, limit=limit)
    for byte in spread:
        holding = [one for one in portions if int(one.low) <= byte << 248 <= int(one.high)]
        assert sorted(one.part for one in holding) == list(range(holding[0].parts))
        assert int(holding[0].high) >= (byte << 248) + (1 << 248) - 1
    for low in {one.low for one in portions}:
        inside = [one for one in portions if one.low == low]
        rows = sum(count for byte, count in spread.items() if int(low) <= byte << 248 <= int(inside[0].high))
        assert rows <= limit * len(inside)


async def test_portions_do_not_change_the_outcome(
    warehouse: Warehouse, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "portions_of", functools.partial(portions_of, limit=7))
    write(tmp_path / "events.csv", [event(number) for number in range(40)] + [event(3)])
    write(tmp_path / "trades.csv", [trade(number) for number in range(30, 60)] + [trade(31)])
    assert numbers(await import_fills(warehouse, config, [tmp_path])) == (72, 61, 11, 0)
    assert numbers(await import_fills(warehouse, config, [tmp_path])) == (72, 0, 72, 0)


# --- the command


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)

    @app.callback()
    def root(ctx: typer.Context, config: Path) -> None:
        ctx.obj = Context(config)

    return app


@pytest.fixture
def toml(server_dir: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f'[run]\ndata_dir = "{server_dir}"\n')
    return path


@pytest.mark.slow
def test_the_command_prints_one_document_and_says_4_when_rows_were_refused(
    app: typer.Typer, toml: Path, tmp_path: Path
) -> None:
    """On a database of its own kind of rows, so that other tests' leftovers do not count."""
    rows = [event(number, transactionHash=hex32(10**9 + number), id="") for number in range(3)]
    good = write(tmp_path / "good.csv", rows)
    bad = write(tmp_path / "bad.csv", [event(1, maker="nobody")])

    def call(*words: str | Path) -> tuple[int, str]:
        result = CliRunner().invoke(app, [str(toml), "import", *map(str, words)])
        return result.exit_code, result.stdout

    code, out = call("fills", good, "--json", "--dry-run")
    assert (code, json.loads(out)["inserted"]) == (0, 3)
    code, out = call("fills", good, bad, "--json")
    document = json.loads(out)
    assert code == 4
    assert {name: document[name] for name in ("files", "read", "inserted", "duplicates", "refused")} == {
        "files": 2,
        "read": 4,
        "inserted": 3,
        "duplicates": 0,
        "refused": 1,
    }
    code, out = call("fills", good)
    assert code == 0
    assert "1 file: 3 rows read, 0 inserted, 3 were there already, 0 refused" in out
    code, out = call("token-map", write(tmp_path / "map.csv", [market(7)]), "--json", "--dry-run")
    assert (code, json.loads(out)["read"]) == (0, 1)


# --- killed

_IMPORTS = """
import asyncio, sys
from pathlib import Path
from backfill.config import Config, Run
from backfill.stages import imports
from backfill.warehouse.client import open_warehouse
imports.BATCH = 500
async def main(data, checkpoints, path):
    config = Config(run=Run(data_dir=Path(data), checkpoint_dir=Path(checkpoints)))
    async with open_warehouse(config) as warehouse:
        await imports.import_fills(warehouse, config, [path])
if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""


def start_and_kill(command: list[str], after_s: float) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)


@pytest.mark.slow
async def test_killed_anywhere_and_repeated_ends_exact(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    rows = [event(number) for number in range(6000)]
    path = write(tmp_path / "fills.csv", rows)
    script = tmp_path / "imports.py"
    script.write_text(_IMPORTS)
    command = [sys.executable, str(script), str(config.run.data_dir), str(config.run.checkpoint_dir), str(path)]
    for tenths in range(3, 13, 2):
        await asyncio.to_thread(start_and_kill, command, tenths / 10)
    read, inserted, duplicates, refused = numbers(await import_fills(warehouse, config, [path]))
    assert (read, inserted + duplicates, refused) == (6000, 6000, 0)
    assert await stored(warehouse) == expected(rows)


@pytest.mark.slow
async def test_speed_is_told(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = write(tmp_path / "fills.csv.gz", [event(number) for number in range(50_000)])
    begin = time.perf_counter()
    await import_fills(warehouse, config, [path])
    print(f"\n{50_000 / (time.perf_counter() - begin):,.0f} fills a second")
