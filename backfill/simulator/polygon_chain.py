"""The chain of a world as a node stores it: logs by block, block times, block hashes.

The ledger names one place for each event. Where the contracts say more about it (the match of a taker's order, the
CTF's own event inside a neg-risk split, the preparation of a condition), those logs stand behind all others of the
block, at indexes of their own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .ids import NEG_RISK_ORACLE, UMA_ORACLE, condition_id, keccak
from .ledger import At, Ledger, Redemption, Resolution, Split
from .model import Market
from .polygon_abi import (
    ADAPTER_POSITIONS,
    ADAPTER_REDEMPTION,
    CONVERSION,
    FILLS,
    INNER_POSITIONS,
    INNER_REDEMPTION,
    MATCHES,
    POSITIONS,
    PREPARATION,
    REDEMPTION,
    RESOLUTION,
    TRANSFERS,
    Kind,
)

EARLY_BLOCK_SECONDS = 2
"""Distance of blocks before the first event."""


class Entry(NamedTuple):
    """A log before it is encoded."""

    at: At
    tx_index: int
    kind: Kind
    event: Any


class Chain:
    """All logs in chain order, and what is known of their blocks."""

    def __init__(self, ledger: Ledger, markets: Sequence[Market]) -> None:
        self.head = ledger.head.block
        neg_risk = {market.condition for market in markets if market.neg_risk}
        plain = sorted(_plain(ledger, neg_risk), key=lambda each: each[0][:2])
        anchors = {at.block: at.timestamp for at, *_ in plain} | {ledger.head.block: ledger.head.timestamp}
        self._anchor_blocks = sorted(anchors)
        self._anchor_times = [anchors[block] for block in self._anchor_blocks]
        more = [*_inner(ledger, neg_risk), *self._preparations(ledger, markets)]
        self.entries = list(_numbered(_placed(plain, more)))
        self._blocks = [entry.at.block for entry in self.entries]
        self.payouts = {each.condition: each for each in ledger.resolutions}
        self.conditions = frozenset(market.condition for market in markets) | frozenset(self.payouts)

    def between(self, first: int, last: int) -> list[Entry]:
        """The logs of blocks first to last, both included."""
        return self.entries[bisect_left(self._blocks, first) : bisect_right(self._blocks, last)]

    def timestamp(self, block: int) -> int:
        """When a block was made (unix seconds): exact where something happened, evenly spread in between."""
        place = bisect_left(self._anchor_blocks, block)
        if place == len(self._anchor_blocks):
            raise ValueError(f"block {block} is above the head, {self.head}")
        high_block, high_time = self._anchor_blocks[place], self._anchor_times[place]
        if place == 0 or high_block == block:
            return high_time - EARLY_BLOCK_SECONDS * (high_block - block)
        low_block, low_time = self._anchor_blocks[place - 1], self._anchor_times[place - 1]
        return low_time + (block - low_block) * (high_time - low_time) // (high_block - low_block)

    def first_at(self, moment: int) -> int:
        """The first block made at `moment` (unix seconds) or later; one above the head when there is none."""
        return bisect_left(range(self.head + 1), moment, key=self.timestamp)

    def block_hash(self, block: int, branch: str = "") -> str:
        """Hash of a block; blocks of another branch have other hashes."""
        return f"0x{keccak(f'block {block} {branch}'.encode()).hex()}"

    def _preparations(self, ledger: Ledger, markets: Sequence[Market]) -> Iterator[tuple[At, Kind, Any]]:
        """The beginnings of conditions, as far as it is known what was asked of which oracle."""
        ended = {each.condition: each for each in ledger.resolutions}
        for market in markets:
            if (made := ended.get(market.condition) or _unresolved(market)) is not None:
                block = min(self.first_at(market.start), made.at.block if market.condition in ended else self.head)
                tx = f"0x{keccak(f'prepared {market.condition}'.encode()).hex()}"
                yield At(block, 0, tx, self.timestamp(block)), PREPARATION, made


def _unresolved(market: Market) -> Resolution | None:
    """The question of a market that has no end yet; None where it is not known."""
    oracle = NEG_RISK_ORACLE if market.neg_risk else UMA_ORACLE
    question = bytes.fromhex((market.question_id or "0x")[2:])
    if not question or condition_id(oracle, question).hex() != market.condition:
        return None
    return Resolution(At(0, 0, "", 0), market.condition, f"0x{oracle.hex()}", f"0x{question.hex()}", (0, 0))


def _plain(ledger: Ledger, neg_risk: set[str]) -> Iterator[tuple[At, Kind, Any]]:
    """Every event of the ledger with the log that it stands for. The wallet's side of neg-risk is the adapter's."""
    for order in ledger.orders:
        yield order.at, FILLS[order.exchange], order
    for split in ledger.splits:
        kinds = ADAPTER_POSITIONS if split.condition in neg_risk else POSITIONS
        yield split.at, kinds[split.merge], split
    for redemption in ledger.redemptions:
        inside = redemption.condition in neg_risk
        yield redemption.at, ADAPTER_REDEMPTION if inside else REDEMPTION, redemption
    for conversion in ledger.conversions:
        yield conversion.at, CONVERSION, conversion
    for transfer in ledger.transfers:
        yield transfer.at, TRANSFERS[transfer.batch], transfer
    for resolution in ledger.resolutions:
        yield resolution.at, RESOLUTION, resolution


def _inner(ledger: Ledger, neg_risk: set[str]) -> Iterator[tuple[At, Kind, Any]]:
    """What contracts say besides, in the transactions of the ledger."""
    for order in ledger.orders:
        if order.taker == order.exchange:
            yield order.at, MATCHES[order.exchange], order
    events: Iterable[Split | Redemption] = (*ledger.splits, *ledger.redemptions)
    for event in events:
        if event.condition in neg_risk:
            kind = INNER_POSITIONS[event.merge] if isinstance(event, Split) else INNER_REDEMPTION
            yield event.at, kind, event


def _placed(plain: list[tuple[At, Kind, Any]], more: list[tuple[At, Kind, Any]]) -> list[tuple[At, Kind, Any]]:
    """All logs in chain order, the further ones behind the highest index of their block."""
    highest: dict[int, int] = {}
    for at, *_ in plain:
        highest[at.block] = max(highest.get(at.block, -1), at.log_index)
    placed = list(plain)
    for at, kind, event in more:
        highest[at.block] = highest.get(at.block, -1) + 1
        placed.append((at._replace(log_index=highest[at.block]), kind, event))
    placed.sort(key=lambda each: each[0][:2])
    return placed


def _numbered(placed: list[tuple[At, Kind, Any]]) -> Iterator[Entry]:
    """Entries with the number of their transaction in its block."""
    block, seen = -1, dict[str, int]()
    for at, kind, event in placed:
        if at.block != block:
            block, seen = at.block, {}
        yield Entry(at, seen.setdefault(at.tx_hash, len(seen)), kind, event)
