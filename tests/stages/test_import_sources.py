"""Dumps of every kind of source into a real warehouse: the same fill is one row, whoever tells of it and how often."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from backfill import files
from backfill.config import Config
from backfill.engine.checkpoint import lock_path
from backfill.engine.deadletters import DeadLetters
from backfill.errors import BackfillError, UsageError
from backfill.stages import imports, judging, loading, shapes
from backfill.stages.imports import ImportReport, import_fills, import_token_map
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

# Bodies above 1 MiB are the client's business, and loopback takes them in one go.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body")

TOKEN = 80085489243215790077454313513728486445319747473476157602131800551595373270758
EXCHANGE = "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e"
NOW = 1761680413
Row = dict[str, Any]


def hex32(number: int) -> str:
    return f"0x{number:064x}"


def wallet(number: int) -> str:
    return f"0x{number:040x}"


def bought(tx: int, maker: int = 1, shares: int = 2_000_000, usdc: int = 1_000_000, token: int = TOKEN) -> Row:
    """A fill as poly_data writes it down."""
    return {
        "timestamp": str(NOW),
        "maker": wallet(maker),
        "makerAssetId": "0",
        "makerAmountFilled": str(usdc),
        "taker": EXCHANGE,
        "takerAssetId": str(token),
        "takerAmountFilled": str(shares),
        "transactionHash": hex32(tx),
    }


def event(order: int, **fill: int) -> Row:
    """The same as the subgraph has it."""
    one = bought(**fill)
    return one | {"orderHash": hex32(order), "id": f"{one['transactionHash']}_{hex32(order)}", "fee": "0"}


def trade(**fill: int) -> Row:
    """The same as the Data API shows it; the dollars come out of its price."""
    one = bought(**fill)
    shares, usdc = int(one["takerAmountFilled"]), int(one["makerAmountFilled"])
    return {
        "proxyWallet": one["maker"],
        "side": "BUY",
        "asset": one["takerAssetId"],
        "conditionId": hex32(5),
        "size": shares / 10**6,
        "price": usdc / shares,
        "timestamp": NOW,
        "transactionHash": one["transactionHash"],
    }


def order(order: int, **fill: int) -> Row:
    """The same as Dome shows it."""
    one = bought(**fill)
    shares, usdc = int(one["takerAmountFilled"]), int(one["makerAmountFilled"])
    return {
        "token_id": one["takerAssetId"],
        "side": "BUY",
        "market_slug": "m",
        "condition_id": hex32(5),
        "shares": shares,
        "price": round(usdc / shares, 6),
        "tx_hash": one["transactionHash"],
        "order_hash": hex32(order),
        "timestamp": NOW,
        "user": one["maker"],
        "shares_normalized": shares / 10**6,
    }


def jsonl(path: Path, *rows: Row) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def numbers(report: ImportReport) -> tuple[int, int, int, int]:
    """read, inserted, duplicates, refused; and they add up, for each file as for all."""
    document = report.document()
    for part in (document, *document["details"]):
        assert part["read"] == part["inserted"] + part["duplicates"] + part["refused"]
    return document["read"], document["inserted"], document["duplicates"], document["refused"]


async def tails(warehouse: Warehouse) -> list[str]:
    """What follows the transaction in the ids of production, keys cut short."""
    rows = await warehouse.fetch("SELECT fill_id FROM {production:Identifier}.clob_fills ORDER BY fill_id")
    found = [row["fill_id"].partition("_")[2] for row in rows]
    return sorted(f"k_{tail.rpartition('_')[2]}" if tail.startswith("k") else str(int(tail[:66], 16)) for tail in found)


async def test_a_file_of_poly_data(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = tmp_path / "orderFilled.csv"
    rows = [bought(1), bought(1, maker=2), bought(2, shares=3_000_000)]
    path.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]))
    assert numbers(await import_fills(warehouse, config, [path])) == (3, 3, 0, 0)
    assert numbers(await import_fills(warehouse, config, [path])) == (3, 0, 3, 0)
    [row] = await warehouse.fetch(
        "SELECT maker, taker, side, shares_micro, usdc_micro, price, fee_micro, order_hash, exchange_version, source "
        "FROM {production:Identifier}.clob_fills WHERE shares_micro = 3000000"
    )
    assert list(row.values())[:6] == [wallet(1), EXCHANGE, "BUY", "3000000", "1000000", "0.333333333"]
    assert list(row.values())[6:] == [None, None, None, "import_poly_data"]


async def test_an_id_in_a_poly_data_file_names_the_order(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    one = bought(1)
    path = jsonl(tmp_path / "a.jsonl", one | {"id": f"{one['transactionHash']}_{hex32(77)}"}, one | {"id": "legacy:4"})
    assert numbers(await import_fills(warehouse, config, [path])) == (2, 1, 1, 0)
    assert await tails(warehouse) == ["77"]


async def test_a_transaction_that_was_written_down_twice(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    """poly_data repeats the last second of each run; a maker that was really filled twice has one taker beside it."""
    once = [bought(1), bought(1, maker=9)]
    really_twice = [bought(2), bought(2), bought(2, maker=9, shares=4_000_000, usdc=2_000_000)]
    both = [*really_twice[:2], bought(3), *really_twice[:2], bought(3, maker=9)]
    path = jsonl(tmp_path / "a.jsonl", *once, *once, *really_twice, *once)
    assert numbers(await import_fills(warehouse, config, [path])) == (9, 5, 4, 0)
    assert numbers(await import_fills(warehouse, config, [path])) == (9, 0, 9, 0)
    more = jsonl(tmp_path / "b.jsonl", *both)
    assert numbers(await import_fills(warehouse, config, [more])) == (6, 2, 4, 0)
    assert await tails(warehouse) == ["k_0"] * 6 + ["k_1"]


async def test_dollars_that_were_rounded_are_no_contradiction(
    warehouse: Warehouse, config: Config, tmp_path: Path
) -> None:
    fill = {"tx": 1, "shares": 7_333_333, "usdc": 2_444_447}
    exact = jsonl(tmp_path / "events.jsonl", event(5, **fill))
    rounded = jsonl(tmp_path / "orders.jsonl", order(5, **fill))
    assert numbers(await import_fills(warehouse, config, [exact])) == (1, 1, 0, 0)
    assert numbers(await import_fills(warehouse, config, [rounded])) == (1, 0, 1, 0)
    wrong = jsonl(
        tmp_path / "wrong.jsonl", order(5, **fill | {"usdc": 2_600_000}), event(5, **fill | {"usdc": 2_444_448})
    )
    assert numbers(await import_fills(warehouse, config, [wrong])) == (2, 0, 0, 2)
    assert numbers(await import_fills(warehouse, config, [wrong, rounded, exact], dry_run=True)) == (4, 0, 2, 2)


async def test_the_exact_row_of_two_in_one_import_comes_in(
    warehouse: Warehouse, config: Config, tmp_path: Path
) -> None:
    fill = {"tx": 1, "shares": 7_333_333, "usdc": 2_444_447}
    jsonl(tmp_path / "a.jsonl", order(5, **fill))
    jsonl(tmp_path / "b.jsonl", event(5, **fill))
    assert numbers(await import_fills(warehouse, config, [tmp_path])) == (2, 1, 1, 0)
    assert await warehouse.fetch_value("SELECT source FROM {production:Identifier}.clob_fills") == "import_goldsky"


async def test_one_id_under_two_tokens_is_a_conflict(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", event(5, tx=1), event(5, tx=1, token=TOKEN + 1))
    assert numbers(await import_fills(warehouse, config, [path])) == (2, 1, 0, 1)
    [letter] = DeadLetters(config.run.data_dir).rows("import_fills")
    raw = json.loads(letter["raw"])
    assert (raw["fill_id"], raw["token_id"]) == (f"{hex32(1)}_{hex32(5)}", str(TOKEN + 1))
    assert (raw["order_hash"], letter["unit"]) == (hex32(5), 2)
    assert await tails(warehouse) == ["5"]


async def test_activity_is_trades_and_the_rest_is_passed_by(
    warehouse: Warehouse, config: Config, tmp_path: Path
) -> None:
    redeemed = trade(tx=2) | {"type": "REDEEM", "asset": "", "side": "", "usdcSize": 5}
    odd = trade(tx=3) | {"type": "TELEPORT"}
    path = jsonl(tmp_path / "a.jsonl", trade(tx=1) | {"type": "TRADE", "usdcSize": 1.02}, redeemed, odd)
    report = await import_fills(warehouse, config, [path])
    assert numbers(report) == (2, 1, 0, 1)
    assert report.document()["skipped"] == 1
    assert await warehouse.fetch_value("SELECT usdc_micro FROM {production:Identifier}.clob_fills") == 1_000_000
    [letter] = DeadLetters(config.run.data_dir).rows("import_fills")
    assert "column type: expected TRADE or another known activity, saw 'TELEPORT' (text)" in letter["reason"]


async def test_what_is_found_may_be_strange_and_what_is_named_may_not(
    warehouse: Warehouse, config: Config, tmp_path: Path
) -> None:
    jsonl(tmp_path / "a.jsonl", trade(tx=1))
    strange = jsonl(tmp_path / "b.jsonl", {"colour": "red"})
    (tmp_path / "c.json").write_text('{"colour": {"red": 1}}')
    report = await import_fills(warehouse, config, [tmp_path])
    assert numbers(report) == (1, 1, 0, 0)
    assert report.document()["files"] == 1
    assert [Path(one["path"]).name for one in report.document()["passed_over"]] == ["b.jsonl", "c.json"]
    for paths in ([tmp_path, strange], [tmp_path / "c.json"], [tmp_path / "[bc].*"]):
        with pytest.raises(UsageError):
            await import_fills(warehouse, config, paths)
    (tmp_path / "d.csv").write_text('x,y\n1,"two')
    with pytest.raises(UsageError, match="not the text that its ending promises"):
        await import_fills(warehouse, config, [tmp_path])


def newer(row: Row) -> Row:
    """A trade of the Data API's first version as the second one spells it."""
    names = {"proxyWallet": "proxy_wallet", "asset": "token_id", "conditionId": "condition_id"}
    names["transactionHash"] = "transaction_hash"
    return {names.get(name, name): value for name, value in row.items()}


