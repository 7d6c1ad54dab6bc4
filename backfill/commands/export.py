"""`backfill export`: tables as files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, config_of, emit_json, note, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.export import Dataset, Exported, Wanted

Where = Annotated[Path, typer.Argument(help="The file to write: .parquet, .csv or .csv.gz.")]
Format = Annotated[str | None, typer.Option("--format", help="parquet or csv; default: by the file's ending.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there, once the new one is whole.")]


def register(app: typer.Typer) -> None:
    """Add the `export` group."""
    group = typer.Typer(help="Write tables to files that other programs, and `import`, read.", no_args_is_help=True)
    group.command("fills")(fills)
    group.command("token-map")(token_map)
    group.command("markets")(markets)
    app.add_typer(group, name="export")


def fills(
    ctx: typer.Context,
    path: Where,
    fmt: Format = None,
    since: Annotated[str | None, typer.Option("--since", help="From here on: ISO 8601, unix seconds, 24h, 7d.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Up to here, exclusive.")] = None,
    wallet: Annotated[str, typer.Option("--wallet", help="Fills of this address' own orders.")] = "",
    condition: Annotated[str, typer.Option("--condition", help="Fills of this market's tokens.")] = "",
    token: Annotated[str, typer.Option("--token", help="Fills of this token.")] = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write fills to a file, all or those of a time, wallet, market or token."""
    wanted = wanted_of(since, until, wallet, condition, token, time.time())
    _export(config_of(ctx), "fills", path, fmt, wanted, force, as_json)


def token_map(
    ctx: typer.Context, path: Where, fmt: Format = None, force: Force = False, as_json: AsJson = False
) -> None:
    """Write the map from tokens to markets and outcomes to a file."""
    _export(config_of(ctx), "token_map", path, fmt, None, force, as_json)


def markets(ctx: typer.Context, path: Where, fmt: Format = None, force: Force = False, as_json: AsJson = False) -> None:
    """Write the markets to a file."""
    _export(config_of(ctx), "markets", path, fmt, None, force, as_json)


def wanted_of(since: str | None, until: str | None, wallet: str, condition: str, token: str, now: float) -> Wanted:
    """The options as what they mean.

    Raises:
        UsageError: one of them is not what it should be.
    """
    from backfill.commands.moments import read_moment
    from backfill.errors import UsageError
    from backfill.stages.export import END_OF_TIME, Wanted

    start = read_moment(since, now, "--since") if since else 0
    end = read_moment(until, now, "--until") if until else END_OF_TIME
    if start >= end:
        raise UsageError("--since is not before --until")
    if token and not (token.isascii() and token.isdigit() and int(token) < 1 << 256):
        raise UsageError(f"--token {token}: expected a token id in decimal digits")
    return Wanted(start, end, _hex("--wallet", wallet, 40, "0x"), _hex("--condition", condition, 64, ""), token)


def _hex(option: str, text: str, digits: int, prefix: str) -> str:
    """Hex digits in the form of our tables."""
    from backfill.errors import UsageError

    plain = text.lower().removeprefix("0x")
    if text and (len(plain) != digits or not all(each in "0123456789abcdef" for each in plain)):
        raise UsageError(f"{option} {text}: expected 0x and {digits} hex digits")
    return f"{prefix}{plain}" if text else ""


def _export(
    config: Config, dataset: Dataset, path: Path, fmt: str | None, wanted: Wanted | None, force: bool, as_json: bool
) -> None:
    found = run_async(_run(config, dataset, path, fmt, wanted, force))
    if as_json:
        return emit_json(found.document())
    say(f"{found.path}: {found.rows:,} rows, {found.bytes:,} bytes of {found.format}")


async def _run(config: Config, dataset: Dataset, path: Path, fmt: str | None, wanted: Any, force: bool) -> Exported:
    from backfill.stages.export import export
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await export(warehouse, dataset, path, fmt=fmt, wanted=wanted, force=force, note=note)
