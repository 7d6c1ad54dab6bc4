"""A pair of owner and wallet as a row, whoever reports it: its kind is computed where it can be, not believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from backfill.tracks.create2 import kind_of
from backfill.tracks.reading import Made

TABLE: Final = "staging.pm_user_proxy_wallets_v2"
KINDS: Final = ("proxy", "safe", "deposit", "eoa")
COMPUTED, REPORTED = "create2", "reported"


def pair(owner: str, wallet: str, source: str, *, said: str | None = None, name: str | None = None) -> Iterator[Made]:
    """The row of a pair (addresses 0x, lower case); `said` is the kind that the source names.

    An address that trades for itself is an `eoa`. A pair that CREATE2 gives is proven, and has that kind whatever was
    said; any other has the kind that was said, `unknown` where that is none of ours.
    """
    if owner == wallet:
        kind, evidence = "eoa", REPORTED
    elif (computed := kind_of(owner, wallet)) is not None:
        kind, evidence = computed, COMPUTED
    else:
        kind, evidence = said if said in KINDS and said != "eoa" else "unknown", REPORTED
    yield (
        f"{owner}/{wallet}",
        {
            "user_eoa": owner,
            "proxy_wallet": wallet,
            "wallet_type": kind,
            "evidence": evidence,
            "name": name,
            "source": source,
        },
    )
