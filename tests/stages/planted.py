"""Rows for the stages' tests: tokens that are really derived from their conditions, fills, and answers."""

from __future__ import annotations

import orjson

from backfill import ids
from backfill.warehouse.client import Warehouse

V2_TOKEN = 888085889744461279209360413558628407880433504203309182232170602202981728256
ANNA, BERT = "0x" + "aa" * 20, "0x" + "bb" * 20


def condition(number: int) -> str:
    return f"{number + 1:064x}"


def token(number: int, index: int = 0) -> int:
    return ids.position_id(condition(number), index)


async def put(warehouse: Warehouse, table: str, rows: list[dict[str, object]]) -> None:
    if rows:
        columns = tuple(rows[0])
        await warehouse.insert(table, b"\n".join(map(orjson.dumps, rows)), columns=columns)


async def put_fills(warehouse: Warehouse, tokens: list[int], maker: str = ANNA, taker: str = BERT) -> None:
    rows: list[dict[str, object]] = [
        {
            "fill_id": f"0x{number:x}_{token_id}",
            "token_id": str(token_id),
            "maker": maker,
            "taker": taker,
            "side": "BUY",
            "shares_micro": 1_000_000,
            "usdc_micro": 500_000,
            "price": "0.5",
            "timestamp": 1_700_000_000 + number,
            "tx_hash": f"0x{number:x}",
            "source": "test",
        }
        for number, token_id in enumerate(tokens)
    ]
    await put(warehouse, "production.clob_fills", rows)


async def put_answers(warehouse: Warehouse, source: str, answers: list[tuple[int, str, int]]) -> None:
    """Staged answers; whether they are right is for arithmetic to say."""
    rows: list[dict[str, object]] = [
        {"token_id": str(t), "condition_id_norm": c, "outcome_index": i, "outcome": source, "source": source, "unit": 0}
        for t, c, i in answers
    ]
    await put(warehouse, f"staging.clob_asset_map_{source}", rows)


async def put_mapped(warehouse: Warehouse, answers: list[tuple[int, str, int]], proven: int = 1) -> None:
    rows: list[dict[str, object]] = [
        {"token_id": str(t), "condition_id_norm": c, "outcome_index": i, "source": "before", "proven": proven}
        for t, c, i in answers
    ]
    await put(warehouse, "production.ctf_token_map", rows)