async def test_lines_of_several_kinds_in_one_file(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    """Put together from both versions, an order of Dome and a trade that lacks its wallet; the first line decides
    only what is doubtful."""
    lacking = {name: value for name, value in trade(tx=4).items() if name != "proxyWallet"}
    rows = [trade(tx=1), newer(trade(tx=2)), newer(trade(tx=1)), order(7, tx=3), lacking]
    path = jsonl(tmp_path / "a.jsonl", *rows)
    assert numbers(await import_fills(warehouse, config, [path])) == (5, 4, 0, 1)  # 1 was written down twice: two fills
    [letter] = DeadLetters(config.run.data_dir).rows("import_fills")
    assert letter["reason"].endswith(":5: column proxyWallet is missing")
    apart = [jsonl(tmp_path / "v1.jsonl", trade(tx=1), trade(tx=9)), jsonl(tmp_path / "v2.jsonl", newer(trade(tx=9)))]
    assert numbers(await import_fills(warehouse, config, apart)) == (3, 1, 2, 0)
    index = {"outcome_index": 0, "outcomeIndex": 0}
    mapped = jsonl(tmp_path / "map.jsonl", trade(tx=1) | index, newer(trade(tx=1)) | index)
    # Their condition is none of this token's; what matters is that both were read by their own names.
    assert numbers(await import_token_map(warehouse, config, [mapped])) == (2, 0, 0, 2)
    letters = DeadLetters(config.run.data_dir).rows("import_token_map")
    assert {letter["class"] for letter in letters} == {"disproven"}


async def test_names_may_be_wrong_about_packing_lines_and_case(
    warehouse: Warehouse, config: Config, tmp_path: Path
) -> None:
    rows = [trade(tx=number) for number in range(1, 6)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(lines))
    (tmp_path / "lines.json").write_bytes(lines)
    (tmp_path / "UPPER.JSONL.GZ").write_bytes(gzip.compress(lines))
    for path, new in (("packed.jsonl", 5), ("lines.json", 0), ("UPPER.JSONL.GZ", 0)):
        assert numbers(await import_fills(warehouse, config, [tmp_path / path])) == (5, new, 5 - new, 0)
    (tmp_path / "torn.json").write_bytes(json.dumps(rows).encode()[:-9])
    with pytest.raises(UsageError, match="not JSON"):
        await import_fills(warehouse, config, [tmp_path / "torn.json"])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([f"column{number:02}" for number in range(40)], r"column00, .*, column11 and 28 more$"),
        (["conditionId", "clobTokenIds"], r"Gamma markets \(API\): no fills, but a token map$"),
    ],
)
def test_what_is_no_fills_is_said_in_a_few_words(columns: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        shapes.recognise(columns, shapes.FILLS, where="x")
    assert re.search(said, caught.value.what)


def test_fills_are_no_token_map() -> None:
    with pytest.raises(UsageError, match="Dome orders: no token map, but fills"):
        shapes.recognise(order(1, tx=1), shapes.MAPPINGS, where="x")


TRADES_CSV = (
    "timestamp market_id maker taker nonusdc_side maker_direction taker_direction price usd_amount token_amount "
    "transactionHash"
)
CHAIN_PARQUET = (
    "block_number transaction_hash log_index order_hash maker taker maker_asset_id taker_asset_id maker_amount fee"
)


@pytest.mark.parametrize(("header", "missing"), [(TRADES_CSV, "no token id"), (CHAIN_PARQUET, "no time")])
async def test_a_dump_that_lacks_something_is_told_what(
    warehouse: Warehouse, config: Config, tmp_path: Path, header: str, missing: str
) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(header.replace(" ", ",") + "\n" + ",".join("1" * len(header.split())) + "\n")
    with pytest.raises(UsageError, match=missing):
        await import_fills(warehouse, config, [path])


async def test_a_merge_of_fills_is_waited_for(warehouse: Warehouse, config: Config, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", trade(tx=1))
    waits = asyncio.Event()

    def note(text: str) -> None:
        if "merges fills" in text:
            waits.set()

    async with asyncio.TaskGroup() as group:
        with files.held(lock_path(config.run.checkpoint_dir, "settle_fills"), what="merge"):
            running = group.create_task(import_fills(warehouse, config, [path], note=note))
            await waits.wait()
            assert not await tails(warehouse)
        assert numbers(await running) == (1, 1, 0, 0)


async def test_what_a_killed_merge_left_running_is_waited_for(
    warehouse: Warehouse, config: Config, tmp_path: Path
) -> None:
    first, path = jsonl(tmp_path / "a.jsonl", trade(tx=1)), jsonl(tmp_path / "b.jsonl", trade(tx=2))
    await import_fills(warehouse, config, [first])
    orphan = (
        "-- what a merge says\nINSERT INTO {production:Identifier}.clob_fills (fill_id, token_id) "
        "SELECT concat('x', toString(sleepEachRow(0.3))), 1 FROM numbers(5) SETTINGS max_block_size = 1"
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(warehouse.execute(orphan))
        asked = {"database": warehouse.names.production}
        while not await warehouse.fetch_value(queries.load("fills_still_changing"), asked):
            assert not running.done()
        report = await import_fills(warehouse, config, [path])
        assert running.done()
    assert numbers(report) == (1, 1, 0, 0)


# --- several sources of one fact, against a model

LAYERS = 3


class Model:
    """Production as it should be: the rows of each fact, by id, with the kind of source that each is from."""

    def __init__(self) -> None:
        self.facts: dict[int, dict[str, int]] = defaultdict(dict)

    def take(self, shown: dict[int, Counter[int]]) -> int:
        """An import of `shown[layer][fact]` rows each; how many come in."""
        before = self.count
        for fact in {fact for counter in shown.values() for fact in counter}:
            here = self.facts[fact]
            seen = set(here)
            for layer in range(LAYERS):
                # Sources without orders make the same ids of the same facts.
                ids = {f"{'k' if layer else 'o'}{number}" for number in range(shown[layer][fact])}
                lacking = len(ids | {one for one, of in here.items() if of == layer}) - len(here)
                unseen = sorted(ids - seen)
                here |= dict.fromkeys(unseen[len(unseen) - max(lacking, 0) :], layer)
                seen |= ids
        return self.count - before

    @property
    def count(self) -> int:
        return sum(map(len, self.facts.values()))


def told(layer: int, shown: Counter[int]) -> list[Row]:
    """Rows of one kind of source: fact 7, three times, is three orders, or three equal rows beside another one."""
    rows = []
    for fact, times in shown.items():
        for turn in range(times):
            if layer == 0:
                rows.append(event(1000 * fact + turn, tx=fact))
            elif layer == 1:
                rows.append(bought(fact))
            else:
                rows.append(trade(tx=fact))
        if layer == 1 and times:
            rows.append(bought(fact, maker=1000 + fact))
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "limit"), [(0, 30), (1, 1000), (2, 30)])
async def test_sources_together_show_what_the_fullest_of_them_does(
    warehouse: Warehouse, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, limit: int
) -> None:
    cut = imports.portions_of
    monkeypatch.setattr(imports, "portions_of", lambda spread: cut(spread, limit=limit))
    dice, model, takers = random.Random(seed), Model(), set[int]()
    for turn in range(4):
        shown = {layer: Counter[int]() for layer in range(LAYERS)}
        for layer in dice.sample(range(LAYERS), dice.randint(1, LAYERS)):
            shown[layer] = Counter({fact: dice.randint(0, 3) for fact in range(1, 13)})
        paths: list[str | Path] = [
            jsonl(tmp_path / f"{turn}_{layer}.jsonl", *dice.sample(rows, len(rows)))
            for layer in range(LAYERS)
            if (rows := told(layer, shown[layer]))
        ]
        dice.shuffle(paths)
        fresh = {fact for fact, times in shown[1].items() if times} - takers
        takers |= fresh
        if paths:
            _, inserted, _, refused = numbers(await import_fills(warehouse, config, paths))
            assert (inserted, refused) == (model.take(shown) + len(fresh), 0)
            assert numbers(await import_fills(warehouse, config, paths))[1:] == (0, sum(map(_lines, paths)), 0)


def _lines(path: str | Path) -> int:
    return len(Path(path).read_bytes().splitlines())


# --- workers

_IMPORT = """
import asyncio, sys
from pathlib import Path
from backfill.config import Config, Run
from backfill.stages import chunks, imports, loading
from backfill.warehouse.client import open_warehouse
loading.LARGE, loading.ROWS, chunks.BYTES = 0, 2000, 200_000
async def main(data, checkpoints, path):
    config = Config(run=Run(data_dir=Path(data), checkpoint_dir=Path(checkpoints)))
    async with open_warehouse(config) as warehouse:
        print("open", flush=True)
        await imports.import_fills(warehouse, config, [path])
if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""


def _started_and_killed(command: list[str]) -> list[int]:
    """The workers of imports that were killed at several moments."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    workers: list[int] = []
    for wait_s in (0.3, 1.0, 1.7):
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait_s)
            workers += _children(process.pid)
            process.send_signal(signal.SIGKILL)
    return workers


