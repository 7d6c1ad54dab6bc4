"""What a world consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Upstream = Literal["dome", "goldsky", "data_api", "gamma", "clob", "polygon"]
UPSTREAMS: tuple[Upstream, ...] = ("dome", "goldsky", "data_api", "gamma", "clob", "polygon")
MAPPERS: tuple[Upstream, ...] = ("dome", "goldsky")
"""Those that are asked which market a token belongs to, and lie about it where a profile says so."""


class Mapping(NamedTuple):
    """The truth about one token. `label`, `slug` and `neg_risk` are None where no source has them."""

    condition: str
    """Condition id: 64 hex digits, lower case, without 0x."""
    outcome_index: int
    label: str | None
    slug: str | None
    neg_risk: bool | None


@dataclass(frozen=True, slots=True)
class Market:
    """One market as a listing shows it. Times are unix seconds (UTC), volumes are US dollars."""

    condition: str
    """Condition id: 64 hex digits, lower case, without 0x."""
    tokens: tuple[int, int]
    """Token ids in outcome order."""
    labels: tuple[str, str]
    slug: str
    title: str
    event_slug: str | None
    tags: tuple[str, ...]
    start: int
    end: int | None
    closed_at: int | None
    """When trading ended; None while the market is open."""
    winner: int | None
    """Outcome index that pays 1, None while unresolved (or when it did not resolve to one side)."""
    volume: float
    neg_risk: bool | None
    game_start: int | None = None


class Fill(NamedTuple):
    """One OrderFilled event. Ids and amounts are decimal strings as a subgraph gives them; amounts in micro-units."""

    id: str
    transactionHash: str
    orderHash: str
    timestamp: int
    maker: str
    taker: str
    makerAssetId: str
    takerAssetId: str
    makerAmountFilled: str
    takerAmountFilled: str
    fee: str
