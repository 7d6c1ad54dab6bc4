"""Small made-up chains, and a client that takes a chain lane through a unit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import orjson

from backfill.config import Polygon as PolygonConfig
from backfill.engine.model import DeadLetter, Unit
from backfill.errors import PageTooLarge
from backfill.simulator.ids import NEG_RISK_ORACLE, UMA_ORACLE, condition_id, token_id
from backfill.simulator.ledger import (
    At,
    Conversion,
    Ledger,
    Order,
    Redemption,
    Resolution,
    Split,
    Transfer,
)
from backfill.simulator.model import Market
from backfill.simulator.polygon import Polygon
from backfill.simulator.polygon_abi import EXCHANGES
from backfill.simulator.reply import PLAIN, Wish
from backfill.sources.polygon import PolygonSource
from backfill.sources.source import Answer
from backfill.tracks.chain_blocks import ChainLane

FIRST_BLOCK, FIRST_TIME = 85_000_000, 1_775_200_000


class TinyWorld(NamedTuple):
    """What a node wants of a world."""

    ledger: Ledger
    markets: Sequence[Market]


def market(rng: random.Random, neg_risk: bool) -> tuple[Market, str]:
    """A market and the id of its question."""
    question = rng.randbytes(32)
    condition = condition_id(NEG_RISK_ORACLE if neg_risk else UMA_ORACLE, question)
    tokens = (token_id(condition, 0, neg_risk), token_id(condition, 1, neg_risk))
    made = Market(
        condition.hex(), tokens, ("Yes", "No"), "s", "t", None, (), FIRST_TIME + 10, None, None, None, 1.0, neg_risk,
        question_id=f"0x{question.hex()}",
    )  # fmt: skip
    return made, f"0x{question.hex()}"


def address(rng: random.Random) -> str:
    """Any wallet."""
    return f"0x{rng.randbytes(20).hex()}"


def tiny(seed: int, blocks: int = 40, events: int = 120) -> TinyWorld:
    """A chain of `blocks` blocks with every kind of event, some blocks full and some empty."""
    return _Maker(seed, blocks, events).world()


class _Maker:
    """Draws events block by block, so that log indexes rise within each."""

    def __init__(self, seed: int, blocks: int, events: int) -> None:
        self.rng = random.Random(seed)
        self.markets = [market(self.rng, neg_risk) for neg_risk in (False, True, False, True)]
        self.ledger = Ledger([], [], [], [], [], [], [], At(FIRST_BLOCK + blocks - 1, 0, "", FIRST_TIME + 2 * blocks))
        self.unresolved = list(self.markets)
        self.places = sorted(self.rng.randrange(blocks) ** 2 // blocks for _ in range(events))
        self.index: dict[int, int] = {}

    def world(self) -> TinyWorld:
        makers = (self.order, self.order, self.order, self.order, self.split, self.redemption, self.conversion)
        for place in self.places:
            self.rng.choice((*makers, self.transfer, self.transfer, self.resolution))(place, f"0x{self.hex(32)}")
        return TinyWorld(self.ledger, [made for made, _ in self.markets])

    def hex(self, length: int) -> str:
        return self.rng.randbytes(length).hex()

    def at(self, place: int, tx: str) -> At:
        self.index[place] = self.index.get(place, -1) + self.rng.randint(1, 3)
        return At(FIRST_BLOCK + place, self.index[place], tx, FIRST_TIME + 2 * place)

    def order(self, place: int, tx: str) -> None:
        """A match: makers' orders and the taker's own; now and then one order is filled twice."""
        exchange, version = self.rng.choice(list(EXCHANGES.items()))
        taker, order_hash = address(self.rng), f"0x{self.hex(32)}"
        token = self.rng.choice(self.rng.choice(self.markets)[0].tokens)
        for n in range(self.rng.randint(1, 3)):
            if not (n and self.rng.random() < 0.5):
                order_hash = f"0x{self.hex(32)}"
            self.fill(
                self.at(place, tx), order_hash, (address(self.rng), taker), token, exchange, 1 if version == 1 else 2
            )
        self.fill(self.at(place, tx), f"0x{self.hex(32)}", (taker, exchange), token, exchange, 1 if version == 1 else 2)

    def fill(
        self, at: At, order_hash: str, sides: tuple[str, str], token: int, exchange: str, version: Literal[1, 2]
    ) -> None:
        shares, side = self.rng.randint(1, 10**9), self.rng.choice(("BUY", "SELL"))
        fee = self.rng.choice((0, 0, shares // 100))
        usdc = shares * self.rng.randint(1, 99) // 100
        row = Order(
            at, order_hash, *sides, token, "BUY" if side == "BUY" else "SELL", shares, usdc, fee, exchange, version
        )
        self.ledger.orders.append(row)  # type: ignore[attr-defined]

    def split(self, place: int, tx: str) -> None:
        made, _ = self.rng.choice(self.markets)
        row = Split(
            self.at(place, tx), address(self.rng), made.condition, self.rng.randint(1, 10**9), self.rng.random() < 0.5
        )
        self.ledger.splits.append(row)  # type: ignore[attr-defined]

    def redemption(self, place: int, tx: str) -> None:
        made, _ = self.rng.choice(self.markets)
        sets = (1, 2) if made.neg_risk else self.rng.choice(((1, 2), (2,)))
        amounts = (self.rng.randint(0, 10**9), self.rng.randint(0, 10**9))
        row = Redemption(
            self.at(place, tx), address(self.rng), made.condition, sets, amounts, self.rng.randint(0, 10**9)
        )
        self.ledger.redemptions.append(row)  # type: ignore[attr-defined]

    def conversion(self, place: int, tx: str) -> None:
        row = Conversion(
            self.at(place, tx), address(self.rng), f"0x{self.hex(31)}00", self.rng.getrandbits(200), 10**6, 5
        )
        self.ledger.conversions.append(row)  # type: ignore[attr-defined]

    def transfer(self, place: int, tx: str) -> None:
        batch = self.rng.random() < 0.5
        count = self.rng.randint(1, 4) if batch else 1
        tokens = tuple(self.rng.getrandbits(256) for _ in range(count))
        amounts = tuple(self.rng.getrandbits(70) for _ in range(count))
        sides = (address(self.rng), address(self.rng), address(self.rng))
        self.ledger.transfers.append(Transfer(self.at(place, tx), *sides, tokens, amounts, batch))  # type: ignore[attr-defined]

    def resolution(self, place: int, tx: str) -> None:
        if self.unresolved:
            made, question = self.unresolved.pop()
            oracle = f"0x{(NEG_RISK_ORACLE if made.neg_risk else UMA_ORACLE).hex()}"
            numerators = self.rng.choice(((1, 0), (0, 1), (1, 1)))
            row = Resolution(self.at(place, tx), made.condition, oracle, question, numerators)
            self.ledger.resolutions.append(row)  # type: ignore[attr-defined]


class Taken(NamedTuple):
    """What came of a unit."""

    rows: list[dict[str, Any]]
    letters: list[DeadLetter]
    requests: int
    settled: int


def take(lane: ChainLane, items: Sequence[str], node: Polygon, wish: Wish = PLAIN, most: int = 5000) -> Taken:
    """Take a unit from its first page to its last, as the pipeline does; errors other than too large pass through."""
    unit, source = Unit(7, tuple(items)), PolygonSource(PolygonConfig())
    taken, requests, settled, cursor = Taken([], [], 0, 0), 0, 0, None
    while requests < most:
        requests += 1
        smaller = lane.smaller(unit, cursor)
        reply = node.ask(lane.request(unit, cursor).body or b"", wish)
        try:
            source.judge(Answer(reply.status, reply.headers, reply.body))
            page = lane.parse(unit, cursor, reply.body)
        except PageTooLarge:
            assert smaller is not None, "one block cannot be less"
            cursor = smaller
            continue
        taken.rows.extend(orjson.loads(line) for line in page.lines)
        taken.letters.extend(page.letters)
        settled += page.asked
        assert page.next is None or page.next != cursor
        if page.next is None:
            return taken._replace(requests=requests, settled=settled)
        cursor = page.next
    raise AssertionError(f"{most} requests were not enough")


def whole(world: TinyWorld) -> str:
    """All blocks that have events, as an item."""
    return f"{FIRST_BLOCK}-{world.ledger.head.block + 1}"