def _left(pids: list[int]) -> list[int]:
    """Those that live on after ten seconds."""
    until = time.monotonic() + 10
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.slow
async def test_workers_die_with_an_import_that_is_killed_and_the_next_one_ends_exact(
    warehouse: Warehouse, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path / "fills.jsonl", *(event(n, tx=n // 2, shares=n + 10**6) for n in range(1, 12_001)))
    script = tmp_path / "imports.py"
    script.write_text(_IMPORT)
    command = [sys.executable, str(script), str(config.run.data_dir), str(config.run.checkpoint_dir), str(path)]
    workers = await asyncio.to_thread(_started_and_killed, command)
    assert workers
    assert not await asyncio.to_thread(_left, workers)
    monkeypatch.setattr(loading, "LARGE", 0)
    read, inserted, duplicates, refused = numbers(await import_fills(warehouse, config, [path]))
    assert (read, inserted + duplicates, refused) == (12_000, 12_000, 0)
    assert await warehouse.fetch_value("SELECT uniqExact(fill_id) FROM {production:Identifier}.clob_fills") == 12_000
    assert await warehouse.fetch_value("SELECT count() FROM {production:Identifier}.clob_fills") == 12_000


async def test_a_worker_that_is_killed_ends_the_import_in_words(
    warehouse: Warehouse, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LARGE", 0)
    monkeypatch.setattr(judging, "cores", lambda: 2)
    monkeypatch.setattr(loading._Task, "run", _die)
    path = jsonl(tmp_path / "fills.jsonl", event(1, tx=1))
    with pytest.raises(BackfillError, match="a worker of the import was killed"):
        await import_fills(warehouse, config, [path])
    assert not await tails(warehouse)


def _die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- recorded data

REAL_FILLS = {
    "dome_orders_page.json.gz": (100, 100, 0, 0),
    "fills_dataapi_alpharaccoon.jsonl.gz": (3500, 3500, 0, 0),
    "fills_dataapi_global_2026-02-28.jsonl.gz": (2198, 2198, 0, 0),
    "fills_dataapi_nobel2025.csv.gz": (1500, 1500, 0, 0),
    "fills_wallets_4_clickhouse.json.gz": (1140, 0, 0, 1140),  # they name no transaction
}
REAL_MAPPINGS = {
    "alpharaccoon_clob_markets.json.gz": (118, 118, 0, 0),
    "fills_dataapi_alpharaccoon.jsonl.gz": (3500, 60, 3440, 0),
    "fills_dataapi_global_2026-02-28.jsonl.gz": (2198, 445, 1753, 0),
    "fills_dataapi_nobel2025.csv.gz": (1500, 37, 1463, 0),
    "gamma_open_markets_2026-03-11.parquet": (36_404, 36_404, 0, 0),
    "positions_dataapi_669.jsonl.gz": (669, 647, 22, 0),
    "raw_gamma_active_markets_page_00893_offset_00022325.json.gz": (50, 50, 0, 0),
    "raw_gamma_markets_sample.jsonl.gz": (222, 214, 0, 8),  # three-way markets of old, whose ids were made otherwise
    "raw_positions_subgraph_page_000001.json.gz": (1000, 1000, 0, 0),
}
NO_FILLS = {
    "wallet_activity_updown_2026-03-22.parquet": "names? no token id",
    "pnl_subgraph_positions_22_wallets.parquet": "unknown shape",
    "leaderboard_2026-06-28.csv.gz": "unknown shape",
    "positions_dataapi_669.jsonl.gz": "no fills, but a token map",
    "gamma_markets.parquet": "no fills, but a token map",
    "alpharaccoon_token_winners.json.gz": "neither a JSON list",
}


@pytest.mark.parametrize("name", REAL_FILLS)
async def test_recorded_fills(warehouse: Warehouse, config: Config, real_data: Path, name: str) -> None:
    read, inserted, duplicates, refused = REAL_FILLS[name]
    assert numbers(await import_fills(warehouse, config, [real_data / name])) == REAL_FILLS[name]
    again = numbers(await import_fills(warehouse, config, [real_data / name]))
    assert again == (read, 0, inserted + duplicates, refused)
    reasons = {letter["reason"].rpartition(": ")[2] for letter in DeadLetters(config.run.data_dir).rows()}
    assert reasons == (
        {"names no transaction, so two equal rows may be two fills or one told twice"} if refused else set()
    )


async def test_the_whole_folder_of_recorded_data(warehouse: Warehouse, config: Config, real_data: Path) -> None:
    report = await import_fills(warehouse, config, [real_data])
    assert numbers(report) == (8438, 7298, 0, 1140)
    assert {Path(count.path).name for count in report.details if not count.passed_over} == set(REAL_FILLS)


@pytest.mark.parametrize("name", NO_FILLS)
async def test_recorded_files_without_fills(warehouse: Warehouse, config: Config, real_data: Path, name: str) -> None:
    with pytest.raises(UsageError, match=NO_FILLS[name]):
        await import_fills(warehouse, config, [real_data / name])


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL_MAPPINGS)
async def test_recorded_mappings(warehouse: Warehouse, config: Config, real_data: Path, name: str) -> None:
    assert numbers(await import_token_map(warehouse, config, [real_data / name])) == REAL_MAPPINGS[name]
    proven = await warehouse.fetch_value("SELECT sum(proven) FROM {production:Identifier}.ctf_token_map")
    assert proven == REAL_MAPPINGS[name][1]
