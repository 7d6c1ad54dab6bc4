"""Phase 3: the staged answers become rows of the map. Arithmetic decides, then Dome comes before Goldsky.

Existing rows stay. What is inserted is read from the warehouse, cut into batches and named by content, so that a batch
whose answer got lost can be sent again; what a crash left undone is found by the anti-join of the next merge.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from backfill.log import Logger
from backfill.stages.proofs import ProofReport, prove_staging
from backfill.stages.setup import read_baseline
from backfill.tracks.tokens import TOKEN_TRACKS
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from backfill.warehouse.patience import patiently

# Small enough that the warehouse parses a batch as one block: only then does its name protect it as a whole.
BATCH_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Merge:
    """What a merge found and did; coverage as shares of the traded tokens (None without fills)."""

    counts: dict[str, int]
    conflicts: list[dict[str, Any]]
    proofs: dict[str, ProofReport]
    added: int
    coverage_before: float | None
    coverage_after: float | None


async def run_merge(warehouse: Warehouse, log: Logger, *, dry_run: bool = False) -> Merge:
    """Prove what is staged, and add to the map what is believable and new. The caller holds the merge lock.

    A dry run proves as well (verdicts are facts), and counts what it would add.
    """

    async def patient(work: Any) -> Any:
        return await patiently(work, log, stage="merge")

    proofs = {
        track.upstream: await patient(lambda t=track: prove_staging(warehouse, t.table))
        for track in TOKEN_TRACKS.values()
    }
    before = await patient(lambda: read_baseline(warehouse))
    (counts,) = await patient(lambda: warehouse.fetch(queries.load("merge_counts")))
    conflicts = [conflict(row) for row in await patient(lambda: warehouse.fetch(queries.load("merge_conflicts")))]
    added = await patient(lambda: _count_winners(warehouse) if dry_run else _insert_winners(warehouse, log))
    if not dry_run:
        await patient(lambda: _compact(warehouse, log))
    after = before if dry_run else await patient(lambda: read_baseline(warehouse))
    numbers = {name: int(value) for name, value in counts.items()}
    return Merge(numbers, conflicts, proofs, added, before["share"], after["share"])


def conflict(row: dict[str, Any]) -> dict[str, Any]:
    """A token on which the tracks differ, with both answers and the one that was taken (None: neither)."""
    sides = {
        name: {
            "condition_id": row[f"{name}_condition"],
            "outcome_index": int(row[f"{name}_index"]),
            "verdict": row[f"{name}_verdict"],
        }
        for name in ("dome", "goldsky")
    }
    rank = {"proven": 0, "unprovable": 1}
    able = [name for name in ("dome", "goldsky") if sides[name]["verdict"] in rank]
    winner = min(able, key=lambda name: rank[str(sides[name]["verdict"])], default=None)
    return {"token_id": str(row["token_id"]), **sides, "winner": winner}


async def _batches(warehouse: Warehouse) -> AsyncIterator[list[bytes]]:
    rest, lines = b"", list[bytes]()
    async for chunk in warehouse.stream(queries.load("merge_winners"), fmt="JSONEachRow"):
        *whole, rest = (rest + chunk).split(b"\n")
        lines += whole
        while len(lines) >= BATCH_ROWS:
            yield lines[:BATCH_ROWS]
            del lines[:BATCH_ROWS]
    if lines:
        yield lines


async def _count_winners(warehouse: Warehouse) -> int:
    return sum([len(lines) async for lines in _batches(warehouse)])


async def _insert_winners(warehouse: Warehouse, log: Logger) -> int:
    """All batches are read before the first is written: the query must not see its own effects."""
    added = 0
    for lines in [lines async for lines in _batches(warehouse)]:
        body = b"\n".join(lines)
        token = hashlib.sha256(body).hexdigest()
        await patiently(
            lambda b=body, t=token: warehouse.insert("production.ctf_token_map", b, token=t),  # type: ignore[misc]
            log,
            stage="merge",
            rows_waiting=len(lines),
        )
        added += len(lines)
    return added


async def _compact(warehouse: Warehouse, log: Logger) -> None:
    """A batch that was still under way when its sender was killed may have come in twice: take the copy out."""
    (size,) = await warehouse.fetch(queries.load("map_size"))
    if int(size["duplicates"]):
        log.warning("map_compacted", duplicates=int(size["duplicates"]))
        await warehouse.execute(queries.load("map_compact"))
