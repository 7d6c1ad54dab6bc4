"""The checkpoint file: whatever happens while it is written, the next start finds the old progress or the new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.engine.checkpoint import CheckpointFile
from backfill.engine.model import Failure, Page
from backfill.engine.progress import Progress
from backfill.errors import StateError

PLAN = "plan-a"


def progress(done: int) -> Progress:
    found = Progress()
    for unit in range(done):
        found.advance(unit, Page((b"{}",) * 3, 3))
    found.turn(20, "4/2")
    found.fail(21, Failure("refused", "an “error” of some length", 5))
    return found


def save(file: CheckpointFile, done: int, plan: str = PLAN) -> None:
    file.save(plan, 30, progress(done).document())


def units_done(file: CheckpointFile, warn: Callable[[str], object] = lambda text: None) -> int:
    return len(file.load(PLAN, warn).done)


class Killed(BaseException):
    """What `kill -9` looks like from inside."""


@contextmanager
def killed_at(step: int, *, after: bool) -> Iterator[list[str]]:
    """The process dies at its `step`-th call that changes or syncs the disk, before or after its effect."""
    calls: list[str] = []
    patch = pytest.MonkeyPatch()

    def mortal(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            # Who is dead does nothing more, not even tidy up.
            if len(calls) > step:
                raise Killed
            calls.append(name)
            if len(calls) <= step:
                return real(*args, **kwargs)
            if after:
                real(*args, **kwargs)
            raise Killed

        return call

    for name in ("fsync", "rename", "link", "unlink", "replace"):
        patch.setattr(os, name, mortal(name, getattr(os, name)))
    try:
        yield calls
    finally:
        patch.undo()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_kill_at_any_step_of_a_save_leaves_the_old_or_the_new_progress(
    tmp_path: Path, saves: int, after: bool
) -> None:
    for step in range(40):
        file = CheckpointFile(tmp_path / f"{step}", "t")
        for number in range(saves):
            save(file, number + 1)
        try:
            with killed_at(step, after=after):
                save(file, saves + 1)
        except Killed:
            warned: list[str] = []
            assert units_done(file, warned.append) in (saves, saves + 1)
            assert warned == []
            save(file, saves + 2)
            assert units_done(file) == saves + 2
        else:
            assert step >= 3, "fewer steps than a durable replacement needs"
            return
    raise AssertionError("a save without end")


def test_content_is_synced_before_it_gets_its_name_and_the_name_after(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    with killed_at(99, after=False) as calls:
        save(file, 1)
    assert [call for call in calls if call != "unlink"] == ["fsync", "rename", "fsync"]
    with killed_at(99, after=False) as calls:
        save(file, 2)
    assert [call for call in calls if call != "unlink"] == ["fsync", "link", "rename", "rename", "fsync"]


def test_a_full_disk_leaves_what_was_there_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            save(file, 2)
    assert units_done(file) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.json"]


def test_every_truncation_is_torn_and_falls_back_loudly(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    save(file, 2)
    whole = file.path.read_bytes()
    # The last byte is a newline: without it nothing is missing.
    for length in range(len(whole) - 1):
        file.path.write_bytes(whole[:length])
        warned: list[str] = []
        assert len(file.peek(PLAN, warned.append).done) == 1
        assert len(warned) == 1 and "t.json.prev" in warned[0]


def test_a_torn_file_does_not_become_the_good_previous_one(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    save(file, 2)
    file.path.write_bytes(b'{"version": 1, "tra')
    assert units_done(file) == 1
    save(file, 5)
    assert units_done(file) == 5
    file.path.write_bytes(b"")
    assert units_done(file) == 1, "the good previous one was destroyed"
    assert file.path.with_name("t.json.torn").exists()


def test_looking_on_moves_no_file(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    save(file, 2)
    file.path.write_bytes(b"torn")
    file.peek(PLAN, lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.json", "t.json.prev"]


@pytest.mark.parametrize("content", [b"", b"null", b"[1]", b'"text"', b"{}", b"\xff\xfe", b'{"track":"other"}'])
def test_what_is_no_checkpoint_is_torn(tmp_path: Path, content: bytes) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    save(file, 2)
    file.path.write_bytes(content)
    assert units_done(file) == 1


def test_a_missing_current_file_falls_back_as_well(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    save(file, 2)
    file.path.unlink()
    warned: list[str] = []
    assert units_done(file, warned.append) == 1
    assert "missing" in warned[0]


def test_when_neither_can_be_read_the_run_refuses_with_a_remedy(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    save(file, 2)
    file.path.write_bytes(b"x")
    file.previous.write_bytes(b"y")
    with pytest.raises(StateError, match="checkpoint reset t"):
        file.load(PLAN, lambda _: None)
    assert file.path.read_bytes() == b"x", "the evidence is gone"


def test_a_torn_first_checkpoint_is_no_fresh_start(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    file.path.write_bytes(b"{")
    with pytest.raises(StateError, match="neither"):
        file.load(PLAN, lambda _: None)


def test_no_file_is_a_fresh_start(tmp_path: Path) -> None:
    assert CheckpointFile(tmp_path, "t").load(PLAN, lambda _: None).document() == Progress().document()


def test_another_plan_is_refused_with_a_remedy(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1, plan="plan-b")
    with pytest.raises(StateError, match=r"plan-b.*plan-a.*checkpoint reset t") as caught:
        file.load(PLAN, lambda _: None)
    assert caught.value.exit_code == 2


def test_another_version_is_refused_and_not_taken_for_torn(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    save(file, 2)
    document = orjson.loads(file.path.read_bytes()) | {"version": 2, "done": "in a new form"}
    file.path.write_bytes(orjson.dumps(document))
    with pytest.raises(StateError, match=r"version 2.*checkpoint reset t"):
        file.load(PLAN, lambda _: None)


def test_a_previous_file_of_another_plan_is_refused_too(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1, plan="plan-b")
    save(file, 2)
    file.path.write_bytes(b"torn")
    with pytest.raises(StateError, match="plan-b"):
        file.load(PLAN, lambda _: None)


def test_the_file_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 2)
    document = orjson.loads(file.path.read_bytes())
    assert document["version"] == 1 and document["track"] == "t" and document["plan_id"] == PLAN
    assert document["units_total"] == 30 and document["done"] == [[0, 2]]
    assert document["open"] == {"20": {"cursor": "4/2"}}
    assert document["failed"]["21"]["class"] == "refused" and document["failed"]["21"]["attempts"] == 5
    assert {"processed", "inserted", "retries", "throttled"} <= set(document["counters"])
    assert document["updated_at"].endswith("Z")


def test_a_discarded_track_starts_afresh(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path, "t")
    save(file, 1)
    save(file, 2)
    file.discard()
    assert units_done(file) == 0
