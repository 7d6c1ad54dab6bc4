"""`backfill demo`: the whole pipeline on a made-up history, killed on the way, and compared with the truth."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, config_of, emit_json, note, say

if TYPE_CHECKING:
    from backfill.commands.demo_lab import Child, Ended, Lab
    from backfill.commands.demo_report import Answer, Report
    from backfill.simulator.process import SimulatorProcess
    from backfill.simulator.world import World

DOES_NOT_HOLD = 3
BLOWS = (("run", 0.3), ("warehouse", 0.55), ("run", 0.8))
"""Who is killed, once so much of the plan is asked."""
UPSTREAMS = ("dome", "goldsky", "data_api", "gamma", "clob", "polygon")
BATCHES = {"dome_batch": 10, "goldsky_batch": 40}
LIES = 0.01
FAULTS = 3
"""So many times the faults of the profile `mild`: about one request in eleven."""
LOOKS = ("status", "tail", "dead-letters list", "db query 'SELECT * FROM polymarket.ctf_token_map LIMIT 5'")
RECORD = "requests.json"
"""Every request as the upstreams saw it, for whoever doubts the figures."""
SHOW_CURSOR = "\x1b[?25h"
BOLD, GREEN, RED, PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    ctx: typer.Context,
    tokens: Annotated[int, typer.Option(min=100, help="Traded tokens of the made-up history.")] = 5000,
    seed: Annotated[int, typer.Option(help="Another seed is another history, with other faults.")] = 1,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where it happens; default: demo in the data folder.")
    ] = None,
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="Whether processes are killed on the way.")] = True,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Whether the folder stays to be looked at.")] = True,
    as_json: AsJson = False,
) -> None:
    """See it work, without a key or a network: local upstreams that fail and lie, processes killed, nothing lost."""
    from backfill.commands.demo_lab import Lab, empty, fresh_folder
    from backfill.commands.demo_report import lines

    place = (folder or _usual_folder(ctx)).absolute()
    with _ended_by_signals(), fresh_folder(place):
        lab = Lab(place, live=sys.stderr.isatty() and not as_json)
        try:
            report = _play(lab, tokens, seed, kill)
        finally:
            lab.close()
            _restore_terminal()
        if not keep:
            empty(place)
    if as_json:
        emit_json(report.document())
    else:
        _print(report, lines(report), keep)
    if not report.passed:
        raise typer.Exit(DOES_NOT_HOLD)


def _usual_folder(ctx: typer.Context) -> Path:
    """In the data folder; a demo is also for those who have no config yet."""
    if ctx.obj.path is None and not os.path.exists("config.toml") and "BACKFILL_CONFIG" not in os.environ:
        return Path("data/demo")
    return config_of(ctx).run.data_dir / "demo"


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that nothing we have started stays behind."""
    from backfill.errors import Interrupted

    def leave(number: int, _frame: object) -> None:
        raise Interrupted("the demo was stopped", exit_code=128 + number, remedy="the next one starts afresh")

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _restore_terminal() -> None:
    """A run that is killed while it draws its bars leaves the cursor hidden."""
    if sys.stderr.isatty():
        sys.stderr.write(SHOW_CURSOR)
        sys.stderr.flush()


def _play(lab: Lab, tokens: int, seed: int, kill: bool) -> Report:
    """The whole story, from an empty folder to the comparison."""
    from backfill.simulator.faults import PROFILES
    from backfill.simulator.process import SimulatorProcess

    options = {"seed": seed, "tokens": tokens, "dumps": str(lab.folder / "dumps"), "jitter_ms": 10.0}
    faults = {"rates": {kind: FAULTS * rate for kind, rate in PROFILES["mild"].rates.items()}, "lies": LIES}
    begun = time.monotonic()
    note(f"starting local upstreams that behave like Dome and Goldsky; everything stays in {lab.folder}")
    with SimulatorProcess(**options, faults=faults, record=str(lab.folder / RECORD)) as simulator:
        story = Story(lab, simulator, options, kill)
        story.report.seconds["start"] = time.monotonic() - begun
        story.prepare()
        story.ask()
        story.finish()
        story.compare()
        story.earn()
    story.report.seconds["in all"] = time.monotonic() - begun
    return story.report


