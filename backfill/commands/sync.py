"""`backfill sync`: every dataset from where it was left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backfill.commands.common import AsJson, config_of, note, run_async

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.log import Logger
    from backfill.runs import Outcome
    from backfill.warehouse.client import Warehouse

ORDER = ("markets", "derive", "fills", "payouts", "activity", "transfers")
"""Each builds on those before it."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sync")(sync)


def sync(
    ctx: typer.Context,
    since: Annotated[
        str,
        typer.Option("--since", help="From here on (ISO 8601, unix seconds, 24h, 7d); or last: where each was left."),
    ] = "last",
    only: Annotated[list[str] | None, typer.Option("--dataset", help="Only this dataset; may be repeated.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=1024)] = None,
    as_json: AsJson = False,
) -> None:
    """Bring everything up to date: markets, their tokens, fills, payouts, activity, transfers; then the token map,
    positions, profits and leaderboards."""
    from backfill.commands.datasets import report, session, wish_of

    config = config_of(ctx)
    chosen = _chosen(only)
    wishes = [(name, wish_of(name, since=None if since == "last" else since)) for name in chosen]
    outcomes: list[Outcome] = []
    try:
        run_async(session(config, wishes, workers, False, "backfill sync", outcomes, then))
    finally:
        report(outcomes, as_json)


async def then(config: Config, warehouse: Warehouse, log: Logger) -> None:
    """What is derived from the datasets."""
    from backfill.app import MERGE_LOCK
    from backfill.commands.leaderboard import WORDS, gates_of
    from backfill.engine.checkpoint import lock_path
    from backfill.files import held
    from backfill.stages import leaderboard
    from backfill.stages.merge import run_merge
    from backfill.stages.rebuild import rebuild

    with held(lock_path(config.run.checkpoint_dir, MERGE_LOCK), what="merge"):
        await run_merge(warehouse, log)
    await rebuild(warehouse, config, log, note=note)
    theta = leaderboard.read_theta("0")
    wish = leaderboard.Wish(WORDS, theta, None, gates_of(config), config.leaderboard.keep_days)
    await leaderboard.build(warehouse, config, log, wish, note=note)


def _chosen(only: list[str] | None) -> tuple[str, ...]:
    from backfill.errors import UsageError

    if unknown := sorted(set(only or ()) - set(ORDER)):
        raise UsageError(f"--dataset {unknown[0]}: no such dataset", remedy=f"one of {', '.join(ORDER)}")
    return tuple(name for name in ORDER if not only or name in only)
