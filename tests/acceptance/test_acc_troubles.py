"""What bad input and bad luck get: each trouble has its words, its exit code and its way on. Never a traceback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from backfill.warehouse import launcher
from backfill.warehouse.discovery import ServerInfo
from tests.acceptance.harness import Ended, Project, until
from tests.acceptance.scenes import SHAPE, SLOW, Scene, SceneMaker

RUN = ("run", "tokens")


def last_line(ended: Ended) -> str:
    """The line that says how it ended."""
    return ended.err.strip().splitlines()[-1]


def quiet(here: Scene | Project) -> None:
    """No command has written a traceback or the key."""
    project = here.project if isinstance(here, Scene) else here
    assert project.tracebacks() == []


def mapped(here: Scene) -> float:
    """Rows of the map, by the database."""
    ((rows,),) = here.project.query("SELECT toString(count()) FROM polymarket.ctf_token_map")
    return int(rows)


# Upstreams


def test_without_a_key_goldsky_does_everything_it_can_and_the_run_says_which_variable(scene: SceneMaker) -> None:
    here = scene()
    ended = here.project.run(*RUN, env={"DOME_API_KEY": ""})
    assert ended.code == 0
    assert "DOME_API_KEY" in ended.err
    assert here.project.log("share_moved")
    goldsky = sum(t in here.truth.world.mapped or t in here.truth.world.goldsky_tokens for t in here.truth.world.traded)
    assert mapped(here) == goldsky
    assert here.sim.summary()["dome"]["requests"] == 0
    quiet(here)


def test_without_a_key_dome_alone_is_an_error(scene: SceneMaker) -> None:
    here = scene()
    ended = here.project.run(*RUN, "--track", "dome_tokens", env={"DOME_API_KEY": ""})
    assert ended.code == 5
    assert "DOME_API_KEY" in last_line(ended)
    quiet(here)


@pytest.mark.parametrize(("mode", "kind"), [("retired_410", "retired"), ("refused", "refused")])
def test_the_share_of_an_upstream_lost_on_the_way_moves_over(scene: SceneMaker, mode: str, kind: str) -> None:
    here = scene(SLOW)
    child = here.project.start(*RUN)
    assert until(lambda: here.project.checkpoint("dome_tokens").get("done"), 30)
    here.sim.set_mode("dome", mode)
    ended = child.wait()
    assert ended.code == 0
    (moved,) = here.project.log("share_moved")
    assert (moved["kind"], moved["to"]) == (kind, "goldsky_tokens")
    assert {row["kind"] for row in here.project.log("upstream_unusable")} == {kind}
    done = here.project.checkpoint("dome_tokens")
    assert done["moved"] and done["done"]
    assert mapped(here) > 0.95 * len(here.truth.expected)
    here.sim.set_mode("dome", "ok")
    quiet(here)


def test_when_both_upstreams_are_lost_nothing_is_pretended(scene: SceneMaker) -> None:
    here = scene(replace(SHAPE, coverage=0.1))
    here.sim.set_mode("dome", "retired_410")
    here.sim.set_mode("goldsky", "forbidden")
    ended = here.project.run(*RUN)
    assert ended.code == 5
    assert mapped(here) == len(here.truth.world.mapped)
    here.sim.set_mode("dome", "ok")
    here.sim.set_mode("goldsky", "ok")
    assert here.project.run(*RUN).code == 0, "what was not done can be done later"
    assert here.verdict().good, str(here.verdict())


def test_an_upstream_that_is_away_for_a_while_is_waited_for(scene: SceneMaker) -> None:
    here = scene(SLOW)
    child = here.project.start(*RUN)
    assert until(lambda: here.project.checkpoint("goldsky_tokens").get("done"), 30)
    here.sim.set_mode("goldsky", "down")
    assert until(lambda: here.project.log("upstream_away"), 20), child.said
    here.sim.set_mode("goldsky", "ok")
    assert child.wait().code == 0
    assert here.project.log("upstream_back")
    assert here.verdict().good, str(here.verdict())


def test_false_answers_are_reported_and_kept_out(scene: SceneMaker) -> None:
    here = scene(faults="liar")
    ended = here.project.run(*RUN, "--json")
    assert ended.code == 4
    assert "rows were refused" in last_line(ended)
    disproven = ended.document["merge"]["disproven"]
    assert disproven["dome"] + disproven["goldsky"] > 0
    assert here.verdict().good, str(here.verdict())


def test_a_gate_that_does_not_pass_decides_the_exit_code(scene: SceneMaker) -> None:
    here = scene(replace(SHAPE, coverage=1.0))
    ended = here.project.run(*RUN)
    assert ended.code == 3
    assert "global_coverage" in last_line(ended)
    assert here.project.run("verify").code == 3
    quiet(here)


# The warehouse and the disk


def serve(data: Path) -> ServerInfo:
    """The warehouse of a folder, started by hand."""
    return launcher._ensure(data, 60)


def test_a_warehouse_elsewhere_that_goes_away_is_waited_for(scene: SceneMaker, tmp_path: Path) -> None:
    here = scene()
    info = serve(here.project.data)
    here.project.configure(replace(SLOW, warehouse=info.url))
    env = {"BACKFILL_WAREHOUSE__PASSWORD": info.password}
    child = here.project.start(*RUN, env=env)
    assert until(lambda: here.project.checkpoint("dome_tokens").get("done"), 30), child.said
    assert here.project.kill_warehouse()
    assert until(lambda: here.project.log("warehouse_away"), 20), child.said
    assert child.alive
    assert serve(here.project.data).url == info.url, "the port of last time"
    assert child.wait().code == 0, child.said
    assert here.project.log("warehouse_back")
    assert here.verdict().good, str(here.verdict())


def test_a_plan_for_another_warehouse_is_refused(scene: SceneMaker, tmp_path: Path) -> None:
    here = scene()
    here.project.close()
    shutil.rmtree(here.project.data)
    ended = here.project.run(*RUN)
    assert ended.code == 2
    assert "another warehouse" in last_line(ended) and "setup --replace" in last_line(ended)
    quiet(here)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of a few megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("NOT CHECKED: A FULL DISK. Mounting a small one needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def onto(disk: Path, folder: Path) -> None:
    """Move a folder onto another file system; a link stays."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, disk / folder.name, symlinks=True)
    shutil.rmtree(folder)
    folder.symlink_to(disk / folder.name)


