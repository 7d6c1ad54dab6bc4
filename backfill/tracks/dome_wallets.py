"""Wallets from Dome: the wallet that trades → its owner, one address a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.errors import Unreadable
from backfill.tracks import values
from backfill.tracks.pairs import TABLE, pair
from backfill.tracks.reading import Foreign, Made, Reading, only
from backfill.tracks.rows import document
from backfill.tracks.track import Envelope, Track
from backfill.tracks.values import Row, need

NAME = "dome_wallets"
SOURCE = "dome"


class DomeWallets:
    """The lane of the `dome_wallets` track. A wallet that Dome does not know gives 404: an empty body here."""

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        del cursor
        return Request("GET", "/polymarket/wallet", (("proxy", only(unit)),), asked=1, absent_ok=True)

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        del unit, cursor
        return None

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        del cursor
        asked = only(unit).lower()
        if not body:
            return Page((), 1)
        answer = document(NAME, body)
        if not isinstance(answer, dict) or "proxy" not in answer:
            raise Unreadable("no wallet", raw=body, where=NAME)
        reading = Reading(NAME, unit, body)
        reading.take([answer], lambda row: _pair(row, asked))
        return reading.page(1, None)

    def envelope(self, _unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        return Envelope(None, orjson.dumps(row))


def _pair(row: Row, asked: str) -> Iterator[Made]:
    wallet = need(values.address, row, "proxy")
    if wallet != asked:
        raise Foreign
    owner = need(values.address, row, "eoa")
    name = values.text(row, "handle") or values.text(row, "pseudonym")
    yield from pair(owner, wallet, SOURCE, said=values.text(row, "wallet_type"), name=name)


TRACK = Track(NAME, "wallets", "dome", TABLE, "wallets", lambda _config: DomeWallets())
