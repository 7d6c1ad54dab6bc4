"""Verdicts for the answers in a staging table: each mapping is recomputed once, and the verdict kept.

A verdict belongs to an answer (token, condition, outcome), not to a token: two upstreams that disagree about a token
get two verdicts. Answers that have one are left alone, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from backfill.ids import Verdict
from backfill.stages.judging import Judges, Row, judge_all
from backfill.warehouse import queries

if TYPE_CHECKING:
    from backfill.warehouse.client import Warehouse

__all__ = ["DisprovenAnswer", "ProofReport", "judge_all", "prove_staging"]

BATCH: Final = 50_000
_COLUMNS: Final = ("token_id", "condition_id_norm", "outcome_index", "verdict", "detail")


@dataclass(frozen=True, slots=True)
class DisprovenAnswer:
    """An answer that recomputing contradicts."""

    token_id: str
    condition_id_norm: str
    outcome_index: int
    detail: str


@dataclass(frozen=True, slots=True)
class ProofReport:
    """The state of all distinct answers of a table; `judged` of them were judged just now."""

    table: str
    judged: int
    proven: int
    disproven: int
    unprovable: int
    disproven_rows: tuple[DisprovenAnswer, ...]

    @property
    def answers(self) -> int:
        """How many distinct answers the table holds."""
        return self.proven + self.disproven + self.unprovable


async def prove_staging(
    warehouse: Warehouse, table: str, *, batch: int = BATCH, judges: Judges | None = None
) -> ProofReport:
    """Judge every answer of `table` (a name in the staging database) that has no verdict yet, and report on all.

    `judges` is a pool to use; without one there is a pool for this call.

    The report counts earlier verdicts too: a run that was killed after a verdict still hands out its disproven rows.
    """
    judged = 0
    after = "0"
    async with AsyncExitStack() as stack:
        pool: Judges = judges if judges is not None else await stack.enter_async_context(Judges())
        while rows := await _unjudged(warehouse, table, after, batch):
            verdicts = await pool.judge(rows)
            await _keep(warehouse, rows, verdicts)
            judged += len(rows)
            after = str(rows[-1][0])
    return await _report(warehouse, table, judged)


async def _unjudged(warehouse: Warehouse, table: str, after: str, limit: int) -> list[Row]:
    found = await warehouse.fetch(queries.load("unjudged_answers"), {"table": table, "after": after, "limit": limit})
    return [(int(row["token_id"]), str(row["condition_id_norm"]), int(row["outcome_index"])) for row in found]


async def _keep(warehouse: Warehouse, rows: Sequence[Row], verdicts: Sequence[Verdict]) -> None:
    body = b"\n".join(
        orjson.dumps(dict(zip(_COLUMNS, (str(token), condition, index, *verdict), strict=True)))
        for (token, condition, index), verdict in zip(rows, verdicts, strict=True)
    )
    # A name of its own: one that a killed server has noted without the rows would keep these verdicts out for good.
    await warehouse.insert("staging.token_proofs", body, columns=_COLUMNS, token=secrets.token_hex(16))


async def _report(warehouse: Warehouse, table: str, judged: int) -> ProofReport:
    counts = {
        str(row["verdict"]): int(row["answers"])
        for row in await warehouse.fetch(queries.load("answers_by_verdict"), {"table": table})
    }
    disproven = await warehouse.fetch(queries.load("disproven_answers"), {"table": table})
    return ProofReport(
        table=table,
        judged=judged,
        proven=counts.get("proven", 0),
        disproven=counts.get("disproven", 0),
        unprovable=counts.get("unprovable", 0),
        disproven_rows=tuple(_answer(row) for row in disproven),
    )


def _answer(row: dict[str, Any]) -> DisprovenAnswer:
    return DisprovenAnswer(
        str(row["token_id"]), str(row["condition_id_norm"]), int(row["outcome_index"]), str(row["detail"])
    )
