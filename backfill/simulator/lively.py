"""Fills of a full world: trades while markets are open, few in most and very many in some, and bursts.

Rows come in the order in which the exchange emits them, so an order that was filled twice in one transaction has two
rows with one id: a subgraph keeps the later one of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass

from .blocks import block_of, time_of
from .deals import Ground, Leg, Players, make_match
from .fills import EXCHANGE, NEG_RISK_EXCHANGE
from .generate import CUTOVER
from .model import Fill, Market

BURST_MATCHES = 620
"""Matches of one token in one second, of two fills or more each."""
CROWDED_MATCHES = 1_500
"""Further matches of the first of the tokens with a burst."""
MEAN_FILLS = 3.0
"""Fills by token where a world need not be busy."""
TAIL = 1.1
"""Exponent of the heavy tail of fills by token."""
LARGEST_SHARE = 0.05
"""No token has more of all fills than this."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many fills there are: by token on average (heavy-tailed), and how many tokens have a burst."""

    busy: float = 0.0
    bursts: int = 0


def lively_fills(
    seed: int,
    markets: Iterable[Market],
    traded: Sequence[int],
    owners: ReadOnly[int, str],
    crowd: Sequence[str],
    plan: Plan,
) -> list[Fill]:
    """All V1 fills in time order, the rows of a transaction in the order of their logs."""
    rng = random.Random(f"lively:{seed}")
    players = Players(rng, crowd)
    market_of = {token: market for market in markets for token in market.tokens}
    tradable = frozenset(traded)
    grounds = {token: _ground(token, market_of[token], tradable) for token in traded}
    wanted = _counts(rng, traded, plan.busy or MEAN_FILLS)
    found: list[tuple[int, str, list[Leg]]] = []
    for token in traded:
        first, last = _span(market_of[token])
        found.extend(_trades(rng, grounds[token], players, (first, last), wanted[token], owners.get(token)))
    for number, token in enumerate(_burst_tokens(seed, traded, plan.bursts)):
        first, last = _span(market_of[token])
        found.extend(_burst(rng, grounds[token], players, rng.randint(first, last)))
        if number == 0:
            found.extend(_trades(rng, grounds[token], players, (first, last), 2 * CROWDED_MATCHES, None))
    found.sort(key=lambda each: each[:2])
    return [_fill(at, tx, leg) for at, tx, legs in found for leg in legs]


def _burst_tokens(seed: int, traded: Sequence[int], count: int) -> list[int]:
    return random.Random(f"bursts:{seed}").sample(traded, min(count, len(traded)))


def _ground(token: int, market: Market, tradable: frozenset[int]) -> Ground:
    exchange = NEG_RISK_EXCHANGE if market.neg_risk else EXCHANGE
    return Ground(token, sister_of(token, market, tradable), exchange, None)


def sister_of(token: int, market: Market, tradable: frozenset[int]) -> int | None:
    """The other token of a market, where it is among the ones that trade."""
    sister = market.tokens[1 - market.tokens.index(token)]
    return sister if sister in tradable else None


def _span(market: Market) -> tuple[int, int]:
    """First and last block in which V1 trades of a market may stand."""
    last = CUTOVER if market.closed_at is None else min(CUTOVER, market.closed_at)
    return block_of(market.start), max(block_of(market.start), block_of(last - 1))


def _counts(rng: random.Random, traded: Sequence[int], mean: float) -> dict[int, int]:
    """Fills by token: a heavy tail with about this mean."""
    weights = [(1 - rng.random()) ** (-1 / TAIL) for _ in traded]
    total = mean * len(traded)
    scale = total / sum(weights)
    largest = max(10 * mean, LARGEST_SHARE * total)
    return {token: round(min(largest, max(1.0, w * scale))) for token, w in zip(traded, weights, strict=True)}


def _trades(
    rng: random.Random, ground: Ground, players: Players, span: tuple[int, int], wanted: int, owner: str | None
) -> Iterator[tuple[int, str, list[Leg]]]:
    """Matches at times within a span of blocks until there are as many fills as wanted."""
    count = 0
    while count < wanted:
        legs = make_match(rng, ground, players, owner if count == 0 else None, "plain" if wanted < 3 else None)
        count += len(legs)
        yield time_of(rng.randint(*span)), f"0x{rng.randbytes(32).hex()}", legs


def _burst(rng: random.Random, ground: Ground, players: Players, block: int) -> Iterator[tuple[int, str, list[Leg]]]:
    """More fills in one second than a page has rows; one maker has most of them."""
    busiest = players.pick()
    for _ in range(BURST_MATCHES):
        yield time_of(block), f"0x{rng.randbytes(32).hex()}", make_match(rng, ground, players, busiest, "plain")


def _fill(at: int, tx: str, leg: Leg) -> Fill:
    token = str(leg.token)
    buys = leg.side == "BUY"
    gives, receives = (leg.usdc, leg.shares) if buys else (leg.shares, leg.usdc)
    return Fill(
        id=f"{tx}_{leg.order_hash}",
        transactionHash=tx,
        orderHash=leg.order_hash,
        timestamp=at,
        maker=leg.maker,
        taker=leg.taker,
        makerAssetId="0" if buys else token,
        takerAssetId=token if buys else "0",
        makerAmountFilled=str(gives),
        takerAmountFilled=str(receives),
        fee=str(leg.fee),
    )
