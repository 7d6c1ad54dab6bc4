"""Profits as Dome and the Data API tell them, one wallet a request, and the official leaderboard, page by page."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from backfill.engine.model import Request
from backfill.errors import Unreadable
from backfill.tracks import data_api, values
from backfill.tracks.reading import rows_at
from backfill.tracks.rows import document
from backfill.tracks.values import Drift, Row, need

DOME, DATA_API = "dome", "data_api"
NEVER_PROCESSED: Final = 1_609_459_200
"""2021-01-01T00:00:00Z: where Dome's answer begins about a wallet that it knows nothing of."""
DOME_STEP, DATA_API_STEP = 100, 1
"""Micro-dollars of one unit of the last digit shown."""
BOARD_V1_MOST, BOARD_V1_LAST = 50, 1000


class Figure(NamedTuple):
    """One profit of one wallet: micro-dollars, the moment it is of (unix seconds), and the answer it was read from."""

    wallet: str
    source: str
    metric: str
    value: int
    step: int
    as_of: int | None
    raw: str


class Place(NamedTuple):
    """A wallet on a leaderboard; profit in micro-dollars."""

    rank: int
    wallet: str
    name: str
    pnl: int


def dome_request(wallet: str) -> Request:
    """Realized profit up to now."""
    return Request("GET", f"/polymarket/wallet/pnl/{wallet}", (("granularity", "all"),), asked=1, absent_ok=True)


def read_dome(wallet: str, body: bytes) -> list[Figure]:
    """Nothing where Dome knows nothing: it then says 0, beginning in 2021.

    Raises:
        Unreadable: it is no profit, or another wallet's.
    """
    if not body:
        return []
    answer = document(DOME, body)
    rows = rows_at(DOME, body, answer, "pnl_over_time")
    try:
        _same(wallet, need(values.address, answer, "wallet_address" if "wallet_address" in answer else "wallet_addr"))
        if not rows:
            return []
        value = need(values.signed_micro, rows[-1], "pnl_to_date")
        at = need(values.moment, rows[-1], "timestamp")
        start = need(values.moment, answer, "start_time")
    except (Drift, AttributeError) as error:
        raise Unreadable(f"the profit: {error}", raw=body, where=DOME) from None
    if value == 0 and start == NEVER_PROCESSED:
        return []
    return [Figure(wallet, DOME, "realized", value, DOME_STEP, at, body.decode())]


def data_api_request(wallet: str) -> Request:
    """The curve of all time; its newest point is of now."""
    params = (("user", wallet), ("interval", "max"), ("fidelity", "1d"))
    return Request("GET", "/v2/user-pnl", params, asked=1)


def read_data_api(wallet: str, body: bytes) -> list[Figure]:
    """What is realized after fees, and that with what is held at its price; nothing for a wallet without points.

    Raises:
        Unreadable: it is no curve, or another wallet's.
    """
    answer = document(DATA_API, body)
    points = rows_at(DATA_API, body, answer, "data", "points")
    try:
        _same(wallet, need(values.address, answer["data"], "proxy_wallet"))
        if not points:
            return []
        newest: Row = max(points, key=lambda point: need(values.moment, point, "timestamp"))
        at = need(values.moment, newest, "timestamp")
        told = (("realized", "realized_pnl"), ("position", "position_pnl"))
        raw = orjson.dumps(newest).decode()
        return [
            Figure(wallet, DATA_API, metric, need(values.signed_micro, newest, field), DATA_API_STEP, at, raw)
            for metric, field in told
        ]
    except (Drift, AttributeError) as error:
        raise Unreadable(f"the curve: {error}", raw=body, where=DATA_API) from None


def _same(wallet: str, told: str) -> None:
    if told != wallet:
        raise Drift("wallet", wallet, told)


def board_request(version: int, period: str, cursor: str | None) -> Request:
    """A page of the leaderboard by profit; `period` is day, week, month or all."""
    if version == 1:
        paging = (("limit", str(BOARD_V1_MOST)), ("offset", cursor or "0"))
        return Request("GET", "/v1/leaderboard", (("timePeriod", period.upper()), ("orderBy", "PNL"), *paging))
    params = [("time_period", period), ("order_by", "PNL"), ("limit", "100")]
    return Request("GET", "/v2/leaderboard", tuple([*params, ("cursor", cursor)] if cursor else params))


def read_board(version: int, cursor: str | None, body: bytes) -> tuple[list[Place], str | None]:
    """The places of a page, and the cursor of the next.

    Raises:
        Unreadable: it is no leaderboard.
    """
    if version == 1:
        rows = rows_at(DATA_API, body, document(DATA_API, body))
        end = int(cursor or 0) + len(rows)
        following = str(end) if len(rows) == BOARD_V1_MOST and end <= BOARD_V1_LAST else None
    else:
        rows, following = data_api.envelope(DATA_API, body, cursor or "")
    try:
        return [read_place(row) for row in rows], following
    except (Drift, AttributeError) as error:
        raise Unreadable(f"the leaderboard: {error}", raw=body, where=DATA_API) from None


def read_place(row: dict[str, Any]) -> Place:
    """A row of a leaderboard in either version's words, or in those of a table.

    Raises:
        Drift: a field is missing or not what it was.
    """
    address = next(
        (name for name in ("user_id", "proxyWallet", "proxy_wallet", "address", "wallet") if name in row), ""
    )
    name = next((name for name in ("user_name", "userName", "username", "name") if name in row), "")
    rank = need(values.whole, row, "rank")
    return Place(
        rank, need(values.address, row, address), values.text(row, name) or "", need(values.signed_micro, row, "pnl")
    )