def test_a_full_disk_for_checkpoints_and_letters_is_waited_for(scene: SceneMaker, small_disk: Path) -> None:
    here = scene(SLOW, "liar")
    onto(small_disk, here.project.checkpoints)
    onto(small_disk, here.project.data / "dead_letters")
    child = here.project.start(*RUN)
    assert until(lambda: here.project.checkpoint("dome_tokens").get("done"), 30), child.said
    ballast = small_disk / "ballast"
    fill(ballast)
    assert until(lambda: here.project.log("checkpoint_not_saved"), 20), child.said
    assert child.alive
    ballast.unlink()
    assert child.wait().code == 4
    assert here.verdict().good, str(here.verdict())


def test_a_full_disk_under_the_warehouse_is_waited_for(scene: SceneMaker, small_disk: Path) -> None:
    here = scene(SLOW)
    onto(small_disk, here.project.data / "warehouse" / "clickhouse")
    child = here.project.start(*RUN)
    assert until(lambda: here.project.checkpoint("dome_tokens").get("done"), 30), child.said
    ballast = small_disk / "ballast"
    fill(ballast)
    assert until(lambda: here.project.log("warehouse_away"), 30), child.said
    assert child.alive
    ballast.unlink()
    assert child.wait().code == 0, child.said
    assert here.verdict().good, str(here.verdict())
    here.project.close()


def fill(ballast: Path) -> None:
    """Take all the room that is left."""
    with ballast.open("wb", buffering=0) as handle:
        for size in (1 << 20, 1 << 12, 1 << 8):
            try:
                while True:
                    handle.write(b"x" * size)
            except OSError:
                continue


# Checkpoints, plans and configs


