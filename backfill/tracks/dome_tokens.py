"""Dome: token ids → markets, up to 100 a request.

The asked id is matched to side_a (outcome 0) or side_b (outcome 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from backfill.engine.model import DeadLetter, Page, Request, Unit
from backfill.errors import PageTooLarge, Unreadable
from backfill.tracks import batches

NAME = "dome_tokens"
SOURCE = "dome"
LIMIT = 100
NOT_ASKED = "neither side was asked for"


class DomeTokens:
    """The lane of the `dome_tokens` track."""

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`. The limit is always sent: the default of 10 would cut the answer silently."""
        ids = batches.asked(unit, cursor)
        params = (*(("token_id", token) for token in ids), ("limit", str(LIMIT)))
        return Request("GET", "/polymarket/markets", params, asked=len(ids))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        return batches.smaller(unit, cursor)

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`.

        Raises:
            PageTooLarge: the answer says itself that it is cut; fewer ids make a shorter one.
        """
        markets = _markets(body)
        wanted = set(batches.asked(unit, cursor))
        lines: dict[str, bytes] = {}
        letters: list[DeadLetter] = []
        for market in markets:
            _read_market(unit, market, wanted, lines, letters)
        if (page := batches.page(unit, cursor, lines, letters, foreign=NOT_ASKED)) is None:
            raise Unreadable("the answer to another question", raw=body, where=NAME)
        return page


def _markets(body: bytes) -> list[Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error}", raw=body, where=NAME) from None
    markets = document.get("markets") if isinstance(document, dict) else None
    if not isinstance(markets, list):
        raise Unreadable("no list of markets", raw=body, where=NAME)
    paging = document.get("pagination")
    if not isinstance(paging, dict):
        raise Unreadable("no pagination block, so a cut answer could not be told", raw=body, where=NAME)
    total = paging.get("total")
    if paging.get("has_more") or (isinstance(total, int) and total > len(markets)):
        raise PageTooLarge(f"{len(markets)} of {total} markets came", where=NAME)
    return markets


def _read_market(unit: Unit, market: Any, wanted: set[str], lines: dict[str, bytes], letters: list[DeadLetter]) -> None:
    def refuse(cls: str, reason: str) -> None:
        letters.append(DeadLetter(NAME, unit.number, cls, reason, orjson.dumps(market).decode()))

    if (fault := _fault(market)) is not None:
        return refuse("contract", fault)
    rows = list(_rows(unit, market, wanted))
    if not rows:
        return refuse("contract", NOT_ASKED)
    for token, line in rows:
        if lines.setdefault(token, line) != line:
            refuse("conflict", f"token {token} is answered twice, differently")


def _rows(unit: Unit, market: dict[str, Any], wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    for index, side in enumerate((market["side_a"], market["side_b"])):
        if side["id"] in wanted:
            row = {
                "token_id": side["id"],
                "condition_id_norm": market["condition_id"][2:].lower(),
                "outcome_index": index,
                "outcome": side.get("label") or None,
                "market_slug": market.get("market_slug") or None,
                "source": SOURCE,
                "unit": unit.number,
            }
            yield side["id"], orjson.dumps(row)


def _fault(market: Any) -> str | None:
    """What breaks the contract in a market row, None when nothing does."""
    if not isinstance(market, dict):
        return "not an object"
    if batches.condition_norm(market.get("condition_id")) is None:
        return "condition_id is not 0x and 64 hex digits"
    for name in ("side_a", "side_b"):
        side = market.get(name)
        if not isinstance(side, dict) or not batches.is_token(side.get("id")):
            return f"{name} has no token id"
        if not isinstance(side.get("label"), str | None):
            return f"{name}.label is not text"
    return None if isinstance(market.get("market_slug"), str | None) else "market_slug is not text"
