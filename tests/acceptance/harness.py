"""What acceptance tests need: a project folder, commands as real processes, and the truth to compare with.

Nothing here asks the product what is right: expectations come from the simulator's world, figures from the files and
from plain HTTP to the warehouse.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from backfill.simulator.faults import Faults, Lie
from backfill.simulator.model import UPSTREAMS, Upstream
from backfill.simulator.process import SimulatorProcess
from backfill.simulator.world import World
from backfill.warehouse import launcher

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-acceptance-0123456789"
TRACKS: dict[str, Upstream] = {"dome_tokens": "dome", "goldsky_tokens": "goldsky"}
FALSE_LIES = frozenset({"swapped", "other_condition"})
"""Well-formed and false: only arithmetic finds them. (An index out of range may be refused for either reason.)"""

CONFIG = """\
[run]
progress_interval_s = {progress_s}
stall_after_s = {stall_s}
drain_s = {drain_s}
[warehouse]
url = "{warehouse}"
idle_exit_s = 60
[upstreams.dome]
base_url = "http://127.0.0.1:1"
limits = [{dome_limits}]
timeout_s = {timeout_s}
[upstreams.goldsky]
base_url = "http://127.0.0.1:1"
limits = [{goldsky_limits}]
timeout_s = {timeout_s}
[tracks.dome_tokens]
workers = {workers}
batch = {dome_batch}
[tracks.goldsky_tokens]
workers = {workers}
batch = {goldsky_batch}
[gates]
global_coverage = {coverage}
"""


@dataclass(frozen=True)
class Shape:
    """How a project is configured. Limits are written as the simulator takes them: `10/1,100/10`, or `off`."""

    dome_limits: str = "off"
    goldsky_limits: str = "off"
    workers: int = 6
    dome_batch: int = 20
    goldsky_batch: int = 50
    stall_s: float = 60
    drain_s: float = 10
    progress_s: float = 1
    timeout_s: float = 10
    coverage: float = 0.9
    warehouse: str = "embedded"

    def text(self) -> str:
        """The config file."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return CONFIG.format(**{**values, **{name: _toml_limits(values[name]) for name in values if "limits" in name}})


def _toml_limits(text: str) -> str:
    if text == "off":
        return ""
    parts = (part.split("/") for part in text.split(","))
    return ", ".join(f"{{ requests = {count}, seconds = {seconds} }}" for count, seconds in parts)


class Ended(NamedTuple):
    """How a command ended. `code` is negative when a signal ended it without the program's doing."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as JSON."""
        return orjson.loads(self.out)


