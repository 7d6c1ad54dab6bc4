"""Our profits beside those of others: absolute and in percent, and what is above one percent by cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson

from backfill.config import Config
from backfill.errors import BackfillError, StateError
from backfill.files import replace as replace_file
from backfill.log import Logger
from backfill.stages.pnl_book import Book, notes, read_books
from backfill.stages.pnl_causes import Explanation, Reference, explain
from backfill.stages.pnl_gates import variance
from backfill.stages.pnl_rows import Claim, Row, Stray, filled, plain, read_claim, read_row, read_stray, usd
from backfill.stages.references import fetch_references, keep, positions_of, read_references
from backfill.warehouse.client import Warehouse

MATCH: Final = 0.001
"""Share below which two profits are the same."""
EXPLAINED_FROM: Final = 0.01
"""Share from which on a difference is told by cause, whatever the tolerance."""
SET_VERSION: Final = 1
REPORT: Final = "reconcile-pnl"


@dataclass(frozen=True, slots=True)
class Pair:
    """A profit of ours beside one of somebody else's."""

    wallet: str
    reference: Reference
    found: Explanation
    tolerance: float
    here: bool = True

    @property
    def share(self) -> float | None:
        """The difference as a share of the reference; None where that is 0."""
        return variance(self.found.actual, self.found.expected)

    @property
    def status(self) -> str:
        """NO_DATA, MATCH, MINOR_DIFF (below the tolerance) or MAJOR_DIFF."""
        if not self.here:
            return "NO_DATA"
        if self.share is None or self.share >= max(self.tolerance, MATCH):
            return "MAJOR_DIFF"
        return "MATCH" if self.share < MATCH else "MINOR_DIFF"

    @property
    def unexplained(self) -> float | None:
        """The part without a cause, as a share of the reference."""
        return variance(self.found.expected + self.found.parts.get("unexplained", 0), self.found.expected)

    @property
    def open(self) -> bool:
        """Whether it differs, and what has no cause would be a major difference alone."""
        if self.status != "MAJOR_DIFF":
            return False
        return self.unexplained is None or self.unexplained >= max(self.tolerance, MATCH)

    def document(self) -> dict[str, Any]:
        """As JSON; causes where the difference is above one percent, or not none at all in percent."""
        told = self.found.document() if self.share is None or self.share > EXPLAINED_FROM else {}
        return {
            "wallet": self.wallet,
            "source": self.reference.source,
            "metric": self.reference.metric,
            "definition": self.reference.definition,
            "as_of": self.reference.as_of,
            "reference_usd": usd(self.found.expected),
            "ours_usd": usd(self.found.actual) if self.here else None,
            "difference_usd": usd(self.found.delta) if self.here else None,
            "difference_share": self.share if self.here else None,
            "status": self.status,
            "unexplained_share": self.unexplained if self.here else None,
            **(told if self.here else {}),
        }


