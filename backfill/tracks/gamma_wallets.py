"""Wallets from Gamma's public profiles: an owner's address → the wallet that trades, one address a request.

Asked with an owner's address, a profile names another one, the wallet. Asked with the wallet itself, it names what was
asked, which tells nothing of the owner, so there is no pair and no row. A profile does not repeat the question: that
the wallet is the asked owner's is what CREATE2 says, and a profile for which it does not is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.errors import Unreadable
from backfill.tracks import gamma, values
from backfill.tracks.create2 import kind_of
from backfill.tracks.pairs import TABLE, pair
from backfill.tracks.reading import Foreign, Made, Reading, only
from backfill.tracks.rows import document
from backfill.tracks.track import Envelope, Track
from backfill.tracks.values import Row, need

NAME = "gamma_wallets"
SOURCE = "gamma"
NO_PROFILE = "not found"


class GammaWallets:
    """The lane of the `gamma_wallets` track. An address without a profile is answered with 404.

    Here that is an empty body, or the error that came with it.
    """

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        del cursor
        return Request("GET", "/public-profile", (("address", only(unit)),), asked=1)

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
        profile = document(NAME, body)
        if isinstance(profile, dict) and NO_PROFILE in str(profile.get("error", "")).lower():
            return Page((), 1)
        if not isinstance(profile, dict) or "proxyWallet" not in profile:
            raise Unreadable("no profile", raw=body, where=NAME)
        reading = Reading(NAME, unit, body)
        reading.take([profile], lambda row: _pair(row, asked))
        return reading.page(1, None)

    def head(self) -> Request:
        """See `Headed`."""
        return gamma.head()

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return gamma.read_head(NAME, body)

    def envelope(self, _unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        return Envelope(None, orjson.dumps(row))


def _pair(row: Row, asked: str) -> Iterator[Made]:
    wallet = need(values.address, row, "proxyWallet")
    name = values.text(row, "name") or values.text(row, "pseudonym")
    if wallet != asked:
        if kind_of(asked, wallet) is None:
            raise Foreign("names a wallet that is not of the asked address")
        yield from pair(asked, wallet, SOURCE, name=name)


TRACK = Track(NAME, "wallets", "gamma", TABLE, "wallets", lambda _config: GammaWallets())
