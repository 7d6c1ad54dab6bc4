"""`/v2/user-pnl` and `/v2/leaderboard` of the pretend Data API, and the first version's `/v1/leaderboard`.

Profit is that of the positions: by average cost, realized after fees. Of all time the leaderboard counts what is
realized; of a window what changed, with what is held at its price.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from .blocks import block_of
from .data_api_index import Combo, Index
from .data_api_portfolio import Portfolio
from .data_api_query import Query, Refused, Row, answer, envelope, make_cursor
from .data_api_rows import MICRO, Rows
from .ledger import Order
from .reply import Reply, Wish

HOUR, DAY = 3600, 86_400
INTERVALS = {"MAX": None, "ALL": None, "1M": 30 * DAY, "1W": 7 * DAY, "1D": DAY, "12H": 12 * HOUR, "6H": 6 * HOUR}
FIDELITIES = {"1D": DAY, "18H": 18 * HOUR, "12H": 12 * HOUR, "3H": 3 * HOUR, "1H": HOUR}
PERIODS = {"DAY": DAY, "WEEK": 7 * DAY, "MONTH": 30 * DAY, "ALL": None}
MOST_POINTS = 24
"""A longer curve has wider steps here: every point is a replay."""
V1_MOST, V1_LAST_OFFSET = 50, 1000
KEPT = 4


class Sums(NamedTuple):
    """What a wallet has made and moved until a moment: money in micro-dollars, shares in micro-shares.

    Fees are those charged in dollars: one charged in shares makes the others dearer, and is in their cost.
    """

    realized: int = 0
    unrealized: int = 0
    fees: int = 0
    shares: int = 0
    usdc: int = 0
    trades: int = 0


class Profits:
    """Answers about profit. Boards of the last moments asked about are kept."""

    def __init__(self, index: Index, portfolio: Portfolio, rows: Rows) -> None:
        self._index = index
        self._facts = index.facts
        self._portfolio = portfolio
        self._rows = rows
        self._boards: OrderedDict[int, dict[str, Sums]] = OrderedDict()

    def curve(self, query: Query, user: str | None, wish: Wish) -> Reply:
        """`/v2/user-pnl`: the newest point is of now."""
        if user is None:
            raise Refused("required query param 'user' not provided", parameter="user")
        interval = query.word("interval", tuple(INTERVALS), "MAX") or "MAX"
        fidelity = query.word("fidelity", tuple(FIDELITIES), "1D") or "1D"
        now = self._facts.now(wish.before)
        times = [order.at.timestamp for order in self._orders(user)]
        length = INTERVALS[interval]
        start = now - length if length is not None else (times[0] if times else now)
        points = [self._point(user, at) for at in marks(start, now, FIDELITIES[fidelity])]
        shown = fidelity.lower()
        body = {"proxy_wallet": user, "interval": interval.lower(), "fidelity": shown, "source_fidelity": shown}
        return answer({"data": {**body, "points": points if times else []}}, wish.fault is None)

    def board(self, query: Query, wish: Wish) -> Reply:
        """`/v2/leaderboard`: one page, paged by a cursor that holds the offset."""
        cursor = query.cursor("leaderboard")
        period = query.word("time_period", tuple(PERIODS), "DAY") or "DAY"
        order = query.word("order_by", ("PNL", "VOL"), "PNL") or "PNL"
        limit, offset = query.limit(), 0
        if cursor is not None:
            limit, offset, order, period = cursor["l"], cursor["o"], cursor["s"], cursor["t"].upper()
        ranked = self.ranked(period, order, wish.before)
        page = ranked[offset : offset + limit]
        more = offset + limit < len(ranked)
        following = {"l": limit, "o": offset + limit, "s": order, "t": period.lower(), "c": "overall"}
        rows = [self._row(offset + number, *each) for number, each in enumerate(page, 1)]
        return envelope(rows, limit, make_cursor("leaderboard", **following) if more else None, wish.fault is None)

    def first_board(self, query: Query, wish: Wish) -> list[Row]:
        """`/v1/leaderboard`: ranks are text there."""
        limit, offset = query.whole("limit") or 25, query.whole("offset") or 0
        if limit > V1_MOST or offset > V1_LAST_OFFSET:
            raise Refused(f"limit must be at most {V1_MOST}, offset at most {V1_LAST_OFFSET}")
        period = query.word("time_period", tuple(PERIODS), "DAY") or "DAY"
        order = query.word("order_by", ("PNL", "VOL"), "PNL") or "PNL"
        page = self.ranked(period, order, wish.before)[offset : offset + limit]
        return [
            {
                "rank": str(offset + number),
                "proxyWallet": wallet,
                "userName": self._rows.profile(wallet)["name"],
                "xUsername": "",
                "verifiedBadge": False,
                "vol": volume / MICRO,
                "pnl": profit / MICRO,
                "profileImage": "",
            }
            for number, (wallet, profit, volume) in enumerate(page, 1)
        ]

    def ranked(self, period: str, order: str, before: int | None) -> list[tuple[str, int, int]]:
        """Wallets with profit (micro-dollars) and volume (micro-shares), first rank first; equals by address."""
        now = self._facts.now(before)
        length = PERIODS[period]
        board = self._board(now)
        if length is None:
            found = [(wallet, sums.realized, sums.shares) for wallet, sums in board.items()]
        else:
            past = self._board(now - length)
            found = [(wallet, *_change(past.get(wallet, Sums()), sums)) for wallet, sums in board.items()]
        return sorted(found, key=lambda each: (-each[1] if order == "PNL" else -each[2], each[0]))

    def sums(self, wallet: str, now: int) -> Sums:
        """A wallet's figures of everything before a moment (unix seconds)."""
        positions = list(self._portfolio.positions(wallet, None, now))
        orders = [order for order in self._orders(wallet) if order.at.timestamp < now]
        fees = sum(order.fee for order in orders if order.side == "SELL" or order.version != 1)
        return Sums(
            sum(each.holding.realized for each in positions) - fees,
            sum(each.unrealized for each in positions),
            fees,
            sum(order.shares for order in orders),
            sum(order.usdc for order in orders),
            len(orders),
        )

    def _board(self, now: int) -> dict[str, Sums]:
        if now not in self._boards:
            index = self._index
            wallets = {*index.trades_by_wallet, *index.others_by_wallet} - self._facts.contracts
            self._boards[now] = {wallet: self.sums(wallet, now) for wallet in sorted(wallets)}
            while len(self._boards) > KEPT:
                self._boards.popitem(last=False)
        return self._boards[now]

    def _orders(self, wallet: str) -> list[Order]:
        return [each for each in self._index.trades_by_wallet.get(wallet, []) if not isinstance(each, Combo)]

    def _point(self, wallet: str, at: int) -> Row:
        sums = self.sums(wallet, at)
        realized, unrealized, fees = sums.realized / MICRO, sums.unrealized / MICRO, sums.fees / MICRO
        position = (sums.realized + sums.unrealized) / MICRO
        nothing = dict.fromkeys(_NOTHING, 0.0)
        return {
            "timestamp": at,
            "source_block": block_of(at),
            "realized_market_pnl": realized,
            "unrealized_pnl": unrealized,
            **nothing,
            "deposits": None,
            "withdrawals": None,
            "realized_pnl": realized,
            "position_pnl": position,
            "settled_pnl": realized,
            "economic_pnl": position,
            "trade_pnl": (sums.realized + sums.unrealized + sums.fees) / MICRO,
            "fees": -fees,
            "fees_paid": -fees,
            "cashflow_net": None,
            "volume": sums.shares / MICRO,
            "volume_usdc": sums.usdc / MICRO,
            "trade_count": sums.trades,
        }

    def _row(self, rank: int, wallet: str, profit: int, volume: int) -> Row:
        about = {"user_name": self._rows.profile(wallet)["name"], "profile_image": "", "x_username": ""}
        figures = {"rank": rank, "user_id": wallet, "pnl": profit / MICRO, "volume": volume / MICRO}
        return {**figures, **about, "verified": False}


_NOTHING = (
    "realized_lp_pnl", "realized_combo_pnl", "fees_refunded", "maker_rebate", "taker_rebate", "reward_income",
    "yield_income", "referral_income", "sponsored_income", "wallet_income",
)  # fmt: skip
"""What nobody here receives."""


def marks(start: int, now: int, step: int) -> list[int]:
    """Moments of a curve: whole steps behind the start, and now."""
    wide = step * max(1, -(-(now - start) // (step * (MOST_POINTS - 1))))
    return [*range(start - start % wide + wide, now, wide), now]


def _change(past: Sums, sums: Sums) -> tuple[int, int]:
    made = sums.realized + sums.unrealized - past.realized - past.unrealized
    return made, sums.shares - past.shares
