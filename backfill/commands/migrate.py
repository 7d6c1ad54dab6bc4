"""`backfill migrate`: bring the schema up, take it back, and say where it stands."""

from __future__ import annotations

from typing import Annotated

import typer

from backfill.commands.common import AsJson, DryRun


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Bring the warehouse's schema up, take it back, check it.")
    group.command("up")(up)
    group.command("down")(down)
    group.command("status")(status)
    group.command("verify")(verify)
    app.add_typer(group, name="migrate")


def up(ctx: typer.Context, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Run the migrations that have not been run."""
    from backfill.commands import common
    from backfill.warehouse import client, migrate

    async def work() -> list[str]:
        async with client.open_warehouse(common.config_of(ctx)) as warehouse:
            return await migrate.migrate_up(warehouse, dry_run=dry_run)

    _show(common.run_async(work()), dry_run, as_json)


def down(
    ctx: typer.Context,
    to: Annotated[int | None, typer.Option("--to", help="Keep this number and those before it.")] = None,
    discard_rows: Annotated[bool, typer.Option("--discard-rows", help="Drop tables that hold rows, too.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take back the last migration, or all after --to."""
    from backfill.commands import common
    from backfill.warehouse import client, migrate

    async def work() -> list[str]:
        async with client.open_warehouse(common.config_of(ctx)) as warehouse:
            return await migrate.migrate_down(warehouse, to=to, dry_run=dry_run, discard_rows=discard_rows)

    _show(common.run_async(work()), dry_run, as_json)


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Every migration, and where it stands."""
    from dataclasses import asdict

    from backfill.commands import common
    from backfill.warehouse import client, migrate

    async def work() -> list[migrate.State]:
        async with client.open_warehouse(common.config_of(ctx)) as warehouse:
            return await migrate.status(warehouse)

    states = common.run_async(work())
    if as_json:
        pending = sum(state.state != "applied" for state in states)
        common.emit_json({"pending": pending, "migrations": [asdict(state) for state in states]})
        return
    for state in states:
        common.say(f"{state.version:04}_{state.name:24} {state.state:9} {state.done}/{state.statements}")


def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check that the schema is whole and that no applied migration has changed."""
    from backfill.commands import common
    from backfill.warehouse import client, migrate

    async def work() -> None:
        async with client.open_warehouse(common.config_of(ctx)) as warehouse:
            await migrate.verify(warehouse)

    common.run_async(work())
    if as_json:
        common.emit_json({"ok": True})
    else:
        common.say("the schema is whole")


def _show(statements: list[str], dry_run: bool, as_json: bool) -> None:
    from backfill.commands import common

    if as_json:
        common.emit_json({"dry_run": dry_run, "statements": statements})
        return
    for statement in statements:
        common.say(f"{statement};")
    if not statements:
        common.note("nothing to do")