def torn(here: Scene, *, previous: bool) -> Ended:
    """Stop a run half way, tear its checkpoint, and run again."""
    child = here.project.start(*RUN)
    assert until(lambda: here.project.checkpoint("dome_tokens").get("done"), 30)
    child.signal(signal.SIGTERM)
    child.wait()
    names = ["dome_tokens.json", "dome_tokens.json.prev"] if previous else ["dome_tokens.json"]
    for name in names:
        path = here.project.checkpoints / name
        path.write_bytes(path.read_bytes()[:40])
    return here.project.run(*RUN)


def test_a_torn_checkpoint_falls_back_to_the_one_before_and_says_so(scene: SceneMaker) -> None:
    here = scene(SLOW)
    assert torn(here, previous=False).code == 0
    (told,) = here.project.log("checkpoint_fallback")
    assert told["level"] == "warning" and "dome_tokens.json.prev" in told["detail"]
    assert here.verdict().good, str(here.verdict())


def test_when_no_checkpoint_can_be_read_the_run_refuses_and_names_the_remedy(scene: SceneMaker) -> None:
    here = scene(SLOW)
    ended = torn(here, previous=True)
    assert ended.code == 2
    assert "checkpoint reset dome_tokens" in last_line(ended)
    assert here.project.run("checkpoint", "reset", "dome_tokens", "--yes").code == 0
    assert here.project.run(*RUN).code == 0
    assert here.verdict().good, str(here.verdict())


@pytest.mark.parametrize(("key", "value", "said"), [("version", 2, "version 2"), ("plan_id", "f" * 16, "plan ffff")])
def test_a_checkpoint_of_another_version_or_plan_is_refused(
    scene: SceneMaker, key: str, value: object, said: str
) -> None:
    here = scene()
    plan = orjson.loads((here.project.checkpoints / "plan.json").read_bytes())
    document = {"version": 1, "track": "dome_tokens", "plan_id": plan["plan_id"], "units_total": 20, "done": [[0, 2]],
                "open": {}, "failed": {}, "counters": {}, key: value}  # fmt: skip
    (here.project.checkpoints / "dome_tokens.json").write_bytes(orjson.dumps(document))
    ended = here.project.run(*RUN)
    assert ended.code == 2
    assert said in last_line(ended) and "checkpoint reset dome_tokens" in last_line(ended)
    assert here.project.checkpoint("dome_tokens") == document, "it is left as it was"
    quiet(here)


def test_every_problem_of_a_config_is_named_at_once(tmp_path: Path) -> None:
    project = Project(tmp_path, {}, extra="[tracks.nonsense]\nworkers = 1\n")
    project.configure(replace(SHAPE, workers=0, dome_batch=101, goldsky_batch=5000, warehouse="ftp://x"))
    for words in (RUN, ("setup",), ("merge",), ("verify",)):
        ended = project.run(*words)
        assert ended.code == 2
        for named in ("dome_tokens.workers = 0", "dome_tokens.batch = 101", "goldsky_tokens.batch = 5000", "ftp://x",
                      "nonsense"):  # fmt: skip
            assert named in ended.err, ended.err
    quiet(project)


def test_a_run_without_a_plan_says_what_makes_one(tmp_path: Path) -> None:
    project = Project(tmp_path, {"DOME_API_KEY": "x"}, SHAPE)
    ended = project.run(*RUN)
    project.close()
    assert ended.code == 2
    assert "backfill setup" in last_line(ended)
    quiet(project)


def test_an_unknown_track_is_a_wrong_word(tmp_path: Path) -> None:
    project = Project(tmp_path, {}, SHAPE)
    ended = project.run(*RUN, "--track", "no_such")
    assert ended.code == 2
    assert "dome_tokens" in last_line(ended)
    quiet(project)


def test_the_harness_would_see_a_traceback(tmp_path: Path) -> None:
    project = Project(tmp_path, {}, SHAPE)
    broken = subprocess.run([sys.executable, "-c", "1/0"], capture_output=True, check=False)
    (project.said / "0001-x.err").write_bytes(broken.stderr)
    assert project.tracebacks()
