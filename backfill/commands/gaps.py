"""`backfill gaps`: what is missing, and the command that fetches it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.commands.common import AsJson, config_of, emit_json, note, run_async, say

if TYPE_CHECKING:
    from backfill.config import Config
    from backfill.stages.gaps import Gap, Gaps

SHOWN = 20
ALIKE = 2
"""Keys that are named where the same is said of more."""
INCOMPLETE = 3
KINDS = ("hole", "unread", "short", "silent", "unmerged")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gaps")(gaps)


def gaps(
    ctx: typer.Context,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 when anything is missing.")] = False,
    keys: Annotated[
        str | None,
        typer.Option("--keys", help=f"Only the tokens (or markets) of one kind, one a line: {', '.join(KINDS)}."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find holes: in time, in blocks, by token, and between staging and production. Nothing is changed or asked for."""
    from backfill.errors import UsageError

    if keys is not None and keys not in KINDS:
        raise UsageError(f"--keys {keys}: no such kind", remedy=f"one of {', '.join(KINDS)}")
    found = run_async(_gaps(config_of(ctx)))
    if as_json:
        emit_json(found.document())
    else:
        for line in lines(found) if keys is None else _keys(found.gaps, keys):
            say(line)
    if strict and found.gaps:
        raise typer.Exit(INCOMPLETE)


async def _gaps(config: Config) -> Gaps:
    from backfill.stages.gaps import find_gaps
    from backfill.warehouse.client import open_warehouse
    from backfill.warehouse.migrate import migrate_up

    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        return await find_gaps(config, warehouse, note=note)


def _keys(found: Sequence[Gap], kind: str) -> list[str]:
    return list(dict.fromkeys(gap.key for gap in found if gap.kind == kind and gap.key))


def lines(found: Gaps) -> list[str]:
    """What is missing, for people: by kind, track and command, the first of each."""
    told = [line for group in _grouped(found.gaps) for line in _group_lines(group)]
    if found.believed:
        told.append(
            f"{len(found.believed):,} more were asked for by a second plan and stayed: their sources are believed "
            "(--json lists them)"
        )
    return [*told, f"{len(found.gaps):,} gaps" if found.gaps else "no gaps"]


def _grouped(found: Sequence[Gap]) -> list[list[Gap]]:
    def together(gap: Gap) -> tuple[int, str, str]:
        return KINDS.index(gap.kind), gap.dataset, gap.source

    return [list(group) for _, group in groupby(sorted(found, key=together), together)]


def _group_lines(group: Sequence[Gap]) -> list[str]:
    first = group[0]
    keys, rows = len({gap.key for gap in group if gap.key}), sum(gap.rows or 0 for gap in group)
    counts = [f"{len(group):,} gaps"]
    counts += [f"{keys:,} keys"] if keys else []
    counts += [f"{rows:,} rows"] if rows else []
    told = [f"{first.kind}: {first.dataset} {first.source or '(any track)'}: {', '.join(counts)}"]
    alike = list(_alike(group))
    told += [line for line, _ in alike[:SHOWN]]
    more = sum(count for _, count in alike[SHOWN:])
    told += [f"  … and {more:,} more: --json lists them all"] if more else []
    return told + [f"    {each}" for each in _commands(group)]


def _alike(group: Sequence[Gap]) -> Iterator[tuple[str, int]]:
    """A line for each gap, or for many keys of which the same is said, and how many gaps it stands for."""
    same: dict[tuple[int | None, int | None, str], list[Gap]] = {}
    for gap in group:
        same.setdefault((gap.start, gap.end, gap.detail), []).append(gap)
    for (*_, detail), gaps in same.items():
        stretch = _stretch(gaps[0])
        if len(gaps) > ALIKE:
            listed = f"{', '.join(gap.key for gap in gaps[:ALIKE])} (--keys {gaps[0].kind} lists them)"
            yield f"  {stretch}  {detail}: {len(gaps):,}, such as {listed}", len(gaps)
        else:
            yield from ((f"  {stretch}  {gap.key + '  ' if gap.key else ''}{detail}", 1) for gap in gaps)


def _stretch(gap: Gap) -> str:
    from backfill.stages.gaps import text

    return " → ".join("?" if moment is None else text(moment) for moment in (gap.start, gap.end))


def _commands(group: Sequence[Gap]) -> list[str]:
    """What fetches all of a group: each command once, and tokens through a file when there are many."""
    found = list(dict.fromkeys(gap.command for gap in group))
    first = group[0]
    if first.kind == "short" and len(found) > 1:
        file = f"{first.kind}.txt"
        many = found[0].replace(f"--token {first.key}", f"--tokens {file}")
        return [f"backfill gaps --keys {first.kind} > {shlex.quote(file)}", many]
    return found[:SHOWN] + ([f"… and {len(found) - SHOWN:,} more: --json lists them all"] if len(found) > SHOWN else [])
