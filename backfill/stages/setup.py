"""Phase 0: the baseline, the tokens that the map lacks, and the plan that shares them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backfill.config import Config
from backfill.engine.checkpoint import CheckpointFile, now_text
from backfill.engine.desk import lock_path
from backfill.engine.plan import Outline, Plan, PlanBook, draft, split_items
from backfill.errors import StateError
from backfill.files import held
from backfill.tracks.tokens import TOKEN_TRACKS, enabled
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from backfill.warehouse.migrate import identity

UNLIMITED_RATE = 1000.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What setup found and did. `change` is new, unchanged or nothing (no token is unmapped)."""

    baseline: Mapping[str, Any]
    plan: Plan | None
    change: str


async def read_baseline(warehouse: Warehouse) -> dict[str, Any]:
    """Unique traded ids, how many are mapped, their share (0 to 1), how many are not, and the number of fills."""
    (row,) = await warehouse.fetch(queries.load("baseline"))
    unique, mapped = int(row["unique_ids"]), int(row["mapped"])
    return {
        "unique_ids": unique,
        "mapped": mapped,
        "share": mapped / unique if unique else None,
        "unmapped": unique - mapped,
        "fills": int(row["fills"]),
    }


async def unmapped(warehouse: Warehouse) -> list[int]:
    """The traded tokens that the map lacks, ascending."""
    body = b"".join([chunk async for chunk in warehouse.stream(queries.load("unmapped_tokens"))])
    return [int(line) for line in body.split()]


def weights(config: Config) -> dict[str, float]:
    """How much of the plan each enabled track gets: the same, or by the tokens a second that its limits allow."""
    names = enabled(config)
    if config.run.split == "even":
        return dict.fromkeys(names, 1.0)
    found = {}
    for name in names:
        limits = getattr(config.upstreams, TOKEN_TRACKS[name].upstream).limits
        rate = min((limit.requests / limit.seconds for limit in limits), default=UNLIMITED_RATE)
        found[name] = rate * getattr(config.tracks, name).batch
    return found


async def run_setup(config: Config, warehouse: Warehouse, *, replace: bool, dry_run: bool) -> Setup:
    """Measure, and make the plan.

    Raises:
        StateError: another plan is unfinished, and `replace` was not given; or no track is enabled.
        TrackHeld: a run is going on.
    """
    baseline = await read_baseline(warehouse)
    tokens = await unmapped(warehouse)
    if not enabled(config):
        raise StateError("no token track is enabled", where="config", remedy="set tracks.<name>.enabled = true")
    shares = {
        name: (items, getattr(config.tracks, name).batch)
        for name, items in split_items(tokens, weights(config)).items()
    }
    outline = Outline(await fingerprint(config, warehouse), config.run.split, baseline, shares, now_text())
    plan = draft(outline)
    book = PlanBook(config.run.checkpoint_dir)
    current = _readable(book, replace)
    if current is not None and current.plan_id == plan.plan_id:
        return Setup(baseline, current, "unchanged")
    if not tokens:
        return Setup(baseline, current, "nothing")
    if current is not None and not replace:
        _refuse_unfinished(config, current)
    if not dry_run:
        _put_aside(config, current)
        plan = book.write(outline)
    return Setup(baseline, plan, "new")


async def fingerprint(config: Config, warehouse: Warehouse) -> str:
    """What a plan is bound to: this very warehouse, and the database names in use."""
    names = config.warehouse
    return f"{await identity(warehouse)}/{names.production}/{names.staging}"


def _readable(book: PlanBook, replace: bool) -> Plan | None:
    try:
        return book.current()
    except StateError:
        if replace:
            return None
        raise


def _refuse_unfinished(config: Config, plan: Plan) -> None:
    folder, book = config.run.checkpoint_dir, PlanBook(config.run.checkpoint_dir)
    for name in plan.shares:
        progress = CheckpointFile(folder, name).peek(plan.plan_id, warn=lambda _: None)
        track = book.track(plan, name)
        left = sum(1 for _ in progress.pending(0, track.units_total)) + len(progress.failed)
        if left:
            raise StateError(
                f"plan {plan.plan_id} is unfinished: {name} has {left} of {track.units_total} units left",
                where=str(folder),
                remedy="backfill run tokens finishes it; backfill setup --replace gives it up",
            )


def _put_aside(config: Config, plan: Plan | None) -> None:
    """Move the checkpoints of the plan before to its folder; nobody may be working on them."""
    folder = config.run.checkpoint_dir
    for name in TOKEN_TRACKS:
        file = CheckpointFile(folder, name)
        with held(lock_path(folder, name), what=name):
            for path in (file.path, file.previous, folder / f"{name}.live.json"):
                if path.exists():
                    home = folder / "plans" / (plan.plan_id if plan else "unknown")
                    home.mkdir(parents=True, exist_ok=True)
                    path.rename(home / path.name)
