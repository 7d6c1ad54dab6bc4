"""The lane of payouts from the positions subgraph: decimals become numerators exactly, or are refused."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Page, Request, Unit
from backfill.errors import Unreadable, UpstreamUnusable
from backfill.simulator.subgraphs import DIVISION
from backfill.tracks import catalog, graph
from backfill.tracks.goldsky_payouts import GoldskyPayouts
from backfill.tracks.goldsky_positions_payouts import TRACK, GoldskyPositionsPayouts
from backfill.tracks.track import Headed, Replayable
from tests.tracks.lane_kit import reasons, rows, sample, walk

LANE = GoldskyPositionsPayouts("positions/1")
PNL = GoldskyPayouts("pnl/1")
ONE, TWO, THREE = "ab" * 32, "cd" * 32, "ef" * 32
UNIT = Unit(3, (ONE, f"0x{TWO.upper()}", THREE))


def condition(name: str, payouts: Any) -> dict[str, Any]:
    return {"id": f"0x{name}", "payouts": payouts}


def parse(*found: Any, unit: Unit = UNIT, lane: Any = LANE) -> Page:
    page: Page = lane.parse(unit, None, orjson.dumps({"data": {graph.named("conditions", unit, None): found}}))
    return page


def payout(*texts: str) -> tuple[list[int], int] | None:
    """What becomes of a payout; None when it is refused."""
    page = parse(condition(ONE, list(texts)))
    assert len(page.lines) + len(page.letters) == 1
    if page.letters:
        assert page.letters[0].reason.startswith("field payouts: expected ")
        return None
    (row,) = rows(page)
    return row["payout_numerators"], row["payout_denominator"]


# --- asking


def test_conditions_are_asked_for_with_first_and_their_payouts() -> None:
    request = LANE.request(UNIT, None)
    assert (request.method, request.path, request.asked) == ("POST", "/positions/1/gn", 3)
    document = orjson.loads(request.body or b"")
    assert document["variables"] == {"ids": [f"0x{ONE}", f"0x{TWO}", f"0x{THREE}"], "n": 3}
    assert document["query"].endswith("conditions(first:$n,where:{id_in:$ids}){id payouts}}")


def test_the_track_works_only_when_it_is_named() -> None:
    config = Config()
    assert (TRACK.dataset, TRACK.scope, TRACK.upstream, TRACK.table) == (
        "payouts", "conditions", "goldsky", "staging.payouts_v2",
    )  # fmt: skip
    assert catalog.track(TRACK.name) is TRACK and TRACK.name in catalog.DATASETS["payouts"]
    assert TRACK.name not in catalog.enabled(config, "payouts")
    assert TRACK.make(config).request(UNIT, None).path == "/positions-subgraph/0.0.7/gn"


def test_its_head_is_that_of_its_own_subgraph() -> None:
    lane = TRACK.make(Config())
    assert isinstance(lane, Headed)
    assert lane.head().path == "/positions-subgraph/0.0.7/gn"

    def head(block: int, failed: bool = False) -> bytes:
        meta = {"block": {"number": block, "timestamp": None}, "hasIndexingErrors": failed}
        return orjson.dumps({"data": {"_meta": meta}})

    assert lane.read_head(head(81_265_743)) < lane.read_head(head(87_814_766)) < 1_790_000_000
    with pytest.raises(UpstreamUnusable, match="indexing errors"):
        lane.read_head(head(87_814_766, failed=True))


# --- reading


def test_decimals_become_numerators_in_lowest_terms() -> None:
    assert payout("1", "0") == ([1, 0], 1)
    assert payout("0.5", "0.5") == ([1, 1], 2)
    assert payout("0.54", "0.46") == ([27, 23], 50)
    assert payout("0.125", "0.25", "0.625") == ([1, 2, 5], 8)
    assert payout("0.500000", "0.50") == ([1, 1], 2)
    assert payout("0.0000001", "0.9999999") == ([1, 9_999_999], 10_000_000)
    assert payout("0.3333", "0.6667") is None and payout("0.33", "0.67") == ([33, 67], 100)


def test_the_rows_are_signed_apart_from_those_of_the_pnl_subgraph() -> None:
    (row,) = rows(parse(condition(ONE, ["0", "1"])))
    (other,) = rows(parse({"id": f"0x{ONE}", "payoutNumerators": ["0", "1"], "payoutDenominator": "1"}, lane=PNL))
    assert (row.pop("source"), other.pop("source")) == ("goldsky_positions", "goldsky")
    assert row == other


@pytest.mark.parametrize("unresolved", [None, [], ""])
def test_what_is_unresolved_gives_no_row_and_no_letter(unresolved: Any) -> None:
    page = parse(condition(ONE, unresolved), condition(TWO, ["1", "0"]))
    assert [row["condition_id_norm"] for row in rows(page)] == [TWO]
    assert (page.letters, page.asked) == ((), 3)


THIRDS = [
    ("0.3333333333333333333333333333333333", "0.6666666666666666666666666666666667"),
    ("0.333333333333333333", "0.666666666666666667"),
    ("0.333333", "0.666667"),
    ("0.333", "0.667"),
    ("0.666", "0.334"),
    ("0.333333", "0.333333", "0.333334"),
    ("0.142857", "0.857143"),
    ("0.5", "0.16666666666666666667", "0.33333333333333333333"),
]


@pytest.mark.parametrize("texts", THIRDS)
def test_what_may_have_been_rounded_is_refused_though_it_adds_up(texts: tuple[str, ...]) -> None:
    assert sum(map(Fraction, texts)) == 1
    assert payout(*texts) is None
    (letter,) = parse(condition(ONE, list(texts))).letters
    assert letter.cls == "contract" and "rounded" in letter.reason


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (["0.5", "0.4"], "decimals that add up to exactly 1"),
        (["1", "1"], "decimals that add up to exactly 1"),
        (["0", "0"], "decimals that add up to exactly 1"),
        (["0.3333333333", "0.6666666666"], "an exact decimal, and not what may be 1/3 rounded"),
        (["0.12345678901234567891", "0.87654321098765432109"], "fractions with a denominator within 64 bits"),
        (["-1", "2"], "decimals that are not negative, saw '-1'"),
        (["1e0", "0"], "decimals that are not negative, saw '1e0'"),
        (["1", "NaN"], "decimals that are not negative, saw 'NaN'"),
        (["1", ""], "decimals that are not negative, saw ''"),
        (["1", "٠"], "decimals that are not negative"),
        (["0." + "9" * 79, "0"], "decimals that are not negative"),
        ([0.5, 0.5], "a list of texts"),
        ([1, 0], "a list of texts"),
        (["1", None], "a list of texts"),
        ({"0": "1"}, "a list of texts"),
        ("1,0", "a list of texts"),
    ],
)
def test_drift_is_named_and_the_rest_goes_on(broken: Any, named: str) -> None:
    page = parse(condition(ONE, broken), condition(TWO, ["1", "0"]))
    assert [row["condition_id_norm"] for row in rows(page)] == [TWO]
    (letter,) = page.letters
    assert letter.reason.startswith(f"field payouts: expected {named}"), letter.reason
    assert orjson.loads(letter.raw) == condition(ONE, broken)


def test_an_answer_of_others_is_not_ours() -> None:
    page = parse(condition("12" * 32, ["1", "0"]), condition(ONE, ["1", "0"]))
    assert len(page.lines) == 1 and reasons(page) == ["was not asked for"]
    with pytest.raises(Unreadable, match="another question"):
        parse(condition("12" * 32, ["1", "0"]))
    body = orjson.dumps({"data": {graph.named("conditions", UNIT, None): []}})
    with pytest.raises(Unreadable):
        LANE.parse(UNIT, "0/1", body)


def test_two_answers_for_one_condition_are_a_conflict() -> None:
    page = parse(condition(ONE, ["0.5", "0.5"]), condition(ONE, ["0.50", "0.50"]), condition(ONE, ["0", "1"]))
    assert [row["payout_numerators"] for row in rows(page)] == [[1, 1]]
    assert [letter.cls for letter in page.letters] == ["conflict"]


def test_a_refused_row_can_be_read_alone() -> None:
    assert isinstance(LANE, Replayable)
    unit = Unit(9, (ONE,))
    cursor, body = LANE.envelope(unit, condition(ONE, ["0.54", "0.46"]))
    (row,) = rows(LANE.parse(unit, cursor, body))
    assert (row["payout_numerators"], row["unit"]) == ([27, 23], 9)


def test_ids_come_as_they_were_recorded() -> None:
    """The recorded pages are of the token list: ids of conditions in lower case behind 0x, numbers as texts."""
    found = sample("raw_positions_subgraph_page_000001.json.gz")["positions"]
    conditions = [row["condition"] for row in found]
    assert len(found) == 1000 and all(isinstance(row["outcomeIndex"], str) for row in found)
    unit = Unit(0, tuple(dict.fromkeys(each[2:] for each in conditions)))
    page = parse(*({"id": each, "payouts": ["1", "0"]} for each in dict.fromkeys(conditions)), unit=unit)
    assert [row["condition_id_norm"] for row in rows(page)] == list(unit.items) and not page.letters
    asked = orjson.loads(LANE.request(unit, None).body or b"")["variables"]["ids"]
    assert asked == list(dict.fromkeys(conditions))


# --- whatever comes


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6), st.integers(0, 9), st.integers(0, 9))
def test_what_ends_is_exact_or_refused_and_mostly_exact(weights: list[int], twos: int, fives: int) -> None:
    """Numerators over a denominator that divides a power of ten."""
    total = 2**twos * 5**fives
    numerators = [weight % (total + 1) for weight in weights[:-1]]
    assume(sum(numerators) <= total)
    numerators.append(total - sum(numerators))
    texts = [f"{Decimal(each) / Decimal(total):f}" for each in numerators]
    shares = [Fraction(each, total) for each in numerators]
    found = payout(*texts)
    if found is not None:
        assert [Fraction(each, found[1]) for each in found[0]] == shares and sum(found[0]) == found[1]
    short = max(len(text) for text in texts) <= len("0.99")
    assert found is not None or not short, "what has two decimals or fewer is never taken for a rest"


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.integers(0, 300), min_size=2, max_size=3).filter(any),
    st.integers(8, 34),
    st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_DOWN, ROUND_CEILING]),
    st.booleans(),
)
def test_a_quotient_is_the_numerators_or_nothing(
    numerators: list[int], digits: int, rounding: str, remainder: bool
) -> None:
    """However a division was cut, and also where the last share is what the others leave: never another payout."""
    total = sum(numerators)
    unit = Decimal(1).scaleb(-digits)
    exact = Context(prec=80)
    shares = [(exact.divide(Decimal(each), Decimal(total))).quantize(unit, rounding, exact) for each in numerators]
    if remainder:
        shares[-1] = 1 - exact.create_decimal(sum(shares[:-1]))
    assume(all(share >= 0 for share in shares))
    found = payout(*(f"{share:f}" for share in shares))
    assert found is None or [Fraction(each, found[1]) for each in found[0]] == [
        Fraction(each, total) for each in numerators
    ]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=4).filter(any))
def test_both_subgraphs_tell_the_same_payout_or_this_one_none(numerators: list[int]) -> None:
    total = Decimal(sum(numerators))
    told = [f"{DIVISION.divide(Decimal(each), total).normalize(DIVISION):f}" for each in numerators]
    vector = {"payoutNumerators": [str(each) for each in numerators], "payoutDenominator": str(total)}
    (row,) = rows(parse({"id": f"0x{ONE}", **vector}, lane=PNL))
    ends = all(Fraction(text) == Fraction(each, int(total)) for text, each in zip(told, numerators, strict=True))
    found = payout(*told)
    assert found in (None, (row["payout_numerators"], row["payout_denominator"]))
    if not ends:
        assert found is None


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_every_payout_arrives_however_pages_shrink(size: int, resolved: set[int]) -> None:
    names = [f"{n:064x}" for n in range(size)]

    def reply(request: Request) -> bytes:
        document = orjson.loads(request.body or b"")
        alias = document["query"].partition("{")[2].partition(":")[0]
        asked = [int(each, 16) for each in document["variables"]["ids"]]
        found = [condition(names[n], ["0.5", "0.5"] if n in resolved else None) for n in asked]
        return orjson.dumps({"data": {alias: found}})

    walked = walk(LANE, Unit(0, tuple(names)), reply)
    assert {row["condition_id_norm"] for row in walked.rows} == {names[n] for n in resolved if n < size}
    assert walked.asked == size
