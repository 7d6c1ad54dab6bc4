"""`backfill reconcile`: whether the sources agree; and `backfill merge-fills`, which settles where they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, note, run_async, say
from backfill.commands.groups import group_of

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.fills import FillMerge
    from backfill.stages.reconcile import Reconciliation

GATE_FAILED = 3


def register(app: typer.Typer) -> None:
    """Add the command to the group `reconcile`, and the one that acts on it."""
    group_of(app, "reconcile", "Our data beside that of others.").command("fills")(fills)
    app.command("merge-fills")(merge_fills)


def fills(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Compare the fills of every pair of tracks, where both have read. Exit code 3 when a pair differs too much."""
    found = run_async(_reconcile(config_of(ctx)))
    if as_json:
        emit_json(found.document())
    else:
        for line in lines(found):
            say(line)
    if found.passed is False:
        raise typer.Exit(GATE_FAILED)


async def _reconcile(config: Config) -> Reconciliation:
    from backfill.stages.reconcile import reconcile_fills
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await reconcile_fills(config, warehouse, note=note)


def lines(found: Reconciliation) -> list[str]:
    """The comparison for people."""
    from backfill.stages.reconcile import lines_of

    told: list[str] = []
    for each in (pair.document(found.variance) for pair in found.pairs):
        word = {True: "pass", False: "FAIL", None: "n/a "}[each["passed"]]
        share = "–" if each["agreement"] is None else f"{each['agreement']:.4%}"
        told.append(
            f"{word}  {each['ours']} / {each['theirs']}: {share} agree; {each['rows_ours']:,} and "
            f"{each['rows_theirs']:,} rows, {each['matched']:,} matched, {each['differ']:,} differ, "
            f"{each['only_ours']:,} only here, {each['only_theirs']:,} only there, {each['explained']:,} explained"
        )
    told += [f"n/a   {track}: it is not known what it has read" for track in found.unknown]
    if not found.pairs:
        return [*told, "NOTHING TO COMPARE: two tracks have to have read the same stretch"]
    for row in found.first:
        told += lines_of(row)
    if found.disagreements > len(found.first):
        told.append(f"… and {found.disagreements - len(found.first):,} more: see the reports")
    told += [f"report: {path}" for path in found.reports]
    words = {True: "THE SOURCES AGREE", False: "THE SOURCES DIFFER", None: "NOTHING TO COMPARE"}
    return [*told, f"{words[found.passed]} (a pair may differ in {found.variance:.2%})"]


def merge_fills(
    ctx: typer.Context,
    replace_all: Annotated[
        bool, typer.Option("--replace-all", help="Replace rows by better ones, however many they are.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put the staged fills into production, one row for each fill; `run fills` and `sync` do it by themselves."""
    found = run_async(_merge(config_of(ctx), replace_all, dry_run))
    if as_json:
        return emit_json(found.document())
    would = "would be " if dry_run else ""
    say(f"{found.fresh:,} staged rows were new to this merge")
    say(f"{found.added:,} fills {would}added, {found.replaced:,} rows {would}replaced by better ones")
    say(f"production has {found.rows:,} fills")


async def _merge(config: Config, replace_all: bool, dry_run: bool) -> FillMerge:
    from backfill.app import new_run_id
    from backfill.files import held
    from backfill.log import configure
    from backfill.stages.fills import MOST_REPLACED, merge_fills
    from backfill.stages.settle import alone
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    log = configure(config.run.log_file, secrets=config.hidden(), run_id=new_run_id(), stderr="warnings")
    most = None if replace_all else MOST_REPLACED
    async with alone(config, "fills", log), open_warehouse(config) as warehouse:
        with held(config.run.checkpoint_dir / "import.lock", what="import"):
            await migrate_up(warehouse)
            return await merge_fills(warehouse, log, most_replaced=most, dry_run=dry_run)
