"""The pretend Dome has the real one's manners."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from multidict import MultiDict

from backfill.simulator.dome import Dome
from backfill.simulator.dome_query import BadRequest
from backfill.simulator.faults import Faults
from backfill.simulator.reply import Wish
from backfill.simulator.world import World


@pytest.fixture(scope="module")
def dome(world: World) -> Dome:
    """Dome without faults."""
    return Dome(world, Faults(world))


def page(dome: Dome, *query: tuple[str, str], wish: Wish | None = None) -> dict[str, Any]:
    """One page of markets."""
    reply = dome.markets(MultiDict(query), wish or Wish())
    return dict(orjson.loads(reply.body))


def asking(tokens: list[int]) -> list[tuple[str, str]]:
    """Query for these tokens."""
    return [("token_id", str(token)) for token in tokens]


def sides(answer: dict[str, Any]) -> dict[int, tuple[str, str, str]]:
    """Token to condition, label and slug, of an answer."""
    return {
        int(row[side]["id"]): (row["condition_id"], row[side]["label"], row["market_slug"])
        for row in answer["markets"]
        for side in ("side_a", "side_b")
    }


def test_a_batch_of_100_tokens_gets_every_known_one_with_the_right_answer(dome: Dome, world: World) -> None:
    tokens = world.traded[:100]
    found = sides(page(dome, *asking(tokens), ("limit", "100")))
    assert set(tokens) & found.keys() == set(tokens) & world.known_to("dome")
    for token, (condition, label, slug) in found.items():
        truth = world.truth[token]
        assert (condition, label, slug) == (f"0x{truth.condition}", truth.label, truth.slug)


def test_side_a_is_outcome_0_and_side_b_outcome_1(dome: Dome, world: World) -> None:
    for row in page(dome, *asking(world.traded[:100]), ("limit", "100"))["markets"]:
        assert world.truth[int(row["side_a"]["id"])].outcome_index == 0
        assert world.truth[int(row["side_b"]["id"])].outcome_index == 1


def test_the_default_limit_of_10_truncates_a_batch_silently(dome: Dome, world: World) -> None:
    answer = page(dome, *asking(world.traded[:60]))
    assert len(answer["markets"]) == answer["pagination"]["limit"] == 10
    assert answer["pagination"]["has_more"] is True
    assert answer["pagination"]["total"] > 10


def test_following_the_cursor_gets_every_market_once(dome: Dome, world: World) -> None:
    query, slugs = asking(world.traded[:60]), []
    answer = page(dome, *query)
    slugs += [row["market_slug"] for row in answer["markets"]]
    while answer["pagination"]["has_more"]:
        answer = page(dome, *query, ("pagination_key", answer["pagination"]["pagination_key"]))
        slugs += [row["market_slug"] for row in answer["markets"]]
    assert len(slugs) == len(set(slugs)) == answer["pagination"]["total"]
    assert "pagination_key" not in answer["pagination"]


def test_101_tokens_are_too_many(dome: Dome, world: World) -> None:
    page(dome, *asking(world.traded[:100]))
    with pytest.raises(BadRequest, match="at most 100"):
        page(dome, *asking(world.traded[:101]))


@pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", ""])
def test_a_limit_outside_1_to_100_is_refused(dome: Dome, limit: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        page(dome, ("limit", limit))
    assert refusal.value.error == "Invalid limit parameter"


@pytest.mark.parametrize(
    "query",
    [
        [("token_id", "0xabc")],
        [("search", "x")],
        [("search", "heat"), ("status", "open")],
        [("status", "both")],
        [("pagination_key", "???")],
        [("min_volume", "much")],
    ],
)
def test_bad_parameters_are_refused(dome: Dome, query: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest):
        page(dome, *query)


def test_an_unknown_token_gets_no_row_and_no_error(dome: Dome, world: World) -> None:
    lost = [token for token in world.traded if token not in world.known_to("dome")]
    answer = page(dome, *asking([*lost, 12345]))
    assert answer["markets"] == []
    assert answer["pagination"] == {"limit": 10, "total": 0, "has_more": False}


def test_filters_narrow_each_other(dome: Dome, world: World) -> None:
    market = next(m for m in world.markets if m.tokens[0] in world.known_to("dome") and m.closed_at)
    by_slug = [("market_slug", market.slug), ("condition_id", f"0x{market.condition}")]
    assert [row["market_slug"] for row in page(dome, *by_slug)["markets"]] == [market.slug]
    assert page(dome, *by_slug, ("status", "open"))["markets"] == []
    assert page(dome, *by_slug, ("min_volume", str(market.volume + 1)))["markets"] == []
    assert page(dome, *by_slug, ("start_time", str(market.start)), ("end_time", str(market.start)))["markets"]


def test_filtered_pages_go_by_volume_and_unfiltered_ones_by_start(dome: Dome) -> None:
    volumes = [row["volume_total"] for row in page(dome, ("status", "closed"), ("limit", "50"))["markets"]]
    starts = [row["start_time"] for row in page(dome, ("limit", "50"))["markets"]]
    assert volumes == sorted(volumes, reverse=True)
    assert starts == sorted(starts, reverse=True)


def test_both_shapes_of_the_winning_side_and_null_occur(dome: Dome) -> None:
    rows = [row for n in ("open", "closed") for row in page(dome, ("status", n), ("limit", "100"))["markets"]]
    assert {type(row["winning_side"]) for row in rows} == {dict, str, type(None)}


def test_a_short_page_says_so_and_the_cursor_leads_to_the_rest(dome: Dome, world: World) -> None:
    query = [*asking(world.traded[:20]), ("limit", "100")]
    whole = page(dome, *query)
    first = page(dome, *query, wish=Wish("short_page"))
    assert len(first["markets"]) < len(whole["markets"])
    assert first["pagination"]["has_more"] is True
    rest = page(dome, *query, ("pagination_key", first["pagination"]["pagination_key"]))
    assert first["markets"] + rest["markets"] == whole["markets"]


def test_an_unsaid_short_page_can_be_told_by_its_total(dome: Dome, world: World) -> None:
    short = page(dome, *asking(world.traded[:20]), ("limit", "100"), wish=Wish("short_page_unsaid"))
    assert short["pagination"]["has_more"] is False
    assert short["pagination"]["total"] > len(short["markets"])


def test_exactly_the_tokens_lied_about_are_answered_wrongly(world: World) -> None:
    faults = Faults(world, {"lies": 0.05})
    lying, honest = Dome(world, faults), Dome(world, Faults(world))
    lies = faults.lied_about("dome")
    for market in world.markets:
        if market.tokens[0] in world.known_to("dome"):
            query = [("condition_id", f"0x{market.condition}")]
            assert (page(lying, *query) != page(honest, *query)) == (market.tokens[0] in lies)


def test_a_stale_dome_does_not_know_what_is_new(dome: Dome, world: World) -> None:
    before = sorted(market.start for market in world.markets)[len(world.markets) // 2]
    rows = page(dome, ("limit", "100"), wish=Wish(before=before))["markets"]
    assert rows
    assert max(row["start_time"] for row in rows) < before
