"""The decisions of verify, pure: thresholds, nothing to judge, shares as text."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.stages import gates
from backfill.stages.gates import Check, Control, Coverage, ProofTally

NAMES = {"0xa": "Anna", "0xb": "Bert"}


def coverage(mapped: int, tokens: int) -> Coverage:
    return Coverage(tokens, mapped, 10, 9, 1000, 999)


@pytest.mark.parametrize(("mapped", "passed"), [(94, False), (95, True), (96, True), (100, True), (0, False)])
def test_coverage_passes_from_its_threshold_on(mapped: int, passed: bool) -> None:
    check = gates.global_coverage(coverage(mapped, 100), 0.95)
    assert check.passed is passed and check.value == mapped / 100 and check.threshold == 0.95


def test_a_share_that_rounds_up_to_its_threshold_does_not_pass() -> None:
    assert gates.global_coverage(coverage(9_499_999, 10_000_000), 0.95).passed is False


def test_without_data_there_is_nothing_to_judge() -> None:
    nothing = [
        gates.global_coverage(coverage(0, 0), 0.95),
        gates.wallet_coverage({}, {}, 0.95),
        gates.wallet_coverage({"0xa": (0, 0)}, NAMES, 0.95),
        gates.resolved_positions(0, {"0xa": 5}, NAMES, 50),
        gates.resolved_positions(9, {}, NAMES, 50),
        gates.proof(ProofTally()),
    ]
    assert [(check.passed, check.value) for check in nothing] == [(None, None)] * 6
    assert gates.verdict(nothing, [], strict=False) is True
    assert gates.verdict(nothing, [], strict=True) is False


def test_the_worst_wallet_decides_and_those_without_fills_are_named() -> None:
    check = gates.wallet_coverage({"0xa": (100, 96), "0xc": (10, 9)}, NAMES, 0.95)
    assert check.passed is False and check.value == 0.9
    assert "Anna 96.00 % of 100" in check.detail and "without fills: Bert" in check.detail


def test_the_wallet_with_the_fewest_resolved_positions_decides() -> None:
    assert gates.resolved_positions(9, {"0xa": 50, "0xb": 51}, NAMES, 50).passed is True
    check = gates.resolved_positions(9, {"0xa": 49, "0xb": 900}, NAMES, 50)
    assert check.passed is False and check.value == 49


@pytest.mark.parametrize(("duplicates", "passed"), [(0, True), (1, False), (10**6, False)])
def test_one_duplicate_is_one_too_many(duplicates: int, passed: bool) -> None:
    assert gates.no_duplicate_tokens(duplicates).passed is passed


@pytest.mark.parametrize(
    ("rows", "passed", "wrong"),
    [
        ([("1", "proven", True), ("2", "unprovable", False)], True, 0),
        ([("1", "proven", True), ("2", "disproven", False)], False, 0),
        ([("1", "proven", False)], False, 1),
        ([("1", "unprovable", True)], False, 1),
        ([("1", "disproven", True)], False, 1),
    ],
)
def test_a_contradicted_row_or_a_wrong_flag_fails_the_proof(
    rows: list[tuple[str, str, bool]], passed: bool, wrong: int
) -> None:
    tally = ProofTally()
    tally.add(rows)
    assert gates.proof(tally).passed is passed and tally.wrong_flags == wrong


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_percentage_is_cut_and_never_flatters(part: int, whole: int) -> None:
    part = min(part, whole)
    text = gates.percent(part, whole)
    told = Fraction(text.removesuffix(" %")) / 100
    assert told <= Fraction(part, whole) < told + Fraction(1, 5000)
    assert (text == "100.00 %") == (part == whole)


def test_no_share_of_nothing() -> None:
    assert gates.percent(0, 0) == "–"


def passing(name: str = "x") -> Check:
    return Check(name, True, 1, 1, "")


def test_a_control_that_was_not_caught_fails_the_run_whatever_the_checks_say() -> None:
    assert gates.verdict([passing()], [Control("planted", True)], strict=True) is True
    assert gates.verdict([passing()], [Control("planted", True), Control("other", False)], strict=False) is False


def test_one_failed_check_fails_the_run() -> None:
    assert gates.verdict([passing(), Check("y", False, 0, 1, "")], [], strict=False) is False


def test_the_document_has_the_keys_of_the_contract() -> None:
    document = gates.document([passing()], [Control("planted", True)], strict=False)
    assert document == {
        "passed": True,
        "checks": [{"name": "x", "passed": True, "value": 1, "threshold": 1, "detail": ""}],
        "controls": [{"name": "planted", "caught": True}],
    }
