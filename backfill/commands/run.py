"""`backfill run DATASET`: the tracks of a dataset side by side, then what follows."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands import datasets
from backfill.commands.common import AsJson, DryRun, config_of, emit_json, note, run_async, say

if TYPE_CHECKING:
    from backfill.app import RunFile, TokenRun
    from backfill.config import Config
    from backfill.engine.stop import StopSignal
    from backfill.runs import Outcome
    from backfill.stages.tokens import Relay

Summary = dict[str, Any]
DERIVE = "derive_tokens"


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Run the tracks of a dataset; resumes by itself.", no_args_is_help=True)
    group.command("tokens")(tokens)
    datasets.register(group)
    app.add_typer(group, name="run")


def tokens(
    ctx: typer.Context,
    track: Annotated[
        str | None,
        typer.Option("--track", help="Run this track alone: dome_tokens, goldsky_tokens or derive_tokens."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=1024, help="Instead of the config's number.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge/--no-merge", help="Whether merge and verify follow.")] = True,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Phases 1 and 2: compute the tokens of known markets, and ask Dome and Goldsky, side by side, which market each
    unmapped token belongs to; then phases 3 and 4."""
    from backfill.errors import UsageError
    from backfill.tracks.tokens import TOKEN_TRACKS

    if track == DERIVE:
        return _derive(ctx, workers, dry_run, as_json)
    if track is not None and track not in TOKEN_TRACKS:
        raise UsageError(f"--track {track}: no such track", remedy=f"one of {', '.join((*TOKEN_TRACKS, DERIVE))}")
    config = config_of(ctx)
    if dry_run:
        return _show_work(config, track, as_json)
    summary: Summary = {}
    try:
        run_async(_tokens(config, track, workers, merge and track is None, summary))
    finally:
        _report(summary, track, merge, as_json)


def _derive(ctx: typer.Context, workers: int | None, dry_run: bool, as_json: bool) -> None:
    """The track that asks nobody, alone."""
    if dry_run:
        return datasets.preview(config_of(ctx), "derive", datasets.wish_of("derive", DERIVE), False, as_json)
    outcomes: list[Outcome] = []
    wish = datasets.wish_of("derive", DERIVE)
    again = f"backfill run tokens --track {DERIVE}"
    try:
        run_async(datasets.session(config_of(ctx), [("derive", wish)], workers, False, again, outcomes))
    finally:
        datasets.report(outcomes, as_json)


def _show_work(config: Config, track: str | None, as_json: bool) -> None:
    """What is left to ask of whom."""
    from backfill.app import current_plan, work_left

    left = work_left(config, current_plan(config), track)
    if as_json:
        return emit_json({"tracks": left})
    for name, row in left.items():
        say(f"{name:<16} {row['units']:>8,} units left, about {row['tokens']:,} tokens in as many requests as units")


def _report(summary: Summary, track: str | None, merge: bool, as_json: bool) -> None:
    """The result, also when the exit code will not be 0."""
    if not summary:
        return
    if as_json:
        return emit_json({key: value for key, value in summary.items() if not key.startswith("_")})
    for line in closing_lines(summary, track, merge):
        say(line)


async def _tokens(config: Config, track: str | None, workers: int | None, merge: bool, summary: Summary) -> None:
    from backfill.app import RunFile, TokenRun, current_plan, new_run_id
    from backfill.engine.stop import StopSignal, on_signals
    from backfill.log import configure

    run_id, stop = new_run_id(), StopSignal()
    live = sys.stderr.isatty() and not os.environ.get("BACKFILL_PLAIN")
    secrets = config.hidden()
    log = configure(config.run.log_file, secrets=secrets, run_id=run_id, stderr="warnings" if live else "json")
    run = TokenRun(config, log, run_id, stop, workers, plan=current_plan(config), only=track)
    file = RunFile(config.run.checkpoint_dir, run_id)
    with run.leases(), on_signals(stop):
        again = f"backfill run tokens{f' --track {track}' if track else ''}"
        note(f"starting; if this stops for any reason, go on with: {again}")
        log.info("run_started", plan_id=run.plan.plan_id, tracks=list(run.names))
        file.phase("tokens")
        try:
            await _phases(run, file, merge, live, summary)
        finally:
            file.phase("ended")
            log.info("run_ended", **{key: value for key, value in summary.items() if key == "plan_id"})


async def _phases(run: TokenRun, file: RunFile, merge: bool, live: bool, summary: Summary) -> None:
    from contextlib import AsyncExitStack

    from backfill.app import drain, ready_warehouse

    async with AsyncExitStack() as stack:
        warehouse = await run.stop.unless(stack.enter_async_context(ready_warehouse(run.config, run.log)))
        derived = await _derived(run, warehouse, file) if run.only is None else []
        async with run.relay(warehouse) as relay:
            async with _bars(relay, live):
                await drain(run.stop, run.config.run.drain_s, relay.run())
            summary.update(_tracks_summary(run, relay))
        problems = _problems(run, relay) + derived
        if merge and not run.stop.stopping:
            await run.stop.unless(_follow_up(run, warehouse, file, summary, problems))
    _conclude(run.stop, problems)


