"""Markets made up from a seed, with ids derived as the chain derives them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from .ids import NEG_RISK_ORACLE, UMA_ORACLE, condition_id, token_id
from .model import Market
from .names import words

FIRST_START = 1_672_531_200
"""2023-01-01T00:00:00Z, in unix seconds."""
LAST_START = 1_777_000_000
"""2026-04-24, a few days before the V1 exchange was left."""
CUTOVER = 1_777_374_000
"""2026-04-28T11:00:00Z, in unix seconds: no V1 fill is as late as this."""
SINGLE_SHARE = 0.08
"""Share of the traded tokens whose sister token never traded."""
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Shares:
    """What part of the traded tokens an upstream cannot answer for; disjoint groups."""

    unknown_dome: float
    unknown_goldsky: float
    unknown_both: float


def make_markets(seed: int, traded: int, neg_risk: float) -> tuple[list[Market], list[int]]:
    """Markets such that exactly `traded` of their tokens have traded, and those tokens."""
    rng = random.Random(f"markets:{seed}")
    singles = round(traded * SINGLE_SHARE)
    singles += (traded - singles) % 2
    pairs = (traded - singles) // 2
    alone = [True] * singles + [False] * pairs
    rng.shuffle(alone)
    markets = [_market(rng, number, rng.random() < neg_risk) for number in range(len(alone))]
    tokens: list[int] = []
    for market, single in zip(markets, alone, strict=True):
        tokens.extend(rng.sample(market.tokens, 1) if single else market.tokens)
    return markets, tokens


def _market(rng: random.Random, number: int, neg_risk: bool) -> Market:
    condition = condition_id(NEG_RISK_ORACLE if neg_risk else UMA_ORACLE, rng.randbytes(32))
    text = words(rng, number, neg_risk)
    start = rng.randrange(FIRST_START, LAST_START)
    end = start + rng.randrange(DAY // 24, 180 * DAY)
    closed = end < CUTOVER
    return Market(
        condition=condition.hex(),
        tokens=(token_id(condition, 0, neg_risk), token_id(condition, 1, neg_risk)),
        labels=text.labels,
        slug=text.slug,
        title=text.title,
        event_slug=text.event_slug,
        tags=text.tags,
        start=start,
        end=None if number % 97 == 0 else end,
        closed_at=end if closed else None,
        winner=rng.randrange(2) if closed else None,
        volume=rng.randrange(10**9) / 10**4,
        neg_risk=neg_risk,
        game_start=start + DAY if "Games" in text.tags else None,
    )


def pick_unknown(
    seed: int, markets: list[Market], traded: Iterable[int], shares: Shares
) -> tuple[frozenset[int], frozenset[int]]:
    """Tokens unknown to Dome and to Goldsky. Whole markets are unknown, as an indexer that missed one would have it.

    The groups are drawn until they hold the wanted number of *traded* tokens, never more.
    """
    is_traded = frozenset(traded)
    order = list(range(len(markets)))
    random.Random(f"unknown:{seed}").shuffle(order)
    queue = iter(order)
    groups = [
        _take(queue, markets, is_traded, int(share * len(is_traded)))
        for share in (shares.unknown_dome, shares.unknown_goldsky, shares.unknown_both)
    ]
    return frozenset(groups[0] | groups[2]), frozenset(groups[1] | groups[2])


def _take(queue: Iterable[int], markets: list[Market], traded: frozenset[int], wanted: int) -> set[int]:
    taken: set[int] = set()
    count = 0
    if wanted <= 0:
        return taken
    for number in queue:
        tokens = markets[number].tokens
        size = sum(token in traded for token in tokens)
        if count + size <= wanted:
            taken.update(tokens)
            count += size
        if count == wanted:
            break
    return taken
