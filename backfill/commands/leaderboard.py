"""`backfill leaderboard`: who made most, and who gained most for what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, note, run_async, say
from backfill.errors import UsageError

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.leaderboard import Built, Gates, Wish

WORDS = ("7d", "30d", "90d", "all")
RANKINGS = ("omega", "whales")


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Rank wallets: by gains over losses, and by profit.")
    group.command("build")(build)
    group.command("show")(show)
    app.add_typer(group, name="leaderboard")


def build(
    ctx: typer.Context,
    period: Annotated[list[str] | None, typer.Option("--period", help="7d, 30d, 90d or all; default: each.")] = None,
    theta: Annotated[str, typer.Option("--theta", help="The return from which on it is a gain: 0.05 is 5 %.")] = "0",
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Last day that counts (UTC); default: of the newest resolution.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build although nothing has changed.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compute returns, omega, coverage and rankings, beside the tables in use, and swap them in."""
    from backfill.stages.leaderboard import Wish, read_day, read_theta

    periods = tuple(word for word in WORDS if word in [_known(each) for each in period or WORDS])
    config = config_of(ctx)
    day, keep = None if as_of is None else read_day(as_of), config.leaderboard.keep_days
    wish = Wish(periods, read_theta(theta), day, gates_of(config), keep, force)
    told = run_async(_build(config, wish, dry_run))
    if as_json:
        return emit_json({**told.document(), "dry_run": dry_run})
    for line in built_lines(told, dry_run):
        say(line)


def _known(period: str) -> str:
    if period not in WORDS:
        raise UsageError(f"--period {period!r}: expected one of {', '.join(WORDS)}")
    return period


def gates_of(config: Config) -> Gates:
    """The gates of the section [leaderboard]."""
    from decimal import Decimal

    from backfill.stages.leaderboard import Gates

    section = config.leaderboard
    return Gates(section.min_trades, section.min_markets, Decimal(str(section.min_coverage)))


async def _build(config: Config, wish: Wish, dry_run: bool) -> Built:
    from backfill.app import new_run_id
    from backfill.log import configure
    from backfill.stages import leaderboard
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    log = configure(config.run.log_file, secrets=config.hidden(), run_id=new_run_id(), stderr="warnings")
    note("a build that is stopped leaves every table as it was or as it is to be; to go on, start it again")
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await leaderboard.build(warehouse, config, log, wish, dry_run=dry_run, note=note)


def built_lines(told: Built, dry_run: bool = False) -> list[str]:
    """The result for people."""
    if told.nothing:
        return [f"nothing to rank: {told.nothing}"]
    wish, gates = told.wish, told.wish.gates
    lines = [
        f"{told.owners:,} owners in {told.markets:,} resolved markets, as of {told.as_of}, theta {wish.theta:f}",
        f"ranked by omega: at least {gates.min_trades} trades, {gates.min_markets} markets, "
        f"coverage {gates.min_coverage:.2%}; whales: the coverage alone",
    ]
    if told.undated:
        lines.append(f"{told.undated:,} of these markets are in `all` only: nobody says when they were resolved")
    if told.state_of:
        lines.append(f"THE PROFITS SHOW THE STATE OF {told.state_of} UTC; backfill rebuild brings the present")
    if dry_run and not told.unchanged:
        return [*lines, f"would build {', '.join(wish.periods)}"]
    lines += [f"{name:<26} {rows:>12,} rows" for name, rows in told.rows.items()]
    if told.dropped:
        more = f" and {len(told.dropped) - 1:,} more" if len(told.dropped) > 1 else ""
        lines.append(f"no longer kept (leaderboard.keep_days): {told.dropped[0]}{more}")
    done = "nothing has changed since the last build" if told.unchanged else f"done in {told.seconds:.1f} s"
    return [*lines, f"{done}; to see it: backfill leaderboard show"]


def show(
    ctx: typer.Context,
    board: Annotated[str, typer.Argument(help="omega or whales.")] = "omega",
    period: Annotated[str, typer.Option("--period", help="7d, 30d, 90d or all.")] = "all",
    category: Annotated[str, typer.Option("--category", help="overall, or what markets are about.")] = "overall",
    top: Annotated[int, typer.Option("--top", min=1, max=100_000, help="How many rows.")] = 10,
    as_json: AsJson = False,
) -> None:
    """The first rows of a ranking that was built."""
    if board not in RANKINGS:
        raise UsageError(f"leaderboard show {board!r}: expected one of {', '.join(RANKINGS)}")
    rows = run_async(_top(config_of(ctx), board, _known(period), category, top))
    if as_json:
        return emit_json({"board": board, "period": period, "category": category, "rows": rows})
    for line in shown_lines(board, period, category, rows):
        say(line)


async def _top(config: Config, board: str, period: str, category: str, limit: int) -> list[dict[str, Any]]:
    from backfill.stages.leaderboard import top
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await top(warehouse, board, period=period, category=category, limit=limit)


def shown_lines(board: str, period: str, category: str, rows: list[dict[str, Any]]) -> list[str]:
    """The same for people."""
    if not rows:
        return [
            "nobody is ranked here: either nobody meets the gates ([leaderboard] in config.toml), or it was not built "
            "for this period: backfill leaderboard build"
        ]
    first = rows[0]
    head = f"{'rank':>5}  {'wallet':<42} {'realized P&L':>16} {'omega':>12} {'trades':>8} {'markets':>8}  last activity"
    title = f"{board}, {period}, {category}, as of {first['as_of']}, theta {_plain(first['theta'])}"
    return [title, head, *map(_row, rows)]


def _row(row: dict[str, Any]) -> str:
    from decimal import Decimal

    omega = "no losses" if int(row["no_losses"]) else "–"
    if row["omega"] is not None:
        omega = f"{Decimal(row['omega']):.4f}"
    profit = f"{Decimal(row['realized_pnl_usd']):,.2f}"
    counts = f"{row['trade_count']:>8,} {row['markets']:>8,}"
    return f"{row['rank']:>5}  {row['wallet']:<42} {profit:>16} {omega:>12} {counts}  {row['last_activity']}"


def _plain(number: str) -> str:
    """A decimal without the zeros at its end."""
    return number.rstrip("0").rstrip(".") if "." in number else number
