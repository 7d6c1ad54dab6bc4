"""`leaderboard audit`: overlap, drift and differences, against a board by hand, the simulator's, and a recorded one."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.config import Config
from backfill.errors import UsageError
from backfill.simulator.server import Simulator
from backfill.stages.audit import Audit, read_board_file, run_audit
from backfill.stages.references import fetch_board
from backfill.tracks.pnl_pages import Place
from backfill.warehouse.client import Warehouse
from tests.pnl import test_world as core
from tests.stages.planted import put
from tests.stages.test_reconcile_pnl import log_of, pointed

M = 1_000_000
PROFITS = (50, 40, 30, 20, 10, 9, 8, 7, 6, 5, 4, -3)


def address(number: int) -> str:
    return f"0x{number + 1:040x}"


def pnl_row(wallet: str, owner: str, dollars: int) -> dict[str, object]:
    return {
        "wallet": wallet, "owner": owner, "condition_id_norm": "c" * 64, "outcome_idx": 0, "resolved": 1,
        "payout_numerator": 0, "payout_denominator": 1, "trade_cash_micro": str(dollars * M), "leftover_micro": "0",
        "redeemed_micro": "0", "payout_micro": "0", "realized_cash_micro": str(dollars * M), "tracked_micro": "0",
        "avg_price_micro": "0", "realized_avg_cost_micro": str(dollars * M), "realized_dome_micro": "0",
        "volume_micro": str(100 * M), "fees_micro": "0", "fills": 1, "first_activity": 1, "last_activity": 2,
    }  # fmt: skip


async def put_profits(warehouse: Warehouse) -> None:
    """One owner each; that of the second has two wallets, the second and a thirteenth."""
    rows = [pnl_row(address(n), address(n), dollars) for n, dollars in enumerate(PROFITS)]
    rows[1] = pnl_row(address(1), "0x" + "aa" * 20, 35)
    rows.append(pnl_row(address(99), "0x" + "aa" * 20, 5))
    await put(warehouse, "production.wallet_token_pnl", rows)


def board(*profits: tuple[int, int]) -> list[Place]:
    return [Place(rank, address(n), f"n{n}", dollars * M) for rank, (n, dollars) in enumerate(profits, 1)]


async def audited(warehouse: Warehouse, places: Sequence[Place], **options: Any) -> Audit:
    settings: dict[str, Any] = {"source": "test", "period": "all", "definition": "avg_cost", "tolerance": 0.01}
    return await run_audit(warehouse, places, **{**settings, **options})


async def test_a_board_that_agrees(warehouse: Warehouse) -> None:
    await put_profits(warehouse)
    places = [*board(*enumerate(PROFITS))]
    places[1] = places[1]._replace(pnl=35 * M)
    places.append(Place(13, address(99), "", 5 * M))
    found = await audited(warehouse, places)
    assert found.passed is True and found.overlap == {10: 1.0}
    told = found.document()
    assert (told["known"], told["places"], told["rank_drift"]) == (12, 12, {"median": 0, "max": 0})
    assert told["rows"][1]["owner"] == "0x" + "aa" * 20 and told["rows"][1]["our_pnl_usd"] == 40


async def test_what_differs_is_named(warehouse: Warehouse) -> None:
    """The third stands first there, the first is paid half as much, two are not known here."""
    await put_profits(warehouse)
    places = board((2, 60), (0, 25), (50, 24), (51, 23), (3, 20), (4, 10), (5, 9), (6, 8), (7, 7), (8, 6))
    found = await audited(warehouse, places)
    told = found.document()
    assert found.passed is False and told["known"] == 8 and told["beyond_tolerance"] == 2
    assert found.overlap == {10: 0.8}
    assert {row["wallet"]: row["rank_drift"] for row in told["rows"]} == {
        address(2): 1, address(0): -1, address(50): None, address(51): None, address(3): -2, address(4): -2,
        address(5): -2, address(6): -2, address(7): -2, address(8): -2,
    }  # fmt: skip
    assert told["delta_usd"] == (30 - 60) + (50 - 25)
    assert told["delta_share"] == {"median": 0, "max": 1.0}


async def test_nothing_is_judged_where_nobody_is_known(warehouse: Warehouse) -> None:
    found = await audited(warehouse, board((1, 2)))
    assert found.passed is None and found.known == []


async def test_a_window_needs_our_own_leaderboard(warehouse: Warehouse) -> None:
    await put_profits(warehouse)
    with pytest.raises(UsageError, match="leaderboard"):
        await audited(warehouse, board((1, 2)), period="week", definition="cash")
    with pytest.raises(UsageError, match="no window of one day"):
        await audited(warehouse, board((1, 2)), period="day", definition="cash")


async def test_our_own_leaderboard_is_taken_where_it_is_built(warehouse: Warehouse) -> None:
    ranked: list[dict[str, object]] = [
        {"period": "7d", "category": "overall", "rank": 1, "wallet": address(0), "realized_pnl_usd": "12.5"},
        {"period": "7d", "category": "sports", "rank": 1, "wallet": address(1), "realized_pnl_usd": "99"},
        {"period": "all", "category": "overall", "rank": 1, "wallet": address(1), "realized_pnl_usd": "99"},
    ]
    await put(warehouse, "analytics.leaderboard_whales", ranked)
    places = [Place(1, address(0), "", 12_500_000), Place(2, address(1), "", 99 * M)]
    found = await audited(warehouse, places, period="week", definition="cash")
    assert found.ours == "leaderboard_whales" and found.passed is True
    assert [each.pnl for each in found.standings] == [12_500_000, None]


async def test_the_simulator_s_board(config: Config, warehouse: Warehouse, tmp_path: Path) -> None:
    async with Simulator(core.world()) as simulator:
        for version in (2, 1):
            asked = pointed(config, simulator, [], tmp_path)
            ups = asked.upstreams
            changed = ups.data_api.model_copy(update={"version": version})
            asked = asked.model_copy(update={"upstreams": ups.model_copy(update={"data_api": changed})})
            places = await fetch_board(asked, log_of(config), "all", 130)
            assert len(places) > 50, "more than a page of the first version"
            assert [place.rank for place in places] == list(range(1, len(places) + 1))
            profits = [place.pnl for place in places]
            assert profits == sorted(profits, reverse=True) and profits[0] > 0
            assert len({place.wallet for place in places}) == len(places)


def test_files(tmp_path: Path, real_data: Path) -> None:
    api = {"data": [{"rank": 1, "user_id": address(0), "pnl": 1.5, "user_name": "x"}], "pagination": {}}
    path = tmp_path / "board.json"
    path.write_bytes(orjson.dumps(api))
    assert read_board_file(path) == [Place(1, address(0), "x", 1_500_000)]
    recorded = read_board_file(real_data / "leaderboard_2026-06-28.csv.gz")
    assert len(recorded) == 75 and [place.rank for place in recorded] == list(range(1, 76))
    assert recorded[0].pnl == max(place.pnl for place in recorded) > 10**11
    for body in (b"", b"[1]", b'[{"rank": 1}]', orjson.dumps([api["data"], api["data"]])):
        path.write_bytes(body)
        with pytest.raises(UsageError):
            read_board_file(path)
    twice = tmp_path / "twice.csv.gz"
    twice.write_bytes(gzip.compress(f"rank,address,pnl\n1,{address(0)},2\n2,{address(0)},1\n".encode()))
    with pytest.raises(UsageError, match="twice"):
        read_board_file(twice)
