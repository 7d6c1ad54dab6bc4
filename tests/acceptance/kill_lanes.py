"""The kill test's rounds for the datasets, and the bugs that only lanes can have.

Killed are the runs of every dataset, the settling of their rows, and the embedded warehouse, with one process or with
one for each lane. Then everything is run to its end, and what every lane has staged and what production holds is
compared with the world's ledger as exact multisets.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from backfill.simulator.process import SimulatorProcess
from tests.acceptance import lanes
from tests.acceptance.harness import Project, Verdict, until
from tests.acceptance.kill_test import LATEST_KILL_S, Attack, Round, Scenario
from tests.acceptance.lanes import DATASETS, SHAPE, Judge, Setting, command
from tests.acceptance.truth import Told

TRACKS = ("derive_tokens", *(track for tracks in DATASETS.values() for track in tracks))
SIDE_BY_SIDE = ("fills", "payouts", "activity")
"""Datasets whose lanes are run by a process each, where processes are to share the work."""
SETTLING_S = 0.4


class LaneAttack(Attack):
    """Kills the runs of datasets; now and then it waits for the settling to begin."""

    upstreams = ("goldsky", "data_api", "polygon", "gamma")
    tracks = TRACKS

    def __init__(
        self, project: Project, sim: SimulatorProcess, this: Round, setting: Setting, planted: str = ""
    ) -> None:
        super().__init__(project, sim, this, planted)
        self.setting = setting

    def _doing(self, words: tuple[str, ...]) -> str:
        return "settle" if self._phase() == "settle" else words[1] if words[0] == "run" else words[0]

    def _phase(self) -> str:
        try:
            return str(orjson.loads((self.project.checkpoints / "run.json").read_bytes())["phase"])
        except (OSError, orjson.JSONDecodeError, KeyError):
            return ""  # not written yet; torn ones are found by `_look`

    def strike_at_settling(self, words: tuple[str, ...]) -> None:
        """Kill a run, or its warehouse, soon after it has come to settle its rows."""
        child = self._start(words)
        until(lambda: self._phase() == "settle" or not child.alive, 60, every=0.005)
        until(lambda: not child.alive, self.random.uniform(0, SETTLING_S))
        if self.random.random() < 0.3:
            self._killed("warehouse", [words], self.project.kill_warehouse())
            until(lambda: not child.alive, self.random.uniform(0, SETTLING_S))
        if child.alive:
            self._killed("run", [words], child.kill())
        self._check_end(words, child.wait())
        self._look()

    def attack(self, dataset: str, kills: int) -> None:
        """Kill the runs of one dataset, and the settling that follows, then let it come to its end."""
        words = command(dataset, self.setting)
        side_by_side = self.round.scenario.two_processes and dataset in SIDE_BY_SIDE
        commands = [command(dataset, self.setting, track) for track in DATASETS[dataset]] if side_by_side else [words]
        before = self.round.killed
        self.assault(commands, max(1, kills - 1), LATEST_KILL_S)
        for each in commands[: max(0, kills - (self.round.killed - before))]:
            self.strike_at_settling(each)
        for each in commands:
            self.finish(each)

    def complete(self) -> None:
        """Every dataset once more, and what failed again."""
        for dataset in DATASETS:
            self.finish(command(dataset, self.setting))
        self.finish(("sync", "--dataset", "derive", "--json"))
        for _ in range(3):
            if not any(self.project.checkpoint(track).get("failed") for track in self.tracks):
                return
            self.finish(("retry-failed",))
            for dataset in DATASETS:
                self.finish(command(dataset, self.setting))


def setting_of(this: Round) -> Setting:
    """The world of a round."""
    return Setting(this.seed, this.scenario.tokens, bursts=this.seed % 2)


def play(this: Round, kills: int, folder: Path, planted: str = "") -> None:
    """One round: attack every dataset, complete, judge."""
    begun = time.monotonic()
    setting = setting_of(this)
    with (
        lanes.serving(setting, faults=this.scenario.faults, latency_ms=15.0) as sim,
        lanes.project_at(folder / "killed", sim, shape=SHAPE) as project,
    ):
        attack = LaneAttack(project, sim, this, setting, planted)
        for number, dataset in enumerate(DATASETS):
            left = len(DATASETS) - number
            attack.attack(dataset, -(-(kills - this.killed) // left))
        attack.complete()
        this.asked = sum(int(figures["requests"]) for figures in sim.summary(reset=True).values())
        this.asked_undisturbed = None
        found = judge(project, setting, alone=this.scenario.two_processes)
    this.verdict.lost += found.lost
    this.verdict.doubled += found.doubled
    this.verdict.problems += found.problems
    this.seconds = time.monotonic() - begun


def judge(project: Project, setting: Setting, *, alone: bool) -> Verdict:
    """Compare what all lanes have left behind with the truth.

    `alone`: the lanes of fills were run each by itself, so the chain has told of everything, and is believed.
    """
    told = setting.told(alone=alone)
    judging = Judge(project, told)
    judging.staged(TRACKS)
    judging.production(set(DATASETS) - {"fills"} if alone else DATASETS)
    if alone:
        judging.believed("fills", "chain_fills")
    judging.state(TRACKS)
    return judging.verdict()


# --- planted bugs


@dataclass(frozen=True)
class Case:
    """A planted bug, the faults it is tried under, the treatment, and which lanes and datasets are judged."""

    planted: str
    treat: Callable[[LaneAttack], None]
    tracks: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    faults: str | Mapping[str, Any] = "none"
    setting: Setting = field(default_factory=lambda: Setting(seed=21, tokens=60, bursts=1))
    told: Mapping[str, Any] = field(default_factory=dict)

    def expected(self) -> Told:
        """The truth."""
        return self.setting.told(**self.told)


def killed(attack: LaneAttack) -> None:
    """Kills while fills come in, then the end."""
    for _ in range(4):
        attack.strike_at_work(("run", "fills"), 0.3)
    attack.finish(("run", "fills"))


def goldsky(attack: LaneAttack) -> None:
    """One run of Goldsky's fills, nothing killed."""
    attack.finish(("run", "fills", "--track", "goldsky_fills"))


