"""Splits, merges, redemptions and conversions from the chain, each under the wallet that its log names.

Since May 2026 a collateral adapter stands between many wallets and these contracts; then its address is what the log
names, and only the transfers of the same transaction say for whom it acted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from backfill.tracks import chain_abi as abi
from backfill.tracks.chain_blocks import SOURCE, Admitted, ChainLane, Refuse, Wanted, asking, reason_of
from backfill.tracks.track import Track

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "chain_activity"
EVENTS = ("split", "merge", "redemption", "adapter_split", "adapter_merge", "adapter_redemption", "adapter_conversion")


class ChainActivity(ChainLane):
    """The lane of the `chain_activity` track.

    Left out are what a contract did for somebody whom another log names, and what is in other projects' collateral.
    """

    name = NAME
    wanted = Wanted((abi.CTF, abi.ADAPTER), tuple(abi.TOPICS[event] for event in EVENTS))

    def rows(self, unit: int, admitted: Sequence[Admitted], refuse: Refuse) -> list[bytes]:
        """See `ChainLane`."""
        lines: list[bytes] = []
        for one in admitted:
            try:
                event = abi.activity(one.log)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                refuse(one.log, reason_of(error))
                continue
            if not abi.is_inner(event) and not abi.is_foreign(event):
                lines.append(orjson.dumps(_row(event, one.timestamp, unit)))
        return lines


def _row(event: abi.Activity, timestamp: int, unit: int) -> dict[str, object]:
    return {
        "event_id": f"{event.tx}_{event.log_index}",
        "kind": event.kind,
        "wallet": event.wallet,
        "condition_id_norm": event.condition,
        "neg_risk_market_id": event.market_id,
        "index_sets": [str(bits) for bits in event.index_sets],
        "amount_micro": event.amount,
        "amounts_micro": event.amounts,
        "payout_micro": event.payout,
        "question_count": None,
        "timestamp": timestamp,
        "tx_hash": event.tx,
        "log_index": event.log_index,
        "block_number": event.block,
        "source": SOURCE,
        "unit": unit,
    }


def _make(config: Config) -> ChainActivity:
    return ChainActivity(asking(config))


TRACK = Track(NAME, "activity", "polygon", "staging.ctf_activity_v2", "blocks", _make)
