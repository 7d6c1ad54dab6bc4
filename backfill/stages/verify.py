"""Phase 4: the gates, each with a fault planted in the same run, and the reason for every token that stays unmapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from backfill.config import Config
from backfill.engine.checkpoint import CheckpointFile
from backfill.engine.deadletters import DeadLetters
from backfill.engine.plan import PlanBook, TrackPlan
from backfill.engine.progress import Progress
from backfill.errors import StateError
from backfill.stages import gates
from backfill.stages.gates import Check, Control, Coverage, ProofTally
from backfill.stages.judging import Judges
from backfill.stages.setup import unmapped
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

NOBODY = "0x0000000000000000000000000000000000000000"
PAGE = 50_000


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of phase 4; `unmapped` are token ids with the reason for each."""

    passed: bool
    checks: list[Check]
    controls: list[Control]
    unmapped: list[dict[str, str]]

    def document(self, *, strict: bool) -> dict[str, Any]:
        """The JSON of `verify`."""
        return {**gates.document(self.checks, self.controls, strict=strict), "unmapped": self.unmapped}


async def run_verify(config: Config, warehouse: Warehouse, *, strict: bool = False) -> Verification:
    """Run every check, plant every fault, explain the rest. Nothing is written."""
    pairs = [
        await _coverage(config, warehouse),
        await _wallets(config, warehouse),
        await _resolved(config, warehouse),
        await _duplicates(warehouse),
        await _proof(warehouse),
    ]
    checks = [check for check, _ in pairs]
    controls = [control for _, control in pairs if control is not None]
    rest = explain(config, await unmapped(warehouse))
    return Verification(gates.verdict(checks, controls, strict=strict), checks, controls, rest)


async def _coverage(config: Config, warehouse: Warehouse) -> tuple[Check, Control]:
    threshold = config.gates.global_coverage
    found = await _measure(warehouse, planted=0)
    # Enough unmapped tokens that even a full map falls below the threshold, and the share is known beforehand.
    planted = found.tokens + 1
    faulty = await _measure(warehouse, planted=planted)
    failed = gates.global_coverage(faulty, max(threshold, 0.5 + 1e-9)).passed is False
    exact = (faulty.tokens, faulty.mapped) == (found.tokens + planted, found.mapped)
    return gates.global_coverage(found, threshold), Control("unmapped_token", failed and exact)


async def _measure(warehouse: Warehouse, *, planted: int) -> Coverage:
    (row,) = await warehouse.fetch(queries.load("verify_coverage"), {"planted": planted})
    keys = ("tokens", "mapped", "all_fills", "mapped_fills", "all_volume", "mapped_volume")
    return Coverage(*(int(row[key]) for key in keys))


async def _wallets(config: Config, warehouse: Warehouse) -> tuple[Check, Control]:
    names = {wallet.address: wallet.name for wallet in config.baseline_wallets}
    threshold = config.gates.wallet_coverage
    faulty = await _wallet_tokens(warehouse, [*names, NOBODY], planted=20)
    caught = (
        faulty.get(NOBODY) == (20, 0) and gates.wallet_coverage(faulty, names, max(threshold, 1e-9)).passed is False
    )
    found = await _wallet_tokens(warehouse, list(names), planted=0)
    return gates.wallet_coverage(found, names, threshold), Control("unmapped_wallet_token", caught)


async def _wallet_tokens(warehouse: Warehouse, wallets: list[str], *, planted: int) -> dict[str, tuple[int, int]]:
    values = {"wallets": wallets, "control": NOBODY, "planted": planted}
    rows = await warehouse.fetch(queries.load("verify_wallets"), values)
    return {row["wallet"]: (int(row["tokens"]), int(row["mapped"])) for row in rows}


async def _resolved(config: Config, warehouse: Warehouse) -> tuple[Check, Control | None]:
    names = {wallet.address: wallet.name for wallet in config.baseline_wallets}
    threshold = config.gates.resolved_positions
    loaded = int(await warehouse.fetch_value(queries.load("resolutions_loaded")))
    if not loaded:
        return gates.resolved_positions(0, {}, names, threshold), None
    traded = await _wallet_tokens(warehouse, list(names), planted=0)
    rows = await warehouse.fetch(queries.load("verify_resolved"), {"wallets": list(names)})
    found = {**dict.fromkeys(traded, 0), **{row["wallet"]: int(row["positions"]) for row in rows}}
    caught = gates.resolved_positions(loaded, {**found, NOBODY: 0}, names, max(threshold, 1)).passed is False
    return gates.resolved_positions(loaded, found, names, threshold), Control("unresolved_wallet", caught)