@dataclass(slots=True)
class Story:
    """The demo, step by step; each fills in its part of the report."""

    lab: Lab
    simulator: SimulatorProcess
    options: dict[str, Any]
    kill: bool
    world: World = field(init=False)
    report: Report = field(init=False)
    lies: dict[str, dict[int, str]] = field(init=False)
    profits: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        from backfill.commands.demo_report import Report
        from backfill.simulator.runner import RunOptions

        # Made here a second time from the same seed: what the servers say is not asked of them.
        self.world = RunOptions(**self.options).world()
        self.lies = {name: self.simulator.lied_about(name) for name in ("dome", "goldsky")}
        figures = self.simulator.ready["world"]
        self.report = Report(str(self.lab.folder), figures, best=self.world.best_coverage())
        self.report.unknown = len(set(self.world.unmapped()) - self.world.reachable())
        self.report.kills_wanted = len(BLOWS) if self.kill else 0

    def prepare(self) -> None:
        """Import what is there, and plan what is to be asked."""
        from backfill.commands.demo_profit import expectations

        self.profits = expectations(self.world)
        urls = {name: self.simulator.ready[f"{name}_url"] for name in UPSTREAMS}
        self.lab.configure({**urls, **BATCHES}, self.profits, self.simulator.env)
        for kind, key in (("fills", "fills"), ("token-map", "token_map")):
            found = self._command("import", kind, self.simulator.ready[key], "--json").document
            note(f"  {found.get('read', 0):,} rows read, {found.get('inserted', 0):,} inserted")
        found = self._command("setup", "--json").document
        self.report.baseline = {key: found.get(key) for key in ("unique_ids", "mapped", "share", "unmapped", "fills")}
        shares = ", ".join(f"{name} {share['tokens']:,}" for name, share in found.get("tracks", {}).items())
        note(f"  {found.get('mapped', 0):,} of {found.get('unique_ids', 0):,} tokens are mapped; to ask: {shares}")

    def _command(self, *words: str) -> Ended:
        name = " ".join(word for word in words[:2] if not word.startswith("-"))
        _heading(f"backfill {name}")
        ended = self.lab.run(*words)
        self._ended(name, ended)
        return ended

    def _ended(self, name: str, ended: Ended) -> None:
        from backfill.errors import Unfinished

        self.report.codes[name] = ended.code
        self.report.seconds[name] = ended.seconds
        if ended.code not in (0, Unfinished.exit_code):
            note(f"  ended with exit code {ended.code}; what it said is in {self.lab.folder / 'said'}")

    def ask(self) -> None:
        """Run the tracks, through every blow."""
        child, begun = self._start_run(), time.monotonic()
        for victim, share in BLOWS if self.kill else ():
            if not self.lab.reached(child, share, _tell):
                break
            child = self._strike(child, victim)
        self.lab.reached(child, 2.0, _tell)
        ended = child.wait()
        self._ended("run tokens", ended)
        self.report.seconds["run tokens"] = time.monotonic() - begun
        self.report.tracks = ended.document.get("tracks", [])
        if ended.code:
            note(f"  exit code {ended.code}: finished, and some rows were refused, because both upstreams lie at times")

    def _start_run(self) -> Child:
        _heading("backfill run tokens")
        return self.lab.start("run", "tokens", "--no-merge", "--json")

    def _strike(self, child: Child, victim: str) -> Child:
        """kill -9, in the middle of the work; returns the run that goes on."""
        processed, total = self.lab.progress()
        pid = self.lab.kill_warehouse() if victim == "warehouse" else child.process.pid
        struck = pid is not None and (victim == "warehouse" or child.kill())
        _restore_terminal()
        if not struck:
            return child
        self.report.kills.append({"victim": victim, "pid": pid, "share": processed / total if total else 0.0})
        _heading(f"kill -9 {pid}: the {victim} is dead, {processed:,} of {total:,} tokens were asked", RED)
        if victim == "warehouse":
            note("  the run starts it again by itself, and what was not acknowledged is sent once more")
            return child
        for line in self.lab.run("status").out.splitlines():
            note(f"  {line}")
        return self._start_run()

    def finish(self) -> None:
        """Merge and verify."""
        self.report.merge = found = self._command("merge", "--json").document
        note(f"  {found.get('added', 0):,} added, {sum(found.get('disproven', {}).values()):,} disproven and kept out")
        self.report.merge.pop("conflict_rows", None)
        self.report.verify = self._command("verify", "--json").document
        unmapped = self.report.verify.pop("unmapped", [])
        self.report.unmapped = len(unmapped)
        note(f"  {'passed' if self.report.verify.get('passed') else 'NOT passed'}, {len(unmapped):,} tokens unmapped")

    def earn(self) -> None:
        """The rest of the history, and the profits; then the upstreams have their say about our manners."""
        from backfill.commands import demo_profit

        demo_profit.tell(self.report.money, self._command, self.profits, note)
        demo_profit.compare(self.report.money, demo_profit.facts(self.world), self._rows("demo_fills"))
        self.report.upstreams = self.simulator.summary()

    def compare(self) -> None:
        """The final map and the dead letters against the world's truth."""
        from collections import Counter

        from backfill.commands.demo_report import compare

        _heading("compare the map with the truth, row by row")
        rows = self._rows("demo_map")
        found = ((int(row["token_id"]), row["condition_id_norm"], int(row["outcome_index"])) for row in rows)
        self.report.comparison = compare(self._expected(), found)
        self.report.sources = dict(Counter(row["source"] for row in rows))
        self._compare_letters()

    def _expected(self) -> Iterator[Answer]:
        """What was mapped before, and every traded token that one of the upstreams answers truthfully."""
        honest = set[int]()
        for name, lies in self.lies.items():
            honest |= self.world.known_to(name) - lies.keys()  # type: ignore[arg-type]
        for token in self.world.traded:
            if token in self.world.mapped or token in honest:
                right = self.world.truth[token]
                yield token, right.condition, right.outcome_index

    def _rows(self, query: str) -> list[dict[str, Any]]:
        from backfill import config
        from backfill.commands.common import run_async
        from backfill.warehouse import queries
        from backfill.warehouse.client import open_warehouse

        async def read() -> list[dict[str, Any]]:
            async with open_warehouse(config.load(self.lab.config, {})) as warehouse:
                return await warehouse.fetch(queries.load(query))

        return run_async(read())

    def _compare_letters(self) -> None:
        from backfill.commands.demo_report import refusals
        from backfill.engine.deadletters import DeadLetters
        from backfill.engine.plan import PlanBook
        from backfill.tracks.tokens import TOKEN_TRACKS

        book = PlanBook(self.lab.folder / "checkpoints")
        plan, letters = book.current(), DeadLetters(self.lab.folder / "data")
        conditions = {token: right.condition for token, right in self.world.truth.items()}
        for name in plan.shares if plan else ():
            track = book.track(plan, name)  # type: ignore[arg-type]
            asked = {int(item) for segment in track.segments for item in track.items(segment)}
            lies = self.lies[TOKEN_TRACKS[name].upstream]
            self.report.refused[name] = refusals(lies, asked, conditions, list(letters.rows(name)))


