"""Where the demo happens: a folder of its own, the commands as real processes, and the ways to kill them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from backfill.errors import UsageError
from backfill.files import held

MARKER = ".backfill-demo"
OURS = ("BACKFILL_", "POLYMARKET_", "DOME_API_KEY")
WAIT_S = 300.0
LOOK_S = 0.1
TELL_S = 4.0
STOP_S = 15.0

CONFIG = """\
# Written by `backfill demo`. The limits are those of the real upstreams; the batches are small, so that there is
# something to watch, and to kill.

[run]
progress_interval_s = 2
drain_s = 5

[warehouse]
idle_exit_s = 300

[upstreams.dome]
base_url = "{dome}"
timeout_s = 10

[upstreams.goldsky]
base_url = "{goldsky}"
timeout_s = 10

[tracks.dome_tokens]
batch = {dome_batch}

[tracks.goldsky_tokens]
batch = {goldsky_batch}
"""
WALLET = """
[[baseline_wallets]]
name = "wallet {number}"
address = "{address}"
expected_pnl_usd = {profit}
source = "cash"
tolerance = 0.000001
"""


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """An empty folder of the demo's own, held against a second demo. The one of an earlier demo is emptied.

    Raises:
        UsageError: there is something in it that no demo has made.
        TrackHeld: another demo is going on in it.
    """
    marker = folder / MARKER
    if folder.exists() and not marker.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "is there already, and no demo has made it: nothing in it is touched",
            where=str(folder),
            remedy="name another folder: --dir FOLDER",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with held(marker, what=f"the demo in {folder}"):
        empty(folder)
        yield folder


def empty(folder: Path) -> None:
    """Take out everything that a demo has left in its folder, its warehouse first."""
    from backfill.warehouse import launcher

    launcher.stop(folder / "data")
    for path in folder.iterdir():
        if path.name == MARKER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: negative codes are signals."""

    code: int
    out: str
    seconds: float

    @property
    def document(self) -> dict[str, Any]:
        """Its JSON; empty when it said none."""
        try:
            found = orjson.loads(self.out)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(slots=True)
class Child:
    """A command that runs. What it says goes to files: no pipe can hold it up, and it can be read afterwards."""

    process: subprocess.Popen[bytes]
    out: Path
    started: float = field(default_factory=time.monotonic)

    def kill(self) -> bool:
        """kill -9; whether it was still there to be killed."""
        self.process.kill()
        return self.process.wait() == -signal.SIGKILL

    def wait(self, seconds: float = WAIT_S) -> Ended:
        """Wait for its end; one that hangs is killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.process.kill()
        code = self.process.wait()
        return Ended(code, self.out.read_text(errors="replace"), time.monotonic() - self.started)


@dataclass(slots=True)
class Lab:
    """The demo's folder, with its commands."""

    folder: Path
    live: bool
    """Whether a run may draw its bars on our terminal."""
    env: Mapping[str, str] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """The config file that the commands are given."""
        return self.folder / "config.toml"

    def configure(self, values: Mapping[str, object], wallets: Mapping[str, int], env: Mapping[str, str]) -> None:
        """Write the config file; `wallets` are expected profits by address, in micro-dollars; `env` has the keys."""
        from backfill.commands import demo_profit

        named = (
            WALLET.format(number=number, address=address, profit=f"{profit / 10**6:.6f}")
            for number, (address, profit) in enumerate(wallets.items(), 1)
        )
        self.config.write_text((CONFIG + demo_profit.CONFIG).format(**values) + "".join(named))
        self.env = env
        (self.folder / "said").mkdir()

    def start(self, *words: str) -> Child:
        """Start a command of ours on the demo's config."""
        stem = f"{len(self.children) + 1:02}-{'-'.join(word for word in words[:2] if word.isalpha())}"
        out, err = (self.folder / "said" / f"{stem}.{end}" for end in ("out", "err"))
        with out.open("wb") as told, err.open("wb") as noted:
            process = subprocess.Popen(
                [sys.executable, "-m", "backfill", "--config", str(self.config), *words],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=None if self.live and words[0] == "run" else noted,
                env=self._environment(),
            )
        self.children.append(Child(process, out))
        return self.children[-1]

    def run(self, *words: str) -> Ended:
        """Run a command to its end."""
        return self.start(*words).wait()

    def _environment(self) -> dict[str, str]:
        """Nothing of the user's own settings or keys may reach the pretend upstreams."""
        outer = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
        home = str(Path(__file__).resolve().parents[2])
        paths = [home, *filter(None, outer.get("PYTHONPATH", "").split(os.pathsep))]
        return {**outer, "PYTHONPATH": os.pathsep.join(paths), "DOME_API_KEY": self.env["DOME_API_KEY"]}

    def reached(self, child: Child, share: float, tell: Callable[[int, int], None]) -> bool:
        """Wait until so much of the plan is asked; False when the run ended, or time was up, before that."""
        begun = told = time.monotonic()
        while child.process.poll() is None and time.monotonic() - begun < WAIT_S:
            processed, total = self.progress()
            if total and processed >= share * total:
                return True
            if not self.live and time.monotonic() - told > TELL_S:
                told = time.monotonic()
                tell(processed, total)
            time.sleep(LOOK_S)
        return False

    def progress(self) -> tuple[int, int]:
        """Tokens asked, and tokens to ask, over all tracks: from the files, as `status` has it."""
        from backfill.engine.report import Reader
        from backfill.tracks.tokens import TOKEN_TRACKS

        reader = Reader(self.folder / "checkpoints", self.folder / "data", tuple(TOKEN_TRACKS), lambda _: None)
        rows = reader.document()["tracks"]
        return sum(row["processed"] for row in rows), sum(row["total"] for row in rows)

    def warehouse_pid(self) -> int | None:
        """The embedded warehouse's process, None when it is not there."""
        from backfill.warehouse import launcher

        info = launcher.running(self.folder / "data")
        return None if info is None else info.pid

    def kill_warehouse(self) -> int | None:
        """kill -9 the embedded warehouse; its process id, None when it was not there."""
        pid = self.warehouse_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return pid
        return None

    def close(self) -> None:
        """End every process that is still there."""
        from backfill.warehouse import launcher

        for child in self.children:
            if child.process.poll() is None:
                child.process.terminate()
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(STOP_S)
            child.process.kill()
            child.process.wait()
        launcher.stop(self.folder / "data")
