"""`status` tells what is so from files alone, at once, and never trusts a file that nobody stands behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from backfill.commands import status
from backfill.engine import report
from backfill.engine.checkpoint import live_path, lock_path
from backfill.engine.deadletters import DeadLetters
from backfill.engine.model import DeadLetter
from backfill.engine.plan import PlanBook
from backfill.files import held
from backfill.simulator.process import SimulatorProcess
from tests.commands.cmd_project import DOME, GOLDSKY, SOURCES, Project

KEYS = [
    *("track", "state", "units_total", "units_done", "processed", "total", "inserted", "coverage", "rate", "eta_s"),
    *("workers_active", "workers_total", "stalled", "failed_units", "dead_letters", "retries", "throttled"),
    *("last_error", "updated_at"),
]
HEAVY = ("pydantic", "aiohttp", "structlog", "rich", "chdb", "aiochclient", "uvloop", "tenacity")


def track(project: Project, name: str = DOME) -> dict[str, Any]:
    """One track's entry."""
    answer = project.call("status", "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = next(row for row in answer.json["tracks"] if row["track"] == name)
    return found


def test_before_anything_was_done_the_known_tracks_are_idle_and_all_keys_are_there(project: Project) -> None:
    document = project.call("status", "--json").json

    assert list(document) == ["run_id", "state", "phase", "tracks"]
    assert (document["run_id"], document["state"], document["phase"]) == (None, "idle", None)
    assert [(row["track"], row["state"]) for row in document["tracks"]] == [(DOME, "idle"), (GOLDSKY, "idle")]
    assert all(list(row) == KEYS for row in document["tracks"])
    assert not project.checkpoints.exists(), "looking leaves nothing behind"


def test_status_answers_without_the_heavy_libraries(project: Project) -> None:
    project.plan()
    code = (
        "import sys\n"
        "from backfill.__main__ import main\n"
        f"sys.argv = ['backfill', '--config', {str(project.config_file)!r}, 'status', '--json']\n"
        "try: main()\n"
        f"finally: sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    for loaded in (None, b""):  # the first call checks the config, and remembers that it has
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
        )
        print(f"status took {time.monotonic() - began:.3f} s")
        if loaded is not None:
            assert done.stderr == loaded


def test_a_config_that_is_broken_after_it_was_checked_is_reported(project: Project) -> None:
    project.plan()
    assert project.call("status").code == 0
    project.config_file.write_text("[run]\nwokers = 3\n")

    answer = project.call("status", "--json")

    assert answer.code == 2
    assert "wokers" in answer.err


def test_the_checkpoint_folder_may_be_named_by_the_environment_or_by_dotenv(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=4)
    assert track(project)["units_done"] == 4

    project.env["BACKFILL_RUN__CHECKPOINT_DIR"] = "elsewhere"
    assert track(project)["units_done"] == 0
    project.env.clear()
    (project.root / ".env").write_text("BACKFILL_RUN__CHECKPOINT_DIR=elsewhere\n")
    assert track(project)["units_done"] == 0


@pytest.mark.parametrize(
    ("done", "failed", "expected"),
    [(2, (), "interrupted"), (4, (), "done"), (3, (3,), "failed"), (1, (3,), "interrupted")],
)
def test_a_live_file_that_nobody_stands_behind_gives_way_to_the_checkpoint(
    project: Project, done: int, failed: tuple[int, ...], expected: str
) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=done, failed=failed)
    project.live(DOME, processed=999, rate=50.0, workers_active=16, workers_total=16)

    row = track(project)

    assert row["state"] == expected
    assert (row["processed"], row["total"], row["rate"], row["workers_active"]) == (2 * done, 8, 0.0, 0)
    assert (row["units_done"], row["units_total"], row["failed_units"]) == (done, 4, len(failed))
    assert row["last_error"] == ("unit 3: HTTP 400: no" if failed else None)


