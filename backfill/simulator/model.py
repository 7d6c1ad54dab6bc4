"""What a world consists of."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    question_id: str | None = None
    """What the oracle was asked: 0x and 64 hex digits. None where the recording does not say."""
    payouts: tuple[int, int] | None = None
    """Numerators by outcome where the market did not resolve to one side: (1, 1) pays half for each share."""

    @property
    def numerators(self) -> tuple[int, int] | None:
        """What each outcome's shares pay, as a ratio; None while unresolved."""
        if self.winner is None:
            return self.payouts
        return (1, 0) if self.winner == 0 else (0, 1)

    @property
    def neg_risk_market(self) -> str | None:
        """Id of the neg-risk market that this one is a question of: its question id without the number at the end."""
        return f"{self.question_id[:-2]}00" if self.neg_risk and self.question_id else None

    def at(self, moment: int) -> Market:
        """The market as it was known just before a moment (unix seconds): what ended later was still open."""
        if self.closed_at is None or self.closed_at < moment:
            return self
        return replace(self, closed_at=None, winner=None, payouts=None)


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
