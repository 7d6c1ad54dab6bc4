"""`backfill setup`: phase 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.setup import Setup


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("setup")(setup)


def setup(
    ctx: typer.Context,
    replace: Annotated[
        bool, typer.Option("--replace", help="Give an unfinished plan up; its checkpoints are put aside.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Phase 0: find the traded tokens that no market is known for, and plan who asks for which."""
    config = config_of(ctx)
    found = run_async(_setup(config, replace, dry_run))
    if as_json:
        return emit_json(document(found))
    for line in lines(found, dry_run):
        say(line)


async def _setup(config: Config, replace: bool, dry_run: bool) -> Setup:
    from backfill.stages.setup import run_setup
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await run_setup(config, warehouse, replace=replace, dry_run=dry_run)


def document(found: Setup) -> dict[str, Any]:
    """The JSON of `setup`."""
    plan = found.plan
    tracks = {
        name: {"tokens": share.tokens, "batch": share.batch, "units": share.units}
        for name, share in (plan.shares.items() if plan else ())
    }
    return {
        **found.baseline,
        "plan_id": plan.plan_id if plan else None,
        "change": found.change,
        "split": plan.split if plan else None,
        "tracks": tracks,
    }


def lines(found: Setup, dry_run: bool) -> list[str]:
    """The same for people."""
    b = found.baseline
    share = "–" if b["share"] is None else f"{b['share']:.1%}"
    told = [
        f"fills             {b['fills']:>12,}",
        f"unique token ids  {b['unique_ids']:>12,}",
        f"mapped            {b['mapped']:>12,}   {share}",
        f"unmapped          {b['unmapped']:>12,}",
    ]
    if found.plan is None or found.change == "nothing":
        reason = "no fills are loaded: backfill import fills PATH" if not b["fills"] else "every traded token is mapped"
        return [*told, f"nothing to plan: {reason}"]
    word = {"new": "would be made" if dry_run else "made", "unchanged": "stands as it was"}[found.change]
    told.append(f"plan {found.plan.plan_id} {word} ({found.plan.split} split)")
    for name, part in found.plan.shares.items():
        told.append(f"  {name:<16} {part.tokens:>9,} tokens in {part.units:,} units of up to {part.batch}")
    return [*told, "next: backfill run tokens"]
