"""The command line: one typer app, to which every command file adds its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from backfill.commands.common import Context
from backfill.commands.light import LightGroup

MODULES = (
    "demo",
    "simulate",
    "doctor",
    "migrate",
    "imports",
    "setup",
    "run",
    "sync",
    "stages",
    "gaps",
    "export",
    "quality",
    "reconcile",
    "reconcile_pnl",
    "rebuild",
    "validate",
    "leaderboard",
    "audit",
    "status",
    "tail",
    "progress",
    "rederive",
    "db",
)


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="backfill",
        help="Fill a ClickHouse warehouse with Polymarket's trading history, and prove it whole.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(cls=LightGroup)(_root)
    for name in MODULES:
        importlib.import_module(f"backfill.commands.{name}").register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from backfill import __version__

        typer.echo(f"backfill {__version__}")
        raise typer.Exit


def _root(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Default: $BACKFILL_CONFIG, then ./config.toml.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Fill a ClickHouse warehouse with Polymarket's trading history, and prove it whole."""
    ctx.obj = Context(config)
