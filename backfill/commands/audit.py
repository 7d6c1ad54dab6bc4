"""`backfill leaderboard audit`: our ranking beside the official one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.commands.common import AsJson, config_of, emit_json, run_async, say
from backfill.commands.groups import group_of
from backfill.commands.validate import read_definition

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.audit import Audit
    from backfill.stages.pnl_rows import Definition
    from backfill.tracks.pnl_pages import Place

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command to the group `leaderboard`."""
    group = group_of(app, "leaderboard", "Rank wallets: by gains over losses, and by profit.")
    group.command("audit")(audit)


def audit(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Option("--file", help="A leaderboard in a file instead of the API's.")] = None,
    period: Annotated[str, typer.Option("--period", help="all, month, week or day.")] = "all",
    top: Annotated[int, typer.Option("--top", min=1, max=10_000, help="So many places of the official one.")] = 100,
    definition: Annotated[
        str | None, typer.Option("--definition", help="Ours to compare; default avg_cost_net, of a window cash.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 when a profit differs, or none is known.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Overlap, drift of ranks and differences of profit against the official leaderboard."""
    from backfill.errors import GateFailed

    chosen = _checked(period, definition)
    found = run_async(_audit(config_of(ctx), file, period, top, chosen))
    if as_json:
        emit_json(found.document())
    else:
        for line in lines_of(found):
            say(line)
    if strict and not found.passed:
        raise GateFailed(f"{len(found.beyond)} of {len(found.known)} known profits differ", where="leaderboard audit")


def _checked(period: str, definition: str | None) -> Definition:
    from backfill.errors import UsageError
    from backfill.stages.audit import PERIODS

    if period not in PERIODS:
        raise UsageError(f"--period {period!r}: expected one of {', '.join(PERIODS)}")
    return read_definition(definition) or ("avg_cost_net" if period == "all" else "cash")


async def _audit(config: Config, file: Path | None, period: str, top: int, definition: Definition) -> Audit:
    from backfill.stages.audit import read_board_file, run_audit
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    if file is not None:
        places, source = read_board_file(file)[:top], str(file)
    else:
        places, source = await _asked(config, period, top), "data_api"
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        tolerance = config.gates.reconcile_variance
        return await run_audit(
            warehouse, places, source=source, period=period, definition=definition, tolerance=tolerance
        )


async def _asked(config: Config, period: str, top: int) -> list[Place]:
    from backfill.app import new_run_id
    from backfill.engine.stop import StopSignal, on_signals
    from backfill.log import configure
    from backfill.stages.references import fetch_board

    stop = StopSignal()
    log = configure(config.run.log_file, secrets=config.hidden(), run_id=new_run_id(), stderr="warnings")
    with on_signals(stop):
        return await stop.unless(fetch_board(config, log, period, top))


def lines_of(found: Audit) -> list[str]:
    """The result for people."""
    told = found.document()
    lines = [f"{told['source']} beside {told['ours']}: {told['known']:,} of {told['places']:,} places are known here"]
    lines += [f"overlap of the first {top:<4} {share:>8.1%}" for top, share in found.overlap.items()]
    if told["rank_drift"]:
        lines.append(f"drift of ranks        median {told['rank_drift']['median']:g}, most {told['rank_drift']['max']}")
    if told["delta_share"]:
        shares = told["delta_share"]
        lines.append(f"difference of profits median {shares['median']:.3%}, most {shares['max']:.3%}")
    for each in sorted(found.beyond, key=lambda each: -abs((each.pnl or 0) - each.place.pnl))[:SHOWN]:
        row = each.document()
        lines.append(f"  {row['rank']:>5} {row['wallet']} {row['pnl_usd']:>16,.2f}, ours {row['our_pnl_usd']:>16,.2f}")
    if found.passed is None:
        return [*lines, "NONE OF THEM IS KNOWN HERE"]
    return [*lines, "THE PROFITS AGREE" if found.passed else f"{told['beyond_tolerance']:,} PROFITS DIFFER"]
