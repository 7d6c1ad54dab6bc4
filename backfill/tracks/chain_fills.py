"""Fills from the chain: OrderFilled of both layouts, at the four exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backfill.tracks import chain_abi as abi
from backfill.tracks.chain_blocks import SOURCE, Admitted, ChainLane, Refuse, Wanted, asking, reason_of
from backfill.tracks.track import Track

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "chain_fills"
PRICE_SCALE = 10**9
LINE = (
    '{"fill_id":"%s","token_id":"%d","maker":"%s","taker":"%s","side":"%s","shares_micro":%d,"usdc_micro":%d,'
    '"fee_micro":%d,"fee_asset":"%s","price":"%d.%09d","timestamp":%d,"tx_hash":"%s","order_hash":"%s","log_index":%d,'
    '"block_number":%d,"exchange_version":%d,"source":"' + SOURCE + '","track":"' + NAME + '","unit":%d}'
)


class ChainFills(ChainLane):
    """The lane of the `chain_fills` track."""

    name = NAME
    wanted = Wanted(abi.EXCHANGES, (abi.TOPICS["order_filled_v1"], abi.TOPICS["order_filled_v2"]))

    def rows(self, unit: int, admitted: Sequence[Admitted], refuse: Refuse) -> list[bytes]:
        """See `ChainLane`. All logs of a transaction stand in one block, so they meet in one page."""
        lines: list[bytes] = []
        seen: set[str] = set()
        for one in admitted:
            try:
                fill = abi.fill(one.log)
                units, rest = _price(fill.usdc, fill.shares)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                refuse(one.log, reason_of(error))
                continue
            fill_id = f"{fill.tx}_{fill.order_hash}"
            if fill_id in seen:
                fill_id = f"{fill_id}_{fill.log_index}"
            else:
                seen.add(fill_id)
            row = (
                fill_id, fill.token_id, fill.maker, fill.taker, fill.side, fill.shares, fill.usdc, fill.fee,
                fill.fee_asset, units, rest, one.timestamp, fill.tx, fill.order_hash, fill.log_index, fill.block,
                fill.version, unit,
            )  # fmt: skip
            lines.append((LINE % row).encode())
        return lines


def _price(usdc: int, shares: int) -> tuple[int, int]:
    """Dollars for a share, and billionths of a dollar behind the point, cut off."""
    if shares == 0:
        raise ValueError("no shares changed hands, so there is no price")
    units, rest = divmod(usdc * PRICE_SCALE // shares, PRICE_SCALE)
    if units >= PRICE_SCALE:
        raise ValueError("the price does not fit nine digits before the point")
    return units, rest


def _make(config: Config) -> ChainFills:
    return ChainFills(asking(config))


TRACK = Track(NAME, "fills", "polygon", "staging.clob_fills_v2", "blocks", _make)
