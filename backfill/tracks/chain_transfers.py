"""Movements of outcome tokens from the chain: TransferSingle, and TransferBatch taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backfill.tracks import chain_abi as abi
from backfill.tracks.chain_blocks import SOURCE, Admitted, ChainLane, Refuse, Wanted, asking, reason_of
from backfill.tracks.track import Track

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "chain_transfers"
LINE = (
    '{"block_number":%d,"log_index":%d,"batch_index":%d,"tx_hash":"%s","timestamp":%d,"operator":"%s",'
    '"from_address":"%s","to_address":"%s","token_id":"%d","amount_micro":"%d","source":"' + SOURCE + '","unit":%d}'
)


class ChainTransfers(ChainLane):
    """The lane of the `chain_transfers` track. Ids and amounts have 256 bits, so both are text."""

    name = NAME
    wanted = Wanted((abi.CTF,), (abi.TOPICS["transfer_single"], abi.TOPICS["transfer_batch"]))

    def rows(self, unit: int, admitted: Sequence[Admitted], refuse: Refuse) -> list[bytes]:
        """See `ChainLane`. A batch becomes a row for each of its tokens, in its order."""
        lines: list[bytes] = []
        for one in admitted:
            try:
                moves = abi.transfers(one.log)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                refuse(one.log, reason_of(error))
                continue
            lines.extend(
                (
                    LINE
                    % (
                        move.block, move.log_index, move.batch_index, move.tx, one.timestamp, move.operator,
                        move.sender, move.receiver, move.token_id, move.amount, unit,
                    )
                ).encode()
                for move in moves
            )  # fmt: skip
        return lines


def _make(config: Config) -> ChainTransfers:
    return ChainTransfers(asking(config))


TRACK = Track(NAME, "transfers", "polygon", "staging.erc1155_transfers_v2", "blocks", _make)
