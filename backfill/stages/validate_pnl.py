"""Phase 5: the profit of the baseline wallets against what is expected, the difference by cause, old bugs planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from backfill.config import BaselineWallet, Config
from backfill.stages.pnl_book import ITEMIZED, Book, definition_of, notes, read_books
from backfill.stages.pnl_causes import Explanation, Reference, explain
from backfill.stages.pnl_gates import Judged, PlantedBug, arithmetic, controls, distribution, variance, within
from backfill.stages.pnl_rows import DEFINITIONS, MICRO, Definition, Row, micro, total, usd
from backfill.warehouse.client import Warehouse

SHOWN = 5
"""Winners and losers that are listed."""
SITE: Definition = "marked"
"""What the site shows as profit."""
COARSEST = MICRO
"""An expectation is taken to be right to a dollar at least, however many zeros it ends with."""


@dataclass(slots=True)
class WalletReport:
    """One baseline wallet. `explanation` is None where nothing is expected, or nothing is known here; `site` is the
    difference to what the site showed, which decides nothing."""

    baseline: BaselineWallet
    book: Book
    definition: Definition
    tolerance: float
    explanation: Explanation | None
    site: Explanation | None = None

    @property
    def actual(self) -> int:
        """The profit compared, in micro-dollars."""
        return self.explanation.actual if self.explanation else total(self.book.rows, self.definition)

    @property
    def faults(self) -> int:
        """Rows that contradict the tables they were made from."""
        return arithmetic(self.book.rows)

    @property
    def passed(self) -> bool | None:
        """None when there is nothing to judge."""
        found = distribution(self.book.rows)
        if self.faults or found.beyond:
            return False
        if self.explanation is None:
            return None
        return within(self.explanation.actual, self.explanation.expected, self.tolerance)

    def document(self) -> dict[str, Any]:
        """The JSON of one wallet."""
        rows, found = self.book.rows, self.explanation
        settled = [row for row in rows if row.resolved]
        expected = self.baseline.expected_pnl_usd
        return {
            "wallet": self.baseline.address,
            "name": self.baseline.name,
            "source": self.baseline.source,
            "definition": self.definition,
            "expected_usd": expected,
            "actual_usd": None if self.book.empty else usd(self.actual),
            "delta_usd": usd(found.delta) if found else None,
            "variance": variance(found.actual, found.expected) if found else None,
            "tolerance": self.tolerance,
            "passed": self.passed,
            "resolved_positions": len(settled),
            "wins": sum(row.cash > 0 for row in settled),
            "losses": sum(row.cash < 0 for row in settled),
            "outcome_distribution": distribution(rows).document(),
            "arithmetic_faults": self.faults,
            **(found.document() if found else {"causes": {}}),
            "site": self._site(),
            "by_definition": {name: self._compared(name) for name in DEFINITIONS},
            "totals": totals(rows),
            "winners": ranked(rows, self.definition, best=True),
            "losers": ranked(rows, self.definition, best=False),
            "wallets": list(self.book.wallets),
        }

    def _site(self) -> dict[str, Any] | None:
        if self.site is None:
            return None
        told = {"definition": SITE, "expected_usd": usd(self.site.expected), "actual_usd": usd(self.site.actual)}
        share = variance(self.site.actual, self.site.expected)
        return {**told, "delta_usd": usd(self.site.delta), "variance": share, **self.site.document()}

    def _compared(self, name: Definition) -> dict[str, Any]:
        actual = total(self.book.rows, name)
        expected = self.explanation.expected if self.explanation else None
        return {"usd": usd(actual), "variance": None if expected is None else variance(actual, expected)}


@dataclass(slots=True)
class Validation:
    """What `validate-pnl` found."""

    wallets: list[WalletReport]
    controls: list[PlantedBug]
    strict: bool
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Every wallet that can be judged passes, and every planted bug was caught."""
        judged = [each.passed if each.passed is not None else not self.strict for each in self.wallets]
        return (
            all(judged) and all(control.caught for control in self.controls) and bool(self.wallets or not self.strict)
        )

    def document(self) -> dict[str, Any]:
        """The JSON of `validate-pnl`."""
        return {
            "passed": self.passed,
            "wallets": [each.document() for each in self.wallets],
            "controls": [control.document() for control in self.controls],
            "notes": self.notes,
        }