@dataclass(slots=True)
class Reconciliation:
    """All pairs, what could not be had, and what is known to be missing."""

    pairs: list[Pair]
    names: Mapping[str, str]
    problems: list[BackfillError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool | None:
        """Whether nothing of weight is without a cause; None without a pair to judge."""
        judged = [pair for pair in self.pairs if pair.here]
        return not any(pair.open for pair in judged) if judged else None

    def document(self) -> dict[str, Any]:
        """The JSON of `reconcile pnl`."""
        statuses = [pair.status for pair in self.pairs]
        return {
            "passed": self.passed,
            "counts": {status: statuses.count(status) for status in sorted(set(statuses))},
            "pairs": [{"name": self.names.get(pair.wallet), **pair.document()} for pair in self.pairs],
            "problems": [str(problem) for problem in self.problems],
            "notes": self.notes,
        }


async def run_reconcile(
    config: Config, warehouse: Warehouse, wallets: Sequence[str], log: Logger, *, fetch: bool = True
) -> tuple[Reconciliation, dict[str, Book]]:
    """Fetch what others say (unless told not to), and compare. A wallet stands for those that trade for it, too."""
    problems = await fetch_references(config, warehouse, wallets, log) if fetch else []
    books = await read_books(warehouse, wallets)
    for wallet, book in books.items():
        figures = positions_of(wallet, book.claims, complete=book.complete)
        await keep(warehouse, figures, config.gates.reconcile_variance)
    references = await read_references(warehouse, books)
    names = {each.address: each.name for each in config.baseline_wallets}
    pairs = [pair for wallet, book in books.items()
             for pair in compare(wallet, book, references[wallet], config.gates.reconcile_variance)]  # fmt: skip
    told = await notes(warehouse)
    told += [f"no source knows {wallet}" for wallet in wallets if not references[wallet]]
    return Reconciliation(pairs, names, problems, told), books


def compare(wallet: str, book: Book, references: Sequence[Reference], tolerance: float) -> list[Pair]:
    """A wallet's profit beside each reference."""
    return [
        Pair(wallet, each, explain(book.rows, book.strays, book.claims, each), tolerance, not book.empty)
        for each in references
    ]


# --- regression sets


def made_set(found: Reconciliation, books: Mapping[str, Book]) -> bytes:
    """The pairs with all that they were computed from, so that `replayed` can do it again without a warehouse."""
    wallets = []
    for wallet, book in books.items():
        pairs = [pair for pair in found.pairs if pair.wallet == wallet]
        if not pairs:
            continue
        entry: dict[str, Any] = {"wallet": wallet, "wallets": book.wallets, "complete": book.complete}
        entry |= {name: [plain(each) for each in getattr(book, name)] for name in ("rows", "strays", "claims")}
        entry["pairs"] = [
            {"reference": asdict(pair.reference), "tolerance": pair.tolerance, "result": _result(pair)}
            for pair in pairs
        ]
        wallets.append(entry)
    document = {"version": SET_VERSION, "wallets": wallets}
    return orjson.dumps(_texts(document), option=orjson.OPT_APPEND_NEWLINE)


def _result(pair: Pair) -> dict[str, Any]:
    parts = {cause: str(amount) for cause, amount in pair.found.parts.items()}
    return {"actual": str(pair.found.actual), "delta": str(pair.found.delta), "status": pair.status, "parts": parts}


def _texts(value: Any) -> Any:
    """Whole numbers beyond 63 bits as text: JSON's writer takes no others."""
    if isinstance(value, dict):
        return {key: _texts(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(each) for each in value]
    return str(value) if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63 else value


def replayed(body: bytes) -> list[str]:
    """Compute every pair of a saved set again; what came out otherwise, in words.

    Raises:
        StateError: the set is of another version.
    """
    document = orjson.loads(body)
    if document.get("version") != SET_VERSION:
        raise StateError("a regression set of another version", remedy="backfill reconcile pnl --save makes it anew")
    wrong: list[str] = []
    for entry in document["wallets"]:
        rows = tuple(read_row(filled(Row, each)) for each in entry["rows"])
        strays = tuple(read_stray(filled(Stray, each)) for each in entry["strays"])
        claims = tuple(read_claim(filled(Claim, each)) for each in entry["claims"])
        book = Book(tuple(entry["wallets"]), rows, strays, claims, bool(entry["complete"]))
        for saved in entry["pairs"]:
            told = saved["reference"]
            reference = Reference(**{**told, "expected": int(told["expected"])})
            (pair,) = compare(entry["wallet"], book, [reference], saved["tolerance"])
            if _result(pair) != saved["result"]:
                name = f"{entry['wallet']} {reference.source}/{reference.metric}"
                wrong.append(f"{name}: was {saved['result']}, is {_result(pair)}")
    return wrong


# --- the report


def write_report(config: Config, found: Reconciliation) -> list[str]:
    """Write the report in Markdown and JSON; the paths."""
    folder = config.root / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{REPORT}.{ending}" for ending in ("md", "json")]
    replace_file(paths[0], ("\n".join(report_lines(found)) + "\n").encode())
    replace_file(paths[1], orjson.dumps(found.document(), option=orjson.OPT_INDENT_2))
    return [str(path) for path in paths]


def report_lines(found: Reconciliation) -> list[str]:
    """The report in Markdown."""
    told = ["# Profit against references", "", "| wallet | source | ours | theirs | difference | | status |"]
    told.append("|---|---|--:|--:|--:|--:|---|")
    for pair in found.pairs:
        share = "" if pair.share is None or not pair.here else f"{pair.share:.3%}"
        ours, difference = _money(pair.found.actual, pair.here), _money(pair.found.delta, pair.here)
        name = found.names.get(pair.wallet, pair.wallet)
        source = f"{pair.reference.source} {pair.reference.metric} ({pair.reference.definition})"
        theirs = _money(pair.found.expected)
        told.append(f"| {name} | {source} | {ours} | {theirs} | {difference} | {share} | {pair.status} |")
    for pair in found.pairs:
        document = pair.document()
        if not document.get("causes"):
            continue
        told += ["", f"## {found.names.get(pair.wallet, pair.wallet)}: {pair.reference.source} {pair.reference.metric}"]
        told += ["", "| cause | part | how |", "|---|--:|---|"]
        for cause, amount in pair.found.parts.items():
            told.append(f"| {cause} | {_money(amount)} | {document['causes_how'][cause]} |")
        told.append(f"| **together** | {_money(pair.found.delta)} | |")
    told += ["", *(f"- {text}" for text in (*found.notes, *map(str, found.problems)))]
    return told


def _money(amount: int, here: bool = True) -> str:
    return f"{usd(amount):,.6f}" if here else "–"
