"""`backfill merge` and `backfill verify`: phases 3 and 4, each alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import AsJson, DryRun, config_of, emit_json, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.merge import Merge
    from backfill.stages.verify import Verification

SHOWN = 10
GATE_FAILED = 3


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("merge")(merge)
    app.command("verify")(verify)


def merge(ctx: typer.Context, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Phase 3: prove what the tracks have staged, and add it to the map."""
    found = run_async(_merge(config_of(ctx), dry_run))
    if as_json:
        return emit_json(merge_document(found))
    for line in merge_lines(found, dry_run):
        say(line)


async def _merge(config: Config, dry_run: bool) -> Merge:
    from backfill.app import MERGE_LOCK, new_run_id
    from backfill.engine.desk import lock_path
    from backfill.files import held
    from backfill.log import configure
    from backfill.stages.merge import run_merge
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    log = configure(config.run.log_file, secrets=config.hidden(), run_id=new_run_id(), stderr="warnings")
    with held(lock_path(config.run.checkpoint_dir, MERGE_LOCK), what="merge"):
        async with open_warehouse(config) as warehouse:
            await migrate_up(warehouse)
            return await run_merge(warehouse, log, dry_run=dry_run)


def merge_document(found: Merge) -> dict[str, Any]:
    """The JSON of `merge`."""
    return {
        **found.counts,
        "conflicts": len(found.conflicts),
        "added": found.added,
        "coverage_before": found.coverage_before,
        "coverage_after": found.coverage_after,
        "disproven": {name: report.disproven for name, report in found.proofs.items()},
        "conflict_rows": found.conflicts,
    }


def merge_lines(found: Merge, dry_run: bool = False) -> list[str]:
    """The same for people."""
    told = [f"{'staged by ' + name:<22} {found.counts[name]:>10,}" for name in ("dome", "goldsky")]
    told += [f"{'in both':<22} {found.counts['overlap']:>10,}   {len(found.conflicts):,} conflicts"]
    for name, report in found.proofs.items():
        told.append(
            f"{'proof, ' + name:<22} {report.proven:>10,} proven, {report.disproven:,} disproven (kept out), "
            f"{report.unprovable:,} beyond recomputing"
        )
    for row in found.conflicts[:SHOWN]:
        told.append(f"  conflict on {row['token_id']}: {_side(row, 'dome')}; {_side(row, 'goldsky')} → {row['winner']}")
    if len(found.conflicts) > SHOWN:
        told.append(f"  … and {len(found.conflicts) - SHOWN} more: --json lists them all")
    told.append(f"{'would be added' if dry_run else 'added to the map':<22} {found.added:>10,}")
    return [*told, f"{'coverage':<22} {_share(found.coverage_before)} → {_share(found.coverage_after)}"]


def _side(row: dict[str, Any], name: str) -> str:
    side = row[name]
    return f"{name} says {side['condition_id'][:8]}…/{side['outcome_index']} ({side['verdict']})"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def verify(
    ctx: typer.Context,
    strict: Annotated[bool, typer.Option("--strict", help="A check without data to judge fails too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Phase 4: the gates, each with a planted fault that it has to catch. Exit code 3 when one does not pass."""
    found = run_async(_verify(config_of(ctx), strict))
    if as_json:
        emit_json(found.document(strict=strict))
    else:
        for line in verify_lines(found):
            say(line)
    if not found.passed:
        raise typer.Exit(GATE_FAILED)


async def _verify(config: Config, strict: bool) -> Verification:
    from backfill.stages.verify import run_verify
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await run_verify(config, warehouse, strict=strict)


def verify_lines(found: Verification) -> list[str]:
    """The same for people."""
    word = {True: "pass", False: "FAIL", None: "n/a "}
    told = []
    for check in found.checks:
        value = "–" if check.value is None else f"{check.value:g}"
        told.append(f"{word[check.passed]}  {check.name:<20} {value:>10}   {check.detail}")
    for control in found.controls:
        caught = "caught" if control.caught else "NOT caught"
        told.append(f"{word[control.caught]}  planted {control.name:<22} {caught}")
    if found.unmapped:
        told.append(f"{len(found.unmapped):,} traded tokens stay unmapped:")
        told += [f"  {count:>8,}  {reason}" for reason, count in _reasons(found)]
        told.append("  (--json lists each token with its reason)")
    if all(check.passed is None for check in found.checks if check.name != "no_duplicate_tokens"):
        return [*told, "NOTHING TO VERIFY YET"]
    return [*told, "VERIFIED" if found.passed else "NOT VERIFIED"]


def _reasons(found: Verification) -> list[tuple[str, int]]:
    from collections import Counter

    return Counter(row["reason"] for row in found.unmapped).most_common(SHOWN)
