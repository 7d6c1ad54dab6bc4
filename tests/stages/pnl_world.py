"""A wallet whose every dollar is known: fills, a split, a merge, a gift, fees, payouts; and the tables made from it."""

from __future__ import annotations

from collections.abc import Mapping

from backfill.config import Config
from backfill.log import configure
from backfill.stages.rebuild import rebuild
from backfill.warehouse.client import Warehouse
from tests.stages.planted import ANNA, BERT, condition, put, put_mapped, token

AT = 1_700_000_000
M = 1_000_000
# (market, outcome, side, shares, dollars, fee), each in whole units
TRADES = (
    (0, 0, "BUY", 100, 40, 0),
    (1, 1, "BUY", 200, 90, 3),
    (2, 0, "BUY", 500, 300, 5),
    (2, 0, "SELL", 200, 150, 2),
    (3, 1, "BUY", 80, 20, 0),
    (4, 0, "SELL", 60, 45, 1),
    (6, 0, "BUY", 10, 4, 0),
    (6, 0, "SELL", 4, 3, 0),
)
SPLIT, MERGED, GIFT = 60, 25, 40
"""Dollars split in market 4, merged there later, and shares given to the wallet in market 5."""
ENDINGS: Mapping[int, int] = {0: 0, 1: 1, 2: 1, 3: 0, 4: 1, 5: 0}
"""The outcome that won, by market; market 6 is open."""
CASH = (100 - 40) + (200 - 90 - 3) + (150 - 300 - 7) + (-20) + (45 - 1 - 60 + 25 + (60 - 25)) + GIFT
"""By hand: market 2 was lost with 300 shares, market 3 with 80; of market 4 the other side won."""


async def put_world(warehouse: Warehouse, *, unmapped: int | None = None, unresolved: int | None = None) -> None:
    """The facts, but for the map of one market, or the payout of one."""
    await put(warehouse, "production.clob_fills", [_fill(number, *trade) for number, trade in enumerate(TRADES)])
    places = [(m, o) for m in range(7) for o in (0, 1) if m != unmapped]
    await put_mapped(warehouse, [(token(m, o), condition(m), o) for m, o in places])
    ended = {market: winner for market, winner in ENDINGS.items() if market != unresolved}
    payouts = [
        {"condition_id_norm": condition(m), "payout_numerators": [int(w == 0), int(w == 1)], "payout_denominator": 1,
         "resolved_at": AT + 500, "source": "test"}
        for m, w in ended.items()
    ]  # fmt: skip
    await put(warehouse, "production.market_resolutions_final", payouts)
    closed = [{"condition_id_norm": condition(m), "closed": 1, "source": "test"} for m in ENDINGS]
    await put(warehouse, "production.markets", closed)
    await put(warehouse, "production.ctf_activity", [_move(1, "split", SPLIT), _move(2, "merge", MERGED)])
    await put(warehouse, "production.erc1155_transfers", [_gift()])


async def build(warehouse: Warehouse, config: Config) -> None:
    """The derived tables."""
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    await rebuild(warehouse, config, log)


def _fill(number: int, market: int, outcome: int, side: str, shares: int, dollars: int, fee: int) -> dict[str, object]:
    return {
        "fill_id": f"0x{number:064x}_0x{number:064x}", "token_id": str(token(market, outcome)), "maker": ANNA,
        "taker": BERT, "side": side, "shares_micro": shares * M, "usdc_micro": dollars * M, "fee_micro": fee * M,
        "fee_asset": "usdc", "price": f"{dollars / shares:.9f}", "timestamp": AT + 10 * number,
        "tx_hash": f"0x{number:064x}", "block_number": 100 + number, "log_index": 1, "exchange_version": 2,
        "source": "test",
    }  # fmt: skip


def _move(number: int, kind: str, dollars: int) -> dict[str, object]:
    at = 45 if kind == "split" else 55
    return {
        "event_id": f"0xe{number}", "kind": kind, "wallet": ANNA, "condition_id_norm": condition(4),
        "amount_micro": dollars * M, "timestamp": AT + at, "tx_hash": f"0xe{number}", "block_number": 100 + at // 10,
        "log_index": 0 if kind == "split" else 9, "source": "test",
    }  # fmt: skip


def _gift() -> dict[str, object]:
    return {
        "block_number": 120, "log_index": 1, "batch_index": 0, "tx_hash": "0xf1", "timestamp": AT + 200,
        "operator": BERT, "from_address": BERT, "to_address": ANNA, "token_id": str(token(5, 0)),
        "amount_micro": str(GIFT * M), "source": "test",
    }  # fmt: skip
