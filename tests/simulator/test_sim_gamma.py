"""The pretend Gamma has the real one's manners."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import MultiDict

from backfill.simulator.faults import Faults
from backfill.simulator.gamma import Gamma
from backfill.simulator.gamma_rows import has_tokens, is_old
from backfill.simulator.ids import NEG_RISK_ORACLE, condition_id
from backfill.simulator.model import Market
from backfill.simulator.reply import PLAIN, Reply, Wish
from backfill.simulator.world import World
from tests.simulator.test_sim_data_api_case import kinds, sample

Row = dict[str, Any]


@pytest.fixture(scope="module")
def chronicle() -> World:
    """A full world: ties, neg-risk events, markets that are still open."""
    return World.generate(seed=12, traded=1500, mapped=0, full=True)


@pytest.fixture(scope="module")
def gamma(chronicle: World) -> Gamma:
    """Gamma without faults."""
    return Gamma(chronicle, Faults(chronicle))


def ask(gamma: Gamma, path: str, *query: tuple[str, object], wish: Wish = PLAIN) -> Reply:
    """An answer."""
    return gamma.reply(path, MultiDict([(name, str(value)) for name, value in query]), wish)


def rows(gamma: Gamma, path: str, *query: tuple[str, object], wish: Wish = PLAIN) -> list[Row]:
    """The rows of one page."""
    reply = ask(gamma, path, *query, wish=wish)
    assert reply.status == 200, reply.body
    body = orjson.loads(reply.body)
    return list(body if isinstance(body, list) else body[path.split("/")[1]])


def all_rows(gamma: Gamma, path: str, *query: tuple[str, object], wish: Wish = PLAIN) -> list[Row]:
    """The rows of every page, by following cursors."""
    found: list[Row] = []
    after: list[tuple[str, object]] = []
    while True:
        body = orjson.loads(ask(gamma, path, *query, *after, wish=wish).body)
        found += body[path.split("/")[1]]
        if "next_cursor" not in body:
            return found
        after = [("after_cursor", body["next_cursor"])]


def ids_of(found: list[Row]) -> list[str]:
    """Condition ids of market rows, without 0x."""
    return [row["conditionId"][2:] for row in found]


def test_both_passes_together_are_every_market_once(gamma: Gamma, chronicle: World) -> None:
    closed = all_rows(gamma, "/markets/keyset", ("closed", "true"), ("limit", 100))
    opened = all_rows(gamma, "/markets/keyset", ("limit", 33))
    assert sorted(ids_of(closed) + ids_of(opened)) == sorted(market.condition for market in chronicle.markets)
    assert {row["closed"] for row in closed} == {True} and {row["closed"] for row in opened} == {False}
    assert len(opened) > 10 and len(closed) > 100


def test_a_limit_is_clamped_without_a_word_and_an_offset_refused(gamma: Gamma) -> None:
    assert len(rows(gamma, "/markets/keyset", ("closed", "true"), ("limit", 5000))) == 100
    assert len(rows(gamma, "/markets/keyset", ("closed", "true"))) == 20
    refused = ask(gamma, "/markets/keyset", ("offset", 0))
    said = {"type": "validation error", "error": "offset is not allowed on keyset endpoints"}
    assert (refused.status, orjson.loads(refused.body)) == (422, said)
    for name, value in (("after_cursor", "x"), ("limit", "-1"), ("version", "v3"), ("closed", "perhaps")):
        assert ask(gamma, "/markets/keyset", (name, value)).status == 422
    assert rows(gamma, "/markets/keyset", ("version", "v2")) == []


def test_the_old_list_still_answers_and_says_that_it_should_not(gamma: Gamma, chronicle: World) -> None:
    reply = ask(gamma, "/markets", ("limit", 3), ("offset", 2), ("closed", "true"))
    page = orjson.loads(reply.body)
    assert page == rows(gamma, "/markets/keyset", ("limit", 5), ("closed", "true"))[2:]
    recorded = (sample_headers() or {}).items()
    for name, value in recorded:
        if name in ("deprecation", "sunset", "warning", "cache-control"):
            assert reply.headers[name] == value
    assert reply.headers["deprecation"] == "true"


def sample_headers() -> dict[str, str] | None:
    """The recorded headers of the old list."""
    from tests.simulator.test_sim_data_api_case import SAMPLES

    path = SAMPLES / "gamma" / "markets_offset_deprecation_headers.txt"
    if not path.is_file():
        return None
    lines = (line.partition(": ") for line in path.read_text().splitlines()[1:])
    return {name: value for name, _, value in lines}


def test_filters_repeat_and_narrow_and_closed_hides(gamma: Gamma, chronicle: World) -> None:
    some = [market for market in chronicle.markets if market.closed_at is not None][:60]
    query = [("condition_ids", f"0x{market.condition}") for market in some]
    assert rows(gamma, "/markets/keyset", *query, ("limit", 100)) == [], "closed ones are hidden by default"
    found = rows(gamma, "/markets/keyset", *query, ("limit", 100), ("closed", "true"))
    assert sorted(ids_of(found)) == sorted(market.condition for market in some)
    market = some[0]
    for name, value in (
        ("clob_token_ids", market.tokens[1]),
        ("question_ids", market.question_id),
        ("slug", market.slug),
        ("id", found[0]["id"]),
        ("position_ids", found[0]["positionIds"][1]),
    ):
        single = rows(gamma, "/markets/keyset", (name, value), ("closed", "true"))
        assert len(single) == 1
        if name not in ("id", "position_ids"):
            assert ids_of(single) == [market.condition]
    assert rows(gamma, "/markets/keyset", ("slug", "a"), ("slug", market.slug), ("closed", "true")) != []
    both = [("slug", market.slug), ("clob_token_ids", some[1].tokens[0]), ("closed", "true")]
    assert rows(gamma, "/markets/keyset", *both) == []


def test_ids_are_those_from_which_conditions_derive(gamma: Gamma, chronicle: World) -> None:
    known = {market.condition: market for market in chronicle.markets}
    found = all_rows(gamma, "/markets/keyset", ("closed", "true"), ("limit", 100))
    for row in found:
        market = known[row["conditionId"][2:]]
        oracle = NEG_RISK_ORACLE.hex() if market.neg_risk else row["resolvedBy"][2:]
        derived = condition_id(bytes.fromhex(oracle), bytes.fromhex(row["questionID"][2:]))
        assert derived.hex() == market.condition
        assert json.loads(row["outcomes"]) == list(market.labels)
        if "clobTokenIds" in row:
            assert json.loads(row["clobTokenIds"]) == [str(token) for token in market.tokens]
        if market.neg_risk:
            assert row["negRiskMarketID"] == row["questionID"][:-2] + "00"
            assert row["resolvedBy"].lower()[2:] != NEG_RISK_ORACLE.hex()


def test_the_quirks_are_there(gamma: Gamma, chronicle: World) -> None:
    found = all_rows(gamma, "/markets/keyset", ("closed", "true"), ("limit", 100))
    listing = gamma._facts.listing
    missing = [row for row in found if "clobTokenIds" not in row]
    assert {int(row["id"]) - 500_000 for row in missing} <= {n for n in range(len(listing)) if not has_tokens(n)}
    assert missing, "a market without token ids"
    unsaid = {row["conditionId"][2:] for row in found if "negRisk" not in row}
    assert unsaid == {m.condition for m in chronicle.markets if is_old(m) and not m.neg_risk and m.closed_at}
    prices = {tuple(json.loads(row["outcomePrices"])) for row in found}
    assert {("0.5", "0.5"), ("0", "0"), ("1", "0"), ("0", "1")} <= prices
    assert {row["umaResolutionStatus"] for row in found} >= {"resolved", "proposed"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00", row["closedTime"]) for row in found)
    assert {type(row["volume"]) for row in found} == {str} and {type(row["volumeNum"]) for row in found} == {float}
    assert any("feeSchedule" in row for row in found) and any(row["feeType"] is None for row in found)


def test_half_for_each_side_is_what_the_chain_says(gamma: Gamma, chronicle: World) -> None:
    ties = {r.condition for r in chronicle.ledger.resolutions if r.numerators == (1, 1)}
    assert ties
    for row in rows(gamma, "/markets/keyset", *[("condition_ids", f"0x{c}") for c in ties], ("closed", "true")):
        assert row["outcomePrices"] in ('["0.5", "0.5"]', '["0", "0"]')


def test_fields_have_the_types_that_were_recorded(gamma: Gamma) -> None:
    shape = sample("gamma/shape_gamma__markets.json")["shape"]
    types: dict[str, set[str]] = {}
    for line in shape:
        path, _, kind = line.removeprefix("$[]").rpartition(":")
        types.setdefault(path, set()).add({"array": "list", "null": "NoneType"}.get(kind, kind))
    recorded = [sample(f"gamma/{name}.json") for name in (
        "market_closed_resolved_yes", "market_closed_sports_v1_with_positionIds", "market_legacy_nonbinary",
        "market_btc_updown_5m")]  # fmt: skip
    recorded += sample("gamma/event_negrisk_2_markets.json")[0]["markets"]
    for row in recorded:
        for path, _, kind in (each.rpartition(":") for each in kinds(row)):
            types.setdefault(path, set()).add(kind)
    made = all_rows(gamma, "/markets/keyset", ("closed", "true"), ("limit", 100)) + all_rows(gamma, "/markets/keyset")
    events = "events[]"
    for each in {kind for row in made for kind in kinds(row)}:
        path, _, kind = each.rpartition(":")
        if events not in path:
            assert kind in types.get(path, ()), each


def test_events_hold_their_markets(gamma: Gamma, chronicle: World) -> None:
    closed = all_rows(gamma, "/events/keyset", ("closed", "true"), ("limit", 100))
    opened = all_rows(gamma, "/events/keyset", ("limit", 7))
    markets = [market for event in closed + opened for market in event["markets"]]
    assert sorted(ids_of(markets)) == sorted(m.condition for m in chronicle.markets if m.event_slug is not None)
    assert all("events" not in market for market in markets)
    bare = rows(gamma, "/events/keyset", ("include_markets", "false"), ("closed", "true"))
    assert bare and all("markets" not in event for event in bare)
    large = max(closed, key=lambda event: len(event["markets"]))
    assert large["negRisk"] and len({m["negRiskMarketID"] for m in large["markets"]}) == 1
    known = {each for row in sample("gamma/event_negrisk_2_markets.json") for each in kinds(row)}
    made = {each for each in kinds(large) if "markets[]" not in each}
    assert made <= known


def test_one_market_by_number_or_slug(gamma: Gamma, chronicle: World) -> None:
    row = rows(gamma, "/markets/keyset", ("closed", "true"))[0]
    assert orjson.loads(ask(gamma, f"/markets/{row['id']}").body) == row
    assert orjson.loads(ask(gamma, f"/markets/slug/{row['slug']}").body) == row
    refused = ask(gamma, f"/markets/{row['conditionId']}")
    assert (refused.status, orjson.loads(refused.body)["error"]) == (422, "id is invalid")
    assert ask(gamma, "/markets/1").status == ask(gamma, "/nothing").status == 404


def test_a_profile_is_found_by_either_address(gamma: Gamma, chronicle: World) -> None:
    pairs = [pair for pair in chronicle.ledger.wallets if pair.owner != pair.wallet]
    for pair in pairs[:20]:
        for address in (pair.owner, pair.wallet.upper().replace("0X", "0x")):
            assert orjson.loads(ask(gamma, "/public-profile", ("address", address)).body)["proxyWallet"] == pair.wallet
    named = next(pair for pair in pairs if pair.name)
    row = orjson.loads(ask(gamma, "/public-profile", ("address", named.owner)).body)
    assert kinds(row) == kinds(sample("gamma/public_profile.json"))
    assert row["name"] == named.name
    assert ask(gamma, "/public-profile", ("address", f"0x{7:040x}")).status == 404
    assert ask(gamma, "/public-profile", ("address", "somebody")).status == 422


def test_the_clock_hides_what_is_younger_and_opens_what_closed_later(gamma: Gamma, chronicle: World) -> None:
    moment = sorted(market.start for market in chronicle.markets)[500]
    wish = Wish(before=moment)
    closed = all_rows(gamma, "/markets/keyset", ("closed", "true"), ("limit", 100), wish=wish)
    opened = all_rows(gamma, "/markets/keyset", ("limit", 100), wish=wish)
    begun = [market for market in chronicle.markets if market.start < moment]

    def over(market: Market) -> bool:
        return market.closed_at is not None and market.closed_at < moment

    assert sorted(ids_of(closed)) == sorted(m.condition for m in begun if over(m))
    assert sorted(ids_of(opened)) == sorted(m.condition for m in begun if not over(m))
    assert len(closed) > 10 and len(opened) > 10
    places = {row["conditionId"]: row["id"] for row in all_rows(gamma, "/markets/keyset", ("closed", "true"))}
    assert all(places.get(row["conditionId"], row["id"]) == row["id"] for row in opened), "numbers never change"


def test_a_short_page_has_a_cursor_or_claims_to_be_the_last(gamma: Gamma) -> None:
    query = (("closed", "true"), ("limit", 10))
    whole = rows(gamma, "/markets/keyset", *query)
    said = orjson.loads(ask(gamma, "/markets/keyset", *query, wish=Wish("short_page")).body)
    assert said["markets"] == whole[:5]
    follow = rows(gamma, "/markets/keyset", *query, ("after_cursor", said["next_cursor"]))
    assert follow[:5] == whole[5:]
    unsaid = orjson.loads(ask(gamma, "/markets/keyset", *query, wish=Wish("short_page_unsaid")).body)
    assert unsaid["markets"] == whole[:5] and "next_cursor" not in unsaid


async def test_it_answers_requests_below_its_prefix(gamma: Gamma) -> None:
    async def handle(request: web.Request) -> web.Response:
        reply = await gamma.answer(request)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    app = web.Application()
    app.router.add_route("*", "/gamma/{path:.*}", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        async with session.get(server.make_url("/gamma/markets/keyset?limit=3&closed=true")) as answer:
            assert len((await answer.json(content_type=None))["markets"]) == 3
        async with session.post(server.make_url("/gamma/markets/keyset")) as answer:
            assert answer.status == 405
