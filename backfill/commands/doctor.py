"""`backfill doctor`: everything that a run needs, checked before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from backfill.commands.common import AsJson, config_of, emit_json, run_async, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.stages.probes import Check


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check the config, the folders, the warehouse, the plan and each upstream; what is wrong comes with a remedy."""
    from backfill.errors import ConfigError
    from backfill.stages.checkup import run_checks
    from backfill.stages.probes import Check

    try:
        config = config_of(ctx)
    except ConfigError as error:
        _show([Check("config", False, f"{error.where}: {error.what}", error.remedy)], as_json)
        raise typer.Exit(error.exit_code) from None
    checks = [Check("config", True, f"read, below {config.root}"), *run_async(run_checks(config))]
    _show(checks, as_json)
    if code := exit_code(checks):
        raise typer.Exit(code)


def exit_code(checks: Sequence[Check]) -> int:
    """0 when every check is ok, else the code that comes first by the contract."""
    from backfill.errors import PRECEDENCE

    codes = {check.code for check in checks if not check.ok}
    return next((code for code in PRECEDENCE if code in codes), 0)


def _show(checks: Sequence[Check], as_json: bool) -> None:
    ok = all(check.ok for check in checks)
    if as_json:
        return emit_json({"ok": ok, "checks": [check.document() for check in checks]})
    for check in checks:
        say(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<22}  {check.detail}")
        if check.remedy:
            say(f"      {'':<22}  → {check.remedy}")
    say("all is well" if ok else f"{sum(not check.ok for check in checks)} of {len(checks)} checks failed")
