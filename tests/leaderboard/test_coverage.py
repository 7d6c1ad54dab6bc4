"""Coverage of wallets and markets against counting by hand, the gates, and the summary of what there is."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest

from backfill.config import Config
from backfill.log import configure
from backfill.stages import leaderboard
from backfill.stages.leaderboard import Built, Gates, Wish
from backfill.warehouse.client import Warehouse
from tests.leaderboard.reference import Row
from tests.leaderboard.rows import NOW, address, condition, put, put_profits

DAY = dt.datetime(2026, 3, 31)
MAPPED = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 4}
"""Token → condition. Condition 1 is paid, 2 closed without a payout, 3 open, 4 paid and not listed at all."""
OWNER = {address(20): address(2), address(21): address(2)}
"""Wallet → key behind it."""
EXCHANGE = "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e"


class Traded(NamedTuple):
    """A fill: who, which token (times 2^240, to be in different ranges), shares and dollars in millionths."""

    maker: str
    token: int
    shares: int = 10
    usdc: int = 5


FILLS = [
    *[Traded(address(1), 1)] * 2, Traded(address(1), 5, usdc=11), Traded(address(1), 9, usdc=1),
    Traded(address(20), 1), Traded(address(21), 1), Traded(address(21), 4, usdc=7), Traded(address(2), 6, shares=0),
    Traded(address(3), 9), Traded(EXCHANGE, 1),
]  # fmt: skip


async def load(warehouse: Warehouse, config: Config, gates: Gates) -> Built:
    """The tables as above; one position of the second owner has a price, one has none."""
    fills = [
        {
            "fill_id": f"0x{n:x}", "token_id": str(f.token << 240), "maker": f.maker, "side": "BUY", "tx_hash": "0x",
            "shares_micro": f.shares, "usdc_micro": f.usdc, "price": 0, "timestamp": f"2026-03-0{n + 1}" " 00:00:00",
            "source": "test",
        }
        for n, f in enumerate(FILLS[:9])
    ]  # fmt: skip
    fills.append({**fills[0], "fill_id": "0xff", "maker": EXCHANGE})
    await put(warehouse, "production.clob_fills", fills)
    tokens = [
        {
            "token_id": str(t << 240),
            "condition_id_norm": condition(c),
            "outcome_index": t % 2,
            "source": "",
            "proven": 1,
        }
        for t, c in MAPPED.items()
    ]
    await put(warehouse, "production.ctf_token_map", tokens)
    listed = [
        {"condition_id_norm": condition(c), "outcomes": ["Yes", "No"], "token_ids": [], "tags": [], "source": "test"}
        | {"closed": closed, "volume_usd": "12.5"}
        for c, closed in ((1, 1), (2, 1), (3, 0))
    ]
    await put(warehouse, "production.markets", listed)
    paid = [
        {"condition_id_norm": condition(c), "payout_numerators": [1, 0], "payout_denominator": 1, "source": "test"}
        | {"resolved_at": "2026-03-31 00:00:00"}
        for c in (1, 4)
    ]
    await put(warehouse, "production.market_resolutions_final", paid)
    pairs = [
        {"user_eoa": eoa, "proxy_wallet": proxy, "wallet_type": "proxy", "evidence": "create2", "source": "test"}
        for proxy, eoa in OWNER.items()
    ]
    await put(warehouse, "production.pm_user_proxy_wallets", pairs)
    held = [
        {"wallet": address(20), "owner": address(2), "condition_id_norm": condition(3), "outcome_idx": place}
        | {"net_shares_micro": 1, "last_price": price, "cost_micro": 0}
        for place, price in ((0, "0.5"), (1, None))
    ]
    await put(warehouse, "production.wallet_unrealized_pnl_v2", held)
    profits = [Row(address(w), address(w), 1, 0, 5 * w, 10, 0, 0, 10, 3, DAY) for w in (1, 2, 3)]
    await put_profits(warehouse, profits)
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    return await leaderboard.build(warehouse, config, log, Wish(gates=gates))


def by_hand() -> dict[str, dict[str, Any]]:
    """What each owner did, fill by fill."""
    found: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"wallets": set(), "fills": [], "mapped": [], "tokens": set(), "closed": set(), "paid": set()}
    )
    for fill in FILLS[:9]:
        mine = found[OWNER.get(fill.maker, fill.maker)]
        mine["wallets"].add(fill.maker)
        mine["fills"].append(fill.usdc)
        mine["tokens"].add(fill.token)
        if fill.token in MAPPED:
            mine["mapped"].append(fill.usdc)
            if MAPPED[fill.token] in (1, 2, 4):
                mine["closed"].add(fill.token)
            if MAPPED[fill.token] in (1, 4):
                mine["paid"].add(fill.token)
    return found


def cut(part: int, whole: int) -> Fraction | None:
    """A share as it is stored."""
    return Fraction(part * 10**6 // whole, 10**6) if whole else None


def stored(share: str | None) -> Fraction | None:
    """The same from the warehouse."""
    return None if share is None else Fraction(share)


@pytest.mark.parametrize("portion", [500_000, 2])
async def test_wallets_are_counted_as_by_hand(
    warehouse: Warehouse, config: Config, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    monkeypatch.setattr(leaderboard, "PORTION", portion)
    await load(warehouse, config, Gates(0, 0, Decimal("0.75")))
    rows = await warehouse.fetch("SELECT * FROM cascadian_clean.wallet_coverage_metrics")
    expected = by_hand()
    assert {row["wallet"] for row in rows} == expected.keys() and EXCHANGE not in expected
    for row in rows:
        mine = expected[row["wallet"]]
        assert int(row["wallets"]) == len(mine["wallets"])
        assert (int(row["fills"]), int(row["mapped_fills"])) == (len(mine["fills"]), len(mine["mapped"]))
        assert (int(row["volume_micro"]), int(row["mapped_volume_micro"])) == (sum(mine["fills"]), sum(mine["mapped"]))
        assert int(row["tokens"]) == len(mine["tokens"])
        assert int(row["mapped_tokens"]) == len(mine["tokens"] & MAPPED.keys())
        assert (int(row["closed_tokens"]), int(row["paid_tokens"])) == (len(mine["closed"]), len(mine["paid"]))
        assert stored(row["fills_share"]) == cut(len(mine["mapped"]), len(mine["fills"]))
        assert stored(row["volume_share"]) == cut(sum(mine["mapped"]), sum(mine["fills"]))
        assert stored(row["payout_share"]) == cut(len(mine["paid"]), len(mine["closed"]))
    gates = {row["wallet"]: (row["mapping_ok"], row["payout_ok"], row["price_ok"], row["eligible"]) for row in rows}
    assert gates == {
        address(1): (1, 1, None, 1),
        address(2): (1, 0, 0, 0),
        address(3): (0, None, None, 0),
    }


@pytest.mark.parametrize(
    ("gates", "omega", "whales"),
    [
        (Gates(0, 0, Decimal(0)), [3, 2, 1], [3, 2, 1]),
        (Gates(0, 0, Decimal("0.75")), [1], [1]),
        (Gates(0, 0, Decimal("0.750001")), [], []),
        (Gates(3, 1, Decimal(0)), [3, 2, 1], [3, 2, 1]),
        (Gates(4, 1, Decimal(0)), [], [3, 2, 1]),
        (Gates(3, 2, Decimal(0)), [], [3, 2, 1]),
    ],
)
async def test_gates_keep_out_whom_they_should(
    warehouse: Warehouse, config: Config, gates: Gates, omega: list[int], whales: list[int]
) -> None:
    await load(warehouse, config, gates)
    for board, expected in (("omega", omega), ("whales", whales)):
        assert [row["wallet"] for row in await leaderboard.top(warehouse, board)] == [address(n) for n in expected]
    rows = await warehouse.fetch("SELECT * FROM cascadian_clean.leaderboard_omega_daily WHERE category = 'overall'")
    assert len(rows) == 3 * 4, "those who are not ranked are in the daily table all the same"


@pytest.mark.parametrize("portion", [500_000, 2])
async def test_markets_are_counted_as_by_hand(
    warehouse: Warehouse, config: Config, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    monkeypatch.setattr(leaderboard, "PORTION", portion)
    told = await load(warehouse, config, Gates())
    rows = await warehouse.fetch("SELECT * FROM cascadian_clean.market_coverage_metrics ORDER BY condition_id_norm")
    assert told.rows["market_coverage_metrics"] == len(rows) == 4
    names = ("listed", "outcomes", "mapped_tokens", "traded_tokens", "priced_tokens", "fills", "volume_micro")
    found = [tuple(int(row[name]) for name in names) for row in rows]
    # The exchange's own fill of token 1 counts here: it is one of the market's.
    assert found == [(1, 2, 2, 1, 1, 5, 25), (1, 2, 2, 1, 1, 1, 7), (1, 2, 1, 1, 1, 1, 11), (0, 2, 1, 1, 0, 1, 5)]
    gates = [(row["mapping_ok"], row["payout_ok"], row["price_ok"]) for row in rows]
    assert gates == [(1, 1, 1), (1, 0, 1), (0, None, 1), (0, 1, 0)]


async def test_the_summary_has_a_row_for_each_check(warehouse: Warehouse, config: Config) -> None:
    await load(warehouse, config, Gates())
    status = {"dataset": "fills", "source": "goldsky_fills", "newest_row": NOW, "complete": 1, "note": ""}
    await put(warehouse, "analytics.data_sync_status", [status])
    rows = await warehouse.fetch("SELECT * FROM cascadian_clean.mv_data_quality_summary")
    found = {row["check_name"]: (int(row["rows"]), int(row["good"])) for row in rows}
    assert found == {
        "fills_mapped": (10, 8), "fills_once": (10, 10), "tokens_once": (6, 6), "tokens_proven": (6, 6),
        "closed_resolved": (2, 1), "resolutions_dated": (2, 2), "positions_not_short": (3, 3),
        "open_positions_priced": (2, 1), "wallets_proven": (2, 2), "source fills goldsky_fills": (1, 1),
    }  # fmt: skip
    newest = {row["check_name"]: row["newest_row"] for row in rows}
    assert (newest["fills_mapped"], newest["source fills goldsky_fills"]) == ("2026-03-09 00:00:00", NOW)
    await put(warehouse, "production.clob_fills", [await _first_fill(warehouse)])
    (twice,) = await warehouse.fetch(
        "SELECT rows - good AS repeated FROM cascadian_clean.mv_data_quality_summary WHERE check_name = 'fills_once'"
    )
    assert int(twice["repeated"]) == 1


async def _first_fill(warehouse: Warehouse) -> dict[str, Any]:
    (row,) = await warehouse.fetch("SELECT * FROM polymarket.clob_fills ORDER BY fill_id LIMIT 1")
    return row


async def test_every_column_says_what_it_is(warehouse: Warehouse) -> None:
    names = (
        "wallet_market_returns", "wallet_omega_daily", "leaderboard_omega_daily", "leaderboard_omega",
        "leaderboard_whales", "wallet_coverage_metrics", "market_coverage_metrics", "mv_data_quality_summary",
    )  # fmt: skip
    rows = await warehouse.fetch(
        "SELECT table, name, comment FROM system.columns WHERE database = 'cascadian_clean' "
        "AND table IN {names:Array(String)}",
        {"names": names},
    )
    assert {row["table"] for row in rows} == set(names)
    assert [f"{row['table']}.{row['name']}" for row in rows if not row["comment"]] == []
