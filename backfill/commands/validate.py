"""`backfill validate-pnl`: phase 5, the profit of the baseline wallets against what is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, config_of, emit_json, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.pnl_rows import Definition
    from backfill.stages.validate_pnl import Validation

WORD = {True: "pass", False: "FAIL", None: "n/a "}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate-pnl")(validate_pnl)


def validate_pnl(
    ctx: typer.Context,
    strict: Annotated[bool, typer.Option("--strict", help="A wallet without data to judge fails too.")] = False,
    definition: Annotated[
        str | None, typer.Option("--definition", help="Compare by this definition instead of each source's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Phase 5: profit against what is expected, the difference by cause, and three old bugs that have to be caught.
    Exit code 3 when it does not pass."""
    from backfill.errors import GateFailed

    found = run_async(_validate(config_of(ctx), strict, definition))
    if as_json:
        emit_json(found.document())
    else:
        for line in lines_of(found):
            say(line)
    if not found.passed:
        raise GateFailed(", ".join(reasons(found)), where="validate-pnl")


async def _validate(config: Config, strict: bool, definition: str | None) -> Validation:
    from backfill.stages.validate_pnl import run_validate
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    chosen = read_definition(definition)
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await run_validate(config, warehouse, strict=strict, compared=chosen)


def read_definition(text: str | None) -> Definition | None:
    """A definition by its name.

    Raises:
        UsageError: there is none of that name.
    """
    from backfill.errors import UsageError
    from backfill.stages.pnl_rows import DEFINITIONS

    if text is None:
        return None
    for name in DEFINITIONS:
        if name == text:
            return name
    raise UsageError(f"--definition {text!r}: expected one of {', '.join(DEFINITIONS)}")


def reasons(found: Validation) -> list[str]:
    """Why it did not pass."""
    told = [f"{each.baseline.name} does not pass" for each in found.wallets if each.passed is False]
    if found.strict:
        told += [f"{each.baseline.name} cannot be judged" for each in found.wallets if each.passed is None]
        told += [] if found.wallets else ["there are no baseline wallets"]
    return told + [f"planted {each.name} was not caught" for each in found.controls if not each.caught]


def lines_of(found: Validation) -> list[str]:
    """The result for people."""
    told: list[str] = []
    for report in found.wallets:
        told += wallet_lines(report.document())
    for control in found.controls:
        by = ", ".join(f"{means} {count}" for means, count in control.by.items())
        told.append(f"{WORD[control.caught]}  planted {control.name:<14} on {control.planted} wallets; caught by {by}")
    told += [f"note: {text}" for text in found.notes]
    if all(report.passed is None for report in found.wallets):
        return [*told, "NOTHING TO VALIDATE YET"]
    return [*told, "VALIDATED" if found.passed else "NOT VALIDATED"]


def wallet_lines(each: dict[str, Any]) -> list[str]:
    """One wallet for people."""
    head = f"{WORD[each['passed']]}  {each['name']:<16}"
    if each["actual_usd"] is None:
        return [f"{head} no fill of this wallet is here"]
    told = [f"{head} {each['actual_usd']:>16,.2f} by {each['definition']}{_expected(each)}"]
    sums, held = each["totals"], each["outcome_distribution"]
    realized = ", ".join(f"{name} {value['usd']:,.2f}" for name, value in each["by_definition"].items())
    told.append(f"        {realized}")
    told.append(
        f"        won {sums['won_usd']:,.2f}, lost {sums['lost_usd']:,.2f}, fees {sums['fees_usd']:,.2f}, "
        f"volume {sums['volume_usd']:,.2f}, unrealized {sums['unrealized_usd']:,.2f}"
    )
    told.append(
        f"        {each['resolved_positions']:,} resolved positions, {each['wins']:,} won, {each['losses']:,} lost; by "
        f"outcome: fills {_shares(held['fills'])}, wins {_shares(held['wins'])}{', LOPSIDED' * held['lopsided']}"
    )
    told += [
        f"  cause {cause:<18} {amount:>16,.2f}  {each['causes_how'][cause]}" for cause, amount in each["causes"].items()
    ]
    told += _site_lines(each["site"]) if each["site"] else []
    for title in ("winners", "losers"):
        told += [_top(title[:-1], row) for row in each[title]]
    if each["arithmetic_faults"]:
        told.append(f"  {each['arithmetic_faults']:,} ROWS CONTRADICT THE TABLES THEY ARE MADE FROM: backfill rebuild")
    return told


def _site_lines(site: dict[str, Any]) -> list[str]:
    share = "–" if site["variance"] is None else f"{site['variance']:.3%}"
    head = f"  the site showed {site['expected_usd']:,.2f}; by {site['definition']} {site['actual_usd']:,.2f}: "
    told = [f"{head}{site['delta_usd']:+,.2f}, {share}; decides nothing"]
    return told + [f"  cause {cause:<18} {amount:>16,.2f}  of that" for cause, amount in site["causes"].items()]


def _expected(each: dict[str, Any]) -> str:
    if each["expected_usd"] is None:
        return "; nothing is expected"
    share = "–" if each["variance"] is None else f"{each['variance']:.3%}"
    source = each["source"] or "the config"
    return f"; {source} says {each['expected_usd']:,.2f}: {each['delta_usd']:+,.2f}, {share} of {each['tolerance']:.1%}"


def _shares(shares: list[float]) -> str:
    return " / ".join(f"{share:.1%}" for share in shares)


def _top(title: str, row: dict[str, Any]) -> str:
    name = row["label"] or row["condition"][:10] + "…"
    return (
        f"  {title:<6} {row['pnl_usd']:>16,.2f}  {row['shares']:,.2f} shares for {row['cost_usd']:,.2f}, sold "
        f"{row['proceeds_usd']:,.2f}, paid {row['payout_usd']:,.2f}  {name}/{row['outcome']}"
    )
