"""`backfill rebuild`: positions, cash flows and profit, computed anew and swapped in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, note, run_async, say
from backfill.commands.moments import read_moment
from backfill.errors import UsageError

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.rebuild import Rebuilt

WORDS = ("positions", "cashflows", "pnl", "all")
NEVER = 4_291_747_200
"""2106, in which the warehouse's seconds come to their end."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rebuild")(rebuild)


def rebuild(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(help="positions, cashflows, pnl or all.")] = "all",
    cutoff: Annotated[
        str | None, typer.Option("--cutoff", help="The state of a past moment: ISO 8601, unix seconds, or an age.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compute positions, cash flows and profit, beside the tables in use, and swap them in."""
    if what not in WORDS:
        raise UsageError(f"rebuild {what!r}: expected one of {', '.join(WORDS)}")
    moment = None if cutoff is None else _moment(cutoff)
    told = run_async(_rebuild(config_of(ctx), what, moment, dry_run))
    if as_json:
        return emit_json({**told.document(), "dry_run": dry_run})
    for line in lines_of(told, dry_run):
        say(line)


def _moment(cutoff: str) -> int:
    """Unix seconds that the warehouse can say; it would take others for some other moment."""
    found = read_moment(cutoff, time.time(), "--cutoff")
    if 0 <= found < NEVER:
        return found
    raise UsageError(f"--cutoff {cutoff!r}: expected a moment from 1970 to 2105")


async def _rebuild(config: Config, what: str, cutoff: int | None, dry_run: bool) -> Rebuilt:
    from backfill.app import new_run_id
    from backfill.log import configure
    from backfill.stages.rebuild import TARGETS, rebuild
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    log = configure(config.run.log_file, secrets=config.hidden(), run_id=new_run_id(), stderr="warnings")
    targets = tuple(TARGETS) if what == "all" else (what,)
    note("a rebuild that is stopped leaves the tables as they were; to go on, start it again")
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await rebuild(warehouse, config, log, targets, cutoff=cutoff, dry_run=dry_run, note=note)


def lines_of(told: Rebuilt, dry_run: bool = False) -> list[str]:
    """The result for people."""
    if told.nothing:
        return [f"nothing to rebuild: {told.nothing}"]
    extent = "all of them" if told.everything else "those that changed"
    lines = [f"{'wallets':<12} {told.changed:>12,} of {told.wallets:,}, {extent}"]
    if dry_run:
        return [*lines, f"would rebuild {', '.join(told.targets)}"]
    events = ", ".join(f"{rows:,} {kind}" for kind, rows in told.events.items())
    lines += [f"{'events':<12} {sum(told.events.values()):>12,}   {events}"]
    lines += [f"{name:<12} {rows:>12,} rows" for name, rows in told.rows.items()]
    if told.cutoff is not None:
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(told.cutoff))
        lines.append(f"THESE TABLES SHOW THE STATE OF {at}; rebuild without --cutoff for the present")
    return [*lines, f"done in {told.seconds:.1f} s"]
