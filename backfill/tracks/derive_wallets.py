"""Wallets that addresses would have if they were owners, computed: candidates, to be kept where they trade."""

from __future__ import annotations

from typing import Final

import orjson

from backfill.engine.model import DeadLetter, Page, Request, Unit
from backfill.errors import Unreadable
from backfill.tracks import batches, create2
from backfill.tracks.pairs import COMPUTED, TABLE
from backfill.tracks.rows import document
from backfill.tracks.track import Track

NAME = "derive_wallets"
SOURCE: Final = "derive"


class DeriveWallets:
    """The lane of the `derive_wallets` track."""

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`. The body goes to `derive`."""
        items = batches.asked(unit, cursor)
        return Request("LOCAL", "wallets", body=orjson.dumps(items), asked=len(items))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        return batches.smaller(unit, cursor)

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        items = batches.asked(unit, cursor)
        answers = document(NAME, body)
        if not isinstance(answers, list) or len(answers) != len(items):
            raise Unreadable(f"expected {len(items)} answers", raw=body, where=NAME)
        lines: list[bytes] = []
        letters: list[DeadLetter] = []
        for owner, found in zip(items, answers, strict=True):
            if found is None:
                letters.append(DeadLetter(NAME, unit.number, "contract", "the item is no address", owner))
            lines += [_line(owner.lower(), kind, wallet, unit.number) for kind, wallet in found or ()]
        return Page(lines, len(set(items)), letters, batches.following(unit, cursor))


def derive(body: bytes) -> bytes:
    """The candidates [kind, wallet] of each address in a JSON list, as a JSON list; null for what is no address.

    Pure, for another process or thread.
    """
    return orjson.dumps([_candidates(item) for item in orjson.loads(body)])


def _candidates(owner: str) -> list[tuple[create2.Kind, str]] | None:
    try:
        return create2.candidates(owner)
    except ValueError:
        return None


def _line(owner: str, kind: str, wallet: str, unit: int) -> bytes:
    row = {
        "user_eoa": owner,
        "proxy_wallet": wallet,
        "wallet_type": kind,
        "evidence": COMPUTED,
        "source": SOURCE,
        "unit": unit,
    }
    return orjson.dumps(row)


TRACK = Track(NAME, "wallets", "local", TABLE, "wallets", lambda _config: DeriveWallets(), compute=derive)
