"""A project folder with its own config, and the command line in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill import __main__ as program
from backfill.commands.cli import build
from backfill.engine.checkpoint import CheckpointFile, live_path
from backfill.engine.model import Counters, Failure
from backfill.engine.plan import Outline, Plan, PlanBook
from backfill.engine.progress import Progress

SOURCES = Path(__file__).resolve().parents[2]
DOME, GOLDSKY = "dome_tokens", "goldsky_tokens"


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its JSON document."""
        return orjson.loads(self.out)


@dataclass
class Project:
    """A folder with a config.toml; `env` is what its commands see besides."""

    root: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    env: dict[str, str] = field(default_factory=dict)

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def config_file(self) -> Path:
        return self.root / "config.toml"

    def call(self, *words: str) -> Answer:
        """Run a command in this process, as `python -m backfill` would."""
        self.capture.readouterr()
        with self.monkeypatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["backfill", "--config", str(self.config_file), *words])
            try:
                code = program._guarded(build())
            except SystemExit as left:
                code = int(left.code or 0)
        said = self.capture.readouterr()
        return Answer(code, said.out, said.err)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Run a command in a process of its own."""
        command = [sys.executable, "-m", "backfill", "--config", str(self.config_file), *words]
        path = os.pathsep.join(filter(None, (str(SOURCES), os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            command,
            env={**os.environ, **self.env, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def plan(self, units: int = 4, batch: int = 2) -> Plan:
        """Make a plan in which each track has so many units."""
        half = units * batch
        shares = {DOME: (range(1, half + 1), batch), GOLDSKY: (range(half + 1, 2 * half + 1), batch)}
        return PlanBook(self.checkpoints).write(Outline("a warehouse", "even", {}, shares, "2026-11-21T00:00:00Z"))

    def checkpoint(
        self, plan: Plan, track: str, *, done: int = 0, failed: tuple[int, ...] = (), moved: int = 0
    ) -> None:
        """Save progress of a track: the first `done` units, `moved` of the last, and those that failed."""
        units = plan.shares[track].units
        progress = Progress()
        for number in range(done):
            progress.done.add(number)
        for number in failed:
            progress.fail(number, Failure("refused", "HTTP 400: no", 1))
        progress.move(units - moved, moved)
        progress.counters = Counters(processed=2 * done, inserted=2 * done - 1 if done else 0)
        CheckpointFile(self.checkpoints, track).save(plan.plan_id, units, progress.document())

    def live(self, track: str, **fields: Any) -> None:
        """Write a live file as a run does."""
        document = {"run_id": "a run", "pid": os.getpid(), "track": track, "state": "running", **fields}
        live_path(self.checkpoints, track).write_bytes(orjson.dumps(document))

    def run_file(self, phase: str = "tokens", pid: int | None = None) -> None:
        """Write run.json as a run does."""
        content = {"run_id": "a run", "pid": os.getpid() if pid is None else pid, "phase": phase}
        (self.checkpoints / "run.json").write_bytes(orjson.dumps(content))
