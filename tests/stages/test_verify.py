"""Verify on a real warehouse: each gate catches the fault that is planted in the same run, or the run fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backfill.config import BaselineWallet, Config, Gates
from backfill.engine.checkpoint import CheckpointFile
from backfill.engine.model import Failure, Page
from backfill.engine.plan import Outline, PlanBook
from backfill.engine.progress import Progress
from backfill.stages import gates
from backfill.stages.gates import Check
from backfill.stages.verify import Verification, explain, run_verify
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from tests.stages.planted import ANNA, condition, put, put_fills, put_mapped, token


@pytest.fixture
def judged(config: Config) -> Config:
    wallets = (BaselineWallet(name="Anna", address=ANNA),)
    return config.model_copy(update={"baseline_wallets": wallets, "gates": Gates(resolved_positions=2)})


async def fill(warehouse: Warehouse, *, mapped: int = 20, resolved: int = 20) -> None:
    await put_fills(warehouse, [token(n) for n in range(20)])
    await put_mapped(warehouse, [(token(n), condition(n), 0) for n in range(mapped)])
    rows: list[dict[str, object]] = [
        {"condition_id_norm": condition(n), "payout_numerators": [1, 0], "payout_denominator": 1, "source": "test"}
        for n in range(resolved)
    ]
    await put(warehouse, "production.market_resolutions_final", rows)


def outcome(found: Verification) -> dict[str, bool | None]:
    return {check.name: check.passed for check in found.checks}


NAMES = ("global_coverage", "wallet_coverage", "resolved_positions", "no_duplicate_tokens", "proof")
ALL_GOOD = dict.fromkeys(NAMES, True)
KNOWN = "token_id IN (SELECT token_id FROM {production:Identifier}.ctf_token_map)"
CONTROLS = {"unmapped_token", "unmapped_wallet_token", "unresolved_wallet", "duplicate_token", "swapped_outcome"}


async def test_a_good_map_passes_and_every_planted_fault_is_caught(judged: Config, warehouse: Warehouse) -> None:
    await fill(warehouse)
    found = await run_verify(judged, warehouse, strict=True)
    assert outcome(found) == ALL_GOOD and found.passed
    assert {control.name for control in found.controls} == CONTROLS
    assert all(control.caught for control in found.controls)


async def test_real_faults_are_told_apart(judged: Config, warehouse: Warehouse) -> None:
    await fill(warehouse, mapped=15, resolved=1)
    await put_mapped(warehouse, [(token(0), condition(0), 0)])
    await put_mapped(warehouse, [(token(30), condition(31), 0)])
    found = await run_verify(judged, warehouse, strict=False)
    assert outcome(found) == dict.fromkeys(ALL_GOOD, False) and not found.passed
    assert all(control.caught for control in found.controls)


async def test_an_empty_warehouse_judges_nothing(judged: Config, warehouse: Warehouse) -> None:
    loose = await run_verify(judged, warehouse, strict=False)
    values = set(outcome(loose).values())
    assert values <= {None, True} and loose.passed
    assert not (await run_verify(judged, warehouse, strict=True)).passed


BLIND: list[tuple[str, Callable[[Any], Any]]] = [
    ("global_coverage", lambda _: Check("global_coverage", True, 1.0, 0.95, "")),
    ("wallet_coverage", lambda _: Check("wallet_coverage", True, 1.0, 0.95, "")),
    ("resolved_positions", lambda _: Check("resolved_positions", True, 99, 50, "")),
    ("no_duplicate_tokens", lambda _: Check("no_duplicate_tokens", True, 0, 0, "")),
    ("proof", lambda _: Check("proof", True, 1.0, 0, "")),
]


@pytest.mark.parametrize(("name", "says_yes"), BLIND, ids=[name for name, _ in BLIND])
async def test_a_gate_that_always_says_yes_fails_the_run(
    judged: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, name: str, says_yes: Callable[[Any], Any]
) -> None:
    await fill(warehouse)
    monkeypatch.setattr(gates, name, lambda *args: says_yes(args))
    found = await run_verify(judged, warehouse, strict=False)
    assert all(check.passed for check in found.checks)
    assert [control.caught for control in found.controls].count(False) == 1
    assert not found.passed


@pytest.mark.parametrize(
    ("query", "change"),
    [
        # The trap of LEFT JOIN: a missing row is filled, and counts as known.
        ("verify_coverage", (KNOWN, "1")),
        ("verify_wallets", (KNOWN, "1")),
        ("verify_duplicates", ("count() - uniqExact(token_id)", "0")),
    ],
    ids=["coverage", "wallets", "duplicates"],
)
async def test_a_query_that_sees_no_fault_fails_the_run(
    judged: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, query: str, change: tuple[str, str]
) -> None:
    await fill(warehouse)
    real = queries.load
    blind = real(query).replace(*change)
    assert blind != real(query)
    monkeypatch.setattr(queries, "load", lambda name: blind if name == query else real(name))
    found = await run_verify(judged, warehouse, strict=False)
    assert not found.passed and not all(control.caught for control in found.controls)


async def test_every_unmapped_token_has_a_reason(judged: Config, warehouse: Warehouse) -> None:
    folder = judged.run.checkpoint_dir
    items = list(range(1, 11))
    plan = PlanBook(folder).write(Outline("w", "even", {}, {"dome_tokens": (items, 2)}, "now"))
    progress = Progress()
    progress.advance(0, Page((), 2))
    progress.fail(1, Failure("refused", "no", 1))
    progress.move(3, 2)
    CheckpointFile(folder, "dome_tokens").save(plan.plan_id, 5, progress.document())
    reasons = {int(row["token_id"]): row["reason"] for row in explain(judged, [1, 3, 5, 7, 77])}
    assert reasons[1] == "dome_tokens: unknown to it"
    assert reasons[3] == "dome_tokens: unit 1 failed (refused)"
    assert reasons[5] == "dome_tokens: not asked yet"
    assert reasons[7] == "dome_tokens: not asked, its upstream was unusable"
    assert reasons[77].startswith("not in the plan")
