"""`backfill run DATASET` for every dataset but the tokens."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, note, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.engine.stop import StopSignal
    from backfill.log import Logger
    from backfill.runs import Outcome, Run
    from backfill.stages.planning import Wish
    from backfill.warehouse.client import Warehouse

HELP = {
    "markets": "Every market: condition, question, labels, tags, dates, fees. The others are planned from this list.",
    "fills": "Every fill of every known token, from all sources that cover it; then one row for each.",
    "payouts": "How the markets ended.",
    "wallets": "Which wallet trades for which owner.",
    "transfers": "Every movement of an outcome token on the chain.",
    "positions": "The positions of some wallets, as the Data API tells them.",
    "activity": "Splits, merges, redemptions, conversions.",
}
NEXT = {
    "markets": "backfill run tokens --track derive_tokens; backfill run fills",
    "fills": "backfill reconcile fills; backfill quality",
    "derive": "backfill merge",
    "payouts": "backfill verify",
    "transfers": "backfill gaps",
}

Then = Callable[["Config", "Warehouse", "Logger"], Coroutine[Any, Any, None]]
TrackName = Annotated[str | None, typer.Option("--track", help="Run this track alone.")]
Since = Annotated[
    str | None, typer.Option("--since", help="From here on: ISO 8601, unix seconds, or an age (24h, 7d).")
]
Until = Annotated[str | None, typer.Option("--until", help="Up to here, exclusive.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, max=1024, help="Instead of the config's number.")]
Wallet = Annotated[list[str] | None, typer.Option("--wallet", help="For this wallet; may be repeated.")]
Wallets = Annotated[Path | None, typer.Option("--wallets", help="For the wallets in this file, one a line.")]
Token = Annotated[list[str] | None, typer.Option("--token", help="Of this token; may be repeated. Wants --track.")]
Tokens = Annotated[Path | None, typer.Option("--tokens", help="Of the tokens in this file, one a line.")]
Top = Annotated[int | None, typer.Option("--top", "--top-wallets", min=1, help="For so many wallets, by volume.")]
Anew = Annotated[bool, typer.Option("--replace", help="Give up an unfinished plan and make a new one.")]


def register(group: typer.Typer) -> None:
    """Add one command for each dataset to the group `run`."""
    for dataset, text in HELP.items():
        group.command(dataset, help=text)(_command(dataset))


def _command(dataset: str) -> Callable[..., None]:
    def command(
        ctx: typer.Context,
        track: TrackName = None,
        since: Since = None,
        until: Until = None,
        workers: Workers = None,
        wallet: Wallet = None,
        wallets: Wallets = None,
        top: Top = None,
        token: Token = None,
        tokens: Tokens = None,
        anew: Anew = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        named = [*(wallet or ()), *read_wallets(wallets)]
        wish = wish_of(dataset, track, since, until, named, top, [*(token or ()), *read_words(tokens, "--tokens")])
        config = config_of(ctx)
        again = f"backfill run {dataset}{f' --track {track}' if track else ''}"
        if dry_run:
            return preview(config, dataset, wish, anew, as_json)
        outcomes: list[Outcome] = []
        try:
            run_async(session(config, [(dataset, wish)], workers, anew, again, outcomes))
        finally:
            report(outcomes, as_json)

    return command


def wish_of(
    dataset: str,
    track: str | None = None,
    since: str | None = None,
    until: str | None = None,
    wallets: Sequence[str] = (),
    top: int | None = None,
    tokens: Sequence[str] = (),
) -> Wish:
    """What the options ask for.

    Raises:
        UsageError: they make no sense.
    """
    from backfill.commands.moments import read_moment
    from backfill.stages.planning import Wish, check_wish

    now = time.time()
    start = None if since is None else read_moment(since, now)
    end = None if until is None else read_moment(until, now, "--until")
    wish = Wish(start, end, track, tuple(map(_address, wallets)), top, tuple(dict.fromkeys(map(_token, tokens))))
    check_wish(dataset, wish)
    return wish


def _address(text: str) -> str:
    import re

    from backfill.errors import UsageError

    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise UsageError(f"--wallet {text!r}: expected 0x and 40 hex digits")
    return text.lower()


def _token(text: str) -> str:
    from backfill.errors import UsageError

    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 256):
        raise UsageError(f"--token {text!r}: expected a token id in decimal digits")
    return str(int(text))


def read_wallets(path: Path | None) -> list[str]:
    """The addresses in a file: the first word of each line that is neither empty nor a comment.

    Raises:
        UsageError: the file cannot be read.
    """
    return read_words(path, "--wallets")


def read_words(path: Path | None, option: str) -> list[str]:
    """The first word of each line of a file that is neither empty nor a comment.

    Raises:
        UsageError: the file cannot be read.
    """
    from backfill.errors import UsageError

    if path is None:
        return []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option} {path}: {error}") from None
    return [line.replace(",", " ").split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]


async def session(
    config: Config,
    datasets: Sequence[tuple[str, Wish]],
    workers: int | None,
    anew: bool,
    again: str,
    outcomes: list[Outcome],
    then: Then | None = None,
) -> None:
    """Run datasets one after the other in one process, `then` what follows, and raise what decides the exit code."""
    from backfill.app import RunFile, new_run_id, ready_warehouse
    from backfill.engine.stop import StopSignal, on_signals
    from backfill.log import configure
    from backfill.runs import Run

    run_id, stop = new_run_id(), StopSignal()
    live = sys.stderr.isatty() and not os.environ.get("BACKFILL_PLAIN")
    log = configure(config.run.log_file, secrets=config.hidden(), run_id=run_id, stderr="warnings" if live else "json")
    file = RunFile(config.run.checkpoint_dir, run_id)
    with on_signals(stop):
        note(f"starting; if this stops for any reason, go on with: {again}")
        log.info("run_started", datasets=[dataset for dataset, _ in datasets])
        try:
            async with AsyncExitStack() as stack:
                warehouse = await stop.unless(stack.enter_async_context(ready_warehouse(config, log)))
                for dataset, wish in datasets:
                    made = Run(
                        config, warehouse, dataset, wish, log, run_id, stop, bars(live), file.phase, workers, anew
                    )
                    await _one(made, outcomes, log)
                if then is not None and not stop.stopping:
                    file.phase("derive")
                    await stop.unless(then(config, warehouse, log))
        finally:
            file.phase("ended")
            log.info("run_ended", datasets=[outcome.dataset for outcome in outcomes])
    conclude(stop, outcomes)


async def _one(run: Run, outcomes: list[Outcome], log: Logger) -> None:
    if run.stop.stopping or not run.names:
        return
    outcome = await run.run()
    outcomes.append(outcome)
    for name, error in outcome.unusable.items():
        log.warning("track_unusable", track=name, kind=error.kind, error=str(error))


def conclude(stop: StopSignal, outcomes: Sequence[Outcome]) -> None:
    """Raise what decides the exit code, if anything does."""
    from backfill.errors import worst

    stop.check()
    if problems := [problem for outcome in outcomes for problem in outcome.problems]:
        decisive = worst(ExceptionGroup("the run", problems))
        assert decisive is not None
        raise decisive


def bars(live: bool) -> Any:
    """What shows the tracks while they work: bars on a terminal."""
    from backfill.commands.bars import no_bars, show_bars

    @asynccontextmanager
    async def shown(desks: list[Any]) -> AsyncIterator[None]:
        async with show_bars(desks) if live else no_bars():
            yield

    return shown


def report(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """What came of it, also when the exit code will not be 0."""
    if as_json:
        documents = [outcome.document() for outcome in outcomes]
        return emit_json(documents[0] if len(documents) == 1 else {"datasets": documents})
    for outcome in outcomes:
        for line in lines(outcome):
            say(line)


def lines(outcome: Outcome) -> list[str]:
    """An outcome for people."""
    told = [
        f"{row['track']:<18} {row['state']:<11} {row['processed']:>9,} of {row['total']:,} asked, "
        f"{row['inserted']:,} rows, {row['failed_units']} units failed, {row['dead_letters']} dead letters"
        for row in outcome.tracks
    ]
    told += [f"{name:<18} unusable    {error}" for name, error in outcome.unusable.items()]
    if outcome.settled.get("table"):
        before, after = outcome.settled["rows_before"], outcome.settled["rows"]
        told.append(f"{outcome.settled['table']}: {after:,} rows, {after - before:,} more than before")
    if outcome.dataset == "derive" and not outcome.tracks:
        return [*told, "nothing to compute: the tokens of all known markets are there; backfill run markets finds more"]
    if outcome.dataset in NEXT:
        told.append(f"next: {NEXT[outcome.dataset]}")
    return told


def preview(config: Config, dataset: str, wish: Wish, anew: bool, as_json: bool) -> None:
    """What each track would ask for."""
    found = run_async(_previewed(config, dataset, wish, anew))
    if as_json:
        return emit_json({"dataset": dataset, "tracks": found, "dry_run": True})
    for name, row in found.items():
        if "unusable" in row:
            say(f"{name:<18} unusable: {row['unusable']}")
        else:
            what = "goes on with" if row["resumes"] else "would ask"
            say(f"{name:<18} {what} {row['units']:,} units, window {row['window']}")


async def _previewed(config: Config, dataset: str, wish: Wish, anew: bool) -> dict[str, Any]:
    from backfill.app import new_run_id, ready_warehouse
    from backfill.engine.stop import StopSignal, on_signals
    from backfill.log import configure
    from backfill.runs import Run

    run_id, stop = new_run_id(), StopSignal()
    log = configure(config.run.log_file, secrets=config.hidden(), run_id=run_id, stderr="warnings")
    with on_signals(stop):
        async with ready_warehouse(config, log) as warehouse:
            run = Run(config, warehouse, dataset, wish, log, run_id, stop, bars(False), lambda _: None, anew=anew)
            return await stop.unless(run.preview())
