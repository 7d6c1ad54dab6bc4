"""The views over the derived tables: sums by market, wallet and owner, the Data API's words, the chain's transfers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from backfill.config import Config
from backfill.log import configure
from backfill.stages.rebuild import rebuild
from backfill.warehouse.client import Warehouse
from tests.pnl.histories import EXCHANGE, History, load, token_of
from tests.pnl.reference import At, Change, Fill, Gift, Market

NOBODY = f"0x{'0' * 40}"
ALICE, BOB, KEY = f"0x{'a' * 40}", f"0x{'b' * 40}", f"0x{'c' * 40}"
WON, OPEN = f"{1:08x}{1:056x}", f"{1:08x}{2:056x}"
MILLION = 1_000_000
PAPER = "polymarket.wallet_unrealized_pnl_v2"


def _fill(second: int, wallet: str, condition: str, side: str, shares: int, cents: int, fee: int = 0) -> Fill:
    at, usdc = At(1_700_000_000 + second, 10 + second, 1), shares * cents * MILLION // 100
    return Fill(at, wallet, EXCHANGE, condition, 0, side, shares * MILLION, usdc, fee * MILLION, "usdc", 2)


HISTORY = History(
    (ALICE, BOB),
    (Market(WON, None, 0, (1, 0), 1_700_009_000), Market(OPEN, None, 0, None, 0)),
    (
        _fill(1, ALICE, WON, "BUY", 100, 40, fee=1),
        _fill(2, ALICE, WON, "SELL", 50, 60),
        _fill(3, BOB, OPEN, "BUY", 10, 30),
        _fill(4, BOB, OPEN, "SELL", 4, 50),
        Change(At(1_700_000_005, 15, 1), BOB, OPEN, 2 * MILLION, False),
        Gift(At(1_700_000_006, 16, 1), ALICE, BOB, WON, 0, 20 * MILLION),
    ),
    (),
)


async def _ready(warehouse: Warehouse, config: Config) -> None:
    await load(warehouse, [HISTORY])
    pairs = [
        {"user_eoa": KEY, "proxy_wallet": wallet, "source": "test", "evidence": "create2"} for wallet in HISTORY[0]
    ]
    pairs.append({"user_eoa": BOB, "proxy_wallet": ALICE, "source": "test", "evidence": "reported"})
    await warehouse.insert("production.pm_user_proxy_wallets", b"\n".join(map(orjson.dumps, pairs)))
    await rebuild(warehouse, config, configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet"))


async def _one(warehouse: Warehouse, sql: str) -> dict[str, Any]:
    (row,) = await warehouse.fetch(sql)
    return row


def _dollars(row: dict[str, Any], *names: str) -> list[Decimal]:
    return [Decimal(row[name]) for name in names]


async def test_a_market_a_wallet_and_an_owner(warehouse: Warehouse, config: Config) -> None:
    """Alice: -40 - 1 + 30, and 30 of her 100 shares left. Bob was given 20 that won; 8 and 2 are open, at 0.50."""
    await _ready(warehouse, config)
    market = await _one(warehouse, f"SELECT * FROM polymarket.realized_pnl_by_market_final WHERE wallet = '{ALICE}'")
    told = _dollars(market, "realized_cash_usd", "realized_avg_cost_usd", "realized_dome_usd", "payout_usd", "fees_usd")
    assert told == [19, 10, 10, 30, 1]
    wallet = await _one(warehouse, f"SELECT * FROM polymarket.wallet_pnl_summary_final WHERE wallet = '{BOB}'")
    told = _dollars(
        wallet, "realized_pnl_usd", "open_cash_usd", "open_value_usd", "marked_pnl_usd", "unrealized_pnl_usd"
    )
    # Cost of the 8: six left of 0.30, two of a split at 0.50, 0.35 on average. The other outcome has no price: it is
    # there at its cost, and in what is marked for nothing. Four that were sold made 0.80.
    assert told == [20, -3, 4, 21, 2] and int(wallet["unpriced_positions"]) == 1
    assert _dollars(wallet, "open_sold_usd", "held_pnl_usd", "total_pnl_usd") == [Decimal("0.8"), Decimal("1.2"), 22]
    held = await _one(warehouse, f"SELECT sum(unrealized_pnl_usd) AS s FROM {PAPER} WHERE wallet = '{BOB}'")
    assert Decimal(held["s"]) == Decimal("1.2")
    realized = await _one(warehouse, f"SELECT * FROM polymarket.wallet_realized_pnl_final WHERE wallet = '{BOB}'")
    assert Decimal(realized["realized_pnl_usd"]) == 20 and realized["owner"] == KEY
    owner = await _one(warehouse, f"SELECT * FROM polymarket.owner_pnl_summary_final WHERE owner = '{KEY}'")
    assert int(owner["wallets"]) == 2 and int(owner["resolved_markets"]) == 1 and int(owner["open_markets"]) == 1
    told = _dollars(owner, "realized_pnl_usd", "total_pnl_usd", "marked_pnl_usd")
    assert told == [39, 41, 40]


async def test_the_words_of_the_data_api(warehouse: Warehouse, config: Config) -> None:
    await _ready(warehouse, config)
    rows = await warehouse.fetch(
        f"SELECT * FROM cascadian_clean.vw_wallet_positions_api_format WHERE proxyWallet = '{BOB}' "
        "ORDER BY redeemable, outcomeIndex"
    )
    yes, no, won = rows
    assert (yes["asset"], no["outcomeIndex"], won["conditionId"]) == (str(token_of(OPEN, 0)), 1, f"0x{WON}")
    assert _dollars(yes, "size", "avgPrice", "initialValue", "currentValue", "cashPnl", "curPrice") == [
        8, Decimal("0.35"), Decimal("2.8"), 4, Decimal("1.2"), Decimal("0.5"),
    ]  # fmt: skip
    assert (yes["mergeable"], no["mergeable"], won["mergeable"]) == (1, 1, 0) and no["currentValue"] is None
    assert won["redeemable"] == 1 and _dollars(won, "size", "currentValue", "curPrice") == [20, 20, 1]
    # Ten bought and two of the split; what was given to him was not bought.
    assert _dollars(yes, "totalBought") == [12] and _dollars(won, "totalBought") == [0]
    assert yes["percentRealizedPnl"] == pytest.approx(100 * (4 / (12 * 0.35) - 1)) and won["percentRealizedPnl"] is None
    assert yes["owner"] == KEY


async def test_both_sides_can_be_merged_after_the_end_as_well(warehouse: Warehouse, config: Config) -> None:
    split = Change(At(1_700_000_001, 11, 1), ALICE, WON, 5 * MILLION, False)
    await load(warehouse, [History((ALICE, BOB), HISTORY.markets[:1], (split,), ())])
    await rebuild(warehouse, config, configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet"))
    rows = await warehouse.fetch("SELECT * FROM cascadian_clean.vw_wallet_positions_api_format")
    assert [(row["redeemable"], row["mergeable"]) for row in rows] == [(1, 1), (1, 1)]


async def test_transfers_on_the_chain_say_the_same(warehouse: Warehouse, config: Config) -> None:
    await _ready(warehouse, config)
    moves = [
        (EXCHANGE, ALICE, WON, 0, 100), (ALICE, EXCHANGE, WON, 0, 50), (EXCHANGE, BOB, OPEN, 0, 10),
        (BOB, EXCHANGE, OPEN, 0, 4), (NOBODY, BOB, OPEN, 0, 2),
    ]  # fmt: skip
    rows = [
        {
            "block_number": 100 + number, "log_index": 0, "batch_index": 0, "tx_hash": "", "timestamp": 1_700_000_100,
            "operator": EXCHANGE, "from_address": sender, "to_address": receiver, "source": "test",
            "token_id": str(token_of(condition, outcome)), "amount_micro": str(shares * MILLION),
        }
        for number, (sender, receiver, condition, outcome, shares) in enumerate(moves)
    ]  # fmt: skip
    await warehouse.insert("production.erc1155_transfers", b"\n".join(map(orjson.dumps, rows)))
    found = await warehouse.fetch("SELECT * FROM polymarket.vw_positions_vs_transfers WHERE difference_micro != 0")
    # The second outcome of Bob's split is not among the transfers here.
    assert [(row["wallet"], row["outcome_idx"], int(row["difference_micro"])) for row in found] == [
        (BOB, 1, 2 * MILLION)
    ]


async def test_sources_that_contradict_are_named(warehouse: Warehouse, config: Config) -> None:
    """The final word is the chain's; halves are halves in whatever terms."""
    reports = {("chain", WON): [1, 0], ("goldsky", WON): [0, 1], ("chain", OPEN): [1, 1], ("data_api", OPEN): [50, 50]}
    about = [
        {"condition_id_norm": condition, "payout_numerators": payout, "payout_denominator": sum(payout), "source": name}
        for (name, condition), payout in reports.items()
    ]
    await warehouse.insert("production.resolutions_external_ingest", b"\n".join(map(orjson.dumps, about)))
    final = [row for row in about if row["source"] == "chain"]
    await warehouse.insert("production.market_resolutions_final", b"\n".join(map(orjson.dumps, final)))
    rows = await warehouse.fetch("SELECT * FROM cascadian_clean.vw_resolutions_truth ORDER BY condition_id_norm")
    told = [(row["win_idx"], row["sources"], row["contradicted_by"], row["agree"]) for row in rows]
    assert told == [(0, ["chain", "goldsky"], ["goldsky"], 0), (None, ["chain", "data_api"], [], 1)]


async def test_a_total_has_what_was_sold_in_markets_that_are_open(warehouse: Warehouse, config: Config) -> None:
    """A hundred bought at 0.40 and sold at 0.60, the market still open: 20 dollars less the fee, no position."""
    history = History(
        (ALICE, BOB),
        (Market(OPEN, None, 0, None, 0),),
        (_fill(1, ALICE, OPEN, "BUY", 100, 40), _fill(2, ALICE, OPEN, "SELL", 100, 60, fee=1)),
        (),
    )
    await load(warehouse, [history])
    await rebuild(warehouse, config, configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet"))
    for view in ("wallet_pnl_summary_final", "owner_pnl_summary_final"):
        row = await _one(warehouse, f"SELECT * FROM polymarket.{view}")
        told = _dollars(
            row, "realized_pnl_usd", "unrealized_pnl_usd", "total_pnl_usd", "marked_pnl_usd", "held_pnl_usd"
        )
        assert told == [0, 19, 19, 19, 0]
    assert await warehouse.fetch_value(f"SELECT count() FROM {PAPER}") == 0
