"""Progress is looked at, discarded and taken up again, but never under the hands of a run."""

from __future__ import annotations

import orjson
import pytest
import typer

from backfill.engine.checkpoint import CheckpointFile, live_path, lock_path
from backfill.files import held
from tests.commands.cmd_project import DOME, GOLDSKY, Project


def test_show_gives_the_files_objects_by_track(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=2, failed=(3,))
    assert project.call("checkpoint", "show", "--json").json == {
        DOME: orjson.loads((project.checkpoints / f"{DOME}.json").read_bytes())
    }
    assert project.call("checkpoint", "show", GOLDSKY, "--json").json == {}
    shown = project.call("checkpoint", "show").out
    assert "2 of 4 units: 0–1" in shown
    assert "unit 3: refused, 1 attempts: HTTP 400: no" in shown
    assert f"{GOLDSKY}: no checkpoint" in shown


@pytest.mark.parametrize("words", [("show", "nope"), ("reset", "nope", "--yes")])
def test_an_unknown_track_is_wrong_usage(project: Project, words: tuple[str, ...]) -> None:
    answer = project.call("checkpoint", *words)
    assert answer.code == 2
    assert f"one of {DOME}, {GOLDSKY}" in answer.err


def test_reset_refuses_while_a_run_holds_the_track(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=2)
    with held(lock_path(project.checkpoints, DOME), what=DOME):
        answer = project.call("checkpoint", "reset", DOME, "--yes")
    assert answer.code == 7
    assert (project.checkpoints / f"{DOME}.json").exists()


def test_reset_with_nobody_to_ask_wants_a_yes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=2)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    answer = project.call("checkpoint", "reset", DOME)
    assert answer.code == 2
    assert "--yes" in answer.err
    assert "2 of 4 units are done" in answer.err, "what is lost is said before"
    assert (project.checkpoints / f"{DOME}.json").exists()


def test_reset_asks_and_a_no_keeps_everything(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=2)
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())

    def no(text: str, **_: object) -> None:
        asked.append(text)
        raise typer.Abort

    monkeypatch.setattr("typer.confirm", no)
    assert project.call("checkpoint", "reset", DOME).code == 1
    assert asked and (project.checkpoints / f"{DOME}.json").exists()


def test_a_dry_run_discards_nothing_and_a_yes_all_of_it(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=1)
    project.checkpoint(plan, DOME, done=2)
    project.live(DOME, state="interrupted")
    assert project.call("checkpoint", "reset", DOME, "--dry-run", "--json").json["reset"] is False
    assert (project.checkpoints / f"{DOME}.json").exists()

    assert project.call("checkpoint", "reset", DOME, "--yes", "--json").json["reset"] is True
    left = {path.name for path in project.checkpoints.glob(f"{DOME}.*")}
    assert left == {f"{DOME}.lock"}
    assert "idle" in project.call("status").out


def test_an_unreadable_checkpoint_can_be_reset(project: Project) -> None:
    project.plan()
    (project.checkpoints / f"{DOME}.json").write_text("{")
    assert project.call("checkpoint", "show").code == 2
    assert project.call("checkpoint", "reset", DOME, "--yes").code == 0
    assert project.call("checkpoint", "show").code == 0


def test_failed_units_are_pending_again_and_the_way_on_is_said(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=2, failed=(2, 3))
    project.checkpoint(plan, GOLDSKY, done=4)
    live_path(project.checkpoints, DOME).write_text('{"state":"failed"}')

    dry = project.call("retry-failed", "--dry-run", "--json").json
    assert (dry["retried"], dry["dry_run"]) == (2, True)
    answer = project.call("retry-failed")

    assert answer.code == 0
    assert f"{DOME}: 2 failed units are pending again" in answer.out
    assert "backfill run tokens" in answer.out
    progress = CheckpointFile(project.checkpoints, DOME).load(plan.plan_id, lambda _: None)
    assert list(progress.pending(0, 4)) == [2, 3]
    assert [row["state"] for row in project.call("status", "--json").json["tracks"]] == ["interrupted", "done"]
    assert project.call("retry-failed", "--json").json["retried"] == 0


def test_retry_failed_refuses_while_a_run_holds_the_track(project: Project) -> None:
    plan = project.plan()
    project.checkpoint(plan, DOME, done=2, failed=(3,))
    with held(lock_path(project.checkpoints, DOME), what=DOME):
        assert project.call("retry-failed", "--track", DOME).code == 7
        assert project.call("retry-failed", "--track", GOLDSKY).code == 0


def test_retry_failed_without_a_plan_names_the_remedy(project: Project) -> None:
    answer = project.call("retry-failed")
    assert answer.code == 2
    assert "backfill setup" in answer.err
