"""Profit as the pretend Data API tells it: curves and leaderboards that agree with its own positions."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from backfill.simulator.data_api_pnl import DAY, MOST_POINTS, marks
from backfill.simulator.reply import Wish
from backfill.simulator.world import World
from tests.simulator.test_sim_data_api_case import EXCHANGE, WALLETS, Caller, caller, history, kinds, sample

__all__ = ["caller", "history"]


def newest(caller: Caller, wallet: str, wish: Wish | None = None) -> dict[str, Any]:
    body = orjson.loads(caller.ask("/v2/user-pnl", wish, user=wallet).body)["data"]
    assert body["proxy_wallet"] == wallet and len(body["points"]) <= MOST_POINTS
    times = [point["timestamp"] for point in body["points"]]
    assert times == sorted(set(times))
    return dict(body["points"][-1]) if times else {}


def test_the_newest_point_is_what_the_positions_add_up_to(caller: Caller, history: World) -> None:
    for wallet in WALLETS[:4]:
        rows = [row for status in ("OPEN", "CLOSED") for row in
                caller.all("/v2/positions", user=wallet, status=status, filter_amount=0, limit=1000)]  # fmt: skip
        point = newest(caller, wallet)
        slack = 1e-3 + 1e-4 * len(rows)
        assert point["unrealized_pnl"] == pytest.approx(sum(row["unrealized_pnl"] for row in rows), abs=slack)
        before_fees = sum(row["realized_pnl"] for row in rows)
        assert point["realized_pnl"] == pytest.approx(before_fees + point["fees"], abs=slack)
        charged = [o.fee for o in history.ledger.orders if o.maker == wallet and (o.version == 2 or o.side == "SELL")]
        assert point["fees"] == -sum(charged) / 1e6
        assert point["position_pnl"] == pytest.approx(point["realized_pnl"] + point["unrealized_pnl"], abs=1e-5)
        assert point["trade_pnl"] == pytest.approx(point["position_pnl"] - point["fees"], abs=1e-5)


def test_points_have_the_recorded_fields(caller: Caller) -> None:
    recorded = sample("data-api/v2_user_pnl.json")
    for point in recorded["data"]["points"]:
        assert point["position_pnl"] == pytest.approx(point["realized_pnl"] + point["unrealized_pnl"])
        assert point["trade_pnl"] == pytest.approx(point["position_pnl"] - point["fees"])
    made = orjson.loads(caller.ask("/v2/user-pnl", user=WALLETS[0], interval="1w", fidelity="1d").body)
    assert kinds(made) == kinds(recorded)


def test_a_leaderboard_is_paged_and_says_the_same_as_the_curves(caller: Caller, history: World) -> None:
    board = caller.all("/v2/leaderboard", time_period="ALL", limit=5)
    assert [row["rank"] for row in board] == list(range(1, len(board) + 1)) and len(board) >= len(WALLETS)
    gains = [row["pnl"] for row in board]
    assert gains == sorted(gains, reverse=True)
    assert EXCHANGE not in {row["user_id"] for row in board}
    for row in board[:3]:
        assert newest(caller, row["user_id"])["realized_pnl"] == row["pnl"]
        assert newest(caller, row["user_id"])["volume"] == row["volume"], "in shares"
    recorded = sample("data-api/v2_leaderboard.json")
    assert kinds({"data": board}) == {kind for kind in kinds(recorded) if "pagination" not in kind}


def test_a_window_counts_what_changed_in_it(caller: Caller) -> None:
    month = {row["user_id"]: row for row in caller.all("/v2/leaderboard", timePeriod="month", limit=1000)}
    for wallet in WALLETS[:3]:
        now, then = newest(caller, wallet), newest(caller, wallet, Wish(before=now_of(caller, wallet) - 30 * DAY))
        change = now["position_pnl"] - (then["position_pnl"] if then else 0)
        assert month[wallet]["pnl"] == pytest.approx(change, abs=1e-5)


def now_of(caller: Caller, wallet: str) -> int:
    return int(newest(caller, wallet)["timestamp"])


def test_refusals_and_the_first_version(caller: Caller) -> None:
    assert caller.refusal("/v2/user-pnl")[0] == 400
    assert caller.refusal("/v2/user-pnl", user=WALLETS[0], interval="1y")[0] == 400
    assert caller.refusal("/v2/leaderboard", cursor="x")[0] == 400
    rows = caller.rows("/v1/leaderboard", timePeriod="ALL", limit=3)
    board = caller.rows("/v2/leaderboard", timePeriod="ALL", limit=3)
    assert [(row["rank"], row["proxyWallet"], row["pnl"]) for row in rows] == [
        (str(row["rank"]), row["user_id"], row["pnl"]) for row in board
    ]
    shape = sample("data-api/v1_shape_data__v1_leaderboard.json")["shape"]
    assert {kind for row in rows for kind in kinds(row)} == {
        line.removeprefix("$[]") for line in shape if line.startswith("$[].")
    }
    assert caller.refusal("/v1/leaderboard", limit=51)[0] == 400


def test_a_long_curve_has_wide_steps() -> None:
    assert len(marks(0, 1000 * DAY, DAY)) <= MOST_POINTS and marks(0, 3 * DAY, DAY) == [DAY, 2 * DAY, 3 * DAY]
