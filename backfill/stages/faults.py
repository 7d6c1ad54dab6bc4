"""Fills of our own making, and one fault at a time among them: what `quality` has to catch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backfill.tracks.chain_abi import EXCHANGES_V1, EXCHANGES_V2

Row = dict[str, Any]
APRIL, MAY, JULY = 1_775_822_400, 1_778_414_400, 1_783_684_800
"""The tenth of each, in 2026: before the exchange's second version, and after."""
CLEAN = 20
UNKNOWN_TOKEN = 12_345
_ADDRESS, _OTHER = "0x" + "1b" * 20, "0x" + "2c" * 20


def fill(number: int, token: int) -> Row:
    """A fill without fault: half of them buy, half are a taker's own order, half are older than the second version."""
    late = number // 2 % 2 == 1
    exchange = (EXCHANGES_V2 if late else EXCHANGES_V1)[0].address
    tx, order = f"0x{number + 1:064x}", f"0x{number + 1001:064x}"
    return {
        "fill_id": f"{tx}_{order}",
        "token_id": str(token),
        "maker": _ADDRESS,
        "taker": exchange if number % 4 in (1, 2) else _OTHER,
        "side": "BUY" if number % 2 else "SELL",
        "shares_micro": 2_000_000,
        "usdc_micro": 1_000_000,
        "price": "0.5",
        "timestamp": (MAY if late else APRIL) + number,
        "tx_hash": tx,
        "order_hash": order,
        "log_index": number,
        "exchange_version": 2 if late else 1,
        "source": "chain",
    }


def rows(fault: str, tokens: Sequence[int], now: int) -> list[Row]:
    """Good fills of these tokens, and the named fault among them ("" for none)."""
    known = list(tokens) or [UNKNOWN_TOKEN]
    good = [fill(number, known[number % len(known)]) for number in range(CLEAN)]
    return [*good, *FAULTS[fault](fill(CLEAN, known[0]), now)] if fault else good


def _with(**wrong: Any) -> Callable[[Row, int], list[Row]]:
    return lambda row, _: [{**row, **wrong}]


def _many(change: Callable[[Row, int], Row]) -> Callable[[Row, int], list[Row]]:
    """Enough such rows to outweigh the good ones four times."""

    def made(row: Row, _: int) -> list[Row]:
        return [change(fill(CLEAN + number, int(row["token_id"])), number) for number in range(4 * CLEAN)]

    return made


def _future(row: Row, now: int) -> list[Row]:
    return [{**row, "timestamp": now + 86_400, "exchange_version": 2}]


def _again(row: Row, _: int) -> list[Row]:
    return [row, {**row, "timestamp": row["timestamp"] + 1}]


def _elsewhere(row: Row, _: int) -> list[Row]:
    return [row, {**row, "token_id": str(int(row["token_id"]) + 1)}]


def _renamed(row: Row, _: int) -> list[Row]:
    return [row, {**row, "fill_id": f"{row['fill_id']}_{row['log_index']}"}]


def _equal(row: Row, _: int) -> list[Row]:
    keyless = {**row, "order_hash": None, "log_index": None}
    return [{**keyless, "fill_id": f"{row['tx_hash']}_k{row['order_hash'][2:34]}_{number}"} for number in range(2)]


FAULTS: Mapping[str, Callable[[Row, int], list[Row]]] = {
    "price_range": _with(price="1.5", usdc_micro=3_000_000),
    "price_zero": _with(price="0", usdc_micro=0),
    "price_one": _with(price="1", usdc_micro=2_000_000),
    "size_zero": _with(shares_micro=0),
    "size_absurd": _with(shares_micro=2 * 10**15 + 2, usdc_micro=10**15 + 1),
    "empty_values": _with(taker=""),
    "too_early": _with(timestamp=0),
    "in_future": _future,
    "bad_addresses": _with(maker=_ADDRESS.upper()),
    "bad_hashes": _with(order_hash="0x12"),
    "price_wrong": _with(price="0.500000001"),
    "wrong_version": _with(exchange_version=1, timestamp=MAY),
    "duplicates": _again,
    "duplicate_facts": _renamed,
    "cross_tokens": _elsewhere,
    "equal_rows": _equal,
    "unmapped_share": _many(lambda row, number: {**row, "token_id": str(UNKNOWN_TOKEN + number)}),
    "side_share": _many(lambda row, _: {**row, "side": "SELL"}),
    "taker_share": _many(lambda row, _: {**row, "taker": EXCHANGES_V1[0].address}),
    "empty_months": _with(timestamp=JULY, exchange_version=2),
}
"""By the name of the check that has to catch it: the rows to add, made from a good one and the time of now."""
