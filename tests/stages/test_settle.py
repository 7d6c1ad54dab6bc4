"""Settling: who comes after a killed one waits for what the server still does of it."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from backfill.config import Config
from backfill.log import configure
from backfill.stages import settle as settling
from backfill.stages.settle import settle
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

SLOW = "\nSETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 5000000"
TRANSFERS = 3


def rows() -> bytes:
    """Some staged transfers."""
    return b"\n".join(
        orjson.dumps(
            {
                "block_number": 10 + at,
                "log_index": 0,
                "batch_index": 0,
                "tx_hash": f"0x{at:064x}",
                "timestamp": 1_700_000_000,
                "operator": "0x" + "1" * 40,
                "from_address": "0x" + "2" * 40,
                "to_address": "0x" + "3" * 40,
                "token_id": "7",
                "amount_micro": "5",
                "source": "chain",
                "unit": 0,
            }
        )
        for at in range(TRANSFERS)
    )


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "its-twin-does-not"])
async def test_a_statement_of_a_killed_settling_is_waited_for(
    warehouse: Warehouse, config: Config, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    await warehouse.execute("TRUNCATE TABLE {production:Identifier}.erc1155_transfers")
    await warehouse.execute("TRUNCATE TABLE {staging:Identifier}.erc1155_transfers_v2")
    await warehouse.insert("staging.erc1155_transfers_v2", rows())
    if not waits:

        async def at_once(*_: object) -> None:
            return None

        monkeypatch.setattr(settling, "_let_orphans_end", at_once)
    slow = queries.load("add_transfers").replace(
        "WHERE block_number", "WHERE sleepEachRow(0.5) = 0 AND block_number", 1
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(warehouse.execute(slow + SLOW, {"low": 0, "high": 100}))
        await asyncio.sleep(0.4)
        await settle("transfers", warehouse, log)
    count = await warehouse.fetch_value("SELECT count() FROM {production:Identifier}.erc1155_transfers")
    await warehouse.execute("TRUNCATE TABLE {production:Identifier}.erc1155_transfers")
    assert (count == TRANSFERS) is waits


async def test_of_several_payouts_the_best_source_is_believed(warehouse: Warehouse, config: Config) -> None:
    """Four sources that contradict each other, one after the other taken away."""
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    names = ("chain", "goldsky", "data_api", "goldsky_positions", "import")
    tables = ("staging.payouts_v2", "polymarket.resolutions_external_ingest", "polymarket.market_resolutions_final")
    believed = []
    for at in range(len(names)):
        for table in tables:
            await warehouse.execute(f"TRUNCATE TABLE {table}")
        reports = [
            {"condition_id_norm": "ab" * 32, "payout_numerators": [place, 1], "payout_denominator": place + 1,
             "source": name, "unit": 0}
            for place, name in enumerate(names) if place >= at
        ]  # fmt: skip
        await warehouse.insert("staging.payouts_v2", b"\n".join(map(orjson.dumps, reversed(reports))))
        await settle("payouts", warehouse, log)
        (row,) = await warehouse.fetch("SELECT source, payout_numerators FROM polymarket.market_resolutions_final")
        believed.append((row["source"], [int(each) for each in row["payout_numerators"]]))
    for table in tables:
        await warehouse.execute(f"TRUNCATE TABLE {table}")
    assert believed == [(name, [place, 1]) for place, name in enumerate(names)]
