"""`backfill rederive DATASET`: the rows made again from the answers that were kept, without a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.rederive import Rederivation, Rederived

INCOMPLETE = 4
SHOWN = 20
DERIVE = "derive"

Dataset = Annotated[
    str, typer.Argument(help="tokens, markets, fills, payouts, wallets, transfers, positions, activity.")
]
TrackName = Annotated[str | None, typer.Option("--track", help="Of this track alone.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rederive")(rederive)


def rederive(
    ctx: typer.Context, dataset: Dataset, track: TrackName = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Read every kept answer of a dataset once more by the rules of today; nobody is asked.

    Rows go to staging and on to their place; what was there already stays, or is replaced by what its answer says now.
    """
    check_names(dataset, track)
    found = run_async(_rederive(config_of(ctx), dataset, track, dry_run))
    if as_json:
        emit_json(found.document())
    else:
        for line in lines(found):
            say(line)
    if not found.whole:
        raise typer.Exit(INCOMPLETE)


def check_names(dataset: str, track: str | None) -> None:
    """Refuse what does not exist.

    Raises:
        UsageError: there is no such dataset, or it has no such track.
    """
    from backfill.errors import UsageError
    from backfill.stages.kept import TOKENS, tracks_of
    from backfill.tracks.catalog import DATASETS

    known = [TOKENS, *(name for name in DATASETS if name != DERIVE)]
    if dataset not in known:
        raise UsageError(f"{dataset}: no such dataset", remedy=f"one of {', '.join(known)}")
    if track is not None and track not in tracks_of(dataset):
        names = ", ".join(tracks_of(dataset))
        raise UsageError(f"--track {track}: no such track of {dataset}", remedy=f"one of {names}")


async def _rederive(config: Config, dataset: str, track: str | None, dry_run: bool) -> Rederivation:
    from backfill.app import new_run_id, ready_warehouse
    from backfill.engine.stop import StopSignal, on_signals
    from backfill.log import configure
    from backfill.stages.rederive import run_rederive

    log = configure(config.run.log_file, secrets=config.hidden(), run_id=new_run_id(), stderr="warnings")
    stop = StopSignal()
    with on_signals(stop):
        async with ready_warehouse(config, log) as warehouse:
            work = run_rederive(config, warehouse, dataset, log, only=track, dry_run=dry_run)
            found: Rederivation = await stop.unless(work)
    return found


def lines(found: Rederivation) -> list[str]:
    """The result for people."""
    told = [line for track in found.tracks for line in _track_lines(track, found.dry_run)]
    for name, verdicts in found.proofs.items():
        told.append(f"{name}: " + ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items()))
    if found.settled.get("table"):
        before, after = found.settled["rows_before"], found.settled["rows"]
        told.append(f"{found.settled['table']}: {after:,} rows, {after - before:,} more than before")
    if found.letters:
        told.append(
            "refused rows: backfill dead-letters list; those that pass today leave by backfill dead-letters replay"
        )
    if found.dataset == "tokens" and not found.dry_run:
        told.append("next: backfill merge")
    return told


def _track_lines(track: Rederived, dry_run: bool) -> list[str]:
    word = "would be made again" if dry_run else "made again"
    told = [f"{track.track:<18} {track.pages:>9,} pages read, {track.rows:,} rows {word}, {track.letters:,} refused"]
    told += [f"  {each}" for each in track.troubles[:SHOWN]]
    counts: dict[str, Any] = {"damaged": track.damaged, "without their plan": track.gone, "refused": track.unread}
    if any(counts.values()):
        told.append("  not read: " + ", ".join(f"{count:,} pages {why}" for why, count in counts.items() if count))
    if track.cut_off:
        told.append(f"  not all was kept of plan {', '.join(track.cut_off)}: raw.max_gb was reached")
    if track.not_kept:
        told.append(
            f"  {track.not_kept:,} finished units of the plan in force were not kept; only a run brings those rows"
        )
    return told