def test_a_held_track_is_running_with_the_figures_of_its_live_file(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=1)
    project.run_file()
    project.live(DOME, processed=5, rate=50.0, workers_active=3)
    with held(lock_path(project.checkpoints, DOME), what=DOME):
        document = project.call("status", "--json").json

    assert (document["run_id"], document["state"], document["phase"]) == ("a run", "running", "tokens")
    assert (document["tracks"][0]["state"], document["tracks"][0]["processed"]) == ("running", 5)
    assert list(document["tracks"][0]) == KEYS


def test_a_process_that_holds_its_track_but_is_silent_is_stalled(project: Project) -> None:
    project.plan()
    project.live(DOME)
    os.utime(live_path(project.checkpoints, DOME), (time.time() - 60, time.time() - 60))
    with held(lock_path(project.checkpoints, DOME), what=DOME):
        assert track(project)["state"] == "stalled"


def test_a_lock_held_by_a_process_that_is_no_run_makes_nothing_run(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=1)
    project.live(DOME, pid=1)
    with held(lock_path(project.checkpoints, DOME), what=DOME):
        assert track(project)["state"] == "interrupted"


def test_asking_does_not_take_a_lock_away_from_a_run_that_begins(project: Project) -> None:
    path = lock_path(project.checkpoints, DOME)
    with held(path, what=DOME):
        assert report.holder(project.checkpoints, DOME) == str(os.getpid())
    assert report.holder(project.checkpoints, DOME) is None


def test_a_merge_that_is_going_on_is_the_phase(project: Project) -> None:
    plan = project.plan()
    for name in (DOME, GOLDSKY):
        project.checkpoint(plan, name, done=4)
    with held(lock_path(project.checkpoints, "merge"), what="merge"):
        document = project.call("status", "--json").json
    assert (document["state"], document["phase"]) == ("running", "merge")


def test_segments_that_were_appended_count(project: Project) -> None:
    plan = project.plan()
    PlanBook(project.checkpoints).track(plan, DOME).append("handover", [70, 71, 72], 2, origin=GOLDSKY)
    PlanBook(project.checkpoints).track(plan, DOME).append("recheck", [70], 2, origin="4")
    project.checkpoint(plan, DOME, done=4)

    row = track(project)

    assert (row["units_total"], row["total"], row["state"]) == (7, 11, "interrupted")


@pytest.mark.parametrize("spoil", [(b'"version":1', b'"version":7'), (b'"plan_id":"', b'"plan_id":"other ')])
def test_a_checkpoint_that_no_run_would_take_is_named_with_its_remedy(
    project: Project, spoil: tuple[bytes, bytes]
) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=2)
    path = project.checkpoints / f"{DOME}.json"
    path.write_bytes(path.read_bytes().replace(*spoil))

    row = track(project)

    assert row["state"] == "failed"
    assert f"backfill checkpoint reset {DOME}" in row["last_error"]


def test_a_torn_checkpoint_falls_back_aloud_and_stays_where_it_is(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=1)
    project.checkpoint(plan, DOME, done=2)
    path = project.checkpoints / f"{DOME}.json"
    path.write_bytes(path.read_bytes()[:40])

    answer = project.call("status", "--json")

    assert answer.json["tracks"][0]["units_done"] == 1
    assert "cannot be read" in answer.err
    assert len(path.read_bytes()) == 40


def test_a_plan_that_cannot_be_read_is_said_on_every_track(project: Project) -> None:
    project.plan()
    (project.checkpoints / "plan.json").write_text("{")
    document = project.call("status", "--json").json
    assert document["state"] == "failed"
    assert all("plan.json" in row["last_error"] for row in document["tracks"])


