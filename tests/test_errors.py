"""Errors: one clear line each, and which of several decides the exit code."""

from __future__ import annotations

import itertools

import pytest

from backfill import errors
from backfill.errors import BackfillError, Interrupted, UpstreamUnusable, worst

ONE_OF_EACH: dict[int, BackfillError] = {
    1: BackfillError("a bug"),
    2: errors.ConfigError("wrong"),
    7: errors.TrackHeld("held"),
    6: errors.WarehouseUnusable("gone"),
    3: errors.GateFailed("below"),
    5: UpstreamUnusable("retired", kind="retired"),
    4: errors.Unfinished("some failed"),
}
ORDER = (1, 2, 7, 6, 3, 5, 4)


@pytest.mark.parametrize("pair", list(itertools.permutations(ORDER, 2)), ids=str)
def test_the_worse_of_two_decides_wherever_it_stands(pair: tuple[int, int]) -> None:
    group = BaseExceptionGroup("both", [ONE_OF_EACH[code] for code in pair])
    found = worst(group)
    assert found is not None and found.exit_code == min(pair, key=ORDER.index)


def test_a_signal_comes_before_everything() -> None:
    signal = Interrupted("stopped", exit_code=130)
    nested = BaseExceptionGroup("all", [*ONE_OF_EACH.values(), ExceptionGroup("inner", [signal])])
    assert worst(nested) is signal


def test_one_error_is_its_own_worst_and_foreign_ones_are_nobodys() -> None:
    assert worst(ONE_OF_EACH[6]) is ONE_OF_EACH[6]
    assert worst(ValueError("x")) is None
    assert worst(BaseExceptionGroup("g", [KeyboardInterrupt(), ValueError("x")])) is None
    assert worst(ExceptionGroup("g", [ValueError("x"), ONE_OF_EACH[4]])) is ONE_OF_EACH[4]


def test_the_exit_codes_are_those_of_the_contract() -> None:
    assert {error.exit_code for error in ONE_OF_EACH.values()} == set(ORDER)
    assert errors.StateError("x").exit_code == errors.UsageError("x").exit_code == 2
    assert errors.StoreBusy("x").exit_code == 6


def test_the_text_is_one_line_with_place_and_remedy() -> None:
    assert str(errors.StateError("what", where="where", remedy="do this")) == "where: what (do this)"
    assert str(errors.StateError("what")) == "what"
