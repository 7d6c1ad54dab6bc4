"""Positions of one wallet from the Data API, second version or (switched in the config) first.

The second version shows one status at a time. OPEN is all that is still held, CLOSED all that is not; REDEEMABLE_LOST
is asked for beside them because nothing promises that OPEN has the losers too. A row that comes twice is one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.tracks import data_api, values
from backfill.tracks.reading import Foreign, Made, Reading, only, rows_at
from backfill.tracks.rows import document
from backfill.tracks.track import Envelope, Track
from backfill.tracks.values import Row, need

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "data_api_positions"
LOG: Final = "production.wallet_api_backfill_log"
STATUSES: Final = ("OPEN", "REDEEMABLE_LOST", "CLOSED")
"""What the second version is asked for, in this order."""
CLOSED: Final = "CLOSED"
V1_LIMIT: Final = 500
V1_LAST_OFFSET: Final = 10_000
"""The first version refuses to go further."""
CAPPED: Final = "the wallet has more positions than API version 1 shows"
Version = Literal[1, 2]


class Place(NamedTuple):
    """Where a wallet's reading stands: page number, number of the status, rows a page, the API's cursor (or offset).

    As a cursor of the engine: the four with blanks between.
    """

    page: int
    status: int
    limit: int
    after: str

    def __str__(self) -> str:
        return f"{self.page} {self.status} {self.limit} {self.after}"


class DataApiPositions:
    """The lane of the `data_api_positions` track, for one version of the API."""

    name = NAME

    def __init__(self, version: Version) -> None:
        self._version = version

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        place = self._place(cursor)
        if self._version == 1:
            paging = (("limit", str(place.limit)), ("offset", place.after or "0"))
            return Request("GET", "/positions", (("user", only(unit)), *paging, ("sizeThreshold", "0")), asked=1)
        params = [("user", only(unit)), ("status", STATUSES[place.status]), ("limit", str(place.limit))]
        params += [("filter_amount", "0"), ("include_archived", "true")]
        if place.after:
            params.append(("cursor", place.after))
        return Request("GET", "/v2/positions", tuple(params), asked=1)

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`. With a cursor of the second version the limit is bound."""
        del unit
        place = self._place(cursor)
        if place.limit == 1 or (self._version == 2 and place.after):
            return None
        return str(place._replace(limit=place.limit // 2))

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        place, wallet = self._place(cursor), only(unit).lower()
        reading = Reading(NAME, unit, body)
        if self._version == 1:
            rows = rows_at(NAME, body, document(NAME, body))
            reading.take(rows, lambda row: _first(row, wallet))
            following = self._next_offset(place, len(rows))
        else:
            rows, token = data_api.envelope(NAME, body, place.after)
            closed = STATUSES[place.status] == CLOSED
            reading.take(rows, lambda row: _second(row, wallet, closed=closed))
            following = _next_cursor(place, token)
        capped = following is not None and self._version == 1 and int(following.after) > V1_LAST_OFFSET
        if capped:
            reading.refuse({"user": wallet, "offset": place.after}, "refused", CAPPED)
            following = None
        told = _log(unit, wallet, place.page, self._version, len(rows), following, CAPPED if capped else None)
        return reading.page(int(following is None), str(following) if following else None, {LOG: [told]})

    def envelope(self, _unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        if self._version == 1:
            return Envelope(None, orjson.dumps([row]))
        place = self._place(None)._replace(status=STATUSES.index(CLOSED) if row.get("status") == CLOSED else 0)
        return Envelope(str(place), data_api.alone(row))

    def head(self) -> Request:
        """See `Headed`."""
        return data_api.head() if self._version == 2 else data_api.first_head()

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return data_api.read_head(NAME, body) if self._version == 2 else data_api.read_first_head(NAME, body)

    def _place(self, cursor: str | None) -> Place:
        if cursor is None:
            return Place(0, 0, V1_LIMIT if self._version == 1 else data_api.MOST_ROWS, "")
        page, status, limit, after = cursor.split(" ", 3)
        return Place(int(page), int(status), int(limit), after)

    def _next_offset(self, place: Place, rows: int) -> Place | None:
        """No page says that it is the last: a short one may be, an empty one is."""
        if rows == 0:
            return None
        return place._replace(page=place.page + 1, after=str(int(place.after or 0) + rows))


def _next_cursor(place: Place, token: str | None) -> Place | None:
    if token is not None:
        return place._replace(page=place.page + 1, after=token)
    if place.status + 1 < len(STATUSES):
        return Place(place.page + 1, place.status + 1, data_api.MOST_ROWS, "")
    return None


def _log(
    unit: Unit, wallet: str, page: int, version: Version, rows: int, following: Place | None, fault: str | None
) -> bytes:
    status = "failed" if fault else "done" if following is None else "page"
    row = {"wallet": wallet, "page": page, "api_version": version, "status": status, "rows": rows, "detail": fault}
    return values.line({**row, "unit": unit.number})


def _second(row: Row, wallet: str, *, closed: bool) -> Iterator[Made]:
    """A row of the second version."""
    status = need(values.text, row, "status")
    if need(values.address, row, "proxy_wallet") != wallet or (status == CLOSED) != closed:
        raise Foreign
    token = need(values.token, row, "token_id")
    yield (
        f"{token}/{status}",
        {
            "wallet": wallet,
            "token_id": token,
            "condition_id_norm": need(values.any_condition, row, "condition_id"),
            "outcome_index": values.index(row, "outcome_index"),
            "outcome": values.text(row, "outcome"),
            "status": status,
            "size_micro": need(values.micro, row, "current_size"),
            "total_size_micro": values.micro(row, "total_size"),
            "avg_price": values.decimal(row, "avg_price", 9),
            "entry_cost_micro": values.signed_micro(row, "entry_cost_usdc"),
            "entry_fees_micro": values.signed_micro(row, "entry_fees_usdc"),
            "current_price": values.decimal(row, "current_price", 9),
            "current_value_micro": values.signed_micro(row, "current_value"),
            "realized_pnl_micro": values.signed_micro(row, "realized_pnl"),
            "unrealized_pnl_micro": values.signed_micro(row, "unrealized_pnl"),
            "total_pnl_micro": values.signed_micro(row, "total_pnl"),
            "redeemable": values.flag(row, "redeemable"),
            "mergeable": values.flag(row, "mergeable"),
            "neg_risk": values.flag(row, "negative_risk"),
            "first_entry_at": values.moment(row, "first_entry_at"),
            "last_event_at": values.moment(row, "last_event_at"),
            "api_version": 2,
            "source": data_api.SOURCE,
        },
    )


def _first(row: Row, wallet: str) -> Iterator[Made]:
    """A row of the first version, which says no status; its cash gain is that of what is still held."""
    if need(values.address, row, "proxyWallet") != wallet:
        raise Foreign
    token = need(values.token, row, "asset")
    yield (
        token,
        {
            "wallet": wallet,
            "token_id": token,
            "condition_id_norm": need(values.any_condition, row, "conditionId"),
            "outcome_index": values.index(row, "outcomeIndex"),
            "outcome": values.text(row, "outcome"),
            "size_micro": need(values.micro, row, "size"),
            "total_size_micro": values.micro(row, "totalBought"),
            "avg_price": values.decimal(row, "avgPrice", 9),
            "entry_cost_micro": values.signed_micro(row, "initialValue"),
            "current_price": values.decimal(row, "curPrice", 9),
            "current_value_micro": values.signed_micro(row, "currentValue"),
            "realized_pnl_micro": values.signed_micro(row, "realizedPnl"),
            "unrealized_pnl_micro": values.signed_micro(row, "cashPnl"),
            "redeemable": values.flag(row, "redeemable"),
            "mergeable": values.flag(row, "mergeable"),
            "neg_risk": values.flag(row, "negativeRisk"),
            "api_version": 1,
            "source": data_api.SOURCE,
        },
    )


def _make(config: Config) -> DataApiPositions:
    return DataApiPositions(config.upstreams.data_api.version)


TRACK = Track(NAME, "positions", "data_api", "staging.wallet_positions_v2", "wallets", _make, asides=(LOG,))