def test_a_failed_track_whose_share_has_moved_leaves_the_whole_done(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=0, moved=4)
    project.live(DOME, state="failed", last_error="dome: HTTP 410")
    project.checkpoint(plan, GOLDSKY, done=4)

    document = project.call("status", "--json").json

    assert (document["state"], document["tracks"][0]["state"]) == ("done", "failed")
    assert document["tracks"][0]["last_error"] == "dome: HTTP 410"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("running", "done"), "running"),
        (("cooling", "done"), "cooling"),
        (("cooling", "running"), "running"),
        (("interrupted", "failed"), "interrupted"),
        (("done", "idle"), "idle"),
        (("done", "done"), "done"),
    ],
)
def test_what_goes_on_somewhere_decides_and_then_what_is_left(states: tuple[str, ...], expected: str) -> None:
    rows = [{"state": state, "failed_units": 1, "units_done": 1, "units_total": 2} for state in states]
    assert report.overall(rows) == expected


def test_dead_letters_are_counted_each_once(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=4)
    project.live(DOME, dead_letters=7)
    assert track(project)["dead_letters"] == 0, "no file, no letters"
    letter = DeadLetter(DOME, 1, "contract", "no id", "{}")
    DeadLetters(project.root / "data").append(DOME, [letter, letter])
    assert track(project)["dead_letters"] == 1


def test_people_are_told_what_to_type_next(project: Project) -> None:
    assert "backfill setup" in project.call("status").out
    plan = project.plan()
    project.checkpoint(plan, DOME, done=2)
    assert "next: backfill run tokens" in project.call("status").out
    project.checkpoint(plan, DOME, done=3, failed=(3,))
    assert "next: backfill retry-failed" in project.call("status").out


def test_what_an_upstream_says_cannot_command_the_terminal(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=4)
    project.live(DOME, state="failed", last_error="\x1b[2J gone\nnext: rm")
    shown = project.call("status").out
    assert "\x1b" not in shown
    assert "\nnext: rm" not in shown


def test_the_table_keeps_its_columns_and_a_bar_is_full_only_at_the_end() -> None:
    assert status.bar(99, 100).count("█") == status.BAR - 1
    assert status.bar(100, 100) == "█" * status.BAR
    assert status.bar(0, 0) == "░" * status.BAR
    rows = [report._blank(name) | {"processed": 12_345_678} for name in (DOME, GOLDSKY)]
    lines = status.table(rows)
    assert len({line.index("12,345,678") for line in lines[1:]}) == 1


def test_watching_leaves_quietly(project: Project) -> None:
    child = project.start("status", "--watch", "--json")
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, b"")

    child = project.start("status", "--watch", "--json")
    assert child.stdout is not None and child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.wait(20) != 0
    assert b"Traceback" not in child.stderr.read()
    child.stderr.close()


def test_a_run_is_seen_running_then_interrupted_by_kill_9_then_done(
    project: Project, upstreams: SimulatorProcess
) -> None:
    dumps = Path(str(upstreams.options["dumps"]))
    try:
        assert project.call("import", "fills", str(dumps / "fills.parquet"), "--json").code == 0
        project.env["BACKFILL_TRACKS__DOME_TOKENS__BATCH"] = "20"
        project.env["BACKFILL_UPSTREAMS__DOME__LIMITS"] = "[{requests=1,seconds=2}]"
        assert project.call("setup", "--json").code == 0
        child = project.start("run", "tokens", "--no-merge")
        began = time.monotonic()
        while (row := track(project))["processed"] == 0:
            assert child.poll() is None and time.monotonic() - began < 30
            time.sleep(0.05)
        assert row["state"] == "running"
        child.kill()
        child.communicate()

        after = project.call("status", "--json").json
        assert (after["state"], after["tracks"][0]["state"]) == ("interrupted", "interrupted")
        assert after["tracks"][0]["processed"] >= 20, "what is durable is still counted"

        project.env["BACKFILL_UPSTREAMS__DOME__LIMITS"] = "[{requests=1000,seconds=1}]"
        assert project.call("run", "tokens", "--no-merge").code == 0
        after = project.call("status", "--json").json
        assert [row["state"] for row in after["tracks"]] == ["done", "done"]
        assert all(row["processed"] == row["total"] for row in after["tracks"])
    finally:
        project.call("db", "stop")
