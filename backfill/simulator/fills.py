"""Fills of a world's traded tokens, in the shape of a subgraph's OrderFilled events."""

from __future__ import annotations

import random
from collections.abc import Mapping as ReadOnly
from collections.abc import Sequence

from .generate import CUTOVER
from .model import Fill

BASELINE_WALLETS = (
    "0xcce2b7c71f21e358b8e5e797e586cbc03160d58b",
    "0xeb6f0a13ea8c5a7a0514c25495adbe815c1025f0",
    "0x7f3c8979d0afa00007bae4747d5347122af05613",
    "0xa4b366ad22fc0d06f1e934ff468e8922431a87b8",
)
"""Wallets that trade many tokens, so that a per-wallet coverage means something."""
EXCHANGE = "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e"
NEG_RISK_EXCHANGE = "0xc5d563a36ae78145c45a50134d48a1215220f80a"
WALLET_TOKENS = 80
"""Tokens of a baseline wallet, where the world is large enough."""
FIRST_FILL = 1_704_067_200
"""2024-01-01T00:00:00Z, in unix seconds."""
MAX_ROWS = 5
FEE_ONE_IN = 10
CENTS = 100


def make_fills(
    seed: int, traded: Sequence[int], neg_risk: ReadOnly[int, bool | None], owners: ReadOnly[int, str]
) -> list[Fill]:
    """One to five rows for every traded token, in time order. `owners` names the first maker of some tokens."""
    rng = random.Random(f"fills:{seed}")
    crowd = [f"0x{rng.randbytes(20).hex()}" for _ in range(max(20, len(traded) // 10))]
    rows: list[Fill] = []
    for token in traded:
        exchange = NEG_RISK_EXCHANGE if neg_risk[token] else EXCHANGE
        rows.extend(_token_fills(rng, str(token), exchange, crowd, owners.get(token)))
    rows.sort(key=lambda fill: (fill.timestamp, fill.id))
    return rows


def _token_fills(rng: random.Random, token: str, exchange: str, crowd: Sequence[str], owner: str | None) -> list[Fill]:
    """Matches of one token: a maker's row each, and often the taker's own row, whose taker is the exchange."""
    wanted = rng.randint(1, MAX_ROWS)
    rows: list[Fill] = []
    while len(rows) < wanted:
        maker = owner if owner and not rows else rng.choice(crowd)
        taker = rng.choice(crowd)
        buys = rng.random() < 0.5
        shares = rng.randint(1, 500_000) * 10_000
        money = shares * rng.randint(1, CENTS - 1) // CENTS
        tx, at = f"0x{rng.randbytes(32).hex()}", rng.randrange(FIRST_FILL, CUTOVER)
        rows.append(_row(rng, tx, at, (maker, taker), token, buys, (shares, money)))
        if len(rows) < wanted and rng.random() < 0.6:
            rows.append(_row(rng, tx, at, (taker, exchange), token, not buys, (shares, money)))
    return rows


def _row(
    rng: random.Random, tx: str, at: int, sides: tuple[str, str], token: str, buys: bool, amounts: tuple[int, int]
) -> Fill:
    """One event: a buying maker gives collateral (asset 0) and receives shares, a selling one the other way."""
    order = f"0x{rng.randbytes(32).hex()}"
    shares, money = amounts
    gives, receives = (money, shares) if buys else (shares, money)
    fee = receives // CENTS if rng.randrange(FEE_ONE_IN) == 0 else 0
    return Fill(
        id=f"{tx}_{order}",
        transactionHash=tx,
        orderHash=order,
        timestamp=at,
        maker=sides[0],
        taker=sides[1],
        makerAssetId="0" if buys else token,
        takerAssetId=token if buys else "0",
        makerAmountFilled=str(gives),
        takerAmountFilled=str(receives),
        fee=str(fee),
    )


def assign_owners(
    seed: int, tokens: Sequence[int], unreachable: Sequence[int], wallets: Sequence[str]
) -> dict[int, str]:
    """Which tokens the baseline wallets trade: disjoint sets, each with one token that no upstream knows.

    Drawing the unreachable ones separately keeps a wallet's final coverage above 95 % for every seed.
    """
    rng = random.Random(f"owners:{seed}")
    if not wallets:
        return {}
    each = min(WALLET_TOKENS, len(tokens) // len(wallets))
    drawn = rng.sample(tokens, each * len(wallets))
    owners = {token: wallets[i % len(wallets)] for i, token in enumerate(drawn)}
    if each >= WALLET_TOKENS:
        owners.update(zip(rng.sample(unreachable, min(len(unreachable), len(wallets))), wallets, strict=False))
    return owners