def _tell(processed: int, total: int) -> None:
    note(f"  {processed:,} of {total:,} tokens asked" if total else "  starting")


def _heading(text: str, colour: str = BOLD) -> None:
    note(f"{colour}▸ {text}{PLAIN}" if _colours(sys.stderr.isatty()) else f"> {text}")


def _colours(terminal: bool) -> bool:
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print(report: Report, told: list[str], kept: bool) -> None:
    """The report; colour only where it is read by eyes."""
    from backfill.commands.demo_report import HEAD

    paint = _colours(sys.stdout.isatty())
    say()
    for line in told:
        say(f"{BOLD}{line[:HEAD]}{PLAIN}{line[HEAD:]}" if paint else line)
    say()
    for name, held in report.claims():
        mark = ("yes", "NO ")[not held]
        say(f"{(GREEN if held else RED) + mark + PLAIN if paint else mark}  {name}")
    say("ALL OF IT HOLDS" if report.passed else "SOMETHING DOES NOT HOLD")
    if kept:
        say()
        say("have a look:")
        for words in LOOKS:
            say(f"  {_ourselves()} --config {_short(Path(report.folder) / 'config.toml')} {words}")
        say(f"every request, as the upstreams saw it: {_short(Path(report.folder) / RECORD)}")


def _ourselves() -> str:
    """How this program was called, to be typed again."""
    called = Path(sys.argv[0])
    if called.name != "backfill":
        return "python -m backfill"
    return "backfill" if str(called.parent) in os.get_exec_path() else _short(called)


def _short(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)
