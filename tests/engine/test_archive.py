"""Kept answers come back as they were, whatever crashed while they were kept, and damage is told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.engine import archive
from backfill.engine.archive import MANIFEST, Archive, Kept, body, cut_off, pages, used_bytes
from backfill.engine.model import Page, Unit
from backfill.engine.pipeline import Answered

PLENTY = 10**9
TRACK = "a_track"


def answered(content: bytes, cursor: str | None = None, following: str | None = None) -> Answered:
    return Answered(Page((), 0, next=following), content, cursor)


def opened(folder: Path, most: float = PLENTY, plan: str = "p1", **more: Any) -> Archive:
    return Archive(folder, TRACK, plan, most, more.pop("full", lambda _used: None), **more)


def keep(store: Archive, unit: int, content: bytes, cursor: str | None = None, following: str | None = None) -> None:
    store.keep(Unit(unit, ("x",)), answered(content, cursor, following))


def contents(home: Path) -> list[tuple[str, int, str | None, bytes]]:
    return [(kept.plan, kept.unit, kept.cursor, body(home, kept)) for kept in pages(home)]


def test_what_was_kept_comes_back_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    store = opened(tmp_path, about={"version": 2}, clock=lambda: 1700000000.9)
    keep(store, 7, b"first", None, "c")
    keep(store, 7, b"", "c", None)
    first, last = pages(store.home)
    assert (first.plan, first.unit, first.cursor, first.next, first.at) == ("p1", 7, None, "c", 1700000000)
    assert (first.about, last.about) == ({"version": 2}, {"version": 2})
    assert (body(store.home, first), body(store.home, last), last.next) == (b"first", b"", None)
    assert list(pages(tmp_path / "nothing")) == []


def test_a_page_says_what_its_own_process_was_asked_with(tmp_path: Path) -> None:
    keep(opened(tmp_path, about={"range": 10}), 0, b"a", None, "c")
    keep(opened(tmp_path, about={"range": 20}), 0, b"b", "c")
    assert [kept.about for kept in pages(tmp_path / TRACK)] == [{"range": 10}, {"range": 20}]


def test_a_torn_line_does_not_swallow_the_first_of_the_next_process(tmp_path: Path) -> None:
    store = opened(tmp_path, about={"range": 10})
    keep(store, 0, b"a")
    path = store.home / MANIFEST
    os.truncate(path, path.stat().st_size - 5)
    keep(opened(tmp_path, about={"range": 20}), 1, b"b")
    assert [(kept.unit, kept.about) for kept in pages(store.home)] == [(1, {"range": 20})]


def test_of_two_generations_of_a_page_the_later_counts_and_stands_at_its_own_place(tmp_path: Path) -> None:
    store = opened(tmp_path)
    keep(store, 0, b"before", None, "c")
    keep(store, 1, b"other")
    keep(opened(tmp_path), 0, b"after", None, None)
    keep(opened(tmp_path, plan="p2"), 0, b"another plan")
    assert contents(store.home) == [
        ("p1", 1, None, b"other"),
        ("p1", 0, None, b"after"),
        ("p2", 0, None, b"another plan"),
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.integers(0, 3), st.sampled_from([None, "a", "b"]), st.binary(max_size=40)), max_size=5
            ),
            st.integers(0, 400),
        ),
        max_size=5,
    )
)
def test_a_torn_manifest_costs_its_last_lines_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, runs: list[Any]
) -> None:
    """After each process, so many bytes of the manifest are lost; the pages whose lines are whole all come back."""
    folder = tmp_path_factory.mktemp("raw")
    home = folder / TRACK
    for run, torn in runs:
        store = opened(folder)
        for unit, cursor, content in run:
            keep(store, unit, content, cursor)
        path = home / MANIFEST
        if path.exists():
            os.truncate(path, max(0, path.stat().st_size - torn))
    path = home / MANIFEST
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    expected: dict[tuple[int, str | None], str] = {}
    for line in lines:
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if "sha256" in entry:
            expected[entry["unit"], entry["cursor"]] = entry["sha256"]
    found = {(kept.unit, kept.cursor): kept.sha256 for kept in pages(home)}
    assert found == expected
    for kept in pages(home):
        body(home, kept)


@settings(max_examples=40, deadline=None)
@given(bodies=st.lists(st.binary(max_size=2000), min_size=1, max_size=12), most=st.integers(64, 400))
def test_packs_are_cut_and_every_page_is_found_in_its_own(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], most: int
) -> None:
    folder = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "PACK_BYTES", most)
        for unit, content in enumerate(bodies):
            keep(opened(folder), unit, content)
    assert [content for *_, content in contents(folder / TRACK)] == bodies


def test_packs_count_on_past_their_four_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PACK_BYTES", 10)
    home = tmp_path / TRACK
    home.mkdir()
    (home / "9999.pack").write_bytes(b"x" * 20)
    keep(opened(tmp_path), 0, b"first")
    keep(opened(tmp_path), 1, b"second")
    assert [kept.pack for kept in pages(home)] == ["10000.pack", "10001.pack"]


def flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"some answer" * 50, b"x"])
def test_a_flipped_byte_anywhere_in_a_page_is_found(tmp_path: Path, content: bytes) -> None:
    keep(opened(tmp_path), 0, content)
    (kept,) = pages(tmp_path / TRACK)
    for at in range(kept.size):
        flipped(tmp_path / TRACK / kept.pack, at)
        with pytest.raises(ValueError, match=r"0000\.pack at 0"):
            body(tmp_path / TRACK, kept)
        flipped(tmp_path / TRACK / kept.pack, at)
    assert body(tmp_path / TRACK, kept) == content


def test_a_torn_pack_is_found_and_the_pages_before_are_whole(tmp_path: Path) -> None:
    store = opened(tmp_path)
    keep(store, 0, b"whole")
    keep(store, 1, b"torn" * 100)
    first, last = pages(store.home)
    os.truncate(store.home / last.pack, last.offset + last.size - 3)
    assert body(store.home, first) == b"whole"
    with pytest.raises(ValueError, match="the pack ends"):
        body(store.home, last)
    keep(opened(tmp_path), 2, b"behind the tear")
    assert body(store.home, list(pages(store.home))[-1]) == b"behind the tear"


def failing(monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> list[bool]:
    """Files of this name take `after` bytes more, then the disk is full until the list that comes back is cleared."""
    full, plain = [True], Path.open

    class Short:
        def __init__(self, file: Any) -> None:
            self.file, self.left = file, after

        def __enter__(self) -> Short:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self.file, attribute)

        def write(self, content: bytes) -> int:
            if self.left == 0:
                raise OSError(errno.ENOSPC, "no room")
            written = int(self.file.write(content[: self.left]))
            self.left -= written
            return written

    def opener(path: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
        file = plain(path, mode, *args, **more)
        return Short(file) if full and path.name == name and "a" in mode else file

    monkeypatch.setattr(Path, "open", opener)
    return full


@pytest.mark.parametrize("name", [MANIFEST, "0000.pack"])
@pytest.mark.parametrize("after", [0, 1, 20])
def test_a_full_disk_leaves_no_half_line_and_the_page_may_be_handed_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    store = opened(tmp_path)
    keep(store, 0, b"before")
    full = failing(monkeypatch, name, after)
    with pytest.raises(OSError, match="no room"):
        keep(store, 1, b"does not fit" * 9)
    full.clear()
    keep(store, 1, b"does not fit" * 9)
    keep(store, 2, b"behind")
    assert [content for *_, content in contents(store.home)] == [b"before", b"does not fit" * 9, b"behind"]
    lines = (store.home / MANIFEST).read_bytes().splitlines()
    assert all(orjson.loads(line) for line in lines), "no half line is left"


def test_the_limit_is_told_once_and_then_nothing_is_kept_however_small(tmp_path: Path) -> None:
    told: list[int] = []
    store = opened(tmp_path, most=2000, full=told.append)
    keep(store, 0, b"small")
    keep(store, 1, os.urandom(4000))
    keep(store, 2, b"would fit, but leave a hole before it")
    assert [unit for _, unit, *_ in contents(store.home)] == [0]
    assert len(told) == 1 and 0 < told[0] <= 2000
    assert cut_off(store.home) == {"p1"}
    assert cut_off(tmp_path / "nothing") == frozenset()


def test_what_other_tracks_keep_counts_as_well(tmp_path: Path) -> None:
    ours = opened(tmp_path, most=30_000)
    other = Archive(tmp_path, "another", "p1", 30_000, lambda _used: None)
    for unit in range(40):
        keep(ours, unit, os.urandom(1000))
        keep(other, unit, os.urandom(1000))
    assert used_bytes(tmp_path) <= 30_000 * 1.05, "each sees what the other has written"
    assert cut_off(ours.home) and cut_off(other.home)


def test_lines_of_other_releases_and_rubbish_are_no_pages(tmp_path: Path) -> None:
    store = opened(tmp_path)
    keep(store, 0, b"a")
    with (store.home / MANIFEST).open("ab") as file:
        file.write(
            b'{"plan":"p1","unit":0,"complete":true,"pages":1,"bytes":1}\n{"sha256":"only"}\n[1]\nnull\n\0\0\0\n'
        )
    keep(store, 1, b"b")
    assert [unit for _, unit, *_ in contents(store.home)] == [0, 1]


def test_a_manifest_without_the_newer_fields_is_read(tmp_path: Path) -> None:
    store = opened(tmp_path)
    keep(store, 0, b"a")
    path = store.home / MANIFEST
    entries = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    old = [{name: value for name, value in entry.items() if name != "at"} for entry in entries if "about" not in entry]
    path.write_bytes(b"".join(orjson.dumps(entry) + b"\n" for entry in old))
    (kept,) = pages(store.home)
    assert (kept.at, kept.about) == (0, {})


def test_many_threads_keep_at_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    store = opened(tmp_path)
    work: Callable[[int], None] = lambda unit: keep(store, unit, b"%d" % unit * 200)  # noqa: E731
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(100)))
    assert sorted(content for *_, content in contents(store.home)) == sorted(b"%d" % unit * 200 for unit in range(100))
    assert len({kept.offset for kept in pages(store.home)}) == 100


def test_a_page_is_one_line_and_its_fields_are_those_of_the_record(tmp_path: Path) -> None:
    keep(opened(tmp_path), 0, b"a")
    lines = [orjson.loads(line) for line in (tmp_path / TRACK / MANIFEST).read_bytes().splitlines()]
    assert [set(line) for line in lines] == [{"plan", "about"}, set(archive.LINE)]
    assert set(archive.LINE) | {"about"} == {each for each in Kept.__dataclass_fields__}
