"""`backfill reconcile pnl`: our profits beside Dome's and Polymarket's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.commands.common import AsJson, config_of, emit_json, note, run_async, say
from backfill.commands.groups import group_of

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.errors import BackfillError
    from backfill.stages.pnl_book import Book
    from backfill.stages.reconcile_pnl import Reconciliation
    from backfill.warehouse.client import Warehouse


def register(app: typer.Typer) -> None:
    """Add the command to the group `reconcile`."""
    group = group_of(app, "reconcile", "Our data beside that of others.")
    group.command("pnl")(reconcile_pnl)


def reconcile_pnl(
    ctx: typer.Context,
    wallet: Annotated[
        list[str] | None, typer.Option("--wallet", help="This one instead of the baseline wallets; may be repeated.")
    ] = None,
    fetch: Annotated[bool, typer.Option("--fetch/--no-fetch", help="Ask the sources, or take what is here.")] = True,
    positions: Annotated[
        bool, typer.Option("--positions/--no-positions", help="Whether to fetch the wallets' positions, too.")
    ] = True,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Keep the pairs, with what they are computed from, as a regression set."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 when a difference of weight has no cause.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the profits that Dome and Polymarket tell of the baseline wallets; explain every difference above 1 %."""
    from backfill.commands.datasets import wish_of
    from backfill.stages.reconcile_pnl import made_set, write_report

    config = config_of(ctx)
    given = wish_of("positions", wallets=wallet or ()).wallets
    wallets = list(dict.fromkeys(given or (each.address for each in config.baseline_wallets)))
    problems: list[BackfillError] = []
    if fetch and positions and wallets:
        problems += _positions(config, wallets)
    found, books = run_async(_reconcile(config, wallets, fetch))
    found.problems = problems + found.problems
    reports = write_report(config, found)
    if save is not None:
        save.write_bytes(made_set(found, books))
    if as_json:
        emit_json({**found.document(), "reports": reports})
    else:
        for line in [*lines_of(found), *(f"written: {path}" for path in reports)]:
            say(line)
    conclude(found, strict)


def _positions(config: Config, wallets: list[str]) -> list[BackfillError]:
    """Read the positions of the wallets like any other dataset: resumable, and in the log."""
    from backfill.commands.datasets import session, wish_of
    from backfill.errors import BackfillError, Interrupted
    from backfill.runs import Outcome

    outcomes: list[Outcome] = []
    wish = wish_of("positions", wallets=wallets)
    try:
        run_async(session(config, [("positions", wish)], None, False, "backfill reconcile pnl", outcomes))
    except Interrupted:
        raise
    except BackfillError as error:
        note(f"positions: {error}")
        return [error]
    return []


async def _reconcile(config: Config, wallets: list[str], fetch: bool) -> tuple[Reconciliation, dict[str, Book]]:
    from backfill.app import new_run_id
    from backfill.engine.stop import StopSignal, on_signals
    from backfill.log import configure
    from backfill.stages.reconcile_pnl import run_reconcile
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    stop = StopSignal()
    log = configure(config.run.log_file, secrets=config.hidden(), run_id=new_run_id(), stderr="warnings")

    async def work(warehouse: Warehouse) -> tuple[Reconciliation, dict[str, Book]]:
        await migrate_up(warehouse)
        return await run_reconcile(config, warehouse, wallets, log, fetch=fetch)

    with on_signals(stop):
        note("starting; if this stops for any reason, do it again: answers that came are kept")
        async with open_warehouse(config) as warehouse:
            return await stop.unless(work(warehouse))


def lines_of(found: Reconciliation) -> list[str]:
    """The result for people."""
    from backfill.stages.pnl_rows import usd

    told = []
    for pair in found.pairs:
        name = found.names.get(pair.wallet, pair.wallet)
        share = "" if pair.share is None or not pair.here else f"{pair.share:.3%}"
        ours = f"{usd(pair.found.actual):>16,.2f}" if pair.here else f"{'–':>16}"
        source = f"{pair.reference.source} {pair.reference.metric}"
        told.append(f"{pair.status:<10} {name:<16} {source:<20} {usd(pair.found.expected):>16,.2f} {ours} {share:>9}")
        causes = pair.document().get("causes", {})
        told += [f"           {cause:<20} {amount:>16,.2f}" for cause, amount in causes.items()]
    told += [f"note: {text}" for text in (*found.notes, *map(str, found.problems))]
    if found.passed is None:
        return [*told, "NOTHING TO RECONCILE YET"]
    return [*told, "EVERY DIFFERENCE OF WEIGHT HAS A CAUSE" if found.passed else "SOMETHING HAS NO CAUSE"]


def conclude(found: Reconciliation, strict: bool) -> None:
    """Raise what decides the exit code, if anything does: a source that is gone is a warning while others answered."""
    from backfill.errors import GateFailed, Skip, Unfinished, worst

    if strict and not found.passed:
        raise GateFailed("a difference of weight has no cause", where="reconcile pnl")
    refused = [each for each in found.problems if isinstance(each, Skip | Unfinished)]
    others = [each for each in found.problems if each not in refused]
    if not found.pairs and others:
        decisive = worst(ExceptionGroup("references", others))
        assert decisive is not None
        raise decisive
    if refused:
        raise Unfinished(f"{len(refused)} answers could not be had", remedy="do it again")
