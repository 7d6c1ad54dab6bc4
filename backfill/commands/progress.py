"""`backfill checkpoint` and `backfill retry-failed`: a track's progress, inspected, discarded, or taken up again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, DryRun, Yes, config_of, emit_json, note, say

if TYPE_CHECKING:
    from pathlib import Path

    from backfill.config import Config
    from backfill.engine.checkpoint import CheckpointFile
    from backfill.engine.plan import Plan

Track = Annotated[str, typer.Argument(help="A track's name, such as dome_tokens.")]
OneTrack = Annotated[str | None, typer.Option("--track", help="Of this track alone.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from backfill.commands import letters

    group = typer.Typer(help="A track's progress: look at it, or discard it.", no_args_is_help=True)
    group.command("show")(show)
    group.command("reset")(reset)
    app.add_typer(group, name="checkpoint")
    app.command("retry-failed")(retry_failed)
    letters.register(app)


def checked_tracks(track: str | None) -> tuple[str, ...]:
    """The track asked for, or all.

    Raises:
        UsageError: there is no such track.
    """
    from backfill.errors import UsageError
    from backfill.tracks.catalog import TRACK_NAMES
    from backfill.tracks.tokens import TOKEN_TRACKS

    names = (*TOKEN_TRACKS, *TRACK_NAMES)
    if track is None:
        return names
    if track not in names:
        raise UsageError(f"{track}: no such track", remedy=f"one of {', '.join(names)}")
    return (track,)


def resume_of(track: str) -> str:
    """The command that takes a track up again."""
    from backfill.tracks import catalog
    from backfill.tracks.tokens import TOKEN_TRACKS

    dataset = "tokens" if track in TOKEN_TRACKS else catalog.dataset_of(track).replace("derive", "tokens")
    return f"backfill run {dataset}"


def show(
    ctx: typer.Context,
    track: Annotated[str | None, typer.Argument(help="One track; all of them without.")] = None,
    as_json: AsJson = False,
) -> None:
    """What the checkpoint files say."""
    from backfill.engine.checkpoint import CheckpointFile

    folder = config_of(ctx).run.checkpoint_dir
    found = {}
    for name in checked_tracks(track):
        document = CheckpointFile(folder, name).read(lambda text: note(f"warning: {text}"))
        if document is not None:
            found[name] = document
    if as_json:
        return emit_json(found)
    from backfill.tracks.tokens import TOKEN_TRACKS

    for name in checked_tracks(track):
        if name in found or name in TOKEN_TRACKS or track:
            for line in checkpoint_lines(name, found.get(name)):
                say(line)


def checkpoint_lines(name: str, document: dict[str, Any] | None) -> list[str]:
    """A checkpoint for people."""
    if document is None:
        return [f"{name}: no checkpoint"]
    head = f"{name}: version {document['version']}, plan {document['plan_id']}, {document['updated_at']}"
    if not isinstance(document.get("done"), list):
        return [head, "  of a version that this program does not read"]
    done = sum(end - start for start, end in document["done"])
    told = [head, f"  done     {done:,} of {document['units_total']:,} units: {_ranges(document['done'])}"]
    if document.get("moved"):
        told.append(f"  moved    to the other track: {_ranges(document['moved'])}")
    told += [f"  open     unit {unit} at {entry['cursor']}" for unit, entry in document["open"].items()]
    told += [
        f"  failed   unit {unit}: {entry['class']}, {entry['attempts']} attempts: {entry['error']}"
        for unit, entry in document["failed"].items()
    ]
    return [*told, "  counted  " + ", ".join(f"{value:,} {key}" for key, value in document["counters"].items())]


def _ranges(pairs: list[list[int]], most: int = 12) -> str:
    told = ", ".join(str(start) if end == start + 1 else f"{start}–{end - 1}" for start, end in pairs[:most])
    return (told or "none") + (f", … ({len(pairs) - most} more ranges)" if len(pairs) > most else "")


def reset(ctx: typer.Context, track: Track, yes: Yes = False, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Discard a track's progress: it starts afresh. Rows that are in the warehouse stay there."""
    from backfill.engine.checkpoint import CheckpointFile, live_path, lock_path
    from backfill.files import held

    (name,) = checked_tracks(track)
    folder = config_of(ctx).run.checkpoint_dir
    file = CheckpointFile(folder, name)
    with held(lock_path(folder, name), what=name):
        there = file.path.exists() or file.previous.exists()
        if there:
            note(_loss(file))
            if not (yes or dry_run):
                _ask(name)
        if there and not dry_run:
            file.discard()
            live_path(folder, name).unlink(missing_ok=True)
    _reset_told(name, there, dry_run, as_json)


