"""Matches of orders as the exchange makes them, with everything that occurs: mints, merges, equal fills, fees."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from .fills import CENTS
from .model import Market

V2_RATES = {"Crypto": 0.07, "Sports": 0.05, "Politics": 0.04}
V2_RATE = 0.05
"""Share of price times its complement that V2 takers pay for each share, by the market's tag and where it has none."""
Side = Literal["BUY", "SELL"]
Form = Literal["plain", "several", "mint", "merge", "equal", "twice"]
FORMS: tuple[tuple[Form, float], ...] = (
    ("plain", 0.58),
    ("several", 0.15),
    ("mint", 0.10),
    ("merge", 0.07),
    ("equal", 0.05),
    ("twice", 0.05),
)
"""How often each form of match occurs. `several`: two or three makers; `equal`: two fills that differ in nothing but
their order; `twice`: one order filled two times in the transaction."""
BASIS_POINTS = 10_000
V1_FEE_BPS = (0, 0, 0, 0, 0, 0, 0, 200, 1000)
"""Fees that V1 takers were charged; most paid none."""
LARGEST, SIZE_STEP = 50_000, 10_000
"""Sizes are up to so many hundredths of a share."""
FEE_STEP = 10
"""V2 fees have five decimals: ten micro-dollars."""


class Leg(NamedTuple):
    """One order of a match and what it got: `side` is the maker's; amounts and fee in micro-units."""

    order_hash: str
    maker: str
    taker: str
    token: int
    side: Side
    shares: int
    usdc: int
    fee: int


def fee_rate(market: Market) -> float:
    """The rate of V2 fees in a market: takers pay rate · price · (1 - price) dollars for a share."""
    return next((V2_RATES[tag] for tag in market.tags if tag in V2_RATES), V2_RATE)


class Ground(NamedTuple):
    """What a match is about and where it happens."""

    token: int
    sister: int | None
    """The condition's other token, where it may be traded too: a mint or a merge needs both."""
    exchange: str
    fee_rate: float | None
    """V2: share of the uncertainty that takers pay; None for V1, where a fee is in basis points."""


class Players:
    """Who trades: a crowd, and for some matches a certain maker."""

    def __init__(self, rng: random.Random, crowd: Sequence[str]) -> None:
        self._rng = rng
        self._crowd = crowd

    def pick(self) -> str:
        """Anybody."""
        return self._crowd[int(self._rng.random() * len(self._crowd))]


def make_match(
    rng: random.Random, ground: Ground, players: Players, maker: str | None = None, form: Form | None = None
) -> list[Leg]:
    """The legs of one transaction in the order of their logs: the makers' first, the taker's own last."""
    form = form or _draw(rng)
    if form in ("mint", "merge") and ground.sister is None:
        form = "plain"
    makers = [maker or players.pick()] * _legs(rng, form)
    if form == "several":
        makers[1:] = [players.pick() for _ in makers[1:]]
    taker = players.pick()
    buys = form == "mint" or (form != "merge" and rng.random() < 0.5)
    cents = 1 + int(rng.random() * (CENTS - 1))
    sizes = [(1 + int(rng.random() * LARGEST)) * SIZE_STEP for _ in makers]
    if form == "equal":
        sizes = sizes[:1] * len(sizes)
    return _legs_of(rng, ground, form, (makers, taker), buys, cents, sizes)


def _draw(rng: random.Random) -> Form:
    draw = rng.random()
    for form, share in FORMS:
        draw -= share
        if draw < 0:
            return form
    return "plain"


def _legs(rng: random.Random, form: Form) -> int:
    """How many makers' legs a form has."""
    if form == "several":
        return rng.randint(2, 3)
    return 2 if form in ("equal", "twice") else 1


def _legs_of(
    rng: random.Random,
    ground: Ground,
    form: Form,
    people: tuple[list[str], str],
    taker_buys: bool,
    cents: int,
    sizes: list[int],
) -> list[Leg]:
    makers, taker = people
    both = form in ("mint", "merge")
    token = ground.sister if both and ground.sister is not None else ground.token
    side: Side = "BUY" if taker_buys == both else "SELL"
    price = CENTS - cents if both else cents
    orders = [f"0x{rng.randbytes(32).hex()}" for _ in makers]
    if form == "twice":
        orders[1] = orders[0]
    legs = [
        Leg(order, maker, taker, token, side, size, size * price // CENTS, 0)
        for order, maker, size in zip(orders, makers, sizes, strict=True)
    ]
    shares, usdc = sum(sizes), sum(leg.usdc for leg in legs)
    own = Leg(
        order_hash=f"0x{rng.randbytes(32).hex()}",
        maker=taker,
        taker=ground.exchange,
        token=ground.token,
        side="BUY" if taker_buys else "SELL",
        shares=shares,
        usdc=shares - usdc if both else usdc,
        fee=0,
    )
    return [*legs, own._replace(fee=_fee(rng, ground, own))]


def _fee(rng: random.Random, ground: Ground, leg: Leg) -> int:
    """What the taker pays: V1 in shares on a buy and in dollars on a sell, V2 in dollars either way."""
    price = leg.usdc / leg.shares
    if ground.fee_rate is not None:
        return round(leg.shares * ground.fee_rate * price * (1 - price) / FEE_STEP) * FEE_STEP
    bps = rng.choice(V1_FEE_BPS)
    if not bps or not leg.usdc:
        return 0
    dollars = leg.shares * bps * min(price, 1 - price) / BASIS_POINTS
    return int(dollars / price) if leg.side == "BUY" else int(dollars)
