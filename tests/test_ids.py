"""Ids against published ones, and the judgement of claimed mappings."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill import ids

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Ids as Polymarket published them: an ordinary market and two markets of a neg-risk event.
ORDINARY = "12a0cb60174abc437bf1178367c72d11f069e1a3add20b148fb0ab4279b772b2"
ORDINARY_TOKENS = (
    10715043962341292242163832255523703116280692082153281340642602592290195499485,
    80085489243215790077454313513728486445319747473476157602131800551595373270758,
)
NEG_RISK = "c8f1cf5d4f26e0fd9c8fe89f2a7b3263b902cf14fde7bfccef525753bb492e47"
NEG_RISK_TOKENS = (
    60590045489347122735554346200880179420435533609307820342798544098823516727807,
    76005700027045000587004110133818166617024719626220722682005164003117993034812,
)
OTHER_NEG_RISK = "e39adea057926dc197fe30a441f57a340b2a232d5a687010f78bba9b6e02620f"
OTHER_NEG_RISK_TOKENS = (
    57761428076807364758801249497410455358987881775226117256631754592198558850468,
    64300336035644500626313522990854070672468621241744347587785777226296613235598,
)
# Protocol V2: a combo, a leg of it, and the mirror of a legacy market (both outcomes).
PROTOCOL_V2 = (
    1534162831021071298618460748655302203595635349916686009303552494548086161408,
    559046155902038595262480008230326675380475253950762106083537792221715628032,
    888085889744461279209360413558628407880433504203309182232170602202981728256,
    888085889744461279209360413558628407880433504203309182232170602202981728257,
)
PUBLISHED = [
    (ORDINARY, ids.USDC_E, "USDC.e", ORDINARY_TOKENS),
    (NEG_RISK, ids.WCOL, "WCOL", NEG_RISK_TOKENS),
    (OTHER_NEG_RISK, ids.WCOL, "WCOL", OTHER_NEG_RISK_TOKENS),
]

conditions = st.binary(min_size=32, max_size=32)
indexes = st.integers(0, 255)
collaterals = st.sampled_from([ids.USDC_E, ids.WCOL])


def test_keccak_is_not_the_nist_hash() -> None:
    assert ids.keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@pytest.mark.parametrize(("condition", "collateral", "name", "tokens"), PUBLISHED)
def test_published_ids_are_recomputed(condition: str, collateral: bytes, name: str, tokens: tuple[int, ...]) -> None:
    assert ids.token_ids(condition, collateral) == tokens
    assert ids.token_ids("0x" + condition.upper(), collateral) == tokens
    assert ids.token_ids(bytes.fromhex(condition), collateral) == tokens
    for index, token in enumerate(tokens):
        assert ids.judge(token, condition, index) == ("proven", name)


def test_both_branches_of_the_curve_bit_are_covered() -> None:
    collections = [ids.collection_id(bytes.fromhex(c), i)[0] >> 6 & 1 for c, *_ in PUBLISHED for i in (0, 1)]
    assert set(collections) == {0, 1}


def test_swapped_sides_are_named() -> None:
    assert ids.judge(ORDINARY_TOKENS[1], ORDINARY, 0) == ("disproven", "side swapped: proves outcome 1")
    assert ids.judge(ORDINARY_TOKENS[0], ORDINARY, 200) == ("disproven", "side swapped: proves outcome 0")


def test_another_condition_is_disproven() -> None:
    verdict = ids.judge(ORDINARY_TOKENS[0], NEG_RISK, 0)
    assert verdict == ("disproven", "condition and outcome do not give this token")


@pytest.mark.parametrize("token", PROTOCOL_V2)
def test_protocol_v2_ids_cannot_be_proven(token: int) -> None:
    assert ids.is_protocol_v2(token)
    assert ids.judge(token, ORDINARY, 0).result == "unprovable"
    assert ids.judge(token, "no condition", 0).result == "unprovable"


def test_reserved_bits_and_module_decide_what_is_protocol_v2() -> None:
    token = PROTOCOL_V2[0]
    assert not ids.is_protocol_v2(token | 1 << 40)
    assert not ids.is_protocol_v2(token | 1 << 103)
    assert not ids.is_protocol_v2(token | 1 << 255)
    assert not any(ids.is_protocol_v2(token) for _, _, _, tokens in PUBLISHED for token in tokens)


def test_small_numbers_are_unprovable_and_impossible_ones_disproven() -> None:
    assert ids.judge((1 << 200) - 1, ORDINARY, 0).result == "unprovable"
    assert ids.judge(1 << 200, ORDINARY, 0).result == "disproven"
    for token in (0, -ORDINARY_TOKENS[0], 1 << 256):
        assert ids.judge(token, ORDINARY, 0).result == "disproven"


@pytest.mark.parametrize(
    "condition", ["", "0x", ORDINARY[:-1], ORDINARY + "0", ORDINARY[:-1] + "g", ORDINARY[:-2] + "  "]
)
def test_malformed_conditions_are_disproven(condition: str) -> None:
    assert ids.judge(ORDINARY_TOKENS[0], condition, 0) == ("disproven", "the condition is not 64 hex digits")
    with pytest.raises(ValueError, match="64 hex digits"):
        ids.position_id(condition, 0)


@pytest.mark.parametrize("index", [-1, 256])
def test_impossible_outcomes_are_disproven(index: int) -> None:
    assert "outside 0..255" in ids.judge(ORDINARY_TOKENS[0], ORDINARY, index).detail
    with pytest.raises(ValueError, match=r"0\.\.255"):
        ids.position_id(ORDINARY, index)


@given(conditions, indexes, collaterals)
@settings(max_examples=150)
def test_a_derived_id_is_proven(condition: bytes, index: int, collateral: bytes) -> None:
    token = ids.position_id(condition, index, collateral)
    assert ids.judge(token, condition.hex(), index).result == "proven"


@given(conditions, indexes, indexes, collaterals)
@settings(max_examples=100)
def test_another_index_is_disproven(condition: bytes, index: int, other: int, collateral: bytes) -> None:
    token = ids.position_id(condition, index, collateral)
    expected = "proven" if other == index else "disproven"
    assert ids.judge(token, condition.hex(), other).result == expected


@given(conditions, st.integers(0, 255), indexes, collaterals)
@settings(max_examples=100)
def test_one_wrong_bit_of_the_condition_is_disproven(condition: bytes, bit: int, index: int, collateral: bytes) -> None:
    token = ids.position_id(condition, index, collateral)
    flipped = (int.from_bytes(condition, "big") ^ 1 << bit).to_bytes(32, "big")
    assert ids.judge(token, flipped.hex(), index).result == "disproven"


def test_every_recorded_vector_is_recomputed() -> None:
    path = SHARED / "reference/samples/chain/token_id_vectors.json"
    if not path.is_file():
        pytest.skip(f"RECORDED VECTORS NOT CHECKED: {path} is not here")
    for vector in json.loads(path.read_text())["vectors"]:
        tokens = ids.token_ids(vector["condition_id"], bytes.fromhex(vector["collateral"][2:]))
        assert [str(token) for token in tokens] == vector["token_ids"]


def test_speed_is_told() -> None:
    rows = [(token, condition, index) for condition, *_, tokens in PUBLISHED for index, token in enumerate(tokens)]
    ids.collection_id.cache_clear()
    begin = time.perf_counter()
    verdicts = ids.judge_many((token ^ 1, f"{number:064x}", index) for number in range(200) for token, _, index in rows)
    spent = (time.perf_counter() - begin) / len(verdicts)
    print(f"\na disproven row takes {spent * 1e6:.0f} µs")