def _reset_told(name: str, there: bool, dry_run: bool, as_json: bool) -> None:
    if as_json:
        return emit_json({"track": name, "reset": there and not dry_run, "dry_run": dry_run})
    if not there:
        return say(f"{name} has no checkpoint; nothing to discard")
    say(f"{name} would start afresh" if dry_run else f"{name} starts afresh; next: {resume_of(name)}")


def _loss(file: CheckpointFile) -> str:
    """What a reset costs."""
    from backfill.errors import StateError

    stays = "rows that are in stay in, and are not doubled; their units are asked for again"
    try:
        document = file.read(lambda _: None) or {}
    except StateError:
        return f"{file.track}: its checkpoint cannot be read; {stays}"
    pairs = document.get("done")
    done = sum(end - start for start, end in pairs) if isinstance(pairs, list) else "some"
    return (
        f"{file.track}: {done} of {document.get('units_total')} units are done, "
        f"{len(document.get('failed') or ())} failed; {stays}"
    )


def _ask(name: str) -> None:
    from backfill.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError(f"nobody is there to ask whether to reset {name}", remedy="say --yes")
    typer.confirm(f"Discard the progress of {name}?", abort=True, err=True)


def retry_failed(ctx: typer.Context, track: OneTrack = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Make failed units pending again; the next run takes them up where they stopped."""
    from backfill.app import current_plan

    config = config_of(ctx)
    found = {}
    for name in checked_tracks(track):
        if (plan := _plan_of(config, name)) is not None:
            found[name] = _retry(config.run.checkpoint_dir, name, plan.plan_id, dry_run)
    if not found:
        current_plan(config)  # raises: nothing was ever planned
    total = sum(found.values())
    following = "; ".join(dict.fromkeys(resume_of(name) for name, count in found.items() if count)) or None
    if as_json:
        return emit_json({"retried": total, "tracks": found, "dry_run": dry_run, "next": following})
    for name, count in found.items():
        say(f"{name}: {count:,} failed units {'would be' if dry_run else 'are'} pending again")
    say(f"next: {following}" if total else "nothing has failed")


def _plan_of(config: Config, name: str) -> Plan | None:
    """The plan in force of a track, None when it has none."""
    from backfill.app import book_of

    plan = book_of(config, name).current()
    return plan if plan is not None and name in plan.shares else None


def _retry(folder: Path, name: str, plan_id: str, dry_run: bool) -> int:
    """Under the track's lock, because a run saves its own ledger over ours."""
    from backfill.engine.checkpoint import CheckpointFile, live_path, lock_path
    from backfill.files import held

    file = CheckpointFile(folder, name)

    def warn(text: str) -> None:
        note(f"warning: {text}")

    if dry_run:
        return len(file.peek(plan_id, warn).failed)
    with held(lock_path(folder, name), what=name):
        document = file.read(lambda _: None)
        progress = file.load(plan_id, warn)
        count = progress.retry_failed()
        if count and document is not None:
            file.save(plan_id, document["units_total"], progress.document())
            # It says "failed", which is not so any more.
            live_path(folder, name).unlink(missing_ok=True)
    return count
