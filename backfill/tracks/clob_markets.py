"""Markets from the order book's listing, which can be entered anywhere: its cursors are offsets in base64.

Offsets are computed, so pages are read side by side and a page that came cut costs nothing: what follows is asked from
the last row that came. How many rows a page holds is up to the upstream, and is read from the page.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.errors import Unreadable
from backfill.tracks import values
from backfill.tracks.reading import Made, Reading, rows_at, stretch
from backfill.tracks.rows import document
from backfill.tracks.track import Envelope, Track
from backfill.tracks.values import Drift, Row, need

NAME = "clob_markets"
SOURCE = "clob"
OPEN_END: Final = 1_000_000_000
"""End of a stretch that reaches to wherever the listing ends; a smaller end is a row that is known to exist."""
_OVER: Final = "LTE="
"""The cursor behind the last row."""


class ClobMarkets:
    """The lane of the `clob_markets` track.

    A cursor is the offset to ask next, in decimal; `<offset> <rows>` where that page was the last one and had so many
    rows: it is asked for again, and the end is believed when it has no more rows then.
    """

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        return self.end_probe(_place(unit, cursor)[0])

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`. The upstream decides how much it sends."""
        del unit, cursor
        return None

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`. Rows behind the end of the stretch belong to another unit."""
        (offset, before), end = _place(unit, cursor), stretch(unit).end
        answer = document(NAME, body)
        rows = rows_at(NAME, body, answer, "data")
        over = _over(answer, body, offset, len(rows))
        behind = offset + len(rows)
        if (not rows and not over) or (over and behind < end < OPEN_END):
            raise Unreadable(f"no rows at {behind}, though the listing is longer", raw=body, where=NAME)
        if over and before is not None and len(rows) <= before:
            return Page((), 1)
        reading = Reading(NAME, unit, body)
        reading.take(rows[: end - offset], _market)
        if behind >= end:
            return reading.page(1, None)
        return reading.page(0, f"{offset} {len(rows)}" if over else str(behind))

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        behind = cursor_of(stretch(unit).start + 1)
        return Envelope(None, orjson.dumps({"data": [row], "count": 1, "limit": 1, "next_cursor": behind}))

    def end_probe(self, offset: int) -> Request:
        """The page at an offset, to find out whether the listing reaches that far: see `read_end`."""
        return Request("GET", "/markets", (("next_cursor", cursor_of(offset)),), asked=1)

    def read_end(self, body: bytes, offset: int | None = None) -> tuple[int, int]:
        """How many rows a page has, and how many it could have had.

        No rows: the offset is behind the end. Fewer than it could have: the end is right behind them. With the
        `offset` that was asked, a page from another place is told apart.

        Raises:
            Unreadable: it is no page, or another one.
        """
        answer = document(NAME, body)
        rows = rows_at(NAME, body, answer, "data")
        limit = answer.get("limit")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise Unreadable("the page does not say its limit", raw=body, where=NAME)
        if offset is not None:
            _over(answer, body, offset, len(rows))
        return len(rows), limit


def cursor_of(offset: int) -> str:
    """The upstream's cursor for an offset."""
    return base64.b64encode(str(offset).encode()).decode()


def offset_of(cursor: str) -> int | None:
    """The offset that a cursor of the upstream means, -1 behind the end; None when it is no such cursor."""
    try:
        return int(base64.b64decode(cursor, validate=True))
    except (binascii.Error, ValueError):
        return None


def _place(unit: Unit, cursor: str | None) -> tuple[int, int | None]:
    """The offset to ask, and how many rows it had when it was the last page already (None: it was not)."""
    if cursor is None:
        return stretch(unit).start, None
    offset, _, rows = cursor.partition(" ")
    return int(offset), int(rows) if rows else None


def _over(answer: Any, body: bytes, offset: int, rows: int) -> bool:
    """Whether the listing ends with this page.

    Raises:
        Unreadable: the next cursor is not one that follows from where was asked: another page came.
    """
    count, said = answer.get("count"), answer.get("next_cursor")
    cut = isinstance(count, int) and count > rows
    if rows == 0 and not cut:
        return True
    if said is None or said == _OVER or said == "":
        return not cut
    following = offset_of(said) if isinstance(said, str) else None
    limit = answer.get("limit")
    possible = {offset + each for each in (rows, count, limit) if isinstance(each, int)}
    if following not in possible:
        raise Unreadable(f"the answer to another question: {said!r} follows offset {offset}?", raw=body, where=NAME)
    return False


def _market(row: Row) -> Iterator[Made]:
    """The market in a row.

    One row in a hundred of the oldest pages is blank: no condition, no question, no token ids. It is no market, so
    there is nothing to refuse, and refusing it would make every run end as unfinished.
    """
    tokens = _tokens(row)
    listed = [values.token(each, "token_id") for each in tokens]
    if not any((values.text(row, "condition_id"), values.text(row, "question_id"), *listed)):
        return
    condition = need(values.condition, row, "condition_id")
    known = [each for each in listed if each is not None]
    if known and len(known) != len(listed):
        raise Drift("tokens.token_id", "an id for every outcome or for none", listed)
    yield (
        "",
        {
            "condition_id_norm": condition,
            "question_id": values.hash32(row, "question_id"),
            "question": values.text(row, "question"),
            "market_slug": values.text(row, "market_slug"),
            "neg_risk": values.flag(row, "neg_risk"),
            "neg_risk_market_id": values.hash32(row, "neg_risk_market_id"),
            "outcomes": _labels(tokens),
            "token_ids": known,
            "tags": values.strings(row, "tags"),
            "end_at": values.moment(row, "end_date_iso"),
            "closed": values.flag(row, "closed"),
            "active": values.flag(row, "active"),
            "archived": values.flag(row, "archived"),
            "source": SOURCE,
        },
    )


def _tokens(row: Row) -> list[Row]:
    tokens = row.get("tokens")
    if tokens is None:
        return []
    if not isinstance(tokens, list) or not all(isinstance(each, dict) for each in tokens):
        raise Drift("tokens", "a list of objects", tokens)
    return tokens


def _labels(tokens: list[Row]) -> list[str]:
    """Labels by outcome index, none unless every outcome has one: their places must not shift."""
    labels = [values.text(each, "outcome") for each in tokens]
    known = [each for each in labels if each is not None]
    return known if len(known) == len(labels) else []


TRACK = Track(NAME, "markets", "clob", "staging.markets_v2", "offsets", lambda _config: ClobMarkets())
