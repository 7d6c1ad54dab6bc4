"""The kill test: a whole backfill over faulty upstreams, killed at random again and again, ends exactly right.

    python -m tests.acceptance.kill_test                          200 kills, then every planted bug
    python -m tests.acceptance.kill_test --kills 25 --seed 22 --first 1 --no-planted
    python -m tests.acceptance.kill_test --planted no_handover

Killed (kill -9) are the command at work and the embedded warehouse, sometimes both at once, at random instants of
import, setup, run, merge and verify; in other rounds, of every dataset's run and of the settling of its rows. Between
the kills an upstream goes away for a while, or the simulator is stopped (SIGSTOP). An undisturbed run then completes
the work, and what is in the map is compared with the world's truth as an exact multiset, and with the map of a run in
another folder that nothing disturbed; of the datasets, what every lane has staged and what production holds.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from backfill.simulator.process import SimulatorProcess
from backfill.simulator.world import World
from tests.acceptance import harness
from tests.acceptance.harness import Child, Ended, Project, Shape, Table, Truth, Verdict, judge, simulator, until

FINE = frozenset({0, 4})
"""Done, or done with refused rows, which lying upstreams leave behind."""
AWAY = 6
"""The short commands may say so when their warehouse is killed; a run has to wait for it."""
TARGETS = ("run", "warehouse", "both")
CHECKED = ("plan.json", "run.json")
LATEST_KILL_S = 2.4
ROUND_KILLS = 25
AT_WORK = 0.5
"""Share of the kills that wait for a run to be at work first, so that not too many fall into its start."""


@dataclass(frozen=True)
class Scenario:
    """What a round is like."""

    name: str
    faults: str | Mapping[str, Any]
    limits: tuple[str, str]
    two_processes: bool = False
    tokens: int = 4000
    workers: int = 6
    datasets: bool = False
    """Every dataset instead of the tokens' map: see `kill_lanes`."""

    def shape(self) -> Shape:
        """The config that goes with it."""
        dome, goldsky = self.limits
        return Shape(dome_limits=dome, goldsky_limits=goldsky, workers=self.workers, stall_s=20)


GENEROUS, TIGHT = ("40/1", "25/1"), ("10/1,60/10", "12/2")
OFF = ("off", "off")
REFUSING: Mapping[str, Any] = {
    "rates": {"rpc_too_many": 0.1, "rpc_timeout": 0.1, "short_page": 0.1, "store_timeout": 0.05, "late": 0.05}
}
"""A node that takes no wide ranges, pages that are cut, a store that is slow."""
SCENARIOS = (
    Scenario("rough", "rough", GENEROUS),
    Scenario("datasets, rough", "rough", OFF, tokens=120, datasets=True),
    Scenario("datasets, two processes", REFUSING, OFF, two_processes=True, tokens=120, datasets=True),
    Scenario("rough, tight windows", "rough", TIGHT, tokens=3000),
    Scenario("rough, two processes", "rough", GENEROUS, two_processes=True),
    Scenario("datasets, all", "all", OFF, tokens=120, datasets=True),
    Scenario("rough and lying", "all", GENEROUS, tokens=5000),
    Scenario("lying, tight, two processes", "all", TIGHT, two_processes=True, tokens=3000),
)


@dataclass
class Round:
    """One world, its kills, and what came of it."""

    scenario: Scenario
    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    asked: int = 0
    asked_undisturbed: int | None = 0
    """None where no undisturbed run stands beside it."""
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def killed(self) -> int:
        """Processes ended by kill -9."""
        return self.kills["run"] + self.kills["warehouse"]


