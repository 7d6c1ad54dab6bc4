"""The decisions of phase 4, pure: what a check says, and whether a planted fault was caught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One gate. `passed` is None when there is nothing to judge."""

    name: str
    passed: bool | None
    value: float | int | None
    threshold: float | int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Control:
    """A fault planted into the same run; a gate that does not catch it is no gate."""

    name: str
    caught: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """Traded tokens and their mapped part; by fills and by volume (micro-USDC) besides."""

    tokens: int
    mapped: int
    fills: int
    mapped_fills: int
    volume: int
    mapped_volume: int

    @property
    def share(self) -> float | None:
        """Mapped share of the unique ids; None without any."""
        return self.mapped / self.tokens if self.tokens else None


def global_coverage(found: Coverage, threshold: float) -> Check:
    """Share of the traded token ids that are mapped."""
    name = "global_coverage"
    if found.share is None:
        return Check(name, None, None, threshold, "no fills are loaded")
    detail = (
        f"{found.mapped:,} of {found.tokens:,} ids; by fills {percent(found.mapped_fills, found.fills)}, "
        f"by volume {percent(found.mapped_volume, found.volume)}"
    )
    return Check(name, found.share >= threshold, round(found.share, 6), threshold, detail)


def wallet_coverage(found: Mapping[str, tuple[int, int]], names: Mapping[str, str], threshold: float) -> Check:
    """The lowest share of mapped tokens among the wallets; `found` is (tokens, mapped) by address."""
    name = "wallet_coverage"
    judged = {wallet: mapped / tokens for wallet, (tokens, mapped) in found.items() if tokens}
    if not judged:
        reason = "no baseline wallet has a fill" if names else "no baseline wallets in the config"
        return Check(name, None, None, threshold, reason)
    lines = [f"{names.get(w, w)} {percent(found[w][1], found[w][0])} of {found[w][0]}" for w in sorted(judged)]
    missing = [label for wallet, label in names.items() if wallet not in judged]
    if missing:
        lines.append(f"without fills: {', '.join(missing)}")
    lowest = min(judged.values())
    return Check(name, lowest >= threshold, round(lowest, 6), threshold, "; ".join(lines))


def resolved_positions(resolutions: int, found: Mapping[str, int], names: Mapping[str, str], threshold: int) -> Check:
    """The smallest number of resolved positions among the baseline wallets that have any fill."""
    name = "resolved_positions"
    if not resolutions:
        return Check(name, None, None, threshold, "not available until resolutions are loaded")
    if not found:
        return Check(name, None, None, threshold, "no baseline wallet has a fill")
    detail = "; ".join(f"{names.get(wallet, wallet)} {count}" for wallet, count in sorted(found.items()))
    return Check(name, min(found.values()) >= threshold, min(found.values()), threshold, detail)


def no_duplicate_tokens(duplicates: int) -> Check:
    """Rows of the map that repeat a token."""
    detail = "every token has one row" if not duplicates else f"{duplicates:,} rows repeat a token"
    return Check("no_duplicate_tokens", duplicates == 0, duplicates, 0, detail)


@dataclass(slots=True)
class ProofTally:
    """The map recomputed: how many rows are proven, contradicted, or beyond recomputing; and wrong `proven` flags."""

    rows: int = 0
    proven: int = 0
    disproven: int = 0
    unprovable: int = 0
    wrong_flags: int = 0
    examples: tuple[str, ...] = ()

    def add(self, verdicts: Sequence[tuple[str, str, bool]]) -> None:
        """Count (token, verdict, stored flag) triples."""
        for token, verdict, flag in verdicts:
            self.rows += 1
            setattr(self, verdict, getattr(self, verdict) + 1)
            bad_flag = flag != (verdict == "proven")
            self.wrong_flags += bad_flag
            if (verdict == "disproven" or bad_flag) and len(self.examples) < 5:
                self.examples += (f"{token} ({verdict})",)


def proof(tally: ProofTally) -> Check:
    """No row of the map may be contradicted by recomputing it; the value is the share that is proven."""
    if not tally.rows:
        return Check("proof", None, None, None, "the map is empty")
    detail = f"{tally.proven:,} proven, {tally.unprovable:,} beyond recomputing, {tally.disproven:,} contradicted"
    if tally.examples:
        detail += f", {tally.wrong_flags:,} wrong flags: {', '.join(tally.examples)}"
    passed = not tally.disproven and not tally.wrong_flags
    return Check("proof", passed, round(tally.proven / tally.rows, 6), 0, detail)


def verdict(checks: Sequence[Check], controls: Sequence[Control], *, strict: bool) -> bool:
    """Whether the whole verification passed. A check without data only counts when `strict`."""
    judged = all(check.passed if check.passed is not None else not strict for check in checks)
    return judged and all(control.caught for control in controls)


def percent(part: int, whole: int) -> str:
    """A share as text, two decimals, cut rather than rounded: 99.999 % is not 100 %."""
    return f"{int(part * 10_000 / whole) / 100:.2f} %" if whole else "–"


def document(checks: Sequence[Check], controls: Sequence[Control], *, strict: bool) -> dict[str, Any]:
    """The JSON of `verify`."""
    return {
        "passed": verdict(checks, controls, strict=strict),
        "checks": [
            {"name": c.name, "passed": c.passed, "value": c.value, "threshold": c.threshold, "detail": c.detail}
            for c in checks
        ],
        "controls": [{"name": control.name, "caught": control.caught} for control in controls],
    }
