"""The ledger against a naive model: every unit in exactly one state, every item counted exactly once."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backfill.engine.model import Counters, DeadLetter, Failure, Page
from backfill.engine.progress import Progress

UNITS = 10
UNIT = st.integers(0, UNITS - 1)
LETTER = DeadLetter("t", 0, "contract", "why", "{}")


def page(asked: int, lines: int, letters: int, following: str | None) -> Page:
    return Page((b"{}",) * lines, asked, (LETTER,) * letters, following)


class Ledger(RuleBasedStateMachine):
    """Units advance, fail, move and come back in any order; the file is written and read in between."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress()
        self.state = dict.fromkeys(range(UNITS), "pending")
        self.cursor: dict[int, str] = {}
        self.sums = Counters()
        self.version = 0

    @rule(
        unit=UNIT,
        counts=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)),
        following=st.none() | st.sampled_from(["1/1", "5/5"]),
        repeat=st.booleans(),
    )
    def advance(self, unit: int, counts: tuple[int, int, int], following: str | None, repeat: bool) -> None:
        if self.state[unit] == "moved":
            return
        self.progress.advance(unit, page(*counts, following), repeat=repeat)
        if self.state[unit] == "done":
            return
        self.sums.processed += 0 if repeat else counts[0]
        self.sums.inserted += counts[1]
        self.sums.quarantined += counts[2]
        if following is None:
            self.state[unit] = "done"
            self.cursor.pop(unit, None)
        else:
            self.cursor[unit] = following

    @rule(unit=UNIT, cursor=st.sampled_from(["0/2", "0/1"]))
    def turn(self, unit: int, cursor: str) -> None:
        if self.state[unit] == "pending":
            self.progress.turn(unit, cursor)
            self.cursor[unit] = cursor

    @rule(unit=UNIT)
    def fail(self, unit: int) -> None:
        if self.state[unit] in ("pending", "failed"):
            self.progress.fail(unit, Failure("refused", f"unit {unit}", 3))
            self.state[unit] = "failed"

    @precondition(lambda self: "failed" in self.state.values())
    @rule()
    def retry_failed(self) -> None:
        count = sum(state == "failed" for state in self.state.values())
        assert self.progress.retry_failed() == count
        self.state = {unit: "pending" if state == "failed" else state for unit, state in self.state.items()}

    @rule(first=UNIT, units=st.integers(1, 4))
    def move(self, first: int, units: int) -> None:
        stretch = range(first, min(UNITS, first + units))
        left = [unit for unit in stretch if self.state[unit] in ("pending", "failed")]
        assert self.progress.move(first, len(stretch)) == len(left)
        for unit in left:
            self.state[unit] = "moved"
            self.cursor.pop(unit, None)

    @rule()
    def through_the_file(self) -> None:
        text = orjson.dumps(self.progress.document())
        again = Progress.from_document(orjson.loads(text))
        assert orjson.dumps(again.document()) == text
        self.progress, self.version = again, 0

    @invariant()
    def every_unit_is_in_one_state(self) -> None:
        found = self.progress
        for unit, state in self.state.items():
            states = {
                "done": unit in found.done,
                "moved": unit in found.moved,
                "failed": unit in found.failed,
                "pending": unit in list(found.pending(unit, 1)),
            }
            assert [name for name, is_so in states.items() if is_so] == [state]
        assert set(found.open) <= {unit for unit, state in self.state.items() if state in ("pending", "failed")}
        assert found.open == self.cursor

    @invariant()
    def every_item_is_counted_once(self) -> None:
        assert self.progress.counters == self.sums

    @invariant()
    def pending_is_in_order_and_settled_is_its_absence(self) -> None:
        wanted = [unit for unit, state in self.state.items() if state == "pending"]
        assert list(self.progress.pending(0, UNITS)) == wanted
        assert self.progress.settled(0, UNITS) == (not wanted)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(deadline=None, max_examples=80, stateful_step_count=40)


def test_a_page_that_comes_again_after_the_unit_is_done_counts_for_nothing() -> None:
    progress = Progress()
    progress.advance(0, page(5, 4, 1, None))
    progress.advance(0, page(5, 4, 1, None))
    assert (progress.counters.processed, progress.counters.inserted, progress.counters.quarantined) == (5, 4, 1)


def test_every_change_is_a_new_version_so_that_it_gets_saved() -> None:
    progress, seen = Progress(), {0}
    steps = (
        lambda: progress.advance(0, page(1, 1, 0, "1/1")),
        lambda: progress.turn(0, "1/0"),
        lambda: progress.fail(0, Failure("refused", "x", 1)),
        lambda: progress.turn(0, "1/3"),
        lambda: progress.move(1, 1),
    )
    for step in steps:
        step()
        assert progress.version not in seen
        seen.add(progress.version)
    progress.retry_failed()
    assert progress.version not in seen


def test_failed_units_keep_their_cursor() -> None:
    progress = Progress()
    progress.advance(3, page(1, 1, 0, "1/1"))
    progress.fail(3, Failure("unavailable", "gone", 2))
    assert progress.retry_failed() == 1
    assert (progress.open, list(progress.pending(3, 1))) == ({3: "1/1"}, [3])


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"done": [[0]], "open": {}, "failed": {}, "counters": {}},
        {"done": [[5, 1]], "open": {}, "failed": {}, "counters": {}},
        {"done": [], "open": {"x": {"cursor": "1"}}, "failed": {}, "counters": {}},
        {"done": [], "open": {}, "failed": [], "counters": {}},
        {"done": [], "open": {}, "failed": {}, "counters": {"processed": "many"}},
    ],
)
def test_a_foreign_document_is_an_error_not_a_fresh_start(document: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        Progress.from_document(document)


def test_counters_of_a_newer_program_are_passed_over() -> None:
    document = Progress().document()
    document["counters"] |= {"unheard_of": 3, "processed": 2}
    assert Progress.from_document(document).counters == Counters(processed=2)