class Attack:
    """Runs a project's commands and kills them."""

    upstreams: tuple[str, ...] = ("dome", "goldsky")
    tracks: tuple[str, ...] = tuple(harness.TRACKS)

    def __init__(self, project: Project, sim: SimulatorProcess, this: Round, planted: str = "") -> None:
        self.project, self.sim, self.round, self.planted = project, sim, this, planted
        self.random = random.Random(f"kill:{this.seed}")
        self.letters: dict[str, set[str]] = {track: set() for track in self.tracks}

    def stage(self, words: tuple[str, ...], kills: int, latest: float) -> None:
        """Start a command again and again, kill it `kills` times, then let it finish."""
        self.assault([words], kills, latest)
        self.finish(words)

    def assault(self, commands: list[tuple[str, ...]], kills: int, latest: float) -> None:
        """Start the commands side by side and kill, until so many processes were killed (or nothing is left to do)."""
        goal = self.round.killed + kills
        for _ in range(3 * kills):
            if self.round.killed >= goal:
                return
            self._strike(commands, latest)
            self._look()

    def _strike(self, commands: list[tuple[str, ...]], latest: float) -> None:
        children = [self._start(words) for words in commands]
        nuisance = self._nuisance() if commands[0][0] == "run" else None
        if commands[0][0] == "run" and self.random.random() < AT_WORK:
            asked = self._asked()
            until(lambda: self._asked() > asked or not any(child.alive for child in children), 20, every=0.05)
        until(lambda: not any(child.alive for child in children), self.random.uniform(0, latest))
        target = self.random.choices(TARGETS, (5, 3, 2))[0]
        if target != "run":
            self._killed("warehouse", commands, self.project.kill_warehouse())
        if target == "warehouse":
            # The command has lost its warehouse: it must cope, for a moment at least, before it is killed itself.
            until(lambda: not any(child.alive for child in children), self.random.uniform(0, 2 * latest))
        for child, words in zip(children, commands, strict=True):
            if child.alive:
                self._killed("run", [words], child.kill())
            self._check_end(words, child.wait())
        if nuisance is not None:
            nuisance()

    def strike_at_work(self, words: tuple[str, ...], latest: float) -> None:
        """Kill a run soon after it has recorded some progress."""
        before = [self.project.checkpoint(track) for track in self.tracks]
        child = self._start(words)
        until(
            lambda: not child.alive or [self.project.checkpoint(track) for track in self.tracks] != before,
            30,
        )
        until(lambda: not child.alive, self.random.uniform(0, latest))
        self._killed("run", [words], child.kill())
        self._check_end(words, child.wait())
        self._look()

    def _asked(self) -> int:
        return sum(int(figures["requests"]) for figures in self.sim.summary().values())

    def _start(self, words: tuple[str, ...]) -> Child:
        self.round.starts += 1
        return self.project.start(*words, planted=self.planted)

    def _killed(self, target: str, commands: list[tuple[str, ...]], really: bool) -> None:
        if really:
            self.round.kills[target] += 1
            self.round.stages[self._doing(commands[0])] += 1

    def _doing(self, words: tuple[str, ...]) -> str:
        """What a kill falls into, for the figures."""
        return " ".join(words[:2]) if words[0] == "import" else words[0]

    def _nuisance(self) -> Callable[[], None] | None:
        """Sometimes an upstream is away for a while, or all of the simulator stands still for a moment."""
        draw = self.random.random()
        if draw < 0.12:
            upstream = self.random.choice(self.upstreams)
            self.sim.set_mode(upstream, "down")
            return lambda: self.sim.set_mode(upstream, "ok")
        if draw < 0.2:
            os.kill(self.sim.pid, signal.SIGSTOP)
            time.sleep(self.random.uniform(0, 0.7))
            os.kill(self.sim.pid, signal.SIGCONT)
        return None

    def finish(self, words: tuple[str, ...]) -> Ended:
        """Run a command to its end, undisturbed."""
        self.round.starts += 1
        ended = self.project.run(*words, planted=self.planted)
        if ended.code not in FINE:
            self.round.verdict.problems.append(f"{' '.join(words[:2])} ended with {ended.code}: {_last_line(ended)}")
        return ended

    def complete(self) -> None:
        """What the user does after the kills: run, retry what failed, run again."""
        self.finish(("run", "tokens"))
        for _ in range(3):
            if not any(self.project.checkpoint(track).get("failed") for track in self.tracks):
                return
            self.finish(("retry-failed",))
            self.finish(("run", "tokens"))

    def _check_end(self, words: tuple[str, ...], ended: Ended) -> None:
        allowed = FINE | {-signal.SIGKILL} | (set() if words[0] == "run" else {AWAY})
        if ended.code not in allowed:
            self.round.verdict.problems.append(f"{' '.join(words)} ended with {ended.code}: {_last_line(ended)}")

    def _look(self) -> None:
        """Right after a kill: every state file is whole, and no dead letter has gone."""
        for name in (*CHECKED, *(f"{track}.json" for track in self.tracks)):
            path = self.project.checkpoints / name
            try:
                if path.exists():
                    orjson.loads(path.read_bytes())
            except orjson.JSONDecodeError:
                self.round.verdict.problems.append(f"{name} was torn by a kill")
        for track, before in self.letters.items():
            now = set(self.project.letters(track))
            if gone := before - now:
                self.round.verdict.problems.append(f"{len(gone)} dead letters of {track} are gone")
            self.letters[track] = now


