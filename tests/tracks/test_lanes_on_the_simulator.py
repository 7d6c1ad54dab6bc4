"""The lanes against the pretend upstreams: what they read is what the world holds, with faults and without."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from math import gcd
from typing import Any

import pytest
from multidict import MultiDict

from backfill.engine.model import Lane, Request, Unit
from backfill.errors import PageTooLarge, Unreadable
from backfill.simulator.clob import Clob
from backfill.simulator.data_api import DataApi
from backfill.simulator.data_api_query import Query
from backfill.simulator.faults import Faults, RequestFault
from backfill.simulator.gamma import Gamma
from backfill.simulator.goldsky import Goldsky
from backfill.simulator.reply import Reply, Wish
from backfill.simulator.world import World
from backfill.tracks.clob_markets import OPEN_END, ClobMarkets
from backfill.tracks.data_api_activity import DataApiActivity
from backfill.tracks.data_api_payouts import DataApiPayouts
from backfill.tracks.data_api_positions import DataApiPositions
from backfill.tracks.gamma_markets import GammaMarkets
from backfill.tracks.gamma_wallets import GammaWallets
from backfill.tracks.goldsky_activity import GoldskyActivity
from backfill.tracks.goldsky_payouts import GoldskyPayouts
from backfill.tracks.goldsky_positions_payouts import GoldskyPositionsPayouts
from backfill.tracks.goldsky_wallets import GoldskyWallets
from tests.tracks.lane_kit import Walked, walk

Ask = Callable[[Request, Wish], Reply]
END = 1_800_000_000
WHOLE = f"1600000000-{END}"
PAYOUT_SUBGRAPHS = ("pnl-subgraph/0.0.14", "positions-subgraph/0.0.7")
CUTS: tuple[RequestFault | None, ...] = (None, "short_page")
TROUBLES: tuple[tuple[RequestFault | None, bool], ...] = (
    *((fault, repeats) for fault in CUTS for repeats in (False, True)),
    ("short_page_unsaid", False),
)
"""A fault of every other answer, and whether the answer before comes again now and then. A last page that was cut, and
then repeated when it is asked for again, is believed: two answers agree."""


@pytest.fixture(scope="module")
def world() -> World:
    """Markets, fills, splits, redemptions, conversions and endings, from a seed."""
    return World.generate(seed=12, traded=600, mapped=0, full=True)


@pytest.fixture(scope="module")
def faults(world: World) -> Faults:
    """No faults but those that a test asks for."""
    return Faults(world)


def query(request: Request) -> MultiDict[str]:
    """The parameters as a server reads them."""
    return MultiDict(request.params)


class Upstream:
    """Answers a lane; every other answer has the fault, and now and then the answer before comes again."""

    def __init__(self, ask: Ask, fault: RequestFault | None, *, repeats: bool = False) -> None:
        self._ask, self._fault, self._repeats = ask, fault, repeats
        self._rng, self._last, self._number = random.Random(7), b"", 0

    def __call__(self, request: Request) -> bytes:
        """The body of an answer."""
        self._number += 1
        if self._repeats and self._last and self._rng.random() < 0.2:
            last, self._last = self._last, b""
            return last
        reply = self._ask(request, Wish(self._fault if self._number % 2 else None, timeout_above=50))
        if reply.status == 503 or b"timed out" in reply.body:
            raise PageTooLarge("the request took too long")
        if reply.status != 200:
            raise Unreadable(f"HTTP {reply.status}", raw=reply.body)
        self._last = reply.body
        return reply.body


def read(lane: Lane, item: str, ask: Ask, fault: RequestFault | None = None, *, repeats: bool = False) -> Walked:
    """Read one item."""
    walked = walk(lane, Unit(0, (item,)), Upstream(ask, fault, repeats=repeats))
    assert all("another" in letter.reason or "asked for" in letter.reason for letter in walked.letters)
    return walked


@pytest.mark.parametrize(("fault", "repeats"), TROUBLES)
def test_gammas_listings_are_all_markets(
    world: World, faults: Faults, fault: RequestFault | None, repeats: bool
) -> None:
    gamma = Gamma(world, faults)
    found: dict[str, dict[str, Any]] = {}
    for item in ("open", "closed"):
        walked = read(GammaMarkets(), item, lambda r, wish: gamma.reply(r.path, query(r), wish), fault, repeats=repeats)
        assert not walked.letters
        found |= {row["condition_id_norm"]: row for row in walked.rows}
    assert found.keys() == {market.condition for market in world.markets}
    for market in world.markets:
        row = found[market.condition]
        assert row["outcomes"] == list(market.labels) and row["market_slug"] == market.slug
        assert row["token_ids"] in ([], [str(token) for token in market.tokens])
        assert row.get("neg_risk", int(bool(market.neg_risk))) == int(bool(market.neg_risk))


@pytest.mark.parametrize("size", [100, 1000])
@pytest.mark.parametrize(("fault", "repeats"), TROUBLES)
def test_the_order_books_listing_is_all_markets(
    world: World, faults: Faults, fault: RequestFault | None, repeats: bool, size: int
) -> None:
    clob = Clob(world, faults, page_size=size)
    found = set()
    for item in ("0-150", f"150-{OPEN_END}"):
        walked = read(
            ClobMarkets(), item, lambda r, wish: clob.reply("GET", r.path, query(r), {}, wish), fault, repeats=repeats
        )
        assert not walked.letters
        found |= {row["condition_id_norm"] for row in walked.rows}
    assert found == {market.condition for market in world.markets}


def payouts_of(world: World) -> dict[str, tuple[list[int], int]]:
    """Endings in lowest terms."""
    found = {}
    for each in world.ledger.resolutions:
        divisor = gcd(*each.numerators)
        found[each.condition] = [n // divisor for n in each.numerators], sum(each.numerators) // divisor
    return found


def payouts_told(
    lane: Lane, ask: Ask, conditions: list[str], size: int, fault: RequestFault | None = None, *, repeats: bool = False
) -> dict[str, tuple[list[int], int]]:
    """What a lane brings of conditions, so many at once."""
    answers, found = Upstream(ask, fault, repeats=repeats), {}
    for start in range(0, len(conditions), size):
        for row in walk(lane, Unit(0, tuple(conditions[start : start + size])), answers).rows:
            found[row["condition_id_norm"]] = row["payout_numerators"], row["payout_denominator"]
    return found


def test_payouts_of_all_sources_agree_with_the_ledger(world: World, faults: Faults) -> None:
    data_api, goldsky, pnl, positions = DataApi(world, faults), Goldsky(world, faults), *PAYOUT_SUBGRAPHS
    told: dict[str, dict[str, tuple[list[int], int]]] = {}
    expected = payouts_of(world)
    conditions = [market.condition for market in world.markets]
    for lane, ask, size in (
        (DataApiPayouts(), api(data_api), 20),
        (GoldskyPayouts(pnl), subgraph(goldsky, pnl), 200),
        (GoldskyPositionsPayouts(positions), subgraph(goldsky, positions), 200),
    ):
        found = payouts_told(lane, ask, conditions, size)
        assert found and found.items() <= expected.items()
        told[lane.name] = found
    assert told["data_api_payouts"] == expected
    assert told["goldsky_positions_payouts"] == told["goldsky_payouts"]
    assert {tuple(vector) for vector, _ in told["goldsky_payouts"].values()} == {(1, 0), (0, 1), (1, 1)}


@pytest.mark.parametrize(("fault", "repeats"), [("query_timeout", False), ("query_timeout", True), (None, True)])
def test_payouts_are_whole_whatever_a_subgraph_does(
    world: World, faults: Faults, fault: RequestFault | None, repeats: bool
) -> None:
    """Pages of conditions shrink, and the answer to another question is not believed."""
    goldsky, conditions = Goldsky(world, faults), [market.condition for market in world.markets]
    pnl, positions = PAYOUT_SUBGRAPHS
    lanes = (
        (GoldskyPayouts(pnl), subgraph(goldsky, pnl)),
        (GoldskyPositionsPayouts(positions), subgraph(goldsky, positions)),
    )
    for lane, ask in lanes:
        calm = payouts_told(lane, ask, conditions, 200)
        assert calm and payouts_told(lane, ask, conditions, 200, fault, repeats=repeats) == calm


def api(data_api: DataApi) -> Ask:
    """The Data API as a function."""
    return lambda request, wish: data_api._answer("GET", request.path, Query(query(request)), wish)


def subgraph(goldsky: Goldsky, name: str) -> Ask:
    """A subgraph as a function."""

    def ask(request: Request, wish: Wish) -> Reply:
        assert request.path == f"/{name}/gn"
        return goldsky.query(name, request.body or b"", wish)

    return ask


@pytest.mark.parametrize("fault", CUTS)
def test_positions_are_what_a_wallet_holds_and_has_held(
    world: World, faults: Faults, fault: RequestFault | None
) -> None:
    data_api = DataApi(world, faults)
    wallets = [wallet for wallet, _ in Counter(order.maker for order in world.ledger.orders).most_common(6)]
    total = 0
    for wallet in wallets:
        walked = read(DataApiPositions(2), wallet, api(data_api), fault, repeats=True)
        truth = walk(DataApiPositions(2), Unit(0, (wallet,)), Upstream(api(data_api), None))
        key = {(row["token_id"], row["status"], row["size_micro"]) for row in walked.rows}
        assert key == {(row["token_id"], row["status"], row["size_micro"]) for row in truth.rows}
        traded = {str(order.token) for order in world.ledger.orders if order.maker == wallet}
        assert traded <= {row["token_id"] for row in walked.rows}
        total += len(key)
    assert total > 20


@pytest.mark.parametrize("fault", CUTS)
def test_the_activity_feed_is_what_the_ledger_has(world: World, faults: Faults, fault: RequestFault | None) -> None:
    data_api, ledger = DataApi(world, faults), world.ledger
    acted = [*(each.stakeholder for each in ledger.splits), *(each.redeemer for each in ledger.redemptions)]
    acted += [each.stakeholder for each in ledger.conversions]
    contracts = {order.exchange for order in ledger.orders}
    read_events = 0
    for wallet, _ in Counter(each for each in acted if each not in contracts).most_common(5):
        walked = read(DataApiActivity(), f"{wallet}@{WHOLE}", api(data_api), fault, repeats=True)
        kinds = Counter((row["kind"], row["tx_hash"]) for row in walked.rows)
        expected = Counter(
            ("merge" if each.merge else "split", each.at.tx_hash)
            for each in ledger.splits
            if each.stakeholder == wallet
        )
        expected += Counter(("redeem", each.at.tx_hash) for each in ledger.redemptions if each.redeemer == wallet)
        expected += Counter(("convert", each.at.tx_hash) for each in ledger.conversions if each.stakeholder == wallet)
        assert kinds == expected
        assert len({row["event_id"] for row in walked.rows}) == len(walked.rows)
        read_events += len(walked.rows)
    assert read_events > 5


@pytest.mark.parametrize("fault", [None, "query_timeout"])
def test_the_activity_subgraph_is_what_the_ledger_has(world: World, faults: Faults, fault: RequestFault | None) -> None:
    goldsky, ledger = Goldsky(world, faults), world.ledger
    ask = subgraph(goldsky, "activity-subgraph/0.0.4")
    walked = read(GoldskyActivity("activity-subgraph/0.0.4"), WHOLE, ask, fault, repeats=True)
    places = [each.at for each in ledger.splits] + [each.at for each in ledger.redemptions]
    everything = {f"{at.tx_hash}_{at.log_index}" for at in places + [each.at for each in ledger.conversions]}
    found = [row["event_id"] for row in walked.rows]
    assert found and len(found) == len(set(found)) and set(found) <= everything
    assert {row["kind"] for row in walked.rows} == {"split", "merge", "redeem", "convert"}


def test_wallets_of_both_sources_are_the_accounts(world: World, faults: Faults) -> None:
    gamma, goldsky = Gamma(world, faults), Goldsky(world, faults)
    pairs = {(each.owner, each.wallet, each.kind) for each in world.ledger.wallets if each.kind != "eoa"}
    unit = Unit(0, tuple(each.wallet for each in world.ledger.wallets)[:400])
    lane = GoldskyWallets("wallet-subgraph/0.0.4")
    rows = walk(lane, unit, Upstream(subgraph(goldsky, "wallet-subgraph/0.0.4"), None)).rows
    kinds = {(row["user_eoa"], row["proxy_wallet"], row["wallet_type"]) for row in rows}
    assert kinds == {pair for pair in pairs if pair[1] in unit.items} and kinds
    assert {row["evidence"] for row in rows} == {"create2"}
    for owner, wallet, kind in sorted(pairs)[:20]:
        (row,) = read(GammaWallets(), owner, lambda r, wish: gamma.reply(r.path, query(r), wish)).rows
        assert (row["proxy_wallet"], row["wallet_type"]) == (wallet, kind)