async def _derived(run: TokenRun, warehouse: Any, file: RunFile) -> list[Any]:
    """The tokens of known markets, computed; what went wrong with that."""
    from backfill.runs import Run
    from backfill.stages.planning import Wish

    config = run.config
    if not config.tracks.derive_tokens.enabled:
        return []
    bars = datasets.bars(False)
    made = Run(config, warehouse, "derive", Wish(only=DERIVE), run.log, run.run_id, run.stop, bars, file.phase)
    found = (await made.run()).problems
    file.phase("tokens")
    return found


async def _follow_up(run: TokenRun, warehouse: Any, file: RunFile, summary: Summary, problems: list[Any]) -> None:
    """Phases 3 and 4."""
    from backfill.app import MERGE_LOCK
    from backfill.commands.stages import merge_document
    from backfill.engine.desk import lock_path
    from backfill.errors import GateFailed
    from backfill.files import held
    from backfill.stages.merge import run_merge
    from backfill.stages.verify import run_verify
    from backfill.warehouse.patience import patiently

    file.phase("merge")
    with held(lock_path(run.config.run.checkpoint_dir, MERGE_LOCK), what="merge"):
        merged = await run_merge(warehouse, run.log)
    summary["merge"] = merge_document(merged)
    run.log.info("merged", **{key: value for key, value in summary["merge"].items() if key != "conflict_rows"})
    for row in merged.conflicts:
        run.log.warning("conflict", **row)
    file.phase("verify")
    verified = await patiently(lambda: run_verify(run.config, warehouse), run.log, stage="verify")
    summary["verify"] = verified.document(strict=False)
    summary["_merged"], summary["_verified"] = merged, verified
    run.log.info("verified", passed=verified.passed, checks=summary["verify"]["checks"])
    if not verified.passed:
        failed = (
            ", ".join(check.name for check in verified.checks if check.passed is False)
            or "a planted fault was not caught"
        )
        problems.append(GateFailed(f"not verified: {failed}", remedy="backfill verify tells more"))


def _bars(relay: Relay, live: bool) -> Any:
    from backfill.commands.bars import no_bars, show_bars

    return show_bars([runner.desk for runner in relay.runners.values()]) if live else no_bars()


def _tracks_summary(run: TokenRun, relay: Relay) -> Summary:
    tracks = []
    for runner in relay.runners.values():
        document = runner.desk.document()
        tracks.append({key: document[key] for key in document if key not in {"pid", "stalled", "workers_active"}})
    return {"run_id": run.run_id, "plan_id": run.plan.plan_id, "tracks": tracks}


def _problems(run: TokenRun, relay: Relay) -> list[Any]:
    """What keeps this run from ending with 0, as errors; the worst of them is the exit code."""
    from backfill.errors import Unfinished

    lost = [runner for runner in relay.runners.values() if runner.unusable]
    found: list[Any] = []
    if lost and (run.only or len(lost) == len(relay.runners) or _left_undone(relay)):
        found += [runner.unusable for runner in lost]
    failed = sum(len(runner.desk.progress.failed) for runner in relay.runners.values())
    letters = sum(runner.desk.refused for runner in relay.runners.values())
    if failed or letters:
        what = f"{failed:,} units failed, {letters:,} rows were refused"
        found.append(Unfinished(what, remedy="backfill dead-letters list; backfill retry-failed"))
    return found


def _left_undone(relay: Relay) -> bool:
    """Whether some work found nobody: pending units of a track whose upstream is unusable."""
    return any(
        runner.unusable and not runner.desk.progress.settled(0, runner.primary.units)
        for runner in relay.runners.values()
    )


def _conclude(stop: StopSignal, problems: list[Any]) -> None:
    from backfill.errors import worst

    stop.check()
    if problems:
        decisive = worst(ExceptionGroup("the run", problems))
        assert decisive is not None
        raise decisive


def closing_lines(summary: Summary, track: str | None, merge: bool) -> list[str]:
    """What a person reads at the end."""
    from backfill.commands.stages import merge_lines, verify_lines

    told = []
    for row in summary.get("tracks", ()):
        told.append(
            f"{row['track']:<16} {row['state']:<11} {row['processed']:>9,} of {row['total']:,} tokens asked, "
            f"{row['inserted']:,} mapped, {row['failed_units']} units failed, {row['dead_letters']} dead letters"
        )
        if row["state"] == "failed" and row["last_error"]:
            told.append(f"{'':<16} {row['last_error']}")
    if "_merged" in summary:
        told += merge_lines(summary["_merged"])
    if "_verified" in summary:
        told += verify_lines(summary["_verified"])
    elif track is not None:
        told.append("next: the other track, or backfill run tokens for what is left, merge and verify")
    elif not merge:
        told.append("next: backfill merge, then backfill verify")
    return told