def data_api(attack: LaneAttack) -> None:
    """One run of the Data API's fills, nothing killed."""
    attack.finish(("run", "fills", "--track", "data_api_fills"))


def chain(attack: LaneAttack) -> None:
    """One run of the transfers, nothing killed."""
    attack.finish(("run", "transfers"))


def again(attack: LaneAttack) -> None:
    """Transfers, and the last hours of them once more."""
    attack.finish(("run", "transfers"))
    attack.finish(("run", "transfers"))


CUT_SMALL = {"rates": {"query_timeout": 1.0}, "timeout_above": 3}
"""Pages of three rows at most, so that many end between two rows that look alike."""
TOO_MANY = {"rates": {"rpc_too_many": 0.4}}
LIVELY = Setting(seed=22, tokens=60, bursts=0, busy=6.0)
CASES = (
    Case("", killed, DATASETS["fills"], ("fills",)),
    Case("ack_before_insert", killed, DATASETS["fills"], ("fills",)),
    Case("", goldsky, ("goldsky_fills",)),
    Case("cursor_by_time_only", goldsky, ("goldsky_fills",)),
    Case("", again, ("chain_transfers",), ("transfers",)),
    Case("settle_everything", again, ("chain_transfers",), ("transfers",)),
    Case("", chain, ("chain_transfers",), ("transfers",), TOO_MANY),
    Case("blocks_skipped_on_error", chain, ("chain_transfers",), ("transfers",), TOO_MANY),
    Case("", data_api, ("data_api_fills",), (), CUT_SMALL, LIVELY, {"alone": True}),
    Case("ordinals_anew_on_each_page", data_api, ("data_api_fills",), (), CUT_SMALL, LIVELY, {"alone": True}),
)


def examine(case: Case, seed: int) -> Verdict:
    """Treat a project of its own, with the list of markets in it, and judge it."""
    folder = Path(tempfile.mkdtemp(prefix="planted-"))
    this = Round(Scenario(case.planted, case.faults, ("off", "off"), datasets=True), seed)
    try:
        with (
            lanes.serving(case.setting, latency_ms=10.0) as sim,
            lanes.project_at(folder / "project", sim) as project,
        ):
            ended = project.run("run", "markets")
            assert ended.code == 0, f"markets ended with {ended.code}: {ended.err}"
            sim.set_faults(case.faults if isinstance(case.faults, str) else dict(case.faults))
            case.treat(LaneAttack(project, sim, this, case.setting, case.planted))
            judging = Judge(project, case.expected(), this.verdict.problems)
            judging.staged(case.tracks)
            judging.production(case.datasets)
            judging.state(case.tracks)
            return judging.verdict()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def caught(which: str, seed: int) -> Iterator[tuple[str, str, float, Verdict]]:
    """Try the wanted bugs: name of the bug, name of the treatment, seconds, verdict. The product itself goes first."""
    wanted = {case.treat for case in CASES if which in ("all", case.planted)}
    for case in CASES:
        if case.treat in wanted and (which == "all" or case.planted in ("", which)):
            begun = time.monotonic()
            found = examine(case, seed)
            yield case.planted, f"{case.treat.__name__}, lanes", time.monotonic() - begun, found