def _last_line(ended: Ended) -> str:
    return (ended.err.strip().splitlines() or [""])[-1][:300]


def play(this: Round, kills: int, folder: Path, planted: str = "") -> None:
    """One round: attack, complete, judge, compare."""
    scenario = this.scenario
    if scenario.datasets:
        from tests.acceptance import kill_lanes

        return kill_lanes.play(this, kills, folder)
    begun = time.monotonic()
    mapped = scenario.tokens // 3
    options = {"seed": this.seed, "tokens": scenario.tokens, "mapped": mapped, "faults": scenario.faults}
    limits = {"dome_limits": scenario.limits[0], "goldsky_limits": scenario.limits[1]}
    truth = Truth(World.generate(this.seed, scenario.tokens, mapped), scenario.faults, this.seed)
    with simulator(**options, **limits, dumps=str(folder / "dumps")) as sim:
        project = Project(folder / "killed", sim.env, scenario.shape())
        try:
            _attack(project, sim, this, kills, planted)
            summary = sim.summary(reset=True)
            this.asked = sum(figures["requests"] for figures in summary.values())
            _collect(this.verdict, judge(project, truth, summary))
            sim.set_faults(_without_noise(scenario.faults))
            _collect(this.verdict, _compare(project, folder, sim, scenario))
            this.asked_undisturbed = sum(figures["requests"] for figures in sim.summary().values())
        finally:
            project.close()
    this.seconds = time.monotonic() - begun


