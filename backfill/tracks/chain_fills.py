"""Fills from the chain: OrderFilled of both layouts, at the four exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backfill.engine.model import Unit
from backfill.tracks import chain_abi as abi
from backfill.tracks.chain_blocks import SOURCE, Admitted, ChainLane, Refuse, Wanted, asking, reason_of
from backfill.tracks.track import Envelope, Track

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "chain_fills"
PRICE_SCALE = 10**9


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
            lines.append(_line(fill_id, fill, units, rest, one.timestamp, unit))
        return lines

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        raise ValueError("a fill alone does not tell whether it is its order's first in the transaction")


def _line(fill_id: str, fill: abi.Fill, units: int, rest: int, timestamp: int, unit: int) -> bytes:
    """A row as JSON. Nothing in it needs escaping: all text is ours or hex digits."""
    tx, index, block, order_hash, maker, taker, side, token, shares, usdc, fee, asset, _, version = fill
    return (
        f'{{"fill_id":"{fill_id}","token_id":"{token}","maker":"{maker}","taker":"{taker}","side":"{side}",'
        f'"shares_micro":{shares},"usdc_micro":{usdc},"fee_micro":{fee},"fee_asset":"{asset}",'
        f'"price":"{units}.{rest:09d}","timestamp":{timestamp},"tx_hash":"{tx}","order_hash":"{order_hash}",'
        f'"log_index":{index},"block_number":{block},"exchange_version":{version},"source":"{SOURCE}",'
        f'"track":"{NAME}","unit":{unit}}}'
    ).encode()


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


TRACK = Track(NAME, "fills", "polygon", "staging.clob_fills_v2", "blocks", _make, after="goldsky_fills")
