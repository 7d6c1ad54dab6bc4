"""Files that are whole or not there, and locks that die with their holder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backfill import files
from backfill.errors import TrackHeld

ROOT = Path(__file__).resolve().parents[1]
_HOLDER = """
import sys
from pathlib import Path
from backfill.files import held
with held(Path(sys.argv[1]), what="t"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    files.replace(path, b"one")
    files.replace(path, b"two", durable=False)
    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]


def test_the_one_before_is_kept_when_asked_for(tmp_path: Path) -> None:
    path, keep = tmp_path / "a", tmp_path / "a.prev"
    for content in (b"1", b"2", b"3"):
        files.replace(path, content, keep=keep)
    assert (path.read_bytes(), keep.read_bytes()) == (b"3", b"2")


def test_a_failed_replacement_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    files.replace(path, b"old")

    def broken(*_args: object) -> None:
        raise OSError(5, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", broken)
        with pytest.raises(OSError, match="I/O"):
            files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_readers_see_the_old_content_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.replace(path, b"old" * 1000)
    with path.open("rb") as reader:
        files.replace(path, b"new" * 1000)
        assert reader.read() == b"old" * 1000


def test_appending_closes_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "x" / "a.jsonl"
    files.append(path, b"one\n")
    with path.open("ab") as handle:
        handle.write(b'{"torn')
    files.append(path, b"two\n")
    files.append(path, b"three\n")
    assert path.read_bytes() == b'one\n{"torn\ntwo\nthree\n'


def test_a_lock_is_seen_and_refused_across_processes_and_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "t.lock"
    assert not files.is_held(path)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert files.is_held(path)
        with pytest.raises(TrackHeld, match=f"pid {other.pid}") as caught, files.held(path, what="t"):
            raise AssertionError
        assert caught.value.exit_code == 7
        other.kill()
        other.wait()
    assert not files.is_held(path)
    with files.held(path, what="t"):
        assert files.is_held(path)
        assert path.read_text() == f"{os.getpid()}\n"
    assert not files.is_held(path)


def test_a_lock_is_let_go_when_its_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "t.lock"
    with pytest.raises(RuntimeError), files.held(path, what="t"):
        raise RuntimeError
    assert not files.is_held(path)
