"""Killed, stopped and stalled at the worst moments, a backfill still ends exactly right."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest

from tests.acceptance.harness import Child, Project, until
from tests.acceptance.kill_test import Attack, Round, Scenario
from tests.acceptance.scenes import SHAPE, SLOW, SceneMaker

RUN = ("run", "tokens")


def working(project: Project, child: Child) -> None:
    """Wait until a run has saved some work, and is not through with it."""
    assert until(lambda: not child.alive or project.checkpoint("dome_tokens").get("done"), 30)
    assert child.alive, child.said


def test_eight_kills_over_rough_and_lying_upstreams_change_nothing(scene: SceneMaker) -> None:
    here = scene(replace(SHAPE, dome_limits="20/1", goldsky_limits="20/1"), "all")
    this = Round(Scenario("mini", "all", ("20/1", "20/1")), seed=5)
    attack = Attack(here.project, here.sim, this)
    attack.assault([RUN], 8, 1.8)
    attack.complete()
    assert this.killed >= 8
    assert this.verdict.good, str(this.verdict)
    assert here.verdict().good, str(here.verdict())


def test_a_kill_between_durable_rows_and_their_record_repeats_work_and_doubles_nothing(scene: SceneMaker) -> None:
    here = scene(SLOW)
    child = here.project.start(*RUN, planted="paused_before_checkpoint")
    assert until(lambda: here.sim.summary()["dome"]["ids"] >= 50, 30)
    child.kill()
    ((staged,),) = here.project.query("SELECT toString(count()) FROM staging.clob_asset_map_dome")
    recorded = here.project.checkpoint("dome_tokens").get("counters", {}).get("processed", 0)
    assert int(staged) > recorded, "the kill was to fall where rows are in and not yet recorded"
    here.project.run(*RUN)
    assert here.verdict().good, str(here.verdict())


def test_a_kill_after_the_merge_has_inserted_doubles_nothing(scene: SceneMaker) -> None:
    here = scene()
    child = here.project.start(*RUN, planted="paused_in_merge")
    assert until(lambda: "INSERTED" in child.said, 60), child.said
    assert child.kill()
    here.project.kill_warehouse()
    assert here.project.run(*RUN).code == 0
    assert here.verdict().good, str(here.verdict())


def test_the_warehouse_killed_during_the_hand_over_is_waited_for(scene: SceneMaker) -> None:
    here = scene(SLOW)
    child = here.project.start(*RUN)
    assert until(lambda: here.project.log("handed_over") or not child.alive, 60)
    assert here.project.kill_warehouse()
    assert child.wait().code == 0
    assert here.verdict().good, str(here.verdict())


def test_the_warehouse_killed_while_a_run_works_is_started_again_by_it(scene: SceneMaker) -> None:
    here = scene(SLOW)
    child = here.project.start(*RUN)
    for _ in range(3):
        working(here.project, child)
        assert here.project.kill_warehouse()
        until(lambda: here.project.warehouse_pid() is not None or not child.alive, 10)
    assert child.wait().code == 0
    assert here.project.log("warehouse_away")
    assert here.verdict().good, str(here.verdict())


def test_a_run_that_was_frozen_goes_on_as_if_nothing_had_been(scene: SceneMaker) -> None:
    here = scene(replace(SLOW, stall_s=1), latency_ms=200.0)
    child = here.project.start(*RUN)
    working(here.project, child)
    child.signal(signal.SIGSTOP)
    time.sleep(2)
    child.signal(signal.SIGCONT)
    assert child.wait().code == 0
    assert here.verdict().good, str(here.verdict())


def test_an_upstream_that_never_answers_is_noticed_and_its_workers_are_replaced(scene: SceneMaker) -> None:
    here = scene(replace(SLOW, stall_s=1, timeout_s=30, drain_s=1))
    child = here.project.start(*RUN)
    working(here.project, child)
    here.sim.set_mode("dome", "hang")
    assert until(lambda: here.project.log("worker_stalled"), 20), child.said
    row = here.project.log("worker_stalled")[0]
    assert {"worker", "seconds", "unit"} <= row.keys() and row["track"] == "dome_tokens"
    here.sim.set_mode("dome", "ok")
    child.signal(signal.SIGTERM)
    assert child.wait().code == 143
    assert here.project.run("retry-failed").code == 0
    assert here.project.run(*RUN).code == 0
    assert here.verdict().good, str(here.verdict())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_the_run_and_the_next_one_goes_on(scene: SceneMaker, number: int, code: int) -> None:
    here = scene(SLOW)
    child = here.project.start(*RUN)
    working(here.project, child)
    child.signal(number)
    begun = time.monotonic()
    ended = child.wait()
    assert ended.code == code
    assert time.monotonic() - begun < SLOW.drain_s + 2
    assert ended.err.strip().splitlines()[-1].startswith("backfill: stopped by a signal")
    asked = here.sim.summary()["dome"]["ids"]
    processed = here.project.checkpoint("dome_tokens")["counters"]["processed"]
    assert processed == asked, "what was asked before the stop is recorded, so it is not asked again"
    assert here.project.run(*RUN).code == 0
    assert here.verdict().good, str(here.verdict())


def test_a_second_signal_does_not_wait_for_an_upstream_that_hangs(scene: SceneMaker) -> None:
    here = scene(replace(SLOW, drain_s=60, timeout_s=60))
    child = here.project.start(*RUN)
    working(here.project, child)
    here.sim.set_mode("dome", "hang")
    before = here.sim.summary()["dome"]["requests"]
    assert until(lambda: here.sim.summary()["dome"]["requests"] > before, 10), "no request hangs"
    child.signal(signal.SIGTERM)
    time.sleep(0.7)
    assert child.alive, "the first signal waits for the page in hand"
    child.signal(signal.SIGTERM)
    assert child.wait(8).code == 143


def test_two_processes_cannot_work_on_one_track(scene: SceneMaker) -> None:
    here = scene(SLOW)
    child = here.project.start(*RUN, "--track", "dome_tokens")
    working(here.project, child)
    child.signal(signal.SIGSTOP)  # it holds its track all the same, and cannot be through too soon
    second = here.project.run(*RUN, "--track", "dome_tokens")
    both = here.project.run(*RUN)
    assert second.code == both.code == 7
    assert str(child.pid) in second.err
    other = here.project.run(*RUN, "--track", "goldsky_tokens")
    assert other.code == 0, "another track is free"
    child.signal(signal.SIGCONT)
    assert child.wait().code == 0
    assert here.project.run(*RUN).code == 0
    assert here.verdict().good, str(here.verdict())


@pytest.mark.parametrize(
    ("name", "faults", "by"),
    [
        ("no_handover", "none", "lost"),
        ("letters_forgotten", "liar", "not among the dead letters"),
    ],
)
def test_a_planted_bug_is_caught(scene: SceneMaker, name: str, faults: str, by: str) -> None:
    """Quick ones without kills; `kill_test --planted all` tries them all."""
    here = scene(faults=faults)
    here.project.run(*RUN, planted=name)
    found = here.verdict()
    assert by in str(found)


def test_a_bug_that_acknowledges_too_early_is_caught_by_a_kill(scene: SceneMaker) -> None:
    here = scene(SLOW)
    child = here.project.start(*RUN, planted="ack_before_insert")
    working(here.project, child)
    child.kill()
    here.project.run(*RUN)
    assert "different tokens are staged" in str(here.verdict())