async def run_validate(
    config: Config, warehouse: Warehouse, *, strict: bool = False, compared: Definition | None = None
) -> Validation:
    """Judge every baseline wallet, and plant the old bugs. Nothing is written.

    Args:
        compared: hold every expectation against this definition, whatever its source goes by.
    """
    baselines = config.baseline_wallets
    books = await read_books(warehouse, [each.address for each in baselines])
    reports = [judge(each, books[each.address], config.gates.pnl_variance, compared) for each in baselines]
    planted = controls([_judged(report) for report in reports if report.book.rows])
    return Validation(reports, planted, strict, await notes(warehouse))


def judge(baseline: BaselineWallet, book: Book, tolerance: float, compared: Definition | None = None) -> WalletReport:
    """One wallet against its expectation; `tolerance` is for wallets that have none of their own."""
    own = definition_of(baseline.source)
    allowed = tolerance if baseline.tolerance is None else baseline.tolerance
    found = None
    if baseline.expected_pnl_usd is not None and not book.empty:
        itemized = (baseline.source or "").lower() in ITEMIZED and book.complete
        reference = Reference(
            baseline.source or "config", "expected", own, micro(baseline.expected_pnl_usd),
            last_digit(baseline.expected_pnl_usd), itemized=itemized,
        )  # fmt: skip
        found = explain(book.rows, book.strays, book.claims, reference, compared)
    return WalletReport(baseline, book, compared or own, allowed, found, _site(baseline, book))


def _site(baseline: BaselineWallet, book: Book) -> Explanation | None:
    shown = baseline.site_pnl_usd
    if shown is None or book.empty:
        return None
    return explain(
        book.rows, book.strays, book.claims, Reference("site", "expected", SITE, micro(shown), last_digit(shown))
    )


def _judged(report: WalletReport) -> Judged:
    expected = report.explanation.expected if report.explanation else report.actual
    return Judged(report.book.rows, report.definition, expected, report.tolerance)


def last_digit(value: float) -> int:
    """Micro-dollars of one unit of the last digit that a figure was written with."""
    exponent = Decimal(str(value)).normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(1, min(COARSEST, int(Decimal(10) ** exponent * MICRO)))


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """What a wallet's outcomes add up to, in dollars; won and lost by cash, over conditions that have ended."""
    unpriced = sum(row.value is None and bool(row.net) for row in rows if not row.resolved)
    sums = {
        "won": sum(row.cash for row in rows if row.cash > 0),
        "lost": sum(row.cash for row in rows if row.cash < 0),
        "fees": sum(row.fees for row in rows),
        "volume": sum(row.volume for row in rows),
        **{f"realized_{name}": total(rows, name) for name in ("cash", "avg_cost", "dome")},
        "unrealized": sum(row.unrealized or 0 for row in rows),
    }
    counts = {"positions": len(rows), "fills": sum(row.fills for row in rows), "unpriced_positions": unpriced}
    short = sum(row.leftover < 0 for row in rows)
    return {**{f"{name}_usd": usd(amount) for name, amount in sums.items()}, **counts, "short_positions": short}


def ranked(rows: Sequence[Row], definition: Definition, *, best: bool) -> list[dict[str, Any]]:
    """The outcomes that made, or lost, most; equals in the order of their ids."""
    sign = 1 if best else -1
    chosen = [row for row in rows if sign * row.worth(definition) > 0]
    chosen.sort(key=lambda row: (-sign * row.worth(definition), row.key))
    return [_shown(row, definition) for row in chosen[:SHOWN]]


def _shown(row: Row, definition: Definition) -> dict[str, Any]:
    amounts = {
        "shares": row.gained + max(row.transferred, 0),
        "cost_usd": row.costs + row.splits,
        "proceeds_usd": row.proceeds + row.merges + row.conversions,
        "payout_usd": row.payout,
        "fees_usd": row.fees,
        "pnl_usd": row.worth(definition),
    }
    about = {key: asdict(row)[key] for key in ("wallet", "condition", "outcome", "label", "resolved")}
    return {**about, **{name: usd(amount) for name, amount in amounts.items()}}
