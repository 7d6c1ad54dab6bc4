"""Markets as the pretend CLOB lists them, the malformed row and the odd flags included."""

from __future__ import annotations

from typing import Any

from .gamma_facts import ICON, Facts, iso
from .model import Market

BAD_PLACE = 37
"""Where the malformed row stands, or at the end of a shorter list."""
ACCEPTING_EVERY = 13
"""Every so many places a closed market still says that it takes orders."""
REWARDED_EVERY = 5
USDC = "0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174"
Row = dict[str, Any]


class Rows:
    """The listing: one row more than there are markets, because one is malformed."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def count(self, before: int | None) -> int:
        """Rows that the listing has at a time."""
        return self._facts.listed(before) + 1

    def at(self, offset: int, before: int | None) -> Row:
        """The row at an offset."""
        bad = min(BAD_PLACE, len(self._facts.listing))
        if offset == min(bad, self._facts.listed(before)):
            return _malformed()
        return self.market(offset - (offset > bad), before)

    def market(self, place: int, before: int | None) -> Row:
        """The market at a place of the facts' listing."""
        market, facts = self._facts.listing[place], self._facts
        closed, question = facts.closed(market, before), facts.question(market)
        return {
            "enable_order_book": not closed,
            "active": True,
            "closed": closed,
            "archived": False,
            "accepting_orders": not closed or place % ACCEPTING_EVERY == 0,
            "accepting_order_timestamp": iso(market.start) if place % 2 else None,
            "minimum_order_size": 5,
            "minimum_tick_size": 0.01,
            "condition_id": f"0x{market.condition}",
            "question_id": question,
            "question": market.title,
            "description": f"What becomes of: {market.title}",
            "market_slug": market.slug,
            "end_date_iso": iso(market.end) if market.end is not None else None,
            "game_start_time": iso(market.game_start) if market.game_start is not None else None,
            "seconds_delay": 3 if market.game_start is not None else 0,
            "fpmm": "",
            "maker_base_fee": 0,
            "taker_base_fee": 0,
            "notifications_enabled": True,
            "neg_risk": bool(market.neg_risk),
            "neg_risk_market_id": f"{question[:-2]}00" if market.neg_risk and question else "",
            "neg_risk_request_id": f"0x{market.condition[::-1]}" if market.neg_risk else "",
            "icon": ICON,
            "image": ICON,
            "rewards": _rewards(place),
            "is_50_50_outcome": self._is_even(market, before),
            "tokens": self._tokens(market, before),
            "tags": [*market.tags, "All"] if market.tags else None,
        }

    def _is_even(self, market: Market, before: int | None) -> bool:
        """The flag of a split outcome, which is set on half of such markets only: prices tell, not this."""
        ending = self._facts.ending(market.condition, before)
        return ending is not None and len(set(ending.numerators)) == 1 and market.condition[-1] in "02468ace"

    def _tokens(self, market: Market, before: int | None) -> list[Row]:
        """Both outcomes in order. Nobody wins a split outcome."""
        prices = self._facts.prices(market.condition, market.tokens, before)
        over = self._facts.ending(market.condition, before) is not None
        return [
            {"token_id": str(token), "outcome": label, "price": price, "winner": over and price == 1}
            for token, label, price in zip(market.tokens, market.labels, prices, strict=True)
        ]


def _rewards(place: int) -> Row:
    if place % REWARDED_EVERY:
        return {"rates": None, "min_size": 0, "max_spread": 0}
    rate = {"asset_address": USDC, "rewards_daily_rate": 30}
    return {"rates": [rate], "min_size": 200, "max_spread": 3.5}


def _malformed() -> Row:
    """A row without any id, as one of a hundred real ones was."""
    nobody = {"token_id": "", "outcome": "", "price": 0, "winner": False}
    return {
        "enable_order_book": False,
        "active": False,
        "closed": True,
        "archived": True,
        "accepting_orders": False,
        "accepting_order_timestamp": None,
        "minimum_order_size": 0,
        "minimum_tick_size": 0,
        "condition_id": "",
        "question_id": "",
        "question": "",
        "description": "",
        "market_slug": "",
        "end_date_iso": None,
        "game_start_time": None,
        "seconds_delay": 0,
        "fpmm": "",
        "maker_base_fee": 0,
        "taker_base_fee": 0,
        "notifications_enabled": False,
        "neg_risk": False,
        "neg_risk_market_id": "",
        "neg_risk_request_id": "",
        "icon": "",
        "image": "",
        "rewards": {"rates": None, "min_size": 0, "max_spread": 0},
        "is_50_50_outcome": False,
        "tokens": [nobody, nobody],
        "tags": None,
    }
