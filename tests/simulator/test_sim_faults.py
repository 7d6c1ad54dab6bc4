"""Faults follow from the seed alone, and what is lied about can be known without asking."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from backfill.simulator.faults import PROFILES, Faults, Profile, RequestFault
from backfill.simulator.world import World


def test_the_plan_is_a_function_of_seed_upstream_and_number(world: World) -> None:
    one, two = Faults(world, "rough", seed=4), Faults(world, "rough", seed=4)
    plan = [one.plan("dome", n) for n in range(300)]
    assert plan == [two.plan("dome", n) for n in reversed(range(300))][::-1]
    assert plan != [Faults(world, "rough", seed=5).plan("dome", n) for n in range(300)]
    assert plan != [one.plan("goldsky", n) for n in range(300)]


@pytest.mark.parametrize(("profile", "share"), [("none", 0.0), ("mild", 0.03), ("rough", 0.2), ("liar", 0.0)])
def test_profiles_have_their_share_of_faults(world: World, profile: str, share: float) -> None:
    faults = Faults(world, profile)
    hit = sum(faults.plan("goldsky", n) is not None for n in range(4000)) / 4000
    assert hit == pytest.approx(share, abs=0.02)


def test_every_kind_of_fault_can_be_asked_for(world: World) -> None:
    for kind in get_args(RequestFault):
        assert Faults(world, {"rates": {kind: 1.0}}).plan("goldsky", 0) in (kind, "overloaded")


def test_graphql_errors_do_not_happen_at_dome(world: World) -> None:
    kinds = Counter(Faults(world, "rough").plan("dome", n) for n in range(3000))
    assert not {"query_timeout", "store_timeout", "overloaded", "statement_canceled"} & kinds.keys()


def test_no_named_profile_drops_rows_in_a_way_nobody_could_notice(world: World) -> None:
    for name in PROFILES:
        kinds = {Faults(world, name).plan("goldsky", n) for n in range(3000)}
        assert not {"short_page", "short_page_unsaid"} & kinds


@pytest.mark.parametrize("upstream", ["dome", "goldsky"])
def test_lies_are_about_known_tokens_and_the_same_every_time(world: World, upstream: str) -> None:
    faults = Faults(world, "liar", seed=2)
    lies = faults.lied_about(upstream)  # type: ignore[arg-type]
    assert lies == Faults(world, "all", seed=2).lied_about(upstream)  # type: ignore[arg-type]
    assert lies != Faults(world, "liar", seed=3).lied_about(upstream)  # type: ignore[arg-type]
    assert lies.keys() <= world.known_to(upstream)  # type: ignore[arg-type]
    assert {"swapped", "other_condition", "condition_not_hex"} <= set(lies.values())
    assert set(lies) & set(world.unmapped())


def test_a_dome_lie_is_about_both_tokens_of_its_market(world: World) -> None:
    lies = Faults(world, "liar").lied_about("dome")
    for market in world.markets:
        assert lies.get(market.tokens[0]) == lies.get(market.tokens[1])


def test_without_lies_nothing_is_lied_about(world: World) -> None:
    assert Faults(world, "rough").lied_about("dome") == {}


@pytest.mark.parametrize(
    "profile", ["nonsense", {"rates": {"nope": 0.1}}, {"rates": {"late": 1.1}}, {"lies": -1}, {"bad_key": 1}]
)
def test_a_profile_that_makes_no_sense_is_refused(world: World, profile: object) -> None:
    with pytest.raises(ValueError, match=r"fault"):
        Faults(world, profile)  # type: ignore[arg-type]


def test_a_profile_changed_at_run_time_changes_the_lies_too(world: World) -> None:
    faults = Faults(world)
    assert faults.lied_about("dome") == {}
    faults.change(Profile(lies=0.02))
    assert faults.lied_about("dome")
