"""Phase 3: the staged answers become rows of the map. Arithmetic decides, then Dome comes before Goldsky.

Existing rows stay. What is inserted is read from the warehouse and cut into batches; what a lost answer or a crash left
undone is found by the anti-join of the next attempt, and a batch that came in late after all is compacted away.
"""

from __future__ import annotations

import secrets
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

# Small enough that the warehouse parses a batch as one block, so that it comes in as a whole or not at all.
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
    if dry_run:
        added, after = await patient(lambda: _count_winners(warehouse)), before
    else:
        had = await patient(lambda: _map_rows(warehouse))
        await patient(lambda: _insert_winners(warehouse))
        await patient(lambda: _compact(warehouse, log))
        added = await patient(lambda: _map_rows(warehouse)) - had
        after = await patient(lambda: read_baseline(warehouse))
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


async def _map_rows(warehouse: Warehouse) -> int:
    (size,) = await warehouse.fetch(queries.load("map_size"))
    return int(size["rows"])


async def _insert_winners(warehouse: Warehouse) -> None:
    """All batches are read before the first is written: the query must not see its own effects.

    No batch is sent twice: when one fails, the caller starts again from what the map then lacks. So each has a name of
    its own; a name that a killed server has noted without the rows would keep them out.
    """
    for lines in [lines async for lines in _batches(warehouse)]:
        await warehouse.insert("production.ctf_token_map", b"\n".join(lines), token=secrets.token_hex(16))


async def _compact(warehouse: Warehouse, log: Logger) -> None:
    """A batch that was still under way when its sender was killed may have come in twice: take the copy out."""
    (size,) = await warehouse.fetch(queries.load("map_size"))
    if int(size["duplicates"]):
        log.warning("map_compacted", duplicates=int(size["duplicates"]))
        await warehouse.execute(queries.load("map_compact"))
