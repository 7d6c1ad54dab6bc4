"""Payouts from the chain: how conditions were resolved. This is what all other sources have to agree with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from backfill.tracks import chain_abi as abi
from backfill.tracks.chain_blocks import SOURCE, Admitted, ChainLane, Refuse, Wanted, asking, reason_of
from backfill.tracks.track import Track
from backfill.tracks.values import reduced

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "chain_payouts"


class ChainPayouts(ChainLane):
    """The lane of the `chain_payouts` track. A condition is resolved once and for ever."""

    name = NAME
    wanted = Wanted((abi.CTF,), (abi.TOPICS["condition_resolution"],))

    def rows(self, unit: int, admitted: Sequence[Admitted], refuse: Refuse) -> list[bytes]:
        """See `ChainLane`."""
        lines: list[bytes] = []
        for one in admitted:
            try:
                found = abi.resolution(one.log)
                lowest, total = reduced(found.numerators)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                refuse(one.log, reason_of(error))
                continue
            row = {
                "condition_id_norm": found.condition,
                "payout_numerators": lowest,
                "payout_denominator": total,
                "resolved_at": one.timestamp,
                "source": SOURCE,
                "unit": unit,
            }
            lines.append(orjson.dumps(row))
        return lines


def _make(config: Config) -> ChainPayouts:
    return ChainPayouts(asking(config))


TRACK = Track(NAME, "payouts", "polygon", "staging.payouts_v2", "blocks", _make)
