"""`backfill dead-letters`: rows that were refused, listed, and judged again by the rules of today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, run_async, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.config import Config
    from backfill.stages.replay import Replay

SHOWN = 60
SOME_REFUSED = 4
NEXT = "next: backfill merge"
OneTrack = Annotated[
    str | None, typer.Option("--track", help="Of this track alone; imports are import_fills and import_token_map.")
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Rows that were refused, with the reason: list them, replay them.", no_args_is_help=True)
    group.command("list")(list_letters)
    group.command("replay")(replay)
    app.add_typer(group, name="dead-letters")


def list_letters(
    ctx: typer.Context,
    track: OneTrack = None,
    cls: Annotated[
        str | None, typer.Option("--class", help="contract, conflict, disproven, unreadable or refused.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Every row that was refused, where it came from, and why."""
    from backfill.engine.deadletters import DeadLetters

    found = DeadLetters(config_of(ctx).run.data_dir).rows(track)
    rows = [row for row in found if cls in (None, row.get("class"))]
    if as_json:
        return emit_json({"total": len(rows), "rows": rows})
    for line in letter_lines(rows):
        say(line)


def letter_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Dead letters for people."""
    from backfill.commands.status import clean

    told = [
        f"{row['id']}  {row['track']:<16}  unit {row['unit']:>6}  {row['class']:<10}  {row['at']}  "
        f"{clean(row['reason'])}\n    {shortened(clean(row['raw']))}"
        for row in rows
    ]
    if not rows:
        return ["no dead letters"]
    return [*told, f"{len(rows):,} dead letters; --json has them whole; next: backfill dead-letters replay"]


def shortened(raw: str, most: int = SHOWN * 2) -> str:
    """The beginning of a raw text."""
    return raw if len(raw) <= most else f"{raw[: most - 1]}… ({len(raw):,} characters)"


def replay(
    ctx: typer.Context,
    track: OneTrack = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="This letter alone; may be repeated.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Try refused rows again with the rules of today; those that pass go in, and their letters out."""
    found = run_async(_replay(config_of(ctx), track, frozenset(ids or ()), dry_run))
    if as_json:
        emit_json(found.document())
    else:
        for line in replay_lines(found):
            say(line)
    if found.still_refused:
        raise typer.Exit(SOME_REFUSED)


async def _replay(config: Config, track: str | None, ids: frozenset[str], dry_run: bool) -> Replay:
    from backfill.app import new_run_id
    from backfill.engine.deadletters import DeadLetters
    from backfill.errors import UsageError
    from backfill.log import configure
    from backfill.stages.replay import Replay, run_replay
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    rows = [row for row in DeadLetters(config.run.data_dir).rows(track) if not ids or row["id"] in ids]
    if missing := ids - {row["id"] for row in rows}:
        raise UsageError(f"no dead letter {', '.join(sorted(missing))}", remedy="backfill dead-letters list")
    if not rows:
        return Replay(dry_run)
    log = configure(config.run.log_file, secrets=config.hidden(), run_id=new_run_id(), stderr="warnings")
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await run_replay(config, warehouse, rows, log, dry_run=dry_run)


def replay_lines(found: Replay) -> list[str]:
    """The result for people."""
    from backfill.commands.status import clean

    word = "would pass" if found.dry_run else "replayed"
    told = [f"{found.replayed:,} letters {word}, {found.still_refused:,} are still refused"]
    told += [f"  {identity}  {clean(reason)}" for identity, reason in list(found.refused.items())[:20]]
    return [*told, NEXT] if found.to_merge else told
