"""Exports that are cut short leave nothing, and what one warehouse writes another reads."""

from __future__ import annotations

import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backfill.config import Config
from backfill.errors import StoreBusy, UsageError
from backfill.stages import export as stage
from backfill.stages.export import Wanted, export
from backfill.stages.imports import import_fills, import_token_map
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.migrate import migrate_up
from tests.stages.planted import condition, put, token
from tests.stages.rerun import rows

FILLS = 400
V1 = {"taker": "0x" + "bb" * 20, "fee_micro": 7, "fee_asset": "shares", "exchange_version": 1, "source": "goldsky"}


def fill(number: int) -> dict[str, object]:
    tx, order = f"0x{number:064x}", f"0x{number + 1:064x}"
    return {
        "fill_id": f"{tx}_{order}", "token_id": str(token(number % 5, number % 2)), "maker": "0x" + "aa" * 20,
        "side": ("BUY", "SELL")[number % 2], "shares_micro": 2_000_000, "usdc_micro": 1_000_000, "price": "0.5",
        "timestamp": 1_700_000_000 + number, "tx_hash": tx, "order_hash": order,
        **(V1 if number % 3 else {**dict.fromkeys(V1), "source": "data_api"}),
    }  # fmt: skip


async def fill_up(warehouse: Warehouse) -> None:
    await put(warehouse, "production.clob_fills", [fill(number) for number in range(FILLS)])
    mapped: list[dict[str, object]] = [
        {"token_id": str(token(n, i)), "condition_id_norm": condition(n), "outcome_index": i, "outcome": "Jo, \"a\"",
         "source": "gamma", "proven": 1}
        for n in range(5) for i in range(2)
    ]  # fmt: skip
    await put(warehouse, "production.ctf_token_map", mapped)


@pytest.fixture
async def filled(warehouse: Warehouse) -> Warehouse:
    """A warehouse with fills and a map."""
    await fill_up(warehouse)
    return warehouse


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
async def test_another_warehouse_reads_what_one_has_written(
    filled: Warehouse, config: Config, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PORTION", 90)
    fills, mapped = tmp_path / f"fills{suffix}", tmp_path / f"map{suffix}"
    assert (await export(filled, "fills", fills)).rows == FILLS
    assert (await export(filled, "token_map", mapped)).rows == 10
    names = {"production": "polymarket_too", "staging": "staging_too", "analytics": "cascadian_too"}
    other = config.model_copy(update={"warehouse": config.warehouse.model_copy(update=names)})
    async with open_warehouse(other) as second:
        await migrate_up(second)
        for table in ("clob_fills", "ctf_token_map"):
            await second.execute(f"TRUNCATE TABLE polymarket_too.{table}")
        assert (await import_fills(second, other, [fills])).document()["inserted"] == FILLS
        assert (await import_token_map(second, other, [mapped])).document()["inserted"] == 10
        assert await rows(second, "polymarket_too.clob_fills") == await rows(filled, "polymarket.clob_fills")
        ours = await rows(filled, "polymarket.ctf_token_map", without=("inserted_at", "source"))
        assert await rows(second, "polymarket_too.ctf_token_map", without=("inserted_at", "source")) == ours


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
async def test_an_answer_that_is_cut_leaves_what_was_there(
    filled: Warehouse, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PORTION", 90)
    path, stream, turns = tmp_path / "out" / f"fills{suffix}", filled.stream, 0

    async def cut(*words: Any, **more: Any) -> AsyncIterator[bytes]:
        nonlocal turns
        turns += 1
        async for piece in stream(*words, **more):
            yield piece[: len(piece) // 2] if turns == 4 else piece
        if turns == 4:
            raise StoreBusy("the answer was cut off", where="warehouse")

    monkeypatch.setattr(filled, "stream", cut)
    path.parent.mkdir()
    path.write_text("before")
    with pytest.raises(StoreBusy):
        await export(filled, "fills", path, force=True)
    assert turns == 4 and path.read_text() == "before"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file of this process may become larger (bytes): what a full disk is to a writer."""
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
async def test_a_disk_that_is_full_leaves_no_half_file(filled: Warehouse, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "out" / f"fills{suffix}"
    with small_files(4096), pytest.raises(UsageError, match="cannot be written"):
        await export(filled, "fills", path)
    assert list(path.parent.iterdir()) == []
    assert (await export(filled, "fills", path)).rows == FILLS


async def test_the_tokens_of_a_market_are_known_from_the_list_of_markets_too(filled: Warehouse, tmp_path: Path) -> None:
    await filled.execute("TRUNCATE TABLE polymarket.ctf_token_map")
    listed = [str(token(1, 0)), str(token(1, 1))]
    market: dict[str, object] = {"condition_id_norm": condition(1), "token_ids": listed, "source": "gamma"}
    await put(filled, "production.markets", [market])
    wanted = Wanted(condition=condition(1))
    assert (await export(filled, "fills", tmp_path / "one.csv", wanted=wanted)).rows == FILLS // 5
    with pytest.raises(UsageError, match="--force"):
        await export(filled, "fills", tmp_path / "one.csv", wanted=wanted)
