"""`backfill quality`: what the fills look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backfill.commands.common import AsJson, config_of, emit_json, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.quality import Report

GATE_FAILED = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("quality")(quality)


def quality(
    ctx: typer.Context,
    staging: Annotated[bool, typer.Option("--staging", help="Look at what the tracks have staged instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the fills for impossible values, copies and holes; reports go to reports/. Exit code 3 over a limit."""
    report = run_async(_run(config_of(ctx), staging))
    if as_json:
        emit_json(report.document())
    else:
        for line in lines(report):
            say(line)
    if not report.passed:
        raise typer.Exit(GATE_FAILED)


async def _run(config: Config, staging: bool) -> Report:
    from backfill.stages.quality import run_quality
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await run_quality(config, warehouse, staging=staging)


def lines(report: Report) -> list[str]:
    """The report for people."""
    word = {True: "pass", False: "FAIL", None: "n/a "}
    told = [f"{report.table}: {report.figures.totals['rows']:,} fills"]
    for check in report.checks:
        value = "–" if check.value is None else f"{check.value:g}"
        told.append(f"{word[check.passed]}  {check.name:<16} {value:>10}   limit {check.threshold}: {check.detail}")
        if check.passed is not None:
            told += [f"      for example {each}" for each in check.examples]
    missed = [control.name for control in report.controls if not control.caught]
    caught = len(report.controls) - len(missed)
    told.append(
        f"planted faults: {caught} of {len(report.controls)} caught" + "".join(f"; NOT {each}" for each in missed)
    )
    told += [f"report: {path}" for path in report.paths]
    if report.passed:
        return [*told, "QUALITY IS WITHIN THE LIMITS"]
    return [*told, "QUALITY IS NOT WITHIN THE LIMITS (they stand in [quality] of the config)"]