async def _duplicates(warehouse: Warehouse) -> tuple[Check, Control | None]:
    found = int(await warehouse.fetch_value(queries.load("verify_duplicates"), {"planted": 0}))
    faulty = int(await warehouse.fetch_value(queries.load("verify_duplicates"), {"planted": 1}))
    (size,) = await warehouse.fetch(queries.load("map_size"))
    if not int(size["rows"]):
        return gates.no_duplicate_tokens(found), None
    caught = faulty == found + 1 and gates.no_duplicate_tokens(faulty).passed is False
    return gates.no_duplicate_tokens(found), Control("duplicate_token", caught)


async def _proof(warehouse: Warehouse) -> tuple[Check, Control | None]:
    tally, swapped, after = ProofTally(), None, "0"
    async with Judges() as judges:
        while rows := await warehouse.fetch(queries.load("map_rows"), {"after": after, "limit": PAGE}):
            tally.add(await _judged(judges, rows))
            swapped = swapped or next((row for row in rows if int(row["proven"])), None)
            after = str(rows[-1]["token_id"])
        if swapped is None:
            return gates.proof(tally), None
        planted = ProofTally()
        planted.add(await _judged(judges, [{**swapped, "outcome_index": 1 - int(swapped["outcome_index"])}]))
    return gates.proof(tally), Control("swapped_outcome", gates.proof(planted).passed is False)


async def _judged(judges: Judges, rows: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    answers = [(int(row["token_id"]), str(row["condition_id_norm"]), int(row["outcome_index"])) for row in rows]
    verdicts = await judges.judge(answers)
    return [
        (str(row["token_id"]), verdict.result, bool(int(row["proven"])))
        for row, verdict in zip(rows, verdicts, strict=True)
    ]


def explain(config: Config, tokens: list[int]) -> list[dict[str, str]]:
    """Why each of these traded tokens is not mapped, from the plan, the checkpoints and the dead letters."""
    left = {str(token) for token in tokens}
    reasons: dict[str, list[str]] = {token: [] for token in left}
    folder = config.run.checkpoint_dir
    try:
        plan = PlanBook(folder).current()
    except StateError as error:
        return [{"token_id": token, "reason": f"the plan cannot be read: {error.what}"} for token in sorted(left)]
    if plan is not None and left:
        for name in plan.shares:
            track = PlanBook(folder).track(plan, name)
            progress = CheckpointFile(folder, name).peek(plan.plan_id, warn=lambda _: None)
            _explain_track(track, progress, _refused(config, name), reasons)
    unplanned = "not in the plan: backfill setup makes a new one"
    return [{"token_id": token, "reason": "; ".join(reasons[token]) or unplanned} for token in sorted(left, key=int)]


def _refused(config: Config, track: str) -> dict[str, str]:
    """Token → class of its dead letter, where the letter is about one token."""
    found: dict[str, str] = {}
    for row in DeadLetters(config.run.data_dir).rows(track):
        if row["class"] == "disproven":
            found[_token_of(row["raw"])] = f"disproven ({row['reason']})"
    return found


def _token_of(raw: str) -> str:
    return str(orjson.loads(raw)["token_id"])


def _explain_track(
    track: TrackPlan, progress: Progress, refused: dict[str, str], reasons: dict[str, list[str]]
) -> None:
    for segment in track.segments:
        if segment.kind == "recheck":
            continue
        for at, token in enumerate(track.items(segment)):
            if token in reasons:
                number = segment.first_unit + at // segment.batch
                told = refused.get(token) or _unit_reason(progress, number)
                reasons[token].append(f"{track.name}: {told}")


def _unit_reason(progress: Progress, number: int) -> str:
    if number in progress.failed:
        failure = progress.failed[number]
        return f"unit {number} failed ({failure.cls})"
    if number in progress.moved:
        return "not asked, its upstream was unusable"
    return "unknown to it" if number in progress.done else "not asked yet"
