"""What the chain of a world holds: every event of its history, with block, log index and transaction.

The ledger is the one truth from which every pretend upstream answers in its own shape and with its own blind spots.
Amounts are integers in micro-units (millionths of a share or of a dollar), times are unix seconds (UTC), ids of
conditions and hashes are lower-case hex: conditions without 0x (as in `Market`), hashes and addresses with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple


class At(NamedTuple):
    """Where and when an event stands. `log_index` counts within its block."""

    block: int
    log_index: int
    tx_hash: str
    timestamp: int


class Order(NamedTuple):
    """One OrderFilled event: `maker` is whose order it was, and `side` is that order's.

    In the row of the taker's own order, `taker` is the exchange. `fee` is in the asset that the maker receives (V1) or
    in collateral (V2).
    """

    at: At
    order_hash: str
    maker: str
    taker: str
    token: int
    side: Literal["BUY", "SELL"]
    shares: int
    usdc: int
    fee: int
    exchange: str
    version: Literal[1, 2]


class Split(NamedTuple):
    """Collateral became one share of each outcome, or (`merge`) the other way round."""

    at: At
    stakeholder: str
    condition: str
    amount: int
    merge: bool


class Redemption(NamedTuple):
    """Shares of a resolved condition became `payout` of collateral; `amounts` by outcome index."""

    at: At
    redeemer: str
    condition: str
    index_sets: tuple[int, ...]
    amounts: tuple[int, ...]
    payout: int


class Conversion(NamedTuple):
    """NO shares of the questions in the bitmap `index_set` became YES shares of the others, and collateral."""

    at: At
    stakeholder: str
    market_id: str
    """Neg-risk market id: 0x and 64 hex digits."""
    index_set: int
    amount: int
    question_count: int


class Transfer(NamedTuple):
    """ERC-1155 movement of the conditional tokens. `batch` tells TransferBatch from TransferSingle."""

    at: At
    operator: str
    sender: str
    receiver: str
    tokens: tuple[int, ...]
    amounts: tuple[int, ...]
    batch: bool


class Resolution(NamedTuple):
    """How a condition ended: numerators by outcome index; (1, 1) is a split payout."""

    at: At
    condition: str
    oracle: str
    question_id: str
    numerators: tuple[int, ...]


class WalletPair(NamedTuple):
    """An account: its owner's key and the wallet that trades. For `eoa` both are the same address."""

    owner: str
    wallet: str
    kind: Literal["proxy", "safe", "eoa"]
    name: str | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """All events, each kind in chain order (block, log index)."""

    orders: Sequence[Order]
    splits: Sequence[Split]
    redemptions: Sequence[Redemption]
    conversions: Sequence[Conversion]
    transfers: Sequence[Transfer]
    resolutions: Sequence[Resolution]
    wallets: Sequence[WalletPair]
    head: At
    """The newest block."""
