"""Markets from Gamma: two listings (open and closed), each read page by page to its end.

What marks the end is a missing `next_cursor`, never the number of rows. An answer that was cut looks like that too, so
the last page of a listing is asked for once more, and the end is believed when it has no more rows then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from backfill import ids
from backfill.engine.model import Page, Request, Unit
from backfill.errors import Unreadable
from backfill.tracks import gamma, values
from backfill.tracks.reading import Foreign, Made, Reading, only, rows_at
from backfill.tracks.rows import document
from backfill.tracks.track import Envelope, Track
from backfill.tracks.values import Drift, Row, need

NAME = "gamma_markets"
SOURCE = "gamma"
LISTINGS = ("open", "closed")
"""The items of the plan. A listing shows either the one or the other kind, so both are read."""
LIMIT = 100
AGAIN = re.compile(r"again ([0-9]+) (.*)", re.DOTALL)
"""A cursor of ours: the page behind that cursor of Gamma's was the last, had so many rows, and is asked for again."""


class GammaMarkets:
    """The lane of the `gamma_markets` track. A cursor is Gamma's own, or `again <rows> <cursor of the last page>`."""

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        params = [("closed", "true" if _closed(unit) else "false"), ("limit", str(LIMIT))]
        if after := _taken_apart(cursor)[1]:
            params.append(("after_cursor", after))
        return Request("GET", "/markets/keyset", tuple(params), asked=1)

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`. A page is small enough as it is."""
        del unit, cursor
        return None

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        answer = document(NAME, body)
        rows = rows_at(NAME, body, answer, "markets")
        following = answer.get("next_cursor")
        if not isinstance(following, str | None):
            raise Unreadable("next_cursor is not text", raw=body, where=NAME)
        before, after = _taken_apart(cursor)
        if following and following == after:
            raise Unreadable("the answer to another question: the page before this one", raw=body, where=NAME)
        if not following and before is not None and len(rows) <= before:
            return Page((), 1)
        closed = _closed(unit)
        reading = Reading(NAME, unit, body)
        reading.take(rows, lambda row: _market(row, closed))
        if following:
            return reading.page(0, following)
        return reading.page(0, f"again {len(rows)} {after}")

    def head(self) -> Request:
        """See `Headed`."""
        return gamma.head()

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return gamma.read_head(NAME, body)

    def envelope(self, _unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        return Envelope(None, orjson.dumps({"markets": [row]}))


def _taken_apart(cursor: str | None) -> tuple[int | None, str]:
    """How many rows this page had when it was the last one already (None: it was not), and Gamma's cursor for it."""
    again = AGAIN.fullmatch(cursor or "")
    return (int(again[1]), again[2]) if again else (None, cursor or "")


def _closed(unit: Unit) -> bool:
    return LISTINGS.index(only(unit)) == 1


def _market(row: Row, closed: bool) -> Iterator[Made]:
    """The market in a row.

    Some early rows were never put on the chain: they have neither a condition nor tokens, so there is no market to
    know, and nothing to refuse either.
    """
    condition, tokens = values.condition(row, "conditionId"), values.tokens(row, "clobTokenIds")
    if condition is None and not tokens:
        return
    need(values.condition, row, "conditionId")
    if values.flag(row, "closed") == int(not closed):
        raise Foreign("belongs to the other listing")
    outcomes = values.strings(row, "outcomes")
    if tokens and outcomes and len(tokens) != len(outcomes):
        raise Drift("clobTokenIds", f"{len(outcomes)} tokens, one for each outcome", len(tokens))
    event = _event(row)
    yield (
        "",
        {
            "condition_id_norm": condition,
            "question_id": values.hash32(row, "questionID"),
            "question": values.text(row, "question"),
            "market_slug": values.text(row, "slug"),
            "event_slug": values.text(event, "slug"),
            "oracle": values.address(row, "resolvedBy"),
            "neg_risk": _neg_risk(row, condition or "", tokens),
            "neg_risk_market_id": values.hash32(row, "negRiskMarketID") or values.hash32(event, "negRiskMarketID"),
            "outcomes": outcomes,
            "token_ids": tokens,
            "tags": _tags(row) or _tags(event),
            **_state(row),
            **_fees(row),
            "source": SOURCE,
        },
    )


def _state(row: Row) -> Row:
    return {
        "start_at": values.moment(row, "startDate"),
        "end_at": values.moment(row, "endDate"),
        "closed_at": values.moment(row, "closedTime"),
        "closed": values.flag(row, "closed"),
        "active": values.flag(row, "active"),
        "archived": values.flag(row, "archived"),
        "volume_usd": values.decimal(row, "volume", 6) or values.decimal(row, "volumeNum", 6),
        "uma_status": values.text(row, "umaResolutionStatus"),
    }


def _fees(row: Row) -> Row:
    """The schedule is what is charged; the base fees beside it are not."""
    schedule = row.get("feeSchedule")
    if schedule is None:
        return {}
    if not isinstance(schedule, dict):
        raise Drift("feeSchedule", "an object", schedule)
    return {
        "fee_rate": values.decimal(schedule, "rate", 9),
        "fee_exponent": values.decimal(schedule, "exponent", 9),
        "fee_taker_only": values.flag(schedule, "takerOnly"),
    }


def _event(row: Row) -> Row:
    """The event of a market; an empty one where none is named."""
    events = row.get("events")
    if events is None or events == []:
        return {}
    if not isinstance(events, list) or not isinstance(events[0], dict):
        raise Drift("events", "a list of objects", events)
    return events[0]


def _tags(row: Row) -> list[str]:
    found: Any = row.get("tags")
    if found is None:
        return []
    if not isinstance(found, list):
        raise Drift("tags", "a list", found)
    labels = [each.get("label") if isinstance(each, dict) else each for each in found]
    return values.strings({"tags": labels}, "tags")


def _neg_risk(row: Row, condition: str, tokens: list[str]) -> int | None:
    """The flag; where early rows lack it, what their own token ids prove, since they are hashes of the collateral."""
    said = values.flag(row, "negRisk")
    if said is not None or not tokens:
        return said
    for flag, collateral in enumerate((ids.USDC_E, ids.WCOL)):
        if str(ids.position_id(condition, 0, collateral)) == tokens[0]:
            return flag
    return None


TRACK = Track(NAME, "markets", "gamma", "staging.markets_v2", "listing", lambda _config: GammaMarkets())
