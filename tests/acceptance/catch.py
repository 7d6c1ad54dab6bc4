"""Every planted bug must be caught: kill_test --planted all.

Each variant gets the same treatment as the product itself, in a smaller world: kills, completion, judgement. The
product without a bug goes first and has to come out clean, so that what is caught is the bug and not the treatment.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backfill.simulator.process import SimulatorProcess
from backfill.simulator.world import World
from tests.acceptance.harness import Project, Shape, Truth, Verdict, judge, simulator, until
from tests.acceptance.kill_test import Attack, Round, Scenario

TOKENS, MAPPED = 1500, 500
KILLS = 6
LATEST_S = 0.6
SHAPE = Shape(dome_limits="24/3", goldsky_limits="24/3", workers=6, dome_batch=10, goldsky_batch=10)
"""Windows longer than a restart takes, so that one that forgets them is seen."""
TRUNCATED = {"rates": {"short_page_unsaid": 1.0}}
SLOW_AND_LYING = {"rates": {"late": 0.25}, "late_ms": 800.0, "lies": 0.01}
"""Late answers make workers finish out of order, so that ranges and counters are not the same."""


@dataclass(frozen=True)
class Case:
    """A planted bug, the faults it is tried under, and the treatment."""

    planted: str
    treat: Callable[[Attack], None]
    faults: str | Mapping[str, Any] = field(default_factory=lambda: SLOW_AND_LYING)


def killed(attack: Attack) -> None:
    """Kills of a run that has work under way, then everything to its end, and merge once more."""
    for _ in range(KILLS):
        attack.strike_at_work(("run", "tokens", "--no-merge"), LATEST_S)
    attack.complete()
    attack.finish(("merge",))


def truncated(attack: Attack) -> None:
    """Goldsky cuts every answer of the first pass in half without a word, and is well from then on."""
    attack.sim.set_faults(TRUNCATED)
    child = attack.project.start("run", "tokens", "--track", "goldsky_tokens", planted=attack.planted)
    until(lambda: attack.project.log("recheck") or not child.alive, 60)
    attack.sim.set_faults("none")
    child.wait()
    attack.complete()


CASES = (
    Case("", killed),
    Case("ack_before_insert", killed),
    Case("done_up_to_highest", killed),
    Case("merge_everything", killed),
    Case("everything_proven", killed),
    Case("checkpoint_in_place", killed),
    Case("no_handover", killed),
    Case("letters_forgotten", killed),
    Case("forgetful_windows", killed),
    Case("", truncated, "none"),
    Case("no_recheck", truncated, "none"),
)


@contextmanager
def prepared(seed: int, shape: Shape = SHAPE, tokens: int = TOKENS, mapped: int = MAPPED) -> Iterator[Path]:
    """A project folder with fills and map imported and the plan made, to be copied; its warehouse is stopped."""
    folder = Path(tempfile.mkdtemp(prefix="prepared-"))
    try:
        dumps = World.generate(seed, tokens, mapped).write_dumps(folder / "dumps")
        project = Project(folder / "project", {}, shape)
        try:
            fills, token_map = str(dumps.fills), str(dumps.token_map)
            for words in (("import", "fills", fills), ("import", "token-map", token_map), ("setup",)):
                ended = project.run(*words)
                assert ended.code == 0, f"{words[0]} ended with {ended.code}: {ended.err}"
        finally:
            project.close()
        yield folder / "project"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def copied(prepared: Path, folder: Path, sim: SimulatorProcess, shape: Shape = SHAPE) -> Iterator[Project]:
    """A copy of a prepared project, pointed at a simulator; its warehouse stops with the block."""
    shutil.copytree(prepared, folder, symlinks=True)
    project = Project(folder, sim.env, shape)
    try:
        yield project
    finally:
        project.close()


def examine(case: Case, prepared: Path, seed: int) -> Verdict:
    """Treat a copy of the prepared project, and judge it."""
    folder = Path(tempfile.mkdtemp(prefix="planted-"))
    this = Round(Scenario(case.planted, case.faults, (SHAPE.dome_limits, SHAPE.goldsky_limits)), seed)
    truth = Truth(World.generate(seed, TOKENS, MAPPED), case.faults, seed)
    limits = {"dome_limits": SHAPE.dome_limits, "goldsky_limits": SHAPE.goldsky_limits}
    try:
        with (
            simulator(seed=seed, tokens=TOKENS, mapped=MAPPED, faults=case.faults, **limits) as sim,
            copied(prepared, folder / "project", sim) as project,
        ):
            case.treat(Attack(project, sim, this, case.planted))
            found = judge(project, truth, sim.summary())
        found.problems = this.verdict.problems + found.problems
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def catch(which: str, seed: int) -> int:
    """Try the wanted bugs, and say of each by what it was caught. 0: all caught, and the product itself clean."""
    from tests.acceptance import kill_lanes

    tried = [*_tokens_caught(which, seed)] if which != "lanes" else []
    tried += [_told(*each) for each in kill_lanes.caught("all" if which == "lanes" else which, seed)]
    failed = sum(not fine for _, fine in tried)
    bugs = sum(bool(planted) for planted, _ in tried)
    print(f"{'FAIL' if failed or not bugs else 'PASS'}: {bugs} planted bugs; {failed} variants not as they should be")
    return int(failed > 0 or not bugs)


def _tokens_caught(which: str, seed: int) -> Iterator[tuple[str, bool]]:
    wanted = [case for case in CASES if which in ("all", case.planted)]
    if not wanted:
        return
    wanted = [case for case in CASES if case in wanted or not case.planted]
    with prepared(seed) as base:
        for case in wanted:
            begun = time.monotonic()
            found = examine(case, base, seed)
            yield _told(case.planted, case.treat.__name__, time.monotonic() - begun, found)


def _told(planted: str, treatment: str, seconds: float, found: Verdict) -> tuple[str, bool]:
    """Print a line; which bug it was, and whether all is as it should be."""
    fine = found.good if not planted else not found.good
    word = ("clean" if fine else "NOT CLEAN") if not planted else ("caught" if fine else "NOT CAUGHT")
    print(f"{word:<10} {planted or f'(no bug, {treatment})':<26} {seconds:4.0f} s  {found}", flush=True)
    return planted, fine