def _attack(project: Project, sim: SimulatorProcess, this: Round, kills: int, planted: str) -> None:
    attack = Attack(project, sim, this, planted)
    fills, token_map = str(sim.ready["fills"]), str(sim.ready["token_map"])
    few = max(1, kills // 12)
    attack.stage(("import", "fills", fills), few, LATEST_KILL_S)
    attack.stage(("import", "token-map", token_map), few, LATEST_KILL_S / 2)
    attack.stage(("setup",), few, LATEST_KILL_S / 2)
    left = kills - this.killed - 2 * few
    if this.scenario.two_processes:
        attack.assault([("run", "tokens", "--track", track) for track in harness.TRACKS], left // 2, LATEST_KILL_S)
        left -= left // 2
    attack.assault([("run", "tokens", "--no-merge")], left, LATEST_KILL_S)
    attack.finish(("run", "tokens", "--no-merge"))
    attack.assault([("merge",)], few, LATEST_KILL_S / 2)
    attack.assault([("run", "tokens")], max(0, kills - this.killed - 1), LATEST_KILL_S)
    attack.complete()
    attack.stage(("verify",), 1, LATEST_KILL_S / 2)


def _collect(verdict: Verdict, other: Verdict) -> None:
    verdict.lost += other.lost
    verdict.doubled += other.doubled
    verdict.problems += other.problems


def _without_noise(faults: str | Mapping[str, Any]) -> dict[str, Any]:
    """The same lies, and nothing else going wrong."""
    return {"lies": 0.01 if faults in ("all", "liar") else 0.0}


def _compare(project: Project, folder: Path, sim: SimulatorProcess, scenario: Scenario) -> Verdict:
    """Whether an undisturbed run in another folder has the same map: token, condition and index, row by row."""
    other = Project(folder / "undisturbed", sim.env, scenario.shape())
    try:
        for words in (("import", "fills", sim.ready["fills"]), ("import", "token-map", sim.ready["token_map"])):
            other.run(*words)
        other.run("setup")
        ended = other.run("run", "tokens")
        theirs, ours = Table.read(other).rows, Table.read(project).rows
        differing = (theirs - ours) + (ours - theirs)
        problems = [f"the undisturbed run ended with {ended.code}"] * (ended.code not in FINE)
        problems += [f"{differing.total()} rows differ from the undisturbed run's"] * bool(differing)
        return Verdict(problems=problems)
    finally:
        other.close()


HEAD = (
    f"{'round':>5}  {'scenario':<28} {'seed':>6} {'kills':>5} {'run':>5} {'store':>5} {'starts':>6} "
    f"{'asked':>6} {'repeated':>8} {'lost':>4} {'doubled':>7} {'s':>5}  outcome"
)


def row(number: int, this: Round) -> str:
    """A line of the table."""
    repeated = "-" if this.asked_undisturbed is None else str(max(0, this.asked - this.asked_undisturbed))
    return (
        f"{number:>5}  {this.scenario.name:<28} {this.seed:>6} {this.killed:>5} {this.kills['run']:>5} "
        f"{this.kills['warehouse']:>5} {this.starts:>6} {this.asked:>6} {repeated:>8} {this.verdict.lost:>4} "
        f"{this.verdict.doubled:>7} {this.seconds:>5.0f}  {this.verdict}"
    )


def run(kills: int, seed: int, minutes: float, first: int = 0, keep: Path | None = None) -> int:
    """Rounds until so many processes were killed, or the time is over."""
    rounds: list[Round] = []
    begun = time.monotonic()
    print(HEAD, flush=True)
    while (left := kills - sum(each.killed for each in rounds)) > 0 and time.monotonic() - begun < minutes * 60:
        this = Round(SCENARIOS[(first + len(rounds)) % len(SCENARIOS)], seed + len(rounds))
        rounds.append(this)
        folder = Path(tempfile.mkdtemp(prefix=f"kill-{this.seed}-", dir=keep))
        play(this, min(ROUND_KILLS, left), folder)
        print(row(len(rounds), this), flush=True)
        if this.verdict.good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"       kept: {folder}; again: --seed {this.seed} --first {first + len(rounds) - 1}", flush=True)
    return _conclude(rounds, kills, time.monotonic() - begun)


def _conclude(rounds: list[Round], wanted: int, seconds: float) -> int:
    killed = sum(each.killed for each in rounds)
    stages = sum((each.stages for each in rounds), Counter[str]())
    bad = [each for each in rounds if not each.verdict.good]
    spread = ", ".join(f"{name} {count}" for name, count in sorted(stages.items()))
    print(f"kills by what was going on: {spread}")
    lost, doubled = sum(each.verdict.lost for each in rounds), sum(each.verdict.doubled for each in rounds)
    word = "PASS" if not bad and killed >= wanted else "FAIL"
    print(
        f"{word}: {killed} processes killed in {len(rounds)} rounds and {seconds / 60:.1f} min; rows lost {lost}, "
        f"doubled {doubled}; rounds with something wrong: {len(bad)}"
    )
    return int(word == "FAIL")


def main(argv: list[str] | None = None) -> int:
    """Read the options and go. 0: everything exact; 1: something was lost, doubled or wrong."""
    parser = argparse.ArgumentParser("kill_test", None, __doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30, help="start no round after so many minutes")
    parser.add_argument("--first", type=int, default=0, help="number of the scenario to begin with")
    parser.add_argument("--keep", type=Path, help="folder in which failing rounds are kept")
    parser.add_argument(
        "--planted",
        default="",
        help="only this planted bug (all, or lanes: those of the datasets); each must be caught",
    )
    parser.add_argument("--no-planted", action="store_true", help="leave the planted bugs out")
    options = parser.parse_args(argv)
    from tests.acceptance.catch import catch

    if options.planted:
        return catch(options.planted, options.seed)
    code = run(options.kills, options.seed, options.minutes, options.first, options.keep)
    return code if options.no_planted else max(code, catch("all", options.seed))


if __name__ == "__main__":
    sys.exit(main())
