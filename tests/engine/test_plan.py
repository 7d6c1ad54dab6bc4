"""The plan: its name is its content, its units cover the tokens exactly, and nothing changes behind its back."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.engine.plan import Outline, Plan, PlanBook, Share, draft, pack, split_items
from backfill.errors import StateError


def outline(tokens: range | list[int], batch: int = 3, warehouse: str = "w", split: str = "even") -> Outline:
    items = list(tokens)
    shares = {name: (part, batch) for name, part in split_items(items, {"a": 1.0, "b": 1.0}).items()}
    return Outline(warehouse, split, {"unique_ids": len(items)}, shares, "2026-11-21T00:00:00Z")


def test_the_same_content_has_the_same_name_whenever_it_was_made() -> None:
    first = outline(range(1, 20))
    later = replace(first, created_at="2027-01-01T00:00:00Z", baseline={"fills": 7})
    assert draft(first).plan_id == draft(later).plan_id


@pytest.mark.parametrize(
    "other",
    [
        outline(range(1, 21)),
        outline(range(2, 20)),
        outline(range(1, 20), batch=4),
        outline(range(1, 20), warehouse="another"),
        outline(range(1, 20), split="balanced"),
    ],
    ids=["one more token", "one less token", "batch", "warehouse", "split"],
)
def test_any_difference_is_another_name(other: Outline) -> None:
    assert draft(other).plan_id != draft(outline(range(1, 20))).plan_id


def test_the_border_between_the_tracks_is_part_of_the_name() -> None:
    one = replace(outline(range(1, 5)), shares={"a": ([1, 2], 3), "b": ([3, 4], 3)})
    two = replace(one, shares={"a": ([1], 3), "b": ([2, 3, 4], 3)})
    swapped = replace(one, shares={"a": ([3, 4], 3), "b": ([1, 2], 3)})
    assert len({draft(each).plan_id for each in (one, two, swapped)}) == 3


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(1, 2**256 - 1), unique=True, max_size=60).map(sorted),
    st.lists(st.floats(0.001, 1000), min_size=1, max_size=4),
)
def test_a_split_gives_every_token_to_one_track_in_proportion(items: list[int], weights: list[float]) -> None:
    named = {f"t{number}": weight for number, weight in enumerate(weights)}
    shares = split_items(items, named)
    assert [item for part in shares.values() for item in part] == items
    for name, weight in named.items():
        assert abs(len(shares[name]) - len(items) * weight / sum(weights)) <= 1


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.integers(1, 2**256 - 1), min_size=1, max_size=40),
    st.integers(1, 50),
    st.lists(st.tuples(st.sampled_from(["recheck", "handover"]), st.integers(1, 7)), max_size=3),
)
def test_units_cover_every_token_once_in_each_segment(
    tmp_path_factory: pytest.TempPathFactory, tokens: set[int], batch: int, more: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    items = sorted(tokens)
    plan = PlanBook(folder).write(Outline("w", "even", {}, {"a": (items, batch)}, "now"))
    track = PlanBook(folder).track(plan, "a")
    for number, (kind, size) in enumerate(more):
        track.append(kind, items, size, origin=str(number))
    first = 0
    for segment in track.segments:
        assert segment.first_unit == first
        units = [track.unit(number) for number in range(first, first + segment.units)]
        assert [token for unit in units for token in unit.items] == [str(item) for item in items]
        assert all(0 < len(unit.items) <= segment.batch for unit in units)
        assert all(unit.repeat == (segment.kind == "recheck") for unit in units)
        assert track.items(segment) == tuple(map(str, items))
        first += segment.units
    assert track.units_total == first
    assert track.tokens_total == len(items) * (1 + sum(kind == "handover" for kind, _ in more))
    with pytest.raises(IndexError):
        track.unit(first)


@pytest.fixture
def book(tmp_path: Path) -> PlanBook:
    return PlanBook(tmp_path)


@pytest.fixture
def plan(book: PlanBook) -> Plan:
    return book.write(outline(range(1, 20)))


def test_what_is_written_is_read_back(book: PlanBook, plan: Plan) -> None:
    assert book.current() == plan == draft(outline(range(1, 20)))


def test_no_plan_is_none(book: PlanBook) -> None:
    assert book.current() is None


def test_a_missing_file_of_the_plan_is_refused(book: PlanBook, plan: Plan) -> None:
    (book.home(plan.plan_id) / "a.0.ids").unlink()
    with pytest.raises(StateError, match="missing"):
        book.track(plan, "a")


@pytest.mark.parametrize("change", ["flip", "cut", "grow", "empty"])
def test_a_changed_file_of_the_plan_is_refused(book: PlanBook, plan: Plan, change: str) -> None:
    path = book.home(plan.plan_id) / "a.0.ids"
    old = path.read_bytes()
    new = {"flip": old[:40] + bytes([old[40] ^ 1]) + old[41:], "cut": old[:-32], "grow": old + old[:32], "empty": b""}
    path.write_bytes(new[change])
    with pytest.raises(StateError, match="changed"):
        book.track(plan, "a")


def test_a_changed_appended_segment_is_refused(book: PlanBook, plan: Plan) -> None:
    book.track(plan, "a").append("handover", [50, 51], 2, origin="b")
    path = book.home(plan.plan_id) / "a.1.ids"
    path.write_bytes(pack(Share([50, 52], 2)).items)
    with pytest.raises(StateError, match="changed"):
        book.track(plan, "a")


def test_a_track_without_a_share_is_refused(book: PlanBook, plan: Plan) -> None:
    with pytest.raises(StateError, match="no share for c"):
        book.track(plan, "c")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"version":1}'])
def test_a_header_that_cannot_be_read_is_refused_with_a_remedy(book: PlanBook, plan: Plan, text: bytes) -> None:
    book.header.write_bytes(text)
    with pytest.raises(StateError, match="setup --replace"):
        book.current()


def test_a_header_of_another_version_is_refused(book: PlanBook, plan: Plan) -> None:
    document = orjson.loads(book.header.read_bytes()) | {"version": 9}
    book.header.write_bytes(orjson.dumps(document))
    with pytest.raises(StateError, match="version 9"):
        book.current()


def test_a_segment_is_appended_once_for_each_kind_and_origin(book: PlanBook, plan: Plan) -> None:
    track = book.track(plan, "a")
    first = track.append("handover", [90, 80], 5, origin="b")
    assert track.append("handover", [1, 2, 3], 5, origin="b") == first
    assert track.append("recheck", [80], 5, origin="b") != first
    assert track.append("handover", [70], 5, origin="c").first_unit == track.units_total - 1
    assert track.items(first) == ("80", "90")


def test_two_processes_that_append_the_same_segment_have_one(book: PlanBook, plan: Plan) -> None:
    mine, theirs = book.track(plan, "a"), book.track(plan, "a")
    first = mine.append("handover", [80, 90], 5, origin="b")
    assert theirs.append("handover", [80, 90, 95], 5, origin="b") == first
    assert len(theirs.segments) == 2


def test_another_process_sees_an_appended_segment_by_looking_again(book: PlanBook, plan: Plan) -> None:
    mine, theirs = book.track(plan, "a"), book.track(plan, "a")
    segment = mine.append("handover", [80, 90], 1, origin="b", reason="retired")
    assert theirs.find("handover", "b") is None
    theirs.refresh()
    assert theirs.find("handover", "b") == segment
    assert theirs.unit(segment.first_unit + 1).items == ("90",)


def test_an_append_that_was_killed_halfway_is_made_anew(book: PlanBook, plan: Plan) -> None:
    track = book.track(plan, "a")
    (book.home(plan.plan_id) / "a.1.ids").write_bytes(pack(Share([7, 8, 9], 3)).items)
    segment = track.append("handover", [80], 5, origin="b")
    again = book.track(plan, "a")
    assert again.segments[1] == segment and again.items(segment) == ("80",)


def test_a_plan_that_is_written_again_keeps_its_appended_segments(book: PlanBook, plan: Plan) -> None:
    book.track(plan, "a").append("handover", [80], 5, origin="b")
    assert book.write(outline(range(1, 20))) == plan
    assert len(book.track(plan, "a").segments) == 2


@pytest.mark.slow
def test_a_plan_of_270_000_units_opens_at_once(tmp_path: Path) -> None:
    size = 270_000
    book = PlanBook(tmp_path)
    plan = book.write(Outline("w", "even", {}, {"a": (range(1, size + 1), 1)}, "now"))
    begin = time.perf_counter()
    track = book.track(plan, "a")
    opened = time.perf_counter() - begin
    begin = time.perf_counter()
    assert sum(int(track.unit(number).items[0]) for number in range(size)) == size * (size + 1) // 2
    print(f"\n{size:,} units: opened in {opened * 1000:.0f} ms, all taken in {time.perf_counter() - begin:.2f} s")
    assert track.units_total == size
    assert opened < 2
