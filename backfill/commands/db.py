"""`backfill db`: the warehouse's address, a query, and an end to the embedded one."""

from __future__ import annotations

from typing import Annotated

import typer

from backfill.commands.common import AsJson


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    group = typer.Typer(no_args_is_help=True, help="The warehouse in use: address, queries, stop.")
    group.command("url")(url)
    group.command("query")(query)
    group.command("stop")(stop)
    app.add_typer(group, name="db")


def url(ctx: typer.Context, as_json: AsJson = False) -> None:
    """The warehouse's HTTP address; the embedded one is started if needed, and its secret is inside."""
    from backfill.commands import common
    from backfill.warehouse.client import url_for_people

    address = common.run_async(url_for_people(common.config_of(ctx)))
    if as_json:
        common.emit_json({"url": address})
    else:
        common.say(address)


def query(
    ctx: typer.Context,
    sql: Annotated[str, typer.Argument(help="One statement; - reads it from stdin.")],
    fmt: Annotated[
        str | None, typer.Option("--format", "-f", help="A ClickHouse format; a table on a terminal by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row.")] = False,
) -> None:
    """Run one statement and print its answer."""
    import sys

    from backfill.commands import common
    from backfill.errors import UsageError, WarehouseUnusable
    from backfill.warehouse.answers import CREDENTIALS
    from backfill.warehouse.client import open_warehouse

    text = sys.stdin.read() if sql == "-" else sql
    chosen = fmt or ("JSONEachRow" if as_json else "PrettyCompact" if sys.stdout.isatty() else "TabSeparatedWithNames")

    async def work() -> None:
        async with open_warehouse(common.config_of(ctx)) as warehouse:
            async for piece in warehouse.stream(text, fmt=chosen):
                sys.stdout.buffer.write(piece)

    try:
        common.run_async(work())
    except WarehouseUnusable as error:
        # A statement that ClickHouse does not take is a wrong word of ours; the warehouse is fine.
        if error.code and error.code not in CREDENTIALS:
            raise UsageError(error.what, where="query") from None
        raise
    sys.stdout.flush()


def stop(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Stop the embedded warehouse; the next command that needs it starts it again."""
    from backfill.commands import common
    from backfill.warehouse import launcher

    config = common.config_of(ctx)
    embedded = config.warehouse.url == "embedded"
    stopped = launcher.stop(config.run.data_dir) if embedded else False
    if as_json:
        common.emit_json({"stopped": stopped})
    elif not embedded:
        common.note("the warehouse is a server of its own; it is left alone")
    else:
        common.note("stopped" if stopped else "it was not running")
