"""`tail` shows the log readably, and goes on through whatever happens to the file."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from backfill.commands import tail
from tests.commands.cmd_project import Project

PROGRESS = {
    "timestamp": "2026-11-21T10:45:30.5Z",
    "level": "info",
    "event": "progress",
    "run_id": "r",
    "track": "dome_tokens",
    "processed": 29900,
    "total": 49500,
    "inserted": 28400,
    "coverage": 0.573737,
    "rate": 812.4,
    "eta_s": 24.1,
    "workers_active": 15,
    "workers_total": 16,
}


def write(project: Project, *lines: bytes) -> Path:
    path = project.root / "logs" / "backfill.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def event(name: str, **fields: object) -> bytes:
    return orjson.dumps({"timestamp": "2026-11-21T10:45:30Z", "level": "info", "event": name, **fields}) + b"\n"


def test_a_missing_log_is_said_and_is_no_error(project: Project) -> None:
    answer = project.call("tail")
    assert (answer.code, answer.out) == (0, "")
    assert "there is no log yet" in answer.err


def test_a_progress_line_is_read_at_a_glance() -> None:
    told = tail.readable(orjson.dumps(PROGRESS))
    assert told == (
        "2026-11-21 10:45:30  info     dome_tokens     progress  "
        "29,900/49,500 asked, coverage 57.4%, 812/s, ETA 24s, workers 15/16"
    )


def test_other_lines_carry_their_fields_and_the_terminal_obeys_none_of_them() -> None:
    told = tail.readable(event("throttled", upstream="dome", wait_s=3, error="wait \x1b[2J please"))
    assert told.endswith('throttled  upstream=dome wait_s=3 error="wait \\u001b[2J please"')
    assert "\x1b" not in told
    assert tail.readable(orjson.dumps({**PROGRESS, "level": "error"}), colour=True).startswith("\x1b[31m")


def test_torn_and_foreign_lines_are_passed_over_readably(project: Project) -> None:
    write(project, event("one"), b'{"timestamp":"2026-11-\n', b"[1]\n", b"\xff\xfe\n", event("two")[:-1])
    answer = project.call("tail")
    lines = answer.out.splitlines()
    assert [line.startswith("(torn line)") for line in lines] == [False, True, True, True, False]
    raw = project.call("tail", "--json").out
    assert raw.encode() == event("one") + event("two")


@pytest.mark.parametrize(("number", "expected"), [("0", []), ("2", ["8", "9"]), ("100", [str(n) for n in range(10)])])
def test_the_last_lines_are_the_last_lines(project: Project, number: str, expected: list[str]) -> None:
    write(project, *(event(str(number)) for number in range(10)))
    out = project.call("tail", "-n", number, "--json").out
    assert [orjson.loads(line)["event"] for line in out.splitlines()] == expected


def test_lines_longer_than_a_block_are_found_from_the_end(project: Project) -> None:
    path = write(project, event("first"), event("long", text="x" * 3 * tail.BLOCK), event("last"))
    assert tail.last_lines(path, 2)[1] == event("last")
    assert tail.last_lines(path, 2)[0].startswith(b'{"timestamp"')
    assert len(tail.last_lines(path, 9)) == 3


class Scene:
    """What happens to the file whenever the follower sleeps."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self.acts = iter(acts)

    def sleep(self, _seconds: float) -> None:
        next(self.acts)()


def follow(path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch, number: int = 1) -> Iterator[str]:
    monkeypatch.setattr("backfill.commands.tail.time.sleep", scene.sleep)
    for line in tail.followed(path, number):
        yield orjson.loads(line)["event"] if line.endswith(b"}\n") else line.decode()


def append(path: Path, content: bytes) -> Callable[[], object]:
    def act() -> None:
        with path.open("ab") as handle:
            handle.write(content)

    return act


def test_following_survives_halves_rotation_and_truncation(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(project, event("old"), event("last"))
    second = event("second")

    def rotate() -> None:
        append(path, event("at the last moment"))()
        path.rename(path.with_suffix(".1"))
        path.write_bytes(event("in the new file"))

    scene = Scene(
        append(path, event("first") + second[:20]),
        append(path, second[20:]),
        rotate,
        lambda: path.write_bytes(b""),
        append(path, event("after the cut")),
    )
    told = follow(path, scene, monkeypatch)
    expected = ["last", "first", "second", "at the last moment", "in the new file", "after the cut"]
    assert [next(told) for _ in expected] == expected


def test_following_waits_for_a_log_that_comes_later(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.root / "later.jsonl"
    scene = Scene(lambda: None, append(path, event("one") + event("two")))
    told = follow(path, scene, monkeypatch, number=0)
    assert [next(told), next(told)] == ["one", "two"]


def test_following_ends_quietly_with_130(project: Project) -> None:
    write(project, event("one"))
    child = project.start("tail", "-f")
    assert child.stdout is not None
    assert b"one" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, b"")
