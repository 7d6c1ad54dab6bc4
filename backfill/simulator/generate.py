"""Markets made up from a seed, with ids derived as the chain derives them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

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
GROUP_SIZE = 8
"""Questions of one neg-risk market at most, in a full world."""
TIE_SHARE = 0.06
"""Share of the closed markets of a full world that pay half for each share."""
LATE_SHARE = 0.6
"""Share of a full world's markets open at the cutover that end afterwards, where their date is before `late`."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What part of the traded tokens an upstream cannot answer for; disjoint groups."""

    unknown_dome: float
    unknown_goldsky: float
    unknown_both: float


def make_markets(seed: int, traded: int, neg_risk: float, late: int | None = None) -> tuple[list[Market], list[int]]:
    """Markets such that exactly `traded` of their tokens have traded, and those tokens.

    With `late` (unix seconds, the end of history) they are those of a full world: questions of neg-risk markets belong
    together, some markets end after the cutover, and some end without a winner.
    """
    rng = random.Random(f"markets:{seed}")
    singles = round(traded * SINGLE_SHARE)
    singles += (traded - singles) % 2
    pairs = (traded - singles) // 2
    alone = [True] * singles + [False] * pairs
    rng.shuffle(alone)
    groups: dict[int, bytes] | None = None if late is None else {}
    markets = [_market(rng, number, rng.random() < neg_risk, groups) for number in range(len(alone))]
    if late is not None:
        markets = _ended(seed, _same_events(markets), late)
    tokens: list[int] = []
    for market, single in zip(markets, alone, strict=True):
        tokens.extend(rng.sample(market.tokens, 1) if single else market.tokens)
    return markets, tokens


def _market(rng: random.Random, number: int, neg_risk: bool, groups: dict[int, bytes] | None) -> Market:
    question = rng.randbytes(32)
    if neg_risk and groups is not None:
        group = groups.setdefault(number // GROUP_SIZE, question[:-1])
        question = group + bytes([number % GROUP_SIZE])
    condition = condition_id(NEG_RISK_ORACLE if neg_risk else UMA_ORACLE, question)
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
        question_id=f"0x{question.hex()}",
    )


def _same_events(markets: list[Market]) -> list[Market]:
    """The questions of one neg-risk market stand in one event, begin and end together, and one of them is true."""
    firsts: dict[str, Market] = {}
    found = []
    for market in markets:
        if market.neg_risk_market is not None:
            first = firsts.setdefault(market.neg_risk_market, market)
            market = replace(market, event_slug=first.event_slug, start=first.start, end=first.end)
            winner = None if first.winner is None else int(market.condition != first.condition)
            market = replace(market, closed_at=first.closed_at, winner=winner)
        found.append(market)
    return found


def _ended(seed: int, markets: list[Market], late: int) -> list[Market]:
    """Ends after the cutover, and ends without a winner; neg-risk markets have neither."""
    rng = random.Random(f"ends:{seed}")
    return [market if market.neg_risk else _end(rng, market, late) for market in markets]


def _end(rng: random.Random, market: Market, late: int) -> Market:
    ends, tied, winner = rng.random() < LATE_SHARE, rng.random() < TIE_SHARE, rng.randrange(2)
    if market.closed_at is None and market.end is not None and CUTOVER < market.end < late and ends:
        market = replace(market, closed_at=market.end, winner=winner)
    if market.winner is not None and tied:
        market = replace(market, winner=None, payouts=(1, 1))
    return market


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
