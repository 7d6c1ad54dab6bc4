"""Payouts from the Data API: conditions → resolutions, up to 20 a request. What is not resolved gives no row.

A hint with a time: the chain is the proof. Its payouts are in millionths of a dollar for each share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from backfill.engine.model import Page, Request, Unit
from backfill.errors import PageTooLarge
from backfill.tracks import batches, data_api, payouts, values
from backfill.tracks.reading import Foreign, Made, Reading, rows_at
from backfill.tracks.rows import document
from backfill.tracks.track import Envelope, Track
from backfill.tracks.values import Drift, Row, need

NAME = "data_api_payouts"
SOURCE = "data_api"
LIMIT: Final = 20
RESOLVED: Final = "resolved"


class DataApiPayouts:
    """The lane of the `data_api_payouts` track."""

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        conditions = [f"0x{payouts.plain(each)}" for each in batches.asked(unit, cursor)]
        return Request("GET", "/v2/resolutions", (("condition", ",".join(conditions)),), asked=len(conditions))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        return batches.smaller(unit, cursor)

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`.

        Raises:
            PageTooLarge: the answer says that there is more, though this list has no pages.
        """
        items = set(batches.asked(unit, cursor))
        wanted = set(map(payouts.plain, items))
        answer = document(NAME, body)
        rows = rows_at(NAME, body, answer, "data")
        paging = answer.get("pagination")
        if isinstance(paging, dict) and paging.get("has_more"):
            raise PageTooLarge(f"{len(rows)} resolutions came, and there are more", where=NAME)
        reading = Reading(NAME, unit, body)
        reading.take(rows, lambda row: _payout(row, wanted))
        return reading.page(len(items), batches.following(unit, cursor))

    def envelope(self, _unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        return Envelope(None, data_api.alone(row))

    def head(self) -> Request:
        """See `Headed`."""
        return data_api.head()

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return data_api.read_head(NAME, body)


def _payout(row: Row, wanted: set[str]) -> Iterator[Made]:
    condition = need(values.condition, row, "condition_id")
    if condition not in wanted:
        raise Foreign
    if need(values.text, row, "status") != RESOLVED:
        return
    paid = values.wholes(row, "payouts")
    if not any(paid):
        raise Drift("payouts", "what a resolved condition pays", row.get("payouts"))
    yield payouts.made(condition, paid, SOURCE, values.moment(row, "resolved_at"))


TRACK = Track(NAME, "payouts", "data_api", payouts.TABLE, "conditions", lambda _config: DataApiPayouts())
