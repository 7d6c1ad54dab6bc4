"""Wallets from the wallet subgraph: addresses → pairs, each asked for as a wallet and as an owner in one request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from backfill.engine.model import Page, Request, Unit
from backfill.errors import PageTooLarge
from backfill.tracks import batches, graph, values
from backfill.tracks.pairs import TABLE, pair
from backfill.tracks.reading import Foreign, Made, Reading
from backfill.tracks.track import Envelope, Track
from backfill.tracks.values import Row, need

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "goldsky_wallets"
SOURCE = "goldsky"
WALLETS, OWNED = "wallets", "owned"
QUERY = (
    "query($ids:[ID!]!,$owners:[String!]!,$n:Int!,$m:Int!){"
    "%s:wallets(first:$n,where:{id_in:$ids}){id signer type} "
    "%s:wallets(first:$m,where:{signer_in:$owners}){id signer type}}"
)


class GoldskyWallets:
    """The lane of the `goldsky_wallets` track; `subgraph` is name/version of the wallet subgraph."""

    name = NAME

    def __init__(self, subgraph: str) -> None:
        self._subgraph = subgraph

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`. An owner may have more than one wallet, so as many are asked for as an answer may hold."""
        addresses = [each.lower() for each in batches.asked(unit, cursor)]
        variables = {"ids": addresses, "owners": addresses, "n": len(addresses), "m": graph.MOST_ROWS}
        return graph.question(self._subgraph, QUERY % _names(unit, cursor), variables, asked=len(addresses))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        return batches.smaller(unit, cursor)

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`.

        Raises:
            PageTooLarge: the owners' list is as full as a list may be, so there may be more.
        """
        items = {each.lower() for each in batches.asked(unit, cursor)}
        wallets, owned = graph.lists(NAME, body, _names(unit, cursor))
        if len(owned) >= graph.MOST_ROWS:
            raise PageTooLarge(f"{len(owned)} wallets of the owners came, and there may be more", where=NAME)
        reading = Reading(NAME, unit, body)
        reading.take([*wallets, *owned], lambda row: _pair(row, items))
        return reading.page(len(items), batches.following(unit, cursor))

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        wallets, owned = _names(unit, None)
        return Envelope(None, graph.answer({wallets: [row], owned: []}))

    def head(self) -> Request:
        """See `Headed`."""
        return graph.head_question(self._subgraph, ())

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return graph.read_head(NAME, body, ())


def _names(unit: Unit, cursor: str | None) -> tuple[str, str]:
    return graph.named(WALLETS, unit, cursor), graph.named(OWNED, unit, cursor)


def _pair(row: Row, asked: set[str]) -> Iterator[Made]:
    wallet, owner = need(values.address, row, "id"), need(values.address, row, "signer")
    if wallet not in asked and owner not in asked:
        raise Foreign
    return pair(owner, wallet, SOURCE, said=values.text(row, "type"))


def _make(config: Config) -> GoldskyWallets:
    return GoldskyWallets(config.upstreams.goldsky.subgraphs.wallet)


TRACK = Track(NAME, "wallets", "goldsky", TABLE, "wallets", _make)
