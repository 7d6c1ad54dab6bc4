"""Rows of the tables that leaderboards are built from, put there directly."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import orjson

from backfill.warehouse.client import Warehouse
from tests.leaderboard.reference import Row

NOW = "2026-04-01 00:00:00"


def address(number: int) -> str:
    """An address; its first byte moves with the number, so that owners are in different portions."""
    return f"0x{(number * 37) % 256:02x}{number:038x}"


def condition(number: int) -> str:
    """A condition id."""
    return f"{number:064x}"


def text(at: dt.datetime | None) -> str | None:
    """A moment as the warehouse takes it."""
    return None if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


async def put(warehouse: Warehouse, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert, if there is anything."""
    if rows:
        await warehouse.insert(table, b"\n".join(map(orjson.dumps, rows)), columns=tuple(rows[0]))


async def empty(warehouse: Warehouse, *tables: str) -> None:
    """Take all rows away."""
    for table in tables:
        await warehouse.execute(f"TRUNCATE TABLE {table}")


async def put_profits(warehouse: Warehouse, rows: Sequence[Row]) -> None:
    """Profits and cash flows, as a rebuild leaves them."""
    await empty(warehouse, "polymarket.wallet_token_pnl", "polymarket.trade_cashflows_v3")
    await put(warehouse, "production.wallet_token_pnl", [_profit(row) for row in rows])
    await put(warehouse, "production.trade_cashflows_v3", [_flow(row) for row in rows])


def _profit(row: Row) -> dict[str, Any]:
    counted = ("payout_numerator", "trade_cash_micro", "leftover_micro", "redeemed_micro", "tracked_micro")
    return {
        **_key(row),
        "owner": row.owner,
        "resolved": int(row.resolved),
        "resolved_at": text(row.at) if row.resolved else None,
        "payout_denominator": int(row.resolved),
        **dict.fromkeys(counted, 0),
        **dict.fromkeys(("payout_micro", "avg_price_micro", "realized_avg_cost_micro", "realized_dome_micro"), 0),
        "trade_cash_micro": -row.bought - row.fees - row.split,
        "realized_cash_micro": row.realized if row.resolved else 0,
        "volume_micro": row.volume,
        "fees_micro": row.fees,
        "fills": row.fills,
        "first_activity": NOW,
        "last_activity": NOW,
    }


def _flow(row: Row) -> dict[str, Any]:
    rest = ("proceeds_micro", "fees_unknown", "merges_micro", "conversions_micro")
    return {
        **_key(row),
        "cashflow_micro": 7 - row.bought - row.fees - row.split,
        "redemptions_micro": 7,
        "costs_micro": row.bought,
        "fees_micro": row.fees,
        "splits_micro": row.split,
        **dict.fromkeys(rest, 0),
    }


def _key(row: Row) -> dict[str, Any]:
    return {"wallet": row.wallet, "condition_id_norm": condition(row.condition), "outcome_idx": row.outcome}
