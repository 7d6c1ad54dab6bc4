"""`import fills` and `import token-map`: existing dumps into production."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, note, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.imports import ImportReport

What = Literal["fills", "token-map"]
Paths = Annotated[list[str], typer.Argument(help="Files, folders or patterns: .csv .jsonl .json (.gz too), .parquet.")]

_SOME_REFUSED = 4


def register(app: typer.Typer) -> None:
    """Add the `import` group."""
    group = typer.Typer(help="Load existing dumps; a second time changes nothing.", no_args_is_help=True)
    group.command("fills")(fills)
    group.command("token-map")(token_map)
    app.add_typer(group, name="import")


def fills(ctx: typer.Context, paths: Paths, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Load fills: Goldsky events, Data API trades, poly_data, Dome, our own export; told apart by their columns."""
    _import(config_of(ctx), "fills", paths, dry_run, as_json)


def token_map(ctx: typer.Context, paths: Paths, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Load a token map; every id is recomputed, and what is disproven stays outside."""
    _import(config_of(ctx), "token-map", paths, dry_run, as_json)


def _import(config: Config, what: What, paths: list[str], dry_run: bool, as_json: bool) -> None:
    note("Stopped or killed, the same command starts over; nothing is loaded twice.")
    report = run_async(_run(config, what, paths, dry_run))
    if as_json:
        emit_json(report.document())
    else:
        _print(report, config.run.data_dir)
    if report.refused:
        raise typer.Exit(_SOME_REFUSED)


async def _run(config: Config, what: What, paths: list[str], dry_run: bool) -> ImportReport:
    from backfill.stages import imports
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    work = imports.import_fills if what == "fills" else imports.import_token_map
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await work(warehouse, config, paths, dry_run=dry_run, note=note)


def _print(report: ImportReport, data_dir: Path) -> None:
    for count in report.details:
        if count.passed_over:
            continue  # told while it was looked at
        numbers = ", ".join(
            f"{value:,} {name}" for name, value in count.document().items() if value or name != "skipped"
        )
        say(f"{count.path} ({count.shape or 'empty'}): {numbers}")
    total = report.document()
    inserted = "would be inserted" if report.dry_run else "inserted"
    word = "file" if total["files"] == 1 else "files"
    say(
        f"{total['files']:,} {word}: {total['read']:,} rows read, {total['inserted']:,} {inserted}, "
        f"{total['duplicates']:,} were there already, {total['refused']:,} refused"
    )
    if total["skipped"]:
        say(f"{total['skipped']:,} rows say themselves that they are none (redemptions, splits and the like)")
    if report.refused and not report.dry_run:
        note(f"the refused rows and their reasons: backfill dead-letters list (kept below {data_dir})")
