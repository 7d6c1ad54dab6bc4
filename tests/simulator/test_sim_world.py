"""A world is deterministic, has the wanted shares, and knows the right answers."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from backfill.simulator.fills import BASELINE_WALLETS, EXCHANGE, NEG_RISK_EXCHANGE
from backfill.simulator.generate import CUTOVER
from backfill.simulator.ids import token_id
from backfill.simulator.model import Fill
from backfill.simulator.real import Real, read_real
from backfill.simulator.world import World


@pytest.fixture(scope="module")
def real(real_folder: Path) -> Real:
    """The recordings, read once: they take seconds."""
    return read_real(real_folder)


def test_the_same_seed_and_size_make_the_same_world(world: World) -> None:
    again = World.generate(seed=7, traded=600, mapped=200)
    assert (again.markets, again.traded, again.mapped) == (world.markets, world.traded, world.mapped)
    assert (again.dome_tokens, again.goldsky_tokens) == (world.dome_tokens, world.goldsky_tokens)
    assert again.fills == world.fills


def test_another_seed_makes_another_world(world: World) -> None:
    other = World.generate(seed=8, traded=600, mapped=200)
    assert set(other.truth).isdisjoint(world.truth)


@pytest.mark.parametrize(("traded", "mapped"), [(1, 0), (2, 1), (7, 7), (101, 35), (600, 200)])
def test_the_counts_are_exactly_as_asked(traded: int, mapped: int) -> None:
    world = World.generate(seed=3, traded=traded, mapped=mapped)
    assert len(world.traded) == len(set(world.traded)) == traded
    assert len(world.mapped) == mapped
    assert world.mapped <= set(world.traded) <= set(world.truth)


def test_more_mapped_than_traded_is_refused() -> None:
    with pytest.raises(ValueError, match="mapped must be between 0 and traded"):
        World.generate(traded=10, mapped=11)


def test_every_token_is_the_one_its_condition_and_outcome_derive(world: World) -> None:
    for token, truth in world.truth.items():
        assert truth.neg_risk is not None
        assert token_id(bytes.fromhex(truth.condition), truth.outcome_index, truth.neg_risk) == token


def test_the_unknown_groups_are_disjoint_and_of_the_wanted_size() -> None:
    world = World.generate(seed=5, traded=1000, mapped=0, unknown_dome=0.05, unknown_goldsky=0.1, unknown_both=0.02)
    traded = set(world.traded)
    dome, goldsky = world.known_to("dome"), world.known_to("goldsky")
    assert len((goldsky - dome) & traded) == 50
    assert len((dome - goldsky) & traded) == 100
    assert len(traded - dome - goldsky) == len(traded - world.reachable()) == 20


@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_run_covers_at_least_97_percent(seed: int) -> None:
    assert World.generate(seed=seed, traded=500, mapped=173).best_coverage() >= 0.97


def test_some_tokens_trade_without_their_sister(world: World) -> None:
    traded = set(world.traded)
    alone = [m for m in world.markets if len(traded.intersection(m.tokens)) == 1]
    assert 0.05 < len(alone) / len(traded) < 0.12


def test_labels_hold_quotes_tabs_backslashes_and_other_scripts(world: World) -> None:
    labels = "".join(label for market in world.markets for label in market.labels)
    assert {'"', "\t", "\\"} <= set(labels)
    assert not labels.isascii()


def test_slugs_are_unique_and_plain(world: World) -> None:
    slugs = [market.slug for market in world.markets]
    assert len(set(slugs)) == len(slugs)
    assert all(re.fullmatch(r"[a-z0-9-]+", slug) for slug in slugs)


def test_every_traded_token_has_one_to_five_fills_and_no_other_token_has_any(world: World) -> None:
    counts: dict[int, int] = {}
    for fill in world.fills:
        token = int(fill.takerAssetId if fill.makerAssetId == "0" else fill.makerAssetId)
        counts[token] = counts.get(token, 0) + 1
    assert set(counts) == set(world.traded)
    assert set(counts.values()) == {1, 2, 3, 4, 5}


def test_fills_are_unique_before_the_cutover_and_at_a_price_below_one(world: World) -> None:
    assert len({fill.id for fill in world.fills}) == len(world.fills)
    for fill in world.fills:
        money, shares = int(fill.makerAmountFilled), int(fill.takerAmountFilled)
        if fill.makerAssetId != "0":
            money, shares = shares, money
        assert 0 < money < shares
        assert fill.timestamp < CUTOVER
        assert fill.id == f"{fill.transactionHash}_{fill.orderHash}"


def test_makers_buy_and_sell_and_taker_rows_name_the_exchange(world: World) -> None:
    assert {fill.makerAssetId == "0" for fill in world.fills} == {True, False}
    takers = {fill.taker for fill in world.fills}
    assert {EXCHANGE, NEG_RISK_EXCHANGE} <= takers


def test_baseline_wallets_trade_many_tokens_and_nearly_all_can_be_mapped(world: World) -> None:
    reachable = world.reachable() | world.mapped
    for wallet in BASELINE_WALLETS:
        tokens = {
            int(fill.takerAssetId if fill.makerAssetId == "0" else fill.makerAssetId)
            for fill in world.fills
            if fill.maker == wallet
        }
        assert len(tokens) >= 60
        assert len(tokens & reachable) / len(tokens) >= 0.95


def test_dumps_say_the_same_in_every_format(world: World, tmp_path: Path) -> None:
    dumps = world.write_dumps(tmp_path / "new", formats=("parquet", "csv", "csv.gz", "jsonl", "jsonl.gz"))
    expected = [tuple(map(str, fill)) for fill in world.fills]
    parquet, plain, packed, lines, packed_lines = dumps.all_fills
    table = pq.read_table(parquet)
    assert table.column_names == list(Fill._fields)
    assert [tuple(map(str, row.values())) for row in table.to_pylist()] == expected
    for text in (plain.read_text(), gzip.decompress(packed.read_bytes()).decode()):
        assert [tuple(row) for row in csv.reader(text.splitlines())][1:] == expected
    for raw in (lines.read_bytes(), gzip.decompress(packed_lines.read_bytes())):
        assert [tuple(orjson.loads(line).values()) for line in raw.splitlines()] == expected


def test_the_token_map_dump_holds_the_mapped_tokens_and_survives_odd_labels(world: World, tmp_path: Path) -> None:
    dumps = world.write_dumps(tmp_path)
    with dumps.token_map.open(newline="", encoding="utf-8") as file:
        rows = {int(row["token_id"]): row for row in csv.DictReader(file)}
    assert set(rows) == world.mapped
    for token, row in rows.items():
        truth = world.truth[token]
        assert row["condition_id"] == f"0x{truth.condition}"
        assert (int(row["outcome_index"]), row["outcome"], row["market_slug"]) == (
            truth.outcome_index,
            truth.label,
            truth.slug,
        )


@pytest.mark.slow
def test_recorded_answers_make_a_world_whose_ids_prove_themselves(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backfill.simulator.world.read_real", lambda _folder: real)
    world = World.from_real("folder", mapped=1000)
    assert len(world.mapped) == 1000
    assert len(world.traded) == len(world.truth) > 100_000
    assert world.reachable() == set(world.truth)
    assert world.known_to("dome") - world.known_to("goldsky")
    assert world.known_to("goldsky") - world.known_to("dome")
    both = sorted(world.known_to("dome") & world.known_to("goldsky"))
    for token in both[:: len(both) // 300]:
        truth = world.truth[token]
        assert truth.neg_risk is not None
        assert token_id(bytes.fromhex(truth.condition), truth.outcome_index, truth.neg_risk) == token
    assert all(world.truth[token].label for token in world.known_to("dome"))


@pytest.mark.slow
def test_a_part_of_the_recorded_answers_can_be_the_traded_ones(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backfill.simulator.world.read_real", lambda _folder: real)
    world = World.from_real("folder", traded=500, mapped=100)
    assert (len(world.traded), len(world.mapped)) == (500, 100)
    assert len(world.fills) >= 500