class Child:
    """A command that runs as a process; what it says goes to files, so that no pipe can hold it up."""

    def __init__(self, command: list[str], folder: Path, env: Mapping[str, str], name: str) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        self.started = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder.parent, env=dict(env)
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        if self.alive:
            self._process.send_signal(number)

    def kill(self) -> bool:
        """kill -9; whether it was still there to be killed."""
        self.signal(signal.SIGKILL)
        return self._process.wait() == -signal.SIGKILL

    def wait(self, seconds: float = 120) -> Ended:
        """Wait for its end.

        Raises:
            AssertionError: it hangs; it is killed then.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"hung for {seconds:g} s; it said:\n{self.said[-3000:]}") from None
        return Ended(code, self._out.read_text(errors="replace"), self.said)


@dataclass
class Project:
    """A folder with a config, in which commands are run."""

    folder: Path
    env: dict[str, str]
    shape: Shape = field(default_factory=Shape)
    extra: str = ""
    _count: int = 0

    def __post_init__(self) -> None:
        self.said.mkdir(parents=True, exist_ok=True)
        self.configure(self.shape)

    def configure(self, shape: Shape) -> None:
        """Write the config file."""
        self.shape = shape
        (self.folder / "config.toml").write_text(shape.text() + self.extra)

    @property
    def said(self) -> Path:
        """Folder of everything the commands have said."""
        return self.folder / "said"

    @property
    def checkpoints(self) -> Path:
        """The checkpoint folder."""
        return self.folder / "checkpoints"

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    def start(self, *words: str, planted: str = "", env: Mapping[str, str] | None = None) -> Child:
        """Start a command; `planted` names a bug to put into it first (see planted.py)."""
        self._count += 1
        module = ["tests.acceptance.planted", planted, "--"] if planted else ["backfill"]
        name = f"{self._count:04}-{'-'.join(word.strip('-') for word in words[:3] if '/' not in word)}"
        outer = {k: v for k, v in os.environ.items() if not k.startswith("BACKFILL_") and k != "DOME_API_KEY"}
        merged = {**outer, "PYTHONPATH": str(ROOT), **self.env, **(env or {})}
        return Child([sys.executable, "-m", *module, *words], self.said, {k: v for k, v in merged.items() if v}, name)

    def run(self, *words: str, planted: str = "", seconds: float = 120, env: Mapping[str, str] | None = None) -> Ended:
        """Run a command to its end."""
        return self.start(*words, planted=planted, env=env).wait(seconds)

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """The lines of the log file (of one event)."""
        path = self.folder / "logs" / "backfill.jsonl"
        if not path.exists():
            return []
        rows = (orjson.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
        return [row for row in rows if event in (None, row["event"])]

    def checkpoint(self, track: str) -> dict[str, Any]:
        """A track's checkpoint, empty where there is none."""
        path = self.checkpoints / f"{track}.json"
        try:
            return dict(orjson.loads(path.read_bytes()))
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}  # torn ones are found by `Attack` and by `judge`

    def segments(self, track: str) -> list[dict[str, Any]]:
        """The segments of a track, read from the plan's files, with their `items`."""
        plan = orjson.loads((self.checkpoints / "plan.json").read_bytes())
        home = self.checkpoints / "plans" / plan["plan_id"]
        found = [plan["tracks"][track]]
        while (path := home / f"{track}.{len(found)}.json").exists():
            found.append(orjson.loads(path.read_bytes()))
        return [{**each, "items": _items(home / f"{track}.{n}.ids")} for n, each in enumerate(found)]

    def letters(self, track: str) -> dict[str, dict[str, Any]]:
        """A track's dead letters by id."""
        path = self.data / "dead_letters" / f"{track}.jsonl"
        found: dict[str, dict[str, Any]] = {}
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # torn by a kill: it was never acknowledged
            found[row["id"]] = row
        return found

    def warehouse_pid(self) -> int | None:
        """The process that owns this folder's embedded warehouse, None when there is none."""
        try:
            pid = int(orjson.loads((self.data / "warehouse" / "server.json").read_bytes())["pid"])
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, KeyError):
            return None
        # Ids are used again: only a process that names our folder is ours to end.
        return pid if str(self.data.resolve()).encode() in words else None

    def kill_warehouse(self) -> bool:
        """kill -9 the embedded warehouse; whether there was one."""
        pid = self.warehouse_pid()
        if pid is None:
            return False
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        until(lambda: not Path(f"/proc/{pid}/cmdline").exists() or self.warehouse_pid() != pid, 10)
        return True

    def query(self, sql: str) -> list[list[Any]]:
        """Rows by plain HTTP from the embedded warehouse; numbers beyond 32 bits come as text."""
        info = launcher._ensure(self.data, 60)
        request = urllib.request.Request(
            info.url + "/?output_format_json_quote_64bit_integers=1",
            data=f"{sql} FORMAT JSONCompactEachRow".encode(),
            headers={"X-ClickHouse-User": info.user, "X-ClickHouse-Key": info.password},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [orjson.loads(line) for line in answer.read().splitlines()]

    def close(self) -> None:
        """Stop the embedded warehouse."""
        launcher.stop(self.data)

    def tracebacks(self) -> list[str]:
        """Files on which a command has written a traceback, or the key."""
        bad = []
        for path in [*self.said.iterdir(), *self.folder.glob("logs/*")]:
            text = path.read_text(errors="replace")
            bad += [f"{path.name}: {word}" for word in ("Traceback (most recent", KEY) if word in text]
        return bad


def _items(path: Path) -> set[int]:
    return {int(line) for line in path.read_text().split()}


def until(test: Callable[[], object], seconds: float, every: float = 0.01) -> bool:
    """Wait until `test` holds; whether it did in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if test():
            return True
        time.sleep(every)
    return bool(test())


class Row(NamedTuple):
    """A row of the map, as far as it can be known beforehand."""

    token: int
    condition: str
    outcome: int


@dataclass(frozen=True)
class Truth:
    """A world and the lies told about it; `unsaid` profiles lie about nothing."""

    world: World
    profile: str | Mapping[str, Any]
    seed: int

    @cached_property
    def lies(self) -> dict[Upstream, dict[int, Lie]]:
        """What each upstream answers wrongly."""
        faults = Faults(self.world, self.profile, self.seed)
        return {name: faults.lied_about(name) for name in UPSTREAMS}

    def honest(self, upstream: Upstream) -> frozenset[int]:
        """Tokens about which this upstream tells the truth."""
        return self.world.known_to(upstream) - self.lies[upstream].keys()

    @cached_property
    def expected(self) -> Counter[Row]:
        """The map after a complete run: what was there, and every token that somebody answers truthfully."""
        honest = self.honest("dome") | self.honest("goldsky")
        known = (token for token in self.world.traded if token in self.world.mapped or token in honest)
        return Counter(self.row(token) for token in known)

    def row(self, token: int) -> Row:
        """The right answer."""
        right = self.world.truth[token]
        return Row(token, right.condition, right.outcome_index)


def simulator(**options: Any) -> SimulatorProcess:
    """A simulator process with the acceptance key."""
    return SimulatorProcess(**{"key": KEY, "latency_ms": 15.0, "jitter_ms": 5.0, **options})


@dataclass
class Table:
    """What the map holds, row by row, without FINAL."""

    rows: Counter[Row]
    labels: list[tuple[int, str, str | None, str | None]]

    @classmethod
    def read(cls, project: Project) -> Table:
        """Read it."""
        found = project.query(
            "SELECT toString(token_id), condition_id_norm, outcome_index, source, outcome, market_slug "
            "FROM polymarket.ctf_token_map"
        )
        rows = Counter(Row(int(token), condition, index) for token, condition, index, *_ in found)
        return cls(rows, [(int(token), source, label, slug) for token, _, _, source, label, slug in found])


@dataclass
class Verdict:
    """What is wrong with the outcome of a run; empty when all is well."""

    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.problems)

    def __str__(self) -> str:
        counted = [f"{self.lost} lost"] * bool(self.lost) + [f"{self.doubled} doubled"] * bool(self.doubled)
        return "; ".join(counted + self.problems) or "exact"


def judge(project: Project, truth: Truth, summary: Mapping[str, Any] | None = None) -> Verdict:
    """Compare everything that a finished run has left behind with the truth."""
    verdict = Verdict()
    table = Table.read(project)
    _judge_table(table, truth, verdict)
    for track, upstream in TRACKS.items():
        verdict.problems += [f"{track}: {text}" for text in _track_problems(project, truth, track, upstream)]
    verdict.problems += window_problems(summary or {})
    verdict.problems += project.tracebacks()
    return verdict


def _judge_table(table: Table, truth: Truth, verdict: Verdict) -> None:
    expected = truth.expected
    tokens = Counter[int]()
    for row, count in table.rows.items():
        tokens[row.token] += count
    wrong = [row for row in table.rows if row.token not in truth.world.truth or row != truth.row(row.token)]
    unwanted = [row for row in table.rows if row not in expected and row not in wrong]
    verdict.lost = sum(row not in table.rows for row in expected)
    verdict.doubled = sum(count - 1 for count in tokens.values())
    if wrong:
        verdict.problems.append(f"{len(wrong)} wrong rows, such as {wrong[0]}")
    if unwanted:
        verdict.problems.append(f"{len(unwanted)} rows that nobody answers truthfully, such as {unwanted[0]}")
    if mislabelled := [row for row in table.labels if not _label_fits(truth, *row)]:
        verdict.problems.append(f"{len(mislabelled)} labels or slugs wrong, such as {mislabelled[0]}")
    if not verdict.good and table.rows == expected:
        return
    assert verdict.good == (table.rows == expected) or verdict.problems, "the multiset differs and nobody says how"


def _label_fits(truth: Truth, token: int, source: str, label: str | None, slug: str | None) -> bool:
    if source == "goldsky":
        return label is None and slug is None
    right = truth.world.truth.get(token)
    return right is not None and (label, slug) == (right.label, right.slug)


def _track_problems(project: Project, truth: Truth, track: str, upstream: Upstream) -> Iterator[str]:
    document, segments = project.checkpoint(track), project.segments(track)
    if not document:
        yield "no checkpoint"
        return
    yield from _counter_problems(project, document, segments, upstream)
    yield from _letter_problems(project, truth, track, upstream, segments)


def _counter_problems(
    project: Project, document: dict[str, Any], segments: list[dict[str, Any]], upstream: Upstream
) -> Iterator[str]:
    units = sum(each["units"] for each in segments)
    settled = {n for key in ("done", "moved") for start, end in document.get(key, ()) for n in range(start, end)}
    if settled | {int(n) for n in document["failed"]} != set(range(units)):
        yield f"{units - len(settled)} of {units} units in no final state"
    if document["failed"]:
        yield f"{len(document['failed'])} units failed, such as {next(iter(document['failed'].values()))}"
    if document["open"]:
        yield f"{len(document['open'])} units still open"
    counters = document["counters"]
    total = sum(each["tokens"] for each in segments if each["kind"] != "recheck")
    if not document.get("moved") and counters["processed"] != total:
        yield f"processed {counters['processed']}, but {total} were to be asked"
    ((staged,),) = project.query(f"SELECT toString(uniqExact(token_id)) FROM staging.clob_asset_map_{upstream}")
    if counters["inserted"] != int(staged):
        yield f"inserted {counters['inserted']}, but {staged} different tokens are staged"


def _letter_problems(
    project: Project, truth: Truth, track: str, upstream: Upstream, segments: list[dict[str, Any]]
) -> Iterator[str]:
    """Every lie that was told must be among the dead letters, in its class."""
    asked: set[int] = set().union(*(each["items"] for each in segments))
    letters = list(project.letters(track).values())
    disproven = {int(orjson.loads(each["raw"])["token_id"]) for each in letters if each["class"] == "disproven"}
    malformed = " ".join(each["raw"] for each in letters if each["class"] == "contract")
    told = {token: lie for token, lie in truth.lies[upstream].items() if token in asked}
    false = {token for token, lie in told.items() if lie in FALSE_LIES}
    if missing := false - disproven:
        yield f"{len(missing)} false answers are not among the dead letters"
    if slandered := disproven - told.keys():
        yield f"{len(slandered)} true answers were called disproven"
    for token, lie in told.items():
        kept = token in disproven or str(token) in malformed or truth.world.truth[token].condition in malformed
        if lie not in FALSE_LIES and not kept:
            yield f"a malformed answer ({lie}) about {token} is not among the dead letters"


def window_problems(summary: Mapping[str, Any]) -> list[str]:
    """Sliding windows that were exceeded, as the simulator saw requests arrive."""
    return [
        f"{name}: {window['max_count']} requests within {window['seconds']:g} s, allowed are {window['requests']}"
        for name, figures in summary.items()
        for window in figures["windows"]
        if window["exceeded"]
    ]
