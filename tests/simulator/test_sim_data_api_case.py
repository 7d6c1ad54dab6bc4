"""A small history made by hand for the tests of the pretend Data API, Gamma and CLOB, and what follows from it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict, MultiDict

from backfill.simulator.data_api import DataApi
from backfill.simulator.data_api_book import Book
from backfill.simulator.data_api_index import Event
from backfill.simulator.faults import Faults
from backfill.simulator.ledger import (
    At,
    Conversion,
    Ledger,
    Order,
    Redemption,
    Resolution,
    Split,
    WalletPair,
)
from backfill.simulator.reply import PLAIN, Reply, Wish
from backfill.simulator.world import World

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples"
EXCHANGE = "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e"
EXCHANGE_V2 = "0xe111180000d2663c0091e4f400237545b87b996b"
FIRST, LAST = 1_690_000_000, 1_790_000_000
"""2023-07-22 and 2026-09-21: the earliest are older than three years at the end."""
WALLETS = [f"0x{number:040x}" for number in range(0xA0, 0xAC)]
OWNERS = [f"0x{number:040x}" for number in range(0xE0, 0xEC)]
BURST = 1_150
"""Trades of the first wallet in one second: more than a page."""


def sample(name: str) -> Any:
    """A recorded answer, by its path under the samples."""
    path = SAMPLES / name
    if not path.is_file():
        pytest.skip(f"SKIPPED LOUDLY: no recorded answer at ../shared/reference/samples/{name}")
    return orjson.loads(path.read_bytes())


@dataclass
class Chain:
    """Puts events one after the other into blocks."""

    rng: random.Random
    orders: list[Order] = field(default_factory=list)
    block: int = 40_000_000
    log: int = 0
    tx: str = ""
    time: int = FIRST

    def next(self, time: int) -> None:
        """A new transaction, in a new block unless the second is the same."""
        if time != self.time:
            self.block, self.log = self.block + (time - self.time) // 2 + 1, 0
        self.time, self.tx = time, f"0x{self.rng.randbytes(32).hex()}"

    def at(self) -> At:
        """The next place in this transaction."""
        self.log += self.rng.randint(1, 3)
        return At(self.block, self.log, self.tx, self.time)

    def order(self, maker: str, taker: str, token: int, side: str, shares: int, usdc: int, fee: int = 0) -> None:
        """One OrderFilled."""
        late = self.time > 1_777_374_000
        exchange = EXCHANGE_V2 if late else EXCHANGE
        found = Order(
            at=self.at(), order_hash=f"0x{self.rng.randbytes(32).hex()}", maker=maker, taker=taker or exchange,
            token=token, side="BUY" if side == "BUY" else "SELL", shares=shares, usdc=usdc, fee=fee,
            exchange=exchange, version=2 if late else 1,
        )  # fmt: skip
        self.orders.append(found)

    def match(self, maker: str, taker: str, tokens: tuple[int, int], cents: int, shares: int, form: int) -> None:
        """A taker against one maker (0), two equal fills (1), or a mint with the sister token (2)."""
        usdc = shares * cents // 100
        if form == 2:
            self.order(maker, taker, tokens[1], "BUY", shares, shares - usdc)
        else:
            self.order(maker, taker, tokens[0], "SELL", shares, usdc)
        if form == 1:
            self.orders[-1] = self.orders[-1]._replace(order_hash=f"0x{self.rng.randbytes(32).hex()}")
            again = self.orders[-1]
            self.orders.append(again._replace(at=self.at()))
        times = 2 if form == 1 else 1
        self.order(taker, "", tokens[0], "BUY", shares * times, usdc * times, fee=usdc // 1000 * 10)


def make_ledger(world: World) -> Ledger:
    """Every kind of event, with a burst, equal rows, dust, both versions of the exchange and three years of time."""
    rng = random.Random("a history for tests")
    chain = Chain(rng)
    markets = world.markets
    burst_at = 1_780_000_000
    times = sorted([rng.randrange(FIRST, LAST) for _ in range(900)] + [burst_at])
    for time in times:
        repeat = BURST if time == burst_at else 1
        for _ in range(repeat):
            chain.next(time)
            maker, taker = (WALLETS[0], WALLETS[1]) if repeat > 1 else rng.sample(WALLETS, 2)
            shares = rng.choice((5_000, 10_000 * rng.randint(1, 900)))
            chain.match(maker, taker, rng.choice(markets[:40]).tokens, rng.randint(1, 99), shares, rng.randrange(3))
    return _finish(world, chain, rng)


def _finish(world: World, chain: Chain, rng: random.Random) -> Ledger:
    splits, redemptions, resolutions, conversions = [], [], [], []
    for number, market in enumerate(world.markets[:40]):
        chain.next(chain.time + 60)
        splits.append(Split(chain.at(), WALLETS[number % 12], market.condition, 7_000_000, merge=number % 3 == 2))
    for number, market in enumerate(each for each in world.markets if each.closed_at is not None):
        if number % 9 == 8:
            continue  # closed, and its outcome not known yet
        chain.next(chain.time + 60)
        numerators = (1, 1) if number % 7 == 3 else ((1, 0) if market.winner == 0 else (0, 1))
        resolutions.append(Resolution(chain.at(), market.condition, EXCHANGE, market.question_id or "", numerators))
        wallet = WALLETS[number % 12]
        paid = (1_000_000 * numerators[0] + 2_000_000 * numerators[1]) // sum(numerators)
        chain.next(chain.time + 60)
        redemptions.append(Redemption(chain.at(), wallet, market.condition, (1, 2), (1_000_000, 2_000_000), paid))
    for number in range(3):
        chain.next(chain.time + 60)
        conversions.append(Conversion(chain.at(), WALLETS[number], f"0x{rng.randbytes(31).hex()}00", 5, 900_000, 4))
    chain.next(chain.time + 60)
    kinds = ("proxy", "safe", "eoa")
    pairs = [
        WalletPair(wallet if n % 3 == 2 else owner, wallet, kinds[n % 3], f"wallet-{n}" if n % 2 else None)  # type: ignore[arg-type]
        for n, (owner, wallet) in enumerate(zip(OWNERS, WALLETS, strict=True))
    ]
    return Ledger(chain.orders, splits, redemptions, conversions, [], resolutions, pairs, chain.at())


def make_world() -> World:
    """A world with that history."""
    world = World.generate(seed=3, traded=150, mapped=0)
    vars(world)["ledger"] = make_ledger(world)
    return world


@dataclass
class Caller:
    """Asks the pretend Data API without a server in between."""

    api: DataApi
    wish: Wish = PLAIN

    def ask(self, path: str, wish: Wish | None = None, **parameters: Any) -> Reply:
        """The answer to a path and its parameters."""
        from backfill.simulator.data_api_query import Query

        raw = MultiDict({name: str(value) for name, value in parameters.items() if value is not None})
        return self.api._answer("GET", path, Query(CIMultiDict(raw)), wish or self.wish)

    def rows(self, path: str, wish: Wish | None = None, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one page."""
        reply = self.ask(path, wish, **parameters)
        assert reply.status == 200, reply.body
        body = orjson.loads(reply.body)
        return list(body if isinstance(body, list) else body["data"])

    def refusal(self, path: str, **parameters: Any) -> tuple[int, str, str]:
        """Status, code and text of a refusal."""
        reply = self.ask(path, **parameters)
        body = orjson.loads(reply.body)
        assert reply.status >= 400, body
        if "code" in body:
            assert reply.headers["x-trace-id"] == body["trace_id"]
        return reply.status, body.get("code", ""), body["error"]

    def all(self, path: str, wish: Wish | None = None, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of every page, by following cursors."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            reply = self.ask(path, wish, cursor=cursor, **parameters)
            assert reply.status == 200, reply.body
            body = orjson.loads(reply.body)
            found += body["data"]
            cursor = body["pagination"]["next_cursor"]
            assert body["pagination"]["has_more"] is (cursor is not None)
            if cursor is None:
                return found


def kinds(value: Any, path: str = "") -> set[str]:
    """Every path of a document with the JSON type that stands there; lists count by their members."""
    if isinstance(value, Mapping):
        found: set[str] = set()
        for name, inner in value.items():
            found |= kinds(inner, f"{path}.{name}")
        return found
    if isinstance(value, list):
        return {f"{path}:list"}.union(*(kinds(inner, f"{path}[]") for inner in value))
    name = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    return {f"{path}:{name}"}


@pytest.fixture(scope="module")
def history() -> World:
    """The world with the small history."""
    return make_world()


@pytest.fixture(scope="module")
def caller(history: World) -> Caller:
    """Asks a Data API of that world."""
    return Caller(DataApi(history, Faults(history)))


def order(side: str, shares: int, usdc: int, fee: int = 0, version: int = 2) -> Order:
    """An order of the first wallet in token 11."""
    at = At(1, 1, "0x1", 1_000)
    return Order(at, "0x2", WALLETS[0], EXCHANGE, 11, side, shares, usdc, fee, EXCHANGE, version)  # type: ignore[arg-type]


def book() -> Book:
    """A book that knows one market."""
    return Book(WALLETS[0], lambda _condition: (11, 12), lambda _conversion: {}, lambda _condition: (1, 0))


def test_a_sale_is_booked_at_the_average_cost_of_what_was_held() -> None:
    held = book().replay([order("BUY", 100, 40), order("BUY", 100, 60), order("SELL", 50, 40)])[11]
    assert (held.shares, held.cost, held.realized, held.bought, held.spent) == (150, 75, 15, 200, 100)


def test_fees_stay_out_of_cost_and_gain_and_a_first_version_buyer_pays_them_in_shares() -> None:
    second = book().replay([order("BUY", 1000, 500, fee=20)])[11]
    first = book().replay([order("BUY", 1000, 500, fee=20, version=1)])[11]
    assert (second.shares, second.cost, second.fees) == (1000, 500, 20)
    assert (first.shares, first.cost, first.fees) == (980, 500, 10)


def test_a_split_buys_both_sides_for_half_and_a_redemption_sells_each_at_its_payout() -> None:
    at = At(1, 1, "0x1", 1_000)
    events: list[Event] = [
        Split(at, WALLETS[0], "c", 1000, merge=False),
        Redemption(at, WALLETS[0], "c", (1, 2), (1000, 1000), 1000),
    ]
    held = book().replay(events)
    assert (held[11].realized, held[12].realized) == (500, -500)
    assert held[11].shares == held[12].shares == 0


def test_more_sold_than_held_makes_no_money_out_of_nothing() -> None:
    held = book().replay([order("BUY", 100, 40), order("SELL", 200, 160)])[11]
    assert (held.shares, held.realized) == (0, 40)
    assert book().replay([order("SELL", 200, 160)])[11].realized == 0


def test_a_conversion_gives_no_shares_and_takes_the_other_yes_shares() -> None:
    at = At(1, 1, "0x1", 1_000)
    pairs = {"a": (1, 2), "b": (3, 4), "c": (5, 6)}
    whole = Book(WALLETS[0], lambda condition: pairs[condition], lambda _c: {0: "a", 1: "b", 2: "c"}, lambda _c: ())
    splits = [Split(at, WALLETS[0], name, 100, merge=False) for name in ("a", "b")]
    held = whole.replay([*splits, Conversion(at, WALLETS[0], "0x" + "0" * 64, 0b011, 100, 3)])
    assert (held[2].shares, held[4].shares, held[5].shares) == (0, 0, 100)
    assert held[2].realized == held[4].realized == 0
    assert held[1].shares == 100, "the YES shares of what was converted stay"
